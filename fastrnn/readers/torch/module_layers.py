# SPDX-License-Identifier: MIT
"""Layers of torch.nn in a pickled module, by their attributes and the shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...stack_spec import LAYERS, Shape, Spec
from ..containers.elements import Array
from ..description import PYTORCH_MODULES, DescribedLayer
from ..errors import UnsupportedError
from .pickled_modules import PickledModule, recurrent_options, unknown_code

Options = dict[str, object]

_MOST_LAYERS = 1000  # of a recurrent stack

# The options that fastrnn's layers share with PyTorch's, by class.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "linear.Linear": ("in_features", "out_features"),
    "sparse.Embedding": ("num_embeddings", "embedding_dim", "padding_idx"),
    "normalization.LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "conv.Conv1d": (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
    ),
    "activation.ReLU": (),
    "activation.Tanh": (),
    "activation.Sigmoid": (),
    "activation.Softmax": ("dim",),
    "activation.LogSoftmax": ("dim",),
    "dropout.Dropout": ("p",),
    "flatten.Flatten": ("start_dim", "end_dim"),
}  # fmt: skip
# Attributes that these layers do not have, and the value with which PyTorch's are the same.
_WITH_BIAS = ("linear.Linear", "normalization.LayerNorm", "conv.Conv1d")
_FIXED: dict[str, Options] = {
    "sparse.Embedding": {"max_norm": None},
    "conv.Conv1d": {"padding_mode": "zeros", "transposed": False},
}


class NoLayerError(UnsupportedError):
    """A module is not a layer."""


def describe_module(
    module: PickledModule, arrays: Mapping[str, Array], is_last: bool
) -> list[DescribedLayer]:
    """The layer of a module with these tensors, none for an identity; NoLayerError says why not.

    `is_last`: whether no other layer follows, which would get all results of a recurrent one.
    """
    if why := unknown_code(module):
        raise NoLayerError(why)
    kind, name = module.kind.removeprefix(PYTORCH_MODULES), module.path or "model"
    if kind == "linear.Identity":
        return []
    recurrent = recurrent_options(module)
    if recurrent and not is_last:
        raise NoLayerError("the module after it gets its state, too")
    layer = str(recurrent.pop("cell", kind.rpartition(".")[2]))
    options = recurrent if kind == f"rnn.{layer}" else _options(kind, module.attributes)
    options |= {"bias": "bias" in arrays} if kind in _WITH_BIAS else {}
    try:
        expected = _shapes(layer, options)
    except (KeyError, TypeError, ValueError):  # an attribute is missing or of another type
        raise NoLayerError("its sizes are not those of this module") from None
    found = {tensor: array.shape for tensor, array in arrays.items()}
    if found != expected:
        raise NoLayerError(f"it has tensors {found}, expected {expected}")
    return [DescribedLayer(name, layer, options, dict(arrays))]


def _options(kind: str, attributes: Mapping[object, object]) -> Options:
    """The options of a layer, which are attributes of the module."""
    if kind not in _OPTIONS:
        raise NoLayerError("there is no layer for this module")
    for name, value in _FIXED.get(kind, {}).items():
        if attributes.get(name, value) != value:
            raise NoLayerError(f"{name}: expected {value!r}")
    return {name: _plain(attributes.get(name)) for name in _OPTIONS[kind]}


def _plain(value: object) -> object:
    """A number for a tuple of one, as PyTorch keeps the sizes of a Conv1d."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _shapes(layer: str, options: Options) -> dict[str, Shape]:
    """The shapes of the tensors that a layer with these options has."""
    o: dict[str, Any] = options
    shapes: dict[str, Shape] = {}
    if layer in LAYERS:
        if type(o["num_layers"]) is not int or o["num_layers"] > _MOST_LAYERS:
            raise NoLayerError("it has too many layers")
        return Spec.of(layer, o).shapes()
    if layer == "Linear":
        shapes = {"weight": (o["out_features"], o["in_features"]), "bias": (o["out_features"],)}
    elif layer == "Embedding":
        shapes = {"weight": (o["num_embeddings"], o["embedding_dim"])}
    elif layer == "Conv1d":
        weight = (o["out_channels"], o["in_channels"] // o["groups"], o["kernel_size"])
        shapes = {"weight": weight, "bias": (o["out_channels"],)}
    elif layer == "LayerNorm" and o["elementwise_affine"]:
        shapes = dict.fromkeys(("weight", "bias"), (o["normalized_shape"],))
    return {n: shape for n, shape in shapes.items() if n != "bias" or o.get("bias")}
