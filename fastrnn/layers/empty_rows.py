# SPDX-License-Identifier: MIT
"""A recurrent layer among others: rows of length 0, and learned first states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import FLOAT32, Array
from .backward import Gradients
from .base import Flow, Lengths
from .recurrent import GRU, LSTM, RNN

Recurrent = LSTM | GRU | RNN


def run(layer: Recurrent, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
    """As `layer(x, state, lengths=...)`, of rows that may be empty."""
    lengths = flow.lengths
    empty = None if lengths is None else lengths == 0
    if empty is None or not empty.any():
        y, last = layer(x, state, lengths=lengths)
        return y, last, flow
    y, last = layer(x, state, lengths=_at_least_one(lengths))
    return flow.zeroed(y), _kept(last, state, empty), flow


def run_vjp(
    layer: Recurrent, x: NDArray[Any], state: Any, flow: Flow, seed: int
) -> tuple[Array, Any, Flow, Any]:
    """As `layer.vjp`, of rows that may be empty; the last is (dy, dstate) -> Gradients."""
    lengths = flow.lengths
    empty = None if lengths is None else lengths == 0
    if empty is None or not empty.any():
        y, last, backward = layer.vjp(x, state, lengths=lengths, seed=seed)
        return y, last, flow, backward
    y, last, inner = layer.vjp(x, state, lengths=_at_least_one(lengths), seed=seed)

    def back(dy: Array, dstate: Any) -> Gradients:
        running = None if dstate is None else _map(lambda d: _select(d, ~empty), dstate)
        grads = inner(flow.zeroed(dy), running)
        if dstate is not None:
            passed = _map(lambda d: _select(d, empty), dstate)
            total = _map2(np.add, grads.state, passed)
            return Gradients(grads.x, total, grads.weights)
        return grads

    return flow.zeroed(y), _kept(last, state, empty), flow, back


def expanded(state: Any, x: NDArray[Any], layer: Recurrent) -> Any:
    """A first state (L*D, size), or a pair of such, for each row of x."""
    if x.ndim != 3:
        return state
    batch = x.shape[0 if layer.batch_first else 1]
    return _map(lambda part: np.repeat(part[:, None], batch, 1), state)


def _at_least_one(lengths: Lengths | None) -> Lengths:
    assert lengths is not None
    return np.maximum(lengths, 1)


def _kept(last: Any, state: Any, empty: NDArray[np.bool_]) -> Any:
    """The last state, which for empty rows is the first one."""
    if state is None:
        return _map(lambda part: _select(part, ~empty), last)
    return _map2(lambda part, own: np.where(_wide(empty, part), own, part), last, state)


def _select(part: Any, rows: NDArray[np.bool_]) -> Any:
    """A state with zeros in all but some rows."""
    return None if part is None else np.where(_wide(rows, part), part, FLOAT32.type(0))


def _wide(rows: NDArray[np.bool_], part: Any) -> NDArray[np.bool_]:
    return rows[:, None] if np.ndim(part) == 3 else rows


def _map(function: Any, state: Any) -> Any:
    return tuple(map(function, state)) if isinstance(state, tuple | list) else function(state)


def _map2(function: Any, one: Any, other: Any) -> Any:
    if not isinstance(one, tuple):
        return one if other is None else function(one, other)
    return tuple(
        a if b is None else function(a, np.asarray(b, FLOAT32))
        for a, b in zip(one, other, strict=True)
    )
