# SPDX-License-Identifier: MIT
"""Operators that take a part of a value, as the last step or one direction, and those that join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np

from .graph import BRANCHES, MOST_PARTS
from .graph_call import Handler, OperatorCall
from .graph_directions import (
    bidirectional,
    direction_of,
    join_finals,
    join_parts,
    merged,
    pool,
    settle,
    take_rows,
    whole,
)
from .graph_moves import joined, picked, sliced
from .graph_spans import summed
from .graph_steps import NOT_TIME, may_be_time, reverse
from .graph_values import (
    Atom,
    Axes,
    Const,
    Data,
    Finals,
    Moment,
    ObstructionError,
    Tensor,
    Value,
    WeightedSteps,
    dim_of,
    fixed_size,
    place_of,
    solid,
)

_ENDLESS = (1 << 31) - 1  # from here on an end means: to the end


# --- One place of an axis ---


def _select(call: OperatorCall) -> Value:
    value = call.tensor()
    place = value.place(call.get("dim"))
    return _pick(call, value, place, call.literal("index", 0), keep=False)


def gather(call: OperatorCall) -> Value:
    """ONNX's Gather, along an axis of data, by one index."""
    value, index = call.tensor(), call.get("index")
    place = value.place(call.get("dim"))
    if not isinstance(index, Const) or index.spread or index.array.dtype.kind not in "iu":
        raise ObstructionError("its indices are not a constant of whole numbers")
    if isinstance(value, Const):
        return picked(call, value, place, index.array)
    if index.array.size != 1 or index.array.ndim > 1:
        raise ObstructionError("it takes several places of an axis")
    return _pick(call, value, place, int(index.array.reshape(-1)[0]), index.array.ndim == 1)


def _pick(call: OperatorCall, value: Tensor, place: int, index: int, keep: bool) -> Tensor:
    """The value at one index of an axis, which may stay with size 1."""
    if isinstance(value, Const):
        return picked(call, value, place, np.array([index] if keep else index))
    if isinstance(value, Finals):
        count = len(value.rows)
        if value.axes[place] != (value.row,) or not -count <= index < count:
            raise ObstructionError(f"it takes part {index} of something else than layers' states")
        return take_rows(value, slice(index % count, index % count + 1), drop=not keep)
    axis = value.axes[place]
    size = fixed_size(axis)
    if size is not None and not -size <= index < size:
        raise ObstructionError(f"it takes part {index} of an axis of size {size}")
    axes = value.axes[:place] + (((),) if keep else ()) + value.axes[place + 1 :]
    features = direction_of(value.step)
    if features is not None and value.part is None and solid(axis) == features[:1]:
        left = axis[1:]  # a hidden unit, the only one
        axes = (*value.axes[:place], *([left] if keep else ()), *value.axes[place + 1 :])
        return replace(value, axes=axes, part=index % (size or 1))
    if size == 1:
        return replace(value, axes=axes)
    return _instant(value, place, index, axes)


def _instant(value: Data, place: int, index: int, axes: Axes) -> Tensor:
    """One place of an axis of data: a step, or a row of an initial state, or both."""
    axis = value.axes[place]
    size = fixed_size(axis)
    is_last = index == -1 or index + 1 == size
    is_first = index in (0, -(size or 0))
    first = size + index if index < 0 and size is not None else index
    rows = _rows(value, place, first, first + 1)
    if not may_be_time(value.step, axis) or value.instant is not None:
        why = NOT_TIME
    elif is_last or is_first:
        instant = -1 if is_last else 0
        return replace(value, axes=axes, instant=instant, time=axis, rows=rows)
    else:
        why = f"it takes step {index} of the sequence, expected 0 or -1"
    if rows is None:
        raise ObstructionError(why)
    return replace(value, axes=axes, rows=rows)


def _rows(value: Data, place: int, first: int, last: int) -> range | None:
    """Rows of an input that may be an initial state; None if this takes none of such."""
    step, old = value.step, value.rows
    if step.parent is not None or step.is_integer or place or first < 0:
        return None
    if old is None:
        is_first = bool(step.layout) and value.axes[0] == step.layout[0]
        return range(first, last) if is_first else None
    return old[first:last] if len(value.axes) == len(step.layout) else None


