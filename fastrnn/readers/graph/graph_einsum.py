# SPDX-License-Identifier: MIT
"""Einstein sums of two values: products with a weight, and weighted sums over steps."""

from __future__ import annotations

from .graph import NO_LAYER
from .graph_call import Handler, OperatorCall, weight_of
from .graph_directions import whole
from .graph_layers import dense
from .graph_spans import summed, weighted
from .graph_values import Axis, Const, Data, ObstructionError, RankError, Value, solid

_NOT_READ = "its equation is not two terms of different letters and a result"


def _einsum(call: OperatorCall) -> Value:
    """Two values with a letter for each axis; those that the result has not are summed over."""
    equation, values = call.get("equation"), call.get("tensors")
    call.get("path")  # the order of more than two values
    if not isinstance(equation, str) or not isinstance(values, list) or len(values) != 2:
        raise ObstructionError(_NOT_READ)
    terms, arrow, result = equation.replace(" ", "").partition("->")
    first, comma, second = terms.partition(",")
    parts = (first, second, result)
    if not arrow or not comma or not all(part.isalpha() for part in (first, second)):
        raise ObstructionError(_NOT_READ)
    if any(len(set(part)) < len(part) for part in parts) or not set(result) <= {*first, *second}:
        raise ObstructionError(_NOT_READ)
    named = list(zip((first, second), values, strict=True))
    if isinstance(values[0], Const) != isinstance(values[1], Const):
        named.sort(key=lambda part: isinstance(part[1], Const))
        return _with_weight(call, *named[0], *named[1], result)
    return _weighted_sum(call, named, result)


def _axes(letters: str, data: Data) -> dict[str, Axis]:
    """The axes by their letters."""
    if len(letters) != len(data.axes):
        raise RankError(f"its input has {len(data.axes)} axes, expected {len(letters)}")
    return dict(zip(letters, data.axes, strict=True))


def _with_weight(
    call: OperatorCall, letters: str, value: Value, of_weight: str, weight: Value, result: str
) -> Data:
    """A Linear over one axis of the data, which becomes another one or is gone."""
    data, array = whole(value), weight_of(weight, "weight", len(of_weight)).array
    axes = _axes(letters, data)
    over = [letter for letter in of_weight if letter in letters]
    made = [letter for letter in of_weight if letter not in letters]
    kept = [letter for letter in letters if letter not in over]
    if len(over) != 1 or len(made) > 1 or sorted(result) != sorted([*kept, *made]):
        raise ObstructionError(NO_LAYER)
    matrix = array if of_weight[-1] == over[0] else array.T
    moved = Data(data.step, tuple(axes[letter] for letter in [*kept, *over]))
    name = call.name("Linear", "tensors")
    found = dense(moved, {"weight": matrix.reshape(-1, matrix.shape[-1])}, name)
    axes |= dict(zip([*kept, *made], found.axes, strict=False))
    return Data(found.step, tuple(axes[letter] for letter in result))


def _weighted_sum(call: OperatorCall, named: list[tuple[str, Value]], result: str) -> Value:
    """Steps with a weight for each of them, which may be summed over."""
    shared = set(named[0][0]) & set(named[1][0])
    over = sorted(shared - set(result))
    values = []
    for letters, value in named:
        data = whole(value)
        axes = _axes(letters, data)
        if any(solid(axes[letter]) for letter in {*letters} - shared - set(result)):
            raise ObstructionError(NO_LAYER)  # a sum over an axis of one value alone
        aligned = tuple(axes.get(letter, ()) for letter in [*result, *over])
        values.append(Data(data.step, aligned))
    if len(over) > 1:
        raise ObstructionError(NO_LAYER)
    found = weighted(*values)
    return summed(call, found, [len(result)], keep=False) if over else found


EINSUM: dict[str, Handler] = {"einsum": _einsum}
