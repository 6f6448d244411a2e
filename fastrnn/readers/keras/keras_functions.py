# SPDX-License-Identifier: MIT
"""Keras layers that are functions of each value, or do nothing when a model is run."""

from __future__ import annotations

import math

from ..errors import FormatError, quote
from .keras_config import CannotMapError, KerasLayer, read_object
from .keras_mapper import Handler, Mapper, number, refuse_keys
from .keras_recurrent import activation_name, show

_ACTIVATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "relu": ("ReLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"dim": -1}),
    "log_softmax": ("LogSoftmax", {"dim": -1}),
    "elu": ("ELU", {}),
    "gelu": ("GELU", {}),
    "silu": ("SiLU", {}),
    "swish": ("SiLU", {}),
    "softplus": ("Softplus", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.2}),
    "relu6": ("Hardtanh", {"min_val": 0.0, "max_val": 6.0}),
    "hard_tanh": ("Hardtanh", {}),
    "hard_sigmoid": ("Hardsigmoid", {}),
    "hard_silu": ("Hardswish", {}),
    "hard_swish": ("Hardswish", {}),
    "mish": ("Mish", {}),
    "softsign": ("Softsign", {}),
    "celu": ("ELU", {}),  # the same for alpha = 1, which it has here
}


def activate(to: Mapper, name: str, activation: object) -> None:
    """Add an activation, which is a name or a layer."""
    if isinstance(activation, dict):
        kind, config = read_object(activation, quote(name))
        if kind in _ACTIVATION_LAYERS:
            refuse_keys(kind, config)
            _ACTIVATION_LAYERS[kind](to, KerasLayer(name, kind, "", config))
            return
    called = activation_name(activation)
    if called == "linear":
        return
    if called not in _ACTIVATIONS or (called == "hard_sigmoid" and to.version < (3, 0)):
        raise CannotMapError(f"activation {quote(called)} is not supported")
    made, options = _ACTIVATIONS[called]
    to.put(name, made, **options)


def _activation(to: Mapper, layer: KerasLayer) -> None:
    activate(to, layer.name, layer.config.get("activation"))


def _relu(to: Mapper, layer: KerasLayer) -> None:
    most, slope, threshold = (
        None if layer.config.get(key) is None else number(layer, key)
        for key in ("max_value", "negative_slope", "threshold")
    )
    if threshold:
        raise CannotMapError(f"threshold {threshold} is not supported")
    if slope:
        to.put(layer.name, "LeakyReLU", negative_slope=slope)
    elif most is None:
        to.put(layer.name, "ReLU")
    if most is not None:
        name = f"{layer.name}.most" if slope else layer.name
        to.put(name, "Hardtanh", min_val=-math.inf if slope else 0.0, max_val=most)


def _leaky_relu(to: Mapper, layer: KerasLayer) -> None:
    key = "alpha" if "alpha" in layer.config else "negative_slope"  # as in Keras 2
    to.put(layer.name, "LeakyReLU", negative_slope=number(layer, key))


def _elu(to: Mapper, layer: KerasLayer) -> None:
    to.put(layer.name, "ELU", alpha=number(layer, "alpha"))


def _softmax(to: Mapper, layer: KerasLayer) -> None:
    if layer.config.get("axis", -1) != -1:
        raise CannotMapError(f"axis {show(layer.config['axis'])}: only the last one is supported")
    if to.masks.active:
        raise CannotMapError("under a mask it is not supported; use Activation('softmax')")
    activate(to, layer.name, "softmax")


def _dropout(to: Mapper, layer: KerasLayer) -> None:
    rate = layer.config.get("rate")
    if type(rate) not in (int, float) or not 0 <= rate <= 1:  # type: ignore[operator]
        raise FormatError(f"{quote(layer.name)}: rate {show(rate)}")
    to.put(layer.name, "Dropout", p=float(rate))  # type: ignore[arg-type]


def _identity(to: Mapper, layer: KerasLayer) -> None:
    """Skip a layer that has an effect in training only."""


# These may be the activation of another layer.
_ACTIVATION_LAYERS: dict[str, Handler] = {"ReLU": _relu, "LeakyReLU": _leaky_relu, "ELU": _elu}
FUNCTIONS: dict[str, Handler] = {
    **_ACTIVATION_LAYERS,
    "Activation": _activation,
    "Softmax": _softmax,
    "Dropout": _dropout,
    "SpatialDropout1D": _dropout,
    "GaussianDropout": _dropout,
    "AlphaDropout": _dropout,
    "GaussianNoise": _identity,
    "ActivityRegularization": _identity,
    "Identity": _identity,
}
