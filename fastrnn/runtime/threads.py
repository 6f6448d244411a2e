# SPDX-License-Identifier: MIT
"""How many threads a pass may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from .. import _core
from ..layers.checks import check_int
from .machine import cache_sizes, cpu_count

MOST_THREADS = _core.MOST_THREADS


def get_num_threads() -> int:
    """The threads that a pass uses at most.

    Inside `with num_threads(n)` that is n, else what set_num_threads was called with, else
    FASTRNN_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may use. The
    environment is read once, when the number is first needed; ValueError if FASTRNN_NUM_THREADS is
    not a number from 1 to 1024.
    """
    return _core.threads()


def set_num_threads(n: int) -> None:
    """Let every pass of this process use up to n threads, from 1 to 1024.

    >>> import fastrnn
    >>> before = fastrnn.get_num_threads()
    >>> fastrnn.set_num_threads(1)
    >>> fastrnn.get_num_threads()
    1
    >>> fastrnn.set_num_threads(before)
    """
    global _said
    _said = _use(check_int("n", n, 1, MOST_THREADS))


def chosen() -> int:
    """The number from set_num_threads, else from FASTRNN_NUM_THREADS, else 0."""
    return _said or _own_once()


def num_threads(n: int) -> AbstractContextManager[None]:
    """Let passes inside a `with` block use up to n threads, from 1 to 1024.

    This holds for the Python thread (or the asyncio task) that runs the block; others keep theirs.
    Inside the block it counts more than set_num_threads.

    >>> import fastrnn
    >>> with fastrnn.num_threads(1):
    ...     fastrnn.get_num_threads()
    1
    """
    return _threads_in_context(check_int("n", n, 1, MOST_THREADS))


@contextmanager
def _threads_in_context(n: int) -> Iterator[None]:
    before = _core.local_threads.get()
    _core.local_threads.set(n)
    try:
        yield
    finally:
        _core.local_threads.set(before)


def _use(n: int) -> int:
    """Pass the threads and the caches to the core, which plans passes for them."""
    _core.set_machine(n, *_caches())
    return n


_caches = cache(cache_sizes)


def _own() -> int:
    own = os.environ.get("FASTRNN_NUM_THREADS", "").strip()
    found = _positive(own)
    if own and not 1 <= found <= MOST_THREADS:
        raise ValueError(f"FASTRNN_NUM_THREADS: expected 1 to {MOST_THREADS}, got {own!r}")
    return found


def _default() -> int:
    own = _own()
    if own:
        return own
    # OpenMP takes a list, a number for each level of nesting; only the first level matters here.
    found = _positive(os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip())
    return min(found or cpu_count(), MOST_THREADS)


def _positive(text: str) -> int:
    """A number in plain digits; 0 for anything else."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


_said = 0  # by set_num_threads
_own_once = cache(_own)
_use(0)  # caches, for `with num_threads(n)`; the number is asked for at the first pass
_core.set_default(lambda: _use(_default()))
