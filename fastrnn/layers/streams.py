# SPDX-License-Identifier: MIT
"""Streams: layers that run step by step and keep their state between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import FLOAT32, Array, float_array
from .checks import check_size, raise_from_layer
from .flow import Flow, one_step


class Stream(_core.Stepper):
    """A batch of sequences that advance together, one step at a time, made by `layer.stream()`.

    `y_t = stream.step(x_t, out=None)`: x_t (B, I) floating point, y_t (B, R) float32; `out`, if
    given, is written and returned, and then a step allocates nothing. The steps of a sequence have
    the same bits as one call of the layer. Any number of streams share the weights of a layer, and
    keep those that it had when they were made.

    ValueError for a wrong shape and for an `out` that cannot be written, TypeError for an x that is
    not floating point, RuntimeError when two threads step one stream at once.

    >>> import numpy as np, fastrnn
    >>> stream = fastrnn.GRU(3, 5).stream(batch_size=2)
    >>> y = stream.step(np.ones((2, 3), np.float32))
    >>> y.shape, stream.state.shape
    ((2, 5), (1, 2, 5))
    """

    def __reduce__(self) -> Any:
        raise TypeError(_NO_COPY)

    def __repr__(self) -> str:
        _, batch, size = self._h.shape
        return f"Stream(batch_size={batch}, x: ({batch}, {self.inputs}), y: ({batch}, {size}))"

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
        chosen = slice(None) if rows is None else _row_indices(rows, self._h.shape[1])
        self._h[:, chosen] = 0.0
        if self._c is not None:
            self._c[:, chosen] = 0.0

    def _advance(self, x: NDArray[Any], flow: Flow) -> Array:
        return self.step(x)

    def _copied(self, x: Any) -> Array:
        """A copy for `step` of an x that it cannot read in place, or an error."""
        return np.array(_fitting(x, (self._h.shape[1], self.inputs), "x"), order="C")

    def _expected_out(self, out: Any) -> str:
        """The message for an `out` that `step` cannot write."""
        return (
            "out: expected a writable float32 array of shape "
            f"{(self._h.shape[1], self._h.shape[2])} with contiguous rows, got {_found(out)}"
        )


class LayerStream:
    """Streams of a layer without a state: every step is a call. See `SequentialStream`."""

    def __init__(self, layer: Any, batch_size: int) -> None:
        self._batch = check_size("batch_size", batch_size)
        why = layer._why_not_causal()
        if why:
            raise ValueError(f"stream: {type(layer).__name__} cannot run step by step: {why}")
        self._layer = layer

    def __repr__(self) -> str:
        return f"LayerStream({self._layer!r}, batch_size={self._batch})"

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        """y_t (B, ...) of x_t (B, ...), written to `out` if that is given."""
        x = self._layer._input(x_t)
        return _given(self._advance(x, one_step(x)), out)

    def _advance(self, x: NDArray[Any], flow: Flow) -> Array:
        if x.shape[:1] != (self._batch,):
            raise ValueError(f"x: expected {self._batch} rows, got shape {x.shape}")
        y: Array = self._layer._forward(x[None], flow)[0]
        return y

    @property
    def state(self) -> None:
        """None; it may be set to None."""
        return None

    @state.setter
    def state(self, value: None) -> None:
        if value is not None:
            raise ValueError(f"state: expected None, got {type(value).__name__}")

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Check the rows and do nothing else: there is no state."""
        if rows is not None:
            _row_indices(rows, self._batch)


