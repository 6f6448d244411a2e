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
    Const,
    Data,
    Finals,
    Index,
    Moment,
    ObstructionError,
    Row,
    Step,
    Term,
    Value,
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


# --- Values as the input of a layer ---


def whole(value: Value) -> Data:
    """The value as data with all its features; a final state becomes the y of a layer Last."""
    if isinstance(value, Finals):
        return final_data(value)
    if isinstance(value, Moment):
        if value.stage != "mean":
            raise ObstructionError("this computation is not a layer normalization")
        return pool(value.data, len(value.data.axes) - 1, "mean", keep=True)
    if isinstance(value, Index):
        raise ObstructionError("its input holds whole numbers")
    if isinstance(value, Term):
        raise ObstructionError(f"it takes a part of a function that is written out, {value.name}")
    if not isinstance(value, Data):
        kind = "a weight or constant" if isinstance(value, Const) else "no tensor"
        raise ObstructionError(f"its input is {kind}, not the output of a layer")
    if value.part is not None:
        raise ObstructionError("it takes one direction of a bidirectional layer alone")
    if value.instant is not None:
        return _one_step(value, value.instant)
    if value.rows is not None:
        raise ObstructionError("it takes a part of an axis")
    return value


def _one_step(data: Data, instant: int) -> Data:
    """The last step, or the first one, which is the last one of time backwards."""
    step, time = without_ones(data.step, [data.time]), data.time
    if instant == 0:
        step = reverse(Data(step, data.axes), time, lengths=step.lengths).step
    elif step.lengths is not None:
        raise ObstructionError("with sequence_lens, the last step is past the end of short rows")
    return Data(over_time(step, time, "Last", ("last", False), {"of": "step"}), data.axes)


def pool(data: Data, place: int, mode: str, keep: bool, name: Name = ("pool", False)) -> Data:
    """A layer Pool along one axis, which may stay with size 1."""
    time = data.axes[place]
    step = data.step
    if time:
        if not may_be_time(step, time):
            raise ObstructionError(NOT_TIME)
        step = over_time(step, time, "Pool", name, {"mode": mode})
    axes = data.axes[:place] + (((),) if keep else ()) + data.axes[place + 1 :]
    return Data(step, axes)


def final_data(finals: Finals) -> Data:
    """A layer Last on the recurrent layer whose final h this is, all directions as features."""
    step = finals.rows[0].step
    assert step.recurrence is not None
    assert step.time is not None
    directions, count = step.recurrence.direction.size or 1, step.recurrence.rows
    ends = range(count - directions, count)
    if any(row.kind == "c" for row in finals.rows):
        raise ObstructionError("it goes on with the cell state of an LSTM")
    if finals.rows != tuple(Row(step, index, "h") for index in ends):
        rows = [row.index for row in finals.rows]
        raise ObstructionError(
            f"it takes rows {rows} of the final state, expected the last layer's, {list(ends)}: "
            "all directions of one layer"
        )
    joined = (finals.row, finals.hidden)
    axes = list(finals.axes)
    found = [at for at, axis in enumerate(axes) if axis in (joined, joined[len(ends) == 1 :])]
    found = found or [at for at, axis in enumerate(axes) if solid(axis) == solid(joined)]
    if found:
        axes[found[-1]] = step.layout[-1]
    elif {joined[:1], joined[1:]} <= set(axes):
        names = dict(zip(joined, step.layout[-1], strict=True))
        axes = [tuple(names.get(atom, atom) for atom in axis) for axis in axes]
    else:
        raise ObstructionError("it goes on with final states whose directions are not joined")
    of = "state" if directions > 1 else "step"
    return Data(over_time(step, step.time, "Last", ("last", False), {"of": of}), tuple(axes))


# --- One direction, or rows of states ---


def settle(data: Data) -> Data | Finals:
    """A final state, if the data is the end of one direction: forward the last step, backward 0."""
    step, recurrence = data.step, data.step.recurrence
    if data.part is None or data.instant is None:
        return data
    if recurrence is None or step.lengths is not None or step.layer.kind == "Flip":
        raise ObstructionError("it takes a step of one direction")
    if data.instant != (-1, 0)[data.part]:
        raise ObstructionError("it takes a step that is not the last one of its direction")
    index = recurrence.rows - 2 + data.part
    return Finals((Row(step, index, "h"),), Atom("row", 1), recurrence.hidden, data.axes)


