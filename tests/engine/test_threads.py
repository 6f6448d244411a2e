# SPDX-License-Identifier: MIT
"""The number of threads: environment, process, `with` blocks of threads and tasks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import fastrnn
from fastrnn.runtime import threads
from fastrnn.runtime.machine import cpu_count


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Act as if the number of threads had not been asked for yet; restore it afterwards."""
    for name in ("FASTRNN_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = fastrnn.get_num_threads()
    threads._use(0)
    yield
    fastrnn.set_num_threads(before)


# ---- Environment --------------------------------------------------------------------------------


def test_default() -> None:
    assert fastrnn.get_num_threads() == cpu_count()


@pytest.mark.parametrize("text", ["1", "3", " 5 ", "1024"])
def test_own_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("FASTRNN_NUM_THREADS", text)
    assert fastrnn.get_num_threads() == int(text)


INVALID = ["0", "-1", "1025", "two", "2,4", "1.0", "1_0", "+2", "\u0663", "9" * 5000]


@pytest.mark.parametrize("text", INVALID, ids=lambda text: ascii(text[:9]))
def test_own_variable_invalid(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("FASTRNN_NUM_THREADS", text)
    for _ in range(2):
        with pytest.raises(ValueError, match="FASTRNN_NUM_THREADS: expected 1 to 1024, got '"):
            fastrnn.get_num_threads()
    with fastrnn.num_threads(2):  # the program's choice does not depend on the environment
        assert fastrnn.get_num_threads() == 2
    fastrnn.set_num_threads(4)
    assert fastrnn.get_num_threads() == 4


@pytest.mark.parametrize("text", ["", "  "])
def test_own_variable_empty(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("FASTRNN_NUM_THREADS", text)
    assert fastrnn.get_num_threads() == 3


OPENMP = {"3": 3, "4,2": 4, " 5 , 1": 5, "1": 1, "5000": 1024}
OPENMP |= dict.fromkeys(["", "0", ",2", "-2", "all", "9" * 5000], cpu_count())


@pytest.mark.parametrize("text", OPENMP, ids=lambda text: repr(text[:9]))
def test_openmp_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert fastrnn.get_num_threads() == OPENMP[text]


def test_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRNN_NUM_THREADS", "3")
    assert fastrnn.get_num_threads() == 3
    monkeypatch.setenv("FASTRNN_NUM_THREADS", "4")
    assert fastrnn.get_num_threads() == 3


PROGRAM = """
import threading
import fastrnn
assert threading.active_count() == 1
try:
    print(fastrnn.get_num_threads())
except ValueError as error:
    print(error)
"""
PROCESSES = [
    ({"FASTRNN_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, "5"),
    ({"OMP_NUM_THREADS": "3,1"}, "3"),
    ({"FASTRNN_NUM_THREADS": "many"}, "FASTRNN_NUM_THREADS: expected 1 to 1024, got 'many'"),
]


@pytest.mark.parametrize(("variables", "printed"), PROCESSES)
def test_new_process(variables: dict[str, str], printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert (done.stdout.strip(), done.stderr) == (printed, "")


# ---- Process and blocks -------------------------------------------------------------------------


def test_process() -> None:
    fastrnn.set_num_threads(3)
    assert fastrnn.get_num_threads() == 3
    fastrnn.set_num_threads(np.int64(5))
    assert fastrnn.get_num_threads() == 5
    assert type(fastrnn.get_num_threads()) is int


def test_blocks_nest() -> None:
    fastrnn.set_num_threads(2)
    with fastrnn.num_threads(4):
        with fastrnn.num_threads(1):
            assert fastrnn.get_num_threads() == 1
        assert fastrnn.get_num_threads() == 4
        fastrnn.set_num_threads(3)  # for other threads, and after the block
        assert fastrnn.get_num_threads() == 4
    assert fastrnn.get_num_threads() == 3


def test_block_ends_with_an_error() -> None:
    fastrnn.set_num_threads(2)
    with pytest.raises(KeyError), fastrnn.num_threads(4):
        raise KeyError
    assert fastrnn.get_num_threads() == 2


@pytest.mark.parametrize("function", [fastrnn.set_num_threads, fastrnn.num_threads])
def test_arguments(function: object) -> None:
    assert callable(function)
    fastrnn.set_num_threads(2)
    for bad in (None, "2", 2.0, True, np.float32(2), [2]):
        with pytest.raises(TypeError, match=f"n: expected an int, got {type(bad).__name__}"):
            function(bad)
    for bad in (0, -1, 1025, 2**70, np.int8(-3)):
        with pytest.raises(ValueError, match=f"n: expected 1 to 1024, got {bad}"):
            function(bad)
    assert fastrnn.get_num_threads() == 2


def test_blocks_of_other_threads() -> None:
    """A block does not affect other threads; set_num_threads does."""
    fastrnn.set_num_threads(2)
    meeting = threading.Barrier(2)
    seen: list[int] = []

    def other() -> None:
        with fastrnn.num_threads(5):
            meeting.wait()  # both are in their blocks
            seen.append(fastrnn.get_num_threads())
            meeting.wait()  # both have read the number
        seen.append(fastrnn.get_num_threads())
        meeting.wait()
        meeting.wait()  # the number of the process has changed
        seen.append(fastrnn.get_num_threads())

    thread = threading.Thread(target=other)
    with fastrnn.num_threads(3):
        thread.start()
        meeting.wait()
        assert fastrnn.get_num_threads() == 3
        meeting.wait()
        meeting.wait()
        assert fastrnn.get_num_threads() == 3
    fastrnn.set_num_threads(7)
    meeting.wait()
    thread.join()
    # In Python 3.14 a new thread may inherit the blocks of the thread that starts it.
    outside = 3 if getattr(sys.flags, "thread_inherit_context", 0) else 2
    assert seen == [5, outside, 3 if outside == 3 else 7]


def test_blocks_of_tasks() -> None:
    async def task(n: int) -> list[int]:
        seen = []
        with fastrnn.num_threads(n):
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(fastrnn.get_num_threads())
        return seen

    async def tasks() -> list[list[int]]:
        return await asyncio.gather(task(2), task(3), task(4))

    assert asyncio.run(tasks()) == [[2] * 3, [3] * 3, [4] * 3]
