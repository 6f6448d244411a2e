# SPDX-License-Identifier: MIT
"""Operators that are functions of each value by itself, and arithmetic with constants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from .graph import NO_LAYER
from .graph_call import Handler, OperatorCall
from .graph_spans import added
from .graph_steps import after, merged, same, whole
from .graph_values import (
    Axis,
    Const,
    Data,
    Finals,
    ObstructionError,
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


def _function(call: OperatorCall) -> Value:
    kind, defaults = _FUNCTIONS[call.op]
    options: dict[str, object] = {
        name: _option(call, name, default) for name, default in defaults.items()
    }
    return applied(call, call.data(), kind, **options)


def _elu(call: OperatorCall) -> Value:
    """ELU, whose result may be scaled; the scale of its exponent has to be 1."""
    if call.literal("input_scale", 1.0) != 1.0:
        raise ObstructionError("it scales its exponent")
    return _scaled(call, _function(call), call.literal("scale", 1.0))


def _selu(call: OperatorCall) -> Value:
    elu = applied(call, call.data(), "ELU", alpha=_SELU_ALPHA)
    return _scaled(call, elu, _SELU_SCALE)


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


def joined_data(call: OperatorCall, a: Data | Finals, b: Data | Finals) -> Data:
    """Two branches as one: both directions of a layer, x times its sigmoid, or x plus layers(x)."""
    if isinstance(a, Finals) or isinstance(b, Finals):
        a, b = whole(a), whole(b)
    if call.op in ("add", "mul") and {a.part, b.part} == {0, 1}:
        plain = (a.instant, b.instant, a.rows, b.rows) == (None,) * 4
        if plain and a.step is b.step and a.axes == b.axes:
            mode = "sum" if call.op == "add" else "mul"
            return merged(a, mode, call.name("MergeDirections"), a.axes)
    for x, gate in ((a, b), (b, a)) if call.op == "mul" else ():
        before = gate.step.parent
        if gate.step.layer.kind == "Sigmoid" and same(before, x.step) and x.axes == gate.axes:
            return applied(call, whole(x), "SiLU")
    if call.op != "add":
        raise ObstructionError("it joins two branches of the model")
    return added(call, whole(a), whole(b))


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
    if constant.array.size == 1:
        return _with_number(call, data, scalar(constant), is_first)
    raise ObstructionError("its constant is neither a number nor a bias")


def _with_number(call: OperatorCall, data: Data, number: float, is_first: bool) -> Value:
    """The data and one number; `is_first`: the data come before it."""
    if call.op == "mul":
        return _scaled(call, data, number)
    if call.op == "div" and is_first and number:
        return _scaled(call, data, 1 / number)
    if call.op == "add":
        return _shifted(call, data, number)
    if call.op == "sub" and is_first:
        return _shifted(call, data, -number)
    if call.op in ("sub", "rsub"):
        return _shifted(call, _scaled(call, data, -1.0), number)
    raise ObstructionError(NO_LAYER)


def _negated(call: OperatorCall) -> Value:
    return _scaled(call, call.data(), -1.0)


def _scaled(call: OperatorCall, data: Value, factor: float) -> Value:
    assert isinstance(data, Data)
    return data if factor == 1 else applied(call, data, "Scale", factor=factor, offset=0.0)


def _shifted(call: OperatorCall, data: Value, offset: float) -> Value:
    """A number added; it becomes part of a Scale before it."""
    assert isinstance(data, Data)
    step, before = data.step, data.step.layer
    if before.kind == "Scale" and before.options["offset"] == 0.0 and step.parent is not None:
        options = before.options | {"offset": offset}
        return replace(data, step=replace(step, layer=replace(before, options=options)))
    return data if offset == 0 else applied(call, data, "Scale", factor=1.0, offset=offset)


FUNCTIONS: dict[str, Handler] = {
    **dict.fromkeys(_FUNCTIONS, _function),
    "elu": _elu,
    "selu": _selu,
    "relu6": _relu6,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "onnx.HardSigmoid": _hard_sigmoid,
    "neg": _negated,
}
