# SPDX-License-Identifier: MIT
"""Streams of the layers around the recurrence, and of a `Sequential`: one step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import FLOAT32, Array
from .base import Flow, Layer
from .checks import check_size
from .recurrent import GRU, LSTM, RNN
from .stream import row_indices

if TYPE_CHECKING:
    from .sequential import Sequential


class LayerStream:
    """Streams of a layer without a state: every step is a call. See `SequentialStream`."""

    def __init__(self, layer: Layer, batch_size: int) -> None:
        check_size("batch_size", batch_size)
        why = layer._why_not_causal()
        if why:
            raise ValueError(f"stream: {type(layer).__name__} cannot run step by step: {why}")
        self._layer, self._batch = layer, int(batch_size)

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        """y_t (B, ...) of x_t (B, ...), written to `out` where it is given."""
        x = self._layer._input(x_t)
        return given(self._run(x, one_step(x)), out)

    def _run(self, x: NDArray[Any], flow: Flow) -> Array:
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
        """Do nothing but check the rows: there is no state."""
        if rows is not None:
            row_indices(rows, self._batch)


class SequentialStream:
    """A batch of sequences that advance through a `Sequential` together, step by step.

    `y_t = stream.step(x_t, out=None)`: x_t (B, I), or (B,) integers for an Embedding, y_t (B, O)
    float32; `out` is written and returned where it is given. The steps of a sequence give the same
    bits as one call of the model. `stream.state` is a copy of the states of its layers, as
    `model(x)` returns them, to be assigned to set them.

    >>> import numpy as np, fastrnn
    >>> model = fastrnn.Sequential(fastrnn.GRU(3, 5), fastrnn.Linear(5, 2))
    >>> stream = model.stream(batch_size=4)
    >>> stream.step(np.ones((4, 3), np.float32)).shape, stream.state["0"].shape
    ((4, 2), (1, 4, 5))
    """

    def __init__(self, model: Sequential, batch_size: int) -> None:
        check_size("batch_size", batch_size)
        reasons = [f"{name!r} ({type(c).__name__}): {why}" for name, c, why in _obstacles(model)]
        if reasons:
            raise ValueError(f"stream: layers cannot run step by step: {'; '.join(reasons)}")
        self._batch = int(batch_size)
        self._streams = {n: child.stream(batch_size) for n, child in model.items()}
        self._initial = {
            name: _with_rows(state, self._batch) for name, state in model.initial_state.items()
        }
        self._input = model._input
        self.reset()

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        """y_t of x_t, written to `out` where it is given; states move on by one step."""
        return given(self._run(self._input(x_t)), out)

    def _run(self, x: NDArray[Any]) -> Array:
        y, flow = x, one_step(x)
        for name, stream in self._streams.items():
            try:
                if isinstance(stream, LayerStream):
                    y = stream._run(y, flow)
                elif isinstance(stream, SequentialStream):
                    y = stream._run(y)
                else:
                    y = stream.step(y)
            except (ValueError, TypeError) as error:
                raise type(error)(f"layer {name!r}: {error}") from error
        return y

    @property
    def state(self) -> dict[str, Any] | None:
        """Copies of the states of the layers that have one, by name; None where none has."""
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
        chosen = slice(None) if rows is None else row_indices(rows, self._batch)
        for name, stream in self._streams.items():
            stream.reset(rows)
            if name in self._initial:
                now, first = stream.state, self._initial[name]
                pairs = zip(now, first, strict=True) if isinstance(now, tuple) else [(now, first)]
                for part, own in pairs:
                    part[:, chosen] = own[:, chosen]
                stream.state = now

    def __reduce__(self) -> Any:
        raise TypeError("a stream is not copied or pickled: copy its state to a new one's")


def one_step(x: NDArray[Any]) -> Flow:
    """The flow of one step of a sequence: layers see the axes they see in the whole one."""
    return Flow(None, (1, 0), x[None])


def stream_of(layer: Layer, batch_size: int) -> LayerStream:
    return LayerStream(layer, batch_size)


def given(y: Array, out: Array | None) -> Array:
    """y, in `out` where that is an array it fits."""
    if out is None:
        return y.copy() if y.base is not None else y
    fits = isinstance(out, np.ndarray) and out.shape == y.shape and out.dtype == FLOAT32
    if not fits or not out.flags.writeable:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out: expected a writable float32 array of shape {y.shape}, got {found}")
    np.copyto(out, y)
    return out


def _obstacles(model: Sequential) -> Iterator[tuple[str, Any, str]]:
    """The layers that cannot run step by step, with why."""
    for name, child in model.items():
        if isinstance(child, Layer | LSTM | GRU | RNN):
            why = child._why_not_causal()
            if why:
                yield name, child, why
        else:
            for inner, layer, why in _obstacles(child):
                yield f"{name}.{inner}", layer, why


def _with_rows(state: Any, batch: int) -> Any:
    parts = state if isinstance(state, tuple) else (state,)
    wide = tuple(np.repeat(part[:, None], batch, 1) for part in parts)
    return wide if isinstance(state, tuple) else wide[0]
