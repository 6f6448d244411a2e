# SPDX-License-Identifier: MIT
"""`LayerNorm`: mean 0 and variance 1 over the last axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import FLOAT32, Array
from .checks import check_number, check_size, checked_flag
from .flow import Axes, Flow
from .stateless import Back, Stateless


class LayerNorm(Stateless):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axes, as torch.nn.LayerNorm.

    x: (..., *normalized_shape) of floats; y: the same, float32. normalized_shape: int or tuple.
    Weights: `weight` and, with bias, `bias`, both of normalized_shape; neither of them without
    elementwise_affine. isa: instruction set, one of `fastrnn.isas()`.

    >>> import numpy as np
    >>> y, _ = LayerNorm(2)(np.array([[1.0, 3.0], [5.0, 5.0]]))
    >>> y.round(3).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | list[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        isa: str | None = None,
    ) -> None:
        given = normalized_shape
        shape = tuple(given) if isinstance(given, tuple | list) else (given,)
        if not shape:
            raise ValueError("normalized_shape: expected at least one axis, got none")
        sizes = tuple(check_size("normalized_shape", size) for size in shape)
        if not 0 <= check_number("eps", eps) < math.inf:
            raise ValueError(f"eps: expected a finite number of at least 0, got {eps}")
        super().__init__(isa)
        self.normalized_shape = sizes
        self.eps = float(eps)
        self.elementwise_affine = checked_flag("elementwise_affine", elementwise_affine)
        self.bias = checked_flag("bias", bias)
        first = {"weight": np.ones, "bias": np.zeros}
        self._weights = {
            name: first[name](size, np.float32) for name, size in self._shapes().items()
        }

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if not self.elementwise_affine:
            return {}
        return dict.fromkeys(("weight", "bias")[: 1 + self.bias], self.normalized_shape)

    def _options(self) -> dict[str, object]:
        names = ("normalized_shape", "eps", "elementwise_affine", "bias")
        return {name: getattr(self, name) for name in names}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return super()._takes(axes, ndim - len(self.normalized_shape))

    def _why_not_causal(self) -> str:
        return "" if len(self.normalized_shape) == 1 else "it normalizes over more than features"

    def _rows(self, x: Array) -> Array:
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            expected = ", ".join(map(str, self.normalized_shape))
            raise ValueError(f"x: expected shape (..., {expected}), got {x.shape}")
        size = math.prod(self.normalized_shape)
        return np.ascontiguousarray(x).reshape(x.size // size, size)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        rows, y = self._rows(x), np.empty(x.shape, FLOAT32)
        flat = {name: array.reshape(-1) for name, array in self._weights.items()}
        weight, bias = flat.get("weight"), flat.get("bias")
        if y.size:
            _core.layer_norm(self.isa, rows, y.reshape(rows.shape), weight, bias, self.eps)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        weights = self._weights

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            rows, drows = self._rows(x), np.ascontiguousarray(dy).reshape(self._rows(x).shape)
            centered = rows - rows.mean(1, keepdims=True)
            scale = 1 / np.sqrt((centered * centered).mean(1, keepdims=True) + np.float32(self.eps))
            normal = centered * scale
            grads = {"weight": (drows * normal).sum(0), "bias": drows.sum(0)}
            d = drows * weights["weight"].reshape(-1) if "weight" in weights else drows
            inner = d.mean(1, keepdims=True) + normal * (d * normal).mean(1, keepdims=True)
            shaped = {name: grads[name].reshape(self.normalized_shape) for name in weights}
            return (scale * (d - inner)).reshape(x.shape), shaped

        return self._forward(x, flow), back