def take_rows(finals: Finals, taken: slice, drop: bool) -> Finals:
    """Some of the final states; one alone may lose its axis."""
    rows = finals.rows[taken]
    if not rows:
        raise ObstructionError("it takes no final state at all")
    row = Atom("row", len(rows))
    axes = tuple((row,) if axis == (finals.row,) else axis for axis in finals.axes)
    return Finals(rows, row, finals.hidden, tuple(a for a in axes if not drop or a != (row,)))


def join_finals(parts: list[Finals], axis: int) -> Finals:
    """Final states one after another: as further rows, or joined as features."""
    row = Atom("row", sum(len(part.rows) for part in parts))
    rows = tuple(row for part in parts for row in part.rows)
    hidden = parts[0].hidden
    if len({part.hidden.size for part in parts}) != 1:
        raise ObstructionError("it joins final states of different sizes")
    as_rows = all(part.axes[axis] == (part.row,) for part in parts)
    as_features = all(
        len(part.rows) == 1 and solid(part.axes[axis]) == solid((part.hidden,)) for part in parts
    )
    if not (as_rows or as_features) or len({_others(part, axis) for part in parts}) != 1:
        raise ObstructionError("it joins final states in a way that is not supported")
    axes = [() if axis == (parts[0].row,) else axis for axis in parts[0].axes]
    axes[axis] = (row,) if as_rows else (row, hidden)
    return _join_directions(Finals(rows, row, hidden, tuple(axes)))


def _others(finals: Finals, place: int) -> Axes:
    """The other axes in a form that can be compared between layers."""
    names = {finals.hidden: _HIDDEN}
    axes = finals.axes[:place] + finals.axes[place + 1 :]
    return tuple(tuple(names.get(atom, atom) for atom in solid(axis)) for axis in axes)


def _join_directions(finals: Finals) -> Finals:
    """Of a forward and a backward layer on the same x, the states of one bidirectional layer."""
    steps = [row.step for row in finals.rows]
    if len(steps) != 2 or steps[0] is steps[1] or any(row.kind != "h" for row in finals.rows):
        return finals
    joint = bidirectional(steps[0], steps[1])
    if joint is None:
        return finals
    return replace(finals, rows=(Row(joint, 0, "h"), Row(joint, 1, "h")))


# --- Time backwards, and two directions in one layer ---


def reverse(
    data: Data, time: Axis, name: Name = ("flip", False), lengths: str | None = None
) -> Data:
    """The data followed by a layer that reverses time; two with the same lengths cancel out."""
    step = data.step
    is_back = step.layer.kind == "Flip" and (step.time, step.lengths) == (time, lengths)
    if is_back and step.parent is not None:
        return replace(data, step=step.parent)
    step, position = with_time(step, time)
    made = after(step, "Flip", name, {"batch_first": position == 1})
    made = replace(made, time=time, recurrence=step.recurrence, lengths=lengths)
    return replace(data, step=made)


def bidirectional(forward: Step, backward: Step) -> Step | None:
    """The layer of both directions, if the second is the first one's twin on x turned round."""
    before = backward.parent
    a, b = forward.layer, backward.layer
    first, second = forward.recurrence, backward.recurrence
    if not (before is not None and before.layer.kind == "Flip" and first and second):
        return None
    if not forward.time == backward.time == before.time:
        return None
    if a.kind != b.kind or a.options != b.options or not same(before.parent, forward.parent):
        return None
    if a.options.get("bidirectional") is not False or a.options["num_layers"] != 1:
        return None
    if forward.lengths != backward.lengths or any((*first.states, *second.states)):
        return None
    if {"h_0", "c_0"} & (a.arrays.keys() | b.arrays.keys()):
        return None
    arrays = a.arrays | {f"{name}_reverse": array for name, array in b.arrays.items()}
    direction = Atom("direction", 2, is_feature=True)
    layer = DescribedLayer(a.name, a.kind, a.options | {"bidirectional": True}, arrays)
    recurrence = replace(first, direction=direction, rows=2)
    layout = (*forward.layout[:-1], (direction, first.hidden))
    return replace(forward, layer=layer, layout=layout, recurrence=recurrence)


def merged(data: Data, mode: str, name: Name, axes: Axes) -> Data:
    """The two directions of a bidirectional layer as one: axes are those of the result."""
    recurrence = data.step.recurrence
    if recurrence is None or recurrence.direction.size != 2:
        raise ObstructionError("it joins what is not the two directions of one layer")
    step = features_last(data.step, (recurrence.direction, recurrence.hidden))
    layout = (*step.layout[:-1], (recurrence.hidden,))
    return Data(after(step, "MergeDirections", name, {"mode": mode}, layout=layout), axes)


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