def _unbind(call: OperatorCall) -> Value:
    """All places of an axis, as a list or as so many results; the last one is that of any size."""
    value = call.tensor()
    place, is_list = value.place(call.get("dim", 0)), call.literal("as_list", False)
    count = value.dims[place].number if is_list else len(call.node.outputs)
    if count is None or count > MOST_PARTS:
        raise ObstructionError("it takes apart an axis whose size is not known or too large")
    indices = [*range(count - 1), -1] if count else []
    found = [_or_why(_pick, call, value, place, index, False) for index in indices]
    return found if is_list else tuple(found)


# --- A stretch of an axis ---


def _slice(call: OperatorCall) -> Value:
    value = call.tensor()
    place = value.place(call.get("dim", 0))
    start, end = call.integer("start", 0), call.integer("end", _ENDLESS)
    return _take_slice(call, value, place, slice(start, end, call.integer("step", 1)))


def _slices(call: OperatorCall) -> Value:
    """ONNX's Slice, of several axes."""
    value = call.tensor()
    starts, ends, axes, steps = map(call.ints, ("starts", "ends", "axes", "steps"))
    if starts is None or ends is None:
        raise ObstructionError("it has no starts or ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ObstructionError("its starts, ends, axes and steps do not fit together")
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        value = _take_slice(call, value, value.place(axis), slice(*bounds))
    return value


def _split(call: OperatorCall) -> Value:
    """ONNX's Split: parts of these lengths, or so many of one length."""
    lengths, count = call.ints("split"), call.integer("count", 1)
    if lengths is None:
        size = _split_size(call)
        if not 0 < count <= max(size, 1):
            raise ObstructionError(f"it splits {size} into {count}")
        longest = -(-size // count)
        lengths = [min(longest, size - longest * at) for at in range(count)]
    return _parts(call, lengths)


def _chunk(call: OperatorCall) -> Value:
    """So many parts of one length, the last one shorter, or fewer parts."""
    return _equal_parts(call, -(-_split_size(call) // max(call.integer("chunks", 1), 1)))


def _split_by_size(call: OperatorCall) -> Value:
    """Parts of these lengths, or of one length, the last one shorter."""
    if isinstance(call.get("split_size"), int):
        return _equal_parts(call, call.integer("split_size", 1))
    return _parts(call, call.ints("split_sizes") or call.ints("split_size") or [])


def _equal_parts(call: OperatorCall, length: int) -> Value:
    size = _split_size(call)
    if not 0 < length <= size <= MOST_PARTS * length:
        raise ObstructionError(f"it splits {size} into parts of {length}")
    return _parts(call, [min(length, size - at) for at in range(0, size, length)])


def _split_size(call: OperatorCall) -> int:
    """The size of the axis that is split."""
    value = call.tensor()
    size = value.dims[value.place(call.get("dim", 0))].number
    if size is None:
        raise ObstructionError("it splits an axis of unknown size")
    return size


def _parts(call: OperatorCall, lengths: list[int]) -> Value:
    """Parts of these lengths, which must be those of the axis together."""
    value, place = call.tensor(), call.tensor().place(call.get("dim", 0))
    size = value.dims[place].number
    if (size is not None and sum(lengths) != size) or min(lengths, default=0) < 0:
        raise ObstructionError(f"it splits {size} into {lengths[:8]}")
    parts = [slice(a, b, 1) for a, b in pairwise(accumulate(lengths, initial=0))]
    if size is None and len(parts) > 1:
        parts[-1] = slice(-lengths[-1], _ENDLESS, 1)
    return tuple(_or_why(_take_slice, call, value, place, part) for part in parts)


def _or_why(take: Callable[..., Value], *args: object) -> Value:
    """A part of a value, or why it is unsupported, which matters only if it is used."""
    try:
        return take(*args)
    except ObstructionError as error:
        return error


def _take_slice(call: OperatorCall, value: Tensor, place: int, taken: slice) -> Tensor:
    """A stretch of one axis: all of it, one place, one direction, or time backwards."""
    start, stop, step = taken.start, taken.stop, taken.step
    if step == 0:
        raise ObstructionError("its step is 0")
    if isinstance(value, Const):
        return sliced(call, value, place, taken)
    axis, size = value.axes[place], value.dims[place].number
    if isinstance(value, Finals) and axis == (value.row,):
        return take_rows(value, taken, drop=False)
    fixed = fixed_size(axis)  # a bound that only the example's axis has says nothing
    all_back = (start == -1 or start + 1 == fixed or start >= _ENDLESS) and stop <= -_ENDLESS
    if step == -1 and all_back and isinstance(value, Data):
        return _backwards(call, value, place)
    if step != 1:
        raise ObstructionError(f"it takes every {step}th entry of an axis")
    to_end = stop >= _ENDLESS or (fixed is not None and stop >= fixed)
    if to_end and (start == 0 or (fixed is not None and start <= -fixed)):
        return value
    if fixed is None and ((start == -1 and to_end) or 0 <= start == stop - 1):
        return _pick(call, value, place, start, keep=True)
    if size is not None:
        first, last, _ = slice(start, stop).indices(size)
        if last - first == 1 and fixed is not None:
            return _pick(call, value, place, first, keep=True)
        if isinstance(value, Data):
            return _stretch(value, place, first, last)
    raise ObstructionError("it takes a part of an axis")


def _stretch(value: Data, place: int, first: int, last: int) -> Data:
    """One half of the features of a bidirectional layer, or rows of an initial state."""
    rows = _rows(value, place, first, max(first, last))
    if rows is not None:
        axes = ((Atom("rows", len(rows)),), *value.axes[1:])
        return replace(value, axes=axes, rows=rows)
    features = direction_of(value.step)
    if features is not None and value.part is None and value.axes[place] == features:
        width = features[1].size or 0
        if last - first == width and first in (0, width):
            axes = (*value.axes[:place], features[1:], *value.axes[place + 1 :])
            return replace(value, axes=axes, part=first // width)
    raise ObstructionError("it takes a part of an axis")


def _backwards(call: OperatorCall, value: Data, place: int) -> Data:
    """All steps in reverse order."""
    data = whole(value)
    time = data.axes[place]
    if data.step.lengths is not None:
        raise ObstructionError("with sequence_lens, it brings what is beyond them to the front")
    if data.step.time and not may_be_time(data.step, time):
        raise ObstructionError(NOT_TIME)
    return Data(reverse(data.step, time, call.name("Flip")), data.axes)


def _flip(call: OperatorCall) -> Value:
    value, dims = call.data(), call.ints("dims")
    if dims is None or len(dims) != 1:
        raise ObstructionError("it turns several axes at once")
    return _backwards(call, value, value.place(dims[0]))


# --- Joining ---


def _tensors(call: OperatorCall) -> list[Value]:
    values = call.get("tensors")
    if not isinstance(values, list) or not values:
        raise ObstructionError("its inputs are not a list of tensors")
    return values


def _cat(call: OperatorCall) -> Value:
    return _joined(call, _tensors(call), call.get("dim", 0))


def _hstack(call: OperatorCall) -> Value:
    """Joined along axis 1, or 0 if there are no more."""
    values = _tensors(call)
    ranks = [len(value.dims) for value in values if isinstance(value, Tensor)]
    return _joined(call, values, 0 if 1 in ranks else 1)


def _stack(call: OperatorCall) -> Value:
    """Joined along a new axis."""
    values, dim = _tensors(call), call.get("dim", 0)
    widened: list[Value] = []
    for value in values:
        if not isinstance(value, Data | Finals):
            raise ObstructionError(BRANCHES)
        place = place_of(dim, len(value.axes) + 1)
        widened.append(replace(value, axes=(*value.axes[:place], (), *value.axes[place:])))
    return _joined(call, widened, dim)


def _joined(call: OperatorCall, values: list[Value], dim: Value) -> Value:
    """Constants, final states, or the directions of one layer as features."""
    constants = [value for value in values if isinstance(value, Const)]
    if len(constants) == len(values):
        return joined(call, constants, constants[0].place(dim))
    tensors = [value for value in values if isinstance(value, Data | Finals)]
    if len(tensors) < len(values) or len({len(value.axes) for value in tensors}) != 1:
        raise ObstructionError(BRANCHES)
    place = tensors[0].place(dim)
    if len(tensors) == 1:
        return tensors[0]
    if any(isinstance(value, Finals) for value in tensors):
        return join_finals([settle(value) for value in tensors], place)
    parts = [value for value in tensors if isinstance(value, Data)]
    if len(parts) == 2 and all(part.part is None for part in parts):
        return _join_layers(whole(parts[0]), whole(parts[1]), place)
    return join_parts(parts, place)


def _join_layers(forward: Data, backward: Data, place: int) -> Data:
    """The y of a forward and of a backward layer, which is turned back, as features."""
    end = backward.step
    twin = end.parent if end.layer.kind == "Flip" else None
    made = None
    if twin is not None and twin.time == end.time:
        made = bidirectional(forward.step, twin)
    if made is None or made.recurrence is None:
        raise ObstructionError(BRANCHES)
    features = (made.recurrence.direction, made.recurrence.hidden)
    rests = {
        tuple(map(solid, part.axes[:place] + part.axes[place + 1 :]))
        for part in (forward, backward)
    }
    widths = {dim_of(part.axes[place]).number for part in (forward, backward)}
    if len(rests) != 1 or widths != {made.recurrence.hidden.size}:
        raise ObstructionError("it joins directions along another axis than the features")
    return Data(made, (*forward.axes[:place], features, *forward.axes[place + 1 :]))


# --- Means and maxima ---


def _mean(call: OperatorCall) -> Value:
    """A mean over time; a mean over features begins a layer normalization."""
    call.check_dtype()
    value, dims, keep = call.get("self"), call.ints("dim"), call.get("keepdim") is True
    if isinstance(value, Moment):
        if keep and value.stage == "square" and dims in ([-1], [len(value.data.axes) - 1]):
            return replace(value, stage="variance")
        raise ObstructionError("this computation is not a layer normalization")
    data = call.data()
    step, ends = data.step, ([-1], [len(data.axes) - 1])
    if keep and dims in ends and data.axes and step.layout:
        axis = data.axes[-1]
        if solid(axis) == solid(step.layout[-1]) and axis != step.time:
            return Moment("mean", data)
    return _pooled(call, dims, "mean", keep)


def _sum(call: OperatorCall) -> Value:
    """A sum over time or of both directions of a layer, or of weighted steps."""
    call.check_dtype()
    value, dims, keep = call.get("self"), call.ints("dim"), call.get("keepdim") is True
    if isinstance(value, WeightedSteps):
        return summed(call, value, dims, keep)
    return _pooled(call, dims, "sum", keep)


def _max(call: OperatorCall) -> Value:
    """A maximum over time; the places where they are, a second result, are not known."""
    return _pooled(call, call.ints("dim"), "max", call.get("keepdim") is True), None


def _global_pool(call: OperatorCall) -> Value:
    """A mean or maximum over the last axis; in ONNX over all behind batch and channels."""
    if call.ints("output_size") != [1]:
        raise ObstructionError("it pools to several values, expected 1")
    rank = len(call.data().axes)
    if rank > 3 and not call.is_onnx:
        raise ObstructionError("it works on several axes at once")
    mode = "max" if call.op == "adaptive_max_pool1d" else "mean"
    dims = [*range(2, rank)] if rank > 3 else [-1]
    return _pooled(call, dims, mode, keep=True), None


def _pooled(call: OperatorCall, dims: list[int] | None, mode: str, keep: bool) -> Data:
    data = call.data()
    places = {data.place(at) for at in dims or ()}
    if sum(bool(solid(data.axes[at])) for at in places) > 1 or not places:
        raise ObstructionError("it works on several axes at once")
    name = call.name("Pool") if call.is_onnx else ("pool", False)
    features = direction_of(data.step)
    for at in sorted(places, reverse=True):
        if mode != "max" and features is not None and data.axes[at] == features[:1]:
            axes = (*data.axes[:at], *([()] if keep else []), *data.axes[at + 1 :])
            data = merged(data, mode, call.name("MergeDirections"), axes)
        else:
            data = pool(data, at, mode, keep, name)
    return data


SELECTIONS: dict[str, Handler] = {
    "select": _select,
    "slice": _slice,
    "onnx.Slice": _slices,
    "onnx.Split": _split,
    "chunk": _chunk,
    **dict.fromkeys(("split", "split_with_sizes"), _split_by_size),
    "flip": _flip,
    "cat": _cat,
    "hstack": _hstack,
    "stack": _stack,
    "unbind": _unbind,
    "mean": _mean,
    "sum": _sum,
    **dict.fromkeys(("amax", "max"), _max),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_max_pool1d"), _global_pool),
}
