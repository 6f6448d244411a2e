# SPDX-License-Identifier: MIT
"""Simultaneous passes, across forks and while the number of threads changes."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import fastrnn

Layer = fastrnn.LSTM | fastrnn.GRU | fastrnn.RNN
Call = tuple[Layer, np.ndarray, list[int] | None, np.ndarray]

fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def random_layer(draw: random.Random) -> Layer:
    kind = draw.choice([fastrnn.LSTM, fastrnn.GRU, fastrnn.RNN])
    sizes = draw.choice([1, 3, 8, 17, 40]), draw.choice([1, 7, 16, 33, 96, 200])
    bidirectional = draw.random() < 0.5
    return kind(
        *sizes, draw.choice([1, 2, 3]), bidirectional=bidirectional, seed=draw.randrange(99)
    )


def random_calls(seed: int, count: int) -> list[Call]:
    """Layers with an input, lengths and the y that one thread computes."""
    draw, calls = random.Random(seed), []
    for _ in range(count):
        layer = random_layer(draw)
        steps, batch = draw.choice([1, 2, 9, 40]), draw.choice([1, 2, 5, 30])
        x = np.random.default_rng(seed).standard_normal((steps, batch, layer.input_size))
        lengths = [draw.randint(1, steps) for _ in range(batch)] if draw.random() < 0.4 else None
        with fastrnn.num_threads(1):
            y, _ = layer(x.astype(np.float32), lengths=lengths)
        calls.append((layer, x.astype(np.float32), lengths, y))
    return calls


def wrong(calls: list[Call]) -> int:
    return sum(
        not np.array_equal(layer(x, lengths=lengths)[0], y) for layer, x, lengths, y in calls
    )


def keep_forking(until: Callable[[], bool], calls: list[Call]) -> list[int]:
    """Exit codes of children that run passes while the threads of this process run theirs."""
    codes = []
    while not until():
        child = os.fork()
        if child == 0:
            with fastrnn.num_threads(2):
                os._exit(min(wrong(calls), 99))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return codes


def soak(seconds: float, callers: int = 8) -> None:
    """Run random passes on `callers` threads, change the number of threads, and fork."""
    calls = random_calls(1, 40)
    end = time.monotonic() + seconds
    counts, failures = [0] * callers, [0] * callers
    before = fastrnn.get_num_threads()

    def call(me: int) -> None:
        draw = random.Random(me)
        while time.monotonic() < end:
            counts[me] += 1
            failures[me] += wrong([draw.choice(calls)])
            if counts[me] % 7 == 0:
                fastrnn.set_num_threads(draw.choice([1, 2, 3, 8]))

    threads = [threading.Thread(target=call, args=(me,)) for me in range(callers)]
    for thread in threads:
        thread.start()
    codes = []
    if hasattr(os, "fork"):
        codes = keep_forking(lambda: time.monotonic() >= end, calls[:10])
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a pass hangs"
    fastrnn.set_num_threads(before)
    assert min(counts) > 0
    assert not any(failures)
    assert not any(codes)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_passes_at_once() -> None:
    soak(5)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_passes_at_once_for_ten_minutes() -> None:
    soak(600)


def child_matches(call: Call) -> bool:
    with fastrnn.num_threads(2):
        return wrong([call]) == 0


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_start_methods(method: str) -> None:
    """A pool of processes, as in data loaders, after this process has used its threads."""
    layer = fastrnn.GRU(64, 96, seed=0)
    x = np.random.default_rng(0).standard_normal((50, 8, 64)).astype(np.float32)
    with fastrnn.num_threads(2):
        y, _ = layer(x)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert all(pool.map(child_matches, [(layer, x, None, y)] * 4))


def test_more_threads_than_cpus() -> None:
    calls = random_calls(2, 25)
    with fastrnn.num_threads(16):
        assert wrong(calls) == 0


def test_idle_threads_use_no_cpu() -> None:
    layer = fastrnn.LSTM(256, 256, seed=0)
    with fastrnn.num_threads(4):
        layer(np.ones((50, 16, 256), np.float32))
    time.sleep(0.05)  # they spin for about a millisecond
    start = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(1)
    end = resource.getrusage(resource.RUSAGE_SELF)
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 0.02


EXIT = """
import threading, numpy as np, fastrnn
fastrnn.set_num_threads(4)
layer = fastrnn.LSTM(128, 256, 2)
x = np.ones((200, 16, 128), np.float32)
def forever():
    while True:
        layer(x)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
layer(x)
"""


def test_exit_while_threads_work() -> None:
    finished = subprocess.run([sys.executable, "-P", "-c", EXIT], timeout=120, capture_output=True)
    assert finished.returncode == 0, finished.stderr


def test_import_starts_no_thread() -> None:
    script = "import threading, os, fastrnn\nprint(len(os.listdir('/proc/self/task')))"
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("no /proc on this system")
    bare = subprocess.run(
        [sys.executable, "-P", "-c", script.replace("fastrnn", "numpy")],
        capture_output=True,
        text=True,
    )
    own = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert own.stdout == bare.stdout
