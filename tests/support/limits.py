# SPDX-License-Identifier: MIT
"""Every tolerance of the tests, each with its reason."""

from __future__ import annotations

import numpy as np

# float64 against float64: only the order of sums differs.
REFERENCE = 1e-12

# float32 against float64 or against torch's float32, up to 100 steps: rounding of sums of up to
# 430 products, taken in runs of 384 at most, over weights as large as PyTorch first draws them.
PARITY = 5e-6

# A gradient beside torch.autograd's, both float32, relative to its largest entry: sums over up to
# 100 steps and 64 rows, taken in different orders.
TORCH_GRADIENT = 2e-5

# Weights of 32 multiply the rounding of the layer below by up to 32 per unit that feeds a gate.
SATURATED = 1e-4

# A description of a file's model in float64 against the float32 output of the framework that
# wrote the file: that framework's rounding, with activations of its own.
IMPORTED = 2e-5

# A slope by finite differences of float32 results, with steps of 1e-3 to 1e-2 in numbers of about
# 1: their rounding, some 1e-6 of sums of 100 terms, over the step.
DIFFERENCES = 3e-3


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest |found - wanted| / max(1, |wanted|): absolute below 1, relative above."""
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    if not wanted.size:
        return 0.0
    wanted = wanted.astype(np.float64)
    return float(np.max(np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))))


# Gradients in float32 against float64, up to 100 steps, relative to the largest entry of a tensor;
# or to SMALL where all entries are smaller, as in one of the 670 configurations (1 - h^2 of one
# saturated unit, rounded to multiples of 6e-8).
GRADIENT = 2e-5
SMALL = 2e-3


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest |found - wanted| over the largest |wanted|."""
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    if not wanted.size:
        return 0.0
    difference = np.max(np.abs(found - wanted.astype(np.float64)))
    return float(difference / max(SMALL, np.max(np.abs(wanted))))


# A derivative along a random direction in all weights or in x, float32 against differences in
# float64, relative to the norm of what it projects: rounding of many entries averages out.
DIRECTIONAL = 5e-6

# Twenty steps of an optimizer on float32 weights of about 1, beside torch's: each step rounds in
# its own order, and what Adam divides by may be small.
OPTIMIZER = 2e-6

# A loss or its gradient beside torch's, both float32: a mean of some hundred terms.
LOSS = 1e-6
