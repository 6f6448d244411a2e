# SPDX-License-Identifier: MIT
"""The recurrent layers, `LSTM`, `GRU` and `RNN`: arguments, shapes and weights of torch.nn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..stack_spec import MOST_LAYERS, Spec, cell_options, constructor_options
from .arrays import FLOAT32, Array, copies, float_array
from .backward import BackwardFunction, Gradients, Recorded, RecurrentBackward
from .checks import (
    check_choice,
    check_int,
    check_lengths,
    check_probability,
    check_size,
    checked_flag,
    drawn_seed,
)
from .flow import Axes, Flow, sequence_axes
from .packing import fill_stack, new_stack
from .streams import Stream, with_rows
from .weighted import Weighted, uniform_weights


class Recurrent(Weighted):
    """What the recurrent layers share: arguments, weights and the call."""

    _name: ClassVar[str]  # a key of stack_spec.LAYERS
    _has_state = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        isa: str | None,
        seed: int | np.random.Generator | None,
        proj_size: int = 0,
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.num_layers = check_int("num_layers", num_layers, 1, MOST_LAYERS)
        smaller = f"0 (none) or less than hidden_size {hidden_size}"
        self.proj_size = check_int("proj_size", proj_size, 0, hidden_size - 1, smaller)
        self.dropout = _checked_dropout(dropout, num_layers)
        self.bias = checked_flag("bias", bias)
        self.batch_first = checked_flag("batch_first", batch_first)
        self.bidirectional = checked_flag("bidirectional", bidirectional)
        super().__init__(isa)
        # Not vars(self): Python finds attributes faster while an object has no __dict__.
        arguments = ("input_size", "hidden_size", *constructor_options(self._name))
        self._spec = spec = Spec.of(self._name, {name: getattr(self, name) for name in arguments})
        # What a call needs of it, for short calls.
        self._output_size, self._width, self._has_c = spec.output_size, spec.width, spec.has_c
        self._state_rows, self._state_sizes = spec.state_rows, spec.state_sizes
        self._weight_shapes = spec.shapes()
        self._weights = uniform_weights(self._weight_shapes, self.hidden_size, seed)

    # --- Weights ---

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return self._weight_shapes

    def _packed(self, training: bool = False) -> _core.Stack:
        """The weights as the kernels take them, packed at the first use."""
        packed: _core.Stack = self._packing.get(self._new_stack, self._fill, training)
        return packed

    def _new_stack(self, training: bool, home: _core.Spare) -> _core.Stack:
        return new_stack(self._spec, self.isa, training, home)

    def _fill(self, stack: _core.Stack) -> None:
        fill_stack(stack, self._spec, [self._weights[name] for name in self._spec.names()])

    def _options(self) -> dict[str, object]:
        """The arguments of the constructor that are not its defaults, without isa and seed."""
        sizes = {name: getattr(self, name) for name in ("input_size", "hidden_size")}
        defaults = constructor_options(self._name)
        options = {name: getattr(self, name) for name in defaults}
        return sizes | {n: value for n, value in options.items() if value != defaults[n]}

    def __repr__(self) -> str:
        arguments = [f"{self.input_size}, {self.hidden_size}"]
        for name, value in list(self._options().items())[2:]:
            arguments.append(f"{name}={value!r}")
        return f"{self._name}({', '.join(arguments)})"

    # --- Running ---

    def __call__(
        self, x: ArrayLike, state: Any = None, *, lengths: Sequence[int] | ArrayLike | None = None
    ) -> tuple[Array, Any]:
        """Run the layer: `y, state = layer(x, state)`.

        x: (T, B, I), (B, T, I) with batch_first, or one unbatched sequence (T, I); float32 (any
        strides), float16 or float64. y: the same with D*R in place of I, where D is 2 when
        bidirectional, else 1, and R is proj_size or hidden_size; float32.
        state: h, for LSTM (h, c), of shapes (L*D, B, R) and (L*D, B, H), unbatched without B;
        None is zeros. Returns the last states in the same form.
        lengths: steps of each row, in any order, each from 1 to T. Beyond its length a row of y is
        0, whatever x holds there. Each row has the last state after its own last step, where the
        reverse direction starts.

        ValueError for shapes and lengths that do not fit, TypeError for a dtype that is not
        floating point.

        >>> import numpy as np
        >>> layer = LSTM(3, 5, seed=0)
        >>> y, (h, c) = layer(np.zeros((7, 2, 3), np.float32), lengths=[7, 4])
        >>> y.shape, h.shape, c.shape
        ((7, 2, 5), (1, 2, 5), (1, 2, 5))
        """
        y, final, _ = self._pass(x, state, lengths)
        return y, final

    def vjp(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: Sequence[int] | ArrayLike | None = None,
        seed: int | None = None,
    ) -> tuple[Array, Any, Any]:
        """Run the layer as in training: `y, state, backward = layer.vjp(x, state)`.

        As `layer(x, state)`, and `grads = backward(dy, dstate=None)` then has the gradients
        grads.x, grads.state and grads.weights["weight_ih_l0"] etc. of a function whose gradients of
        y and of the last state are dy and dstate; x must stay unchanged until then.
        Dropout acts between layers. seed: for dropout, from 0 to 2**64 - 1; None: a new one each
        time.

        >>> import numpy as np
        >>> layer = GRU(3, 5, seed=0)
        >>> y, h, backward = layer.vjp(np.ones((7, 2, 3), np.float32))
        >>> grads = backward(np.ones_like(y))
        >>> grads.x.shape, grads.state.shape, grads.weights["weight_hh_l0"].shape
        ((7, 2, 3), (1, 2, 5), (15, 5))
        """
        dropout = self.dropout if self.num_layers > 1 else 0.0
        tape = _core.Tape(self._packed(training=True), dropout, drawn_seed(seed))
        return self._pass(x, state, lengths, tape)

    def _pass(
        self, x: Any, state: Any, lengths: Any, tape: _core.Tape | None = None
    ) -> tuple[Array, Any, Any]:
        """y, the last state and, with a tape, the backward pass."""
        if type(x) is not np.ndarray or x.dtype is not FLOAT32:
            x = float_array(x, "x")
        rows = self._time_major(x)
        steps, batch, _ = rows.shape
        width = self._width
        y = np.empty((steps, batch, width) if rows is x else (*x.shape[:-1], width), FLOAT32)
        y_rows = y if rows is x else self._time_major(y, width)
        h0, c0 = (None, None) if state is None else self._checked_state(state, batch, x.ndim == 3)
        hn, cn = self._empty_state(batch)
        counts = None if lengths is None else check_lengths(lengths, batch, steps)
        if batch > 0:
            model = tape.stack if tape else self._packing.current or self._packed()
            if not model.forward(rows, y_rows, h0, c0, hn, cn, counts, tape):
                h0, c0 = copies(h0, c0)
                model.forward(rows.copy(), y_rows, h0, c0, hn, cn, counts, tape)
        backward = None
        if tape:
            sizes, shapes = self._state_sizes, self._weight_shapes
            recorded = Recorded(
                self._spec, sizes, shapes, x.shape, y.shape, self.batch_first, batch
            )
            backward = RecurrentBackward(tape if batch > 0 else None, recorded)
        if x.ndim == 2:
            hn, cn = hn[:, 0], None if cn is None else cn[:, 0]
        return y, hn if cn is None else (hn, cn), backward

    def _time_major(self, x: Array, size: int = 0) -> Array:
        """A view (T, B, size) of x as the caller sees it."""
        if x.ndim not in (2, 3) or x.shape[-1] != (size or self.input_size):
            axes = "(batch, steps" if self.batch_first else "(steps, batch"
            raise ValueError(
                f"x: expected {axes}, {self.input_size}) or (steps, {self.input_size}), "
                f"got shape {x.shape}"
            )
        rows = x[:, None] if x.ndim == 2 else x.swapaxes(0, 1) if self.batch_first else x
        if rows.shape[0] == 0:
            raise ValueError("x: expected at least one step, got a sequence of length 0")
        return rows

    def stream(self, batch_size: int = 1) -> Stream:
        """Return `batch_size` streams that run step by step from zero states."""
        if self.bidirectional:
            raise ValueError("stream: expected a layer of one direction, got bidirectional=True")
        return Stream(self._packed(), check_size("batch_size", batch_size))

    # --- States ---

    def _empty_state(self, batch: int) -> tuple[Array, Array | None]:
        count = self._state_rows
        h = np.empty((count, batch, self._output_size), FLOAT32)
        return h, np.empty((count, batch, self.hidden_size), FLOAT32) if self._has_c else None

    def _checked_state(self, state: Any, batch: int, batched: bool) -> tuple[Array, Array | None]:
        if not self._has_c:
            return self._checked_part(state, "state", batch, batched, self._output_size), None
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise ValueError(f"state: expected a pair (h, c), got {type(state).__name__}")
        h = self._checked_part(state[0], "state[0] (h)", batch, batched, self._output_size)
        c = self._checked_part(state[1], "state[1] (c)", batch, batched, self.hidden_size)
        return h, c

    def _checked_part(self, part: Any, name: str, batch: int, batched: bool, size: int) -> Array:
        array = float_array(part, name)
        count = self._state_rows
        expected = (count, batch, size) if batched else (count, size)
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
        return np.ascontiguousarray(array).reshape(count, batch, size)

    @property
    def _state_shapes(self) -> tuple[tuple[int, int], ...]:
        return tuple((self._state_rows, size) for size in self._state_sizes)

    def _first_states(self, state: Any, x: NDArray[Any]) -> Any:
        return with_rows(state, x.shape[0 if self.batch_first else 1]) if x.ndim == 3 else state

    # --- As one layer of several ---

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return axes == sequence_axes(ndim, self.batch_first)

    def _why_not_causal(self) -> str:
        return "it has two directions" if self.bidirectional else ""

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
        lengths = flow.lengths
        if lengths is None or lengths.all():
            y, last, _ = self._pass(x, state, lengths)
            return y, last, flow
        y, last, _ = self._pass(x, state, np.maximum(lengths, 1))
        return flow.zeroed(y), _with_first(last, state, lengths == 0), flow

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, Any, Flow, BackwardFunction]:
        lengths = flow.lengths
        if lengths is None or lengths.all():
            y, last, backward = self.vjp(x, state, lengths=lengths, seed=seed)
            return y, last, flow, backward
        empty = lengths == 0
        y, last, backward = self.vjp(x, state, lengths=np.maximum(lengths, 1), seed=seed)

        def whole(dy: Array, dstate: Any) -> Gradients:
            of_last = None if dstate is None else _each(lambda d: _only(d, ~empty), dstate)
            grads: Gradients = backward(flow.zeroed(dy), of_last)
            if dstate is None:
                return grads
            of_first = _each(lambda d: _only(d, empty), dstate)
            return Gradients(grads.x, _each(_sum, grads.state, of_first), grads.weights)

        return flow.zeroed(y), _with_first(last, state, empty), flow, whole


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), as torch.nn.LSTM.

    i, f, o = sigmoid(W x + b + U h + b'), g = tanh(...), c' = f c + i g, h' = o tanh(c'); with
    proj_size > 0, h' = W_hr (o tanh(c')) (Sak et al. 2014). dropout acts in training only.
    coupled: f = 1 - i, without weights of its own; the gates are then i g o (Greff et al. 2015).
    isa: instruction set, one of `fastrnn.isas()`; seed: of the initial weights.

    >>> import numpy as np
    >>> y, (h, c) = LSTM(4, 8, num_layers=2)(np.ones((10, 3, 4), np.float32))
    >>> y.shape, h.shape, c.shape
    ((10, 3, 8), (2, 3, 8), (2, 3, 8))
    """

    _name = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        coupled: bool = False,
        isa: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.coupled = checked_flag("coupled", coupled)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            isa=isa,
            seed=seed,
        )


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), as torch.nn.GRU.

    r, z = sigmoid(W x + b + U h + b'), h' = (1 - z) n + z h with n = tanh(W_n x + b_n +
    r (U_n h + b'_n)) or, with reset_after=False, n = tanh(W_n x + b_n + U_n (r h) + b'_n).

    >>> import numpy as np
    >>> y, h = GRU(4, 8, bidirectional=True)(np.ones((10, 3, 4), np.float32))
    >>> y.shape, h.shape
    ((10, 3, 16), (2, 3, 8))
    """

    _name = "GRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reset_after: bool = True,
        isa: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.reset_after = checked_flag("reset_after", reset_after)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            isa=isa,
            seed=seed,
        )


class RNN(Recurrent):
    """Simple recurrent layer (Elman 1990), as torch.nn.RNN: h' = tanh(W x + b + U h + b') or relu.

    >>> import numpy as np
    >>> y, h = RNN(4, 8, nonlinearity="relu", batch_first=True)(np.ones((3, 10, 4), np.float32))
    >>> y.shape, h.shape
    ((3, 10, 8), (1, 3, 8))
    """

    _name = "RNN"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        isa: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        choices = cell_options(self._name)["nonlinearity"]
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, choices)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            isa=isa,
            seed=seed,
        )


LAYER_CLASSES: dict[str, type[Recurrent]] = {layer._name: layer for layer in (LSTM, GRU, RNN)}


def _checked_dropout(dropout: float, num_layers: int) -> float:
    probability = check_probability("dropout", dropout)
    if probability > 0 and num_layers == 1:
        warnings.warn(
            "dropout acts between layers, expected num_layers > 1 with it, got num_layers=1",
            UserWarning,
            stacklevel=4,
        )
    return probability


# --- States of a batch in which some rows have length 0: such a row keeps its first state ---


def _with_first(last: Any, first: Any, empty: NDArray[np.bool_]) -> Any:
    """The last state, with the first one for the empty rows."""
    if first is None:
        return _each(lambda part: _only(part, ~empty), last)
    return _each(
        lambda part, own: np.where(_wide(empty, part), np.asarray(own, FLOAT32), part), last, first
    )


def _only(part: Any, rows: NDArray[np.bool_]) -> Any:
    """A part of a state with zeros in all other rows."""
    return None if part is None else np.where(_wide(rows, part), part, FLOAT32.type(0))


def _wide(rows: NDArray[np.bool_], part: Any) -> NDArray[np.bool_]:
    return rows[:, None] if np.ndim(part) == 3 else rows


def _sum(one: Array, other: Any) -> Array:
    return one if other is None else one + np.asarray(other, FLOAT32)


def _each(function: Callable[..., Any], state: Any, *others: Any) -> Any:
    """Apply a function to each part of a state, h or (h, c), and the same part of others."""
    if not isinstance(state, tuple | list):
        return function(state, *others)
    return tuple(function(*parts) for parts in zip(state, *others, strict=True))
