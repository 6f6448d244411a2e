# SPDX-License-Identifier: MIT
"""Operators that become layers without memory: those with weights, functions, normalisations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from .graph import NO_LAYER, Node
from .graph_axes import after, exactly, features_last, without_ones
from .graph_constants import arithmetic
from .graph_select import gather
from .graph_states import same
from .graph_values import (
    POISON,
    Atom,
    Axis,
    Const,
    Data,
    Finals,
    Moment,
    ObstructionError,
    Step,
    Value,
    dim_of,
    dims_of,
    place_of,
    scalar,
    solid,
)
from .translation import (
    Args,
    Handler,
    Name,
    PoisonError,
    Translation,
    data_of,
    name_of,
    options_of,
    vector_of,
    weight_of,
)

_FAR = 1 << 31  # larger than any stride or padding that makes sense

# --- Products ---


def _linear(self: Translation, node: Node, args: Args) -> Value:
    weight = weight_of(args.get("weight"), "weight", 2)
    return _product(node, data_of(args.get("input")), weight, args.get("bias"))


def _matmul(self: Translation, node: Node, args: Args) -> Value:
    """A product with a weight; an addition that follows becomes its bias."""
    weight = weight_of(args.get("mat2", args.get("other")), "second factor", 2)
    return _product(node, data_of(args.get("self")), _transposed(weight), None)


def _addmm(self: Translation, node: Node, args: Args) -> Value:
    """alpha (x W) + beta b: the factors go into weight and bias."""
    weight, bias = weight_of(args.get("mat2"), "second factor", 2), args.get("self")
    scales = options_of(args, alpha=1.0, beta=1.0, transposed=False)
    weight = weight if scales["transposed"] else _transposed(weight)
    if isinstance(bias, Const):
        bias = replace(bias, array=_scaled(bias.array, scales["beta"]))
    weight = replace(weight, array=_scaled(weight.array, scales["alpha"]))
    data = data_of(args.get("mat1"))
    if len(data.axes) != 2:
        raise ObstructionError(f"its input has {len(data.axes)} axes, expected 2")
    return _product(node, data, weight, bias)


def _scaled(array: Array, factor: object) -> Array:
    assert isinstance(factor, float)
    return array if factor == 1.0 else (array * factor).astype(array.dtype)


def _transposed(weight: Const) -> Const:
    return replace(weight, array=weight.array.T)


def _product(node: Node, data: Data, weight: Const, bias: Value) -> Data:
    outputs, inputs = weight.array.shape
    arrays: dict[str, Array] = {"weight": weight.array}
    if bias is not None:
        arrays["bias"] = vector_of(bias, "bias", outputs)
    features = _features(data, inputs, "weight")
    options = {"in_features": inputs, "out_features": outputs, "bias": bias is not None}
    name = name_of(node, "Linear", weight, bias)
    step = features_last(data.step, features)
    made: Axis = (Atom("features", outputs, is_feature=True),)
    step = after(step, "Linear", name, options, arrays, (*step.layout[:-1], made))
    return Data(step, (*data.axes[:-1], made))


def _features(data: Data, count: int, what: str) -> Axis:
    """The last axis of data, which has so many features, as far as is known."""
    features = data.axes[place_of(-1, len(data.axes))]
    known = dim_of(features).number
    if known not in (None, count):
        raise ObstructionError(f"its {what} takes {count} features, the layer before gives {known}")
    return features


# --- Arithmetic: of constants, biases and scales, and normalisations that are written out ---


def _arithmetic(self: Translation, node: Node, args: Args) -> Value:
    other = "exponent" if node.op == "pow" else "other"
    a, b = (_constant(args.get(name)) for name in ("self", other))
    if isinstance(a, Const) and isinstance(b, Const):
        return arithmetic(self, node, a, b)
    if node.op in ("add", "sub") and args.get("alpha", 1) not in (1, 1.0):
        raise ObstructionError("it scales its second term")
    if isinstance(a, Moment) or isinstance(b, Moment):
        return _moment(node, a, b)
    if node.op not in ("add", "mul"):
        raise ObstructionError(NO_LAYER)
    return _scale_or_shift(node, a, b)


def _mul(self: Translation, node: Node, args: Args) -> Value:
    if type(args.get("other")) in (int, float):
        raise ObstructionError(NO_LAYER)
    if POISON in args.values():
        raise PoisonError
    return _arithmetic(self, node, args)


def _constant(value: Value) -> Value:
    """A plain number as a constant."""
    return Const(np.array(value)) if type(value) in (int, float) else value


def _scale_or_shift(node: Node, a: Value, b: Value) -> Value:
    """A constant added or multiplied: the bias of a Linear, weight and bias of a LayerNorm."""
    if not isinstance(a, Const):
        a, b = b, a
    if not isinstance(a, Const):
        raise ObstructionError("it joins two branches of the model")
    data = data_of(b)
    step = data.step
    options, arrays = dict(step.layer.options), dict(step.layer.arrays)
    count = dim_of(step.layout[-1]).number if step.layout else None
    fits = data.axes and solid(data.axes[-1]) == solid(step.layout[-1])
    if not fits or count is None or a.array.dtype.kind != "f" or a.array.ndim > len(data.axes):
        raise ObstructionError("its constant does not belong to the features of a layer")
    if step.layer.kind == "Linear" and node.op == "add" and "bias" not in arrays:
        options["bias"] = True
    elif step.layer.kind == "LayerNorm" and node.op == "mul" and not arrays:
        options["elementwise_affine"], options["bias"] = True, False
        arrays["weight"] = vector_of(a, "weight", count)
    elif step.layer.kind == "LayerNorm" and node.op == "add" and "bias" not in arrays:
        options["elementwise_affine"] = options["bias"] = True
        arrays.setdefault("weight", np.ones(count, a.array.dtype))
    else:
        raise ObstructionError("its constant is neither a bias nor part of a layer normalisation")
    if node.op == "add":
        arrays["bias"] = vector_of(a, "bias", count)
    name = (step.layer.name, True) if step.is_scoped else name_of(node, step.layer.kind, a)
    assert step.parent is not None
    made = after(step.parent, step.layer.kind, name, options, arrays, step.layout)
    return replace(data, step=made)


def _moment(node: Node, a: Value, b: Value = None) -> Value:
    """One of the operations between the mean and the division by the deviation."""
    op = node.op
    if op == "sub" and isinstance(a, (Data, Finals)) and isinstance(b, Moment):
        data = data_of(a)
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
            return _normalised(a.data, other.epsilon, name_of(node, "LayerNorm"), {}, None)
    raise ObstructionError("this computation is not a layer normalisation")


def _of_moment(self: Translation, node: Node, args: Args) -> Value:
    return _moment(node, args.get("self"))


def _layer_norm(self: Translation, node: Node, args: Args) -> Value:
    data = data_of(args.get("input"))
    shape = args.get("normalized_shape")
    if "axis" in args:  # of ONNX: from this one on
        shape = [dim.number for dim in dims_of(data)[place_of(args["axis"], len(data.axes)) :]]
    if not isinstance(shape, list) or len(shape) != 1:
        raise ObstructionError("it normalises over several axes")
    (count,) = shape
    if type(count) is not int:
        raise ObstructionError("it normalises over an axis of unknown size")
    arrays: dict[str, Array] = {}
    given = {name: args.get(name) for name in ("weight", "bias") if args.get(name) is not None}
    for name, value in given.items():
        arrays[name] = vector_of(value, name, count)
    if "bias" in arrays and "weight" not in arrays:
        raise ObstructionError("it has a bias but no weight")
    epsilon = options_of(args, eps=1e-5)["eps"]
    assert isinstance(epsilon, float)
    return _normalised(data, epsilon, name_of(node, "LayerNorm", *given.values()), arrays, count)


def _normalised(
    data: Data, epsilon: float, name: Name, arrays: dict[str, Array], count: int | None
) -> Data:
    """A LayerNorm over the last axis."""
    count = dim_of(data.axes[-1]).number if count is None else count
    if count is None:
        raise ObstructionError("it normalises over an axis of unknown size")
    step = features_last(data.step, _features(data, count, "weight"))
    options: dict[str, object] = {
        "normalized_shape": [count], "eps": epsilon,
        "elementwise_affine": "weight" in arrays, "bias": "bias" in arrays,
    }  # fmt: skip
    return Data(after(step, "LayerNorm", name, options, arrays), data.axes)


# --- Embedding and convolution ---


def _embedding(self: Translation, node: Node, args: Args) -> Value:
    padding = options_of(args, padding_idx=-1)["padding_idx"]
    options: dict[str, object] = {"padding_idx": None if padding == -1 else padding}
    return _rows_of_table(node, args.get("weight"), args.get("indices"), options)


def _gather(self: Translation, node: Node, args: Args) -> Value:
    """ONNX's Gather: rows of a table by data are an embedding."""
    table, indices = args["self"], args["index"]
    if not isinstance(table, Const) or isinstance(indices, Const):
        return gather(self, node, args)
    if args["dim"] != 0:
        raise ObstructionError("it is no embedding: expected rows of a table")
    if data_of(indices).step.is_integer is not True:
        raise ObstructionError("its indices are not the model's input")
    return _rows_of_table(node, table, indices, {})


