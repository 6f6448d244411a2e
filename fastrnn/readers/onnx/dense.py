# SPDX-License-Identifier: MIT
"""Layers without memory: Linear, Embedding, Conv1d, activations, Softmax, Dropout, LayerNorm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from ..description import Layer
from .axes import after, arrange, features_last
from .constants import constant_value
from .messages import Node, float_attribute, int_attribute, ints_attribute, text_attribute
from .names import module_name
from .settings import axis_of
from .states import whole
from .values import Atom, Axis, CannotMap, Const, Data, Inputs, Step, Value, dim_of, solid

POINTWISE = {"Relu": "ReLU", "Tanh": "Tanh", "Sigmoid": "Sigmoid"}


def pointwise(node: Node, inputs: Inputs) -> list[Value]:
    """Relu, Tanh, Sigmoid."""
    data = whole(inputs.get(0))
    name, scoped = module_name(node)
    layer = Layer(name, POINTWISE[node.op_type])
    return [replace(data, step=after(data.step, layer, data.step.layout, scoped=scoped))]


def dropout(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """Dropout, which does nothing when a model runs but is there to train on."""
    data = whole(inputs.get(0))
    training = inputs.get(2)
    if training is not None and bool(constant_value(inputs.const(2, "training_mode"))):
        raise CannotMap("it is in training mode: its result is random")
    if opset < 12:
        ratio = float_attribute(node, "ratio", 0.5)
    else:
        ratio = 0.5 if inputs.get(1) is None else constant_value(inputs.const(1, "ratio"))
    if not 0.0 <= float(ratio) < 1.0:
        raise CannotMap(f"its ratio is {ratio}, expected 0 to 1")
    name, scoped = module_name(node)
    layer = Layer(name, "Dropout", {"p": float(ratio)})
    return [replace(data, step=after(data.step, layer, data.step.layout, scoped=scoped))]


def softmax(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    """Softmax and LogSoftmax over the features."""
    data = whole(inputs.get(0))
    rank = len(data.axes)
    axis = axis_of(int_attribute(node, "axis", -1 if opset >= 13 else 1), rank)
    if opset < 13 and axis != rank - 1:
        raise CannotMap("it works on several axes at once")
    if data.step.time is not None and solid(data.axes[axis]) == solid(data.step.time):
        raise CannotMap("it works on the time axis")
    step = features_last(data.step, data.axes[axis])
    name, scoped = module_name(node)
    layer = Layer(name, node.op_type, {"dim": -1})
    return [Data(after(step, layer, step.layout, scoped=scoped), data.axes)]


# --- Linear ---


def matmul(node: Node, inputs: Inputs) -> list[Value]:
    """MatMul with a weight; an Add that follows becomes its bias."""
    if not isinstance(inputs.get(1), Const):
        raise CannotMap("it multiplies two values that both depend on the input")
    weight = inputs.const(1, "weight")
    if weight.ndim != 2:
        raise CannotMap(f"its weight has {weight.ndim} axes, expected 2")
    return [_linear(node, inputs, whole(inputs.get(0)), weight.T, None)]


def gemm(node: Node, inputs: Inputs) -> list[Value]:
    """Gemm with a weight."""
    data, weight = whole(inputs.get(0)), inputs.const(1, "weight")
    if int_attribute(node, "transA", 0):
        raise CannotMap("it transposes its input")
    if weight.ndim != 2 or len(data.axes) != 2:
        raise CannotMap("its weight or its input has not two axes")
    weight = weight if int_attribute(node, "transB", 0) else weight.T
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    bias = None
    if inputs.get(2) is not None:
        bias = _bias(inputs.const(2, "bias"), weight.shape[0])
        bias = bias if beta == 1.0 else (bias * beta).astype(bias.dtype)
    weight = weight if alpha == 1.0 else (weight * alpha).astype(weight.dtype)
    return [_linear(node, inputs, data, weight, bias)]


def _linear(node: Node, inputs: Inputs, data: Data, weight: Array, bias: Array | None) -> Data:
    features, count = data.axes[-1], weight.shape[1]
    if dim_of(features).number not in (None, count) or weight.dtype.kind != "f":
        raise CannotMap(f"its weight takes {count} features, its input has another number")
    step = features_last(data.step, features)
    arrays = {"weight": np.ascontiguousarray(weight)}
    arrays |= {} if bias is None else {"bias": bias}
    options: dict[str, object] = {
        "in_features": count, "out_features": weight.shape[0], "bias": bias is not None,
    }  # fmt: skip
    name, scoped = module_name(node, inputs)
    made: Axis = (Atom("features", weight.shape[0]),)
    layer = Layer(name, "Linear", options, arrays)
    linear = after(step, layer, (*step.layout[:-1], made), scoped=scoped)
    return Data(linear, (*data.axes[:-1], made))


def _bias(array: Array, count: int) -> Array:
    """A bias of one number for each feature, from one that is broadcast."""
    if array.size != 1 and (array.size != count or array.shape[-1] != count):
        raise CannotMap(f"a weight or bias has shape {array.shape}, expected {(count,)}")
    if array.dtype.kind != "f":
        raise CannotMap("a weight or bias does not hold floats")
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (count,)))


def scale_or_shift(node: Node, inputs: Inputs) -> list[Value]:
    """Add and Mul of a constant: the bias of a Linear, weight and bias of a LayerNorm."""
    pair = [inputs.get(0), inputs.get(1)]
    constants = [value for value in pair if isinstance(value, Const)]
    others = [value for value in pair if not isinstance(value, Const)]
    if len(constants) != 1 or len(others) != 1:
        raise CannotMap("it joins two branches of the model")
    data, constant = whole(others[0]), constants[0]
    step = data.step
    options, arrays = dict(step.layer.options), dict(step.layer.arrays)
    count = dim_of(step.layout[-1]).number
    fits = solid(data.axes[-1]) == solid(step.layout[-1]) and constant.array.dtype.kind == "f"
    if not fits or count is None or constant.array.ndim > len(data.axes):
        raise CannotMap("its constant does not belong to the features of a layer")
    if step.layer.kind == "Linear" and node.op_type == "Add" and "bias" not in arrays:
        options["bias"] = True
    elif step.layer.kind == "LayerNorm" and node.op_type == "Mul" and not arrays:
        options["elementwise_affine"], options["bias"] = True, False
        arrays["weight"] = _bias(constant.array, count)
    elif step.layer.kind == "LayerNorm" and node.op_type == "Add" and "bias" not in arrays:
        options["elementwise_affine"] = options["bias"] = True
        arrays.setdefault("weight", np.ones(count, constant.array.dtype))
    else:
        raise CannotMap("its constant is neither a bias nor part of a layer normalisation")
    if node.op_type == "Add":
        arrays["bias"] = _bias(constant.array, count)
    name, scoped = step.layer.name, step.scoped
    if not scoped:
        name, scoped = module_name(node, inputs)
    layer = Layer(name, step.layer.kind, options, arrays)
    return [replace(data, step=replace(step, layer=layer, scoped=scoped))]


# --- Embedding, convolution, normalisation ---


def embedding(node: Node, table: Array, indices: Data, inputs: Inputs) -> list[Value]:
    """Gather of rows of a table by the model's input."""
    if int_attribute(node, "axis", 0) or table.ndim != 2 or table.dtype.kind != "f":
        raise CannotMap("it is no embedding: expected rows of a table with two axes")
    if not indices.step.integer:
        raise CannotMap("its indices are not the model's input")
    name, scoped = module_name(node, inputs)
    options: dict[str, object] = {
        "num_embeddings": table.shape[0], "embedding_dim": table.shape[1],
    }  # fmt: skip
    made: Axis = (Atom("features", table.shape[1]),)
    layer = Layer(name, "Embedding", options, {"weight": table})
    step = after(indices.step, layer, (*indices.step.layout, made), scoped=scoped)
    return [Data(step, (*indices.axes, made))]


