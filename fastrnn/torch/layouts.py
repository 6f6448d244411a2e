# SPDX-License-Identifier: MIT
"""How the tensors of a call lie in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# What the axes of x and of y are. A state has axes (layers * directions, batch, size), but for one
# sequence, which has no batch, and one step of a cell, (batch, size).
TIME, BATCH, SINGLE, STEP, PACKED = "time", "batch", "single", "step", "packed"


def time_major(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return a view (steps, batch, size) of an x or a y that is not packed."""
    if layout == BATCH:
        return array.swapaxes(0, 1)
    if layout == SINGLE:
        return array[:, None]
    return array[None] if layout == STEP else array


def full_state(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return a view (layers * directions, batch, size) of a state."""
    if layout == SINGLE:
        return array[:, None]
    return array[None] if layout == STEP else array


def state_shape(rows: int, batch: Any, size: int, layout: str) -> tuple[Any, ...]:
    """Return the shape of a state of `rows` layers and directions."""
    if layout == SINGLE:
        return rows, size
    return (batch, size) if layout == STEP else (rows, batch, size)


def steps_and_batch(x: Any, h0: Any, batch_sizes: Any, layout: str) -> tuple[Any, Any]:
    """Return how many steps and rows an x (tensor or array) has; they may be symbols."""
    if layout == PACKED:
        return batch_sizes.shape[0], h0.shape[1]
    if layout == TIME:
        return x.shape[0], x.shape[1]
    if layout == BATCH:
        return x.shape[1], x.shape[0]
    return (x.shape[0], 1) if layout == SINGLE else (1, x.shape[0])


class Ragged(NamedTuple):
    """Where the rows of a packed sequence lie in a padded batch, in the order of the packing."""

    present: NDArray[np.bool_]  # (steps, batch)
    lengths: NDArray[np.uintp]  # (batch,)

    def padded(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return (steps, batch, size) with the rows of data; the rest is arbitrary."""
        array = np.empty((*self.present.shape, data.shape[-1]), data.dtype)
        array[self.present] = data
        return array

    def packed(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[self.present]


def ragged(batch_sizes: NDArray[np.int64]) -> Ragged:
    """Make the map of a packed sequence from the number of rows at each step."""
    present = np.arange(batch_sizes[0]) < batch_sizes[:, None]
    return Ragged(present, present.sum(axis=0).astype(np.uintp))
