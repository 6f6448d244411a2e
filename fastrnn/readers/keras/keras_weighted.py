# SPDX-License-Identifier: MIT
"""Keras layers with numbers of their own: Embedding, Dense, Conv1D, normalizations, scales."""

from __future__ import annotations

import numpy as np

from ..containers.elements import Array
from ..errors import FormatError, quote
from . import keras_weights as weights
from .keras_config import CannotMapError, KerasLayer
from .keras_functions import activate
from .keras_mapper import Handler, Mapper, check_channels_last, number, single
from .keras_recurrent import flag, show

_SMALLEST = 1e-7  # standard deviation in a Normalization: keras.backend.epsilon()
_ARRAYS = ("__numpy__", "__tensor__")  # classes of arrays in a config


def _embedding(to: Mapper, layer: KerasLayer) -> None:
    arrays = weights.embedding(to.variables.of(layer.path), layer.path)
    rows, columns = arrays["weight"].shape
    if [rows, columns] != [layer.config.get(key) for key in ("input_dim", "output_dim")]:
        raise FormatError(f"{quote(layer.path)}: the weights have shape {(rows, columns)}")
    to.masks.show_all()
    options: dict[str, object] = {"num_embeddings": rows, "embedding_dim": columns}
    if flag(layer.config, "mask_zero"):
        to.masks.begin(layer, 0)
        options["padding_idx"] = 0
    to.put(layer.name, "Embedding", arrays, **options)
    to.shape = to.shape and (*to.shape, columns)


def _dense(to: Mapper, layer: KerasLayer) -> None:
    arrays = weights.dense(to.variables.of(layer.path), layer.path)
    _check_units(layer, arrays, "units")
    outputs, inputs = arrays["weight"].shape
    bias = "bias" in arrays
    to.put(layer.name, "Linear", arrays, in_features=inputs, out_features=outputs, bias=bias)
    to.has_features(outputs)
    activate(to, f"{layer.name}.activation", layer.config.get("activation"))


def _conv1d(to: Mapper, layer: KerasLayer) -> None:
    to.masks.show_all()
    arrays = weights.conv1d(to.variables.of(layer.path), layer.path)
    _check_units(layer, arrays, "filters")
    stride, dilation = single(layer, "strides"), single(layer, "dilation_rate")
    groups, outputs = layer.config.get("groups", 1), arrays["weight"].shape[0]
    check_channels_last(layer)
    if type(groups) is not int or not 0 < groups <= outputs or outputs % groups:
        raise FormatError(f"{quote(layer.name)}: groups {show(groups)}")
    kernel = arrays["weight"].shape[2]
    padding, left = _padding(layer, (kernel - 1) * dilation, stride)
    to.transpose(f"{layer.name}.to_channels")
    if left:
        to.put(f"{layer.name}.pad", "ZeroPad1d", padding=(left, 0))
    to.put(
        layer.name, "Conv1d", arrays,
        in_channels=arrays["weight"].shape[1] * groups, out_channels=outputs,
        kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups,
        bias="bias" in arrays,
    )  # fmt: skip
    to.transpose(f"{layer.name}.to_steps")
    to.shape = (None, None, outputs)
    activate(to, f"{layer.name}.activation", layer.config.get("activation"))


def _padding(layer: KerasLayer, reach: int, stride: int) -> tuple[int | str, int]:
    """Return torch's padding argument, and the number of zeros before the first step."""
    padding = layer.config.get("padding", "valid")
    if padding == "causal":
        return 0, reach
    if padding == "valid" or (padding == "same" and not reach):
        return 0, 0
    if padding != "same":
        raise FormatError(f"{quote(layer.name)}: padding {show(padding)}")
    if stride != 1:
        raise CannotMapError("padding 'same' with strides depends on the number of steps")
    return "same", 0


def _check_units(layer: KerasLayer, arrays: dict[str, Array], key: str) -> None:
    units = layer.config.get(key)
    bias = flag(layer.config, "use_bias", True)
    if units != arrays["weight"].shape[0] or bias != ("bias" in arrays):
        raise FormatError(
            f"{quote(layer.path)}: the weights do not fit {key} {show(units)}, use_bias {bias}"
        )