class SequentialStream:
    """A batch of sequences that advance through a `Sequential` together, step by step.

    `y_t = stream.step(x_t, out=None)`: x_t (B, I), or (B,) integers for an Embedding, y_t (B, O)
    float32; `out`, if given, is written and returned. The steps of a sequence have the same bits as
    one call of the model. `stream.state` is a copy of the states of its layers, as `model(x)`
    returns them; assign to set them.

    >>> import numpy as np, fastrnn
    >>> model = fastrnn.Sequential(fastrnn.GRU(3, 5), fastrnn.Linear(5, 2))
    >>> stream = model.stream(batch_size=4)
    >>> stream.step(np.ones((4, 3), np.float32)).shape, stream.state["0"].shape
    ((4, 2), (1, 4, 5))
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        self._batch = check_size("batch_size", batch_size)
        reasons = [
            f"{name!r} ({type(layer).__name__}): {why}" for name, layer, why in model._not_causal()
        ]
        if reasons:
            raise ValueError(f"stream: layers cannot run step by step: {'; '.join(reasons)}")
        self._streams = {name: child.stream(batch_size) for name, child in model.items()}
        self._initial = {
            name: with_rows(state, self._batch) for name, state in model.initial_state.items()
        }
        self._input = model._input
        self.reset()

    def __repr__(self) -> str:
        return f"SequentialStream(batch_size={self._batch}, layers: {', '.join(self._streams)})"

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        """y_t of x_t, written to `out` if that is given; states move on by one step."""
        return _given(self._advance(self._input(x_t)), out)

    def _advance(self, x: NDArray[Any], flow: Flow | None = None) -> Array:
        y, flow = x, one_step(x)
        for name, stream in self._streams.items():
            try:
                y = stream._advance(y, flow)
            except (ValueError, TypeError) as error:
                raise_from_layer(name, error)
        return y

    @property
    def state(self) -> dict[str, Any] | None:
        """Copies of the states of the layers that have one, by name; None if none has."""
        states = {name: stream.state for name, stream in self._streams.items()}
        return {name: state for name, state in states.items() if state is not None} or None

    @state.setter
    def state(self, value: Mapping[str, Any] | None) -> None:
        if value is not None and not isinstance(value, Mapping):
            raise TypeError(
                f"state: expected a dict of states by layer, got {type(value).__name__}"
            )
        states = {} if value is None else dict(value)
        unknown = [name for name in states if name not in self._streams]
        if unknown:
            raise ValueError(
                f"state: expected names of layers {list(self._streams)}, got {unknown}"
            )
        before = self.state
        try:
            self.reset()
            for name, state in states.items():
                if state is not None:
                    self._streams[name].state = state
        except (ValueError, TypeError):
            for name, state in (before or {}).items():
                self._streams[name].state = state
            raise

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Start anew, with all streams or with these rows of the batch (numpy indices)."""
        chosen = slice(None) if rows is None else _row_indices(rows, self._batch)
        for name, stream in self._streams.items():
            stream.reset(rows)
            if name in self._initial:
                now, first = stream.state, self._initial[name]
                pairs = zip(now, first, strict=True) if isinstance(now, tuple) else [(now, first)]
                for part, own in pairs:
                    part[:, chosen] = own[:, chosen]
                stream.state = now

    def __reduce__(self) -> Any:
        raise TypeError(_NO_COPY)


_NO_COPY = "a stream is not copied or pickled: copy its state to a new one's"


def with_rows(state: Any, batch: int) -> Any:
    """A state (L*D, size), or a tuple of such, for each row of a batch."""
    if isinstance(state, tuple):
        return tuple(np.repeat(part[:, None], batch, 1) for part in state)
    return np.repeat(state[:, None], batch, 1)


def _given(y: Array, out: Array | None) -> Array:
    """y, copied to `out` if that is an array of its shape."""
    if out is None:
        return y.copy() if y.base is not None else y
    fits = isinstance(out, np.ndarray) and out.shape == y.shape and out.dtype == FLOAT32
    if not fits or not out.flags.writeable:
        raise ValueError(
            f"out: expected a writable float32 array of shape {y.shape}, got {_found(out)}"
        )
    np.copyto(out, y)
    return out


def _found(out: Any) -> str:
    return f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__


def _fitting(value: Any, shape: tuple[int, ...], name: str) -> Array:
    array = float_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def _row_indices(rows: ArrayLike, batch: int) -> NDArray[Any]:
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
