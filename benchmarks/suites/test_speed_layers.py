# SPDX-License-Identifier: MIT
"""Speed of whole layer calls, one test per named case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastrnn.bench import Case, check, make_workload

from ..engines.engine_fastrnn import make_runner
from ..measuring.cases import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer(benchmark: Any, case: Case, threads: int) -> None:
    check(case)
    workload = make_workload(case)
    runner = make_runner(workload)
    for name, array in runner.outputs().items():
        assert np.isfinite(array).all(), f"{name} is not finite"
    gflop = case.flops(workload.row_steps) / 1e9
    benchmark.group = case.name
    benchmark.extra_info |= {"shape": case.shape, "threads": threads, "gflop": gflop}
    benchmark(runner.call)
