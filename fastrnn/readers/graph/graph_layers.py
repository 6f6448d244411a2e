# SPDX-License-Identifier: MIT
"""Operators that become layers: recurrent ones, those with weights, and functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from ..errors import FormatError, quote
from ..recurrent_names import flat_names
from .flows import Final, Flow, ObstructionError
from .graph import Node
from .translation import (
    ZEROS,
    Args,
    Handler,
    Translation,
    Value,
    Weight,
    Zeros,
    bare_path,
    options_of,
    path_of,
)

_CELLS = {
    "lstm": ("LSTM", 4, None),
    "gru": ("GRU", 3, None),
    "rnn_tanh": ("RNN", 1, "tanh"),
    "rnn_relu": ("RNN", 1, "relu"),
}
_FAR = 1 << 31  # larger than any stride or padding that makes sense


# --- recurrent layers ---


def _recurrent(self: Translation, node: Node, args: Args) -> tuple[Value, ...]:
    cell, gates, nonlinearity = _CELLS[node.op]
    read = options_of(
        args, has_biases=True, num_layers=1, dropout=0.0, bidirectional=False, batch_first=False
    )
    params = args.get("params")
    if not isinstance(params, list) or not params:
        raise ObstructionError("its weights are not a list of parameters")
    weights = [_parameter(self, value) for value in params]
    layers, two_way, bias = read["num_layers"], read["bidirectional"], read["has_biases"]
    assert isinstance(layers, int)
    assert isinstance(two_way, bool)
    assert isinstance(bias, bool)
    names = flat_names(len(weights), layers, bias, two_way, f"node {quote(node.label)}")
    arrays = {name: weight.array for name, weight in zip(names, weights, strict=True)}
    sizes = _check_recurrent(arrays, cell, gates, two_way, layers, weights[0].name)
    _initial_state(self, args.get("hx"), cell)
    flow = self.flow(args.get("input"))
    if len(flow.view) != 3 or any(len(axis) > 1 for axis in flow.view):
        raise ObstructionError("its input has not the three axes time, batch and features")
    time, batch = flow.view[:2] if not read["batch_first"] else flow.view[1::-1]
    if not time:
        raise ObstructionError("its input has no time axis, only one step")
    flow, last = self.chain.feature(flow)
    self.fits(last, sizes["input_size"], weights[0].name)
    inside = [label for axis in (time, batch) for label in axis]
    if sorted(flow.axes[:-1]) != sorted(inside):
        flow = self.chain.settle(flow)
    self.chain.batches.update(batch)
    options: dict[str, object] = {
        "input_size": sizes["input_size"],
        "hidden_size": sizes["hidden_size"],
        "num_layers": layers,
        "bias": bias,
        "batch_first": len(flow.axes) == 3 and flow.axes[1] == time[0],
        "dropout": read["dropout"],
        "bidirectional": two_way,
    }
    if cell == "LSTM":
        options["proj_size"] = sizes["proj_size"]
    if nonlinearity:
        options["nonlinearity"] = nonlinearity
    flow = self.chain.append(flow, cell, path_of(weights[0], node) or cell.lower(), options, arrays)
    directions = 2 if two_way else 1
    width = directions * (sizes["proj_size"] or sizes["hidden_size"])
    flow = self.chain.with_feature(flow, width)
    rows = tuple(range(layers * directions))
    parts = ("h", "c") if cell == "LSTM" else ("h",)
    states = (Final(flow, time[0], p, layers, directions, rows, ("R", "B", "H")) for p in parts)
    return (flow, *states)


def _parameter(self: Translation, value: Value) -> Weight:
    """A weight of one or two dimensions."""
    rank = value.array.ndim if isinstance(value, Weight) else 2
    return self.weight(value, "weight", min(max(rank, 1), 2))


def _check_recurrent(
    arrays: dict[str, Array], cell: str, gates: int, two_way: bool, layers: int, name: str
) -> dict[str, int]:
    """The sizes of a recurrent layer, after all its weights were found to fit them."""
    first = arrays["weight_ih_l0"]
    rows = first.shape[0]
    hidden = rows // gates
    proj = arrays["weight_hr_l0"].shape[0] if "weight_hr_l0" in arrays else 0
    inputs = first.shape[1] if first.ndim == 2 else 0
    width = proj or hidden
    shapes = {"weight_hh": (rows, width), "weight_hr": (proj, hidden)}
    for full, array in arrays.items():
        part, _, place = full.rpartition("_l")
        below = inputs if place.partition("_")[0] == "0" else width * (2 if two_way else 1)
        shape = {"weight_ih": (rows, below), **shapes}.get(part, (rows,))
        if array.shape != shape or hidden * gates != rows or (proj and cell != "LSTM"):
            raise FormatError(
                f"{quote(name)} and its fellows: {full} has shape {array.shape}, expected {shape} "
                f"in a {cell} of {hidden} units"
            )
    return {"input_size": inputs, "hidden_size": hidden, "proj_size": proj}


def _initial_state(self: Translation, value: Value, cell: str) -> None:
    """Accept zeros, and an input of the model, which is then the caller's `state`."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Zeros) or (isinstance(item, Weight) and not np.any(item.array)):
            continue
        if isinstance(item, Flow) and not item.at and all(len(axis) == 1 for axis in item.view):
            continue
        kind = "a learned or constant tensor" if isinstance(item, Weight) else "computed"
        raise ObstructionError(f"its initial state is {kind}, expected zeros or an input")


