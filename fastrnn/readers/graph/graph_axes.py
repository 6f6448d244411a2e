# SPDX-License-Identifier: MIT
"""Axes of data: moves that change only how the graph sees them, and layers that move them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from ..description import Layer
from .graph_values import (
    NOT_FOLLOWED,
    Atom,
    Axes,
    Axis,
    Const,
    Dim,
    Dims,
    ObstructionError,
    Step,
    Tensor,
    dim_of,
    over,
    solid,
    times,
)

# --- As the graph sees them ---


def moved(value: Tensor, places: Sequence[int]) -> Tensor:
    """The value with its axes in another order."""
    if isinstance(value, Const):
        spread = None if value.spread is None else tuple(value.spread[place] for place in places)
        return Const(value.array.transpose(places), value.name, spread)
    return replace(value, axes=tuple(value.axes[place] for place in places))


def with_ones(value: Tensor, places: set[int]) -> Tensor:
    """The value with new axes of size 1 at these places."""
    if isinstance(value, Const):
        array = np.expand_dims(value.array, tuple(places))
        spread = None
        if value.spread is not None:
            rest = iter(value.spread)
            spread = tuple(Dim(1) if at in places else next(rest) for at in range(array.ndim))
        return Const(array, spread=spread)
    old = iter(value.axes)
    count = len(value.axes) + len(places)
    return replace(value, axes=tuple(() if at in places else next(old) for at in range(count)))


def without(value: Tensor, places: set[int]) -> Tensor:
    """The value without axes of size 1."""
    if isinstance(value, Const):
        spread = value.spread
        if spread is not None:
            spread = tuple(size for at, size in enumerate(spread) if at not in places)
        return Const(np.squeeze(value.array, tuple(places)), spread=spread)
    axes = tuple(axis for at, axis in enumerate(value.axes) if at not in places)
    return replace(value, axes=axes)


_MIXES = "it splits or mixes axes, or reshapes axes whose size is not known to a fixed size"


def reshaped(axes: Axes, target: Dims) -> Axes:
    """The axes in a new shape, if each new one is made of whole old ones in their order."""
    atoms = [atom for axis in axes for atom in axis]
    result: list[Axis] = []
    for size in completed(tuple(dim_of(axis) for axis in axes), target):
        taken: list[Atom] = []
        if size == Dim(1):
            if atoms and atoms[0].size == 1:
                taken.append(atoms.pop(0))
        else:
            while dim_of(tuple(taken)) != size:
                if not atoms:
                    raise ObstructionError(_MIXES)
                taken.append(atoms.pop(0))
        result.append(tuple(taken))
    if solid(tuple(atoms)):
        raise ObstructionError(_MIXES)
    return tuple(result)


def completed(own: Dims, target: Dims) -> Dims:
    """The new sizes with the one that is left open, if any."""
    total = Dim(1)
    for size in own:
        total = times(total, size)
    open_ones = [at for at, size in enumerate(target) if size in (NOT_FOLLOWED, Dim(-1))]
    for at, size in enumerate(target):
        if at not in open_ones:
            if size.count is None or size.count < 0:
                raise ObstructionError("a size of its shape is negative")
            total = over(total, size) if open_ones else total
    if len(open_ones) > 1 or total == NOT_FOLLOWED:
        raise ObstructionError("its shape does not follow from that of its input")
    return tuple(total if at in open_ones else size for at, size in enumerate(target))


# --- As the layers see them ---


def after(
    step: Step,
    kind: str,
    name: tuple[str, bool],
    options: dict[str, object] | None = None,
    arrays: dict[str, Array] | None = None,
    layout: Axes | None = None,
) -> Step:
    """A further layer, with its name and whether that is a module's, and the axes of its y."""
    kept = {key: np.ascontiguousarray(array) for key, array in (arrays or {}).items()}
    layer = Layer(name[0], kind, options or {}, kept)
    axes = step.layout if layout is None else layout
    return Step(step, layer, axes, step.time, is_scoped=name[1], lengths=step.lengths)


def arrange(step: Step, wanted: Sequence[Axis]) -> Step:
    """The step followed by the layers that bring y to these axes; axes of size 1 aside."""
    groups = _group(step.layout, wanted)
    order = [at for group in groups for at in group]
    rest = [at for at in range(len(step.layout)) if at not in order]
    if any(solid(step.layout[at]) for at in rest):
        raise ObstructionError("an axis is lost")
    moving = [at for at in order if solid(step.layout[at])]
    if moving == sorted(moving) and not any(len(group) > 1 for group in groups):
        return step  # at most axes of size 1 differ
    for at in reversed(rest):
        step = squeeze(step, at)
    step = permute(step, [at - sum(other < at for other in rest) for at in order])
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
        exact = [at for at in free if layout[at] == axis]
        if exact:
            group = exact[:1]
            free.remove(exact[0])
        else:
            atoms = solid(axis)
            while atoms:
                size, at = _prefix(layout, free, atoms)
                atoms = atoms[size:]
                group.append(at)
                free.remove(at)
        groups.append(group)
    return groups


