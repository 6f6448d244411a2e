# SPDX-License-Identifier: MIT
"""The elementwise functions of the kernels against float64: values in ulp, and derivatives.

src_c/tests/test_activations.c tests sigmoid and tanh of all 2^32 floats (`make ulp`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from limits import FUNCTION_PARAMETERS, FUNCTION_SLOPE, FUNCTION_SMALLEST, FUNCTION_ULP

from fastrnn import _core
from fastrnn.reference import FUNCTIONS

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

functions = pytest.mark.parametrize("name", FUNCTIONS)
cases = pytest.mark.parametrize("name", ["tanh", "elu", "gelu", "softplus"])


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


@cache
def exact(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample of floats, the values of a function, and its derivatives, in float64."""
    x = sample()
    x = x[:: 1 if name in ("sigmoid", "tanh") else 11].copy()
    wide = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return x, *(f(wide, *parameters(name)) for f in FUNCTIONS[name])


def parameters(name: str) -> tuple[float, float]:
    return FUNCTION_PARAMETERS.get(name, (0.0, 0.0))


def compute(name: str, isa: str, x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    _core.apply(isa, name, x, y, *parameters(name))
    return y


def test_every_function_has_a_specification() -> None:
    assert list(FUNCTIONS) == _core.functions() == list(FUNCTION_ULP)


@functions
def test_ulp(isa: str, name: str) -> None:
    x, wanted, _ = exact(name)
    error = np.abs(compute(name, isa, x) - wanted)
    large = (np.abs(wanted) < 3.4e38) & (np.abs(wanted) >= FUNCTION_SMALLEST)
    _, exponent = np.frexp(wanted[large])
    ulps = np.ldexp(error[large], 24 - exponent)
    allowed = FUNCTION_ULP[name](x[large].astype(np.float64)) + np.zeros_like(ulps)
    worst = int(np.argmax(ulps - allowed))
    where = f"{name}({x[large][worst]!r})"
    assert ulps[worst] <= allowed[worst], f"{where} is {ulps[worst]:.2f} ulp off"
    assert np.all(error[np.abs(wanted) < FUNCTION_SMALLEST] < FUNCTION_SMALLEST)


@functions
def test_derivative(isa: str, name: str) -> None:
    """Where it jumps, as at 0 of ReLU, the sample has points on both sides, but none in between."""
    x, _, slope = exact(name)
    dy, dx = np.full_like(x, 2.0), np.empty_like(x)
    _core.apply_backward(isa, name, x, dy, dx, *parameters(name))
    usual = np.isfinite(slope) & (np.abs(x) < 1e30)
    error = np.abs(dx - 2.0 * slope)[usual] / np.maximum(1.0, np.abs(slope[usual]))
    assert error.max() <= 2.0 * FUNCTION_SLOPE, x[usual][error.argmax()]


@functions
@pytest.mark.parametrize("count", [1, 9, 35])
def test_limits(isa: str, name: str, count: int) -> None:
    """Infinities and NaN at every place of a vector; x sigmoid(x) has no limit at -inf in torch."""
    x = np.resize(np.float32([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -3e38]), count)
    found = compute(name, isa, x)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.float32(FUNCTIONS[name].value(x.astype(np.float64), *parameters(name)))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    same = (found == wanted) | np.isnan(wanted)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.all(same | (np.abs(found - wanted) < FUNCTION_SMALLEST + 1e-7 * np.abs(wanted)))


@cases
def test_in_place_and_length(isa: str, name: str) -> None:
    x = np.float32(np.linspace(-3, 3, 37))
    whole = compute(name, isa, x)
    dy = np.empty_like(x)
    _core.apply_backward(isa, name, x, np.ones_like(x), dy, *parameters(name))
    for count in range(38):
        y, dx = x.copy(), np.ones_like(x)
        _core.apply(isa, name, y[:count], y[:count], *parameters(name))
        _core.apply_backward(isa, name, x[:count], dx[:count], dx[:count], *parameters(name))
        np.testing.assert_array_equal(y, [*whole[:count], *x[count:]])
        np.testing.assert_array_equal(dx, [*dy[:count], *np.ones(37 - count, np.float32)])
    with pytest.raises(ValueError, match="y: expected 37 values, got 36"):
        _core.apply(isa, name, x, x[:36].copy())
    with pytest.raises(ValueError, match="dx: expected 37 values, got 36"):
        _core.apply_backward(isa, name, x, x, x[:36].copy())
