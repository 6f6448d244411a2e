# SPDX-License-Identifier: MIT
"""Whole numbers that are computed from the indices of an embedding.

Writers let negative indices count from the end: where i < 0, they take i + n. An Embedding refuses
negative indices. So only what becomes of an i >= 0 matters, and comparisons with 0 are decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .graph import BRANCHES
from .graph_call import Handler, OperatorCall
from .graph_values import Const, Data, Index, ObstructionError, Value, scalar

_LARGEST = 1 << 62
_COMPUTED = "it computes with whole numbers in a way that is not supported"


def as_index(value: Value) -> Index | None:
    """The value as numbers computed from an index; None if it is something else."""
    if isinstance(value, Index):
        return value
    if not isinstance(value, Data) or value.step.parent is not None or value.rows is not None:
        return None
    return Index(value, 1, 0) if value.step.is_integer is True else None


def index_data(value: Value) -> Value:
    """The index itself, if the value is one for each index that an Embedding takes."""
    if not isinstance(value, Index):
        return value
    if (value.scale, value.offset, value.is_float) != (1, 0, False):
        raise ObstructionError("its indices are computed from the model's input")
    return value.data


def index_arithmetic(op: str, a: Value, b: Value) -> Index | None:
    """A sum, difference or product; None if none of them comes from an index."""
    found = [as_index(value) for value in (a, b)]
    data = next((index.data for index in found if index is not None), None)
    if data is None:
        return None
    left, right = (_operand(value, data) for value in (a, b))
    is_float = left.is_float or right.is_float
    if op in ("add", "sub"):
        sign = 1 if op == "add" else -1
        made = (left.scale + sign * right.scale, left.offset + sign * right.offset)
    elif op == "mul" and 0 in (left.scale, right.scale):
        factor, other = (left, right) if left.scale == 0 else (right, left)
        made = (factor.offset * other.scale, factor.offset * other.offset)
    else:
        raise ObstructionError(_COMPUTED)
    if max(map(abs, made)) > _LARGEST:
        raise ObstructionError(_COMPUTED)
    return Index(data, *made, is_float)


def _operand(value: Value, data: Data) -> Index:
    """A number or an index, as numbers computed from these indices."""
    index = as_index(value)
    if index is not None:
        if index.data.step.layer is not data.step.layer or index.data.axes != data.axes:
            raise ObstructionError(BRANCHES)
        return index
    number = scalar(value)
    if number != int(number) or (isinstance(value, Const) and len(value.dims) > len(data.axes)):
        raise ObstructionError(_COMPUTED)
    is_float = isinstance(value, Const) and value.array.dtype.kind == "f"
    return Index(data, 0, int(number), is_float)


# Whether a - b = scale i + offset is so for all i >= 0, and whether it is so for none.
_COMPARISONS: dict[str, tuple[Callable[[Index], bool], Callable[[Index], bool]]] = {
    "lt": (lambda d: d.scale <= 0 and d.offset < 0, lambda d: d.scale >= 0 and d.offset >= 0),
    "le": (lambda d: d.scale <= 0 and d.offset <= 0, lambda d: d.scale >= 0 and d.offset > 0),
    "gt": (lambda d: d.scale >= 0 and d.offset > 0, lambda d: d.scale <= 0 and d.offset <= 0),
    "ge": (lambda d: d.scale >= 0 and d.offset >= 0, lambda d: d.scale <= 0 and d.offset < 0),
}


def _compare(call: OperatorCall) -> Value:
    """A comparison that has one result for all indices."""
    difference = index_arithmetic("sub", call.get("self"), call.get("other"))
    if difference is None:
        raise ObstructionError("it compares something else than indices")
    always, never = _COMPARISONS[call.op]
    if not always(difference) and not never(difference):
        raise ObstructionError("its result is not the same for all indices")
    return Index(difference.data, 0, int(always(difference)))


def _not(call: OperatorCall) -> Value:
    value = call.get("self")
    if not isinstance(value, Index) or value.scale or value.offset not in (0, 1):
        raise ObstructionError("it is not known to take the result of a comparison of indices")
    return replace(value, offset=1 - value.offset)


def _where(call: OperatorCall) -> Value:
    """One of two values, by a comparison of indices."""
    condition, *branches = (call.get(name) for name in ("condition", "self", "other"))
    if not isinstance(condition, Index) or condition.scale:
        raise ObstructionError("its condition is not known to be a comparison of indices")
    chosen, other = branches if condition.offset else branches[::-1]
    _operand(other, condition.data)
    return _operand(chosen, condition.data)


def cast_index(value: Index, dtype: str) -> Index:
    """A cast of computed indices; one back from floats may round them."""
    to_integer = dtype.startswith(("int", "uint"))
    if dtype == "bool" or (to_integer and value.is_float and value.scale):
        raise ObstructionError("it casts between numbers of different kinds")
    return replace(value, is_float=not to_integer)


INDICES: dict[str, Handler] = {
    **dict.fromkeys(_COMPARISONS, _compare),
    "logical_not": _not,
    "where": _where,
}
