# SPDX-License-Identifier: MIT
"""Bookkeeping of axes: reshapes that join or part them, and layers that put y in another order."""

from __future__ import annotations

from collections.abc import Sequence

from ..description import Layer
from .values import Atom, Axes, Axis, CannotMap, Dim, Dims, Step, dim_of, over, solid, times


def reshape(axes: Axes, target: Dims) -> Axes:
    """The axes in a new shape, if each new one is made of whole old ones in their order."""
    atoms = [atom for axis in axes for atom in axis]
    sizes = _complete(axes, target)
    result: list[Axis] = []
    for size in sizes:
        taken: list[Atom] = []
        if size == Dim(1):
            if atoms and atoms[0].size == 1:
                taken.append(atoms.pop(0))
        else:
            while dim_of(tuple(taken)) != size:
                if not atoms:
                    raise CannotMap("it cuts or mixes axes")
                taken.append(atoms.pop(0))
        result.append(tuple(taken))
    if solid(tuple(atoms)):
        raise CannotMap("it cuts or mixes axes")
    return tuple(result)


def _complete(axes: Axes, target: Dims) -> list[Dim]:
    """The new sizes with the one that is left open, if any."""
    total: Dim | None = Dim(1)
    for axis in axes:
        total = times(total, dim_of(axis))
    open_ones = [index for index, size in enumerate(target) if size is None or size == Dim(-1)]
    for index, size in enumerate(target):
        if index not in open_ones:
            if size is None or size.count < 0:
                raise CannotMap("a size of its shape is negative")
            total = over(total, size) if open_ones else total
    if len(open_ones) > 1 or total is None:
        raise CannotMap("its shape does not follow from that of its input")
    return [total if index in open_ones else size or Dim(0) for index, size in enumerate(target)]


def copy_zeros(axes: Axes, target: Dims) -> Dims:
    """The target of a Reshape with allowzero=0: 0 stands for the old size."""
    if any(size == Dim(0) and index >= len(axes) for index, size in enumerate(target)):
        raise CannotMap("a 0 in its shape stands for an axis that is not there")
    return tuple(
        dim_of(axes[index]) if size == Dim(0) else size for index, size in enumerate(target)
    )


# --- The order in which y comes ---


def arrange(step: Step, wanted: Sequence[Axis]) -> Step:
    """The step followed by the layers that bring y to these axes; axes of size 1 aside."""
    groups = _group(step.layout, wanted)
    order = [index for group in groups for index in group]
    rest = [index for index in range(len(step.layout)) if index not in order]
    if any(solid(step.layout[index]) for index in rest):
        raise CannotMap("an axis is lost")
    order = rest + order
    if [i for i in order if solid(step.layout[i])] == [
        i for i in range(len(step.layout)) if solid(step.layout[i])
    ] and not any(len(group) > 1 for group in groups):
        return step  # at most axes of size 1 differ
    step = permute(step, order)
    at = len(step.layout)
    for group in reversed(groups):
        at -= len(group)
        if len(group) > 1:
            step = flatten(step, at, at + len(group) - 1)
    return step


def _group(layout: Axes, wanted: Sequence[Axis]) -> list[list[int]]:
    """For each wanted axis the axes of the layout that make it up."""
    free = list(range(len(layout)))
    groups: list[list[int]] = []
    for axis in wanted:
        group: list[int] = []
        exact = [index for index in free if layout[index] == axis]
        if exact:
            group = exact[:1]
            free.remove(exact[0])
        else:
            atoms = solid(axis)
            while atoms:
                size, index = _prefix(layout, free, atoms)
                atoms = atoms[size:]
                group.append(index)
                free.remove(index)
        groups.append(group)
    return groups


def _prefix(layout: Axes, free: list[int], atoms: Axis) -> tuple[int, int]:
    """The free axis with which these atoms begin: how many of them it has, and which it is."""
    for index in free:
        own = solid(layout[index])
        if own and atoms[: len(own)] == own:
            return len(own), index
    raise CannotMap("it works on a part or a mixture of axes")


def features_last(step: Step, features: Axis) -> Step:
    """The step with these features as last axis, joined if they were several axes."""
    if step.layout and step.layout[-1] == features:
        return step
    if not solid(features) and features not in step.layout:
        return unsqueeze(step, len(step.layout))
    if solid(features) and solid(step.layout[-1]) == solid(features):
        return step
    (group,) = _group(step.layout, [features])
    others = [axis for index, axis in enumerate(step.layout) if index not in group]
    return arrange(step, [*others, features])


def permute(step: Step, order: list[int]) -> Step:
    """The step followed by a layer that puts its axes in this order."""
    if order == list(range(len(order))):
        return step
    moved = [index for index, place in enumerate(order) if place != index]
    if len(moved) == 2:
        layer = Layer("transpose", "Transpose", {"dim0": moved[0], "dim1": moved[1]})
    else:
        layer = Layer("permute", "Permute", {"dims": order})
    return after(step, layer, tuple(step.layout[index] for index in order))


def flatten(step: Step, first: int, last: int) -> Step:
    """The step followed by a layer that joins neighbouring axes."""
    layer = Layer("flatten", "Flatten", {"start_dim": first, "end_dim": last})
    joint: Axis = sum(step.layout[first : last + 1], ())
    return after(step, layer, (*step.layout[:first], joint, *step.layout[last + 1 :]))


def unsqueeze(step: Step, place: int) -> Step:
    """The step followed by a layer that gives y one more axis, of size 1."""
    layer = Layer("unsqueeze", "Unsqueeze", {"dim": place})
    return after(step, layer, (*step.layout[:place], (), *step.layout[place:]))


def exactly(step: Step, axes: Axes) -> Step:
    """The step with y in these axes, those of size 1 included."""
    step = arrange(step, [axis for axis in axes if solid(axis)])
    if [solid(axis) for axis in step.layout] == [solid(axis) for axis in axes]:
        return step
    for place in reversed(range(len(step.layout))):
        if not solid(step.layout[place]):
            layer = Layer("squeeze", "Squeeze", {"dim": place})
            step = after(step, layer, step.layout[:place] + step.layout[place + 1 :])
    for place, axis in enumerate(axes):
        if not solid(axis):
            step = unsqueeze(step, place)
    return step


def after(step: Step, layer: Layer, layout: Axes, *, scoped: bool = False) -> Step:
    """The step that a further layer makes of this one."""
    return Step(step, layer, layout, step.time, None, scoped, lengths=step.lengths)


def time_position(step: Step, time: Axis) -> int:
    """Which axis of the layout is time: 0 or 1; the others are the batch and, last, features."""
    if step.time is not None and solid(step.time) != solid(time):
        raise CannotMap("it takes another axis as time than the layers before it")
    if len(step.layout) not in (2, 3):
        raise CannotMap(f"its input has {len(step.layout)} axes, expected time, batch, features")
    leading = step.layout[:-1]
    places = [index for index, axis in enumerate(leading) if axis == time]
    places += [index for index, axis in enumerate(leading) if solid(axis) == solid(time)]
    if not places:
        raise CannotMap("its time axis is not one that the model's input has")
    return places[0]
