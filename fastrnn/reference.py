# SPDX-License-Identifier: MIT
"""What a recurrent layer computes: the specification, in float64 and plain numpy.

Everything else in this repository is a faster way to get these numbers. Letters are those of the
papers: x input, h hidden state, c cell state; W input weights, U recurrent weights, b and d their
biases, P projection; i f g o the gates of the LSTM, r z n those of the GRU. Each gate has `hidden`
rows in W, U, b and d; a cell's gates are stacked there in PyTorch's order, which is the order here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Cell = Callable[..., tuple[Array, ...]]


class Weights(NamedTuple):
    """The weights of one direction of one layer."""

    W: Array  # [gates * hidden][inputs]
    U: Array  # [gates * hidden][hidden, or projection]
    b: Array | float = 0.0  # [gates * hidden]
    d: Array | float = 0.0  # [gates * hidden]
    P: Array | None = None  # [projection][hidden]


# --- One step of each cell: x [batch][inputs] and the state before it -> the state after it ---


def sigmoid(a: Array) -> Array:
    """1 / (1 + e^-a); e^-a may become inf, which gives the right limit, 0."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-a))


def relu(a: Array) -> Array:
    """Negative values become 0; NaN stays NaN."""
    return np.maximum(a, 0.0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": relu}


def rnn_cell(x: Array, h: Array, w: Weights, nonlinearity: str = "tanh") -> tuple[Array]:
    """Elman 1990, "Finding structure in time"; with relu: Le, Jaitly and Hinton 2015 (1504.00941).

    h' = tanh(W x + b + U h + d)
    """
    return (ACTIVATIONS[nonlinearity](x @ w.W.T + w.b + h @ w.U.T + w.d),)


def gru_cell(x: Array, h: Array, w: Weights) -> tuple[Array]:
    """Cho et al. 2014 in its first version (1406.1078v1): reset after the recurrent product.

    r = sigmoid(W_r x + b_r + U_r h + d_r)
    z = sigmoid(W_z x + b_z + U_z h + d_z)
    n = tanh(W_n x + b_n + r * (U_n h + d_n))
    h' = (1 - z) * n + z * h
    PyTorch, cuDNN, Keras (reset_after=True) and ONNX (linear_before_reset=1) mean this one.
    """
    x_r, x_z, x_n = np.split(x @ w.W.T + w.b, 3, axis=-1)
    h_r, h_z, h_n = np.split(h @ w.U.T + w.d, 3, axis=-1)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1.0 - z) * n + z * h,)


def gru_cell_reset_before(x: Array, h: Array, w: Weights) -> tuple[Array]:
    """Cho et al. 2014 in its published version (1406.1078v3): reset before the recurrent product.

    r and z as in `gru_cell`
    n = tanh(W_n x + b_n + U_n (r * h) + d_n)
    h' = (1 - z) * n + z * h
    Keras (reset_after=False) and ONNX (linear_before_reset=0) mean this one.
    """
    x_r, x_z, x_n = np.split(x @ w.W.T + w.b, 3, axis=-1)
    h_r, h_z, _ = np.split(h @ w.U.T + w.d, 3, axis=-1)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    _, _, h_n = np.split((r * h) @ w.U.T + w.d, 3, axis=-1)
    n = np.tanh(x_n + h_n)
    return ((1.0 - z) * n + z * h,)


def lstm_cell(x: Array, h: Array, c: Array, w: Weights) -> tuple[Array, Array]:
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers, Schmidhuber and Cummins 2000.

    i = sigmoid(W_i x + b_i + U_i h + d_i)
    f = sigmoid(W_f x + b_f + U_f h + d_f)
    g = tanh(W_g x + b_g + U_g h + d_g)
    o = sigmoid(W_o x + b_o + U_o h + d_o)
    c' = f * c + i * g
    h' = o * tanh(c'), or P (o * tanh(c')) with the projection of Sak, Senior and Beaufays 2014
    (1402.1128).
    """
    i, f, g, o = np.split(x @ w.W.T + w.b + h @ w.U.T + w.d, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h if w.P is None else h @ w.P.T), c


# --- The loops: over steps, and over layers and directions ---


def run_direction(
    cell: Cell,
    x: Array,
    state: Sequence[Array],
    w: Weights,
    lengths: NDArray[np.intp],
    reverse: bool,
) -> tuple[Array, list[Array]]:
    """Run one direction of one layer: x [steps][batch][inputs] -> y [steps][batch][hidden], state.

    A row takes part in its first `length` steps only: y is 0 beyond them and the row's state stays
    what it was after its last one. Reversed, each row begins at its own last step.
    """
    y = np.zeros((*x.shape[:2], state[0].shape[-1]))
    state = [part.copy() for part in state]
    for step in range(len(x)):
        rows = np.flatnonzero(step < lengths)
        at = lengths[rows] - 1 - step if reverse else np.full(len(rows), step)
        after = cell(x[at, rows], *(part[rows] for part in state), w)
        for part, value in zip(state, after, strict=True):
            part[rows] = value
        y[at, rows] = state[0][rows]
    return y, state


def direction_weights(weights: Mapping[str, ArrayLike], suffix: str) -> Weights:
    """Pick the weights that PyTorch names `..._l<layer>` or `..._l<layer>_reverse`."""
    names = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "d": "bias_hh", "P": "weight_hr"}
    found = {
        letter: np.asarray(weights[f"{name}_{suffix}"], np.float64)
        for letter, name in names.items()
        if f"{name}_{suffix}" in weights
    }
    return Weights(**found)


def initial_state(
    cell: str, state: Sequence[Any] | NDArray[Any] | None, index: int, w: Weights, batch: int
) -> list[Array]:
    """Pick what one direction starts from: its part of the given state, or zeros."""
    if state is not None:
        return [
            np.asarray(part[index], np.float64) for part in (state if cell == "LSTM" else [state])
        ]
    rows, width = w.U.shape
    return [np.zeros((batch, size)) for size in ([width, rows // 4] if cell == "LSTM" else [width])]


def forward(
    cell: str,
    x: ArrayLike,
    weights: Mapping[str, ArrayLike],
    state: Sequence[Any] | NDArray[Any] | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: ArrayLike | None = None,
    nonlinearity: str = "tanh",
    reset_after: bool = True,
) -> tuple[Array, ...]:
    """Run a stack of "RNN", "GRU" or "LSTM" layers and return y, h_n, and for the LSTM c_n.

    x [steps][batch][inputs]; state h_0, or (h_0, c_0) for the LSTM, each [layers * directions]
    [batch][hidden or projection]; y [steps][batch][directions * (hidden or projection)].
    """
    cells: dict[str, Cell] = {
        "RNN": partial(rnn_cell, nonlinearity=nonlinearity),
        "GRU": gru_cell if reset_after else gru_cell_reset_before,
        "LSTM": lstm_cell,
    }
    y = np.asarray(x, np.float64)
    steps, batch, _ = y.shape
    ends = np.broadcast_to(np.asarray(steps if lengths is None else lengths, np.intp), batch)

    finals: list[list[Array]] = []
    for layer in range(num_layers):
        outputs = []
        for way in ("", "_reverse") if bidirectional else ("",):
            w = direction_weights(weights, f"l{layer}{way}")
            start = initial_state(cell, state, len(finals), w, batch)
            output, final = run_direction(cells[cell], y, start, w, ends, bool(way))
            outputs.append(output)
            finals.append(final)
        y = np.concatenate(outputs, axis=-1)
    return (y, *(np.stack(part) for part in zip(*finals, strict=True)))
