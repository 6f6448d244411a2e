# SPDX-License-Identifier: MIT
"""Speed of whole layer calls, one test per named case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .cases import CASES, Case
from .check import assert_right
from .engine_fastrnn import make_runner
from .workload import make_workload


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer(benchmark: Any, case: Case, threads: int) -> None:
    assert_right(case)
    runner = make_runner(make_workload(case))
    for name, array in runner.outputs().items():
        assert np.isfinite(array).all(), f"{name} is not finite"
    benchmark.group = case.name
    benchmark.extra_info |= {"shape": case.shape, "threads": threads, "gflop": case.flops() / 1e9}
    benchmark(runner.call)
