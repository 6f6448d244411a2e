# SPDX-License-Identifier: MIT
"""The comparison's own parts: cases, arrays, workers, ratios, tables, limits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from . import machine, report
from .cases import CASES, MAIN, Case, select
from .client import CAN_STOP, Client, WorkerError
from .compare import _parse
from .measure import CaseResult, Measurement
from .workload import difference, load_workload, make_workload, save_workload

CASE = Case("small_gru", "GRU", 5, 3, 4, 6, 2, True, lengths="uniform")


def measured(engine: str, milliseconds: list[float], threads: int = 1) -> Measurement:
    return Measurement(engine, threads, "ok", samples=[1e-3 * value for value in milliseconds])


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


def test_select() -> None:
    assert tuple(select([])) == MAIN
    assert len(select(["all"])) == len(CASES)
    assert {case.group for case in select(["ragged"])} == {"ragged"}
    assert [case.name for case in select(["vad_"])] == ["vad_lstm_128"]
    with pytest.raises(ValueError, match="'nothing_like_it'"):
        select(["nothing_like_it"])


def test_costs_of_a_case() -> None:
    """Silero's LSTM as workloads of it are published: 0.5 MiB, 0.262 MFLOP a step."""
    case = select(["vad_lstm_128"])[0]
    assert case.weight_bytes() == 1 << 19
    assert case.flops() == pytest.approx(0.262e6, rel=1e-3)
    arrays = make_workload(CASE).weights
    assert CASE.weight_bytes() == sum(a.nbytes for a in arrays.values() if a.ndim == 2)


def test_workload_repeats_and_survives_the_disk(tmp_path: Path) -> None:
    first, again = make_workload(CASE), make_workload(CASE)
    save_workload(first, tmp_path)
    loaded = load_workload(tmp_path)
    assert loaded.case == first.case
    assert first.lengths is not None
    assert loaded.lengths is not None
    assert first.lengths.max() == CASE.steps
    for other in (again, loaded):
        np.testing.assert_array_equal(other.x, first.x)
        np.testing.assert_array_equal(other.lengths, first.lengths)
        assert difference(other.weights, first.weights) == 0.0


def test_difference_sees_what_is_wrong() -> None:
    one = {"y": np.ones(3, np.float32)}
    assert difference({"y": np.array([1.0, 1.5, 1.0])}, one) == 0.5
    assert difference({"y": np.array([100.0])}, {"y": np.array([200.0])}) == 0.5
    assert difference({}, one) == np.inf
    assert difference({"y": np.ones(4)}, one) == np.inf
    assert difference({"y": np.array([1.0, np.nan, 1.0])}, one) == np.inf


def test_worker_prepares_and_times(client: Client, tmp_path: Path) -> None:
    save_workload(make_workload(CASE), tmp_path)
    assert client.ask(op="hello")["version"]
    with pytest.raises(WorkerError, match="no case is prepared"):
        client.ask(op="time", seconds=0.001)
    outputs = tmp_path / "outputs"
    client.ask(op="prepare", mode="infer", folder=str(tmp_path), outputs=str(outputs))
    assert np.load(outputs / "y.npy").shape == (5, 3, 12)
    samples = client.ask(op="time", seconds=0.01)["samples"]
    assert samples
    assert all(0 < sample < 1 for sample in samples)
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


def test_ratios_take_the_fastest_peer_at_its_best_threads() -> None:
    rows = [
        measured("fastrnn", [1.0, 2.0, 3.0]),
        measured("fastrnn", [0.5, 1.0, 2.0], threads=2),
        measured("torch", [4.0, 4.0, 9.0]),
        measured("onnxruntime", [3.0, 6.0, 7.0]),
        Measurement("openvino", 1, "wrong", samples=[1e-9]),
    ]
    result = CaseResult(CASE, "torch", rows)
    best, median = report.STATISTICS["best"], report.STATISTICS["median"]
    assert report.peer_ratio(result, [1], best) == pytest.approx(3.0)
    assert report.peer_ratio(result, [1], median) == pytest.approx(2.0)
    assert report.peer_ratio(result, [1, 2], best) == pytest.approx(6.0)
    assert report.peer_ratio(result, [2], best) is None
    assert report.geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert report.geometric_mean([None]) is None


def test_markdown_shows_everything() -> None:
    rows = [measured("fastrnn", [1.0]), measured("torch", [4.0]), measured("onnxruntime", [3.0])]
    rows[0].ideal = 0.9e-3
    rows.append(Measurement("openvino", 1, "unsupported", "because"))
    engines = ["fastrnn", "torch", "onnxruntime", "openvino"]
    text = report.markdown([CaseResult(CASE, "torch", rows)], engines, [1])
    for part in ("`small_gru`", "GRU T5 B3 I4 H6 x2 bi ragged", "1 / 1", "3.00", "90 %", "because"):
        assert part in text
    lines = text.splitlines()
    tables = [lines.index(line) for line in lines if line.startswith("| case")]
    assert all(len(lines[start]) == len(lines[start + 2]) for start in tables)


def test_limits_of_a_case() -> None:
    levels = (
        machine.Level("L1", 32 << 10, False, 200e9),
        machine.Level("L2", 1 << 20, False, 100e9),
        machine.Level("memory", 1 << 62, True, 10e9),
    )
    limits = machine.Limits("avx2", 100e9, levels)
    assert limits.bandwidth(1 << 20, 1) == 100e9
    assert limits.bandwidth(2 << 20, 1) == 10e9
    assert limits.bandwidth(2 << 20, 2) == 200e9
    step = make_workload(select(["vad_lstm_128"])[0])
    assert machine.ideal_seconds(step, limits, 1) == pytest.approx((1 << 19) / 100e9)
    batch = make_workload(select(["ocr_batch_bilstm_256x2"])[0])
    assert machine.ideal_seconds(batch, limits, 1) == pytest.approx(batch.case.flops() / 100e9)


def test_cache_levels_are_read_from_the_system(tmp_path: Path) -> None:
    names = ("level", "type", "size", "shared_cpu_list")
    l1, code = ("1", "Data", "32K", "0"), ("1", "Instruction", "64K", "0")
    for index, facts in enumerate([l1, code, ("3", "Unified", "8M", "0-7")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in zip(names, facts, strict=True):
            (folder / name).write_text(text + "\n")
    assert machine.cache_levels(tmp_path) == [
        machine.Level("L1", 32 << 10, False),
        machine.Level("L3", 8 << 20, True),
    ]
    assert machine.cache_levels(tmp_path / "none") == []


def test_options() -> None:
    options = _parse(["--threads", "1,all", "--cases", "vad_,ragged", "--quick", "--rounds", "2"])
    assert options.threads == sorted({1, machine.available_cpus()})
    assert options.cases[0].name == "vad_lstm_128"
    assert (options.plan.rounds, options.plan.mode) == (2, "infer")
    for bad in (["--threads", "0"], ["--engines", "abacus"], ["--cases", "none_such"]):
        with pytest.raises(SystemExit):
            _parse(bad)
