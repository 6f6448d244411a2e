# SPDX-License-Identifier: MIT
"""Every engine that is compared computes what fastrnn's reference says, in every kind of case."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest

from fastrnn.bench import TOLERANCE, Case, difference, make_workload, reference_outputs

from ..engines.engines import INFERENCE, UnsupportedError, load_engine

CELLS: tuple[str, ...] = ("LSTM", "GRU", "RNN")
LENGTHS: tuple[Literal["full", "uniform"], ...] = ("full", "uniform")
PLAIN = [
    Case(f"{cell}_x{layers}{'_bi' * bi}_{lengths}", cell, 7, 3, 5, 6, layers, bi, lengths=lengths)
    for cell, layers, bi, lengths in itertools.product(CELLS, (1, 2), (False, True), LENGTHS)
]
VARIANTS = [
    Case("rnn_relu", "RNN", 7, 3, 5, 6, 2, True, nonlinearity="relu"),
    Case("lstm_proj", "LSTM", 7, 3, 5, 6, 2, True, proj=4),
    Case("lstm_proj_ragged", "LSTM", 7, 3, 5, 6, 2, True, proj=4, lengths="uniform"),
    Case("one_step", "GRU", 1, 1, 5, 6),
]


STREAMS = Case("streams_lstm", "LSTM", 4, 3, 5, 6)


@pytest.mark.parametrize("case", PLAIN + VARIANTS, ids=lambda case: case.name)
@pytest.mark.parametrize("name", INFERENCE)
def test_outputs(name: str, case: Case) -> None:
    try:
        engine = load_engine(name, 1)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"{name}: {error}")
    workload = make_workload(case)
    try:
        runner = engine.prepare(workload, "infer")
    except UnsupportedError as reason:
        assert case.proj
        assert name in ("onnxruntime", "openvino")
        pytest.skip(str(reason))
    with runner.context():
        outputs = {key: np.array(array) for key, array in runner.outputs().items()}
        path = runner.path()
    assert difference(outputs, reference_outputs(workload)) < TOLERANCE
    assert path
    if name == "torch":
        plain = case.cell == "LSTM" and not case.proj and not case.ragged
        assert path.startswith("oneDNN" if plain else "ATen")


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("fastrnn", "streams"),
        ("torch", "streams"),
        ("onnxruntime", "streams"),
        ("onnxruntime", "sessions"),
    ],
)
def test_streams(name: str, mode: str) -> None:
    """Each row on its own, step by step: the same as the batch; also when states are left over."""
    try:
        engine = load_engine(name, 1)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"{name}: {error}")
    workload = make_workload(STREAMS)
    runner = engine.prepare(workload, mode)
    expected = reference_outputs(workload)
    with runner.context():
        for _ in range(2):
            runner.call()
            assert difference(runner.outputs(), expected) < TOLERANCE
        assert runner.path()


def test_padded_rows_agree_within_their_lengths() -> None:
    workload = make_workload(Case("padded_gru", "GRU", 7, 3, 5, 6, lengths="uniform"))
    outputs = load_engine("fastrnn", 1).prepare(workload, "padded").outputs()
    assert list(outputs) == ["y"]
    assert difference(outputs, {"y": reference_outputs(workload)["y"]}) < TOLERANCE