def _rows_of_table(node: Node, table: Value, indices: Value, options: dict[str, object]) -> Data:
    weight = weight_of(table, "table", 2)
    data = data_of(indices)
    count, width = weight.array.shape
    options = {"num_embeddings": count, "embedding_dim": width, **options}
    name, arrays = name_of(node, "Embedding", weight), {"weight": weight.array}
    made: Axis = (Atom("features", width, is_feature=True),)
    step = after(data.step, "Embedding", name, options, arrays, (*data.step.layout, made))
    return Data(step, (*data.axes, made))


def _conv1d(self: Translation, node: Node, args: Args) -> Value:
    """A convolution over time; the axes before channels and time are the batch, if there is one."""
    if args.get("transposed", False) is not False:
        raise ObstructionError("it is a transposed convolution")
    given, bias = args.get("weight"), args.get("bias")
    if isinstance(given, Const) and given.array.ndim != 3:
        raise ObstructionError(f"a convolution over {given.array.ndim - 2} axes, expected 1 (time)")
    weight = weight_of(given, "weight", 3)
    outputs, per_group, kernel = weight.array.shape
    groups = _single(args.get("groups", 1), "groups", 1)
    if outputs % groups:
        raise ObstructionError(f"its {groups} groups do not divide {outputs} channels")
    stride, dilation = (_single(args.get(name, 1), name, 1) for name in ("stride", "dilation"))
    reach = dilation * (kernel - 1)
    padding = _padding(args.get("padding", 0), reach, stride)
    arrays = {"weight": weight.array}
    if bias is not None:
        arrays["bias"] = vector_of(bias, "bias", outputs)
    options: dict[str, object] = {
        "in_channels": per_group * groups, "out_channels": outputs, "kernel_size": kernel,
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "bias": "bias" in arrays,
    }  # fmt: skip
    data = data_of(args.get("input"))
    if len(data.axes) not in (2, 3):
        raise ObstructionError("its input has not the axes batch, channels and time")
    channels, time = data.axes[-2:]
    _features(replace(data, axes=(channels,)), per_group * groups, "weight")
    step = _channels_first(data)
    made: Axis = (Atom("channels", outputs, is_feature=True),)
    ends = 2 * padding if isinstance(padding, int) else 0 if padding == "valid" else reach
    if stride != 1 or ends != reach:
        size = dim_of(time).number
        left = None if size is None else (size + ends - reach - 1) // stride + 1
        time = (Atom("time", left, is_example=any(atom.is_example for atom in time)),)
    name = name_of(node, "Conv1d", weight, bias)
    step = after(step, "Conv1d", name, options, arrays, (*step.layout[:-2], made, time))
    return Data(replace(step, time=time), (*data.axes[:-2], made, time))


