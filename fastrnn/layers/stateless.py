# SPDX-License-Identifier: MIT
"""`Stateless`: what the layers without a state share, and helpers for their arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Array
from .backward import BackwardFunction, Gradients
from .flow import Flow
from .weighted import Weighted

# From the gradients of y to those of x (None if x holds integers) and of the weights.
Back = Callable[[Array], tuple[Array | None, dict[str, Array]]]


class Stateless(Weighted):
    """A layer without a state: a kind of layer fills in `_forward` and `_forward_vjp`."""

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({arguments})"

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        """y, of an x that is zero beyond the lengths."""
        raise NotImplementedError

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        """y as in training, and the backward pass."""
        raise NotImplementedError

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, None, Flow]:
        if state is not None:
            _refuse_state(state, "state")
        y = self._forward(x, flow)
        if flow.axes is None:
            return y, None, flow
        after = self._flow_after(flow, x)
        return after.zeroed(y), None, after

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, None, Flow, BackwardFunction]:
        if state is not None:
            _refuse_state(state, "state")
        y, back = self._forward_vjp(x, flow, seed)
        after = self._flow_after(flow, x)

        def whole(dy: Array, dstate: Any) -> Gradients:
            if dstate is not None:
                _refuse_state(dstate, "dstate")
            dx, weights = back(after.zeroed(dy))
            return Gradients(dx, None, weights)

        return after.zeroed(y), None, after, whole

    def _flow_after(self, flow: Flow, x: NDArray[Any]) -> Flow:
        axes = None if flow.axes is None else self._axes_after(flow.axes, x.ndim)
        if axes is None:
            return Flow(first=flow.first)
        lengths = self.lengths_after(flow.lengths, x)
        return Flow(lengths, axes, flow.first, flow.moved, flow.masked)  # faster than _replace


def _refuse_state(state: Any, name: str) -> None:
    raise ValueError(f"{name}: expected None for a layer without state, got {type(state).__name__}")


def checked_dim(dim: int, ndim: int) -> int:
    """An axis counted from the front."""
    if not -ndim <= dim < ndim:
        raise ValueError(f"dim: expected an axis of x with {ndim} axes, got {dim}")
    return dim % ndim


def as_rows(x: Array) -> Array:
    """x as (N, features), a view if that is possible, the last axis contiguous."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])
