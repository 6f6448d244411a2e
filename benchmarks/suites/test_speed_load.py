# SPDX-License-Identifier: MIT
"""Load time: from a weight file, or from arrays in memory, to the result of a first step.

The step is included because it packs the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrnn.bench import Case, Workload, make_layer, make_workload

from ..measuring.cases import select

MODELS = select(["vad_lstm_128", "speaker_bilstm_128x4", "translate_lstm_1024"])


def write_file(workload: Workload, kind: str, folder: Path) -> Path:
    """Save the weights in a common format; skip the case if the writer is not installed."""
    path = folder / f"weights.{kind}"
    if kind == "npz":
        np.savez(path, allow_pickle=False, **workload.weights)
    elif kind == "safetensors":
        pytest.importorskip("safetensors.numpy").save_file(workload.weights, path)
    else:
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(array) for name, array in workload.weights.items()}
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt"])
def test_load_file(benchmark: Any, case: Case, kind: str, tmp_path: Path) -> None:
    import fastrnn

    workload = make_workload(case)
    path = write_file(workload, kind, tmp_path)
    assert_same_weights(fastrnn.load(path), workload)
    x = workload.x[:1, :1]
    benchmark.group = f"load {case.name}"
    y, _ = benchmark(lambda: fastrnn.load(path)(x))
    np.testing.assert_array_equal(y, make_layer(workload)(x)[0])


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_load_arrays(benchmark: Any, case: Case) -> None:
    """Only packing: the arrays are already in memory."""
    workload = make_workload(case)
    layer = make_layer(workload)
    x = workload.x[:1, :1]

    def load_and_step() -> Any:
        layer.load_state_dict(workload.weights)
        return layer(x)

    benchmark.group = f"load {case.name}"
    y, _ = benchmark(load_and_step)
    np.testing.assert_array_equal(y, make_layer(workload)(x)[0])


def assert_same_weights(layer: Any, workload: Workload) -> None:
    state = layer.state_dict()
    assert set(state) == set(workload.weights)
    for name, array in workload.weights.items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
