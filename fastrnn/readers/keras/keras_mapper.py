# SPDX-License-Identifier: MIT
"""What every translation of a Keras layer works on: the layers made so far, their mask and shape.

Values are [batch][steps][features] throughout, as in Keras; a layer over channels is placed between
two transpositions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..containers.elements import Array
from ..description import DescribedLayer
from ..errors import FormatError, quote
from .keras_config import CannotMapError, KerasLayer
from .keras_keys import Config, refused_keys
from .keras_masks import Masks
from .keras_recurrent import KerasRecurrent, show
from .keras_weights import Variables

# The sizes of a value, of which the batch and others may be unknown; None: not even their number.
Shape = tuple[int | None, ...] | None


class Mapper:
    """The present end of a chain of layers."""

    def __init__(self, variables: Variables, version: tuple[int, int]) -> None:
        self.variables = variables
        self.version = version  # of Keras
        self.layers: list[DescribedLayer] = []
        self.masks = Masks(self.layers)
        self.shape: Shape = None
        self.sealed: DescribedLayer | None = None  # the end of a layer that holds others
        self.last: tuple[str, KerasRecurrent] | None = None  # the layer before, if it is recurrent

    @property
    def rank(self) -> int | None:
        """The number of axes of the value, including the batch, if it is known."""
        return None if self.shape is None else len(self.shape)

    def put(
        self, name: str, kind: str, arrays: dict[str, Array] | None = None, /, **o: object
    ) -> None:
        """Add a layer."""
        self.layers.append(DescribedLayer(name, kind, o, arrays or {}))

    def has_features(self, count: int | None) -> None:
        """Note that the value has so many features now."""
        self.shape = self.shape and (*self.shape[:-1], count)

    def transpose(self, name: str) -> None:
        """Swap steps and channels. Two swaps in a row cancel each other."""
        last = self.layers[-1] if self.layers else None
        if last is not None and last is not self.sealed and last.kind == "Transpose":
            self.layers.pop()
        else:
            self.put(name, "Transpose", dim0=1, dim1=2)

    def by_channels(
        self, layer: KerasLayer, kind: str, arrays: dict[str, Array], **options: object
    ) -> None:
        """Add a layer whose channels are axis 1, as torch.nn has them."""
        if self.rank is None:
            raise CannotMapError("the axes of its input are not known")
        if self.rank == 3:
            self.transpose(f"{layer.name}.to_channels")
        self.put(layer.name, kind, arrays, **options)
        if self.rank == 3:
            self.transpose(f"{layer.name}.to_steps")

    def scale(self, name: str, weight: Array, bias: Array) -> None:
        """Multiply each feature, or all of them, by a weight, and add a bias."""
        size = max(weight.size, bias.size)
        if weight.ndim > 1 or bias.ndim > 1 or {weight.size, bias.size} - {1, size}:
            raise CannotMapError("expected one number, or one for each feature")
        if size == 1:
            self.put(name, "Scale", factor=float(weight.item()), offset=float(bias.item()))
            return
        if self.shape and self.shape[-1] not in (None, size):
            raise CannotMapError(f"it has numbers for {size} features, not for {self.shape[-1]}")
        arrays = {
            key: np.broadcast_to(array, size).astype(np.float32)
            for key, array in (("weight", weight), ("bias", bias))
        }
        self.put(name, "ScaleFeatures", arrays, num_features=size)

    def check_axis(self, axis: object) -> None:
        """Require the last axis."""
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if type(axis) is not int or axis not in (-1, (self.rank or 0) - 1):
            raise CannotMapError(f"axis {show(axis)}: only the last one is supported")


# Translates a layer of one class.
Handler = Callable[[Mapper, KerasLayer], None]


def refuse_keys(kind: str, config: Config) -> None:
    """Require that each key of a config is honoured or has no effect."""
    problems = list(refused_keys(kind, config))
    if problems:
        raise CannotMapError("; ".join(problems))


def check_channels_last(layer: KerasLayer) -> None:
    """Require that the features of a layer are the last axis."""
    if layer.config.get("data_format", "channels_last") not in (None, "channels_last"):
        raise CannotMapError("data_format 'channels_first' is not supported")


def number(layer: KerasLayer, key: str) -> float:
    """A number of a config."""
    value = layer.config.get(key)
    if type(value) not in (int, float):
        raise CannotMapError(f"{key} {show(value)} is not a number")
    return float(value)  # type: ignore[arg-type]


def single(layer: KerasLayer, key: str) -> int:
    """A count of a config, which Keras may write as a list of one."""
    value = layer.config.get(key, 1)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if type(value) is not int or not 0 < value < 1 << 31:
        raise FormatError(f"{quote(layer.name)}: {key} is {show(value)}")
    return value