def _channels_first(data: Data) -> Step:
    """The layers so far with channels and time as last axes, behind the batch if there is one."""
    step = without_ones(data.step, data.axes)
    batch = [axis for axis in data.axes[:-2] if solid(axis) or axis in step.layout]
    return exactly(step, (*batch, *data.axes[-2:]))


def _single(value: Value, name: str, least: int) -> int:
    """The one number of a list of one, or a number."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if type(value) is not int or not least <= value < _FAR:
        raise ObstructionError(f"its {name} is not one number of at least {least}")
    return value


def _padding(value: Value, reach: int, stride: int) -> int | str:
    """The zeros at each end, which must be the same there; ONNX gives both or a rule."""
    if value in ("same", "valid"):
        return str(value)
    if value in ("SAME_UPPER", "SAME_LOWER") and stride == 1 and reach % 2 == 0:
        return reach // 2
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if isinstance(value, str) or (isinstance(value, list) and len(value) == 2):
        raise ObstructionError("it pads both ends differently")
    return _single(value, "padding", 0)


# --- Functions ---


def _function(kind: str) -> Handler:
    def handle(self: Translation, node: Node, args: Args) -> Value:
        data = data_of(args.get("self"))
        return replace(data, step=after(data.step, kind, name_of(node, kind)))

    return handle


def _softmax(kind: str) -> Handler:
    def handle(self: Translation, node: Node, args: Args) -> Value:
        data = data_of(args.get("self"))
        rank = len(data.axes)
        place = place_of(args.get("dim"), rank)
        if args.get("to_the_end") is True and place != rank - 1:
            raise ObstructionError("it works on several axes at once")
        axis, step = data.axes[place], data.step
        at = step.layout.index(axis) if axis in step.layout else -1
        if at in (-1, len(step.layout) - 1):
            step, at = features_last(step, axis), -1
        return Data(after(step, kind, name_of(node, kind), {"dim": at}), data.axes)

    return handle


def _dropout(self: Translation, node: Node, args: Args) -> Value:
    """A Dropout does nothing when a model runs, but is there to train on."""
    training = args.get("training")
    if training is not None and scalar(training):
        raise ObstructionError("it is in training mode: its result is random")
    probability = scalar(args.get("p", 0.5))
    if not 0.0 <= probability < 1.0:
        raise ObstructionError(f"its ratio is {probability}, expected 0 to 1")
    data = data_of(args.get("input"))
    step = after(data.step, "Dropout", name_of(node, "Dropout"), {"p": float(probability)})
    return replace(data, step=step)


LAYERS: dict[str, Handler] = {
    "linear": _linear,
    **dict.fromkeys(("mm", "matmul"), _matmul),
    "addmm": _addmm,
    **dict.fromkeys(("add", "sub", "div", "floor_divide", "pow"), _arithmetic),
    "mul": _mul,
    **dict.fromkeys(("sqrt", "reciprocal"), _of_moment),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    "embedding": _embedding,
    **dict.fromkeys(("conv1d", "convolution", "_convolution"), _conv1d),
    "relu": _function("ReLU"),
    "tanh": _function("Tanh"),
    "sigmoid": _function("Sigmoid"),
    **dict.fromkeys(("softmax", "_softmax"), _softmax("Softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _softmax("LogSoftmax")),
    "dropout": _dropout,
    "onnx.Gather": _gather,
}
