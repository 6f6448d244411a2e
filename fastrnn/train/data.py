# SPDX-License-Identifier: MIT
"""Batches for `fit`: parts of arrays, in an order drawn by a seed, or the caller's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from ..layers.arrays import dense_array

Batch = tuple[Any, Any, Any]  # x, targets, lengths or None
Data = Any  # (x, y), (x, y, lengths), or an iterable of these


class Batches:
    """Yields the batches of an epoch; `axes` are those of the samples in x and in y."""

    def __init__(self, data: Data, name: str, batch_size: int, axes: tuple[int, int]) -> None:
        self._name, self._axes, self._size = name, axes, batch_size
        self._arrays: tuple[Any, ...] | None = None
        self._batches: Iterable[Any] = ()
        if isinstance(data, str | bytes):
            raise TypeError(f"{name}: expected arrays (x, y), got {type(data).__name__}")
        if isinstance(data, tuple) and data and not all(map(_is_batch, data)):
            parts = zip(("x", "y", "lengths"), _parts(data, name), strict=False)
            self._arrays = tuple(dense_array(part, f"{name}: {own}") for own, part in parts)
            counts = self._counts()
            if len(set(counts)) > 1:
                raise ValueError(f"{name}: expected as many samples in each array, got {counts}")
            if counts[0] == 0:
                raise ValueError(f"{name}: expected at least one sample, got none")
        elif isinstance(data, Iterator) or not isinstance(data, Iterable):
            raise TypeError(
                f"{name}: expected arrays (x, y) or (x, y, lengths), or an iterable of these that "
                f"can be read once for each epoch, got {type(data).__name__}"
            )
        else:
            self._batches = data

    def _counts(self) -> list[int]:
        assert self._arrays is not None
        axes = (*self._axes, 0)
        for part, axis in zip(self._arrays, axes, strict=False):
            if not -part.ndim <= axis < part.ndim:
                raise ValueError(
                    f"{self._name}: expected axis {axis} to be the axis of samples, "
                    f"got an array of shape {part.shape}"
                )
        return [part.shape[axis] for part, axis in zip(self._arrays, axes, strict=False)]

    def __len__(self) -> int:
        """The number of batches, 0 if that is not known."""
        if self._arrays is not None:
            return -(-self._counts()[0] // self._size)
        return len(self._batches) if isinstance(self._batches, Sized) else 0

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """The batches of one epoch; rng: shuffle the samples of arrays by it."""
        if self._arrays is None:
            for batch in self._batches:
                x, y, *lengths = _parts(batch, self._name)
                if self.samples(x):  # an empty batch has nothing to say
                    yield x, y, lengths[0] if lengths else None
            return
        x, y, *lengths = self._arrays
        count = self._counts()[0]
        order = np.arange(count) if rng is None else rng.permutation(count)
        for first in range(0, count, self._size):
            rows = order[first : first + self._size]
            own = lengths[0][rows] if lengths else None
            yield x.take(rows, self._axes[0]), y.take(rows, self._axes[1]), own

    def samples(self, x: Any) -> int:
        return int(np.shape(x)[self._axes[0]])


def _is_batch(part: Any) -> bool:
    """Whether a part of a tuple is a batch of several arrays, not an array or a list of numbers."""
    return isinstance(part, tuple | list) and len(part) in (2, 3) and hasattr(part[0], "shape")


def _parts(batch: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise TypeError(
            f"{name}: expected (x, y) or (x, y, lengths), got {type(batch).__name__}{size}"
        )
    return tuple(batch)
