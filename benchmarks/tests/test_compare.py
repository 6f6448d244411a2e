# SPDX-License-Identifier: MIT
"""Parts of the comparison: cases, arrays in files, workers, rounds, options."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastrnn import bench
from fastrnn.bench import Case, difference, make_workload
from fastrnn.runtime.machine import cpu_count

from .. import many_streams as streams
from .. import ragged
from ..compare import _parse
from ..engines.engines import INFERENCE, TRAINING
from ..measuring import machine_limits as machine
from ..measuring.cases import CASES, MAIN, TRAIN, select
from ..measuring.client import CAN_STOP, Client, WorkerError
from ..measuring.measure import Plan, greet, measure_cases, start_clients
from ..measuring.options import thread_counts
from ..measuring.workload import load_workload, save_workload
from ..reports.document import Document

CASE = Case("small_gru", "GRU", 5, 3, 4, 6, 2, True, lengths="uniform")
SHORT = Plan(rounds=2, seconds=0.002)


def stopped_within_a_second(pid: int) -> bool:
    for _ in range(100):
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def client() -> Iterator[Client]:
    pytest.importorskip("onnxruntime")
    with Client("onnxruntime", 1) as client:
        yield client


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source for case in CASES)
    assert set(bench.CASES) < set(MAIN)


def test_select() -> None:
    assert tuple(select([])) == MAIN
    assert len(select(["all"])) == len(CASES)
    assert {case.group for case in select(["ragged"])} == {"ragged"}
    assert [case.name for case in select(["vad_"])] == ["vad_lstm_128"]
    assert tuple(select(["train"])) == TRAIN
    assert [case.name for case in select(["sessions_", "train", "vad_"])][-1] == "vad_lstm_128"
    assert len(select(["train", "all"])) == len(CASES)
    with pytest.raises(ValueError, match="'nothing_like_it'"):
        select(["nothing_like_it"])


def test_workload_survives_the_disk(tmp_path: Path) -> None:
    first = make_workload(CASE)
    save_workload(first, tmp_path)
    loaded = load_workload(tmp_path)
    assert loaded.case == first.case
    assert first.lengths is not None
    np.testing.assert_array_equal(loaded.x, first.x)
    np.testing.assert_array_equal(loaded.lengths, first.lengths)
    assert difference(loaded.weights, first.weights) == 0.0


def test_worker_prepares_and_times(client: Client, tmp_path: Path) -> None:
    save_workload(make_workload(CASE), tmp_path)
    assert client.ask(op="hello")["version"]
    with pytest.raises(WorkerError, match="no case is prepared"):
        client.ask(op="time", seconds=0.001)
    outputs = tmp_path / "outputs"
    client.ask(op="prepare", mode="infer", folder=str(tmp_path), outputs=str(outputs))
    assert np.load(outputs / "y.npy").shape == (5, 3, 12)
    answer = client.ask(op="time", seconds=0.01)
    assert answer["samples"]
    assert all(0 < sample < 1 for sample in answer["samples"])
    assert answer["cpus"] > 0
    assert client.ask(op="recheck") == {"change": 0.0}


def test_worker_answers_failures(client: Client, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="FileNotFoundError"):
        client.ask(op="prepare", mode="infer", folder=str(tmp_path / "no"), outputs="")
    with pytest.raises(WorkerError, match="'dance'"):
        client.ask(op="dance")
    save_workload(make_workload(CASE), tmp_path)
    answer = client.ask(op="prepare", mode="dream", folder=str(tmp_path), outputs="")
    assert "dream" in answer["unsupported"]


@pytest.mark.skipif(not CAN_STOP, reason="no SIGSTOP here")
def test_worker_is_stopped_when_idle_and_replaced_when_dead(client: Client) -> None:
    client.ask(op="hello")
    process = client._process
    assert process is not None
    if Path("/proc/self/stat").exists():
        assert stopped_within_a_second(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(WorkerError, match="the process ended with exit status -9"):
        client.ask(op="hello")
    assert client.ask(op="hello")["version"]


def test_a_run_goes_to_json_and_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A small comparison: fastrnn with two numbers of threads, ragged and padded."""
    ways = [("fastrnn", "infer"), ("fastrnn", "padded")]
    threads = [1, 2]
    with start_clients(ways, threads) as clients:
        versions, usable = greet(clients)
        results = measure_cases([CASE], usable, SHORT)
    (result,) = results
    found = [(row.engine, row.mode, row.threads) for row in result.measurements]
    assert found == [(*way, count) for way in ways for count in threads]
    # Two layers and directions: padding changes what a reverse direction reads first.
    assert [row.status for row in result.measurements] == ["ok", "ok", "wrong", "wrong"]
    assert result.find("fastrnn", 1) is result.measurements[0]
    assert result.find("fastrnn", 1, "padded") is None
    assert "small_gru" in capfd.readouterr().err

    limits = {1: machine.Limits(1, "avx2", 1e11, ((1024, 1e10), (4096, 1e9)))}
    document = Document(versions, threads, SHORT, results, limits)
    assert document.failed
    document.write(tmp_path / "out.json")
    again = Document.read(tmp_path / "out.json")
    assert again.to_json() == document.to_json()
    assert again.limits == limits
    assert again.results[0].row_steps == make_workload(CASE).row_steps


