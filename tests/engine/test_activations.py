# SPDX-License-Identifier: MIT
"""The error of the kernels' sigmoid and tanh in ulp, for a sample of all floats.

src_c/tests/test_activations.c tests all 2^32 of them (`make ulp`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastrnn import _core

# The largest error of sigmoid is near -16.6, where the 1 of 1 + exp(16.6) is rounded away.
MOST_ULP = {"sigmoid": 2.5, "tanh": 2.1}
SMALLEST = float(np.finfo(np.float32).tiny)  # results below it may be flushed to zero

# Where exp is split in two, where gates and results saturate, and where results become denormal.
BOUNDARIES = (
    0.0625,
    0.1254,
    0.1733,
    0.3466,
    0.6931,
    1.0,
    9.01,
    9.02,
    16.65,
    17.33,
    34.0,
    87.33,
    87.337,
    88.37,
)

Function = Callable[[str, np.ndarray, np.ndarray], None]


def sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


FUNCTIONS = {"sigmoid": (_core.sigmoid, sigmoid), "tanh": (_core.tanh, np.tanh)}
functions = pytest.mark.parametrize("name", FUNCTIONS)


def sample() -> np.ndarray:
    """Every exponent, neighbours of the boundaries and of zero, and random floats; both signs."""
    random = np.random.default_rng(0)
    exponents = (np.arange(255, dtype=np.uint32) << 23)[:, None]
    mantissas = random.integers(0, 1 << 23, (255, 500), dtype=np.uint32)
    centres = np.float32(BOUNDARIES).view(np.uint32)[:, None]
    around = centres + np.arange(-2000, 2000, dtype=np.int64).astype(np.uint32)
    dense = np.float32(np.linspace(0, 20, 200_000)).view(np.uint32)
    parts = (exponents | mantissas, exponents, around, dense, np.arange(4096, dtype=np.uint32))
    magnitudes = np.concatenate([part.ravel() for part in parts]).view(np.float32)
    assert np.all(np.isfinite(magnitudes))
    return np.concatenate([magnitudes, -magnitudes])


def compute(function: Function, isa: str, x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    function(isa, x, y)
    return y


@functions
def test_ulp(isa: str, name: str) -> None:
    function, reference = FUNCTIONS[name]
    x = sample()
    wanted = reference(x.astype(np.float64))
    error = np.abs(compute(function, isa, x) - wanted)
    normal = np.abs(wanted) >= SMALLEST
    _, exponent = np.frexp(wanted[normal])
    ulps = np.ldexp(error[normal], 24 - exponent)
    worst = int(np.argmax(ulps))
    where = f"{name}({x[normal][worst]!r})"
    assert ulps[worst] <= MOST_ULP[name], f"{where} is {ulps[worst]:.2f} ulp off"
    assert np.all(error[~normal] < SMALLEST)


@functions
@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17, 35])
def test_limits(isa: str, name: str, count: int) -> None:
    function, reference = FUNCTIONS[name]
    values = np.float32([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -3e38])
    x = np.resize(values, count)
    found = compute(function, isa, x)
    wanted = reference(x.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    assert np.nanmax(np.abs(found - wanted)) < SMALLEST


@functions
def test_in_place_and_length(isa: str, name: str) -> None:
    function, _ = FUNCTIONS[name]
    x = np.float32(np.linspace(-3, 3, 37))
    whole = compute(function, isa, x)
    for count in range(38):
        y = x.copy()
        function(isa, y[:count], y[:count])
        np.testing.assert_array_equal(y[:count], whole[:count])
        np.testing.assert_array_equal(y[count:], x[count:])
    with pytest.raises(ValueError, match="y: expected 37 values, got 36"):
        function(isa, x, x[:36].copy())
