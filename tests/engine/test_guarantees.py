# SPDX-License-Identifier: MIT
"""Guarantees other than values and bits: shared layers, steps without allocation."""

from __future__ import annotations

import platform
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastrnn

CELLS = {"LSTM": fastrnn.LSTM, "GRU": fastrnn.GRU, "RNN": fastrnn.RNN}
cells = pytest.mark.parametrize("cell", CELLS)


@cells
def test_threads_share_a_layer(isa, cell):
    """Simultaneous calls of different sizes, the first of which packs the weights, are right."""
    layer, alone = (CELLS[cell](24, 65, 2, bidirectional=True, seed=1, isa=isa) for _ in range(2))
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((30, 1 + i % 7, 24)).astype(np.float32) for i in range(48)]
    wanted = [alone(x)[0].tobytes() for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: layer(x)[0].tobytes(), inputs))
    assert found == wanted


@cells
def test_streams_share_a_layer(isa, cell):
    layer = CELLS[cell](24, 65, 2, seed=1, isa=isa)
    x = np.random.default_rng(0).standard_normal((40, 8, 24)).astype(np.float32)
    whole, _ = layer(x)

    def run(row: int) -> bytes:
        stream = layer.stream()
        return b"".join(stream.step(x[t, row : row + 1]).tobytes() for t in range(len(x)))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(8)))
    assert found == [whole[:, row].tobytes() for row in range(8)]


def allocations(run) -> tuple[int, int]:
    """The peak of the bytes and the growth of the blocks allocated by run(), least of five.

    All threads of the process are counted, also those of the test runner: what they allocate
    is not in every one of the five, what run() allocates is.
    """

    def measure():
        blocks = sys.getallocatedblocks()
        tracemalloc.start()
        run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, sys.getallocatedblocks() - blocks

    peaks, growths = zip(*(measure() for _ in range(5)), strict=True)
    return min(peaks), min(growths)


@cells
def test_a_step_with_out_allocates_nothing(isa, cell):
    stream = CELLS[cell](24, 65, isa=isa).stream(3)
    x, out = np.ones((3, 24), np.float32), np.empty((3, 65), np.float32)
    stream.step(x, out)

    def run():
        for _ in range(200):
            stream.step(x, out)

    peak, growth = allocations(run)
    assert peak < 1000  # of the loop itself
    assert growth < 20


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="denormals stay on this machine"
)
def test_denormals_are_zero_inside_a_pass_only(isa):
    """A pass treats denormals as zero, and leaves the caller's mode unchanged."""
    tiny = np.full((3, 2, 1), 1e-39, np.float32)
    layer = fastrnn.RNN(1, 1, nonlinearity="relu", bias=False, isa=isa)
    one = np.ones((1, 1), np.float32)
    layer.load_state_dict({"weight_ih_l0": one, "weight_hh_l0": one})
    assert not layer(tiny, tiny[:1])[0].any()
    stream = layer.stream(2)
    assert not stream.step(tiny[0]).any()
    assert (tiny * np.float32(2) > tiny).all()


# Each pass leaves what it had not reached as it was: NaN.
_INTERRUPTED = """
import signal
import numpy as np
import fastrnn
from fastrnn import _core

def new(*shape):
    return np.full(shape, np.nan, np.float32)

def interrupted(work, unreached):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        work()
    except KeyboardInterrupt:
        print(bool(np.isnan(unreached).all()))

layer, steps = fastrnn.LSTM(64, 256, seed=0), 6_000
x = np.ones((1000, 8, 64), np.float32)
wanted = layer(x)[0]
stack, long = layer._packed(training=True), np.broadcast_to(x[:1], (steps, 8, 64)).copy()
y, hn, cn = new(steps, 8, 256), new(1, 8, 256), new(1, 8, 256)
interrupted(lambda: stack.forward(long, y, None, None, hn, cn, None), y[-1])
tape, dx = _core.Tape(stack, 0.0, 0), new(steps, 8, 64)
stack.forward(long, y, None, None, hn, cn, None, tape)
interrupted(lambda: tape.backward(y, None, None, dx, None, None, [], False), dx[0])
dense = _core.Dense(2048, 2048, layer.isa)
rows, out = np.ones((20_000, 2048), np.float32), new(20_000, 2048)
interrupted(lambda: dense.run(rows, out), out[-1])
conv = _core.Conv1d(512, 512, 5, 1, 0, 0, 1, 1, layer.isa)
fastrnn.set_num_threads(1)  # the end of y is the last that is written
signal_x, out = np.ones((1, 512, 40_004), np.float32), new(1, 512, 40_000)
interrupted(lambda: conv.run(signal_x, out), out[..., -1])
values, out = np.ones((1 << 14, 1 << 12), np.float32), new(1 << 14, 1 << 12)
interrupted(lambda: _core.apply("scalar", "gelu", values, out), out[-1])
out[:] = np.nan
interrupted(lambda: _core.log_softmax("scalar", values, out), out[-1])
print(np.array_equal(layer(x)[0], wanted))
"""


def test_a_signal_ends_a_long_pass() -> None:
    command = [sys.executable, "-P", "-c", _INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n" * 7, done.stderr
