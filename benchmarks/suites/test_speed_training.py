# SPDX-License-Identifier: MIT
"""Speed of training: forward and backward pass, the backward pass alone, changed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastrnn.bench import Case, make_layer, make_workload

from ..engines.engine_fastrnn import make_trainer
from ..measuring.cases import TRAIN, select
from ..measuring.gradient_check import check_step
from ..measuring.machine_limits import TRAINING_PRODUCTS
from ..measuring.workload import output_gradient

cases = pytest.mark.parametrize("case", TRAIN, ids=lambda case: case.name)


def describe(benchmark: Any, case: Case, threads: int, products: int) -> None:
    benchmark.extra_info |= {
        "shape": case.shape,
        "threads": threads,
        "gflop": products * case.flops() / 1e9,
    }


@cases
def test_vjp(benchmark: Any, case: Case, threads: int) -> None:
    check_step(case)
    runner = make_trainer(make_workload(case))
    for name, array in runner.outputs().items():
        assert np.isfinite(array).all(), f"{name} is not finite"
    benchmark.group = f"train {case.name}"
    describe(benchmark, case, threads, TRAINING_PRODUCTS)
    benchmark(runner.call)


@cases
def test_backward(benchmark: Any, case: Case, threads: int) -> None:
    """Repeated with the tape of one forward pass."""
    check_step(case)
    workload = make_workload(case)
    _, _, backward = make_layer(workload).vjp(workload.x)
    dy = output_gradient(workload)
    first = backward(dy).x.copy()
    benchmark.group = f"backward {case.name}"
    describe(benchmark, case, threads, TRAINING_PRODUCTS - 1)
    np.testing.assert_array_equal(benchmark(backward, dy).x, first)


@pytest.mark.parametrize(
    "case",
    select(["sessions_gru_100", "ptb_lstm_650x2", "translate_lstm_1024"]),
    ids=lambda case: case.name,
)
def test_new_weights(benchmark: Any, case: Case) -> None:
    """Edited weights and a recorded step of one row: the cost of an update in the next pass."""
    workload = make_workload(case)
    layer = make_layer(workload)
    x = workload.x[:1, :1]

    def edit_and_step() -> Any:
        with layer.editing():
            pass
        return layer.vjp(x)

    benchmark.group = f"new weights {case.name}"
    benchmark.extra_info |= {"shape": case.shape, "bytes": case.weight_bytes()}
    y, _, _ = benchmark(edit_and_step)
    np.testing.assert_array_equal(y, make_layer(workload)(x)[0])
