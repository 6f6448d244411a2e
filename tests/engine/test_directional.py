# SPDX-License-Identifier: MIT
"""Gradients at sizes of real models: differences of the specification along random directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from limits import DIRECTIONAL

import fastrnn
from fastrnn import reference
from fastrnn.stack_spec import find_cell

STEP = 1e-5  # of the differences, in float64
KINDS = {"LSTM": fastrnn.LSTM, "GRU": fastrnn.GRU, "RNN": fastrnn.RNN}
SHAPES = [
    ("LSTM", (20, 12, 200, 130), {"num_layers": 2, "bidirectional": True}),
    ("LSTM", (15, 12, 64, 500), {"proj_size": 200}),
    ("GRU", (50, 12, 130, 300), {}),
    ("RNN", (50, 20, 100, 200), {"num_layers": 2}),
]


@pytest.mark.parametrize(("kind", "sizes", "options"), SHAPES)
def test_derivatives_along_directions(
    isa: str, kind: str, sizes: tuple[int, int, int, int], options: dict[str, Any]
) -> None:
    steps, batch, inputs, hidden = sizes
    cell = find_cell(kind, options).name
    rng = np.random.default_rng(0)
    layer = KINDS[kind](inputs, hidden, seed=0, isa=isa, **options)
    weights = layer.state_dict()
    x = rng.standard_normal((steps, batch, inputs)).astype(np.float32)
    lengths = rng.integers(1, steps + 1, batch)
    y, _, backward = layer.vjp(x, lengths=lengths)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    grads = backward(dy)

    options = {k: v for k, v in options.items() if k != "proj_size"} | {"lengths": lengths}
    found = {"x": grads.x, **grads.weights}
    for names in (["x"], list(weights)):
        toward = {name: rng.standard_normal(found[name].shape) * 0.02 for name in names}

        def value(step: float, toward: dict[str, np.ndarray] = toward) -> float:
            moved = {k: v + step * toward[k] if k in toward else v for k, v in weights.items()}
            there = x + step * toward["x"] if "x" in toward else x
            return float((reference.forward(cell, there, moved, **options)[0] * dy).sum())

        wanted = (value(STEP) - value(-STEP)) / (2 * STEP)
        slope = sum(float((found[name].astype(float) * toward[name]).sum()) for name in names)
        norm = 0.02 * sum(float((found[name].astype(float) ** 2).sum()) for name in names) ** 0.5
        assert abs(slope - wanted) <= DIRECTIONAL * norm
