# SPDX-License-Identifier: MIT
"""Operations on constants, which writers leave in the graph around weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..containers.elements import Array
from ..containers.source import Budget
from .messages import Node, int_attribute
from .settings import Slices, axis_of, read_axes, read_slices, split_points
from .values import CannotMap, Const, Inputs, Value

_CASTS = {
    1: np.float32, 2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
    10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64, 16: np.float32,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
}
_LARGEST_FILL = 1 << 16


def fold(node: Node, inputs: Inputs, opset: int, budget: Budget) -> list[Value]:
    """The outputs of a node all of whose inputs are constants."""
    arrays = [value.array for value in inputs.values if isinstance(value, Const)]
    rule = _RULES.get(node.op_type)
    if rule is None or not arrays:
        raise CannotMap("this operation on constants is not supported")

    def spend(count: int) -> None:
        budget.spend(256 + count, node.what)

    try:
        with np.errstate(all="ignore"):
            results = rule(node, arrays, inputs, opset, spend)
    except (ValueError, IndexError, TypeError, OverflowError):
        raise CannotMap("its constants do not fit together") from None
    return [Const(np.ascontiguousarray(result).reshape(result.shape)) for result in results]


Spend = Callable[[int], None]
Rule = Callable[[Node, list[Array], Inputs, int, Spend], list[Array]]


def _identity(_n: Node, arrays: list[Array], _i: Inputs, _o: int, _s: Spend) -> list[Array]:
    return arrays[:1]


def _cast(node: Node, arrays: list[Array], _i: Inputs, _o: int, spend: Spend) -> list[Array]:
    target = _CASTS.get(int_attribute(node, "to", 0))
    if target is None:
        raise CannotMap("it casts to a type that is not supported")
    if arrays[0].dtype.kind not in "fiub":
        raise CannotMap("it casts from a type that is not supported")
    spend(arrays[0].size * np.dtype(target).itemsize)
    return [arrays[0].astype(target)]


def _transpose(node: Node, arrays: list[Array], _i: Inputs, _o: int, spend: Spend) -> list[Array]:
    from .settings import read_perm

    spend(arrays[0].nbytes)
    return [arrays[0].transpose(read_perm(node, arrays[0].ndim))]


def _reshape(node: Node, arrays: list[Array], inputs: Inputs, _o: int, spend: Spend) -> list[Array]:
    sizes = inputs.ints(1, "shape") or []
    if not int_attribute(node, "allowzero", 0):
        sizes = [arrays[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    spend(arrays[0].nbytes)
    return [arrays[0].reshape(sizes)]


def _squeeze(node: Node, arrays: list[Array], inputs: Inputs, opset: int, _s: Spend) -> list[Array]:
    axes = read_axes(node, inputs, 1, opset, 13)
    given = None if axes is None else tuple(axis_of(axis, arrays[0].ndim) for axis in axes)
    return [np.squeeze(arrays[0], given)]


def _unsqueeze(
    node: Node, arrays: list[Array], inputs: Inputs, opset: int, _s: Spend
) -> list[Array]:
    axes = read_axes(node, inputs, 1, opset, 13) or []
    rank = arrays[0].ndim + len(axes)
    return [np.expand_dims(arrays[0], tuple(axis_of(axis, rank) for axis in axes))]


def _slice(
    node: Node, arrays: list[Array], inputs: Inputs, opset: int, spend: Spend
) -> list[Array]:
    spend(arrays[0].nbytes)
    return [_cut(arrays[0], read_slices(node, inputs, opset, arrays[0].ndim))]


def _cut(array: Array, slices: Slices) -> Array:
    index: list[slice] = [slice(None)] * array.ndim
    for axis, (start, stop, step) in slices.items():
        size = array.shape[axis]
        if step < 0 and stop < -size:
            index[axis] = slice(start, None, step)
        else:
            index[axis] = slice(start, stop, step)
    return array[tuple(index)]


def _concat(node: Node, arrays: list[Array], _i: Inputs, _o: int, spend: Spend) -> list[Array]:
    spend(sum(array.nbytes for array in arrays))
    axis = axis_of(int_attribute(node, "axis", 0), arrays[0].ndim)
    return [np.concatenate(arrays, axis)]


def _gather(node: Node, arrays: list[Array], inputs: Inputs, _o: int, spend: Spend) -> list[Array]:
    data, index = arrays[0], inputs.const(1, "indices")
    axis = axis_of(int_attribute(node, "axis", 0), data.ndim)
    spend(index.size * (data.nbytes // max(data.shape[axis], 1)))
    return [np.take(data, index, axis)]


def _split(
    node: Node, arrays: list[Array], inputs: Inputs, opset: int, spend: Spend
) -> list[Array]:
    axis = axis_of(int_attribute(node, "axis", 0), arrays[0].ndim)
    points = split_points(node, inputs, opset, arrays[0].shape[axis])
    spend(arrays[0].nbytes)
    return list(np.split(arrays[0], points[1:-1], axis))


def _arithmetic(node: Node, arrays: list[Array], _i: Inputs, _o: int, spend: Spend) -> list[Array]:
    first, second = arrays
    shape = np.broadcast_shapes(first.shape, second.shape)
    size = 8
    for dim in shape:
        size *= dim
    spend(size)
    if first.dtype != second.dtype or first.dtype.kind not in "fiu":
        raise CannotMap("its constants are of different types")
    return [_ARITHMETIC[node.op_type](first, second)]


_RULES: Mapping[str, Rule] = {
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "Split": _split,
} | dict.fromkeys(_ARITHMETIC, _arithmetic)


def constant_value(array: Array) -> Any:
    """The one number of an array of one element."""
    if array.size != 1:
        raise CannotMap(f"a constant of {array.size} elements, expected one number")
    return array.reshape(-1)[0].item()
