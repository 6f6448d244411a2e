# SPDX-License-Identifier: MIT
"""What the layers around the recurrence share: the call, its gradients, and rows of any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import FLOAT32, Array, float_array
from .backward import Gradients
from .checks import check_lengths, drawn_seed
from .weighted import Weighted

Lengths = NDArray[np.intp]

# The axes of x that count rows (None: x is one row) and steps.
Axes = tuple[int | None, int]

# Where rows and steps may be, in the order in which layers are asked about it: (steps, batch, ...)
# as torch.nn's recurrent layers have them, batch first, Conv1d's, and one sequence without a batch.
ARRANGEMENTS: tuple[Axes, ...] = ((1, 0), (0, 1), (0, 2), (None, 0), (None, 1))

# From the gradients of y to those of x and of the weights.
Back = Callable[[Array], tuple[Array | None, dict[str, Array]]]


@dataclass(frozen=True)
class Flow:
    """What is known of the array between two layers beside its numbers.

    Where there are lengths, there are axes, and what lies beyond the lengths is zero.
    """

    lengths: Lengths | None = None
    axes: Axes | None = None
    first: NDArray[Any] | None = None  # the input of the model
    moved: bool = False  # steps are no longer where they were in x

    def zeroed(self, x: NDArray[Any]) -> NDArray[Any]:
        """A copy of x with zeros beyond the lengths, x itself where there are none."""
        return x if self.lengths is None else np.where(self.valid(x), x, np.zeros((), x.dtype))

    def valid(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether a step is within its row's length, in a shape to be used beside x."""
        assert self.lengths is not None
        assert self.axes is not None
        rows, steps = self.axes
        within = np.arange(x.shape[steps]) < self.lengths[:, None]
        shape = [1] * x.ndim
        shape[steps] = x.shape[steps]
        if rows is not None:
            shape[rows] = x.shape[rows]
            within = within if rows < steps else within.T
        return within.reshape(shape)


class Backward:
    """`grads = backward(dy, dstate=None)` of a pass; see `Layer.vjp`."""

    def __init__(self, back: Callable[[Any, Any], Gradients]) -> None:
        self._back = back

    def __call__(self, dy: ArrayLike | None, dstate: Any = None) -> Gradients:
        return self._back(dy, dstate)


class Layer(Weighted):
    """A layer without a state: `y, state = layer(x)`, where the state is always None.

    `lengths` are the valid steps of each row, where x has sequences: beyond them y is 0, whatever
    x holds there. The axes of x are then (steps, batch, ...), or (steps, ...) for a single
    sequence, unless the layer says otherwise; in a `Sequential` the layers agree on them.
    """

    _finds_lengths: ClassVar[bool] = False  # whether y has lengths where x has none

    def __init__(self, isa: str | None = None) -> None:
        super().__init__(isa)

    def __call__(
        self, x: ArrayLike, state: None = None, *, lengths: ArrayLike | Sequence[int] | None = None
    ) -> tuple[Array, None]:
        """Run the layer: `y, state = layer(x)`; what x and y are stands in the class."""
        _refuse_state(state, "state")
        array = self._input(x)
        flow = entry_flow([self], array, lengths)
        y, _ = self._run(flow.zeroed(array), flow)
        return y, None

    def vjp(
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | Sequence[int] | None = None,
        seed: int | None = None,
    ) -> tuple[Array, None, Backward]:
        """Run the layer and keep the way back: `y, state, backward = layer.vjp(x)`.

        `grads = backward(dy)` then has grads.x (None where x is of integers) and grads.weights by
        the names of the state dict; dy may be None for zeros, grads.state is None. seed: of what a
        layer draws in training, from 0 to 2**64 - 1; None: another each time.
        """
        _refuse_state(state, "state")
        array = self._input(x)
        flow = entry_flow([self], array, lengths)
        y, flow_after, back = self._run_vjp(flow.zeroed(array), flow, drawn_seed(seed))

        def whole(dy: ArrayLike | None, dstate: Any) -> Gradients:
            _refuse_state(dstate, "dstate")
            dy = flow_after.zeroed(checked_dy(dy, y.shape))
            dx, weights = back(dy)
            extra = self._to_first(dy, array)
            if dx is not None:
                dx = flow.zeroed(dx if extra is None else dx + extra)
            return Gradients(dx, None, weights)

        return y, None, Backward(whole)

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        """The valid steps of each row of y, given those of x; None: all, or y has no steps."""
        return lengths

    def stream(self, batch_size: int = 1) -> Any:
        """Return `batch_size` streams that run step by step; see `fastrnn.Sequential.stream`."""
        from .streams import stream_of

        return stream_of(self, batch_size)

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({words})"

    # --- What a kind of layer says of itself ---

    def _options(self) -> dict[str, object]:
        """The arguments of the constructor, without isa and seed."""
        return {}

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return float_array(x, "x")

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        """y, of an x that is zero beyond the lengths."""
        raise NotImplementedError

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        """y as `_forward` has it, or as training has it, and the way back."""
        raise NotImplementedError

    def _takes(self, axes: Axes, ndim: int) -> bool:
        """Whether the rows and steps of an x may lie on these axes."""
        return max(axes[0] or 0, axes[1]) < ndim

    def _axes_after(self, axes: Axes, ndim: int) -> Axes | None:
        """The axes of rows and steps in y, given those in x; None where y has no steps."""
        return axes

    def _ndim_after(self, ndim: int) -> int:
        return ndim

    def _moves(self, x: NDArray[Any], flow: Flow) -> bool:
        """Whether steps of this x come to lie elsewhere, as where some are left out."""
        return False

    def _why_not_causal(self) -> str:
        """Why the layer cannot run step by step; "" where it can."""
        return ""

    def _to_first(self, dy: Array, first: Array) -> Array | None:
        """What dy means for the model's own input, where the layer reads that, too."""
        return None

    # --- One layer of several ---

    def _flow_after(self, flow: Flow, x: NDArray[Any], y: Array) -> Flow:
        axes = None if flow.axes is None else self._axes_after(flow.axes, x.ndim)
        lengths = self.lengths_after(flow.lengths, x) if axes is not None else None
        moved = axes is not None and (flow.moved or self._moves(x, flow))
        return Flow(lengths, axes, flow.first, moved)

    def _run(self, x: NDArray[Any], flow: Flow) -> tuple[Array, Flow]:
        y = self._forward(x, flow)
        after = self._flow_after(flow, x, y)
        return after.zeroed(y), after

    def _run_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Flow, Back]:
        y, back = self._forward_vjp(x, flow, seed)
        after = self._flow_after(flow, x, y)
        return after.zeroed(y), after, lambda dy: back(after.zeroed(dy))


