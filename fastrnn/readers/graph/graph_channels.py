# SPDX-License-Identifier: MIT
"""Operators whose channels come before time: convolution, pooling, normalization, PReLU.

Some writers, such as tf2onnx, give one-dimensional operators a second axis, of size 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .graph_call import Handler, OperatorCall
from .graph_steps import after, exactly, without_ones
from .graph_values import (
    Atom,
    Axis,
    Const,
    Data,
    ObstructionError,
    RankError,
    Step,
    Value,
    dim_of,
    features_of,
    made_features,
    solid,
)

_FAR = 1 << 31  # larger than any stride or padding that makes sense


# --- The one axis that windows move along ---


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows over the last axis of data, of which a second axis of size 1 was taken out."""

    data: Data
    dropped: int | None  # the place of that axis
    kernel: int
    stride: int
    dilation: int
    ends: tuple[int, int] | str  # the zeros before and behind, or the rule "same" or "valid"

    @property
    def reach(self) -> int:
        """How many steps beside its first one a window covers."""
        return self.dilation * (self.kernel - 1)

    @property
    def padding(self) -> int:
        """The zeros at both ends together."""
        if isinstance(self.ends, str):
            return self.reach if self.ends == "same" else 0
        return sum(self.ends)

    def slid(self, step: Step, channels: Axis, ceil_mode: bool = False) -> Data:
        """The data of a layer that makes one step of each window."""
        time = self.data.axes[-1]
        if self.stride != 1 or self.padding != self.reach:
            size = None if ceil_mode else dim_of(time).number
            if size is not None:
                size = (size + self.padding - self.reach - 1) // self.stride + 1
            time = (Atom("time", size, is_example=any(atom.is_example for atom in time)),)
        step = replace(step, layout=(*step.layout[:-1], time), time=time)
        return _with_one(Data(step, (*self.data.axes[:-2], channels, time)), self.dropped)


def _windows(call: OperatorCall, data: Data, kernels: list[int], strides: list[int]) -> _Windows:
    """How windows of these sizes, one for each axis behind the channels, move."""
    count = len(kernels)
    if len(data.axes) not in (count + 1, count + 2):
        raise RankError("its input has not the axes batch, channels and time")
    dilations, ends = _numbers(call, "dilation", count), _ends(call, kernels, strides)
    places = range(len(data.axes) - count, len(data.axes))
    free = [
        at
        for at, place in enumerate(places)
        if kernels[at] == 1 and ends[at] in ((0, 0), "same", "valid") and _is_one(data, place)
    ]
    if len(free) < count - 1:
        raise ObstructionError(f"it works over {count} axes, expected 1 (time)")
    free.sort(key=lambda at: data.axes[places[at]] != ())  # first what only this operator needs
    gone = free[: count - 1]
    (kept,) = (at for at in range(count) if at not in gone)
    dropped = places[gone[0]] if gone else None
    data = _without_one(data, dropped)
    return _Windows(data, dropped, kernels[kept], strides[kept], dilations[kept], ends[kept])


def _numbers(call: OperatorCall, name: str, count: int) -> list[int]:
    """A number for each axis; one for all of them may be given."""
    found = call.ints(name) or [1]
    found = found * count if len(found) == 1 else found
    if len(found) != count or not all(0 < number < _FAR for number in found):
        raise ObstructionError(f"its {name} is {found[:8]}, expected {count} numbers of at least 1")
    return found


