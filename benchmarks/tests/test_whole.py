# SPDX-License-Identifier: MIT
"""The comparison of whole models: the same results from every engine, and the tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastrnn.bench import TOLERANCE, Case, Times, difference, make_workload

from .. import whole
from ..engines.engines import WHOLE, Runner, UnsupportedError, load_engine
from ..engines.whole_models import CHUNKS, TAGS
from ..measuring.measure import CaseResult, Measurement, Plan, greet, measure_cases, start_clients
from ..reports.document import Document

CASES = {
    "tagger": Case("tagger_tiny", "LSTM", 5, 3, 4, 6, 2, True, group="tagger"),
    "silero": whole.PARTS["silero"][0],
}
SHORT = Plan(rounds=2, seconds=0.002)
MACHINE = {"cpu": "Abacus", "cpus": 2, "system": "Linux", "python": "3", "caches": []}


def prepare(name: str, mode: str) -> Runner:
    """The runner; skips the test if the engine is not installed or the model is absent."""
    try:
        return load_engine(name, 1).prepare(make_workload(CASES[mode]), mode)
    except (ImportError, AttributeError, UnsupportedError) as error:
        pytest.skip(f"{name}: {error}")


def outputs(runner: Runner) -> dict[str, np.ndarray]:
    with runner.context():
        return {name: array.copy() for name, array in runner.outputs().items()}


@pytest.mark.parametrize("mode", WHOLE)
@pytest.mark.parametrize("name", [engine for engine in whole.ENGINES if engine != "fastrnn"])
def test_engines_give_the_same_answers(name: str, mode: str) -> None:
    wanted = outputs(prepare("fastrnn", mode))
    found = outputs(prepare(name, mode))
    assert list(found) == list(wanted) == ["y"]
    assert found["y"].shape == ((CHUNKS, 1) if mode == "silero" else (5, 3, TAGS))
    assert difference(found, wanted) < TOLERANCE


@pytest.mark.parametrize("name", whole.ENGINES)
def test_calls_go_on_and_outputs_begin_anew(name: str) -> None:
    runner = prepare(name, "silero")
    first = outputs(runner)
    with runner.context():
        for _ in range(3):
            runner.call()
    assert outputs(runner)["y"].tobytes() == first["y"].tobytes()
    assert first["y"].std() > 0.01  # the sound was detected


def test_modes_of_others() -> None:
    with pytest.raises(UnsupportedError, match="no mode 'step'"):
        load_engine("fastrnn", 1).prepare(make_workload(CASES["tagger"]), "step")


def test_engines_agree_in_processes_of_their_own() -> None:
    pytest.importorskip("torch")
    ways = [("torch", "tagger"), ("fastrnn", "tagger")]
    with start_clients(ways, [1]) as clients:
        versions, usable = greet(clients)
        results = measure_cases([CASES["tagger"]], usable, SHORT)
    assert [row.status for row in results[0].measurements] == ["ok", "ok"]
    assert results[0].compared_with == "torch"
    text = whole.markdown(Document(versions, [1], SHORT, results, {}, MACHINE))
    assert "## Tagger" in text
    assert "| `tagger_tiny` | LSTM T5 B3 I4 H6 x2 bi |" in text


def made_up(engine: str, microseconds: float, status: str = "ok") -> Measurement:
    times = Times.of([1e-6 * microseconds] * 3)
    detail = "because" if status != "ok" else ""
    return Measurement(engine, 1, "silero", status, detail, error=2e-6, times=times)


def test_tables_and_json() -> None:
    rows = [made_up("fastrnn", 80), made_up("torch", 400), made_up("onnxruntime", 90, "failed")]
    result = CaseResult(CASES["silero"], 1, "torch", rows)
    document = Document({"fastrnn": "1", "torch": "2"}, [1], SHORT, [result], {}, MACHINE)
    text = whole.markdown(document)
    assert "| 80 / 80 " in text
    assert "| 5.00 " in text
    assert "| 2.0e-06 " in text
    assert "- `silero_chunk`, ONNX Runtime, threads 1: failed: because" in text
    assert "## Tagger" not in text
    found = json.loads(json.dumps(document.to_json()))
    assert Document.from_json(found).to_json() == document.to_json()


def test_parts() -> None:
    options = whole._parse(["--parts", "tagger", "--quick", "--threads", "1,2"])
    assert options.parts == ["tagger"]
    assert options.threads == [1, 2]
    assert set(whole.PARTS) == set(WHOLE) == set(whole.ABOUT)
    for bad in ("", "vad"):
        with pytest.raises(SystemExit):
            whole._parse(["--parts", bad])
