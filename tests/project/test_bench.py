# SPDX-License-Identifier: MIT
"""`fastrnn bench`: cases, their arrays and costs, the check before timing, the report."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import fastrnn
from fastrnn import bench
from fastrnn.bench import Case, Times, difference, make_workload, select

CASE = Case("small_gru", "GRU", 5, 3, 4, 6, 2, True, lengths="uniform")
FEW = (
    Case("small_lstm", "LSTM", 6, 2, 3, 9, source="a test"),
    Case("small_rnn", "RNN", 6, 2, 3, 9, nonlinearity="relu"),
)


@pytest.fixture
def quick(monkeypatch):
    """Probes of a millisecond, which measure nothing."""
    monkeypatch.setattr(bench, "FMA_ROUNDS", 1000)
    monkeypatch.setattr(bench, "fma_peak", lambda isa, threads: _peak(isa, threads, 0.001))


_peak = bench.fma_peak


def test_cases_are_named_and_explained():
    assert len({case.name for case in bench.CASES}) == len(bench.CASES) >= 10
    assert all(case.source for case in bench.CASES)
    assert {case.cell for case in bench.CASES} == {"LSTM", "GRU", "RNN"}


def test_costs_of_a_case():
    """The published values of Silero's LSTM: 0.5 MiB, 0.262 MFLOP per step."""
    (case,) = select(["vad_lstm_128"])
    assert case.weight_bytes() == 1 << 19
    assert case.recurrent_bytes() == 1 << 18
    assert case.flops() == pytest.approx(0.262e6, rel=1e-3)
    assert case.bytes_read() == case.weight_bytes()
    arrays = make_workload(CASE).weights
    assert CASE.weight_bytes() == sum(a.nbytes for a in arrays.values() if a.ndim == 2)
    recurrent = sum(a.nbytes for name, a in arrays.items() if name.startswith("weight_hh"))
    assert CASE.bytes_read() == CASE.weight_bytes() + 4 * recurrent
    assert CASE.flops(7) == pytest.approx(CASE.flops() * 7 / 15)
    projected = Case("p", "LSTM", 1, 1, 4, 6, 2, proj=3)
    assert projected.recurrent_bytes() == 4 * (24 * 3 + 3 * 6)
    assert projected.shape == "LSTM T1 B1 I4 H6 x2 proj 3"


def test_select():
    assert select(["all"]) == list(bench.CASES)
    assert [case.name for case in select(["vad_", "amp"])] == ["amp_lstm_40", "vad_lstm_128"]
    with pytest.raises(ValueError, match="'nothing_like_it'; the names are amp_lstm_40, "):
        select(["vad", "nothing_like_it"])


def test_workload_repeats():
    first, again = make_workload(CASE), make_workload(CASE)
    assert difference(again.weights, first.weights) == 0.0
    np.testing.assert_array_equal(again.x, first.x)
    np.testing.assert_array_equal(again.lengths, first.lengths)
    assert first.lengths.max() == CASE.steps
    assert first.row_steps == first.lengths.sum()
    full = make_workload(replace(CASE, lengths="full"))
    assert full.lengths is None
    assert full.row_steps == 15


def test_difference_sees_what_is_wrong():
    one = {"y": np.ones(3, np.float32)}
    assert difference({"y": np.array([1.0, 1.5, 1.0])}, one) == 0.5
    assert difference({"y": np.array([100.0])}, {"y": np.array([200.0])}) == 0.5
    assert difference({}, one) == math.inf
    assert difference({"y": np.ones(4)}, one) == math.inf
    assert difference({"y": np.array([1.0, np.nan, 1.0])}, one) == math.inf


@pytest.mark.parametrize("case", [*bench.CASES, CASE], ids=lambda case: case.name)
def test_check_accepts_the_layers(case):
    assert bench.check(case) < bench.TOLERANCE


def test_a_wrong_layer_is_not_timed(monkeypatch, quick):
    right = bench.make_layer

    def wrong(workload):
        layer = right(workload)
        layer.load_state_dict({name: 2 * w for name, w in workload.weights.items()})
        return layer

    monkeypatch.setattr(bench, "make_layer", wrong)
    monkeypatch.setattr(bench, "time_calls", lambda *_: pytest.fail("timed"))
    with pytest.raises(bench.WrongResultError, match="small_lstm: the layer differs"):
        bench.run(FEW)


def test_times():
    times = Times.of([3.0, 1.0, 2.0, 4.0, 5.0])
    assert times == Times(best=1.0, median=3.0, spread=2.0, samples=5)
    assert Times.of([2.0]) == Times(2.0, 2.0, 0.0, 1)


def test_time_calls_counts_short_calls_together():
    calls = []
    samples = bench.time_calls(lambda: calls.append(None), 0.01)
    assert samples
    assert all(0 < sample < 0.001 for sample in samples)
    assert len(calls) > len(samples)
    calls.clear()
    assert len(bench.time_calls(lambda: calls.append(None), 0.0, expected=1.0)) == 1
    assert len(calls) == 1  # a long call is not warmed up


def test_rate_together_runs_all_works_at_once():
    meeting = threading.Barrier(3, timeout=60)

    def work():
        meeting.wait()
        return 2.0

    assert bench.rate_together([work] * 3, 0.001) > 0


def test_fma_peak_counts_all_threads():
    for threads in (1, 2):
        assert 0 < bench.fma_peak(fastrnn.isas()[0], threads, 0.001) < 1e15


def test_report(quick):
    said = []
    with fastrnn.num_threads(1):
        report = bench.run(FEW, seconds=0.005, say=said.append)
        assert report.threads == fastrnn.get_num_threads()
    assert [result.case for result in report.results] == list(FEW)
    assert report.isa in fastrnn.isas()
    assert said[0] == said[-1] == "FMA peak"
    assert any("small_rnn" in words for words in said)
    facts = json.loads(json.dumps(report.to_json()))
    first = facts["cases"][0]
    assert first["name"] == "small_lstm"
    assert first["source"] == "a test"
    assert 0 < first["best_ms"] <= first["median_ms"]
    assert first["gflops"] == pytest.approx(FEW[0].flops() / first["best_ms"] / 1e6)
    assert first["share_of_peak"] == pytest.approx(first["gflops"] / facts["peak_gflops"])


def test_only_numpy_is_needed():
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'openvino', 'pytest', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from fastrnn.cli import main\n"
        "sys.exit(main(['bench', 'vad', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress without a terminal
    assert [case["name"] for case in json.loads(done.stdout)["cases"]] == ["vad_lstm_128"]
