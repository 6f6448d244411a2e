# SPDX-License-Identifier: MIT
"""Gradients at sizes of real models: differences of the specification along random directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True)
class Direction:
    """A direction in some of the arrays, and the specification's derivative along it."""

    toward: dict[str, np.ndarray]
    wanted: float


@dataclass(frozen=True)
class Problem:
    """The arrays of a pass and two directions: in x alone, and in all weights."""

    weights: dict[str, np.ndarray]
    x: np.ndarray
    lengths: np.ndarray
    dy: np.ndarray
    directions: tuple[Direction, ...]


def make_layer(number: int, isa: str | None = None) -> Any:
    kind, (_, _, inputs, hidden), options = SHAPES[number]
    return KINDS[kind](inputs, hidden, seed=0, isa=isa, **options)


@lru_cache(maxsize=1)
def make_problem(number: int) -> Problem:
    """Draw the arrays of a shape; the derivatives take a second and are the same for every ISA."""
    kind, (steps, batch, inputs, _), options = SHAPES[number]
    cell = find_cell(kind, options).name
    rng = np.random.default_rng(0)
    weights = make_layer(number).state_dict()
    x = rng.standard_normal((steps, batch, inputs)).astype(np.float32)
    lengths = rng.integers(1, steps + 1, batch)
    named = {k: v for k, v in options.items() if k != "proj_size"} | {"lengths": lengths}
    shape = reference.forward(cell, x, weights, **named)[0].shape
    dy = rng.standard_normal(shape).astype(np.float32)
    directions = []
    for names in (["x"], list(weights)):
        shapes = {"x": x.shape} | {name: array.shape for name, array in weights.items()}
        toward = {name: rng.standard_normal(shapes[name]) * 0.02 for name in names}

        def value(step: float, toward: dict[str, np.ndarray] = toward) -> float:
            moved = {k: v + step * toward[k] if k in toward else v for k, v in weights.items()}
            there = x + step * toward["x"] if "x" in toward else x
            return float((reference.forward(cell, there, moved, **named)[0] * dy).sum())

        directions.append(Direction(toward, (value(STEP) - value(-STEP)) / (2 * STEP)))
    return Problem(weights, x, lengths, dy, tuple(directions))


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("number", range(len(SHAPES)), ids=lambda number: str(SHAPES[number]))
def test_derivatives_along_directions(number: int, isa: str) -> None:
    problem, layer = make_problem(number), make_layer(number, isa)
    _, _, backward = layer.vjp(problem.x, lengths=problem.lengths)
    grads = backward(problem.dy)
    found = {"x": grads.x, **grads.weights}
    for direction in problem.directions:
        pairs = [(found[name].astype(float), step) for name, step in direction.toward.items()]
        slope = sum(float((gradient * step).sum()) for gradient, step in pairs)
        norm = 0.02 * sum(float((gradient**2).sum()) for gradient, _ in pairs) ** 0.5
        assert abs(slope - direction.wanted) <= DIRECTIONAL * norm
