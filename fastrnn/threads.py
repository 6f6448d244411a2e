# SPDX-License-Identifier: MIT
"""How many threads a pass may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

# Passes run on the calling thread; any number of Python threads may run them at once.
_WIDTH = 1


def get_num_threads() -> int:
    """The threads that a pass uses at most."""
    return _WIDTH


def set_num_threads(n: int) -> None:
    """Allow a pass n >= 1 threads. This version uses one, which get_num_threads() reports."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n: expected an int, got {type(n).__name__}")
    if n < 1:
        raise ValueError(f"n: expected at least 1, got {n}")


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Set the number of threads inside a `with` block."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)
