# SPDX-License-Identifier: MIT
"""Operators that become layers without memory: those with weights, functions, normalizations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from .graph import BRANCHES, NO_LAYER
from .graph_call import Handler, OperatorCall
from .graph_directions import whole
from .graph_functions import feature_values, joined_data, scaled, with_constant
from .graph_index import index_arithmetic, index_data
from .graph_moves import arithmetic
from .graph_select import gather
from .graph_spans import contracted
from .graph_steps import Name, after, features_last, same
from .graph_values import (
    Const,
    Data,
    Finals,
    Moment,
    ObstructionError,
    RankError,
    Value,
    dim_of,
    features_of,
    fixed_size,
    made_features,
    scalar,
)
from .graph_written import written

# --- Products ---


def _linear(call: OperatorCall) -> Value:
    return _product(call, "input", "weight", call.weight("weight", 2).array, "bias")


def _matmul(call: OperatorCall) -> Value:
    """A product with a weight; an addition that follows becomes its bias."""
    factor = "other" if call.op == "matmul" else "mat2"
    given = call.get(factor)
    if isinstance(given, Data | Finals):
        return contracted(call, call.data(), whole(given))
    if isinstance(given, Const) and call.op == "matmul" and len(given.dims) == 1:
        made = _product(call, "self", factor, call.weight(factor, 1).array[None])
        return replace(made, axes=made.axes[:-1])
    if call.op == "bmm":
        raise ObstructionError(NO_LAYER)
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
    arrays = {"weight": weight}
    if call.get(bias) is not None:
        arrays["bias"] = _scaled(call.vector(bias, weight.shape[0]), beta)
    return dense(call.data(x), arrays, call.name("Linear", factor, bias))


def dense(data: Data, arrays: dict[str, Array], name: Name) -> Data:
    """The data followed by a Linear over their last axis."""
    outputs, inputs = arrays["weight"].shape
    options = {"in_features": inputs, "out_features": outputs, "bias": "bias" in arrays}
    step = features_last(data.step, features_of(data, inputs))
    made = made_features(outputs)
    layout = (*step.layout[:-1], made)
    return Data(after(step, "Linear", name, options, arrays, layout), (*data.axes[:-1], made))


# --- Arithmetic: of constants, biases and scales, and normalizations that are written out ---


def _arithmetic(call: OperatorCall) -> Value:
    names = ("self", "exponent" if call.op == "pow" else "other")
    a, b = (_constant(call.get(name)) for name in names)
    if (alpha := call.literal("alpha", 1.0)) != 1.0:
        if not isinstance(b, Data | Finals) or call.op == "rsub":
            raise ObstructionError("it scales its second term")
        b = scaled(call, whole(b), alpha)
    if (index := index_arithmetic(call.op, a, b)) is not None:
        return index
    if isinstance(a, Const) and isinstance(b, Const):
        return arithmetic(call, a, b)
    if isinstance(a, Moment) or isinstance(b, Moment):
        return _moment(call, a, b)
    if (term := written(call, a, b)) is not None:
        return term
    if isinstance(a, Data | Finals) and isinstance(b, Data | Finals):
        return joined_data(call, a, b)
    if not isinstance(a, Const) and not isinstance(b, Const):
        raise ObstructionError(BRANCHES)
    return _part_of_layer(call, a, b) or with_constant(call, a, b)


def _constant(value: Value) -> Value:
    """A plain number as a constant."""
    return Const(np.array(value)) if type(value) in (int, float) else value


def _part_of_layer(call: OperatorCall, a: Value, b: Value) -> Data | None:
    """A constant as the bias of the layer before, or as a part of its LayerNorm; None if it is not.

    A plain number is never one, as what a writer calls a bias is an array.
    """
    constant, name = (a, "self") if isinstance(a, Const) else (b, "other")
    data = call.data("other" if name == "self" else "self")
    step, layer = data.step, data.step.layer
    if call.op not in ("add", "mul") or not isinstance(constant, Const) or step.parent is None:
        return None
    place = len(step.layout) - (2 if layer.kind == "Conv1d" else 1)
    values = feature_values(constant, data, step.layout[place]) if place >= 0 else None
    if values is None or not constant.dims:
        return None
    options, arrays = dict(layer.options), dict(layer.arrays)
    if layer.kind in ("Linear", "Conv1d") and call.op == "add" and "bias" not in arrays:
        options["bias"] = True
    elif layer.kind == "ScaleFeatures" and call.op == "add" and not arrays["bias"].any():
        pass
    elif layer.kind == "LayerNorm" and call.op == "mul" and not arrays:
        options["elementwise_affine"], options["bias"] = True, False
    elif layer.kind == "LayerNorm" and call.op == "add" and "bias" not in arrays:
        options["elementwise_affine"] = options["bias"] = True
        arrays.setdefault("weight", np.ones(len(values), values.dtype))
    else:
        return None
    arrays["bias" if call.op == "add" else "weight"] = values
    path = (layer.name, True) if step.is_scoped else call.name(layer.kind, name)
    made = after(step.parent, layer.kind, path, options, arrays, step.layout)
    return replace(data, step=replace(made, time=step.time))


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
    features = features_of(data, count)
    step = features_last(data.step, features)
    options: dict[str, object] = {
        "normalized_shape": [count], "eps": epsilon,
        "elementwise_affine": "weight" in arrays, "bias": "bias" in arrays,
    }  # fmt: skip
    layout, axes = step.layout, data.axes
    if fixed_size(features) is None:  # now it is known
        made = made_features(count)
        layout, axes = (*layout[:-1], made), (*axes[:-1], made)
    return Data(after(step, "LayerNorm", name, options, arrays, layout), axes)


# --- Embedding ---


_NOT_THE_INPUT = "its indices are not the model's input"


def _embedding(call: OperatorCall) -> Value:
    padding = call.literal("padding_idx", -1)
    data = whole(index_data(call.get("indices")))
    return _table(call, "weight", data, padding_idx=None if padding == -1 else padding)


def _gather(call: OperatorCall) -> Value:
    """ONNX's Gather: rows of a table by data are an embedding."""
    if not isinstance(call.get("self"), Const) or isinstance(call.get("index"), Const):
        return gather(call)
    if call.get("dim") != 0:
        raise ObstructionError("it is no embedding: expected rows of a table")
    data = whole(index_data(call.get("index")))
    if data.step.is_integer is not True:
        raise ObstructionError(_NOT_THE_INPUT)
    return _table(call, "self", data)


def _table(call: OperatorCall, table: str, data: Data, **options: object) -> Data:
    if data.step.parent is not None:  # other layers make floats of whole numbers
        raise ObstructionError(_NOT_THE_INPUT)
    weight = call.weight(table, 2)
    count, width = weight.array.shape
    options = {"num_embeddings": count, "embedding_dim": width, **options}
    name, arrays, made = (
        call.name("Embedding", table),
        {"weight": weight.array},
        made_features(width),
    )
    step = after(data.step, "Embedding", name, options, arrays, (*data.step.layout, made))
    return Data(step, (*data.axes, made))


# --- Functions ---


def _softmax(call: OperatorCall) -> Value:
    call.check_dtype()
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
    **dict.fromkeys(("mm", "bmm", "matmul"), _matmul),
    "addmm": _addmm,
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "floor_divide", "pow"), _arithmetic),
    **dict.fromkeys(("sqrt", "reciprocal"), _of_moment),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    "embedding": _embedding,
    "onnx.Gather": _gather,
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    "dropout": _dropout,
}
