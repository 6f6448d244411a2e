# SPDX-License-Identifier: MIT
"""Streams: a layer that runs step by step and keeps its state between steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import Array, float_array


class Stream(_core.Stepper):
    """A batch of sequences that advance together, one step at a time, made by `layer.stream()`.

    `y_t = stream.step(x_t, out=None)`: x_t (B, I) floating point, y_t (B, R) float32; `out` is
    written and returned where it is given, and then a step allocates nothing. The steps of a
    sequence give the same bits as one call of the layer. Any number of streams share the weights
    of a layer, and keep those it had when they were made.

    ValueError for a wrong shape and for an `out` that cannot be written, TypeError for an x that is
    not floating point, RuntimeError when two threads step one stream at once.

    >>> import numpy as np, fastrnn
    >>> stream = fastrnn.GRU(3, 5).stream(batch_size=2)
    >>> y = stream.step(np.ones((2, 3), np.float32))
    >>> y.shape, stream.state.shape
    ((2, 5), (1, 2, 5))
    """

    def __reduce__(self) -> Any:
        raise TypeError("a stream is not copied or pickled: copy its state to a new one's")

    @property
    def state(self) -> Array | tuple[Array, Array]:
        """A copy of h (L, B, R), for an LSTM of (h, c) with c (L, B, H); assign to set it."""
        return self._h.copy() if self._c is None else (self._h.copy(), self._c.copy())

    @state.setter
    def state(self, value: Any) -> None:
        if self._c is None:
            self._h[...] = _fitting(value, self._h.shape, "state")
            return
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(f"state: expected a pair (h, c), got {type(value).__name__}")
        h = _fitting(value[0], self._h.shape, "state[0] (h)").copy()
        self._c[...] = _fitting(value[1], self._c.shape, "state[1] (c)")
        self._h[...] = h

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set the state to zero, of all streams or of these rows of the batch (numpy indices)."""
        chosen = slice(None) if rows is None else row_indices(rows, self._h.shape[1])
        self._h[:, chosen] = 0.0
        if self._c is not None:
            self._c[:, chosen] = 0.0

    def _copied(self, x: Any) -> Array:
        """A copy for `step` of an x that it cannot read in place, or an error."""
        return np.array(_fitting(x, (self._h.shape[1], self.inputs), "x"), order="C")

    def _expected_out(self, out: Any) -> str:
        """What to say of an `out` that `step` cannot write."""
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        return (
            "out: expected a writable float32 array of shape "
            f"{(self._h.shape[1], self._h.shape[2])} with contiguous rows, got {found}"
        )


def _fitting(value: Any, shape: tuple[int, ...], name: str) -> Array:
    array = float_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def row_indices(rows: ArrayLike, batch: int) -> NDArray[Any]:
    """Rows as numpy indexes them: integers, or a bool for each."""
    array = np.asarray(rows)
    if array.dtype == bool and array.shape == (batch,):
        return array
    if array.size == 0:
        return np.empty(0, np.intp)
    if array.dtype.kind not in "iu":
        found = f"{array.dtype} {array.shape}"
        raise TypeError(f"rows: expected integers or {batch} bools, got {found}")
    if array.min() < -batch or array.max() >= batch:
        raise ValueError(f"rows: expected rows of a batch of {batch}, got {array.tolist()}")
    return array
