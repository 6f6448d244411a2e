# SPDX-License-Identifier: MIT
"""What a call costs beside the arithmetic: a layer of one hidden unit, one step, one row."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from fastrnn.bench import Case, check, make_layer, make_workload

from ..engines.engine_fastrnn import make_runner
from ..measuring.cases import select


def tiny(cell: str) -> Case:
    return Case(f"tiny_{cell.lower()}", cell, 1, 1, 1, 1)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_call(benchmark: Any, cell: str) -> None:
    check(tiny(cell))
    benchmark(make_runner(make_workload(tiny(cell))).call)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_call_with_state(benchmark: Any, cell: str) -> None:
    check(tiny(cell))
    workload = make_workload(tiny(cell))
    layer = make_layer(workload)
    y, state = layer(workload.x)
    assert np.isfinite(y).all()
    benchmark(layer, workload.x, state)


def test_step(benchmark: Any) -> None:
    workload = make_workload(tiny("LSTM"))
    stream = make_layer(workload).stream()
    x, out = workload.x[0], np.empty((1, 1), np.float32)
    np.testing.assert_allclose(stream.step(x), make_layer(workload)(workload.x)[0][0])
    benchmark(stream.step, x, out=out)


def test_new_stream(benchmark: Any) -> None:
    """One more stream of a loaded layer: state and workspace only."""
    workload = make_workload(select(["vad_lstm_128"])[0])
    layer = make_layer(workload)
    y = benchmark(layer.stream).step(workload.x[0])
    np.testing.assert_array_equal(y, layer(workload.x)[0][0])


def test_unpickle(benchmark: Any) -> None:
    """What a worker process pays for a layer that is sent to it, up to the first result."""
    workload = make_workload(select(["denoise_gru_384x3"])[0])
    layer = make_layer(workload)
    pickled = pickle.dumps(layer)
    y, _ = benchmark(lambda: pickle.loads(pickled)(workload.x))
    np.testing.assert_array_equal(y, layer(workload.x)[0])
