# SPDX-License-Identifier: MIT
"""Streams: a layer that runs step by step and keeps its state between steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from .arrays import Array, float_array


class Stream(_core.Stepper):
    """A batch of sequences that advance together, one step at a time, made by `layer.stream()`.

    `y_t = stream.step(x_t, out=None)`: x_t (B, I) floating point, y_t (B, R) float32; `out` is
    written and returned where it is given, and then a step allocates nothing. The steps of a
    sequence give the same bits as one call of the layer. A stream belongs to one thread at a time;
    any number of streams share the weights of a layer.

    >>> import numpy as np, fastrnn
    >>> stream = fastrnn.GRU(3, 5).stream(batch_size=2)
    >>> y = stream.step(np.ones((2, 3), np.float32))
    >>> y.shape, stream.state.shape
    ((2, 5), (1, 2, 5))
    """

    @property
    def state(self) -> Array | tuple[Array, Array]:
        """A copy of h (L, B, R), for an LSTM of (h, c) with c (L, B, H); assign to set it."""
        return self.h.copy() if self.c is None else (self.h.copy(), self.c.copy())

    @state.setter
    def state(self, value: Any) -> None:
        if self.c is None:
            h = _fitting(value, self.h.shape, "state")
        else:
            if not isinstance(value, tuple | list) or len(value) != 2:
                raise ValueError(f"state: expected a pair (h, c), got {type(value).__name__}")
            h = _fitting(value[0], self.h.shape, "state[0] (h)")
            self.c[...] = _fitting(value[1], self.c.shape, "state[1] (c)")
        self.h[...] = h

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set the state to zero, of all streams or of these rows of the batch (numpy indices)."""
        chosen = slice(None) if rows is None else np.asarray(rows)
        self.h[:, chosen] = 0.0
        if self.c is not None:
            self.c[:, chosen] = 0.0

    def _copied(self, x: Any) -> Array:
        """A copy for `step` of an x that it cannot read in place, or an error."""
        return np.array(_fitting(x, (self.h.shape[1], self.inputs), "x"), order="C")

    def _expected_out(self, out: Any) -> str:
        """What to say of an `out` that `step` cannot write."""
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        return (
            "out: expected a writable float32 array of shape "
            f"{(self.h.shape[1], self.h.shape[2])} with contiguous rows, got {found}"
        )


def _fitting(value: Any, shape: tuple[int, ...], name: str) -> Array:
    array = float_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array