def _ends(
    call: OperatorCall, kernels: list[int], strides: list[int]
) -> list[tuple[int, int] | str]:
    """The padding of each axis. ONNX has a count for each end, or a rule; ATen one for both."""
    count, value = len(kernels), call.get("padding")
    if value in ("same", "valid"):
        return [str(value)] * count
    if value in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for kernel, stride, dilation in zip(
            kernels, strides, _numbers(call, "dilation", count), strict=True
        ):
            total = dilation * (kernel - 1)
            if stride != 1 and total:
                raise ObstructionError("its padding depends on the number of steps")
            less = total // 2
            found.append((less, total - less) if value == "SAME_UPPER" else (total - less, less))
        return [*found]
    pads = call.ints("padding") or [0]
    pads = pads * count if len(pads) == 1 else pads
    pads = pads * 2 if len(pads) == count else pads
    if len(pads) != 2 * count or not all(0 <= pad < _FAR for pad in pads):
        raise ObstructionError(f"its padding is {pads[:8]}, expected {count} numbers, or two each")
    return [*zip(pads[:count], pads[count:], strict=True)]


def _is_one(data: Data, place: int) -> bool:
    return not solid(data.axes[place])


def _without_one(data: Data, place: int | None) -> Data:
    """The data without an axis of size 1."""
    if place is None:
        return data
    return replace(data, axes=data.axes[:place] + data.axes[place + 1 :])


def _with_one(data: Data, place: int | None) -> Data:
    """The data with an axis of size 1 put back."""
    if place is None:
        return data
    return replace(data, axes=(*data.axes[:place], (), *data.axes[place:]))


def _channels_first(data: Data) -> Step:
    """The layers so far with channels and time as last axes, behind the batch if there is one."""
    step = without_ones(data.step, data.axes)
    batch = [axis for axis in data.axes[:-2] if solid(axis) or axis in step.layout]
    return exactly(step, (*batch, *data.axes[-2:]))


# --- Convolution and pooling ---


def _convolution(call: OperatorCall) -> Value:
    """A convolution over time; the axes before channels and time are the batch, if there is one."""
    if call.get("transposed", False) is not False:
        raise ObstructionError("it is a transposed convolution")
    given = call.get("weight")
    rank = given.array.ndim if isinstance(given, Const) else 3
    if rank not in (3, 4):
        raise ObstructionError(f"it works over {rank - 2} axes, expected 1 (time)")
    weight = call.weight("weight", rank).array
    outputs, per_group, *kernels = weight.shape
    if call.ints("kernel_shape") not in (None, kernels):
        raise ObstructionError(f"its kernel_shape is not that of its weight, {kernels}")
    (groups,) = _numbers(call, "groups", 1)
    if outputs % groups:
        raise ObstructionError(f"its {groups} groups do not divide {outputs} channels")
    arrays = {"weight": weight.reshape(outputs, per_group, -1)}
    if call.get("bias") is not None:
        arrays["bias"] = call.vector("bias", outputs)
    strides = _numbers(call, "stride", len(kernels))
    moved = _windows(call, call.data("input"), kernels, strides)
    features_of(moved.data, per_group * groups, -2)
    step, ends = _channels_first(moved.data), moved.ends
    padding = ends if isinstance(ends, str) else ends[0]
    if isinstance(ends, tuple) and ends[0] != ends[1]:
        step, padding = after(step, "ZeroPad1d", ("pad", False), {"padding": ends}), 0
    options: dict[str, object] = {
        "in_channels": per_group * groups, "out_channels": outputs, "kernel_size": moved.kernel,
        "stride": moved.stride, "padding": padding, "dilation": moved.dilation, "groups": groups,
        "bias": "bias" in arrays,
    }  # fmt: skip
    name, made = call.name("Conv1d", "weight", "bias"), made_features(outputs)
    layout = (*step.layout[:-2], made, step.layout[-1])
    return moved.slid(after(step, "Conv1d", name, options, arrays, layout), made)