def _prefix(layout: Axes, free: list[int], atoms: Axis) -> tuple[int, int]:
    """The free axis with which these atoms begin: how many of them it has, and which it is."""
    for at in free:
        own = solid(layout[at])
        if own and atoms[: len(own)] == own:
            return len(own), at
    raise ObstructionError("it works on a part or a mixture of axes")


def features_last(step: Step, features: Axis) -> Step:
    """The step with these features as last axis, joined if they were several axes."""
    if features in step.layout:
        others = [at for at, axis in enumerate(step.layout) if axis != features]
        at = step.layout.index(features)
        return step if step.layout[-1] == features else permute(step, [*others, at])
    if not solid(features):
        return unsqueeze(step, -1)
    if step.layout and solid(step.layout[-1]) == solid(features):
        return step
    (group,) = _group(step.layout, [features])
    rest = [axis for at, axis in enumerate(step.layout) if at not in group]
    return arrange(step, [*rest, features])


def permute(step: Step, order: list[int]) -> Step:
    """The step followed by a layer that puts its axes in this order."""
    moving = [at for at, place in enumerate(order) if place != at]
    if not moving:
        return step
    layout = tuple(step.layout[place] for place in order)
    if len(moving) == 2:
        dims: dict[str, object] = {"dim0": moving[0], "dim1": moving[1]}
        return after(step, "Transpose", ("transpose", False), dims, layout=layout)
    return after(step, "Permute", ("permute", False), {"dims": order}, layout=layout)


def flatten(step: Step, first: int, last: int) -> Step:
    """The step followed by a layer that joins neighbouring axes."""
    joint: Axis = sum(step.layout[first : last + 1], ())
    layout = (*step.layout[:first], joint, *step.layout[last + 1 :])
    options: dict[str, object] = {"start_dim": first, "end_dim": last}
    return after(step, "Flatten", ("flatten", False), options, layout=layout)


def unsqueeze(step: Step, place: int) -> Step:
    """The step followed by a layer that gives y one more axis, of size 1; -1 is the last place."""
    at = len(step.layout) if place == -1 else place
    layout = (*step.layout[:at], (), *step.layout[at:])
    return after(step, "Unsqueeze", ("unsqueeze", False), {"dim": place}, layout=layout)


def squeeze(step: Step, place: int) -> Step:
    """The step followed by a layer that takes out an axis of size 1."""
    layout = step.layout[:place] + step.layout[place + 1 :]
    options: dict[str, object] = {"dim": place - len(step.layout)}
    return after(step, "Squeeze", ("squeeze", False), options, layout=layout)


def without_ones(step: Step, kept: Sequence[Axis]) -> Step:
    """The step without axes of size 1 that are none of these, if it has more than three."""
    for at in reversed(range(len(step.layout))):
        axis = step.layout[at]
        if len(step.layout) > 3 and not solid(axis) and axis not in kept:
            step = squeeze(step, at)
    return step


def exactly(step: Step, axes: Axes) -> Step:
    """The step with y in these axes, those of size 1 included."""
    if Counter(step.layout) == Counter(axes):
        return permute(step, [at for group in _group(step.layout, axes) for at in group])
    step = arrange(step, [axis for axis in axes if solid(axis)])
    if [solid(axis) for axis in step.layout] == [solid(axis) for axis in axes]:
        return step
    for place in reversed(range(len(step.layout))):
        if not solid(step.layout[place]):
            step = squeeze(step, place)
    for place, axis in enumerate(axes):
        if not solid(axis):
            step = unsqueeze(step, place)
    return step


def over_time(
    step: Step, time: Axis, kind: str, name: tuple[str, bool], options: dict[str, object]
) -> Step:
    """The step followed by a layer that takes the time axis away."""
    others = [axis for axis in step.layout if axis != time]
    step = without_ones(step, [time])
    if len(step.layout) == 3 and step.layout[-1] == time:  # as a convolution leaves it
        step = features_last(step, others[-1])
    position = time_position(step, time)
    layout = step.layout[:position] + step.layout[position + 1 :]
    made = after(step, kind, name, {**options, "batch_first": position == 1}, layout=layout)
    return replace(made, time=())


def time_position(step: Step, time: Axis) -> int:
    """Which axis of the layout is time: 0 or 1; the others are the batch and, last, features."""
    if step.time is not None and solid(step.time) != solid(time):
        raise ObstructionError("it takes another axis as time than the layers before it")
    if len(step.layout) not in (2, 3):
        raise ObstructionError(
            f"its input has {len(step.layout)} axes, expected time, batch and features"
        )
    leading = step.layout[:-1]
    places = [at for at, axis in enumerate(leading) if axis == time]
    places += [at for at, axis in enumerate(leading) if solid(axis) == solid(time)]
    if not places:
        raise ObstructionError("its time axis is not one that the model's input has")
    return places[0]


def may_be_time(step: Step, axis: Axis) -> bool:
    """Whether a layer may work along this axis: the known time, or any if none is known."""
    if step.time is None:
        return len(axis) == 1 and not axis[0].is_feature
    return bool(step.time) and solid(step.time) == solid(axis)
