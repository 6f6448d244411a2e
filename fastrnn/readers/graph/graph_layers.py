# SPDX-License-Identifier: MIT
"""Operators that become layers without memory: those with weights, functions, normalizations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from .graph import NO_LAYER
from .graph_call import Handler, OperatorCall
from .graph_functions import joined_data, with_number
from .graph_moves import arithmetic
from .graph_select import gather
from .graph_steps import Name, after, exactly, features_last, same, without_ones
from .graph_values import (
    Atom,
    Axis,
    Const,
    Data,
    Finals,
    Moment,
    ObstructionError,
    RankError,
    Step,
    Value,
    check_features,
    dim_of,
    fixed_size,
    scalar,
    solid,
)

_FAR = 1 << 31  # larger than any stride or padding that makes sense


# --- Products ---


def _linear(call: OperatorCall) -> Value:
    return _product(call, "input", "weight", call.weight("weight", 2).array, "bias")


def _matmul(call: OperatorCall) -> Value:
    """A product with a weight; an addition that follows becomes its bias."""
    factor = "mat2" if call.op == "mm" else "other"
    return _check_matrix(call, _product(call, "self", factor, call.weight(factor, 2).array.T))


def _addmm(call: OperatorCall) -> Value:
    """alpha (x W) + beta b: the factors go into weight and bias."""
    weight = call.weight("mat2", 2).array
    weight = weight if call.literal("transposed", False) else weight.T
    weight, beta = _scaled(weight, call.literal("alpha", 1.0)), call.literal("beta", 1.0)
    return _check_matrix(call, _product(call, "mat1", "mat2", weight, "self", beta))


def _check_matrix(call: OperatorCall, made: Data) -> Data:
    if call.op in ("mm", "addmm") and len(made.axes) != 2:
        raise RankError(f"its input has {len(made.axes)} axes, expected 2")
    return made


def _scaled(array: Array, factor: float) -> Array:
    return array if factor == 1.0 else (array * factor).astype(array.dtype)


def _product(
    call: OperatorCall, x: str, factor: str, weight: Array, bias: str = "", beta: float = 1.0
) -> Data:
    """A Linear of the arguments of these names; the weight is as PyTorch has it."""
    outputs, inputs = weight.shape
    arrays = {"weight": weight}
    if call.get(bias) is not None:
        arrays["bias"] = _scaled(call.vector(bias, outputs), beta)
    options = {"in_features": inputs, "out_features": outputs, "bias": "bias" in arrays}
    data = call.data(x)
    step = features_last(data.step, _features(data, inputs))
    made = _made("features", outputs)
    name, layout = call.name("Linear", factor, bias), (*step.layout[:-1], made)
    return Data(after(step, "Linear", name, options, arrays, layout), (*data.axes[:-1], made))


def _made(label: str, size: int) -> Axis:
    """A new axis of features."""
    return (Atom(label, size, is_feature=True),)


def _features(data: Data, count: int, place: int = -1) -> Axis:
    """An axis of data that has so many features, as far as is known."""
    features = data.axes[data.place(place)]
    check_features(features, count)
    return features


# --- Arithmetic: of constants, biases and scales, and normalizations that are written out ---


def _arithmetic(call: OperatorCall) -> Value:
    names = ("self", "exponent" if call.op == "pow" else "other")
    a, b = (_constant(call.get(name)) for name in names)
    if call.get("alpha", 1) not in (1, 1.0):
        raise ObstructionError("it scales its second term")
    if isinstance(a, Const) and isinstance(b, Const):
        return arithmetic(call, a, b)
    if isinstance(a, Moment) or isinstance(b, Moment):
        return _moment(call, a, b)
    if any(isinstance(value, Const) and value.array.size == 1 for value in (a, b)):
        return _of_one_feature(call, a, b) or with_number(call, a, b)
    if isinstance(a, Data) and isinstance(b, Data):
        return joined_data(call, a, b)
    if call.op not in ("add", "mul"):
        raise ObstructionError(NO_LAYER)
    return _scale_or_shift(call, a, b)


def _constant(value: Value) -> Value:
    """A plain number as a constant."""
    return Const(np.array(value)) if type(value) in (int, float) else value


def _of_one_feature(call: OperatorCall, a: Value, b: Value) -> Value:
    """The bias of a layer with one output, which is a vector of one number; None if it is none."""
    if call.op != "add" or any(isinstance(value, Const) and not value.dims for value in (a, b)):
        return None
    try:
        return _scale_or_shift(call, a, b)
    except ObstructionError:
        return None


def _scale_or_shift(call: OperatorCall, a: Value, b: Value) -> Value:
    """A constant added or multiplied: the bias of a Linear, weight and bias of a LayerNorm."""
    constant, name = (a, "self") if isinstance(a, Const) else (b, "other")
    if not isinstance(constant, Const):
        raise ObstructionError("it joins two branches of the model")
    data = call.data("other" if name == "self" else "self")
    step, layer = data.step, data.step.layer
    count = dim_of(step.layout[-1]).number if step.layout else None
    fits = data.axes and solid(data.axes[-1]) == solid(step.layout[-1])
    if not fits or count is None or step.parent is None or len(constant.dims) > len(data.axes):
        raise ObstructionError("its constant does not belong to the features of a layer")
    options, arrays = dict(layer.options), dict(layer.arrays)
    if layer.kind == "Linear" and call.op == "add" and "bias" not in arrays:
        options["bias"] = True
    elif layer.kind == "LayerNorm" and call.op == "mul" and not arrays:
        options["elementwise_affine"], options["bias"] = True, False
        arrays["weight"] = call.vector(name, count)
    elif layer.kind == "LayerNorm" and call.op == "add" and "bias" not in arrays:
        options["elementwise_affine"] = options["bias"] = True
        arrays.setdefault("weight", np.ones(count, constant.array.dtype))
    else:
        raise ObstructionError("its constant is neither a bias nor part of a layer normalization")
    if call.op == "add":
        arrays["bias"] = call.vector(name, count)
    path = (layer.name, True) if step.is_scoped else call.name(layer.kind, name)
    return replace(data, step=after(step.parent, layer.kind, path, options, arrays, step.layout))


def _moment(call: OperatorCall, a: Value, b: Value = None) -> Value:
    """One of the operations between the mean and the division by the deviation."""
    op = call.op
    if op == "sub" and isinstance(a, (Data, Finals)) and isinstance(b, Moment):
        data = call.data()
        if b.stage == "mean" and same(data.step, b.data.step) and data.axes == b.data.axes:
            return Moment("centred", b.data)
    if op == "add" and isinstance(a, Const):
        a, b = b, a
    if op == "mul" and isinstance(a, Moment) and a is b and a.stage == "centred":
        return replace(a, stage="square")
    if isinstance(a, Moment) and isinstance(b, Const):
        number = scalar(b)
        if op == "pow" and a.stage == "centred" and number == 2:
            return replace(a, stage="square")
        if op == "pow" and a.stage == "variance" and number == 0.5 and a.epsilon:
            return replace(a, stage="deviation")
        if op == "add" and a.stage == "variance" and not a.epsilon and number > 0:
            return replace(a, epsilon=float(str(np.float32(number))))
    if op == "sqrt" and isinstance(a, Moment) and a.stage == "variance" and a.epsilon:
        return replace(a, stage="deviation")
    if op == "reciprocal" and isinstance(a, Moment) and a.stage == "deviation":
        return replace(a, stage="inverse")
    if isinstance(a, Moment) and isinstance(b, Moment) and "centred" in (a.stage, b.stage):
        other = b if a.stage == "centred" else a
        alike = same(a.data.step, b.data.step) and a.data.axes == b.data.axes
        divides = op == "div" and other is b and other.stage == "deviation"
        if alike and (divides or (op == "mul" and other.stage == "inverse")):
            size = dim_of(a.data.axes[-1]).number
            return _normalised(a.data, other.epsilon, call.name("LayerNorm"), {}, size)
    raise ObstructionError("this computation is not a layer normalization")


def _of_moment(call: OperatorCall) -> Value:
    return _moment(call, call.get("self"))


def _layer_norm(call: OperatorCall) -> Value:
    data, shape = call.data("input"), call.get("normalized_shape")
    if call.is_onnx:  # from an axis on
        start = data.place(call.get("axis"))
        shape = [size.number for size in data.dims[start:]]
    if not isinstance(shape, list) or len(shape) != 1:
        raise ObstructionError("it normalises over several axes")
    (count,) = shape
    names = [name for name in ("weight", "bias") if call.get(name) is not None]
    if names == ["bias"]:
        raise ObstructionError("it has a bias but no weight")
    if type(count) is not int:
        count, names = None, []
    arrays = {name: call.vector(name, count or 0) for name in names}
    name = call.name("LayerNorm", *names)
    return _normalised(data, call.literal("eps", 1e-5), name, arrays, count)


def _normalised(
    data: Data, epsilon: float, name: Name, arrays: dict[str, Array], count: int | None
) -> Data:
    """A LayerNorm over the last axis."""
    if count is None:
        raise ObstructionError("it normalises over an axis of unknown size")
    features = _features(data, count)
    step = features_last(data.step, features)
    options: dict[str, object] = {
        "normalized_shape": [count], "eps": epsilon,
        "elementwise_affine": "weight" in arrays, "bias": "bias" in arrays,
    }  # fmt: skip
    layout, axes = step.layout, data.axes
    if fixed_size(features) is None:  # now it is known
        made = _made("features", count)
        layout, axes = (*layout[:-1], made), (*axes[:-1], made)
    return Data(after(step, "LayerNorm", name, options, arrays, layout), axes)


# --- Embedding and convolution ---


def _embedding(call: OperatorCall) -> Value:
    padding = call.literal("padding_idx", -1)
    return _table(call, "weight", "indices", padding_idx=None if padding == -1 else padding)


def _gather(call: OperatorCall) -> Value:
    """ONNX's Gather: rows of a table by data are an embedding."""
    if not isinstance(call.get("self"), Const) or isinstance(call.get("index"), Const):
        return gather(call)
    if call.get("dim") != 0:
        raise ObstructionError("it is no embedding: expected rows of a table")
    if call.data("index").step.is_integer is not True:
        raise ObstructionError("its indices are not the model's input")
    return _table(call, "self", "index")