def convolution(node: Node, inputs: Inputs) -> list[Value]:
    """Conv over one axis."""
    data, weight = whole(inputs.get(0)), inputs.const(1, "weight")
    if weight.ndim != 3 or len(data.axes) != 3:
        raise CannotMap(f"a convolution over {weight.ndim - 2} axes, expected 1 (time)")
    width = weight.shape[2]
    strides, dilations = (ints_attribute(node, name) for name in ("strides", "dilations"))
    if any(numbers is not None and len(numbers) != 1 for numbers in (strides, dilations)):
        raise CannotMap("its strides or dilations are not those of one axis")
    stride, dilation = (strides or [1])[0], (dilations or [1])[0]
    groups = int_attribute(node, "group", 1)
    reach = dilation * (width - 1)
    padding = _padding(node, reach, stride)
    batch, channels, time = data.axes
    if min(stride, dilation, groups, *weight.shape) < 1 or weight.shape[0] % groups:
        raise CannotMap("its stride, dilation, group or weight is not sensible")
    if dim_of(channels).number != weight.shape[1] * groups:
        raise CannotMap("its input has another number of channels than its weight")
    step = arrange(data.step, [batch, channels, time])
    if solid(step.layout[-1]) != solid(time) or solid(step.layout[-2]) != solid(channels):
        raise CannotMap("its channels or its time are not axes that the layers before it give")
    arrays = {"weight": weight}
    if inputs.get(2) is not None:
        arrays["bias"] = _bias(inputs.const(2, "bias"), weight.shape[0])
    options: dict[str, object] = {
        "in_channels": weight.shape[1] * groups, "out_channels": weight.shape[0],
        "kernel_size": width, "stride": stride, "padding": padding, "dilation": dilation,
        "groups": groups, "bias": "bias" in arrays,
    }  # fmt: skip
    size = dim_of(time).number
    made: Axis = (Atom("channels", weight.shape[0]),)
    if stride != 1 or 2 * padding != reach:
        after_size = None if size is None else (size + 2 * padding - reach - 1) // stride + 1
        time = (Atom("time", after_size),)
    name, scoped = module_name(node, inputs)
    layer = Layer(name, "Conv1d", options, arrays)
    step = after(step, layer, (*step.layout[:-2], made, time), scoped=scoped)
    return [Data(replace(step, time=time), (batch, made, time))]


