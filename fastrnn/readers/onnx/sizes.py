# SPDX-License-Identifier: MIT
"""Computations with shapes, as exporters write them to reshape data and to make zero states."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..containers.elements import Array
from .constants import constant_value
from .messages import Node, int_attribute, tensor_attribute
from .settings import axis_of, read_axes, read_perm, read_slices, split_points
from .tensors import Tensors
from .values import (
    CannotMap,
    Const,
    Data,
    Dim,
    Dims,
    Finals,
    Given,
    Inputs,
    Sizes,
    Spread,
    Value,
    Zeros,
    dim_of,
    over,
    times,
)

_MOST_SIZES = 64


def shape_of(node: Node, inputs: Inputs) -> list[Value]:
    """Shape: the sizes of a value, or of some of its axes."""
    value = inputs.get(0)
    if isinstance(value, (Data, Finals)):
        dims: Dims | None = tuple(dim_of(axis) for axis in value.axes)
    elif isinstance(value, Const):
        dims = tuple(Dim(size) for size in value.array.shape)
    elif isinstance(value, Sizes):
        dims = (Dim(len(value.dims)),) if value.rank else ()
    else:
        dims = getattr(value, "shape", None)
    if dims is None:
        raise CannotMap("the shape of its input is not known")
    start, end = int_attribute(node, "start", 0), int_attribute(node, "end", len(dims))
    return [Sizes(dims[start:end])]


def as_sizes(value: Value | None) -> Sizes:
    """A value as a vector of sizes or as one size."""
    if isinstance(value, Sizes):
        return value
    array = value.array if isinstance(value, Const) else None
    small = array is not None and array.ndim <= 1 and array.size <= _MOST_SIZES
    if array is not None and small and array.dtype.kind in "iu":
        return Sizes(tuple(Dim(int(size)) for size in array.reshape(-1)), array.ndim)
    raise CannotMap("it mixes sizes with something else")


def run_sizes(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """A node that computes with sizes."""
    kind = node.op_type
    if kind in ("Identity", "Cast"):
        return [as_sizes(inputs.get(0))]
    if kind == "Concat":
        parts = [as_sizes(value) for value in inputs.values]
        dims: Dims = sum((part.dims for part in parts), ())
        if len(dims) > _MOST_SIZES or not all(part.rank for part in parts):
            raise CannotMap("it joins what is not a list of sizes")
        return [Sizes(dims)]
    if kind in ("Mul", "Div", "Add", "Sub"):
        return [_arithmetic(kind, as_sizes(inputs.get(0)), as_sizes(inputs.get(1)))]
    first = as_sizes(inputs.get(0))
    if kind == "Gather":
        return [_gather(first, inputs.const(1, "indices"))]
    if kind == "Slice":
        ((start, end, step),) = read_slices(node, inputs, opset, first.rank).values() or (
            (0, 0, 1),
        )
        return [Sizes(first.dims[slice(start, end, step)])]
    if kind == "Split":
        points = split_points(node, inputs, opset, len(first.dims))
        return [Sizes(first.dims[a:b]) for a, b in pairwise(points)]
    if kind in ("Unsqueeze", "Squeeze", "Reshape", "Flatten") and len(first.dims) == 1:
        target = inputs.ints(1, "shape") if kind == "Reshape" else None
        rank = {"Unsqueeze": 1, "Squeeze": 0}.get(kind, 1 if target is None else len(target))
        if rank <= 1:
            return [Sizes(first.dims, rank)]
    if kind == "Reshape":
        return [first]
    raise CannotMap("this computation with shapes is not supported")


def _gather(first: Sizes, index: Array) -> Sizes:
    if index.ndim > 1 or index.size > _MOST_SIZES or index.dtype.kind not in "iu":
        raise CannotMap("it takes sizes by a table")
    places = [axis_of(int(place), len(first.dims)) for place in index.reshape(-1)]
    return Sizes(tuple(first.dims[place] for place in places), index.ndim)


def _arithmetic(kind: str, a: Sizes, b: Sizes) -> Sizes:
    count = max(len(a.dims), len(b.dims))
    if {len(a.dims), len(b.dims)} - {1, count}:
        raise CannotMap("it computes with lists of sizes of different lengths")
    left, right = (side.dims * (count if len(side.dims) == 1 else 1) for side in (a, b))
    dims = tuple(_compute(kind, x, y) for x, y in zip(left, right, strict=True))
    return Sizes(dims, max(a.rank, b.rank))


def _compute(kind: str, a: Dim | None, b: Dim | None) -> Dim | None:
    if kind == "Mul":
        return times(a, b)
    if kind == "Div":
        return over(a, b)
    if a is None or b is None or a.atoms or b.atoms:
        return None
    return Dim(a.count + b.count if kind == "Add" else a.count - b.count)


# --- Zeros, and constants that are spread over a batch ---


def fill(node: Node, inputs: Inputs, tensors: Tensors) -> list[Value]:
    """ConstantOfShape: only of zeros."""
    data = tensor_attribute(node, "value")
    if data is not None:
        entry = tensors.read_message(data, node.what)
        if not isinstance(entry, np.ndarray) or constant_value(entry) != 0:
            raise CannotMap("it makes something else than zeros")
    return [Zeros(as_sizes(inputs.get(0)).dims)]


def expand(inputs: Inputs) -> list[Value]:
    """Expand of zeros or of a constant."""
    value, target = inputs.get(0), as_sizes(inputs.get(1)).dims
    if isinstance(value, Zeros):
        return [Zeros(_broadcast(value.shape, target))]
    if isinstance(value, Const) and not value.array.any():
        own = tuple(Dim(size) for size in value.array.shape)
        return [Zeros(_broadcast(own, target))]
    if isinstance(value, Const):
        own = tuple(Dim(size) for size in value.array.shape)
        return [Spread(value.array, _broadcast(own, target) or ())]
    raise CannotMap("it repeats data")


def _broadcast(own: Dims | None, target: Dims) -> Dims | None:
    if own is None:
        return None
    count = max(len(own), len(target))
    one = (Dim(1),)
    left, right = (one * (count - len(dims)) + dims for dims in (own, target))
    return tuple(a if b == Dim(1) else b for a, b in zip(left, right, strict=True))


def run_zeros(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """A node that cuts, joins or turns zeros gives zeros."""
    kind = node.op_type
    zeros = inputs.get(0)
    shape = zeros.shape if isinstance(zeros, Zeros) else None
    if kind in ("Identity", "Cast", "Dropout"):
        return [Zeros(shape)]
    if kind == "Concat" and all(
        isinstance(value, Zeros) or (isinstance(value, Const) and not value.array.any())
        for value in inputs.values
    ):
        return [Zeros()]
    if kind == "Unsqueeze" and shape is not None:
        places = read_axes(node, inputs, 1, opset, 13) or []
        rank = len(shape) + len(places)
        rest = iter(shape)
        there = {axis_of(place, rank) for place in places}
        return [Zeros(tuple(Dim(1) if i in there else next(rest, None) for i in range(rank)))]
    if kind == "Transpose" and shape is not None:
        return [Zeros(tuple(shape[index] for index in read_perm(node, len(shape))))]
    if kind == "Slice" and shape is not None:
        cut = read_slices(node, inputs, opset, len(shape))
        return [Zeros(tuple(_cut(dim, cut.get(i)) for i, dim in enumerate(shape)))]
    if kind in ("Slice", "Gather", "Squeeze", "Reshape", "Tile", "Transpose", "Unsqueeze"):
        return [Zeros()]
    if kind == "Split":
        return [Zeros() for _ in node.outputs]
    raise CannotMap("it computes with zeros instead of data")


def _cut(dim: Dim | None, cut: tuple[int, int, int] | None) -> Dim | None:
    if cut is None or dim is None:
        return dim
    return None if dim.number is None else Dim(len(range(dim.number)[slice(*cut)]))


# --- Initial states that the caller gives: rows of a graph input ---


def run_given(node: Node, inputs: Inputs, opset: int) -> list[Value] | None:
    """A node that takes rows of a given state; None if it does something else."""
    value = inputs.get(0)
    assert isinstance(value, Given)
    kind, size = node.op_type, _rows(value)
    if kind in ("Identity", "Cast"):
        return [value]
    if size is None or len(value.shape) not in (2, 3):
        return None
    if kind == "Gather" and int_attribute(node, "axis", 0) in (0, -len(value.shape)):
        index = inputs.const(1, "indices")
        at = axis_of(int(constant_value(index)), size)
        shape = value.shape[1:] if index.ndim == 0 else (Dim(1), *value.shape[1:])
        return [Given(value.name, value.start + at, value.start + at + 1, shape)]
    if kind == "Slice":
        cut = read_slices(node, inputs, opset, len(value.shape))
        if set(cut) == {0} and cut[0][2] == 1:
            start, stop, _ = slice(*cut[0]).indices(size)
            return [_take(value, start, max(start, stop))]
    if kind == "Split" and int_attribute(node, "axis", 0) == 0:
        points = split_points(node, inputs, opset, size)
        return [_take(value, a, b) for a, b in pairwise(points)]
    axes = read_axes(node, inputs, 1, opset, 13) if kind == "Unsqueeze" else None
    if len(value.shape) == 2 and axes in ([0], [-3]):
        return [Given(value.name, value.start, value.stop, (Dim(1), *value.shape))]
    return None


def _rows(value: Given) -> int | None:
    """How many rows there are; one whose axis is gone counts as none."""
    if value.stop is None or not value.shape:
        return None
    return value.stop - value.start


def _take(value: Given, start: int, stop: int) -> Given:
    shape = (Dim(stop - start), *value.shape[1:])
    return Given(value.name, value.start + start, value.start + stop, shape)
