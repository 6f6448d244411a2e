# SPDX-License-Identifier: MIT
"""The comparison of training: the same gradients from every engine, and the tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrnn.bench import TOLERANCE, Case, Times, make_workload, reference_outputs

from .. import training
from ..engines import engines
from ..engines.engines import Runner, UnsupportedError, load_engine
from ..measuring import measure
from ..measuring.agreement import disagreement, relative_difference
from ..measuring.cases import TRAIN
from ..measuring.client import NoAnswerError, WorkerError
from ..measuring.gradient_check import check_step, reference_step
from ..measuring.measure import CaseResult, Measurement, Plan, greet, measure_cases, start_clients
from ..measuring.workload import output_gradient
from ..peak import Peak, measure_peak, peak_bytes
from ..reports.document import Document
from ..reports.training_report import markdown

CASES = [
    Case("train_lstm", "LSTM", 7, 3, 5, 6),
    Case("train_lstm_ragged", "LSTM", 7, 3, 5, 6, 2, True, lengths="uniform"),
    Case("train_lstm_proj", "LSTM", 7, 3, 5, 6, 2, True, proj=4),
    Case("train_gru", "GRU", 7, 3, 5, 6, 2, True),
    Case("train_gru_ragged", "GRU", 7, 3, 5, 6, lengths="uniform"),
    Case("train_rnn", "RNN", 7, 3, 5, 6, 2, True),
    Case("train_rnn_relu", "RNN", 7, 3, 5, 6, nonlinearity="relu", lengths="uniform"),
]
SHORT = Plan(rounds=2, seconds=0.002)
MACHINE = {"cpu": "Abacus", "cpus": 2, "system": "Linux", "python": "3", "caches": []}


def prepare(name: str, case: Case, mode: str) -> Runner:
    """The runner; skips the test if the engine is not installed."""
    try:
        engine = load_engine(name, 1)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"{name}: {error}")
    return engine.prepare(make_workload(case), mode)


def outputs(runner: Runner) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in runner.outputs().items()}


def test_the_group_holds_these_shapes() -> None:
    assert [case.shape for case in TRAIN] == [
        "RNN T500 B128 I32 H32",
        "LSTM T500 B128 I32 H32",
        "LSTM T60 B100 I44 H40 x3",
        "LSTM T293 B8 I60 H128 x4 bi",
        "LSTM T26 B32 I512 H256 x2 bi",
        "GRU T20 B64 I100 H100",
        "LSTM T35 B20 I650 H650 x2",
        "LSTM T25 B64 I1024 H1024",
        "GRU T50 B32 I1024 H1024",
    ]


def test_errors_are_beside_the_largest_entry_of_each_array() -> None:
    expected = {"small": np.array([1e-6, 2e-6]), "large": np.array([0.0, 1e6])}
    got = {"small": np.array([1e-6, 2.5e-6]), "large": np.array([1e3, 1e6])}
    assert relative_difference(got, expected) == pytest.approx(0.25)
    assert disagreement("train", got, expected) == pytest.approx(0.25)
    assert disagreement("infer", {"y": np.ones(2)}, {"y": np.ones(2) * 1.5}) == pytest.approx(1 / 3)
    zeros = {"y": np.zeros(3)}
    assert relative_difference(zeros, zeros) == 0.0
    assert relative_difference({"y": np.full(3, 1e-3)}, zeros) == pytest.approx(1e-3)
    for bad in ({}, {"y": np.zeros(2)}, {"y": np.array([0, math.nan, 0])}):
        assert relative_difference(bad, zeros) == math.inf


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", ["fastrnn", "fastrnn_torch", "torch"])
def test_gradients(name: str, case: Case) -> None:
    runner = prepare(name, case, "train")
    with runner.context():
        runner.call()  # gradients of the previous call must not stay
        found = outputs(runner)
        path = runner.path()
    expected = reference_step(make_workload(case))
    assert {"d_x", "d_weight_hh_l0", "d_bias_ih_l0", "y", "h_n"} <= set(expected)
    assert set(found) == set(expected)
    assert relative_difference(found, expected) < TOLERANCE
    if name == "torch":
        plain = case.cell == "LSTM" and not case.proj and not case.ragged
        assert path.startswith("oneDNN" if plain else "ATen")
    assert path


def test_what_is_timed_was_checked() -> None:
    assert 0 < check_step(CASES[3]) < TOLERANCE


def test_output_gradients_repeat() -> None:
    first, second = (output_gradient(make_workload(CASES[2])) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == reference_outputs(make_workload(CASES[2]))["y"].shape


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # caused by PyTorch
def test_compiled() -> None:
    case = Case("compiled_rnn", "RNN", 2, 2, 3, 4)
    try:
        runner = prepare("torch_compile", case, "train")
    except UnsupportedError as reason:
        pytest.skip(str(reason))  # no C++ compiler
    assert relative_difference(outputs(runner), reference_step(make_workload(case))) < TOLERANCE
    for other, why in ((CASES[1], "packed"), (TRAIN[0], "500 unrolled steps")):
        with pytest.raises(UnsupportedError, match=why):
            prepare("torch_compile", other, "train")


@pytest.mark.parametrize(
    ("engine", "status"), [("torch_compile", "unsupported"), ("torch", "failed")]
)
def test_a_compiler_may_take_too_long(engine: str, status: str, tmp_path: Path) -> None:
    class Slow:
        threads, mode = 1, "train"

        def ask(self, **request: Any) -> dict[str, Any]:
            raise NoAnswerError("no answer within 180 s")

    client: Any = Slow()
    client.engine = engine
    row = measure._prepare(client, tmp_path)
    assert (row.status, row.detail) == (status, "no answer within 180 s")
    assert issubclass(NoAnswerError, WorkerError)


def test_steps_of_a_model_agree() -> None:
    case = Case("step_gru", "GRU", 5, 3, 4, 6, 2, group="step")
    plain = prepare("torch", case, "step")
    first = outputs(plain)
    plain.call()
    assert relative_difference(outputs(plain), first) == 0.0  # with the same weights again
    assert {"loss", "d_embedding.weight", "d_recurrent.weight_ih_l1"} <= set(first)
    swapped = prepare("fastrnn_torch", case, "step")
    swapped.call()
    assert relative_difference(outputs(swapped), first) < TOLERANCE


@pytest.mark.parametrize("name", ["fastrnn", "fastrnn_torch"])
def test_new_weights(name: str) -> None:
    case = Case("repack_gru", "GRU", 3, 2, 4, 6)
    changed, same = (outputs(prepare(name, case, mode)) for mode in ("repack", "reuse"))
    assert changed["y"].shape == (1, 1, 6)
    assert relative_difference(changed, same) == 0.0
    whole = reference_outputs(make_workload(case))["y"]
    np.testing.assert_allclose(changed["y"], whole[:1, :1], atol=TOLERANCE)


def test_modes_are_compared_each_with_its_own() -> None:
    """A short and a long step of one engine have different outputs, and both are right."""
    case = Case("modes_gru", "GRU", 5, 3, 4, 6, group="repack")
    ways = [("fastrnn", mode) for mode in ("reuse", "train", "repack")]
    with start_clients(ways, [1]) as clients:
        versions, usable = greet(clients)
        results = measure_cases([case], usable, SHORT)
    assert [row.status for row in results[0].measurements] == ["ok"] * 3
    assert all(row.error == 0.0 for row in results[0].measurements)
    assert {row.mode for row in results[0].measurements} <= set(engines.MODES)
    text = markdown(Document(versions, [1], SHORT, results), [])
    assert "## New weights" in text
    assert "| `modes_gru` | GRU T5 B3 I4 H6 | fastrnn |" in text


def test_engines_agree_in_processes_of_their_own() -> None:
    pytest.importorskip("torch")
    with start_clients([("torch", "train"), ("fastrnn", "train")], [1]) as clients:
        _, usable = greet(clients)
        (result,) = measure_cases([CASES[1]], usable, SHORT)
    assert [row.status for row in result.measurements] == ["ok", "ok"]
    assert result.compared_with == "torch"
    assert result.training
    own = result.measurements[1]
    assert own.error is not None
    assert 0 < own.error < TOLERANCE


def made_up(engine: str, mode: str, milliseconds: float, status: str = "ok") -> Measurement:
    times = Times.of([1e-3 * milliseconds] * 3)
    return Measurement(engine, 1, mode, status, "because" if status != "ok" else "", times=times)


def test_tables_and_json(tmp_path: Path) -> None:
    packed = CaseResult(
        training.PACKED[0],
        3200,
        "torch",
        [
            made_up("fastrnn", "train", 2),
            made_up("fastrnn_torch", "train", 4),
            made_up("torch", "train", 8),
        ],
    )
    step = CaseResult(
        training.STEP[0],
        3200,
        "torch",
        [made_up("fastrnn_torch", "step", 10), made_up("torch", "step", 15)],
    )
    repack = CaseResult(
        training.REPACK[0],
        1280,
        "fastrnn",
        [
            made_up("fastrnn", "train", 10),
            made_up("fastrnn", "repack", 0.3),
            made_up("fastrnn", "reuse", 0.1),
            made_up("fastrnn_torch", "train", 10, "failed"),
        ],
    )
    names = {"fastrnn": "1", "fastrnn_torch": "1", "torch": "2"}
    document = Document(names, [1], SHORT, [packed, step, repack], {}, MACHINE)
    peaks = [Peak("fastrnn", 1, 100 * 10**6, 350 * 10**6), Peak("torch", 1, 10**8, 6 * 10**8)]
    text = markdown(document, peaks)
    assert " 0.50 | 2 / 2" in text
    assert (
        "PyTorch takes 4.00 times as long as fastrnn, 2.00 times as long as fastrnn.torch" in text
    )
    assert "| 1.50 " in text
    assert "| 0.2 " in text
    assert "| 2 % " in text
    assert "| 250 " in text
    assert "| 0.50 " in text
    assert "fastrnn.torch train, threads 1: failed: because" in text
    found = json.loads(json.dumps(training.to_json(document, peaks)))
    assert [peak["taken"] for peak in found["memory"]["peaks"]] == [250 * 10**6, 500 * 10**6]
    assert Document.from_json(found).to_json() == document.to_json()


def test_memory_is_that_of_the_step() -> None:
    case = Case("memory_lstm_128", "LSTM", 200, 16, 64, 128)
    peak = measure_peak("fastrnn", 1, case)
    tape = 5 * 4 * case.steps * case.batch * case.hidden
    assert tape < peak.taken < 6 * tape
    assert peak.baseline < peak.step <= 4 * peak_bytes()
    with pytest.raises(RuntimeError, match="openvino"):
        measure_peak("openvino", 1, case)


def test_parts() -> None:
    options = training._parse(["--parts", "step,memory", "--quick"])
    assert options.parts == ["step", "memory"]
    assert options.plan.rounds == 3
    assert set(training.NAMES) == {"packed", "step", "repack", "memory"}
    for bad in ("", "stop"):
        with pytest.raises(SystemExit):
            training._parse(["--parts", bad])
