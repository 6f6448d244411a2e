# SPDX-License-Identifier: MIT
"""Layers of torch.nn in a pickled module, by their attributes and the shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...stack_spec import LAYERS, Shape, Spec
from ..containers.elements import Array
from ..description import DescribedLayer
from ..errors import UnsupportedError
from .module_options import FIXED, IDENTITIES, OPTIONS, WITH_BIAS, key_of
from .pickled_modules import PickledModule, recurrent_options, unknown_code

Options = dict[str, object]

_MOST_LAYERS = 1000  # of a recurrent stack


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
    kind, name = key_of(module.kind), module.path or "model"
    if kind in IDENTITIES:
        return []
    recurrent = recurrent_options(module)
    if recurrent and not is_last:
        raise NoLayerError("the module after it gets its state, too")
    layer = str(recurrent.pop("cell", kind.rpartition(".")[2]))
    options = recurrent if kind == f"rnn.{layer}" else _options(kind, module.attributes)
    options |= {"bias": "bias" in arrays} if kind in WITH_BIAS else {}
    if kind == "batchnorm.BatchNorm1d":
        arrays = {tensor: a for tensor, a in arrays.items() if tensor != "num_batches_tracked"}
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
    if kind not in OPTIONS:
        raise NoLayerError("there is no layer for this module")
    for name, value in FIXED.get(kind, {}).items():
        if attributes.get(name, value) != value:
            raise NoLayerError(f"{name}: expected {value!r}")
    return {name: _plain(attributes[name]) for name in OPTIONS[kind] if name in attributes}


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
    elif layer == "BatchNorm1d":
        names = ("running_mean", "running_var", *(("weight", "bias") if o["affine"] else ()))
        return dict.fromkeys(names, (o["num_features"],))
    elif layer == "PReLU":
        shapes = {"weight": (o["num_parameters"],)}
    return {n: shape for n, shape in shapes.items() if n != "bias" or o.get("bias")}
