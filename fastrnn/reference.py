# SPDX-License-Identifier: MIT
"""What a recurrent layer computes: the specification, in float64 and plain numpy.

Everything else in this repository computes the same values faster. Letters are those of the papers:
x input, h hidden state, c cell state; W input weights, U recurrent weights, b and d their biases, P
projection; i f g o the gates of the LSTM, r z n those of the GRU, and a_i, a_f ... what goes into
their nonlinearities. Each gate has `hidden` rows in W, U, b and d; a cell's gates are stacked there
in PyTorch's order, which is the order here. A d in front of a name, as in da_i, makes it the
gradient of a loss with respect to that quantity (Werbos 1990).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
State = tuple[Array, ...]  # (h,), or (h, c) for the LSTM


class Weights(NamedTuple):
    """The weights of one direction of one layer, or their gradients."""

    W: Array  # [gates * hidden][inputs]
    U: Array  # [gates * hidden][hidden, or projection]
    b: Array | float = 0.0  # [gates * hidden]
    d: Array | float = 0.0  # [gates * hidden]
    P: Array | None = None  # [projection][hidden]


NAMES = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "d": "bias_hh", "P": "weight_hr"}

CellBackward = Callable[..., tuple[Array, State, Weights]]
CellStep = Callable[..., tuple[State, CellBackward]]


# --- One step of each cell: x [batch][inputs] and the state before it -> the state after it, h' and
# --- c' in the formulas, and the backward pass: from dh' and dc' to the gradients of its arguments


def sigmoid(a: Array) -> Array:
    """1 / (1 + e^-a); e^-a may become inf, whose reciprocal is the right limit, 0."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-a))


def relu(a: Array) -> Array:
    """Negative values become 0; NaN stays NaN."""
    return np.maximum(a, 0.0)


# Each with its derivative, given the result; that of relu is 0 at 0.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda h: 1.0 - h * h),
    "relu": (relu, lambda h: np.where(h <= 0.0, 0.0, 1.0)),
}


def normal_below(x: Array) -> Array:
    """The part of the standard normal distribution below x."""
    below: Array = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2.0)), otypes=[float])(x)
    return below


def normal_density(x: Array) -> Array:
    """The density of the standard normal distribution at x."""
    density: Array = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return density


_GELU = 2.0 * math.sqrt(2.0 / math.pi)


def gelu_sigmoid(x: Array) -> Array:
    """(1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    return sigmoid(_GELU * (x + 0.044715 * x**3))


def gelu_tanh_slope(x: Array) -> Array:
    """The derivative of x times gelu_sigmoid(x)."""
    below, dz = gelu_sigmoid(x), _GELU * (1.0 + 3.0 * 0.044715 * x * x)
    return below + x * below * (1.0 - below) * dz


def softplus(x: Array, beta: float, threshold: float) -> Array:
    """log(1 + e^(beta x)) / beta, and x where beta x > threshold."""
    z = np.minimum(beta * x, threshold)
    y: Array = np.where(beta * x > threshold, x, np.logaddexp(z, 0.0) / beta)
    return y


def mish_slope(x: Array, a: float, b: float) -> Array:
    """The derivative of x tanh(log(1 + e^x)) (Misra 2019, 1908.08681)."""
    t = np.tanh(np.logaddexp(x, 0.0))
    slope: Array = t + x * sigmoid(x) * (1.0 - t * t)
    return slope


class Elementwise(NamedTuple):
    """A function of each value by itself, and its derivative: of x and the parameters a and b."""

    value: Callable[[Array, float, float], Array]
    slope: Callable[[Array, float, float], Array]


# The functions of the core by name, with the formulas of torch.nn's modules.
FUNCTIONS: dict[str, Elementwise] = {
    "relu": Elementwise(lambda x, a, b: relu(x), lambda x, a, b: np.where(x > 0, 1.0, 0.0)),
    "tanh": Elementwise(lambda x, a, b: np.tanh(x), lambda x, a, b: 1.0 - np.tanh(x) ** 2),
    "sigmoid": Elementwise(
        lambda x, a, b: sigmoid(x), lambda x, a, b: sigmoid(x) * (1.0 - sigmoid(x))
    ),
    "elu": Elementwise(
        lambda x, a, b: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0.0))),
        lambda x, a, b: np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0.0))),
    ),
    "leaky_relu": Elementwise(
        lambda x, a, b: np.where(x > 0, x, a * x), lambda x, a, b: np.where(x > 0, 1.0, a)
    ),
    "silu": Elementwise(
        lambda x, a, b: x * sigmoid(x),
        lambda x, a, b: sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
    ),
    "gelu": Elementwise(
        lambda x, a, b: x * normal_below(x),
        lambda x, a, b: normal_below(x) + x * normal_density(x),
    ),
    "gelu_tanh": Elementwise(
        lambda x, a, b: x * gelu_sigmoid(x), lambda x, a, b: gelu_tanh_slope(x)
    ),
    "softplus": Elementwise(softplus, lambda x, a, b: np.where(a * x > b, 1.0, sigmoid(a * x))),
    "hardtanh": Elementwise(
        lambda x, a, b: np.minimum(np.maximum(x, a), b),
        lambda x, a, b: np.where((x > a) & (x < b), 1.0, 0.0),
    ),
    "hardsigmoid": Elementwise(
        lambda x, a, b: np.minimum(np.maximum(x / 6.0 + 0.5, 0.0), 1.0),
        lambda x, a, b: np.where((x > -3.0) & (x < 3.0), 1.0 / 6.0, 0.0),
    ),
    "mish": Elementwise(lambda x, a, b: x * np.tanh(np.logaddexp(x, 0.0)), mish_slope),
    "softsign": Elementwise(
        lambda x, a, b: x / (1.0 + np.abs(x)), lambda x, a, b: 1.0 / (1.0 + np.abs(x)) ** 2
    ),
    "hardswish": Elementwise(
        lambda x, a, b: x * np.minimum(np.maximum(x / 6.0 + 0.5, 0.0), 1.0),
        lambda x, a, b: np.where(x > 3.0, 1.0, np.where(x > -3.0, x / 3.0 + 0.5, 0.0)),
    ),
    "scale": Elementwise(lambda x, a, b: a * x + b, lambda x, a, b: np.full_like(x, a)),
}


def linear_backward(da: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of x, of the weights w and of the bias b of a = w x + b."""
    return da @ w, da.T @ x, da.sum(axis=0)


