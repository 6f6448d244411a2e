# SPDX-License-Identifier: MIT
"""What has weights: their names and shapes, state dicts, copies and the instruction set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from .arrays import Array
from .checks import check_isa, default_isa
from .weights import check_state_dict


class Weighted:
    """The base of every layer. Weights are packed at the first use, into what `_model` keeps."""

    _weights: Mapping[str, Array]
    _model: Any

    def __init__(self, isa: str | None) -> None:
        self._isa = default_isa() if isa is None else check_isa(isa, "isa")
        self._weights = {}
        self._model = None

    @property
    def isa(self) -> str:
        """The instruction set whose kernels run this layer."""
        return self._isa

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights by PyTorch's names."""
        return {}

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights by PyTorch's names (`weight_ih_l0`, ...), float32."""
        return {name: array.copy() for name, array in self._weights.items()}

    def load_state_dict(self, arrays: Mapping[str, ArrayLike], prefix: str = "") -> None:
        """Take the weights named `prefix` + `weight_ih_l0` etc., as PyTorch names them.

        float16 and float64 are converted. ValueError names what is missing, unexpected under the
        prefix, or misshapen, TypeError what is not floating point; the layer is then unchanged.
        """
        self._set_weights(check_state_dict(arrays, prefix, self._shapes()))

    def _set_weights(self, taken: Mapping[str, ArrayLike]) -> None:
        """Take copies of weights that are known to fit."""
        self._weights = {name: np.array(a, np.float32, order="C") for name, a in taken.items()}
        self._model = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._isa not in _core.isas():  # pickled on a machine with other instruction sets
            self._isa = default_isa()
