# SPDX-License-Identifier: MIT
"""Settings that operators took as attributes and take as inputs in later operator sets."""

from __future__ import annotations

from .messages import Node, int_attribute, ints_attribute
from .values import CannotMap, Inputs

Slices = dict[int, tuple[int, int, int]]  # axis -> start, end, step, as they stand in the file

ENDLESS = (1 << 31) - 1  # from here on an end means: to the end


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise CannotMap(f"axis {axis} of a value with {rank} axes")
    return axis % rank


def read_axes(
    node: Node, inputs: Inputs, position: int, opset: int, as_input_since: int
) -> list[int] | None:
    """The axes of Squeeze, Unsqueeze and reductions; None if none are given."""
    if opset >= as_input_since:
        return inputs.ints(position, "axes")
    return ints_attribute(node, "axes")


def read_perm(node: Node, rank: int) -> list[int]:
    """The order of axes of a Transpose."""
    perm = ints_attribute(node, "perm")
    if perm is None:
        return list(range(rank))[::-1]
    if sorted(perm) != list(range(rank)):
        raise CannotMap(f"perm {perm} is no order of {rank} axes")
    return perm


def read_slices(node: Node, inputs: Inputs, opset: int, rank: int) -> Slices:
    """What a Slice takes of each axis it names."""
    steps: list[int] | None = None
    if opset >= 10:
        starts, ends = inputs.ints(1, "starts"), inputs.ints(2, "ends")
        axes, steps = inputs.ints(3, "axes"), inputs.ints(4, "steps")
    else:
        starts, ends = ints_attribute(node, "starts"), ints_attribute(node, "ends")
        axes = ints_attribute(node, "axes")
    if starts is None or ends is None:
        raise CannotMap("it has no starts or ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise CannotMap("its starts, ends, axes and steps do not fit together")
    triples = zip(starts, ends, steps, strict=True)
    return {axis_of(axis, rank): t for axis, t in zip(axes, triples, strict=True)}


def split_points(node: Node, inputs: Inputs, opset: int, size: int) -> list[int]:
    """Where a Split cuts an axis of this size, with both its ends."""
    lengths = inputs.ints(1, "split") if opset >= 13 else ints_attribute(node, "split")
    if lengths is None:
        count = int_attribute(node, "num_outputs", len(node.outputs))
        if not 0 < count <= max(size, 1):
            raise CannotMap(f"it splits {size} into {count}")
        whole = -(-size // count)
        lengths = [min(whole, size - whole * index) for index in range(count)]
    if sum(lengths) != size or min(lengths, default=0) < 0:
        raise CannotMap(f"it splits {size} into {lengths[:8]}")
    points = [0]
    for length in lengths:
        points.append(points[-1] + length)
    return points
