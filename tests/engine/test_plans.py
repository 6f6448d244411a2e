# SPDX-License-Identifier: MIT
"""`plan` and `explain`, and when a pass uses more threads."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import fastrnn
from fastrnn.runtime.plans import _flops

Layer = fastrnn.LSTM | fastrnn.GRU | fastrnn.RNN
SPLITS = ("row_groups", "direction_teams", "layer_teams", "unit_workers")


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 64])
@pytest.mark.parametrize(
    ("layer", "steps", "batch"),
    [
        (fastrnn.LSTM(8, 8), 1, 1),
        (fastrnn.LSTM(1, 40), 64, 1),
        (fastrnn.GRU(384, 384, 3), 1, 1),
        (fastrnn.LSTM(60, 128, 4, bidirectional=True), 293, 8),
        (fastrnn.LSTM(64, 256, 2, proj_size=64), 50, 3),
        (fastrnn.RNN(32, 32), 500, 128),
    ],
    ids=str,
)
def test_width_is_kept(layer: Layer, steps: int, batch: int, threads: int) -> None:
    with fastrnn.num_threads(threads):
        plan = fastrnn.plan(layer, steps, batch)
    product = 1
    for name in SPLITS:
        assert plan[name] >= 1
        product *= plan[name]
    assert plan["threads"] == product <= threads
    assert plan["row_groups"] <= batch
    assert 0 < plan["share"] <= 1
    assert plan["direction_teams"] <= 1 + layer.bidirectional
    assert plan["layer_teams"] <= layer.num_layers


def test_small_passes_stay_on_one_thread() -> None:
    with fastrnn.num_threads(8):
        assert fastrnn.plan(fastrnn.LSTM(8, 8), 1, 1)["threads"] == 1
        assert fastrnn.plan(fastrnn.GRU(16, 16), 10, 1)["threads"] == 1


@pytest.mark.parametrize(
    ("layer", "steps", "batch", "split"),
    [
        (fastrnn.RNN(32, 32), 500, 128, "row_groups"),
        (fastrnn.GRU(256, 256), 500, 1, "unit_workers"),
        (fastrnn.GRU(800, 800, bidirectional=True), 100, 1, "direction_teams"),
        (fastrnn.LSTM(1, 40, 2), 64, 1, "layer_teams"),
    ],
)
def test_every_split_has_its_shape(layer: Layer, steps: int, batch: int, split: str) -> None:
    """The shapes are the benchmark cases named in src_c/core/pass/plan.c."""
    with fastrnn.num_threads(2):
        plan = fastrnn.plan(layer, steps, batch)
    assert plan["threads"] == 2
    assert plan[split] == 2


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    layer = fastrnn.LSTM(512, 256, 2, bidirectional=True)
    with fastrnn.num_threads(2):
        fastrnn.explain(layer, 26, 32)
    text = capsys.readouterr().out
    assert "26 steps, batch 32" in text
    assert "threads: 2 of 2; rows of the batch in 2 groups" in text
    assert "weights 12.0 MiB" in text
    predicted = re.search(r"predicted: ([\d.e+-]+) ms, (\d+)% of the FMA peak", text)
    assert predicted is not None
    assert float(predicted[1]) > 0
    assert int(predicted[2]) <= 100


@pytest.mark.parametrize("function", [fastrnn.plan, fastrnn.explain])
def test_plans_are_those_of_recurrent_layers(function: Callable[..., object]) -> None:
    model = fastrnn.Sequential(fastrnn.Sequential(fastrnn.Linear(2, 3)))
    with pytest.raises(TypeError, match="expected an LSTM, GRU or RNN, got a Sequential without"):
        function(model, 1, 1)
    with pytest.raises(TypeError, match="layer: expected an LSTM, GRU or RNN, got Linear"):
        function(fastrnn.Linear(2, 3), 1, 1)


def test_plans_of_a_whole_model(capsys: pytest.CaptureFixture[str]) -> None:
    inner = fastrnn.Sequential(fastrnn.Linear(3, 2), fastrnn.LSTM(2, 5, 2))
    model = fastrnn.Sequential(first=fastrnn.GRU(2, 3), rest=inner)
    assert fastrnn.plan(model, 7, 4) == {
        "first": fastrnn.plan(model.first, 7, 4),
        "rest.1": fastrnn.plan(inner[1], 7, 4),
    }
    fastrnn.explain(model, 7, 4)
    text = capsys.readouterr().out
    assert text.startswith("first: GRU(2, 3), 7 steps, batch 4, ")
    assert "\nrest.1: LSTM(2, 5, num_layers=2), 7 steps, batch 4, " in text


def test_a_plan_takes_no_memory() -> None:
    layer = fastrnn.GRU(8, 8, 2, bidirectional=True)  # with all steps in its workspace
    assert fastrnn.plan(layer, 2**40, 64)["workspace"] > 2**40


def test_padding_is_work_that_takes_time(isa: str) -> None:
    """The last panel of hidden units takes the same time if it is not full."""
    lanes = {"avx512": 16, "avx2": 8, "scalar": 1}[isa]
    times = []
    for hidden in (lanes + 1, 2 * lanes):
        layer = fastrnn.LSTM(512, hidden, isa=isa)
        with fastrnn.num_threads(1):
            share = fastrnn.plan(layer, 20, 16)["share"]
        times.append(_flops(layer, 20, 16) / share)
    assert times[0] == pytest.approx(times[1], rel=0.05)


@pytest.mark.parametrize("bad", [None, 2.0, "2", True, np.float32(2)])
def test_types_are_checked(bad: object) -> None:
    layer = fastrnn.RNN(2, 2)
    for name, sizes in (("steps", (bad, 1)), ("batch", (1, bad))):
        with pytest.raises(TypeError, match=f"{name}: expected an int, got {type(bad).__name__}"):
            fastrnn.plan(layer, *sizes)  # type: ignore[arg-type]
    assert fastrnn.plan(layer, np.int64(3), np.uint8(4))["threads"] == 1


@pytest.mark.parametrize(("steps", "batch"), [(0, 1), (1, 0), (-1, 1), (2**63, 1), (1, 2**70)])
def test_sizes_are_checked(steps: int, batch: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to"):
        fastrnn.plan(fastrnn.RNN(2, 2), steps, batch)


def test_a_stream_follows_the_number_of_threads() -> None:
    layer = fastrnn.GRU(384, 384, 3, seed=0)
    x = np.random.default_rng(0).standard_normal((6, 1, 384)).astype(np.float32)
    whole, _ = layer(x)
    stream = layer.stream()
    for t, threads in enumerate((1, 2, 3, 1, 5, 2)):
        with fastrnn.num_threads(threads):
            np.testing.assert_array_equal(stream.step(x[t]), whole[t])


@pytest.mark.parametrize("layer", [fastrnn.GRU(512, 512, seed=0), fastrnn.LSTM(1024, 1024, seed=0)])
@pytest.mark.parametrize("threads", [2, 4])
def test_a_step_in_place_with_threads(layer: Layer, threads: int) -> None:
    """No worker overwrites an x that another worker still reads with its part of y."""
    rows = np.random.default_rng(0).standard_normal((20, 1, layer.hidden_size)).astype(np.float32)
    with fastrnn.num_threads(1):
        wanted = [layer(row[None])[0][0] for row in rows]
    for row, y in zip(rows, wanted, strict=True):
        with fastrnn.num_threads(threads):
            np.testing.assert_array_equal(layer.stream().step(row, out=row), y)
