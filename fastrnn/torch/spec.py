# SPDX-License-Identifier: MIT
"""What a recurrent stack is, and how the tensors of a call lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..stack_spec import parameter_shapes


class Spec(NamedTuple):
    """The arguments of a stack that the engine needs; cell is named as in the core."""

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    bidirectional: bool
    proj_size: int

    @property
    def output_size(self) -> int:
        """The width of h."""
        return self.proj_size or self.hidden_size

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def width(self) -> int:
        """The width of y."""
        return self.output_size * self.directions

    @property
    def has_c(self) -> bool:
        return self.cell == "lstm"


@cache
def weight_shapes(spec: Spec) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a stack's weights in PyTorch's flat order."""
    kind = spec.cell.partition("_")[0].upper()
    return tuple(parameter_shapes(kind, *spec[1:]).values())


def by_place(spec: Spec, tensors: Sequence[Any]) -> list[list[Any]]:
    """Deal tensors in PyTorch's flat order to layers and directions.

    Each gets five: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, or None where it has none.
    """
    each = len(tensors) // (spec.num_layers * spec.directions)
    places = []
    for first in range(0, len(tensors), each):
        own = list(tensors[first : first + each])
        projection = [own.pop() if spec.proj_size else None]
        places.append(own[:2] + (own[2:] or [None, None]) + projection)
    return places


# --- Layouts: what the axes of x (and of y) are. A state has (layers * directions, batch, size) but
# --- for one sequence, where the batch is left out, and one step of a cell, which is (batch, size).

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
    """Where the rows of a packed sequence lie in a padded batch, sorted as they are packed."""

    present: NDArray[np.bool_]  # (steps, batch)
    lengths: NDArray[np.uintp]  # (batch,)

    def padded(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return (steps, batch, size) with the rows of data in it; what is between is arbitrary."""
        array = np.empty((*self.present.shape, data.shape[-1]), data.dtype)
        array[self.present] = data
        return array

    def packed(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[self.present]


def ragged(batch_sizes: NDArray[np.int64]) -> Ragged:
    """Make the map of a packed sequence from how many rows each step has."""
    present = np.arange(batch_sizes[0]) < batch_sizes[:, None]
    return Ragged(present, present.sum(axis=0).astype(np.uintp))
