# SPDX-License-Identifier: MIT
"""Taking a part of data: the last step, one direction, a mean over time; and joining parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ..description import Layer
from .constants import constant_value
from .messages import Node, int_attribute
from .names import module_name
from .recurrent import bidirectional, reverse, same
from .settings import ENDLESS, axis_of, read_axes, read_slices, split_points
from .states import join_finals, over_time, settle, take_rows, whole
from .values import Axis, CannotMap, Const, Data, Finals, Inputs, Moment, Value, dim_of, solid


def gather(node: Node, inputs: Inputs) -> list[Value]:
    """Gather of one place along an axis."""
    value = inputs.get(0)
    assert isinstance(value, (Data, Finals))
    axis = axis_of(int_attribute(node, "axis", 0), len(value.axes))
    index = inputs.const(1, "indices")
    if index.size != 1 or index.ndim > 1 or index.dtype.kind not in "iu":
        raise CannotMap("it takes several places of an axis")
    return [_take_one(value, axis, int(constant_value(index)), keep=index.ndim == 1)]


def _take_one(value: Data | Finals, place: int, index: int, keep: bool) -> Value:
    """The value at one index of an axis, which may stay with size 1."""
    axis = value.axes[place]
    size = dim_of(axis).number
    if isinstance(value, Finals):
        if axis != (value.row,) or not -len(value.rows) <= index < len(value.rows):
            raise CannotMap("it takes one entry of something else than the layers' states")
        index %= len(value.rows)
        return take_rows(value, index, index + 1, drop=not keep)
    if size is not None and not -size <= index < size:
        raise CannotMap(f"index {index} of an axis of size {size}")
    step = value.step
    axes = value.axes[:place] + (((),) if keep else ()) + value.axes[place + 1 :]
    if _is_direction(value, axis):
        part = None if size == 1 else index % (size or 1)
        return settle(replace(value, axes=axes, part=part))
    if size == 1:
        return replace(value, axes=axes)
    if step.time is None or solid(axis) != solid(step.time) or value.instant is not None:
        raise CannotMap("it takes one entry of an axis that is not known to be time")
    if index != -1 and index + 1 != size and index not in (0, -(size or 0)):
        raise CannotMap("it takes a step that is not the last one")
    last = index == -1 or index + 1 == size
    return settle(replace(value, axes=axes, instant=-1 if last else 0))


def _is_direction(value: Data, axis: Axis) -> bool:
    recurrence = value.step.recurrence
    return recurrence is not None and value.part is None and axis == (recurrence.direction,)


def slice_(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """Slice of a whole axis, one place of it, one direction, or of time backwards."""
    value = inputs.get(0)
    assert isinstance(value, (Data, Finals))
    for axis, (start, stop, step) in read_slices(node, inputs, opset, len(value.axes)).items():
        if not isinstance(value, (Data, Finals)):
            raise CannotMap("it cuts several axes")
        value = _cut(node, value, axis, start, stop, step)
    return [value]


def _cut(node: Node, value: Data | Finals, place: int, start: int, stop: int, step: int) -> Value:
    axis = value.axes[place]
    size = dim_of(axis).number
    whole_axis = (start == -1 or start + 1 == size or start >= ENDLESS) and stop <= -ENDLESS
    if step == -1 and isinstance(value, Data) and whole_axis:
        return _backwards(node, value, place)
    if step != 1:
        raise CannotMap(f"it takes every {step}th entry of an axis")
    from_start = start == 0 or (size is not None and start <= -size)
    to_end = stop >= ENDLESS or (size is not None and stop >= size)
    if from_start and to_end:
        return value
    if size is not None:
        first, last, _ = slice(start, stop).indices(size)
        if isinstance(value, Finals) and axis == (value.row,):
            return take_rows(value, first, last, drop=False)
        if last - first == 1:
            return _take_one(value, place, first, keep=True)
        if isinstance(value, Data):
            return _direction_of_features(value, place, first, last)
    elif start == -1 and to_end:
        return _take_one(value, place, -1, keep=True)
    raise CannotMap("it takes a part of an axis")


def _direction_of_features(value: Data, place: int, first: int, last: int) -> Data | Finals:
    """One half of the features of a bidirectional layer."""
    recurrence = value.step.recurrence
    if recurrence is not None and value.part is None and recurrence.hidden.size:
        features = (recurrence.direction, recurrence.hidden)
        width = recurrence.hidden.size
        if value.axes[place] == features and last - first == width and first % width == 0:
            axes = (*value.axes[:place], (recurrence.hidden,), *value.axes[place + 1 :])
            return settle(replace(value, axes=axes, part=first // width))
    raise CannotMap("it takes a part of an axis")


def _backwards(node: Node, value: Data, place: int) -> Value:
    """All steps in reverse order."""
    data = whole(value)
    if data.step.lengths is not None:
        raise CannotMap("with sequence_lens, it brings what is beyond them to the front")
    return Data(reverse(node, data, data.axes[place]).step, data.axes)


def split(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """Split into directions."""
    value = inputs.get(0)
    assert isinstance(value, (Data, Finals))
    place = axis_of(int_attribute(node, "axis", 0), len(value.axes))
    size = dim_of(value.axes[place]).number
    if size is None:
        raise CannotMap("it splits an axis of unknown size")
    points = split_points(node, inputs, opset, size)
    return [_cut(node, value, place, start, stop, 1) for start, stop in pairwise(points)]


def concat(node: Node, inputs: Inputs) -> list[Value]:
    """Concat of final states, or of the directions of one layer as features."""
    values = inputs.values
    finals = [value for value in values if isinstance(value, Finals)]
    parts = [value for value in values if isinstance(value, Data)]
    if len(finals) == len(values):
        ranks = {len(value.axes) for value in finals}
        if len(ranks) != 1:
            raise CannotMap("it joins states of different shapes")
        return [join_finals(finals, axis_of(int_attribute(node, "axis", 0), ranks.pop()))]
    if len(parts) != len(values) or len({len(part.axes) for part in parts}) != 1:
        raise CannotMap("it joins two branches of the model")
    place = axis_of(int_attribute(node, "axis", 0), len(parts[0].axes))
    if any(part.instant is not None for part in parts):
        parts = [part if part.part is not None else whole(part) for part in parts]
    if len(parts) == 1:
        return [parts[0]]
    return [_join_parts(parts, place)]


def _join_parts(parts: list[Data], place: int) -> Data:
    """The directions of a layer, or of a forward and a backward layer, as features."""
    step = parts[0].step
    if all(part.part == index and part.step is step for index, part in enumerate(parts)):
        joint = step
    elif len(parts) == 2 and parts[0].part is None and parts[1].part is None:
        made = bidirectional(parts[0].step, parts[1].step)
        if made is None:
            raise CannotMap("it joins two branches of the model")
        joint = made
    else:
        raise CannotMap("it joins two branches of the model")
    recurrence = joint.recurrence
    if recurrence is None or len(parts) != (recurrence.direction.size or 0):
        raise CannotMap("it joins some directions of a layer, not all in their order")
    rests = {part.axes[:place] + part.axes[place + 1 :] for part in parts}
    widths = {dim_of(part.axes[place]).number for part in parts}
    if len({tuple(map(solid, rest)) for rest in rests}) != 1 or widths != {recurrence.hidden.size}:
        raise CannotMap("it joins directions along another axis than the features")
    features = (recurrence.direction, recurrence.hidden)
    return Data(joint, (*parts[0].axes[:place], features, *parts[0].axes[place + 1 :]))


# --- Means and maxima ---


def reduce(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """ReduceMean and ReduceMax over time; a mean over features begins a LayerNorm."""
    value = inputs.get(0)
    mean = node.op_type == "ReduceMean"
    keep = bool(int_attribute(node, "keepdims", 1))
    axes = read_axes(node, inputs, 1, opset, 18)
    if isinstance(value, Moment):
        if mean and keep and value.stage == "square" and axes in ([-1], [len(value.data.axes) - 1]):
            return [replace(value, stage="variance")]
        raise CannotMap("this computation is not a layer normalisation")
    data = whole(value)
    if axes is None or len(axes) != 1:
        raise CannotMap("it works on several axes at once")
    place = axis_of(axes[0], len(data.axes))
    features = place == len(data.axes) - 1 and data.axes[place] == data.step.layout[-1]
    if mean and keep and features and data.axes[place] != data.step.time:
        return [Moment("mean", data)]
    return [_pool(node, data, place, "mean" if mean else "max", keep)]


def global_pool(node: Node, inputs: Inputs) -> list[Value]:
    """GlobalAveragePool and GlobalMaxPool of batch, channels, time."""
    data = whole(inputs.get(0))
    if len(data.axes) != 3:
        raise CannotMap("it works on several axes at once")
    mode = "mean" if node.op_type == "GlobalAveragePool" else "max"
    return [_pool(node, data, 2, mode, keep=True)]


def _pool(node: Node, data: Data, place: int, mode: str, keep: bool) -> Data:
    time = data.axes[place]
    if data.step.time is not None and solid(time) != solid(data.step.time):
        raise CannotMap("it works on an axis that is not time")
    if data.step.time is None and (len(data.step.layout) != 3 or time == data.step.layout[-1]):
        raise CannotMap("it works on an axis that is not known to be time")
    name, scoped = module_name(node)
    step = over_time(data.step, time, Layer(name, "Pool", {"mode": mode}))
    axes = data.axes[:place] + (((),) if keep else ()) + data.axes[place + 1 :]
    return Data(replace(step, scoped=scoped), axes)


# --- The steps of a layer normalisation that is written out ---


def moment(node: Node, inputs: Inputs) -> list[Value]:
    """One of the operations between the mean and the division by the deviation."""
    from .dense import normalise

    a, b, kind = inputs.get(0), inputs.get(1), node.op_type
    if kind in ("Identity", "Cast") and isinstance(a, Moment):
        return [a]
    if kind == "Sub" and isinstance(a, (Data, Finals)) and isinstance(b, Moment):
        data = whole(a)
        if b.stage == "mean" and same(data.step, b.data.step) and data.axes == b.data.axes:
            return [Moment("centred", b.data)]
    if isinstance(a, Moment) and isinstance(b, Const):
        number = constant_value(b.array)
        if kind == "Pow" and a.stage == "centred" and number == 2:
            return [replace(a, stage="square")]
        if kind == "Pow" and a.stage == "variance" and number == 0.5 and a.epsilon:
            return [replace(a, stage="deviation")]
        if kind == "Add" and a.stage == "variance" and not a.epsilon and number > 0:
            return [replace(a, epsilon=float(number))]
    if kind == "Add" and isinstance(a, Const) and isinstance(b, Moment):
        return moment(node, Inputs([b, a]))
    if kind == "Mul" and isinstance(a, Moment) and a is b and a.stage == "centred":
        return [replace(a, stage="square")]
    if kind == "Sqrt" and isinstance(a, Moment) and a.stage == "variance" and a.epsilon:
        return [replace(a, stage="deviation")]
    if kind == "Reciprocal" and isinstance(a, Moment) and a.stage == "deviation":
        return [replace(a, stage="inverse")]
    if isinstance(a, Moment) and isinstance(b, Moment) and {a.stage, b.stage} & {"centred"}:
        other = b if a.stage == "centred" else a
        alike = same(a.data.step, b.data.step) and a.data.axes == b.data.axes
        divides = kind == "Div" and other is b and other.stage == "deviation"
        if alike and (divides or (kind == "Mul" and other.stage == "inverse")):
            name, scoped = module_name(node)
            return [normalise(a.data, other.epsilon, name, scoped)]
    raise CannotMap("this computation is not a layer normalisation")
