# SPDX-License-Identifier: MIT
"""Speed of one step of a stream; the result is allocated or written to the caller's array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastrnn.bench import TOLERANCE, Case, make_layer, make_workload, reference_outputs

from ..measuring.cases import select

STREAMS = select(
    ["amp_lstm", "vad_lstm_128", "denoise_", "transducer_lstm_320x2", "streams32_gru_512"]
)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
@pytest.mark.parametrize("result", ["allocated", "out"])
def test_step(benchmark: Any, case: Case, result: str, threads: int) -> None:
    workload = make_workload(case)
    stream = make_layer(workload).stream(case.batch)
    steps = np.stack([stream.step(x).copy() for x in workload.x[:8]])
    # A causal layer: the first outputs do not depend on what follows.
    np.testing.assert_allclose(steps, reference_outputs(workload)["y"][:8], atol=TOLERANCE)
    x = workload.x[0]
    benchmark.group = f"step of {case.name}"
    benchmark.extra_info |= {"shape": case.shape, "threads": threads}
    if result == "out":
        benchmark(stream.step, x, out=np.empty_like(steps[0]))
    else:
        benchmark(stream.step, x)