def rnn_cell(
    x: Array, h: Array, w: Weights, nonlinearity: str = "tanh"
) -> tuple[State, CellBackward]:
    """Elman 1990, "Finding structure in time"; with relu: Le, Jaitly and Hinton 2015 (1504.00941).

    h' = tanh(W x + b + U h + d)
    """
    activation, derivative = ACTIVATIONS[nonlinearity]
    h_after = activation(x @ w.W.T + w.b + h @ w.U.T + w.d)

    def backward(dh: Array) -> tuple[Array, State, Weights]:
        da = dh * derivative(h_after)
        dx, dw, db = linear_backward(da, x, w.W)
        dh, du, dd = linear_backward(da, h, w.U)
        return dx, (dh,), Weights(dw, du, db, dd)

    return (h_after,), backward


def gru_cell(x: Array, h: Array, w: Weights) -> tuple[State, CellBackward]:
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

    def backward(dh: Array) -> tuple[Array, State, Weights]:
        da_n = dh * (1.0 - z) * (1.0 - n * n)
        da_z = dh * (h - n) * z * (1.0 - z)
        da_r = da_n * h_n * r * (1.0 - r)
        dx, dw, db = linear_backward(np.hstack([da_r, da_z, da_n]), x, w.W)
        dh_linear, du, dd = linear_backward(np.hstack([da_r, da_z, da_n * r]), h, w.U)
        return dx, (dh * z + dh_linear,), Weights(dw, du, db, dd)

    return ((1.0 - z) * n + z * h,), backward


def gru_cell_reset_before(x: Array, h: Array, w: Weights) -> tuple[State, CellBackward]:
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

    def backward(dh: Array) -> tuple[Array, State, Weights]:
        da_n = dh * (1.0 - z) * (1.0 - n * n)
        da_z = dh * (h - n) * z * (1.0 - z)
        none = np.zeros_like(h)
        drh, du_n, dd_n = linear_backward(np.hstack([none, none, da_n]), r * h, w.U)
        da_r = drh * h * r * (1.0 - r)
        dh_linear, du_rz, dd_rz = linear_backward(np.hstack([da_r, da_z, none]), h, w.U)
        dx, dw, db = linear_backward(np.hstack([da_r, da_z, da_n]), x, w.W)
        dh = dh * z + drh * r + dh_linear
        return dx, (dh,), Weights(dw, du_rz + du_n, db, dd_rz + dd_n)

    return ((1.0 - z) * n + z * h,), backward