def _table(call: OperatorCall, table: str, indices: str, **options: object) -> Data:
    weight, data = call.weight(table, 2), call.data(indices)
    count, width = weight.array.shape
    options = {"num_embeddings": count, "embedding_dim": width, **options}
    name, arrays, made = (
        call.name("Embedding", table),
        {"weight": weight.array},
        _made("features", width),
    )
    step = after(data.step, "Embedding", name, options, arrays, (*data.step.layout, made))
    return Data(step, (*data.axes, made))


def _conv1d(call: OperatorCall) -> Value:
    """A convolution over time; the axes before channels and time are the batch, if there is one."""
    if call.get("transposed", False) is not False:
        raise ObstructionError("it is a transposed convolution")
    given = call.get("weight")
    if isinstance(given, Const) and given.array.ndim != 3:
        raise ObstructionError(f"a convolution over {given.array.ndim - 2} axes, expected 1 (time)")
    weight = call.weight("weight", 3).array
    outputs, per_group, kernel = weight.shape
    if call.ints("kernel_shape") not in (None, [kernel]):
        raise ObstructionError(f"its kernel_shape is not that of its weight, [{kernel}]")
    stride, dilation, groups = (_single(call, name, 1) for name in ("stride", "dilation", "groups"))
    if outputs % groups:
        raise ObstructionError(f"its {groups} groups do not divide {outputs} channels")
    reach = dilation * (kernel - 1)
    padding = _padding(call, reach, stride)
    arrays = {"weight": weight}
    if call.get("bias") is not None:
        arrays["bias"] = call.vector("bias", outputs)
    options: dict[str, object] = {
        "in_channels": per_group * groups, "out_channels": outputs, "kernel_size": kernel,
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "bias": "bias" in arrays,
    }  # fmt: skip
    data = call.data("input")
    if len(data.axes) not in (2, 3):
        raise RankError("its input has not the axes batch, channels and time")
    _features(data, per_group * groups, -2)
    step, time = _channels_first(data), data.axes[-1]
    ends = 2 * padding if isinstance(padding, int) else 0 if padding == "valid" else reach
    if stride != 1 or ends != reach:
        size = dim_of(time).number
        left = None if size is None else (size + ends - reach - 1) // stride + 1
        time = (Atom("time", left, is_example=any(atom.is_example for atom in time)),)
    name, made = call.name("Conv1d", "weight", "bias"), _made("channels", outputs)
    step = after(step, "Conv1d", name, options, arrays, (*step.layout[:-2], made, time))
    return Data(replace(step, time=time), (*data.axes[:-2], made, time))


