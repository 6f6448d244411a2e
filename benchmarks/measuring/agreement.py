# SPDX-License-Identifier: MIT
"""The difference between the outputs of two engines, in each mode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrnn.bench import difference

GRADIENTS = ("train", "step")  # modes whose outputs contain gradients


def disagreement(
    mode: str, got: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> float:
    """The error by which a mode is judged; inf if shapes differ or a value is not finite."""
    return (relative_difference if mode in GRADIENTS else difference)(got, expected)


def relative_difference(
    got: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> float:
    """The largest |got - expected| of an array, divided by the largest |expected| of that array.

    An absolute error would be meaningless, because all entries of a gradient may be tiny or huge.
    """
    worst = 0.0
    for name, want in expected.items():
        have = got.get(name)
        if have is None or have.shape != want.shape:
            return math.inf
        error = float(np.abs(have.astype(np.float64) - want).max(initial=0.0))
        largest = float(np.abs(want).max(initial=0.0))
        # Every comparison with a nan is false, so it is checked for explicitly.
        if not (math.isfinite(error) and math.isfinite(largest)):
            return math.inf
        worst = max(worst, error / (largest or 1.0))
    return worst
