# SPDX-License-Identifier: MIT
"""Run the description of a model in float64 numpy and in fastrnn; importers must agree with both.

The options of each kind are those of torch.nn. Kinds that torch.nn lacks:

Mask       value             each row loses the steps that contain only this value
Unmask     repeat, backwards the steps that the last Mask removed are back, as zeros; with repeat
                             as the last kept step before them, with backwards after them
Flip       batch_first       each row's valid steps in reverse order
Transpose  dim0, dim1        torch.transpose
Permute    dims              torch.permute
Squeeze, Unsqueeze   dim     torch.squeeze and torch.unsqueeze
RepeatVector   n             n steps that are all x
Unflatten  dim, unflattened_size
Last       batch_first, bidirectional   y at each row's last valid step; of a bidirectional layer
                             the reverse half at the first one: the final state h
           of                "state" means the same as bidirectional=True, "step" as False
Pool       mode, batch_first "mean", "max" or "sum" over each row's valid steps
MergeDirections   mode        "sum", "mean" or "mul" of the two halves of the features
Scale      factor, offset    factor x + offset
ScaleFeatures   num_features  weight x + bias of each feature
Residual   layers            adds its input to what the next so many layers make of it
AttentionPool   layers, batch_first   the sum of the steps of its input, weighted by the softmax of
                             the scores that the next so many layers make of them
AddInput   features          adds the first features of the model's own input
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from limits import IMPORTED, error

from fastrnn import reference
from fastrnn.files.build import from_description
from fastrnn.readers.description import DescribedLayer, Description
from fastrnn.stack_spec import find_cell


@dataclass
class Value:
    x: np.ndarray
    lengths: np.ndarray | None = None  # of each row, after a layer that removes steps
    masked: tuple[np.ndarray, np.ndarray | None] | None = None  # what Mask kept, lengths before it


def run(
    description: Description,
    x: np.ndarray,
    lengths: Iterable[int] | None = None,
    states: dict[str, object] | None = None,
):
    """Return the output of the model, whose layers each take the y of the layer before.

    `states` are initial states by the name of the layer, as reference.forward takes them. The
    fastrnn.Sequential of the description must return the same values, and zeros past the lengths.
    """
    lengths = None if lengths is None else np.asarray(list(lengths))
    value = run_in_numpy(description, x, lengths, states)
    y, _ = from_description(description)(x, states, lengths=lengths)
    if value.lengths is None:
        assert error(y, value.x) <= IMPORTED
    else:
        batch_first = next((o for layer in description.layers if (o := axes(layer)) is not None), 1)
        steps = value.x.shape[1 if batch_first else 0]
        within = np.arange(steps) < value.lengths[:, None]
        within = within if batch_first else within.T
        assert error(y[within], value.x[within]) <= IMPORTED
        assert not y[~within].any()
    return value.x


def axes(layer: DescribedLayer) -> bool | None:
    """Whether the batch comes first in a layer that has steps."""
    if layer.kind == "Mask":
        return True
    steps = layer.kind in ("LSTM", "GRU", "RNN", "Flip")
    return bool(layer.options.get("batch_first", False)) if steps else None


def run_in_numpy(
    description: Description,
    x: np.ndarray,
    lengths: np.ndarray | None,
    states: dict[str, object] | None,
) -> Value:
    value = Value(np.asarray(x), lengths)
    run_several(iter(description.layers), None, value, states)
    return value


def run_several(
    layers: Iterator[DescribedLayer],
    count: int | None,
    value: Value,
    states: dict[str, object] | None,
) -> None:
    """Take the value through so many layers, or all; those that others hold follow these."""
    first = value.x
    for layer in islice(layers, count):
        if layer.kind == "AddInput":
            value.x = value.x + first[..., : layer.options["features"]]
        elif layer.kind == "Residual":
            before = value.x
            run_several(layers, layer.options["layers"], value, states)
            assert value.x.shape == before.shape
            value.x = value.x + before
        elif layer.kind == "AttentionPool":
            before = value.x
            run_several(layers, layer.options["layers"], value, states)
            value.x = attention(layer, value, before, layer.options.get("batch_first", False))
            value.lengths = None
        elif layer.name in (states or {}):
            value.x = recurrent(layer, value, state=states[layer.name], **layer.options)
        else:
            value.x = KINDS[layer.kind](layer, value, **layer.options)


def valid(layer: DescribedLayer, value: Value) -> np.ndarray:
    """The length of each row."""
    batch, steps = value.x.shape[:2]
    return np.full(batch, steps) if value.lengths is None else value.lengths


def swapped(run_kind: Callable) -> Callable:
    """Call a kind with [batch][steps], whatever batch_first is."""

    def run_swapped(layer, value, batch_first=False, **options):
        if value.x.ndim == 2:  # one row without a batch axis
            return run_kind(layer, Value(value.x[None], value.lengths), **options)[0]
        if batch_first:
            return run_kind(layer, value, **options)
        y = run_kind(layer, Value(value.x.swapaxes(0, 1), value.lengths), **options)
        return y if y.ndim < 3 else y.swapaxes(0, 1)

    return run_swapped


@swapped
def recurrent(
    layer, value, *, input_size, hidden_size, num_layers=1, bias=True, bidirectional=False,
    dropout=0.0, proj_size=0, state=None, **options,
):  # fmt: skip
    weights = {n: a for n, a in layer.arrays.items() if n not in ("h_0", "c_0")}
    cell = find_cell(layer.kind, options)
    assert weights["weight_ih_l0"].shape == (len(cell.gates) * hidden_size, input_size)
    assert bias == ("bias_ih_l0" in weights)
    if "h_0" in layer.arrays:
        batch = len(value.x)
        parts = [layer.arrays[part] for part in ("h_0", "c_0") if part in layer.arrays]
        state = tuple(np.repeat(part[:, None], batch, 1) for part in parts)
        state = state if cell.has_c else state[0]
    y, *_ = reference.forward(
        cell.name, value.x.swapaxes(0, 1), weights, state, num_layers=num_layers,
        bidirectional=bidirectional, lengths=valid(layer, value),
    )  # fmt: skip
    return y.swapaxes(0, 1)


def mask(layer, current, *, value):
    keep = current.x != value
    keep = keep if current.x.ndim == 2 else keep.any(-1)
    if current.lengths is not None:
        keep = keep & (np.arange(keep.shape[1]) < current.lengths[:, None])
    current.masked = keep, current.lengths
    current.lengths = keep.sum(1)
    rows = np.zeros_like(current.x)
    for row, source, kept in zip(rows, current.x, keep, strict=True):
        rows_kept = source[kept]
        row[: len(rows_kept)] = rows_kept
    return rows


def unmask(layer, current, *, repeat=False, backwards=False):
    keep, current.lengths = current.masked
    rows = np.zeros_like(current.x)
    for row, source, kept in zip(rows, current.x, keep, strict=True):
        row[kept] = source[: kept.sum()]
        steps = range(len(row) - 2, -1, -1) if backwards else range(1, len(row))
        for step in steps if repeat else ():
            if not kept[step]:
                row[step] = row[step + 1 if backwards else step - 1]
    return rows


@swapped
def flip(layer, value):
    y = np.zeros_like(value.x)
    for row, length in enumerate(valid(layer, value)):
        y[row, :length] = value.x[row, :length][::-1]
    return y


def last(layer, value, *, batch_first=False, bidirectional=False, of="step"):
    bidirectional = bidirectional or of == "state"
    if value.x.ndim == 2:
        return last(layer, Value(value.x[None]), batch_first=True, bidirectional=bidirectional)[0]
    x = value.x if batch_first else value.x.swapaxes(0, 1)
    lengths = valid(layer, Value(x, value.lengths))
    value.lengths = None
    y = x[np.arange(len(x)), lengths - 1]
    y[lengths == 0] = 0
    if bidirectional:
        half = x.shape[-1] // 2
        y[:, half:] = np.where(lengths[:, None] > 0, x[:, 0, half:], 0)
    return y


def pool(layer, value, *, mode, batch_first=False):
    x = value.x if batch_first else value.x.swapaxes(0, 1)
    lengths = valid(layer, Value(x, value.lengths))
    value.lengths = None
    reduce = {"mean": np.mean, "max": np.max, "sum": np.sum}[mode]
    return np.stack([reduce(row[:length], 0) for row, length in zip(x, lengths, strict=True)])


def attention(layer, value, x, batch_first):
    scores = value.x if batch_first else value.x.swapaxes(0, 1)
    x = x if batch_first else x.swapaxes(0, 1)
    assert scores.shape == (*x.shape[:2], 1)
    lengths = valid(layer, Value(x, value.lengths))
    return np.stack(
        [reference.attention_pool(*row) for row in zip(x, scores[..., 0], lengths, strict=True)]
    )


def embedding(layer, value, *, num_embeddings, embedding_dim, padding_idx=None):
    assert layer.arrays["weight"].shape == (num_embeddings, embedding_dim)
    return layer.arrays["weight"].astype(np.float64)[value.x.astype(np.intp)]


def linear(layer, value, *, in_features, out_features, bias=True):
    weight = layer.arrays["weight"].astype(np.float64)
    assert weight.shape == (out_features, in_features)
    assert bias == ("bias" in layer.arrays)
    return value.x @ weight.T + layer.arrays.get("bias", 0.0)


def layer_norm(layer, value, *, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
    axes = tuple(range(-len(normalized_shape), 0))
    centered = value.x - value.x.mean(axes, keepdims=True)
    y = centered / np.sqrt((centered**2).mean(axes, keepdims=True) + eps)
    return y * layer.arrays.get("weight", 1.0) + layer.arrays.get("bias", 0.0)


def conv1d(
    layer, value, *, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
    groups=1, bias=True,
):  # fmt: skip
    weight = layer.arrays["weight"].astype(np.float64)
    single = [v[0] if isinstance(v, (tuple, list)) else v for v in (kernel_size, stride, dilation)]
    size, stride, dilation = single
    assert weight.shape == (out_channels, in_channels // groups, size)
    reach = (size - 1) * dilation
    if padding == "same":
        sides = (reach // 2, reach - reach // 2)
    else:
        padding = padding[0] if isinstance(padding, (tuple, list)) else padding
        sides = (0, 0) if padding == "valid" else (padding, padding)
    x = np.pad(value.x, ((0, 0), (0, 0), sides))
    steps = (x.shape[2] - reach - 1) // stride + 1
    parts = []
    for group in range(groups):
        channels = x[:, group * weight.shape[1] : (group + 1) * weight.shape[1]]
        taps = [
            channels[:, :, k * dilation :][:, :, : steps * stride : stride] for k in range(size)
        ]
        own = weight[group * (out_channels // groups) : (group + 1) * (out_channels // groups)]
        parts.append(np.einsum("kbct,ock->bot", np.stack(taps)[..., :steps], own))
    return np.concatenate(parts, 1) + layer.arrays.get("bias", np.zeros(out_channels))[:, None]


def flatten(layer, value, *, start_dim=1, end_dim=-1):
    shape, end = value.x.shape, end_dim % value.x.ndim
    return value.x.reshape(*shape[:start_dim], -1, *shape[end + 1 :])


def softmax(layer, value, *, dim):
    e = np.exp(value.x - value.x.max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


def unflatten(layer, value, *, dim, unflattened_size):
    shape = list(value.x.shape)
    shape[dim : dim % len(shape) + 1] = unflattened_size
    return value.x.reshape(shape)


def batch_norm(layer, value, *, num_features, eps=1e-5, affine=True):
    given = {n: np.float64(a) for n, a in layer.arrays.items()}
    assert given.keys() >= {"running_mean", "running_var"}
    assert affine == ("weight" in given)
    x = np.moveaxis(value.x, 1, -1)
    assert x.shape[-1] == num_features
    y = (x - given["running_mean"]) / np.sqrt(given["running_var"] + eps)
    return np.moveaxis(y * given.get("weight", 1.0) + given.get("bias", 0.0), -1, 1)


def windows(steps, kernel_size, stride, padding, dilation, ceil_mode):
    """Where each window begins, and which steps of x it has."""
    for start in range(-padding, steps, stride):  # in x or in the padding before it
        end = start + dilation * (kernel_size - 1)
        if end >= steps + padding + (stride - 1 if ceil_mode else 0):
            break
        yield start, [at for at in range(start, end + 1, dilation) if 0 <= at < steps]


def max_pool(layer, value, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    y, stride = [], stride or kernel_size
    for _, seen in windows(value.x.shape[-1], kernel_size, stride, padding, dilation, ceil_mode):
        parts = [value.x[..., at] for at in seen] or [np.full(value.x.shape[:-1], -np.inf)]
        y.append(np.max(parts, 0))
    return np.stack(y, -1)


def avg_pool(
    layer, value, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
):
    y, steps, stride = [], value.x.shape[-1], stride or kernel_size
    for start, seen in windows(steps, kernel_size, stride, padding, 1, ceil_mode):
        padded = min(start + kernel_size, steps + padding) - start
        y.append(value.x[..., seen].sum(-1) / (padded if count_include_pad else len(seen)))
    return np.stack(y, -1)


def prelu(layer, value, *, num_parameters=1):
    slopes = layer.arrays["weight"].astype(np.float64)
    assert slopes.shape == (num_parameters,)
    slopes = slopes.reshape(-1, *[1] * max(value.x.ndim - 2, 0)) if num_parameters > 1 else slopes
    return np.where(value.x > 0, value.x, slopes * value.x)


def merge(layer, value, *, mode):
    a, b = np.split(value.x, 2, -1)
    return {"sum": a + b, "mean": (a + b) / 2, "mul": a * b}[mode]


def function(name, value, a=0.0, b=0.0):
    return reference.FUNCTIONS[name].value(value.x, a, b)


KINDS: dict[str, Callable] = {
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Mask": mask,
    "Unmask": unmask,
    "Flip": flip,
    "Last": last,
    "Pool": pool,
    "Embedding": embedding,
    "Linear": linear,
    "LayerNorm": layer_norm,
    "Conv1d": conv1d,
    "ZeroPad1d": lambda layer, value, padding: np.pad(value.x, ((0, 0), (0, 0), padding)),
    "ReflectionPad1d": lambda layer, value, padding: np.pad(
        value.x, ((0, 0), (0, 0), padding), mode="reflect"
    ),
    "Magnitude": lambda layer, value: np.hypot(*np.split(value.x, 2, 1)),
    "Transpose": lambda layer, value, dim0, dim1: value.x.swapaxes(dim0, dim1),
    "Permute": lambda layer, value, dims: value.x.transpose(dims),
    "Squeeze": lambda layer, value, dim: value.x.squeeze(dim),
    "Unsqueeze": lambda layer, value, dim: np.expand_dims(value.x, dim),
    "Flatten": flatten,
    "Unflatten": unflatten,
    "RepeatVector": lambda layer, value, n: np.repeat(value.x[:, None], n, 1),
    "Dropout": lambda layer, value, p=0.5: value.x,
    "ReLU": lambda layer, value: np.maximum(value.x, 0),
    "Tanh": lambda layer, value: np.tanh(value.x),
    "Sigmoid": lambda layer, value: 1 / (1 + np.exp(-value.x)),
    "BatchNorm1d": batch_norm,
    "MaxPool1d": max_pool,
    "AvgPool1d": avg_pool,
    "PReLU": prelu,
    "ScaleFeatures": lambda layer, value, num_features: (
        value.x * layer.arrays["weight"] + layer.arrays["bias"]
    ),
    "Mish": lambda layer, value: function("mish", value),
    "Softsign": lambda layer, value: function("softsign", value),
    "Hardswish": lambda layer, value: function("hardswish", value),
    "MergeDirections": merge,
    "ELU": lambda layer, value, alpha=1.0: function("elu", value, alpha),
    "LeakyReLU": lambda layer, value, negative_slope=0.01: function(
        "leaky_relu", value, negative_slope
    ),
    "SiLU": lambda layer, value: function("silu", value),
    "GELU": lambda layer, value, approximate="none": function(
        "gelu" if approximate == "none" else "gelu_tanh", value
    ),
    "Softplus": lambda layer, value, beta=1.0, threshold=20.0: function(
        "softplus", value, beta, threshold
    ),
    "Hardtanh": lambda layer, value, min_val=-1.0, max_val=1.0: function(
        "hardtanh", value, min_val, max_val
    ),
    "Hardsigmoid": lambda layer, value: function("hardsigmoid", value),
    "Scale": lambda layer, value, factor, offset=0.0: function("scale", value, factor, offset),
    "Softmax": softmax,
    "LogSoftmax": lambda layer, value, dim: np.log(softmax(layer, value, dim=dim)),
}