# --- layers with weights ---


def _linear(self: Translation, node: Node, args: Args) -> Value:
    weight = self.weight(args.get("weight"), "weight", 2)
    return _product(self, node, args.get("input"), weight, args.get("bias"))


def _addmm(self: Translation, node: Node, args: Args) -> Value:
    if any(args.get(name, 1) not in (1, 1.0) for name in ("alpha", "beta")):
        raise ObstructionError("it scales its terms")
    weight = self.weight(args.get("mat2"), "second factor", 2)
    return _product(self, node, args.get("mat1"), _transposed(weight), args.get("self"))


def _matmul(self: Translation, node: Node, args: Args) -> Value:
    weight = self.weight(args.get("mat2", args.get("other")), "second factor", 2)
    return _product(self, node, args.get("self"), _transposed(weight), None)


def _transposed(weight: Weight) -> Weight:
    return replace(weight, array=weight.array.T)


def _product(self: Translation, node: Node, x: Value, weight: Weight, bias: Value) -> Flow:
    outputs, inputs = weight.array.shape
    arrays: dict[str, Array] = {"weight": np.ascontiguousarray(weight.array)}
    self.optional(arrays, "bias", bias, outputs)
    flow, last = self.chain.feature(self.flow(x))
    self.fits(last, inputs, weight.name)
    options: dict[str, object] = {"in_features": inputs, "out_features": outputs}
    options["bias"] = bias is not None
    flow = self.chain.append(flow, "Linear", path_of(weight, node), options, arrays)
    return self.chain.with_feature(flow, outputs)


def _add(self: Translation, node: Node, args: Args) -> Value:
    """The bias of the product before; any other sum joins two branches."""
    flow, bias = args.get("self"), args.get("other")
    if isinstance(flow, Weight):
        flow, bias = bias, flow
    layers = self.chain.layers
    fits = isinstance(flow, Flow) and isinstance(bias, Weight) and self.chain.is_tail(flow)
    if not fits or not layers or layers[-1].kind != "Linear" or layers[-1].options["bias"]:
        raise ObstructionError("a sum that is not a Linear's bias")
    assert isinstance(flow, Flow)
    if args.get("alpha", 1) not in (1, 1.0) or flow.view[-1:] != (flow.axes[-1:],):
        raise ObstructionError("a sum that is not a Linear's bias")
    arrays = dict(layers[-1].arrays)
    self.optional(arrays, "bias", bias, len(arrays["weight"]))
    layers[-1] = replace(layers[-1], options={**layers[-1].options, "bias": True}, arrays=arrays)
    return flow


def _embedding(self: Translation, node: Node, args: Args) -> Value:
    weight = self.weight(args.get("weight"), "weight", 2)
    padding = options_of(args, padding_idx=-1)["padding_idx"]
    count, width = weight.array.shape
    options: dict[str, object] = {"num_embeddings": count, "embedding_dim": width}
    options["padding_idx"] = None if padding == -1 else padding
    flow = self.flow(args.get("indices"))
    arrays = {"weight": weight.array}
    flow = self.chain.append(flow, "Embedding", path_of(weight, node), options, arrays)
    flow = replace(flow, axes=(*flow.axes, -1), view=(*flow.view, (-1,)))
    return self.chain.with_feature(flow, width)


def _layer_norm(self: Translation, node: Node, args: Args) -> Value:
    shape = args.get("normalized_shape")
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int:
        raise ObstructionError("it normalises more than the last axis")
    arrays: dict[str, Array] = {}
    self.optional(arrays, "weight", args.get("weight"), shape[0])
    self.optional(arrays, "bias", args.get("bias"), shape[0])
    if "bias" in arrays and "weight" not in arrays:
        raise ObstructionError("it has a bias but no weight")
    options = {"normalized_shape": [shape[0]], **options_of(args, eps=1e-5)}
    options |= {"elementwise_affine": "weight" in arrays, "bias": "bias" in arrays}
    flow, last = self.chain.feature(self.flow(args.get("input")))
    given = args.get("weight")
    path = path_of(given, node) if isinstance(given, Weight) else bare_path(node)
    self.fits(last, shape[0], path)
    return self.chain.append(flow, "LayerNorm", path, options, arrays)


