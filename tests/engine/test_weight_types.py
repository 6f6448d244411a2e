# SPDX-License-Identifier: MIT
"""Weights rounded to bfloat16, on the scalar table: the specification with rounded weights."""

from __future__ import annotations

import numpy as np
import pytest
from limits import PARITY, error

from fastrnn import _core, reference
from fastrnn.stack_spec import CELLS, Spec

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 9


def rounded(array: np.ndarray) -> np.ndarray:
    """float32 values rounded to bfloat16, ties to even."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def run(cell: str, weights: dict[str, np.ndarray], x: np.ndarray, dtype: str) -> np.ndarray:
    stack = _core.Stack(cell, INPUTS, HIDDEN, 1, False, 0, "scalar", False, dtype)
    stack.set_weights(0, 0, *(weights[f"{name}_l0"] for name in NAMES), None)
    y = np.empty((STEPS, BATCH, HIDDEN), np.float32)
    h, c = (np.empty((1, BATCH, HIDDEN), np.float32) for _ in range(2))
    has_c = Spec(cell, INPUTS, HIDDEN).has_c
    assert stack.forward(x, y, None, None, h, c if has_c else None, None)
    return y


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_weights(cell: str) -> None:
    rng = np.random.default_rng(3)
    shapes = Spec(cell, INPUTS, HIDDEN).shapes()
    weights = {name: rng.uniform(-0.4, 0.4, s).astype(np.float32) for name, s in shapes.items()}
    near = {n: rounded(w) if n.startswith("weight") else w for n, w in weights.items()}
    x = rng.standard_normal((STEPS, BATCH, INPUTS)).astype(np.float32)
    wanted = reference.forward(cell, x, near)[0]
    y = run(cell, weights, x, "bfloat16_weights")
    assert error(y, wanted) <= PARITY
    assert np.array_equal(y, run(cell, near, x, "float32"))
    assert not np.array_equal(y, run(cell, weights, x, "float32"))


def test_tables_without_the_type() -> None:
    for isa in set(_core.isas()) - {"scalar"}:
        with pytest.raises(ValueError, match="weight type"):
            _core.Stack("lstm", 3, 4, 1, False, 0, isa, False, "bfloat16_weights")
    with pytest.raises(ValueError, match="out of range"):
        _core.Stack("lstm", 3, 4, 1, False, 0, "scalar", True, "bfloat16_weights")