def _layer_norm(to: Mapper, layer: KerasLayer) -> None:
    gamma, beta, _, eps = _norm(to, layer, 0)
    arrays = weights.layer_norm([gamma, beta], layer.path)
    to.put(layer.name, "LayerNorm", arrays, normalized_shape=gamma.shape, eps=eps)


def _batch_norm(to: Mapper, layer: KerasLayer) -> None:
    gamma, beta, (mean, variance), eps = _norm(to, layer, 2)
    arrays = weights.layer_norm([gamma, beta], layer.path)
    arrays |= {"running_mean": mean, "running_var": variance}
    if any(array.shape != gamma.shape for array in arrays.values()):
        raise FormatError(f"{quote(layer.path)}: its arrays differ in length")
    to.by_channels(layer, "BatchNorm1d", arrays, num_features=gamma.size, eps=eps)


def _norm(to: Mapper, layer: KerasLayer, others: int) -> tuple[Array, Array, list[Array], float]:
    """Gamma and beta, which may be absent, the arrays that follow them, and epsilon."""
    config = layer.config
    to.check_axis(config.get("axis", -1))
    scale, center = flag(config, "scale", True), flag(config, "center", True)
    found = to.variables.of(layer.path)
    if not found:
        raise CannotMapError("without scale and center its size is not in the file")
    if len(found) != scale + center + others:
        raise FormatError(f"{quote(layer.path)} holds {len(found)} arrays")
    gamma = found[0] if scale else np.ones_like(found[0])
    beta = found[scale] if center else np.zeros_like(found[0])
    eps = number(layer, "epsilon")
    if eps < 0:
        raise FormatError(f"{quote(layer.name)}: epsilon {eps}")
    return gamma, beta, found[scale + center :], eps


def _normalization(to: Mapper, layer: KerasLayer) -> None:
    """(x - mean) / deviation by given numbers. The mean comes first: it may be far from 0."""
    if layer.config.get("axis") != []:
        to.check_axis(layer.config.get("axis", -1))
    if layer.config.get("mean") is None:
        found = to.variables.of(layer.path, 2)
        if len(found) != 2:
            raise FormatError(f"{quote(layer.path)} holds {len(found)} arrays")
        mean, variance = (array.astype(np.float64) for array in found)
    else:
        mean, variance = _numbers(layer, "mean"), _numbers(layer, "variance")
    if not (variance >= 0).all():
        raise FormatError(f"{quote(layer.name)}: a variance is less than 0")
    deviation = np.maximum(np.sqrt(variance), _SMALLEST)
    if flag(layer.config, "invert"):
        to.scale(layer.name, deviation, mean)
    else:
        to.scale(f"{layer.name}.center", np.ones(1), -mean)
        to.scale(layer.name, 1 / deviation, np.zeros(1))


def _prelu(to: Mapper, layer: KerasLayer) -> None:
    arrays = to.variables.of(layer.path)
    if len(arrays) != 1:
        raise FormatError(f"{quote(layer.path)} holds {len(arrays)} arrays")
    (alpha,) = arrays
    if not alpha.size or alpha.size != alpha.shape[-1]:
        raise CannotMapError("a slope for each step is not supported; use shared_axes=[1]")
    slopes = {"weight": alpha.reshape(-1)}
    to.by_channels(layer, "PReLU", slopes, num_parameters=alpha.size)


def _rescaling(to: Mapper, layer: KerasLayer) -> None:
    to.scale(layer.name, _numbers(layer, "scale"), _numbers(layer, "offset"))


def _numbers(layer: KerasLayer, key: str) -> Array:
    """A number of a config, or a list of them."""
    value = layer.config.get(key)
    if isinstance(value, dict) and value.get("class_name") in _ARRAYS:
        config = value.get("config")
        value = config.get("value") if isinstance(config, dict) else None
    items = value if isinstance(value, list) else [value]
    if not items or any(type(item) not in (int, float) for item in items):
        raise CannotMapError(f"{key} {show(value)} is not a number or a list of numbers")
    return np.array(items, np.float64)


WEIGHTED: dict[str, Handler] = {
    "Embedding": _embedding,
    "Dense": _dense,
    "Conv1D": _conv1d,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Rescaling": _rescaling,
}
