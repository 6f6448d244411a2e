# SPDX-License-Identifier: MIT
"""How far the outputs of two engines are apart, in each mode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrnn.bench import difference

GRADIENTS = ("train", "step")  # modes whose outputs have them


def disagreement(
    mode: str, got: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> float:
    """The error that a mode is judged by; inf if shapes differ or something is not finite."""
    return (relative_difference if mode in GRADIENTS else difference)(got, expected)


def relative_difference(
    got: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> float:
    """Largest |got - expected| of any array over the largest |expected| of the same array.

    Gradients may be tiny or huge as a whole: an error beside 1 would say nothing of them.
    """
    worst = 0.0
    for name, want in expected.items():
        have = got.get(name)
        if have is None or have.shape != want.shape:
            return math.inf
        error = float(np.abs(have.astype(np.float64) - want).max(initial=0.0))
        largest = float(np.abs(want).max(initial=0.0))
        # A nan compares false with everything, so it is looked for by name.
        if not (math.isfinite(error) and math.isfinite(largest)):
            return math.inf
        worst = max(worst, error / (largest or 1.0))
    return worst