OutputBackward = Callable[[Array, Array], tuple[Array, Array, Array | None]]


def lstm_output(c: Array, o: Array, w: Weights) -> tuple[Array, OutputBackward]:
    """m = o * tanh(c'); h' = m, or P m with the projection of Sak et al. 2014 (1402.1128)."""
    t = np.tanh(c)
    m = o * t

    def backward(dh: Array, dc: Array) -> tuple[Array, Array, Array | None]:
        """Return the whole gradient of c', that of o before its sigmoid, and that of P."""
        dp = None if w.P is None else dh.T @ m
        dm = dh if w.P is None else dh @ w.P
        return dc + dm * o * (1.0 - t * t), dm * t * o * (1.0 - o), dp

    return (m if w.P is None else m @ w.P.T), backward


def lstm_cell(x: Array, h: Array, c: Array, w: Weights) -> tuple[State, CellBackward]:
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers, Schmidhuber and Cummins 2000.

    i = sigmoid(W_i x + b_i + U_i h + d_i)
    f = sigmoid(W_f x + b_f + U_f h + d_f)
    g = tanh(W_g x + b_g + U_g h + d_g)
    o = sigmoid(W_o x + b_o + U_o h + d_o)
    c' = f * c + i * g
    h' as in `lstm_output`
    """
    a_i, a_f, a_g, a_o = np.split(x @ w.W.T + w.b + h @ w.U.T + w.d, 4, axis=-1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c_after = f * c + i * g
    h_after, output_backward = lstm_output(c_after, o, w)

    def backward(dh: Array, dc: Array) -> tuple[Array, State, Weights]:
        dc, da_o, dp = output_backward(dh, dc)
        da_i = dc * g * i * (1.0 - i)
        da_f = dc * c * f * (1.0 - f)
        da_g = dc * i * (1.0 - g * g)
        da = np.hstack([da_i, da_f, da_g, da_o])
        dx, dw, db = linear_backward(da, x, w.W)
        dh, du, dd = linear_backward(da, h, w.U)
        return dx, (dh, dc * f), Weights(dw, du, db, dd, dp)

    return (h_after, c_after), backward


def lstm_cell_coupled(x: Array, h: Array, c: Array, w: Weights) -> tuple[State, CellBackward]:
    """Coupled input and forget gates, CIFG in Greff et al. 2015 (1503.04069).

    i, g and o as in `lstm_cell`
    c' = (1 - i) * c + i * g
    h' as in `lstm_output`
    ONNX with input_forget=1 means this one.
    """
    a_i, a_g, a_o = np.split(x @ w.W.T + w.b + h @ w.U.T + w.d, 3, axis=-1)
    i, g, o = sigmoid(a_i), np.tanh(a_g), sigmoid(a_o)
    c_after = (1.0 - i) * c + i * g
    h_after, output_backward = lstm_output(c_after, o, w)

    def backward(dh: Array, dc: Array) -> tuple[Array, State, Weights]:
        dc, da_o, dp = output_backward(dh, dc)
        da_i = dc * (g - c) * i * (1.0 - i)
        da_g = dc * i * (1.0 - g * g)
        da = np.hstack([da_i, da_g, da_o])
        dx, dw, db = linear_backward(da, x, w.W)
        dh, du, dd = linear_backward(da, h, w.U)
        return dx, (dh, dc * (1.0 - i)), Weights(dw, du, db, dd, dp)

    return (h_after, c_after), backward


# Each cell by its name in stack_spec.CELLS: one step, and how many states it has.
CELLS: dict[str, tuple[CellStep, int]] = {
    "rnn_tanh": (partial(rnn_cell, nonlinearity="tanh"), 1),
    "rnn_relu": (partial(rnn_cell, nonlinearity="relu"), 1),
    "gru": (gru_cell, 1),
    "gru_reset_before": (gru_cell_reset_before, 1),
    "lstm": (lstm_cell, 2),
    "lstm_coupled": (lstm_cell_coupled, 2),
}


# --- The loops: over steps, directions and layers. Each backward takes the gradients of what its
# --- forward returned and returns those of its arguments.

DirectionBackward = Callable[[Array, State], tuple[Array, State, dict[str, Array]]]
LayerBackward = Callable[[Array, Sequence[State]], tuple[Array, Any, Any]]


def run_direction(
    cell: CellStep, x: Array, state: State, w: Weights, lengths: NDArray[np.intp], reverse: bool
) -> tuple[Array, State, DirectionBackward]:
    """Run one direction of one layer: x [steps][batch][inputs] -> y [steps][batch][hidden], state.

    A row takes part in its first `length` steps only: y is 0 beyond them and the row's state stays
    the one after its last step. Reversed, each row begins at its own last step.
    """
    y = np.zeros((*x.shape[:2], state[0].shape[-1]))
    state = tuple(part.copy() for part in state)
    tape = []
    for step in range(len(x)):
        rows = np.flatnonzero(step < lengths)
        at = lengths[rows] - 1 - step if reverse else np.full(len(rows), step)
        after, cell_backward = cell(x[at, rows], *(part[rows] for part in state), w)
        for part, value in zip(state, after, strict=True):
            part[rows] = value
        y[at, rows] = state[0][rows]
        tape.append((at, rows, cell_backward))

    def backward(dy: Array, dstate: State) -> tuple[Array, State, dict[str, Array]]:
        """Go back through the steps: h' counts as part of y and as the state of what follows."""
        dx = np.zeros_like(x)
        dstate = tuple(part.copy() for part in dstate)
        dw = {k: np.zeros_like(v) for k, v in w._asdict().items() if isinstance(v, np.ndarray)}
        for at, rows, cell_backward in reversed(tape):
            dh, *dc = (part[rows] for part in dstate)
            dx[at, rows], dbefore, step_dw = cell_backward(dh + dy[at, rows], *dc)
            for part, value in zip(dstate, dbefore, strict=True):
                part[rows] = value
            for letter, total in dw.items():
                total += getattr(step_dw, letter)
        return dx, dstate, dw

    return y, state, backward


