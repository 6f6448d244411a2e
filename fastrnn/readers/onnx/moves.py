# SPDX-License-Identifier: MIT
"""Operations that only move the axes of data: Transpose, Reshape, Squeeze and their like."""

from __future__ import annotations

from dataclasses import replace

from .axes import copy_zeros, reshape
from .messages import Node, int_attribute
from .settings import axis_of, read_axes, read_perm
from .sizes import as_sizes
from .values import Axes, CannotMap, Data, Dim, Finals, Inputs, Value, dim_of, solid, times

MOVES = ("Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand")

_INTEGERS = (2, 3, 4, 5, 6, 7, 12, 13)
_FLOATS = (1, 10, 11, 16)


def move(node: Node, value: Data | Finals, inputs: Inputs, opset: int) -> list[Value]:
    """The same numbers with their axes in another order or grouping."""
    if node.op_type == "Identity":
        return [value]
    if node.op_type == "Cast":
        _check_cast(node, value)
        return [value]
    return [replace(value, axes=_moved(node, value.axes, inputs, opset))]


def _moved(node: Node, axes: Axes, inputs: Inputs, opset: int) -> Axes:
    kind, rank = node.op_type, len(axes)
    if kind == "Transpose":
        return tuple(axes[index] for index in read_perm(node, rank))
    if kind == "Squeeze":
        places = read_axes(node, inputs, 1, opset, 13)
        if places is None:
            return tuple(axis for axis in axes if solid(axis))
        gone = {axis_of(place, rank) for place in places}
        if any(solid(axes[index]) for index in gone):
            raise CannotMap("it drops an axis that is not known to be of size 1")
        return tuple(axis for index, axis in enumerate(axes) if index not in gone)
    if kind == "Unsqueeze":
        places = read_axes(node, inputs, 1, opset, 13) or []
        rank += len(places)
        new = {axis_of(place, rank) for place in places}
        if len(new) != len(places):
            raise CannotMap("it names an axis twice")
        rest = iter(axes)
        return tuple(() if index in new else next(rest) for index in range(rank))
    if kind == "Flatten":
        at = int_attribute(node, "axis", 1)
        at = at + rank if at < 0 else at
        if not 0 <= at <= rank:
            raise CannotMap(f"axis {at} of a value with {rank} axes")
        halves = []
        for half in (axes[:at], axes[at:]):
            size: Dim | None = Dim(1)
            for axis in half:
                size = times(size, dim_of(axis))
            halves.append(size)
        return reshape(axes, tuple(halves))
    target = as_sizes(inputs.get(1)).dims
    if kind == "Reshape":
        if not int_attribute(node, "allowzero", 0):
            target = copy_zeros(axes, target)
        return reshape(axes, target)
    own = tuple(dim_of(axis) for axis in axes)
    if len(target) > rank or any(
        size not in (Dim(1), own[rank - len(target) + index]) for index, size in enumerate(target)
    ):
        raise CannotMap("it repeats data")
    return axes


def _check_cast(node: Node, value: Data | Finals) -> None:
    to = int_attribute(node, "to", 0)
    integer = isinstance(value, Data) and value.step.integer
    if to not in (_INTEGERS if integer else _FLOATS):
        raise CannotMap("it casts between numbers of different kinds")
