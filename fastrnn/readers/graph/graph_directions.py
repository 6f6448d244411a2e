# SPDX-License-Identifier: MIT
"""Values as the input of a layer: one direction alone, final states, both directions as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...stack_spec import TENSORS, places
from ..containers.elements import Array
from ..description import STATES, DescribedLayer
from .graph import BRANCHES
from .graph_steps import (
    NOT_TIME,
    Name,
    after,
    may_be_time,
    over_time,
    reverse,
    same,
    without_ones,
)
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
    Recurrence,
    Row,
    Step,
    Term,
    Value,
    solid,
)

_HIDDEN = Atom("hidden", None)  # the hidden units of any layer, to compare axes
# Layers that compute each value by itself: a part of what they return is what they make of it.
_OF_EACH_VALUE = (
    *("Dropout", "ReLU", "Tanh", "Sigmoid", "ELU", "LeakyReLU", "SiLU", "GELU", "Softplus"),
    *("Hardtanh", "Hardsigmoid", "Hardswish", "Mish", "Softsign", "Scale"),
)

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
        value = replace(value, step=directed(value.step, (value.part,)), part=None)
    if value.instant is not None:
        return _one_step(value, value.instant)
    if value.rows is not None:
        raise ObstructionError("it takes a part of an axis")
    return value


def _one_step(data: Data, instant: int) -> Data:
    """The last step, or the first one, which is the last one of time backwards."""
    step, time = without_ones(data.step, [data.time]), data.time
    if instant == 0:
        step = reverse(step, time, lengths=step.lengths)
    elif step.lengths is not None:
        raise ObstructionError("with sequence_lens, the last step is past the end of short rows")
    return Data(_last(step, time, "step"), data.axes)


def _last(step: Step, time: Axis, of: str) -> Step:
    return over_time(step, time, "Last", ("last", False), {"of": of})


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


# --- Some directions of a layer ---


def direction_of(step: Step) -> tuple[Atom, Atom] | None:
    """The atoms of the features of a recurrent layer: which direction, and which hidden unit."""
    features = step.layout[-1] if step.layout else ()
    return (features[0], features[1]) if len(features) == 2 and features[0].is_direction else None


def directed(step: Step, order: tuple[int, ...], layers: int = 0) -> Step:
    """The directions of a layer in this order, as its features; of a stack, of so many layers.

    What comes from time backwards first is made of a layer on x turned round, and turned back.
    """
    features, recurrence = direction_of(step), step.recurrence
    assert features is not None
    if order == (0, 1)[: features[0].size] and not layers:
        return step
    if step.parent is not None and step.layer.kind == "Flip":
        turned, name = directed(step.parent, order), (step.layer.name, step.is_scoped)
        return reverse(turned, step.time or (), name, step.lengths)
    if recurrence is None:
        if step.layer.kind not in _OF_EACH_VALUE or step.parent is None:
            raise ObstructionError("it takes one direction of what other layers make of both")
        name = (step.layer.name, step.is_scoped)
        return after(directed(step.parent, order), step.layer.kind, name, step.layer.options)
    count = recurrence.rows // (recurrence.direction.size or 1)
    key = (layers or count, order)
    if key not in recurrence.parts:
        recurrence.parts[key] = _directed(step, order, layers or count)
    return recurrence.parts[key]


def _directed(step: Step, order: tuple[int, ...], layers: int) -> Step:
    assert step.recurrence is not None
    assert step.parent is not None
    if any(step.recurrence.states):
        raise ObstructionError("it takes a part of a layer that takes initial states")
    directions = step.recurrence.direction.size or 1
    name = (step.layer.name, step.is_scoped)
    if order == tuple(range(directions)):
        return _some(step, step.parent, range(layers * directions), directions)
    below, top = step.parent, (layers - 1) * directions
    if layers > 1:
        below = _some(step, below, range(top), directions)
        if dropout := step.layer.options.get("dropout"):  # which it has between its layers
            below = after(below, "Dropout", ("dropout", False), {"p": dropout})
    is_back, time = order[0] == 1, step.time or ()
    if is_back:
        below = reverse(below, time, name, step.lengths)
    made = _some(step, below, [top + at for at in order], len(order))
    return reverse(made, time, name, step.lengths) if is_back else made


def _some(step: Step, below: Step, rows: Sequence[int], directions: int) -> Step:
    """A stack of some rows, each a direction of a layer, of another one, behind these layers."""
    layer, old = step.layer, step.recurrence
    assert old is not None
    width = old.direction.size or 1
    layers = len(rows) // directions
    from_, to = places(old.rows // width, width == 2), places(layers, directions == 2)
    arrays = {
        tensor + end: layer.arrays[tensor + from_[row]]
        for row, end in zip(rows, to, strict=True)
        for tensor in TENSORS
        if tensor + from_[row] in layer.arrays
    }
    arrays |= {name: layer.arrays[name][list(rows)] for name in STATES if name in layer.arrays}
    options = {**layer.options, "num_layers": layers, "bidirectional": directions == 2}
    if rows[0] >= width:
        options["input_size"] = width * (old.hidden.size or 0)
    direction = Atom("direction", directions, is_feature=True, is_direction=True)
    layout = (*below.layout[:-1], (direction, old.hidden))
    made = after(below, layer.kind, (layer.name, step.is_scoped), options, arrays, layout)
    recurrence = Recurrence(direction, old.hidden, len(rows), (None,) * len(old.states))
    return replace(made, time=step.time, recurrence=recurrence, lengths=step.lengths)


def join_parts(parts: Sequence[Data], place: int) -> Data:
    """Both directions of a layer, in any order, joined along their features or a new axis."""
    first, order = parts[0], tuple(part.part or 0 for part in parts)
    if any(part.step is not first.step or part.part is None for part in parts):
        raise ObstructionError(BRANCHES)
    if sorted(order) != [0, 1]:
        raise ObstructionError("it joins some directions of a layer, expected both, once each")
    step = directed(first.step, order)
    features = direction_of(step)
    assert features is not None
    rests = {tuple(map(solid, part.axes[:place] + part.axes[place + 1 :])) for part in parts}
    axis = first.axes[place]
    if len(rests) > 1 or any(part.axes[place] != axis for part in parts):
        raise ObstructionError("it joins directions whose axes differ")
    if axis not in ((), features[1:]):
        raise ObstructionError("it joins directions along another axis than the features")
    joint = (*first.axes[:place], (features[0], *axis), *first.axes[place + 1 :])
    if len({(part.instant, part.time) for part in parts}) == 1:
        return replace(first, step=step, axes=joint, part=None)
    if None in (part.instant for part in parts) or len({part.time for part in parts}) > 1:
        raise ObstructionError(BRANCHES)
    if step.lengths is not None:
        raise ObstructionError("with sequence_lens, the last step is past the end of short rows")
    step = without_ones(step, [first.time])
    if first.instant == 0:  # y turned round begins with its last step
        step = reverse(step, first.time)
    return Data(_last(step, first.time, "state"), joint)


def both_directions(a: Data | Finals, b: Data | Finals) -> Data | None:
    """Both directions of one layer with a last axis that counts them; None for other values."""
    if a.axes != b.axes:
        return None
    if isinstance(a, Data) and isinstance(b, Data):
        if {a.part, b.part} != {0, 1} or a.step is not b.step:
            return None
        parts = [replace(part, axes=(*part.axes, ())) for part in (a, b)]
        return whole(join_parts(sorted(parts, key=lambda part: part.part or 0), len(a.axes)))
    states = [replace(part, axes=(*part.axes, ())) for part in (a, b) if isinstance(part, Finals)]
    rows = [row for part in states for row in part.rows]
    if len(states) != 2 or len(rows) != 2 or rows[0].step is not rows[1].step:
        return None
    states.sort(key=lambda part: part.rows[0].index)
    return final_data(join_finals(states, len(a.axes)))


def merged(data: Data, mode: str, name: Name, axes: Axes) -> Data:
    """The directions of a layer as one: axes are those of the result."""
    features = direction_of(data.step)
    assert features is not None
    if features[0].size == 1:
        return replace(data, axes=axes)
    layout = (*data.step.layout[:-1], features[1:])
    return Data(after(data.step, "MergeDirections", name, {"mode": mode}, layout=layout), axes)


# --- Final states ---


def final_data(finals: Finals) -> Data:
    """A layer Last on the directions of a recurrent layer whose final h these are."""
    step = finals.rows[0].step
    assert step.recurrence is not None
    width = step.recurrence.direction.size or 1
    if any(row.kind == "c" for row in finals.rows):
        raise ObstructionError("it goes on with the cell state of an LSTM")
    layers = {row.index // width for row in finals.rows}
    order = tuple(row.index % width for row in finals.rows)
    is_one = len(layers) == 1 and all(row.step is step for row in finals.rows)
    if not is_one or len(set(order)) < len(order):
        rows = [row.index for row in finals.rows]
        raise ObstructionError(
            f"it takes rows {rows} of the final state, expected directions of one layer"
        )
    step = directed(step, order, layers.pop() + 1)
    joined, features = (finals.row, finals.hidden), step.layout[-1]
    axes = list(finals.axes)
    found = [at for at, axis in enumerate(axes) if axis in (joined, joined[len(order) == 1 :])]
    found = found or [at for at, axis in enumerate(axes) if solid(axis) == solid(joined)]
    if found:
        axes[found[-1]] = features
    elif {joined[:1], joined[1:]} <= set(axes):
        names = dict(zip(joined, features, strict=True))
        axes = [tuple(names.get(atom, atom) for atom in axis) for axis in axes]
    else:
        raise ObstructionError("it goes on with final states whose directions are not joined")
    if order[0] == 1:  # from time backwards, whose first step is its last
        step = reverse(step, step.time or (), lengths=step.lengths)
    return Data(_last(step, step.time or (), "state" if len(order) > 1 else "step"), tuple(axes))


def settle(value: Data | Finals) -> Finals:
    """A final state: data are, if they are the last step forward, or the first one backward."""
    if isinstance(value, Finals):
        return value
    recurrence = value.step.recurrence
    is_end = value.part is not None and value.instant == (-1, 0)[value.part]
    if not is_end or recurrence is None or value.step.layer.kind == "Flip":
        raise ObstructionError(BRANCHES)
    if value.step.lengths is not None:
        raise ObstructionError("with sequence_lens, the last step is past the end of short rows")
    index = recurrence.rows - 2 + (value.part or 0)
    return Finals((Row(value.step, index, "h"),), Atom("row", 1), recurrence.hidden, value.axes)


def weights_of(row: Row) -> list[Array]:
    """The weights of the layer and direction whose final state this is."""
    recurrence = row.step.recurrence
    assert recurrence is not None
    width = recurrence.direction.size or 1
    end = places(recurrence.rows // width, width == 2)[row.index]
    arrays = row.step.layer.arrays
    return [arrays[tensor + end] for tensor in TENSORS if tensor + end in arrays]


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
    as_rows = all(
        part.axes[axis] == (part.row,) or (len(part.rows) == 1 and part.axes[axis] == ())
        for part in parts
    )
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


# --- Two layers as one ---


def _join_directions(finals: Finals) -> Finals:
    """Of a forward and a backward layer on the same x, the states of one bidirectional layer."""
    steps = [row.step for row in finals.rows]
    if len(steps) != 2 or steps[0] is steps[1] or any(row.kind != "h" for row in finals.rows):
        return finals
    joint = bidirectional(steps[0], steps[1])
    if joint is None:
        return finals
    return replace(finals, rows=(Row(joint, 0, "h"), Row(joint, 1, "h")))


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
    direction = Atom("direction", 2, is_feature=True, is_direction=True)
    layer = DescribedLayer(a.name, a.kind, a.options | {"bidirectional": True}, arrays)
    recurrence = replace(first, direction=direction, rows=2, parts={})
    layout = (*forward.layout[:-1], (direction, first.hidden))
    return replace(forward, layer=layer, layout=layout, recurrence=recurrence)
