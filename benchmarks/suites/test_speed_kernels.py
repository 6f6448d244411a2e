# SPDX-License-Identifier: MIT
"""Speed of the parts of a pass: activations, input product, recurrent product, cell formula.

Products and formulas cannot be called alone, so layers are shaped such that one part takes nearly
all the time. The FMA peak is measured, too, because the clock may differ from that of a baseline.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastrnn
from fastrnn import _core, reference
from fastrnn.bench import FMA_ROUNDS, Case, check, make_workload
from fastrnn.layers.recurrent import LAYER_CLASSES

from ..engines.engine_fastrnn import make_runner

VALUES = 1 << 18  # enough to make the time to find the function by name negligible

cells = pytest.mark.parametrize("cell", LAYER_CLASSES)


@pytest.mark.parametrize("isa", fastrnn.isas())
def test_fma_peak(benchmark: Any, isa: str) -> None:
    benchmark.extra_info["gflop"] = _core.probe_fma(isa, FMA_ROUNDS) / 1e9
    benchmark(_core.probe_fma, isa, FMA_ROUNDS)


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("name", reference.FUNCTIONS)
def test_function(benchmark: Any, name: str, isa: str) -> None:
    x = np.linspace(-8, 8, VALUES, dtype=np.float32)
    y = np.empty_like(x)
    parameters = (1.0, 20.0)  # a and b; functions without them ignore them
    _core.apply(isa, name, x, y, *parameters)
    exact = reference.FUNCTIONS[name].value(x.astype(float), *parameters)
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-6)
    benchmark.extra_info["values"] = VALUES
    benchmark(_core.apply, isa, name, x, y, *parameters)


def measure(benchmark: Any, case: Case) -> None:
    with fastrnn.num_threads(1):
        check(case)
        benchmark.extra_info |= {"shape": case.shape, "gflop": case.flops() / 1e9}
        benchmark(make_runner(make_workload(case)).call)


@cells
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_input_product(benchmark: Any, cell: str, rows: int) -> None:
    """16 of 17 products are those of x, for all `rows` steps of a call at once."""
    measure(benchmark, Case(f"input_{cell.lower()}_{rows}", cell, rows, 1, 1024, 64))


@cells
@pytest.mark.parametrize("batch", [1, 2, 4, 32])
def test_recurrent_product(benchmark: Any, cell: str, batch: int) -> None:
    """Weights in L2, one input."""
    measure(benchmark, Case(f"recurrent_{cell.lower()}_{batch}", cell, 32, batch, 1, 256))


@cells
def test_cell_formula(benchmark: Any, cell: str) -> None:
    """Only nine products for each gate, so that the activations take most of the time."""
    measure(benchmark, Case(f"formula_{cell.lower()}", cell, 32, 256, 1, 8))
