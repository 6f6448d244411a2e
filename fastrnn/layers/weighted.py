# SPDX-License-Identifier: MIT
"""What has weights: their names and shapes, state dicts, copies and the instruction set."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..stack_spec import FLOATS, Shape, listing
from .arrays import Array
from .checks import check_isa, default_isa
from .packing import Packing


class Weighted:
    """The base of every layer. Weights are packed at the first use; `_packing` keeps that."""

    _weights: Mapping[str, Array]

    def __init__(self, isa: str | None) -> None:
        self._isa = default_isa() if isa is None else check_isa(isa, "isa")
        self._weights = {}
        self._packing: Packing[Any] = Packing()

    @property
    def isa(self) -> str:
        """The instruction set whose kernels run this layer."""
        return self._isa

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights by PyTorch's names."""
        return {}

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights by PyTorch's names (`weight_ih_l0`, ...), float32."""
        with self._packing.lock:
            return {name: array.copy() for name, array in self._weights.items()}

    def load_state_dict(self, arrays: Mapping[str, ArrayLike], prefix: str = "") -> None:
        """Take the weights named `prefix` + `weight_ih_l0` etc., as PyTorch names them.

        float16 and float64 are converted. ValueError names what is missing, unexpected under the
        prefix, or misshapen, TypeError what is not floating point; the layer is then unchanged.
        """
        self._set_weights(check_state_dict(arrays, prefix, self._shapes()))

    def _set_weights(self, taken: Mapping[str, ArrayLike]) -> None:
        """Take copies of weights that are known to fit."""
        weights = {name: np.array(a, np.float32, order="C") for name, a in taken.items()}
        with self._packing.lock:
            self._weights = weights
            self._packing.changed()

    @contextmanager
    def editing(self) -> Iterator[dict[str, Array]]:
        """Write into the weights in place: `with layer.editing() as weights: ...`.

        The arrays are the layer's own, by the names of state_dict. Where weights are packed, as of
        LSTM, GRU, RNN, Linear and Conv1d, calls of other threads see all of the changes or none;
        streams keep the weights they had. A pass's way back is to be run before.

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._isa not in _core.isas():  # pickled on a machine with other instruction sets
            self._isa = default_isa()


# --- Checking a state dict for a layer ---


def check_state_dict(
    arrays: Mapping[str, ArrayLike], prefix: str, expected_shapes: Mapping[str, Shape]
) -> dict[str, NDArray[Any]]:
    """Take the tensors under `prefix` under their standard names, if they are what is expected.

    As strict as PyTorch: ValueError names every tensor that is missing, unexpected or misshapen,
    TypeError one that does not hold floats.
    """
    check_types(arrays, prefix)
    prefix = with_dot(prefix)
    found = {name.removeprefix(prefix) for name in arrays if name.startswith(prefix)}
    missing = [prefix + name for name in expected_shapes if name not in found]
    unexpected = [prefix + name for name in sorted(found) if name not in expected_shapes]
    taken = {
        name: as_array(prefix + name, arrays[prefix + name])
        for name in expected_shapes
        if name in found
    }
    wrong = [
        f"{prefix + name!r} has shape {array.shape}, expected {expected_shapes[name]}"
        for name, array in taken.items()
        if array.shape != expected_shapes[name]
    ]
    problems = [f"missing {listing(missing, len(missing))}"] if missing else []
    problems += [f"unexpected {listing(unexpected, len(unexpected))}"] if unexpected else []
    problems += wrong
    if problems:
        raise ValueError(f"state dict does not fit the layer: {'; '.join(problems)}")
    for name, array in taken.items():
        if array.dtype.name not in FLOATS:
            raise TypeError(
                f"{prefix + name!r} has dtype {array.dtype}, expected {' or '.join(FLOATS)}"
            )
    return taken


def check_types(arrays: object, prefix: object) -> None:
    """Refuse arguments that are no mapping of names and no name."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays: expected a mapping of names, got {type(arrays).__name__}")
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"arrays: expected names that are str, got {name!r}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected str, got {type(prefix).__name__}")


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Convert a tensor to an array; TypeError names one that numpy cannot take."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # what torch raises depends on why
        raise TypeError(
            f"{name!r}: expected an array, got {type(value).__name__} that numpy cannot convert "
            f"({error}); of a torch tensor give tensor.detach().float().cpu()"
        ) from error


def with_dot(prefix: str) -> str:
    """Give a module's prefix the dot that separates it from the names in the module."""
    return prefix if not prefix or prefix.endswith(".") else prefix + "."
