# SPDX-License-Identifier: MIT
"""Every tolerance of the tests, each with its reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# float64 against float64: only the order of sums differs.
REFERENCE = 1e-12

# float32 against float64 or torch's float32, up to 100 steps: rounding of sums of up to 430
# products, in runs of at most 384, with weights as large as PyTorch's initial ones.
PARITY = 5e-6

# A gradient compared with torch.autograd's, both float32, relative to its largest entry: sums over
# up to 100 steps and 64 rows, in different orders.
TORCH_GRADIENT = 2e-5

# Weights of 32 multiply the rounding of the layer below by up to 32 per unit that feeds a gate.
SATURATED = 1e-4

# The description of a model in float64 against the float32 output of the framework that wrote the
# file: the rounding of that framework and of its activation functions.
IMPORTED = 2e-5

# A weight that weight norm or spectral norm computes, in units in the last place of float32: ours
# is rounded once, PyTorch's is rounded at each step, and its norms are sums of float32.
COMPUTED_ULPS = 8

# A slope from finite differences of float32 results, with steps of 1e-3 to 1e-2 in values of about
# 1: the rounding of sums of 100 terms, about 1e-6, divided by the step.
DIFFERENCES = 3e-3


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest |found - wanted| / max(1, |wanted|): absolute below 1, relative above."""
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    if not wanted.size:
        return 0.0
    wanted = wanted.astype(np.float64)
    return float(np.max(np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))))


def error_of_largest(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest |found - wanted| / max(1, the largest |wanted|).

    For ReLU, whose state adds up: one unit with a recurrent weight of 0.9999 had an `error` of
    5.8e-6 after 50 steps (PyTorch's: 4.4e-6), where its state had been larger before.
    """
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    largest = float(np.max(np.abs(wanted), initial=1.0))
    return float(np.max(np.abs(found - wanted.astype(np.float64)), initial=0.0)) / largest


# Gradients in float32 against float64, up to 100 steps, relative to the largest entry of a tensor,
# or to SMALL if all entries are smaller. That is so in one of the 670 configurations, in which
# 1 - h^2 of one saturated unit is rounded to a multiple of 6e-8.
GRADIENT = 2e-5
SMALL = 2e-3

# With any cell, options and sizes: an entry is within GRADIENT of the largest of its tensor, or of
# this if all entries are smaller, with normal dy and weights as large as PyTorch's initial ones.
# All entries of a layer of one saturated unit contain 1 - h^2, which is a multiple of 6e-8.
GRADIENT_FLOOR = 0.5

# Larger weights let gradients explode. The error of float32 is then up to this many times what half
# a unit in the last place of the weights changes in float64.
ROUNDED_WEIGHTS = 20


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest |found - wanted| divided by the largest |wanted|."""
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    if not wanted.size:
        return 0.0
    difference = np.max(np.abs(found - wanted.astype(np.float64)))
    return float(difference / max(SMALL, np.max(np.abs(wanted))))


# A derivative along a random direction in all weights or in x, float32 against differences in
# float64, relative to the norm of the gradient: the rounding of many entries averages out.
DIRECTIONAL = 5e-6

# Twenty steps of an optimizer on float32 weights of about 1, compared with torch's: the order of
# rounding differs, and Adam may divide by a small number.
OPTIMIZER = 2e-6

# A loss or its gradient compared with torch's, both float32: a mean of some hundred terms.
LOSS = 1e-6

# The kernels' elementwise functions against float64, in ulp of the result, as a function of x; the
# parameters a and b are those of `FUNCTION_PARAMETERS`. The largest error of sigmoid is near -16.6,
# where the 1 of 1 + exp(16.6) is rounded away. What depends on x is the rounding of the argument of
# exp: x^2 / 2 in GELU, about 1.6 x + 0.07 x^3 in its tanh form, a x in softplus.
FUNCTION_PARAMETERS = {
    "elu": (1.375, 0.0), "leaky_relu": (0.3125, 0.0), "softplus": (1.375, 20.0),
    "hardtanh": (-0.3125, 1.375), "scale": (1.375, 0.3125),
}  # fmt: skip
FUNCTION_ULP: dict[str, Callable[[np.ndarray], np.ndarray | float]] = {
    "relu": lambda x: 0.0,
    "tanh": lambda x: 2.1,
    "sigmoid": lambda x: 2.5,
    "elu": lambda x: 2.5,
    "leaky_relu": lambda x: 0.6,
    "silu": lambda x: 4.0,
    "gelu": lambda x: 7.0 + 0.5 * x * x,
    "gelu_tanh": lambda x: 4.0 + 3.0 * np.abs(1.6 * x + 0.0714 * x**3),
    "softplus": lambda x: 5.0 + 2.0 * 1.375 * np.maximum(-x, 0.0),
    "hardtanh": lambda x: 0.0,
    "hardsigmoid": lambda x: 1.5,
    "mish": lambda x: 5.0,
    "softsign": lambda x: 2.0,
    "hardswish": lambda x: 3.0,
    # The product and the sum are rounded.
    "scale": lambda x: 1.0 + np.abs(1.375 * x) / np.maximum(np.abs(1.375 * x + 0.3125), 1e-30),
}
# Results below it may be flushed to zero: the smallest normal float, times x in SiLU, GELU, Mish.
FUNCTION_SMALLEST = 128 * float(np.finfo(np.float32).tiny)

# The kernels' derivative of such a function against float64, relative to max(1, |derivative|).
FUNCTION_SLOPE = 1e-6