def _padding(node: Node, reach: int, stride: int) -> int:
    """The zeros at each end, which must be the same there."""
    auto = text_attribute(node, "auto_pad", "NOTSET")
    if auto == "VALID":
        return 0
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if stride != 1 or reach % 2:
            raise CannotMap("it pads both ends differently")
        return reach // 2
    pads = ints_attribute(node, "pads") or [0, 0]
    if auto != "NOTSET" or len(pads) != 2 or pads[0] != pads[1] or pads[0] < 0:
        raise CannotMap("it pads both ends differently")
    return pads[0]


def layer_norm(node: Node, inputs: Inputs) -> list[Value]:
    """LayerNormalization over the features."""
    data = whole(inputs.get(0))
    if axis_of(int_attribute(node, "axis", -1), len(data.axes)) != len(data.axes) - 1:
        raise CannotMap("it normalises over several axes")
    name, scoped = module_name(node, inputs)
    normal = normalise(data, float_attribute(node, "epsilon", 1e-5), name, scoped)
    step = normal.step
    count = dim_of(step.layout[-1]).number or 0
    arrays = {"weight": _bias(inputs.const(1, "scale"), count)}
    if inputs.get(2) is not None:
        arrays["bias"] = _bias(inputs.const(2, "bias"), count)
    options = dict(step.layer.options)
    options["elementwise_affine"], options["bias"] = True, "bias" in arrays
    layer = Layer(name, "LayerNorm", options, arrays)
    return [Data(replace(step, layer=layer), normal.axes)]


def normalise(data: Data, epsilon: float, name: str, scoped: bool) -> Data:
    """A LayerNorm over the last axis, without weight and bias."""
    features = data.axes[-1]
    count = dim_of(features).number
    if count is None:
        raise CannotMap("it normalises over an axis of unknown size")
    step: Step = features_last(data.step, features)
    options: dict[str, object] = {
        "normalized_shape": [count], "eps": float(str(np.float32(epsilon))),
        "elementwise_affine": False, "bias": False,
    }  # fmt: skip
    layer = Layer(name, "LayerNorm", options)
    return Data(after(step, layer, step.layout, scoped=scoped), data.axes)
