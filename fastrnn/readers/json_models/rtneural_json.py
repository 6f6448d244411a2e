# SPDX-License-Identifier: MIT
"""Models in the JSON of RTNeural, as its exporters, AIDA-X and others write it.

Layers are those of Keras, with Keras's arrays. A convolution is causal: it sees no later steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...stack_spec import Shape, Spec, find_cell
from ..containers.elements import Array
from ..description import DescribedLayer, Description, Obstacle, unsupported
from ..errors import FormatError, UnsupportedError, quote
from ..keras.keras_weights import conv1d, dense, recurrent
from .audio_json import linear_layer, recurrent_layer
from .json_values import Object, nested, shown, size

RTNEURAL = "rtneural"

_MOST_LAYERS = 1000
_KEYS = {"type", "activation", "shape", "weights", "name"}  # of a layer
_MORE_KEYS = {"conv1d": {"kernel_size", "dilation", "groups"}, "batchnorm": {"epsilon"}}
_DENSE, _RECURRENT = ("dense", "time-distributed-dense"), {"lstm": "LSTM", "gru": "GRU"}
_ACTIVATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"dim": -1}),
    "elu": ("ELU", {"alpha": 1.0}),
}
_GAINS = ("in_gain", "out_gain")  # of AIDA-X, in dB
_MOST_DECIBEL = 200.0
_SWAP: dict[str, object] = {"dim0": 1, "dim1": 2}  # of steps and channels


def describe_rtneural(model: Object) -> Description:
    """Describe a model of RTNeural; values are [batch][steps][channels].

    UnsupportedModel lists the layers that fastrnn does not have, FormatError says what is wrong.
    """
    items = model["layers"]
    if not isinstance(items, list) or len(items) > _MOST_LAYERS:
        raise FormatError(f"layers: expected a list of at most {_MOST_LAYERS}")
    layers: list[DescribedLayer] = []
    obstacles: list[Obstacle] = []
    inputs = width = _last(model, "in_shape", "in_shape")
    for number, item in enumerate(items):
        what = f"layer {number}"
        if not isinstance(item, dict):
            raise FormatError(f"{what} is not a JSON object")
        outputs = _last(item, "shape", what)
        try:
            layers += _layer(str(number), item, width, outputs)
        except UnsupportedError as error:
            obstacles.append(Obstacle(str(number), shown(item.get("type")), str(error)))
        width = outputs
    skips = size(model, "in_skip", 0, most=1, least=0)
    before, after = (_gain(model, key) for key in _GAINS)
    if skips and (before or after):
        obstacles.append(Obstacle("in_skip", "x", "with a gain, nothing says which x it adds"))
    if obstacles:
        raise unsupported(obstacles, "Only models of layers that fastrnn has are read.")
    layers = [*before, *layers, *after]
    if skips:  # y + x of AIDA-X
        if (inputs, width) != (1, 1):
            raise FormatError(f"in_skip with {inputs} inputs and {width} outputs, expected 1 and 1")
        layers.append(DescribedLayer("in_skip", "AddInput", {"features": 1}))
    return Description(RTNEURAL, tuple(layers))


def _last(item: Object, key: str, what: str) -> int:
    """The last number of a list, or the number itself: channels, or a size of a convolution."""
    value = item.get(key)
    last = value[-1] if isinstance(value, list) and value else value
    return size({f"{what}: {key}": last}, f"{what}: {key}")


def _layer(name: str, item: Object, inputs: int, outputs: int) -> list[DescribedLayer]:
    """A layer and the activation after it; UnsupportedError if there is none like it."""
    kind, activation = shown(item.get("type")), item.get("activation", "")
    unknown = item.keys() - _KEYS - _MORE_KEYS.get(kind, set())
    if unknown:
        raise UnsupportedError(f"{quote(min(unknown))} is not known of this layer")
    if kind == "activation":
        _require(name, (inputs,), (outputs,))
        return _activation(name, activation)
    arrays = _arrays(item, f"layer {name}")
    if kind in _RECURRENT:
        # RTNeural takes the function of the cell for granted; exporters of Keras write its name.
        if activation not in ("", "tanh"):
            raise UnsupportedError(f"activation {quote(shown(activation))}, expected 'tanh'")
        return [_stack(name, _RECURRENT[kind], arrays, inputs, outputs)]
    if kind in _DENSE:
        weights = dense(arrays, f"layer {name}")
        _require(name, weights["weight"].shape, (outputs, inputs))
        own = [linear_layer(name, inputs, outputs, weights)]
    elif kind == "conv1d":
        own = _convolution(name, item, arrays, inputs, outputs)
    elif kind == "batchnorm":
        own = _batch_norm(name, item, arrays, inputs, outputs)
    elif kind == "prelu":
        own = _prelu(name, arrays, inputs, outputs)
    else:
        raise UnsupportedError("there is no layer for this type")
    return own + _activation(f"{name}_activation", activation)


def _arrays(item: Object, what: str) -> list[Array]:
    weights = item.get("weights")
    if not isinstance(weights, list):
        raise FormatError(f"{what}: weights: expected a list")
    return [nested(value, f"{what}: weights {at}") for at, value in enumerate(weights)]


def _require(name: str, found: Shape, expected: Shape) -> None:
    if found != expected:
        raise FormatError(f"layer {name}: its weights have sizes {found}, expected {expected}")


def _stack(name: str, layer: str, arrays: list[Array], inputs: int, outputs: int) -> DescribedLayer:
    weights, options = recurrent(arrays, f"layer {name}")
    found = (options.pop("cell"), options.pop("input_size"), options.pop("hidden_size"))
    if found != (layer, inputs, outputs):
        raise FormatError(
            f"layer {name}: its weights are of a layer {found}, expected {(layer, inputs, outputs)}"
        )
    cell = find_cell(layer, options)
    spec = Spec(cell.name, inputs, outputs, bias=bool(options["bias"]))
    return recurrent_layer(name, spec, weights)


def _convolution(
    name: str, item: Object, arrays: list[Array], inputs: int, outputs: int
) -> list[DescribedLayer]:
    """A causal convolution of [batch][steps][channels], between moves of its channels."""
    what = f"layer {name}"
    taps, dilation = (
        _last(item, "kernel_size", what),
        _last({"dilation": 1, **item}, "dilation", what),
    )
    groups = size(item, "groups", 1)
    if inputs % groups or outputs % groups:
        raise FormatError(f"{what}: {groups} groups of {inputs} inputs and {outputs} outputs")
    weights = conv1d(arrays, what)
    _require(name, weights["weight"].shape, (outputs, inputs // groups, taps))
    options: dict[str, object] = {
        "in_channels": inputs, "out_channels": outputs, "kernel_size": taps, "dilation": dilation,
        "groups": groups, "bias": "bias" in weights,
    }  # fmt: skip
    past = DescribedLayer(f"{name}_past", "ZeroPad1d", {"padding": (dilation * (taps - 1), 0)})
    return _over_channels(name, past, DescribedLayer(name, "Conv1d", options, weights))


def _over_channels(name: str, *layers: DescribedLayer) -> list[DescribedLayer]:
    """Layers of [batch][channels][steps], between moves of the channels."""
    return [
        DescribedLayer(f"{name}_channels", "Transpose", _SWAP),
        *layers,
        DescribedLayer(f"{name}_steps", "Transpose", _SWAP),
    ]


def _batch_norm(
    name: str, item: Object, arrays: list[Array], inputs: int, outputs: int
) -> list[DescribedLayer]:
    """A scale and a shift of each channel, from Keras's gamma, beta, mean and variance."""
    if len(arrays) not in (2, 4):  # of three nothing says which one is missing
        raise UnsupportedError(f"it has {len(arrays)} weights, expected mean and variance, or 4")
    for array in arrays:
        _require(name, array.shape, (inputs,))
    _require(name, (inputs,), (outputs,))
    mean, variance = (array.astype(np.float64) for array in arrays[-2:])
    epsilon = _number(item, "epsilon", 0.0, 1e3)
    if variance.min() < 0 or not (variance + epsilon).min() > 0:
        raise FormatError(f"layer {name}: a variance plus epsilon is not above 0")
    weight, bias = 1 / np.sqrt(variance + epsilon), np.zeros(inputs)
    if len(arrays) == 4:
        weight, bias = arrays[0] * weight, arrays[1].astype(np.float64)
    with np.errstate(over="ignore"):  # as the model itself would have infinities then
        made = np.stack((weight, bias - mean * weight)).astype(np.float32)
    own = {"weight": made[0], "bias": made[1]}
    return [DescribedLayer(name, "ScaleFeatures", {"num_features": inputs}, own)]


