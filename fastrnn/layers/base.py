# SPDX-License-Identifier: MIT
"""`Layer`: what every layer and `Sequential` have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from numpy.typing import ArrayLike, NDArray

from .arrays import Array, float_array
from .backward import Backward, BackwardFunction, Gradients, checked_dy
from .checks import drawn_seed
from .flow import Axes, Flow, Lengths, entry_flow
from .state_dicts import check_state_dict
from .streams import LayerStream


class Layer:
    """A layer: `y, state = layer(x, state)`; the state of a layer without one is None.

    `lengths` are the valid steps of each row, if x has sequences: beyond them y is 0, whatever x
    holds there. The axes of x are then (steps, batch, ...), or (steps, ...) for a single sequence,
    unless the layer says otherwise; in a `Sequential` the layers agree on them.

    A `Sequential` runs its layers by the methods below that begin with an underscore. Layers of one
    input and one output without a state derive from `Stateless`, which has two methods to fill in.
    """

    _has_state: bool = False
    _finds_lengths: bool = False  # whether y has lengths where x has none

    def __call__(
        self, x: ArrayLike, state: Any = None, *, lengths: ArrayLike | Sequence[int] | None = None
    ) -> tuple[Array, Any]:
        """Run the layer: `y, state = layer(x, state)`; the class describes x, y and the state."""
        array = self._input(x)
        flow = entry_flow(self, array, lengths)
        y, last, after = self._run(flow.zeroed(array), state, flow)
        self._check_end(after)
        return y, last

    def vjp(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | Sequence[int] | None = None,
        seed: int | None = None,
    ) -> tuple[Array, Any, Backward]:
        """Run the layer as in training: `y, state, backward = layer.vjp(x, state)`.

        `grads = backward(dy, dstate=None)` then has the gradients grads.x (None if x holds
        integers), grads.state and grads.weights by the names of the state dict. dy and any part of
        dstate may be None for zeros. seed: for what the layer draws in training, from 0 to 2**64 -
        1; None: a new one each time.
        """
        array = self._input(x)
        flow = entry_flow(self, array, lengths)
        y, last, after, back = self._run_vjp(flow.zeroed(array), state, flow, drawn_seed(seed))
        self._check_end(after)

        def whole(dy: ArrayLike | None, dstate: Any) -> Gradients:
            dy = checked_dy(dy, y.shape)
            grads = back(dy, dstate)
            dx, extra = grads.x, self._to_first(dy, array)
            if dx is not None:
                dx = flow.zeroed(dx if extra is None else dx + extra)
            return Gradients(dx, grads.state, grads.weights)

        return y, last, Backward(whole)

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        """The valid steps of each row of y, given those of x; None: all, or y has no steps."""
        return lengths

    def stream(self, batch_size: int = 1) -> Any:
        """Return `batch_size` streams that run step by step; see `fastrnn.Sequential.stream`."""
        return LayerStream(self, batch_size)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change what the constructor was given: weights and buffers have its sizes."""
        if not name.startswith("_") and hasattr(self, name) and not hasattr(type(self), name):
            self._refuse_change(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            self._refuse_change(name)
        super().__delattr__(name)

    def _refuse_change(self, name: str) -> NoReturn:
        raise AttributeError(
            f"{name}: expected to stay {getattr(self, name)!r}, as {type(self).__name__} was made "
            "with; make a new layer for another value"
        )

    # --- Weights ---

    @property
    def num_parameters(self) -> int:
        """The number of values in all weights."""
        return sum(math.prod(shape) for shape in self._shapes().values())

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights by PyTorch's names (`weight_ih_l0`, ...), float32."""
        raise NotImplementedError

    def load_state_dict(self, arrays: Mapping[str, ArrayLike], prefix: str = "") -> None:
        """Take the weights that are named as in `state_dict`, behind `prefix`.

        float16 and float64 are converted. ValueError names what is missing, unexpected under the
        prefix, or misshapen, TypeError what is not floating point; nothing has then changed.
        """
        self._set_weights(check_state_dict(arrays, prefix, self._shapes()))

    def editing(self) -> AbstractContextManager[dict[str, Array]]:
        """Write into the weights in place: `with layer.editing() as weights: ...`."""
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights by PyTorch's names."""
        raise NotImplementedError

    def _set_weights(self, taken: Mapping[str, ArrayLike]) -> None:
        """Take copies of weights that are known to fit."""
        raise NotImplementedError

    # --- What a kind of layer declares ---

    def _options(self) -> dict[str, object]:
        """The arguments of the constructor, without isa and seed."""
        return {}

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return float_array(x, "x")

    def _takes(self, axes: Axes, ndim: int) -> bool:
        """Whether the rows and steps of an x may lie on these axes."""
        return max(axes[0] or 0, axes[1]) < ndim

    def _axes_after(self, axes: Axes, ndim: int) -> Axes | None:
        """The axes of rows and steps in y, given those in x; None if y has no steps."""
        return axes

    def _ndim_after(self, ndim: int) -> int:
        return ndim

    def _why_not_causal(self) -> str:
        """Why the layer cannot run step by step; "" if it can."""
        return ""

    def _not_causal(self) -> Iterator[tuple[str, Layer, str]]:
        """The layers in this one that cannot run step by step, by path, and why."""
        why = self._why_not_causal()
        if why:
            yield "", self, why

    def _to_first(self, dy: Array, first: Array) -> Array | None:
        """The gradient of the model's own input, for a layer that reads that, too."""
        return None

    def _check_end(self, flow: Flow) -> None:
        """Refuse a y that the caller could not relate to x."""

    # --- A state ---

    @property
    def _state_shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, width) of each part of the layer's own state."""
        return ()

    def _first_states(self, state: Any, x: NDArray[Any]) -> Any:
        """A state for each row of x, from one of the shapes in `_state_shapes`."""
        raise NotImplementedError

    # --- A pass as one layer of several ---

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
        """y, the last state and the flow after the layer, of an x that is zero beyond the lengths.

        Rows may have length 0.
        """
        raise NotImplementedError

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, Any, Flow, BackwardFunction]:
        """As `_run`, in training, and the backward pass."""
        raise NotImplementedError