def run_layer(
    cell: CellStep,
    x: Array,
    starts: Sequence[State],
    ws: Sequence[Weights],
    lengths: NDArray[np.intp],
) -> tuple[Array, Sequence[State], LayerBackward]:
    """Run one layer, each direction on the same x: y holds their outputs one after the other."""
    reverse = (False, True)[: len(ws)]
    ys, finals, backwards = zip(
        *(
            run_direction(cell, x, start, w, lengths, r)
            for start, w, r in zip(starts, ws, reverse, strict=True)
        ),
        strict=True,
    )

    def backward(dy: Array, dfinals: Sequence[State]) -> tuple[Array, Any, Any]:
        """Each direction gets its part of dy; both have used the same x."""
        dys = np.split(dy, len(ys), axis=-1)
        dxs, dstarts, dws = zip(
            *(run(*given) for run, *given in zip(backwards, dys, dfinals, strict=True)), strict=True
        )
        return np.sum(dxs, axis=0), dstarts, dws

    return np.concatenate(ys, axis=-1), finals, backward


def direction_weights(weights: Mapping[str, ArrayLike], suffix: str) -> Weights:
    """Pick the weights that PyTorch names `..._l<layer>` or `..._l<layer>_reverse`."""
    found = {
        letter: np.asarray(weights[f"{name}_{suffix}"], np.float64)
        for letter, name in NAMES.items()
        if f"{name}_{suffix}" in weights
    }
    return Weights(**found)


def split_state(count: int, state: Any, ws: Sequence[Weights], batch: int) -> list[State]:
    """Split the state of a stack, one for each layer and direction; zeros in place of None.

    The state is h, or (h, c) for a count of 2; c has the width of the hidden units.
    """
    parts = [None] * count if state is None else [state] if count == 1 else state
    widths = [(w.U.shape[1], w.U.shape[1] if w.P is None else w.P.shape[1]) for w in ws]
    return [
        tuple(
            np.zeros((batch, size)) if part is None else np.asarray(part[index], np.float64)
            for part, size in zip(parts, sizes, strict=False)
        )
        for index, sizes in enumerate(widths)
    ]


def join_states(states: Sequence[State]) -> Any:
    """Join the states of layers and directions: h, or (h, c) for a cell with two states."""
    parts = tuple(np.stack(part) for part in zip(*states, strict=True))
    return parts if len(parts) > 1 else parts[0]


def attention_pool(x: ArrayLike, scores: ArrayLike, length: int | None = None) -> Array:
    """Return the sum of the steps of one sequence x [steps][features], weighted by their scores.

    The weights are the softmax of the scores [steps] of the first `length` steps, None for all
    (Bahdanau, Cho, Bengio 2015; Yang et al. 2016); without a step the sum is zeros.
    """
    rows, of_rows = np.asarray(x, np.float64)[:length], np.asarray(scores, np.float64)[:length]
    if not len(rows):
        return np.zeros(rows.shape[1:])
    weights = np.exp(of_rows - of_rows.max())
    pooled: Array = weights / weights.sum() @ rows
    return pooled