def _pool(call: OperatorCall) -> Value:
    """Maxima or means over windows of the last axis, with channels before it."""
    kernels = call.ints("kernel_size") or [1]
    kernels = kernels * 2 if call.op.endswith("pool2d") and len(kernels) == 1 else kernels
    if len(kernels) > 2 or not all(0 < kernel < _FAR for kernel in kernels):
        raise ObstructionError(f"it works over {len(kernels)} axes, expected 1 (time)")
    has_stride = call.get("stride") not in (None, [])
    strides = _numbers(call, "stride", len(kernels)) if has_stride else kernels
    moved = _windows(call, call.data(), kernels, strides)
    ceil_mode, ends = call.literal("ceil_mode", False), moved.ends
    if isinstance(ends, str) or ends[0] != ends[1] or ends[0] > moved.kernel // 2:
        raise ObstructionError(
            f"its padding is {ends}, expected as much at both ends, at most half of its window"
        )
    kind = "MaxPool1d" if call.op.startswith("max") else "AvgPool1d"
    options: dict[str, object] = {
        "kernel_size": moved.kernel, "stride": moved.stride, "padding": ends[0],
        "ceil_mode": ceil_mode,
    }  # fmt: skip
    if kind == "MaxPool1d":
        options["dilation"] = moved.dilation
    else:
        options["count_include_pad"] = call.literal("count_include_pad", True)
        if moved.dilation != 1:
            raise ObstructionError(f"its dilation is {moved.dilation}, expected 1")
    step = after(_channels_first(moved.data), kind, call.name(kind), options)
    return moved.slid(step, moved.data.axes[-2], ceil_mode)


# --- Batch normalization and PReLU ---


def _by_channels(data: Data) -> tuple[Data, int | None]:
    """The data with channels as axis 1 of at most three; an axis of size 1 may be taken out."""
    place = next((at for at in (3, 2) if len(data.axes) == 4 and _is_one(data, at)), None)
    return _without_one(data, place), place


def _batch_norm(call: OperatorCall) -> Value:
    """By the statistics of the file, over the channels, which are axis 1."""
    if call.get("training", False) is not False:
        raise ObstructionError("it is in training mode: it takes the statistics of its input")
    count = call.weight("running_mean", 1).array.shape[0]
    data, dropped = _by_channels(call.data("input"))
    if len(data.axes) not in (2, 3):
        raise ObstructionError(f"its input has {len(data.axes)} axes, expected 2 or 3")
    features_of(data, count, 1)
    weights = [name for name in ("weight", "bias") if call.get(name) is not None]
    if len(weights) == 1:
        raise ObstructionError(f"it has a {weights[0]}, but not the other of weight and bias")
    arrays = {name: call.vector(name, count) for name in (*weights, "running_mean", "running_var")}
    options: dict[str, object] = {
        "num_features": count, "eps": call.literal("eps", 1e-5), "affine": bool(weights),
    }  # fmt: skip
    step = exactly(without_ones(data.step, data.axes), data.axes)
    name = call.name("BatchNorm1d", "running_mean")
    made = Data(after(step, "BatchNorm1d", name, options, arrays), data.axes)
    return _with_one(made, dropped)


def _prelu(call: OperatorCall) -> Value:
    """One slope for all values, or one for each channel, which are axis 1."""
    data, slopes = call.data(), call.get("weight")
    array = slopes.array if isinstance(slopes, Const) else np.zeros(0)
    count, rank = array.size, len(data.axes)
    data, dropped = _by_channels(data)
    if count == 1:
        step = data.step
    elif rank > 1 and array.shape == (count, *([1] * (rank - 2) if call.is_onnx else ())):
        features_of(data, count, 1)
        step = exactly(data.step, data.axes)
    else:
        raise ObstructionError(f"its slopes have shape {array.shape}, expected those of axis 1")
    arrays = {"weight": call.vector("weight", count) if count == 1 else array.reshape(-1)}
    name = call.name("PReLU", "weight")
    made = Data(after(step, "PReLU", name, {"num_parameters": count}, arrays), data.axes)
    return _with_one(made, dropped)


CHANNELS: dict[str, Handler] = {
    **dict.fromkeys(("conv1d", "conv2d", "convolution", "_convolution"), _convolution),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), _pool),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    "prelu": _prelu,
}
