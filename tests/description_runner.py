# SPDX-License-Identifier: MIT
"""Runs a description of a model in float64: recurrent layers by the reference, others in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import reference
from fastrnn.readers.description import Description, Layer


def run(description: Description, x: np.ndarray) -> np.ndarray:
    """The output of the last layer."""
    names = [layer.name for layer in description.layers]
    assert all(names), "a layer without a name"
    assert len(set(names)) == len(names), f"names are not unique: {names}"
    y = x
    for layer in description.layers:
        y = KINDS[layer.kind](y, layer, layer.options)
    return y


def weight(layer: Layer, name: str) -> np.ndarray:
    return layer.arrays[name].astype(np.float64)


def recurrent(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    unbatched = x.ndim == 2
    swap = options["batch_first"] and not unbatched
    x = x[:, None] if unbatched else x.swapaxes(0, 1) if swap else x
    assert x.shape[-1] == options["input_size"]
    count = options["num_layers"] * (2 if options["bidirectional"] else 1)
    count *= 2 + 2 * options["bias"] + (options.get("proj_size", 0) > 0)
    assert len(layer.arrays) == count
    shape = {name: options[name] for name in ("num_layers", "bidirectional")}
    more = {"nonlinearity": options["nonlinearity"]} if layer.kind == "RNN" else {}
    weights = {name: weight(layer, name) for name in layer.arrays}
    y = reference.forward(layer.kind, x, weights, **shape, **more)[0]
    return y[:, 0] if unbatched else y.swapaxes(0, 1) if swap else y


def linear(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    y = x @ weight(layer, "weight").T
    return y + weight(layer, "bias") if options["bias"] else y


def layer_norm(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + options["eps"])
    y = y * weight(layer, "weight") if options["elementwise_affine"] else y
    return y + weight(layer, "bias") if "bias" in layer.arrays else y


def conv1d(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    w, stride, dilation, pad = (weight(layer, "weight"), *(
        options[name] for name in ("stride", "dilation", "padding")
    ))  # fmt: skip
    span = dilation * (w.shape[2] - 1) + 1
    total = {"same": span - 1, "valid": 0}.get(pad)
    sides = (pad, pad) if total is None else (total // 2, total - total // 2)
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [sides])
    views = np.lib.stride_tricks.sliding_window_view(x, span, axis=-1)[..., ::stride, ::dilation]
    groups = np.split(views, options["groups"], axis=-3)
    kernels = np.split(w, options["groups"], axis=0)
    pairs = zip(groups, kernels, strict=True)
    y = np.concatenate([np.einsum("...ctk,ock->...ot", g, k) for g, k in pairs], axis=-2)
    return y + weight(layer, "bias")[:, None] if options["bias"] else y


def last(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    """The last step, or the final states of both directions of the layer before."""
    x = x.swapaxes(0, 1) if options["batch_first"] else x
    if options["of"] == "step":
        return x[-1]
    half = x.shape[-1] // 2
    return np.concatenate([x[-1, ..., :half], x[0, ..., half:]], -1)


def pool(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    return getattr(x, options["mode"])(axis=1 if options["batch_first"] else 0)


def softmax(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    e = np.exp(x - x.max(options["dim"], keepdims=True))
    return e / e.sum(options["dim"], keepdims=True)


def flatten(x: np.ndarray, layer: Layer, options: dict[str, Any]) -> np.ndarray:
    start, end = (options[name] % x.ndim for name in ("start_dim", "end_dim"))
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


KINDS = {
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Embedding": lambda x, layer, options: weight(layer, "weight")[x],
    "Linear": linear,
    "LayerNorm": layer_norm,
    "Conv1d": conv1d,
    "Dropout": lambda x, layer, options: x,
    "ReLU": lambda x, layer, options: np.maximum(x, 0),
    "Tanh": lambda x, layer, options: np.tanh(x),
    "Sigmoid": lambda x, layer, options: 1 / (1 + np.exp(-x)),
    "Softmax": softmax,
    "LogSoftmax": lambda x, layer, options: np.log(softmax(x, layer, options)),
    "Last": last,
    "Pool": pool,
    "Flatten": flatten,
    "Squeeze": lambda x, layer, options: np.squeeze(x, options["dim"]),
    "Unsqueeze": lambda x, layer, options: np.expand_dims(x, options["dim"]),
    "Transpose": lambda x, layer, options: x.swapaxes(options["dim0"], options["dim1"]),
    "Permute": lambda x, layer, options: x.transpose(options["dims"]),
}