class ReferenceGradients(NamedTuple):
    """What backward returns: each in the shape of what it is the gradient of."""

    x: Array
    state: Any  # of h_0, or of (h_0, c_0) for the LSTM
    weights: dict[str, Array]  # by PyTorch's names


def current_name(cell: str, nonlinearity: str, reset_after: bool) -> str:
    """Return a name in `CELLS`; one of a layer class, as earlier versions had, is deprecated."""
    gru = "gru" if reset_after else "gru_reset_before"
    names = {"LSTM": "lstm", "GRU": gru, "RNN": f"rnn_{nonlinearity}"}
    if cell in names:
        message = f"cell: {cell!r} is deprecated, use {names[cell]!r}"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
    return names.get(cell, cell)


def vjp(
    cell: str,
    x: ArrayLike,
    weights: Mapping[str, ArrayLike],
    state: Any = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: ArrayLike | None = None,
    masks: Sequence[ArrayLike] | None = None,
    nonlinearity: str = "tanh",
    reset_after: bool = True,
) -> tuple[Array, Any, Callable[..., ReferenceGradients]]:
    """Run a stack of layers of a cell in `CELLS` and return y, the final state and backward.

    x [steps][batch][inputs]; y [steps][batch][directions * (hidden or projection)]. A state is h,
    or (h, c) for the LSTM, each [layers * directions][batch][hidden or projection]. masks, each in
    y's shape, multiply what each layer but the first is given: dropout's 0 or 1 / (1 - p).
    backward(dy, dstate) takes the gradients of y and of the final state, None for zeros.
    ValueError for an unknown cell. Deprecated: "LSTM", "GRU" and "RNN" as cell, with nonlinearity
    and reset_after, which have no other use.
    """
    cell = current_name(cell, nonlinearity, reset_after)
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {list(CELLS)}, got {cell!r}")
    step, states = CELLS[cell]
    y = np.asarray(x, np.float64)
    steps, batch, _ = y.shape
    ends = np.broadcast_to(np.asarray(steps if lengths is None else lengths, np.intp), batch)
    ends_of_names = ("", "_reverse")[: 1 + bidirectional]
    suffixes = [f"l{layer}{end}" for layer in range(num_layers) for end in ends_of_names]
    ws = [direction_weights(weights, suffix) for suffix in suffixes]
    starts = split_state(states, state, ws, batch)
    layers = [slice(k, k + 1 + bidirectional) for k in range(0, len(ws), 1 + bidirectional)]
    scales = [1.0, *([1.0] * (num_layers - 1) if masks is None else np.asarray(masks, np.float64))]

    finals: list[State] = []
    backwards: list[LayerBackward] = []
    for layer, scale in zip(layers, scales, strict=True):
        y, final, layer_backward = run_layer(step, y * scale, starts[layer], ws[layer], ends)
        finals += final
        backwards.append(layer_backward)

    def backward(dy: ArrayLike | None = None, dstate: Any = None) -> ReferenceGradients:
        """Go back through the layers; any number of times."""
        dx = np.zeros_like(y) if dy is None else np.asarray(dy, np.float64)
        dfinals = split_state(states, dstate, ws, batch)
        dstarts: list[State] = []
        dws: list[dict[str, Array]] = []
        for layer, scale, layer_backward in [*zip(layers, scales, backwards, strict=True)][::-1]:
            dx, dstart, dw = layer_backward(dx, dfinals[layer])
            dx, dstarts, dws = dx * scale, [*dstart, *dstarts], [*dw, *dws]
        dweights = {
            f"{NAMES[letter]}_{suffix}": value
            for suffix, dw in zip(suffixes, dws, strict=True)
            for letter, value in dw.items()
        }
        return ReferenceGradients(dx, join_states(dstarts), dweights)

    return y, join_states(finals), backward


def forward(
    cell: str, x: ArrayLike, weights: Mapping[str, ArrayLike], state: Any = None, **options: Any
) -> tuple[Array, ...]:
    """Return y, h_n, and for the LSTM c_n, of a stack with the options of `vjp`."""
    y, final, _ = vjp(cell, x, weights, state, **options)
    return (y, *final) if isinstance(final, tuple) else (y, final)
