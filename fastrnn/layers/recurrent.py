# SPDX-License-Identifier: MIT
"""The layers: `LSTM`, `GRU` and `RNN` with the words, shapes and weights of torch.nn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..stack_spec import parameter_shapes
from .arrays import FLOAT32, Array, float_array
from .backward import Backward, Recorded
from .checks import check_lengths, check_size, checked_flag, drawn_seed
from .stream import Stream
from .weighted import Weighted


class _Layer(Weighted):
    """What the three layers share: arguments, weights and the call."""

    _name: ClassVar[str]

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
        proj_size: int,
        isa: str | None,
        seed: int | np.random.Generator | None,
    ) -> None:
        check_size("input_size", input_size)
        check_size("hidden_size", hidden_size)
        check_size("num_layers", num_layers)
        _check_projection(proj_size, hidden_size)
        _check_dropout(dropout, num_layers)
        self.input_size = int(input_size)
        self.hidden_size = int(hidden_size)
        self.num_layers = int(num_layers)
        self.bias = checked_flag("bias", bias)
        self.batch_first = checked_flag("batch_first", batch_first)
        self.dropout = float(dropout)
        self.bidirectional = checked_flag("bidirectional", bidirectional)
        self.proj_size = int(proj_size)
        super().__init__(isa)
        self._output_size = self.proj_size or self.hidden_size
        self._width = self._output_size * (2 if self.bidirectional else 1)
        self._state_rows = self.num_layers * (2 if self.bidirectional else 1)
        self._weights = self._initial_weights(np.random.default_rng(seed))

    # --- Weights ---

    @property
    def _cell(self) -> str:
        """The name of the C core's cell."""
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return parameter_shapes(
            self._name,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.bidirectional,
            self.proj_size,
        )

    def _initial_weights(self, rng: np.random.Generator) -> dict[str, Array]:
        bound = np.float32(self.hidden_size**-0.5)
        return {
            name: (rng.random(shape, np.float32) * 2 - 1) * bound
            for name, shape in self._shapes().items()
        }

    def _packed(self, training: bool = False) -> _core.Stack:
        """The weights as the kernels want them, packed at the first use."""
        packed: _core.Stack = self._packing.get(self._new_stack, self._fill, training)
        return packed

    def _new_stack(self, training: bool) -> _core.Stack:
        return _core.Stack(
            self._cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.proj_size,
            self.isa,
            training,
        )

    def _fill(self, stack: _core.Stack) -> None:
        weights = self._weights
        for layer in range(self.num_layers):
            for direction in range(2 if self.bidirectional else 1):
                place = f"_l{layer}{'_reverse' if direction else ''}"
                stack.set_weights(
                    layer,
                    direction,
                    weights["weight_ih" + place],
                    weights["weight_hh" + place],
                    weights.get("bias_ih" + place),
                    weights.get("bias_hh" + place),
                    weights.get("weight_hr" + place),
                )

    def _options(self) -> dict[str, object]:
        """The arguments of the constructor that are not its defaults, without isa and seed."""
        options: dict[str, object] = {n: getattr(self, n) for n in ("input_size", "hidden_size")}
        changed = {n: getattr(self, n, default) for n, default in _DEFAULTS.items()}
        return options | {n: value for n, value in changed.items() if value != _DEFAULTS[n]}

    def __repr__(self) -> str:
        words = [f"{self.input_size}, {self.hidden_size}"]
        for name, value in list(self._options().items())[2:]:
            words.append(f"{name}={value!r}")
        return f"{self._name}({', '.join(words)})"

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
        0, whatever x holds there; its last state is its own; the reverse direction starts at its
        own end.

        ValueError for shapes and lengths that do not fit, TypeError for a dtype that is not
        floating point.

        >>> import numpy as np
        >>> layer = LSTM(3, 5, seed=0)
        >>> y, (h, c) = layer(np.zeros((7, 2, 3), np.float32), lengths=[7, 4])
        >>> y.shape, h.shape, c.shape
        ((7, 2, 5), (1, 2, 5), (1, 2, 5))
        """
        y, final, _ = self._run(x, state, lengths)
        return y, final

    def vjp(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: Sequence[int] | ArrayLike | None = None,
        seed: int | None = None,
    ) -> tuple[Array, Any, Backward]:
        """Run the layer and keep the way back: `y, state, backward = layer.vjp(x, state)`.

        As `layer(x, state)`, and `grads = backward(dy, dstate=None)` then has the gradients
        grads.x, grads.state and grads.weights["weight_ih_l0"] etc. of anything whose gradients of
        y and of the last state are dy and dstate; x must stay unchanged until then.
        Dropout acts between layers. seed: of its choice, from 0 to 2**64 - 1; None: another each
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
        return self._run(x, state, lengths, tape)

    def _run(
        self, x: Any, state: Any, lengths: Any, tape: _core.Tape | None = None
    ) -> tuple[Array, Any, Any]:
        """y, the last state and, with a tape, Backward."""
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
                model.forward(rows.copy(), y_rows, h0, c0, hn, cn, counts, tape)
        backward = tape and self._backward(tape, x, y, batch)
        if x.ndim == 2:
            hn, cn = hn[:, 0], None if cn is None else cn[:, 0]
        return y, hn if cn is None else (hn, cn), backward

    def _backward(self, tape: _core.Tape, x: Array, y: Array, batch: int) -> Backward:
        sizes = [part.shape[2] for part in self._empty_state(0) if part is not None]
        recorded = Recorded(
            x.shape,
            y.shape,
            self.batch_first,
            batch,
            self._state_rows,
            tuple(sizes),
            self._shapes(),
        )
        return Backward(tape if batch > 0 else None, recorded)

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

    def lengths_after(self, lengths: NDArray[np.intp] | None, x: Array) -> NDArray[np.intp] | None:
        """The steps of each row of y, given those of x: the same."""
        return lengths

    def _takes(self, axes: tuple[int | None, int], ndim: int) -> bool:
        """Whether the axes of batch (None: there is none) and steps are those of this layer's x."""
        return axes == ((None, 0) if ndim == 2 else (0, 1) if self.batch_first else (1, 0))

    def _axes_after(self, axes: tuple[int | None, int], ndim: int) -> tuple[int | None, int]:
        """The same axes in y."""
        return axes

    def _ndim_after(self, ndim: int) -> int:
        return ndim

    def _why_not_causal(self) -> str:
        return "it has two directions" if self.bidirectional else ""

    def stream(self, batch_size: int = 1) -> Stream:
        """Return `batch_size` streams that run step by step from zero states."""
        if self.bidirectional:
            raise ValueError("stream: expected a layer of one direction, got bidirectional=True")
        check_size("batch_size", batch_size)
        h, c = self._empty_state(int(batch_size))
        stream = Stream(self._packed(), h, c, self.input_size)
        stream.reset()
        return stream

    def _empty_state(self, batch: int) -> tuple[Array, Array | None]:
        return np.empty((self._state_rows, batch, self._output_size), FLOAT32), None

    def _checked_state(self, state: Any, batch: int, batched: bool) -> tuple[Array, Array | None]:
        return self._check_state(state, "state", batch, batched, self._output_size), None

    def _check_state(self, state: Any, name: str, batch: int, batched: bool, size: int) -> Array:
        array = float_array(state, name)
        count = self._state_rows
        expected = (count, batch, size) if batched else (count, size)
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
        return np.ascontiguousarray(array).reshape(count, batch, size)


