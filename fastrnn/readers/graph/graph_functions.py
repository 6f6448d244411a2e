# SPDX-License-Identifier: MIT
"""Operators that are functions of each value by itself, and arithmetic with constants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from .graph import BRANCHES, NO_LAYER
from .graph_call import Handler, OperatorCall
from .graph_directions import both_directions, merged, whole
from .graph_spans import added, comes_from, weighted
from .graph_steps import after, features_last, same
from .graph_values import (
    Axis,
    Const,
    Data,
    Dim,
    Finals,
    ObstructionError,
    Step,
    Value,
    fixed_size,
    scalar,
    solid,
)

# The kind of layer, and its options with the operator's defaults.
_FUNCTIONS: dict[str, tuple[str, dict[str, float | str]]] = {
    "relu": ("ReLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "elu": ("ELU", {"alpha": 1.0}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "silu": ("SiLU", {}),
    "gelu": ("GELU", {"approximate": "none"}),
    "softplus": ("Softplus", {"beta": 1.0, "threshold": 20.0}),
    "hardtanh": ("Hardtanh", {"min_val": -1.0, "max_val": 1.0}),
    "hardsigmoid": ("Hardsigmoid", {}),
    "hardswish": ("Hardswish", {}),
    "mish": ("Mish", {}),
    "softsign": ("Softsign", {}),
}
# Klambauer et al. 2017, "Self-normalizing neural networks": selu(x) is scale elu(x, alpha).
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def applied(call: OperatorCall, data: Data, kind: str, **options: object) -> Data:
    """The data followed by a layer that computes each value by itself."""
    if data.step.is_integer is True:
        raise ObstructionError("its input holds whole numbers")
    return replace(data, step=after(data.step, kind, call.name(kind), options))


def _option(call: OperatorCall, name: str, default: float | str) -> object:
    if isinstance(default, float):
        return call.literal(name, default)
    value = call.get(name)
    if not isinstance(value, str | None):
        raise ObstructionError(f"its {name} is not a constant of the graph")
    return default if value is None else value


def _function(call: OperatorCall) -> Data:
    kind, defaults = _FUNCTIONS[call.op]
    options: dict[str, object] = {
        name: _option(call, name, default) for name, default in defaults.items()
    }
    return applied(call, call.data(), kind, **options)


def _elu(call: OperatorCall) -> Value:
    """ELU, whose result may be scaled; the scale of its exponent has to be 1."""
    if call.literal("input_scale", 1.0) != 1.0:
        raise ObstructionError("it scales its exponent")
    return scaled(call, _function(call), call.literal("scale", 1.0))


def _selu(call: OperatorCall) -> Value:
    elu = applied(call, call.data(), "ELU", alpha=_SELU_ALPHA)
    return scaled(call, elu, _SELU_SCALE)


def _celu(call: OperatorCall) -> Value:
    """alpha ELU(x / alpha) (Barron 2017, 1704.07483)."""
    alpha = call.literal("alpha", 1.0)
    if not alpha:
        raise ObstructionError("its alpha is 0")
    elu = applied(call, scaled(call, call.data(), 1 / alpha), "ELU", alpha=1.0)
    return scaled(call, elu, alpha)


def _log_sigmoid(call: OperatorCall) -> Value:
    return _log_of_sigmoid(call, call.data())


def _log_of_sigmoid(call: OperatorCall, x: Data) -> Data:
    """-softplus(-x)."""
    made = applied(call, scaled(call, x, -1.0), "Softplus", beta=1.0, threshold=20.0)
    return scaled(call, made, -1.0)


def _log(call: OperatorCall) -> Value:
    """The logarithm of a sigmoid or a softmax."""
    data = call.data()
    step, layer = data.step, data.step.layer
    if step.parent is None or layer.kind not in ("Sigmoid", "Softmax"):
        raise ObstructionError(NO_LAYER)
    if layer.kind == "Sigmoid":
        return _log_of_sigmoid(call, replace(data, step=step.parent))
    return replace(data, step=replace(step, layer=replace(layer, kind="LogSoftmax")))


def _relu6(call: OperatorCall) -> Value:
    return applied(call, call.data(), "Hardtanh", min_val=0.0, max_val=6.0)


def _clamp(call: OperatorCall) -> Value:
    """Bounds from one side or both."""
    given = [call.get(name) for name in ("min", "max")]
    low, high = (
        end if bound is None else scalar(bound)
        for bound, end in zip(given, (-math.inf, math.inf), strict=True)
    )
    if not low < high:
        raise ObstructionError(f"its lower bound is {low}, expected less than {high}")
    if (low, high) == (0.0, math.inf):
        return applied(call, call.data(), "ReLU")
    return applied(call, call.data(), "Hardtanh", min_val=float(low), max_val=float(high))


def _hard_sigmoid(call: OperatorCall) -> Value:
    """ONNX's HardSigmoid: PyTorch's has one slope, others are made of two layers."""
    alpha, beta = call.literal("alpha", 0.2), call.literal("beta", 0.5)
    if (np.float32(alpha), beta) == (np.float32(1 / 6), 0.5):
        return applied(call, call.data(), "Hardsigmoid")
    line = applied(call, call.data(), "Scale", factor=alpha, offset=beta)
    return applied(call, line, "Hardtanh", min_val=0.0, max_val=1.0)


# x times what these layers make of it is another layer, times a number.
_Layers = list[tuple[str, dict[str, object]]]
_RELU6: _Layers = [
    ("Scale", {"factor": 1.0, "offset": 3.0}),
    ("Hardtanh", {"min_val": 0.0, "max_val": 6.0}),
]
_GATES: list[tuple[_Layers, str, float]] = [
    ([("Sigmoid", {})], "SiLU", 1.0),
    ([("Hardsigmoid", {})], "Hardswish", 1.0),
    (_RELU6, "Hardswish", 6.0),
    ([*_RELU6, ("Scale", {"factor": 1 / 6, "offset": 0.0})], "Hardswish", 1.0),
    ([("Softplus", {"beta": 1.0, "threshold": 20.0}), ("Tanh", {})], "Mish", 1.0),
]


def _before(step: Step | None, layers: _Layers) -> Step | None:
    """The step before these layers, if the last ones are these."""
    for kind, options in reversed(layers):
        if step is None or (step.layer.kind, step.layer.options) != (kind, options):
            return None
        step = step.parent
    return step


def _swish(call: OperatorCall, line: Data) -> Data:
    """x sigmoid(factor x) of x with a Scale by the factor behind it."""
    x, factor = unscaled(line)
    if x is line or not factor:
        raise ObstructionError(BRANCHES)
    return scaled(call, applied(call, line, "SiLU"), 1 / factor)


def joined_data(call: OperatorCall, a: Data | Finals, b: Data | Finals) -> Value:
    """Two branches as one: both directions of a layer, x times a function of it, x + layers(x)."""
    if call.op in ("add", "mul") and (both := both_directions(a, b)) is not None:
        mode = "sum" if call.op == "add" else "mul"
        return merged(both, mode, call.name("MergeDirections"), both.axes[:-1])
    a, b = whole(a), whole(b)
    for x, gate in ((a, b), (b, a)) if call.op == "mul" and a.axes == b.axes else ():
        for layers, kind, factor in _GATES:
            before = _before(gate.step, layers)
            if before is not None and same(before, x.step):
                return scaled(call, applied(call, x, kind), factor)
            if kind == "SiLU" and before is not None and same(before.parent, x.step):
                return _swish(call, replace(x, step=before))
    if call.op == "mul":
        return weighted(a, b)
    if call.op == "add":
        return added(call, a, b)
    if call.op == "rsub":
        a, b = b, a
    if call.op not in ("sub", "rsub"):
        raise ObstructionError(BRANCHES)
    if comes_from(call, a, b):  # layers(x) - x
        return scaled(call, added(call, scaled(call, a, -1.0), b), -1.0)
    return added(call, a, scaled(call, b, -1.0))


# --- Arithmetic with constants ---


def feature_values(constant: Const, data: Data, features: Axis) -> Array | None:
    """One value for each of these features, from a constant that varies along no other axis."""
    array, rank = constant.array, len(data.axes)
    count = fixed_size(features)
    if constant.spread or array.dtype.kind not in "fiu" or array.ndim > rank or count is None:
        return None
    axes = data.axes[rank - array.ndim :]
    own = [at for at, axis in enumerate(axes) if axis and solid(axis) == solid(features)]
    if array.size != count or not own or array.shape[own[-1]] != count:
        return None
    return array.reshape(-1).astype(array.dtype if array.dtype.kind == "f" else np.float32)


def with_constant(call: OperatorCall, a: Value, b: Value) -> Value:
    """A sum, difference, product or quotient of data and a constant."""
    constant, is_first = (b, True) if isinstance(b, Const) else (a, False)
    assert isinstance(constant, Const)
    data = call.data("self" if is_first else "other")
    if len(constant.dims) > len(data.axes):
        raise ObstructionError("its constant has more axes than its input")
    behind = data.dims[len(data.axes) - len(constant.dims) :]
    sizes = zip(constant.spread or (), behind, strict=False)
    if constant.array.size == 1 and all(size in (Dim(1), own) for size, own in sizes):
        return _with_number(call, data, scalar(constant), is_first)
    return _with_vector(call, data, constant, is_first)


def _with_number(call: OperatorCall, data: Data, number: float, is_first: bool) -> Value:
    """The data and one number; `is_first`: the data come before it."""
    if call.op == "mul":
        return scaled(call, data, number)
    if call.op == "div" and is_first and number:
        return scaled(call, data, 1 / number)
    if call.op == "add":
        return _shifted(call, data, number)
    if call.op == "sub" and is_first:
        return _shifted(call, data, -number)
    if call.op in ("sub", "rsub"):
        return _shifted(call, scaled(call, data, -1.0), number)
    raise ObstructionError(NO_LAYER)


def _with_vector(call: OperatorCall, data: Data, constant: Const, is_first: bool) -> Value:
    """The data and a constant with a value for each feature: a ScaleFeatures."""
    places = [at for at, size in enumerate(constant.array.shape) if size != 1]
    features = data.axes[places[0] - constant.array.ndim] if len(places) == 1 else ()
    values = feature_values(constant, data, features)
    if values is None:
        raise ObstructionError(
            f"its constant of shape {constant.array.shape} does not have a value for each feature"
        )
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    if call.op in ("add", "sub", "rsub"):
        is_negative = (call.op == "sub" and not is_first) or call.op == "rsub"
        weight = -ones if is_negative else ones
        bias = -values if call.op == "sub" and is_first else values
    elif call.op == "mul" or (call.op == "div" and is_first and values.all()):
        weight, bias = values if call.op == "mul" else 1 / values, zeros
    else:
        raise ObstructionError(NO_LAYER)
    step = features_last(data.step, features)
    options: dict[str, object] = {"num_features": len(values)}
    arrays, name = {"weight": weight, "bias": bias}, call.name("ScaleFeatures")
    if data.step.is_integer is True:
        raise ObstructionError("its input holds whole numbers")
    return Data(after(step, "ScaleFeatures", name, options, arrays), data.axes)


def _negated(call: OperatorCall) -> Value:
    return scaled(call, call.data(), -1.0)


def unscaled(data: Data) -> tuple[Data, float]:
    """The data before a Scale without offset, and its factor; the data and 1 if there is none."""
    step, layer = data.step, data.step.layer
    if layer.kind != "Scale" or layer.options["offset"] != 0.0 or step.parent is None:
        return data, 1.0
    factor = layer.options["factor"]
    assert isinstance(factor, float)
    return replace(data, step=step.parent), factor


def scaled(call: OperatorCall, data: Data, factor: float) -> Data:
    """The data times a number; it becomes part of a Scale before it."""
    data, earlier = unscaled(data)
    factor *= earlier
    return data if factor == 1 else applied(call, data, "Scale", factor=factor, offset=0.0)


def _shifted(call: OperatorCall, data: Data, offset: float) -> Data:
    """A number added; it becomes part of a Scale before it."""
    step, layer = data.step, data.step.layer
    if unscaled(data)[0] is not data:
        options = layer.options | {"offset": offset}
        return replace(data, step=replace(step, layer=replace(layer, options=options)))
    return data if offset == 0 else applied(call, data, "Scale", factor=1.0, offset=offset)


FUNCTIONS: dict[str, Handler] = {
    **dict.fromkeys(_FUNCTIONS, _function),
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "log": _log,
    "log_sigmoid": _log_sigmoid,
    "relu6": _relu6,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "onnx.HardSigmoid": _hard_sigmoid,
    "neg": _negated,
}
