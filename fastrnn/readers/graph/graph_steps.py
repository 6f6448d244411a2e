# SPDX-License-Identifier: MIT
"""The layers so far: further ones that put axes in order, and what is done along time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..containers.elements import Array
from ..description import DescribedLayer
from .graph_values import (
    Atom,
    Axes,
    Axis,
    ObstructionError,
    Step,
    solid,
)

Name = tuple[str, bool]  # of a layer, and whether it is that of a module

NOT_TIME = "it works on an axis that is not known to be time"
_MOST_MOVES = 16  # layers without weights that two steps may each have put before themselves
_HIDDEN = Atom("hidden", None)  # the hidden units of any layer, to compare axes

# --- Axes in another order ---


def after(
    step: Step,
    kind: str,
    name: Name,
    options: dict[str, object] | None = None,
    arrays: dict[str, Array] | None = None,
    layout: Axes | None = None,
) -> Step:
    """A further layer, with its name and whether that is a module's, and the axes of its y."""
    kept = {key: np.ascontiguousarray(array) for key, array in (arrays or {}).items()}
    layer = DescribedLayer(name[0], kind, options or {}, kept)
    axes = step.layout if layout is None else layout
    return Step(step, layer, axes, step.time, is_scoped=name[1], lengths=step.lengths)


def exactly(step: Step, axes: Axes) -> Step:
    """The step followed by the layers that bring y to these axes, those of size 1 included."""
    step = _directions_apart(step, axes)
    groups = _group(step.layout, axes)
    order = [at for group in groups for at in group]
    rest = [at for at in range(len(step.layout)) if at not in order]
    if any(solid(step.layout[at]) for at in rest):
        raise ObstructionError("an axis is lost")
    for at in reversed(rest):
        step = squeeze(step, at)
    step = permute(step, [at - sum(other < at for other in rest) for at in order])
    start = len(order)
    for group in reversed(groups):
        start -= len(group)
        if len(group) > 1:
            step = flatten(step, start, start + len(group) - 1)
    for place, group in enumerate(groups):
        step = step if group else unsqueeze(step, place)
    return step


def _directions_apart(step: Step, axes: Axes) -> Step:
    """The step with its features as directions and hidden units, if these axes are so."""
    features = step.layout[-1] if step.layout else ()
    sizes = [atom.size for atom in features]
    if len(solid(features)) != 2 or not {features[:1], features[1:]} <= set(axes):
        return step
    options: dict[str, object] = {"dim": -1, "unflattened_size": sizes}
    layout = (*step.layout[:-1], features[:1], features[1:])
    return after(step, "Unflatten", ("unflatten", False), options, layout=layout)


def _group(layout: Axes, wanted: Sequence[Axis]) -> list[list[int]]:
    """For each wanted axis the axes of the layout that make it up; none may do for size 1."""
    free = list(range(len(layout)))
    groups: list[list[int]] = [[] for _ in wanted]
    for form in (None, tuple, _ones, solid):
        for axis, group in zip(wanted, groups, strict=True):
            if not group:
                group += _cover(layout, free, axis, form)
                free = [at for at in free if at not in group]
    for axis, group in zip(wanted, groups, strict=True):
        if not group and solid(axis):
            raise ObstructionError("it works on a part or a mixture of axes")
    return groups


def _cover(
    layout: Axes, free: list[int], axis: Axis, form: Callable[[Axis], Any] | None
) -> list[int]:
    """Free axes that make up this one: the same, or all its atoms, or all but those of size 1."""
    if form is None:
        return [at for at in free if layout[at] == axis][:1]
    if form is _ones:
        return [at for at in free if _ones(axis) & _ones(layout[at])][:1]
    atoms = form(axis)
    if not atoms:
        return [at for at in free if not form(layout[at])][:1]
    group: list[int] = []
    while atoms:
        parts = {at: form(layout[at]) for at in free if at not in group}
        fits = [at for at, own in parts.items() if own and atoms[: len(own)] == own]
        if not fits:
            return []
        group.append(fits[0])
        atoms = atoms[len(parts[fits[0]]) :]
    return group


def _ones(axis: Axis) -> frozenset[Atom]:
    """The atoms of an axis of size 1: another axis of size 1 that has some of them is the same."""
    return frozenset() if solid(axis) else frozenset(axis)


