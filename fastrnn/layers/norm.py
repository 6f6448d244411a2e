# SPDX-License-Identifier: MIT
"""`LayerNorm`: mean 0 and variance 1 over the last axes. `BatchNorm1d`: by given statistics.

`ScaleFeatures`: by given numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import FLOAT32, Array
from .checks import check_from_zero, check_size, checked_flag
from .flow import Axes, Flow
from .state_dicts import with_dot
from .stateless import Back, Stateless, as_rows


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
        super().__init__(isa)
        self.normalized_shape = sizes
        self.eps = check_from_zero("eps", eps)
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


class BatchNorm1d(Stateless):
    """(x - running_mean) / sqrt(running_var + eps) * weight + bias, as torch.nn.BatchNorm1d.

    x: (B, C) or (B, C, T) of floats, C num_features; y: the same, float32. The statistics are those
    of the state dict, as in torch's eval mode, in training too: `vjp` has no gradients of them and
    changes none. Weights: `running_mean` and `running_var` and, with affine, `weight` and `bias`,
    all (C,). A `num_batches_tracked` in a state dict is ignored. isa: instruction set, one of
    `fastrnn.isas()`.

    >>> import numpy as np
    >>> layer = BatchNorm1d(2, eps=0.0)
    >>> layer.load_state_dict(
    ...     {"weight": np.ones(2), "bias": np.zeros(2), "running_mean": np.array([1.0, 2.0]),
    ...      "running_var": np.array([4.0, 1.0])}
    ... )
    >>> layer(np.array([[3.0, 5.0]]))[0].round(3).tolist()
    [[1.0, 3.0]]
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, *, affine: bool = True, isa: str | None = None
    ) -> None:
        super().__init__(isa)
        self.num_features = check_size("num_features", num_features)
        self.eps = check_from_zero("eps", eps)
        self.affine = checked_flag("affine", affine)
        first = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        self._weights = {
            name: np.full(shape, first[name], FLOAT32) for name, shape in self._shapes().items()
        }

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names if self.affine else names[2:], (self.num_features,))

    def load_state_dict(self, arrays: Mapping[str, ArrayLike], prefix: str = "") -> None:
        """Take the weights that are named as in `state_dict`, behind `prefix`; see `Layer`."""
        counter = with_dot(prefix) + "num_batches_tracked"
        super().load_state_dict({n: a for n, a in arrays.items() if n != counter}, prefix)

    def _options(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("num_features", "eps", "affine")}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return ndim == 3 and axes == (0, 2)

    def _why_not_causal(self) -> str:
        return "its x is (B, C, T)"

    def _rows(self, x: Array) -> Array:
        """A copy of x as (B * T, C)."""
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise ValueError(
                f"x: expected (batch, {self.num_features}) or (batch, {self.num_features}, steps), "
                f"got shape {x.shape}"
            )
        return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, self.num_features)

    def _shaped(self, rows: Array, x: Array) -> Array:
        """Rows (B * T, C) in the shape of x."""
        shape = (*x.shape[:1], *x.shape[2:], self.num_features)
        return np.ascontiguousarray(np.moveaxis(rows.reshape(shape), -1, 1))

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        rows, w = self._rows(x), self._weights
        y = np.empty_like(rows)
        if y.size:
            statistics = (w["running_mean"], w["running_var"], w.get("weight"), w.get("bias"))
            _core.batch_norm(self.isa, rows, y, *statistics, self.eps)
        return self._shaped(y, x)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        weights = self._weights

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            drows = self._rows(dy)
            scale = 1 / np.sqrt(weights["running_var"] + np.float32(self.eps))
            normal = (self._rows(x) - weights["running_mean"]) * scale
            grads = {"weight": (drows * normal).sum(0), "bias": drows.sum(0)} if self.affine else {}
            return self._shaped(drows * (scale * weights.get("weight", np.float32(1))), x), grads

        return self._forward(x, flow), back


class ScaleFeatures(Stateless):
    """weight x + bias, with a weight and a bias for each feature.

    So files normalise their inputs, and so layers end that scale their outputs. x: (...,
    num_features) of floats; y: the same, float32. Weights: `weight` and `bias`, both
    (num_features,), at first ones and zeros. isa: instruction set, one of `fastrnn.isas()`.

    >>> import numpy as np
    >>> layer = ScaleFeatures(2)
    >>> layer.load_state_dict({"weight": np.array([2.0, 3.0]), "bias": np.array([0.0, 1.0])})
    >>> layer(np.array([[1.0, 1.0]]))[0].tolist()
    [[2.0, 4.0]]
    """

    def __init__(self, num_features: int, *, isa: str | None = None) -> None:
        super().__init__(isa)
        self.num_features = check_size("num_features", num_features)
        self._weights = {
            "weight": np.ones(self.num_features, FLOAT32),
            "bias": np.zeros(self.num_features, FLOAT32),
        }

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias"), (self.num_features,))

    def _options(self) -> dict[str, object]:
        return {"num_features": self.num_features}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return super()._takes(axes, ndim - 1)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        if x.shape[-1:] != (self.num_features,):
            raise ValueError(f"x: expected {self.num_features} features, got shape {x.shape}")
        rows = as_rows(x)
        y = np.empty_like(rows)
        if y.size:
            weights = (self._weights["weight"], self._weights["bias"])
            _core.batch_norm(self.isa, rows, y, None, None, *weights, 0.0)
        return y.reshape(x.shape)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        weight = self._weights["weight"].copy()

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            return dy * weight, {"weight": as_rows(dy * x).sum(0), "bias": as_rows(dy).sum(0)}

        return self._forward(x, flow), back
