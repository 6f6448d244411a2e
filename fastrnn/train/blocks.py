# SPDX-License-Identifier: MIT
"""Arrays in blocks that stay in a core's cache between the operations on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 16384  # floats: six arrays of 64 KiB are within L2; a numpy call costs far less than these


def blocks(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield flat views of the same blocks of several arrays of one shape, to be written in place.

    Arrays that are written must be contiguous: others are copied.
    """
    flat = [np.reshape(array, -1) for array in arrays]
    for first in range(0, flat[0].size, BLOCK):
        yield tuple(array[first : first + BLOCK] for array in flat)
