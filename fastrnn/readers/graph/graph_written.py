# SPDX-License-Identifier: MIT
"""Functions that are written out in single operations: both forms of GELU, and Softsign.

A `Term` is a number times a power or function of x. Operations lead from term to term, and from
the product of x and the last one to a layer.
"""

from __future__ import annotations

import math
from dataclasses import replace

from .graph_call import Handler, OperatorCall
from .graph_functions import FUNCTIONS, applied, scaled, unscaled
from .graph_steps import same
from .graph_values import Const, Data, ObstructionError, Term, Value, scalar

_ALIKE = 1e-5  # writers round numbers such as sqrt(2 / pi) to six digits or more
_CUBIC = 0.044715  # of x^3 in the tanh form of GELU
_NOT_WRITTEN = "this computation is not a function that fastrnn has"
# Products of terms. The factors of both are multiplied.
_PRODUCTS = {("x", "x"): "x^2", ("x", "x^2"): "x^3", ("x", "1 + c x^2"): "x + c x^3"}
# Sums of a term and a number: what the sum is, the factor of the term for each unit of the number,
# and the power of x in it, by which a number inside of x shows.
_SUMS = {
    "erf": ("1 + erf", 1.0, 0),
    "tanh": ("1 + tanh", 1.0, 0),
    "x^2": ("1 + c x^2", _CUBIC, 2),
    "|x|": ("1 + |x|", 1.0, 1),
}
# The options of GELU, which is half of x times one of these.
_GELU: dict[str, dict[str, object]] = {"1 + erf": {}, "1 + tanh": {"approximate": "tanh"}}


def written(call: OperatorCall, a: Value, b: Value) -> Value | None:
    """A sum, product, quotient or power that is part of such a function; None if it is none."""
    term, other = (a, b) if isinstance(a, Term) else (b, a)
    if isinstance(term, Term) and isinstance(other, Const):
        return _with_number(call.op, term, scalar(other), is_first=term is a)
    if call.op == "pow" and isinstance(b, Const) and isinstance(a, Data):
        power = scalar(b)
        x = _term(a)
        return replace(x, name=f"x^{power:.0f}") if x is not None and power in (2, 3) else None
    first, second = _term(a), _term(b)
    if first is None or second is None or not _is_same(first, second):
        return None
    if first.name != "x":
        first, second = second, first
    if call.op == "mul":
        return _product(call, first, second)
    return _of_two(call, first, second, is_swapped=first.name == "x" and isinstance(a, Term))


def _with_number(op: str, term: Term, number: float, is_first: bool) -> Term:
    """A term and one number."""
    if op == "mul":
        return replace(term, factor=term.factor * number)
    if op == "div" and is_first and number:
        return replace(term, factor=term.factor / number)
    if op == "add" and term.name in _SUMS and number:
        name, unit, power = _SUMS[term.name]
        ratio = term.factor / (unit * number)
        if power and ratio > 0:
            return replace(term, name=name, factor=number, inner=_rounded(ratio ** (1 / power)))
        if not power and math.isclose(ratio, 1.0, rel_tol=_ALIKE):
            return replace(term, name=name, factor=number)
    raise ObstructionError(_NOT_WRITTEN)


def _product(call: OperatorCall, x: Term, other: Term) -> Value | None:
    """The product of two terms, of which the first should be x."""
    factor = x.factor * other.factor / other.inner
    name = _PRODUCTS.get((x.name, other.name))
    if name is not None:
        return replace(other, name=name, factor=factor)
    if x.name == "x" and other.name in _GELU:
        made = applied(call, scaled(call, other.data, other.inner), "GELU", **_GELU[other.name])
        return scaled(call, made, 2 * factor)
    raise ObstructionError(_NOT_WRITTEN)


def _of_two(call: OperatorCall, x: Term, other: Term, is_swapped: bool) -> Value | None:
    """x + c x^3, or x / (1 + |x|)."""
    if (x.name, other.name) == ("x", "x"):
        return None
    unit = other.factor / (_CUBIC * x.factor) if x.factor else 0.0
    if call.op == "add" and (x.name, other.name) == ("x", "x^3") and unit > 0:
        inner = _rounded(math.sqrt(unit))
        return Term("x + c x^3", other.data, x.factor / inner, inner)
    if call.op == "div" and (x.name, other.name) == ("x", "1 + |x|") and not is_swapped:
        made = applied(call, scaled(call, other.data, other.inner), "Softsign")
        return scaled(call, made, x.factor / (other.factor * other.inner))
    raise ObstructionError(_NOT_WRITTEN)


def _term(value: Value) -> Term | None:
    """The value as a term; data are x, with the factor of a layer Scale."""
    if isinstance(value, Term):
        return value
    if not isinstance(value, Data) or (value.part, value.instant, value.rows) != (None,) * 3:
        return None
    return Term("x", *unscaled(value))


def _rounded(number: float) -> float:
    """The number, or 1 if it differs only as writers round."""
    return 1.0 if math.isclose(number, 1.0, rel_tol=_ALIKE) else number


def _is_same(a: Term, b: Term) -> bool:
    return a.data.axes == b.data.axes and same(a.data.step, b.data.step)


def _erf(call: OperatorCall) -> Value:
    """erf(x / sqrt 2)."""
    x = _term(call.get("self"))
    if x is None or x.name != "x" or not x.factor:
        raise ObstructionError(_NOT_WRITTEN)
    inner = x.factor * math.sqrt(2)
    return Term("erf", x.data, 1.0, _rounded(inner))


def _abs(call: OperatorCall) -> Value:
    x = _term(call.get("self"))
    if x is None or x.name != "x":
        raise ObstructionError(_NOT_WRITTEN)
    return Term("|x|", x.data, abs(x.factor))


def _tanh(call: OperatorCall) -> Value:
    """tanh(sqrt(2 / pi) (x + c x^3)), or the tanh of data."""
    value = call.get("self")
    if not isinstance(value, Term):
        return FUNCTIONS["tanh"](call)
    is_gelu = math.isclose(value.factor, math.sqrt(2 / math.pi), rel_tol=_ALIKE)
    if value.name != "x + c x^3" or not is_gelu:
        raise ObstructionError(_NOT_WRITTEN)
    return replace(value, name="tanh", factor=1.0)


WRITTEN: dict[str, Handler] = {"erf": _erf, "abs": _abs, "tanh": _tanh}
