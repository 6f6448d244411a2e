# SPDX-License-Identifier: MIT
"""Memory that is used again: never while somebody still has it, always afterwards."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn._core import Lease, Spare

PACKAGE = Path(fastrnn.__file__).parent


def values(lease: Lease) -> np.ndarray:
    return np.frombuffer(lease, np.uint8)


def test_memory_comes_back_with_its_last_user():
    home = Spare()
    array = values(Lease(home, 1000))
    part, address = array[10:20], array.ctypes.data
    del array
    assert home.nbytes == 0  # the part has it
    del part
    assert home.nbytes == 1000
    again = values(Lease(home, 600))
    assert (again.ctypes.data, again.size, home.nbytes) == (address, 600, 0)


def test_memory_that_does_not_fit_is_freed():
    home = Spare()
    Lease(home, 1000, ("one",))
    for size, kind in ((1001, ("one",)), (1001, ("other",)), (1001, None)):
        lease = Lease(home, size, kind)
        assert home.nbytes == 0
        del lease
        assert home.nbytes == size


def test_one_block_is_kept():
    home = Spare()
    leases = [Lease(home, 100 + size) for size in range(50)]
    while leases:
        last = 100 + len(leases) - 1
        leases.pop()
        assert home.nbytes == last


def test_a_lease_in_a_cycle_comes_back():
    home = Spare()
    cycle = [Lease(home, 1000)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert home.nbytes == 1000


def test_a_lease_outlives_its_home():
    home = Spare()
    array = values(Lease(home, 1000))
    del home
    array[...] = 1


def test_too_much_memory_is_refused():
    with pytest.raises(MemoryError, match=f"no memory for {2**62} bytes"):
        Lease(Spare(), 2**62)


def test_threads_never_share_memory():
    home, wrong = Spare(), []

    def work(me: int) -> None:
        for turn in range(300):
            array = values(Lease(home, 4096))
            array[...] = me
            if turn % 3 == 0:
                event.wait(0)  # another thread's turn
            wrong.extend(np.flatnonzero(array != me))

    event = threading.Event()
    threads = [threading.Thread(target=work, args=[i]) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert home.nbytes == 4096


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_takes_nothing_that_a_thread_of_its_parent_had():
    home = Spare()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        array = values(Lease(home, 1000))
        array[...] = 7
        address.append(array.ctypes.data)
        held.set()
        release.wait()

    address: list[int] = []
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:  # where that thread does not exist, but its lease does
        os._exit(values(Lease(home, 1000)).ctypes.data == address[0])
    assert os.waitpid(child, 0)[1] == 0
    release.set()
    thread.join()


def test_nothing_asks_for_reference_counts():
    """Interpreters count differently: from CPython 3.14 on, a local variable may count nothing."""
    for path in PACKAGE.rglob("*.p*"):
        if path.suffix in (".py", ".pyx", ".pxi", ".pxd", ".pyi"):
            text = path.read_text("utf-8")
            assert "refcount" not in text.lower(), path
            assert "Py_REFCNT" not in text, path
