# SPDX-License-Identifier: MIT
"""`AttentionPool`: the steps of a sequence, weighted by scores that layers make of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import FLOAT32, Array, float_array
from .backward import BackwardFunction, Gradients
from .base import Layer
from .checks import checked_flag
from .flow import Axes, Flow, sequence_axes
from .on_isa import OnIsa
from .residual import check_keeps_steps, check_not_empty
from .sequential import Sequential
from .streams import LayerStream
from .time import time_major


class AttentionPool(OnIsa, Sequential):
    """The sum over the steps of x, weighted by the softmax over time of layers(x).

    Made of layers or names, used and named as a `Sequential`. The layers make one feature of each
    step, its score. y = sum of w_t x_t with w = softmax of the scores (Bahdanau, Cho, Bengio 2015,
    "Neural machine translation by jointly learning to align and translate"; as pooling Yang et al.
    2016, "Hierarchical attention networks for document classification"). Heads, which are several
    scores for each step, are refused.

    x: (T, B, F), (B, T, F) with batch_first, or (T, F), floating point; y: (B, F) or (F,). Steps
    beyond the lengths have weight 0. A row of length 0, as `Mask` may leave one, becomes zeros.
    isa: instruction set of softmax and sum, one of `fastrnn.isas()`.

    ValueError if there is no layer, if the layers return anything else than one score for each
    step, or if they move or remove steps.

    >>> import numpy as np, fastrnn
    >>> model = fastrnn.Sequential(
    ...     fastrnn.GRU(3, 8, batch_first=True),
    ...     fastrnn.AttentionPool(
    ...         fastrnn.Linear(8, 4), fastrnn.Tanh(), fastrnn.Linear(4, 1), batch_first=True
    ...     ),
    ... )
    >>> model(np.ones((2, 5, 3), np.float32), lengths=[5, 2])[0].shape
    (2, 8)
    """

    def __init__(
        self, *layers: Any, batch_first: bool = False, isa: str | None = None, **named: Any
    ) -> None:
        super().__init__(*layers, **named)
        check_not_empty(self)
        self.batch_first = checked_flag("batch_first", batch_first)
        self._choose_isa(isa)

    def _options(self) -> dict[str, object]:
        return {"batch_first": self.batch_first}

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return float_array(x, "x")

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
        scores, last, after = super()._run(x, state, flow)
        check_keeps_steps(flow, after)
        y, _ = self._pooled(x, scores, flow)
        return y, last, Flow(first=flow.first)

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, Any, Flow, BackwardFunction]:
        scores, last, after, back = super()._run_vjp(x, state, flow, seed)
        check_keeps_steps(flow, after)
        y, weights = self._pooled(x, scores, flow)

        def whole(dy: Array, dstate: Any) -> Gradients:
            """Of a softmax w: dscore_t = w_t (dw_t - sum of w dw)."""
            rows, dx = time_major(x, self.batch_first), np.empty(x.shape, FLOAT32)
            dy = dy.reshape(rows.shape[1:])
            dw = (rows * dy).sum(-1, dtype=np.float64).T
            dscores = np.empty(scores.shape, FLOAT32)
            time_major(dscores, self.batch_first)[..., 0] = (
                weights * (dw - (weights * dw).sum(1, keepdims=True))
            ).T
            time_major(dx, self.batch_first)[...] = weights.T[..., None] * dy
            grads = back(dscores, dstate)
            return Gradients(dx + grads.x, grads.state, grads.weights)

        return y, last, Flow(first=flow.first), whole

    def _pooled(self, x: NDArray[Any], scores: Array, flow: Flow) -> tuple[Array, Array]:
        """y, and the weights (B, T)."""
        if x.dtype != FLOAT32:
            raise TypeError(f"x: expected floats, which are weighted, got {x.dtype}")
        rows = time_major(x, self.batch_first)
        if scores.shape != (*x.shape[:-1], 1):
            raise ValueError(
                f"x: expected layers that return one score for each step, shape "
                f"{(*x.shape[:-1], 1)}, got {scores.shape}"
            )
        weights = np.array(time_major(scores, self.batch_first)[..., 0].T, order="C")
        y = np.empty(rows.shape[1:], FLOAT32)
        counts = None if flow.lengths is None else flow.lengths.astype(np.uintp)
        rows = rows if rows.strides[2] == rows.itemsize else np.ascontiguousarray(rows)
        _core.attention_pool(self._isa, rows, counts, weights, y)
        return (y[0] if x.ndim == 2 else y), weights

    def stream(self, batch_size: int = 1) -> Any:
        """Refuse: the weights follow from all steps. ValueError says so."""
        return LayerStream(self, batch_size)

    def _why_not_causal(self) -> str:
        return "it needs the end of the sequence"

    def _not_causal(self) -> Iterator[tuple[str, Layer, str]]:
        return Layer._not_causal(self)

    def _takes(self, axes: Axes, ndim: int) -> bool:
        keeps = super()._takes(axes, ndim) and super()._axes_after(axes, ndim) == axes
        return keeps and axes == sequence_axes(ndim, self.batch_first)

    def _axes_after(self, axes: Axes, ndim: int) -> None:
        return None

    def _ndim_after(self, ndim: int) -> int:
        return ndim - 1