def entry_flow(layers: Sequence[Any], x: NDArray[Any], lengths: Any) -> Flow:
    """The flow into layers that run one after another."""
    if lengths is None and not any(layer._finds_lengths for layer in layers):
        return Flow(None, None, x)  # nothing will ask where the rows and steps are
    axes = find_axes(layers, x.ndim)
    if lengths is None:
        return Flow(None, axes, x)
    if axes is None:
        raise ValueError(
            f"lengths: no arrangement of rows and steps in x of shape {x.shape} suits all layers, "
            "expected layers that agree on batch_first and an x with an axis of steps"
        )
    rows, steps = axes
    batch = 1 if rows is None else x.shape[rows]
    return Flow(check_lengths(lengths, batch, x.shape[steps]).astype(np.intp), axes, x)


def find_axes(layers: Sequence[Any], ndim: int) -> Axes | None:
    """Where x has its rows and steps, by what the layers say; None where they do not agree."""
    return next((axes for axes in ARRANGEMENTS if _all_take(layers, axes, ndim)), None)


def _all_take(layers: Sequence[Any], axes: Axes, ndim: int) -> bool:
    now: Axes | None = axes
    for layer in layers:
        if now is None:
            return True
        if not layer._takes(now, ndim):
            return False
        now, ndim = layer._axes_after(now, ndim), layer._ndim_after(ndim)
    return True


def checked_dy(dy: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """dy as an array of y's shape."""
    if dy is None:
        return np.zeros(shape, FLOAT32)
    array = float_array(dy, "dy")
    if array.shape != shape:
        raise ValueError(f"dy: expected shape {shape}, got {array.shape}")
    return array


def checked_dim(dim: int, ndim: int, extra: int = 0) -> int:
    """An axis counted from the front; `extra` axes may be added by the layer."""
    if not -ndim - extra <= dim < ndim + extra:
        raise ValueError(f"dim: expected an axis of x with {ndim} axes, got {dim}")
    return dim % (ndim + extra)


def as_rows(x: Array) -> Array:
    """x as (N, features), a view where that is possible, the last axis contiguous."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])


def check_int(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    return int(value)


def _refuse_state(state: Any, name: str) -> None:
    if state is not None:
        raise ValueError(
            f"{name}: expected None for a layer without state, got {type(state).__name__}"
        )