def _channels_first(data: Data) -> Step:
    """The layers so far with channels and time as last axes, behind the batch if there is one."""
    step = without_ones(data.step, data.axes)
    batch = [axis for axis in data.axes[:-2] if solid(axis) or axis in step.layout]
    return exactly(step, (*batch, *data.axes[-2:]))


def _single(call: OperatorCall, name: str, least: int) -> int:
    """The one number of an argument that has one for each axis."""
    value = call.integer(name, least)
    if not least <= value < _FAR:
        raise ObstructionError(f"its {name} is {value}, expected at least {least}")
    return value


def _padding(call: OperatorCall, reach: int, stride: int) -> int | str:
    """The zeros at each end, as many at both; ONNX has a count for each end, or a rule."""
    value = call.get("padding")
    if value in ("same", "valid"):
        return str(value)
    if value in ("SAME_UPPER", "SAME_LOWER") and stride == 1 and reach % 2 == 0:
        return reach // 2
    ends = None if isinstance(value, str) else call.ints("padding") or [0]
    if ends is None or len(ends) > 2 or ends[0] != ends[-1] or not 0 <= ends[0] < _FAR:
        raise ObstructionError("it pads both ends differently")
    return ends[0]


# --- Batch normalization, maxima over windows, PReLU ---


def _batch_norm(call: OperatorCall) -> Value:
    """By the statistics of the file, over the channels, which are axis 1."""
    if call.get("training", False) is not False:
        raise ObstructionError("it is in training mode: it takes the statistics of its input")
    count = call.weight("running_mean", 1).array.shape[0]
    data = call.data("input")
    if len(data.axes) not in (2, 3):
        raise ObstructionError(f"its input has {len(data.axes)} axes, expected 2 or 3")
    _features(data, count, 1)
    weights = [name for name in ("weight", "bias") if call.get(name) is not None]
    if len(weights) == 1:
        raise ObstructionError(f"it has a {weights[0]}, but not the other of weight and bias")
    arrays = {name: call.vector(name, count) for name in (*weights, "running_mean", "running_var")}
    options: dict[str, object] = {
        "num_features": count, "eps": call.literal("eps", 1e-5), "affine": bool(weights),
    }  # fmt: skip
    step = exactly(without_ones(data.step, data.axes), data.axes)
    name = call.name("BatchNorm1d", "running_mean")
    return Data(after(step, "BatchNorm1d", name, options, arrays), data.axes)


