# SPDX-License-Identifier: MIT
"""`Weighted`: a layer with weights of its own and an instruction set to run them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..stack_spec import Shape
from .arrays import Array
from .base import Layer
from .checks import source_of
from .on_isa import OnIsa
from .packing import Packing

# As the seed of a layer that takes its weights from a file next: none are drawn, which would take
# as much memory.
NOT_DRAWN: Any = object()

Seed: TypeAlias = "int | np.random.Generator | None"  # numpy.random is imported when it is used


def uniform_weights(shapes: Mapping[str, Shape], fan_in: int, seed: Seed) -> dict[str, Array]:
    """PyTorch's first weights, uniform within 1/sqrt(fan_in)."""
    if seed is NOT_DRAWN:
        return {}
    rng, bound = source_of(seed), np.float32(fan_in**-0.5)
    return {name: (rng.random(shape, np.float32) * 2 - 1) * bound for name, shape in shapes.items()}


class Weighted(OnIsa, Layer):
    """A layer with its own weights, packed for the kernels at the first use.

    `_packing` keeps the packed weights.
    """

    _weights: Mapping[str, Array]

    def __init__(self, isa: str | None = None) -> None:
        self._choose_isa(isa)
        self._weights = {}
        self._packing: Packing[Any] = Packing()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights by PyTorch's names (`weight_ih_l0`, ...), float32."""
        with self._packing.lock:
            return {name: array.copy() for name, array in self._weights.items()}

    def _set_weights(self, taken: Mapping[str, ArrayLike]) -> None:
        weights = {name: np.array(a, np.float32, order="C") for name, a in taken.items()}
        with self._packing.lock:
            self._weights = weights
            self._packing.changed()

    @contextmanager
    def editing(self) -> Iterator[dict[str, Array]]:
        """Write into the weights in place: `with layer.editing() as weights: ...`.

        The arrays are the layer's own, by the names of state_dict. For layers that pack their
        weights, as LSTM, GRU, RNN, Linear and Conv1d do, calls of other threads see all of the
        changes or none, and streams keep the weights that they had. Run the backward pass of an
        earlier `vjp` before you edit.

        >>> import fastrnn
        >>> layer = fastrnn.RNN(3, 5)
        >>> with layer.editing() as weights:
        ...     weights["bias_ih_l0"] += 1.0
        """
        with self._packing.lock:
            given = dict(self._weights)
            try:
                yield given
                for name, array in self._weights.items():
                    if given[name] is not array:  # assigned, not written into
                        array[...] = given[name]
            finally:
                self._packing.changed()

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # two layers never share weights, which may be edited