def features_last(step: Step, features: Axis) -> Step:
    """The step with these features as last axis, joined if they were several axes."""
    known = features in step.layout or any(_ones(axis) & _ones(features) for axis in step.layout)
    if not solid(features) and not known:
        return unsqueeze(step, -1)
    (group,) = _group(step.layout, [features])
    rest = [at for at in range(len(step.layout)) if at not in group]
    step = permute(step, [*rest, *group])
    return flatten(step, len(rest), -1) if len(group) > 1 else step


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
    """The step followed by a layer that joins neighbouring axes; -1 is the last one."""
    end = len(step.layout) if last == -1 else last + 1
    joint: Axis = sum(step.layout[first:end], ())
    layout = (*step.layout[:first], joint, *step.layout[end:])
    last = last if _counts_from_end(step) else end - 1
    options: dict[str, object] = {"start_dim": first, "end_dim": last}
    return after(step, "Flatten", ("flatten", False), options, layout=layout)


def unsqueeze(step: Step, place: int) -> Step:
    """The step followed by a layer that adds an axis of size 1; -1 is the last place."""
    at = len(step.layout) if place == -1 else place
    layout = (*step.layout[:at], (), *step.layout[at:])
    dim = place if _counts_from_end(step) else at
    return after(step, "Unsqueeze", ("unsqueeze", False), {"dim": dim}, layout=layout)


def squeeze(step: Step, place: int) -> Step:
    """The step followed by a layer that takes out an axis of size 1."""
    layout = step.layout[:place] + step.layout[place + 1 :]
    dim = place - len(step.layout) if _counts_from_end(step) else place
    return after(step, "Squeeze", ("squeeze", False), {"dim": dim}, layout=layout)


def _counts_from_end(step: Step) -> bool:
    """Whether the number of axes is an example's, or, as of TorchScript, only a likely one."""
    return any(atom.is_example for axis in step.layout for atom in axis)


def without_ones(step: Step, kept: Sequence[Axis]) -> Step:
    """The step without axes of size 1 that are none of these, if it has more than three."""
    for at in reversed(range(len(step.layout))):
        axis = step.layout[at]
        if len(step.layout) > 3 and not solid(axis) and axis not in kept:
            step = squeeze(step, at)
    return step


def over_time(step: Step, time: Axis, kind: str, name: Name, options: dict[str, object]) -> Step:
    """The step followed by a layer that takes the time axis away."""
    step, position = with_time(without_ones(step, [time]), time)
    layout = step.layout[:position] + step.layout[position + 1 :]
    made = after(step, kind, name, {**options, "batch_first": position == 1}, layout=layout)
    return replace(made, time=() if step.time else step.time)


def with_time(step: Step, time: Axis) -> tuple[Step, int]:
    """The step with time as axis 0 or 1, and which it is; the others are batch and features."""
    if step.lengths is not None and step.time and solid(step.time) != solid(time):
        raise ObstructionError("it takes another axis as time than the layers before it")
    if len(step.layout) not in (2, 3):
        raise ObstructionError(
            f"its input has {len(step.layout)} axes, expected time, batch and features"
        )
    if step.layout[-1] == time:  # as a convolution leaves it
        step = features_last(step, step.layout[-2])
    leading = step.layout[:-1]
    places = [at for at, axis in enumerate(leading) if axis == time]
    places += [at for at, axis in enumerate(leading) if solid(axis) == solid(time)]
    if not places:
        raise ObstructionError("its time axis is not one that the model's input has")
    return step, places[0]


def may_be_time(step: Step, axis: Axis) -> bool:
    """Whether a layer may work along this axis: the known time, or any if none is known."""
    if step.time is None:
        return len(axis) == 1 and not axis[0].is_feature
    return bool(step.time) and solid(step.time) == solid(axis)


# --- Time backwards ---


def reverse(
    step: Step, time: Axis, name: Name = ("flip", False), lengths: str | None = None
) -> Step:
    """The step followed by a layer that reverses time; two with the same lengths cancel out."""
    if step.layer.kind == "Flip" and (step.time, step.lengths) == (time, lengths) and step.parent:
        return step.parent
    step, position = with_time(step, time)
    made = after(step, "Flip", name, {"batch_first": position == 1})
    return replace(made, time=time, recurrence=step.recurrence, lengths=lengths)


def same(a: Step | None, b: Step | None) -> bool:
    """Whether two steps are one, but for a few layers that both put before themselves."""
    for _ in range(_MOST_MOVES):
        if a is b:
            return a is not None
        if a is None or b is None or a.layer.arrays or b.layer.arrays:
            return False
        if (a.layer.kind, a.layer.options) != (b.layer.kind, b.layer.options):
            return False
        if any((a.recurrence, b.recurrence, a.source, b.source)):
            return False
        a, b = a.parent, b.parent
    return False
