# SPDX-License-Identifier: MIT
"""`Residual`: layers whose x is added to their y."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import FLOAT32, Array, float_array
from .backward import BackwardFunction, Gradients
from .flow import Axes, Flow
from .sequential import Sequential
from .streams import SequentialStream


class Residual(Sequential):
    """A `Sequential` whose x is added to its y: y = x + layers(x).

    Made of layers or names, used and named as a `Sequential`; a slice of it is a `Sequential`. This
    is `x + self.lstm(x)[0]` of a module in PyTorch (He et al. 2016, "Deep residual learning for
    image recognition").

    x: what the first layer takes, floating point; y has its shape.

    ValueError if there is no layer, or if the layers return another shape than that of x, or move
    or remove steps.

    >>> import numpy as np, fastrnn
    >>> model = fastrnn.Sequential(
    ...     fastrnn.Linear(3, 8),
    ...     fastrnn.Residual(rnn=fastrnn.LSTM(8, 8), norm=fastrnn.LayerNorm(8)),
    ... )
    >>> y, state = model(np.ones((5, 2, 3), np.float32))
    >>> y.shape, state["1"]["rnn"][0].shape, list(model.state_dict())[2]
    ((5, 2, 8), (1, 2, 8), '1.rnn.weight_ih_l0')
    """

    def __init__(self, *layers: Any, **named: Any) -> None:
        super().__init__(*layers, **named)
        check_not_empty(self)

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return float_array(x, "x")

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
        y, last, after = super()._run(x, state, flow)
        check_keeps_steps(flow, after)
        return _sum(x, y), last, after

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, Any, Flow, BackwardFunction]:
        y, last, after, back = super()._run_vjp(x, state, flow, seed)
        check_keeps_steps(flow, after)

        def whole(dy: Array, dstate: Any) -> Gradients:
            grads = back(dy, dstate)
            return Gradients(after.zeroed(dy) + grads.x, grads.state, grads.weights)

        return _sum(x, y), last, after, whole

    def stream(self, batch_size: int = 1) -> SequentialStream:
        """Return `batch_size` streams that run step by step: see `SequentialStream`."""
        return ResidualStream(self, batch_size)

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return super()._takes(axes, ndim) and self._axes_after(axes, ndim) == axes


class ResidualStream(SequentialStream):
    """Streams of a `Residual`."""

    def _advance(self, x: NDArray[Any], flow: Flow | None = None) -> Array:
        return _sum(x, super()._advance(x, flow))


def check_not_empty(model: Sequential) -> None:
    if not len(model):
        raise ValueError("layers: expected at least one layer, got none")


def check_keeps_steps(flow: Flow, after: Flow) -> None:
    """Require that layers between two flows leave the steps of each row where they were."""
    same = after.lengths is flow.lengths or np.array_equal(after.lengths, flow.lengths)  # type: ignore[arg-type]
    if not same or (after.axes, after.moved) != (flow.axes, flow.moved):
        raise ValueError("x: expected layers that keep the steps of each row, got some that do not")


def _sum(x: NDArray[Any], y: Array) -> Array:
    if x.dtype != FLOAT32:
        raise TypeError(f"x: expected floats, which are added to y, got {x.dtype}")
    if x.shape != y.shape:
        raise ValueError(f"x: expected layers that return its shape {x.shape}, got {y.shape}")
    return x + y