class LSTM(_Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), as torch.nn.LSTM.

    i, f, o = sigmoid(W x + b + U h + b'), g = tanh(...), c' = f c + i g, h' = o tanh(c'); with
    proj_size > 0, h' = W_hr (o tanh(c')) (Sak et al. 2014). dropout acts in training only.
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
        isa: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
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

    @property
    def _cell(self) -> str:
        return "lstm"

    def _empty_state(self, batch: int) -> tuple[Array, Array | None]:
        count = self._state_rows
        h = np.empty((count, batch, self._output_size), FLOAT32)
        return h, np.empty((count, batch, self.hidden_size), FLOAT32)

    def _checked_state(self, state: Any, batch: int, batched: bool) -> tuple[Array, Array | None]:
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise ValueError(f"state: expected a pair (h, c), got {type(state).__name__}")
        h = self._check_state(state[0], "state[0] (h)", batch, batched, self._output_size)
        c = self._check_state(state[1], "state[1] (c)", batch, batched, self.hidden_size)
        return h, c


class GRU(_Layer):
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
            proj_size=0,
            isa=isa,
            seed=seed,
        )

    @property
    def _cell(self) -> str:
        return "gru" if self.reset_after else "gru_reset_before"


class RNN(_Layer):
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
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=0,
            isa=isa,
            seed=seed,
        )

    @property
    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"


_DEFAULTS = {
    "num_layers": 1,
    "nonlinearity": "tanh",
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
    "reset_after": True,
}


def _check_projection(proj_size: int, hidden_size: int) -> None:
    if isinstance(proj_size, bool) or not isinstance(proj_size, int | np.integer):
        raise TypeError(f"proj_size: expected an int, got {type(proj_size).__name__}")
    if not 0 <= proj_size < hidden_size:
        raise ValueError(
            f"proj_size: expected 0 (none) or less than hidden_size {hidden_size}, got {proj_size}"
        )


def _check_dropout(dropout: float, num_layers: int) -> None:
    if isinstance(dropout, bool) or not isinstance(dropout, int | float | np.number):
        raise TypeError(f"dropout: expected a number, got {type(dropout).__name__}")
    if not 0.0 <= dropout <= 1.0:
        raise ValueError(f"dropout: expected a probability from 0 to 1, got {dropout}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout acts between layers, expected num_layers > 1 with it, got num_layers=1",
            UserWarning,
            stacklevel=4,
        )