def test_ragged_tells_the_cost_of_finished_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("few", "RNN", 6, 4, 3, 5, lengths="uniform")
    with start_clients([way for way in ragged.WAYS if way[0] == "fastrnn"], [1]) as clients:
        versions, usable = greet(clients)
        results = measure_cases([case], usable, SHORT)
    text = ragged.markdown(Document(versions, [1], SHORT, results))
    (line,) = [line for line in text.splitlines() if line.startswith("| `few`")]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert float(cells[2]) == pytest.approx(results[0].row_steps / 24, abs=0.006)
    assert float(cells[6]) == pytest.approx(float(cells[5]) / float(cells[2]), rel=0.1)
    assert cells[7:] == ["-", "-"]


def test_streams_tells_time_and_memory() -> None:
    case = Case("few_streams", "LSTM", 2, 5, 3, 4)
    with start_clients([("fastrnn", "streams")], [1]) as clients:
        versions, usable = greet(clients)
        results = measure_cases([case], usable, SHORT)
    assert results[0].measurements[0].status == "ok"
    text = streams.markdown(Document(versions, [1], SHORT, results))
    assert "5 streams of LSTM 4" in text
    (own,) = [line for line in text.splitlines() if line.startswith("| fastrnn")]
    assert "| 1.00 " in own
    assert text.count("not installed") == 3


def test_options_of_training() -> None:
    options = _parse(["--train"])
    assert tuple(options.cases) == TRAIN
    assert tuple(options.engines) == TRAINING
    assert "torch_compile" not in _parse(["--train", "--quick"]).engines
    named = _parse(["--train", "--quick", "--engines", "torch_compile,fastrnn", "--cases", "vad_"])
    assert named.engines == ["fastrnn", "torch_compile"]
    assert [case.name for case in named.cases] == ["vad_lstm_128"]
    assert tuple(_parse([]).engines) == INFERENCE


def test_options() -> None:
    options = _parse(["--threads", "1,all", "--cases", "vad_,ragged", "--quick", "--rounds", "2"])
    assert options.threads == sorted({1, cpu_count()})
    assert options.cases[0].name == "vad_lstm_128"
    assert options.plan.rounds == 2
    assert thread_counts("4,1,4") == [1, 4]
    for bad in ("0", "", "two"):
        with pytest.raises(argparse.ArgumentTypeError, match="positive numbers"):
            thread_counts(bad)
    for arguments in (["--threads", "0"], ["--engines", "abacus"], ["--cases", "none_such"]):
        with pytest.raises(SystemExit):
            _parse(arguments)