def _conv1d(self: Translation, node: Node, args: Args) -> Value:
    if args.get("transposed", False) is not False:
        raise ObstructionError("it is a transposed convolution")
    given = args.get("weight")
    if isinstance(given, Weight) and given.array.ndim != 3:
        raise ObstructionError("it is not a convolution over one axis")
    weight = self.weight(given, "weight", 3)
    outputs, per_group, kernel = weight.array.shape
    groups = options_of(args, groups=1)["groups"]
    assert isinstance(groups, int)
    if groups < 1 or outputs % groups:
        raise FormatError(f"{quote(weight.name)}: {groups} groups do not divide {outputs} channels")
    options: dict[str, object] = {"in_channels": per_group * groups, "out_channels": outputs}
    options["kernel_size"] = kernel
    padding = args.get("padding", 0)
    for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
        options[name] = padding if name == "padding" and padding in ("same", "valid") else _single(
            args.get(name, default), name, 0 if name == "padding" else 1
        )  # fmt: skip
    arrays = {"weight": weight.array}
    self.optional(arrays, "bias", args.get("bias"), outputs)
    options |= {"groups": groups, "bias": "bias" in arrays}
    flow = self.flow(args.get("input"))
    if len(flow.view) not in (2, 3) or any(len(axis) != 1 for axis in flow.view[-2:]):
        raise ObstructionError("its input has not the axes batch, channels and time")
    flow = self.chain.settle(flow)
    self.fits(flow.view[-2][0], per_group * groups, weight.name)
    self.chain.batches.update(label for axis in flow.view[:-2] for label in axis)
    flow = self.chain.append(flow, "Conv1d", path_of(weight, node), options, arrays)
    channel, time = self.chain.label(outputs), self.chain.label(None)
    self.chain.features.add(channel)
    view = (*flow.view[:-2], (channel,), (time,))
    return replace(flow, axes=(*flow.axes[:-2], channel, time), view=view)


def _single(value: Value, name: str, least: int) -> int:
    """The one number of a list of one, or a number."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if type(value) is not int or not least <= value < _FAR:
        raise ObstructionError(f"its {name} is not a constant of the graph")
    return value


# --- functions, moves of axes, time ---


def _function(kind: str) -> Handler:
    def handle(self: Translation, node: Node, args: Args) -> Value:
        return self.chain.append(self.flow(args.get("self")), kind, bare_path(node))

    return handle


def _normalised(kind: str) -> Handler:
    def handle(self: Translation, node: Node, args: Args) -> Value:
        flow = self.flow(args.get("self"))
        axis = flow.view[flow.axis(args.get("dim"))]
        if len(axis) != 1:
            flow, label = self.chain.feature(flow)
        else:
            label = axis[0]
        dim = flow.axes.index(label)
        dim = -1 if dim == len(flow.axes) - 1 else dim
        return self.chain.append(flow, kind, bare_path(node), {"dim": dim})

    return handle


def _dropout(self: Translation, node: Node, args: Args) -> Value:
    options = options_of(args, p=0.5)
    return self.chain.append(self.flow(args.get("input")), "Dropout", bare_path(node), options)


def _same(self: Translation, node: Node, args: Args) -> Value:
    return args.get("self")


def _zeros(self: Translation, node: Node, args: Args) -> Value:
    if args.get("fill_value", 0) != 0:
        raise ObstructionError("a constant other than zero")
    return ZEROS


LAYERS: dict[str, Handler] = {
    **dict.fromkeys(_CELLS, _recurrent),
    "linear": _linear,
    "addmm": _addmm,
    "mm": _matmul,
    "matmul": _matmul,
    "add": _add,
    "embedding": _embedding,
    "layer_norm": _layer_norm,
    "native_layer_norm": _layer_norm,
    "conv1d": _conv1d,
    "convolution": _conv1d,
    "_convolution": _conv1d,
    "relu": _function("ReLU"),
    "tanh": _function("Tanh"),
    "sigmoid": _function("Sigmoid"),
    "softmax": _normalised("Softmax"),
    "_softmax": _normalised("Softmax"),
    "log_softmax": _normalised("LogSoftmax"),
    "_log_softmax": _normalised("LogSoftmax"),
    "dropout": _dropout,
    **dict.fromkeys(
        ("clone", "alias", "detach", "contiguous", "lift_fresh_copy", "to", "_to_copy"), _same
    ),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "full", "full_like"), _zeros),
}
