# SPDX-License-Identifier: MIT
"""The machine's limits: measured, interpolated, and the least time of a case."""

from __future__ import annotations

import math
import mmap

import numpy as np
import pytest

from fastrnn.bench import make_workload

from ..measuring import machine_limits as machine
from ..measuring.cases import select
from ..measuring.machine_limits import Level, Limits

KB, MB = 1 << 10, 1 << 20
LIMITS = Limits(2, "avx2", 100e9, ((64 * KB, 100e9), (256 * KB, 80e9), (4 * MB, 10e9)))


def test_bandwidth_is_that_of_a_thread_share() -> None:
    assert LIMITS.bandwidth(1 * KB) == 100e9
    assert LIMITS.bandwidth(128 * KB) == 100e9
    assert LIMITS.bandwidth(256 * KB) == pytest.approx(90e9)  # halfway on a logarithmic scale
    assert LIMITS.bandwidth(512 * KB) == 80e9
    assert LIMITS.bandwidth(64 * MB) == 10e9
    falling = [LIMITS.bandwidth(size) for size in np.geomspace(1 * KB, 64 * MB, 50)]
    assert falling == sorted(falling, reverse=True)


def test_roofs() -> None:
    levels = [Level("L2", 512 * KB, False), Level("L3", 8 * MB, True)]
    found = machine.roofs(LIMITS, levels)
    assert list(found) == ["L1", "L2", "L3", "memory"]
    assert found["L1"] == 100e9
    assert found["L2"] == 80e9  # half of each core's own
    assert 10e9 < found["L3"] < 80e9  # a quarter for each of two: 2 MB
    assert found["memory"] == 10e9


def test_the_better_of_two_measurements() -> None:
    other = Limits(2, "avx2", 90e9, ((64 * KB, 110e9), (256 * KB, 70e9), (4 * MB, 11e9)))
    best = LIMITS.best_of(other)
    assert best.flops == 100e9
    assert [speed for _, speed in best.reads] == [110e9, 80e9, 11e9]


def test_read_sizes() -> None:
    sizes = machine.read_sizes(100 * KB)
    assert [size // KB for size in sizes] == [16, 24, 32, 48, 64, 96, 128]


def test_measured_with_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "READ_SECONDS", 0.001)
    monkeypatch.setattr(machine, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "cache_levels", lambda: [Level("L2", 64 * KB, False)])
    found = machine.measure_limits(2)
    assert found.threads == 2
    assert found.reads[-1][0] >= 1 * MB
    assert all(0 < speed < math.inf for _, speed in found.reads)
    assert 0 < found.flops < math.inf
    assert Limits.from_json(found.to_json()) == found


def test_floats_begin_at_a_large_page() -> None:
    values = machine._aligned_floats(4096)
    assert values.nbytes == 4096
    assert values.ctypes.data % machine.LARGE_PAGE == 0


def test_least_time_of_a_case() -> None:
    step = select(["vad_lstm_128"])[0]
    bandwidth = LIMITS.bandwidth(step.weight_bytes())
    assert machine.ideal_seconds(step, 1, LIMITS) == pytest.approx(step.weight_bytes() / bandwidth)
    batch = select(["ocr_batch_bilstm_256x2"])[0]
    rows = make_workload(batch).row_steps
    assert machine.ideal_seconds(batch, rows, LIMITS) == pytest.approx(batch.flops() / 100e9)


def test_least_time_of_a_training_step() -> None:
    batch = select(["ocr_batch_bilstm_256x2"])[0]
    rows = make_workload(batch).row_steps
    least = machine.ideal_seconds(batch, rows, LIMITS, training=True)
    assert least == pytest.approx(3 * batch.flops() / 100e9)
    one = select(["vad_lstm_128"])[0]  # weights read in both directions, and their gradients
    forward = machine.ideal_seconds(one, 1, LIMITS)
    assert machine.ideal_seconds(one, 1, LIMITS, training=True) == pytest.approx(3 * forward)


def test_resident_memory() -> None:
    before = machine.resident_bytes()
    if before is None:
        pytest.skip("no /proc to read it from")
    with mmap.mmap(-1, 8 * MB) as block:
        block.write(bytes(8 * MB - 1) + b"x")
        after = machine.resident_bytes()
    assert after is not None
    assert after - before > 7 * MB