def _prelu(name: str, arrays: list[Array], inputs: int, outputs: int) -> list[DescribedLayer]:
    """Keras's PReLU, whose steps share their slopes: one for each channel, or one for all."""
    if len(arrays) != 1:
        raise FormatError(f"layer {name}: it has {len(arrays)} weights, expected one array")
    slopes = arrays[0].reshape(-1)
    if arrays[0].shape not in ((1, len(slopes)), (len(slopes),)) or len(slopes) not in (1, inputs):
        raise UnsupportedError(f"its slopes have shape {arrays[0].shape}, expected (1, {inputs})")
    _require(name, (inputs,), (outputs,))
    options: dict[str, object] = {"num_parameters": len(slopes)}
    own = DescribedLayer(name, "PReLU", options, {"weight": slopes})
    return [own] if len(slopes) == 1 else _over_channels(name, own)


def _gain(model: Object, key: str) -> list[DescribedLayer]:
    """A gain in dB as a layer; none for 0 dB."""
    decibel = _number({key: 0, **model}, key, -_MOST_DECIBEL, _MOST_DECIBEL)
    if decibel == 0:
        return []
    return [DescribedLayer(key, "Scale", {"factor": 10 ** (decibel / 20), "offset": 0.0})]


def _number(data: Object, key: str, least: float, most: float) -> float:
    value: Any = data.get(key)
    if type(value) not in (int, float) or not least <= value <= most:
        found = value if type(value) in (int, float) else type(value).__name__
        raise FormatError(f"{key} is {found}, expected a number from {least:g} to {most:g}")
    return float(value)


def _activation(name: str, activation: object) -> list[DescribedLayer]:
    """The layer of an activation, none for that of a linear layer."""
    function = shown(activation)
    if function in ("", "linear"):
        return []
    if function not in _ACTIVATIONS:
        raise UnsupportedError(f"activation {quote(function)}: there is no layer for it")
    kind, options = _ACTIVATIONS[function]
    return [DescribedLayer(name, kind, dict(options))]