def _max_pool(call: OperatorCall) -> Value:
    """Maxima over windows of the last axis, with channels before it."""
    kernel = _single(call, "kernel_size", 1)
    has_stride = call.get("stride") not in (None, [])
    stride = _single(call, "stride", 1) if has_stride else kernel
    dilation, padding = _single(call, "dilation", 1), _padding(call, 0, stride)
    ceil_mode = call.literal("ceil_mode", False)
    if not isinstance(padding, int) or padding > kernel // 2:
        raise ObstructionError(f"its padding is {padding}, expected at most half of its window")
    data = call.data("self")
    if len(data.axes) not in (2, 3):
        raise ObstructionError("its input has not the axes batch, channels and time")
    time = (Atom("time", None, is_example=any(atom.is_example for atom in data.axes[-1])),)
    step = _channels_first(data)
    options: dict[str, object] = {
        "kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation,
        "ceil_mode": ceil_mode,
    }  # fmt: skip
    name, layout = call.name("MaxPool1d"), (*step.layout[:-1], time)
    step = after(step, "MaxPool1d", name, options, layout=layout)
    return Data(replace(step, time=time), (*data.axes[:-1], time))


def _prelu(call: OperatorCall) -> Value:
    """One slope for all values, or one for each channel, which are axis 1."""
    data, slopes = call.data(), call.get("weight")
    array = slopes.array if isinstance(slopes, Const) else np.zeros(0)
    count, rank = array.size, len(data.axes)
    if count == 1:
        step = data.step
    elif rank > 1 and array.shape == (count, *([1] * (rank - 2) if call.is_onnx else ())):
        _features(data, count, 1)
        step = exactly(data.step, data.axes)
    else:
        raise ObstructionError(f"its slopes have shape {array.shape}, expected those of axis 1")
    arrays = {"weight": call.vector("weight", count) if count == 1 else array.reshape(-1)}
    name = call.name("PReLU", "weight")
    return Data(after(step, "PReLU", name, {"num_parameters": count}, arrays), data.axes)


# --- Functions ---


def _softmax(call: OperatorCall) -> Value:
    data, kind = call.data(), "LogSoftmax" if "log" in call.op else "Softmax"
    place = data.place(call.get("dim"))
    if call.get("to_the_end") is True and place != len(data.axes) - 1:
        raise ObstructionError("it works on several axes at once")
    axis, step = data.axes[place], data.step
    at = step.layout.index(axis) if axis in step.layout else -1
    if at in (-1, len(step.layout) - 1):
        step, at = features_last(step, axis), -1
    return Data(after(step, kind, call.name(kind), {"dim": at}), data.axes)


def _dropout(call: OperatorCall) -> Value:
    """A Dropout does nothing when a model runs, but is there to train on."""
    train = call.get("train")
    if train is not None and scalar(train):
        raise ObstructionError("it is in training mode: its result is random")
    probability = scalar(call.get("p", 0.5))
    if not 0.0 <= probability < 1.0:
        raise ObstructionError(f"its ratio is {probability}, expected 0 to 1")
    data = call.data("input")
    step = after(data.step, "Dropout", call.name("Dropout"), {"p": float(probability)})
    return replace(data, step=step)


LAYERS: dict[str, Handler] = {
    "linear": _linear,
    **dict.fromkeys(("mm", "matmul"), _matmul),
    "addmm": _addmm,
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "floor_divide", "pow"), _arithmetic),
    **dict.fromkeys(("sqrt", "reciprocal"), _of_moment),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    "embedding": _embedding,
    "onnx.Gather": _gather,
    **dict.fromkeys(("conv1d", "convolution", "_convolution"), _conv1d),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    "dropout": _dropout,
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    "max_pool1d": _max_pool,
    "prelu": _prelu,
}
