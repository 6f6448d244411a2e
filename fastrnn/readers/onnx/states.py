# SPDX-License-Identifier: MIT
"""Final states of recurrent layers: choosing and joining them, and going on with them as data."""

from __future__ import annotations

from dataclasses import replace

from ..description import Layer
from .axes import after, features_last, time_position
from .values import (
    Atom,
    Axes,
    Axis,
    CannotMap,
    Data,
    Finals,
    Moment,
    Row,
    Step,
    Unknown,
    Value,
    Zeros,
    solid,
)

HIDDEN = Atom("hidden", None)  # stands for the hidden units of any layer


def whole(value: Value | None) -> Data:
    """The value as data with all its features; a final state becomes the y of a layer Last."""
    if isinstance(value, Finals):
        return final_data(value)
    if isinstance(value, Data):
        if value.part is not None:
            raise CannotMap("it takes one direction of a bidirectional layer alone")
        if value.instant == 0:
            raise CannotMap("it takes a step that is not the last one")
        return value if value.instant is None else last_step(value)
    if isinstance(value, (Moment, Zeros, Unknown)) or value is None:
        raise CannotMap("its input is not the output of a layer")
    raise CannotMap("its input does not depend on the data that the model is given")


def final_data(finals: Finals, loose: bool = False) -> Data:
    """A layer Last on the recurrent layer whose final h this is, all directions side by side.

    `loose` allows the directions to be an axis of their own.
    """
    step = finals.rows[0].step
    assert step.recurrence is not None
    directions, hidden = step.recurrence.direction.size, finals.hidden
    expected = tuple(Row(step, index, "h") for index in range(directions or 1))
    if finals.rows != expected:
        if any(row.kind == "c" for row in finals.rows):
            raise CannotMap("it goes on with the cell state of an LSTM")
        raise CannotMap("it goes on with some final states, not with all directions of one layer")
    features = solid((finals.row, hidden))
    axes = list(finals.axes)
    if loose:
        axes = [axis for axis in axes if axis != (finals.row,)]
        axes = [features if solid(axis) == solid((hidden,)) else axis for axis in axes]
    if not axes or solid(axes[-1]) != features:
        raise CannotMap("it goes on with final states whose directions are not side by side")
    axes[-1] = step.layout[-1]
    assert step.time is not None
    of = "state" if len(expected) > 1 else "step"
    return Data(_last(step, step.time, of), tuple(axes))


def last_step(data: Data) -> Data:
    """A layer Last that takes the last step of y, whose time axis is gone or of size 1."""
    if data.step.lengths is not None:
        raise CannotMap("with sequence_lens, the last step of short rows is beyond their end")
    assert data.step.time is not None
    return Data(_last(data.step, data.step.time, "step"), data.axes)


def _last(step: Step, time: Axis, of: str) -> Step:
    return over_time(step, time, Layer("last", "Last", {"of": of}))


def over_time(step: Step, time: Axis, layer: Layer) -> Step:
    """The step followed by a layer that takes the time axis away."""
    others = [axis for axis in step.layout if axis != time]
    if len(step.layout) == 3 and step.layout[-1] == time:  # as a convolution leaves it
        step = features_last(step, others[-1])
    position = time_position(step, time)
    options = {**layer.options, "batch_first": position == 1}
    layout = step.layout[:position] + step.layout[position + 1 :]
    return replace(after(step, replace(layer, options=options), layout), time=None)


# --- One direction, or rows of states ---


def settle(data: Data) -> Data | Finals:
    """A final state, if the data is the end of one direction: forward the last step, backward 0."""
    step, recurrence = data.step, data.step.recurrence
    if data.part is None or data.instant is None:
        return data
    if recurrence is None or step.lengths is not None or step.layer.kind == "Flip":
        raise CannotMap("it takes a step of one direction")
    if data.instant != (-1, 0)[data.part]:
        raise CannotMap("it takes a step that is not the last one of its direction")
    row = Atom("direction", 1)
    return Finals((Row(step, data.part, "h"),), row, recurrence.hidden, data.axes)


def take_rows(finals: Finals, start: int, stop: int, drop: bool) -> Finals:
    """Some of the final states; one alone may lose its axis."""
    rows = finals.rows[start:stop]
    if not rows:
        raise CannotMap("it takes no final state at all")
    row = Atom("direction", len(rows))
    axes = tuple((row,) if axis == (finals.row,) else axis for axis in finals.axes)
    return Finals(rows, row, finals.hidden, tuple(a for a in axes if not drop or a != (row,)))


def join_finals(parts: list[Finals], axis: int) -> Finals:
    """Final states one after another: as further rows, or side by side as features."""
    row = Atom("direction", sum(len(part.rows) for part in parts))
    rows = tuple(row for part in parts for row in part.rows)
    hidden = parts[0].hidden
    if len({part.hidden.size for part in parts}) != 1:
        raise CannotMap("it joins final states of different sizes")
    as_rows = all(part.axes[axis] == (part.row,) for part in parts)
    as_features = all(
        len(part.rows) == 1 and solid(part.axes[axis]) == solid((part.hidden,)) for part in parts
    )
    if not (as_rows or as_features) or len({_others(part, axis) for part in parts}) != 1:
        raise CannotMap("it joins final states in a way that is not supported")
    axes = [() if axis == (parts[0].row,) else axis for axis in parts[0].axes]
    axes[axis] = (row,) if as_rows else (row, hidden)
    return join_directions(Finals(rows, row, hidden, tuple(axes)))


def _others(finals: Finals, place: int) -> Axes:
    """The other axes in a form that can be compared between layers."""
    names = {finals.hidden: HIDDEN}
    axes = finals.axes[:place] + finals.axes[place + 1 :]
    return tuple(tuple(names.get(atom, atom) for atom in solid(axis)) for axis in axes)


def join_directions(finals: Finals) -> Finals:
    """Of a forward and a backward layer on the same x, the states of one bidirectional layer."""
    from .recurrent import bidirectional

    steps = [row.step for row in finals.rows]
    if len(steps) != 2 or steps[0] is steps[1] or any(row.kind != "h" for row in finals.rows):
        return finals
    joint = bidirectional(steps[0], steps[1])
    if joint is None:
        return finals
    return replace(finals, rows=(Row(joint, 0, "h"), Row(joint, 1, "h")))
