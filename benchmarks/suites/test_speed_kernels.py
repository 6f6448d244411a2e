# SPDX-License-Identifier: MIT
"""Speed of the parts of a pass: activations, input product, recurrent product, cell formula.

Products and formulas have no entry of their own: layers are shaped so that one part of them takes
nearly all the time. The FMA peak stands beside them: a baseline of another day had another clock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastrnn
from fastrnn import _core
from fastrnn.bench import FMA_ROUNDS, Case, check, make_workload
from fastrnn.layers.recurrent import LAYER_CLASSES

from ..engines.engine_fastrnn import make_runner

VALUES = 1 << 18  # so many that finding the function by name costs little beside them

cells = pytest.mark.parametrize("cell", LAYER_CLASSES)


@pytest.mark.parametrize("isa", fastrnn.isas())
def test_fma_peak(benchmark: Any, isa: str) -> None:
    benchmark.extra_info["gflop"] = _core.probe_fma(isa, FMA_ROUNDS) / 1e9
    benchmark(_core.probe_fma, isa, FMA_ROUNDS)


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_activation(benchmark: Any, name: str, isa: str) -> None:
    function = getattr(_core, name)
    x = np.linspace(-8, 8, VALUES, dtype=np.float32)
    y = np.empty_like(x)
    function(isa, x, y)
    exact = np.tanh(x.astype(float)) if name == "tanh" else 1 / (1 + np.exp(-x.astype(float)))
    np.testing.assert_allclose(y, exact, rtol=1e-6)
    benchmark.extra_info["values"] = VALUES
    benchmark(function, isa, x, y)


def measure(benchmark: Any, case: Case) -> None:
    with fastrnn.num_threads(1):
        check(case)
        benchmark.extra_info |= {"shape": case.shape, "gflop": case.flops() / 1e9}
        benchmark(make_runner(make_workload(case)).call)


@cells
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_input_product(benchmark: Any, cell: str, rows: int) -> None:
    """16 of 17 products are those of x; `rows` steps in one call, taken at once."""
    measure(benchmark, Case(f"input_{cell.lower()}_{rows}", cell, rows, 1, 1024, 64))


@cells
@pytest.mark.parametrize("batch", [1, 2, 4, 32])
def test_recurrent_product(benchmark: Any, cell: str, batch: int) -> None:
    """Weights in L2, one input."""
    measure(benchmark, Case(f"recurrent_{cell.lower()}_{batch}", cell, 32, batch, 1, 256))


@cells
def test_cell_formula(benchmark: Any, cell: str) -> None:
    """Nine products for each gate: the activations take more."""
    measure(benchmark, Case(f"formula_{cell.lower()}", cell, 32, 256, 1, 8))
