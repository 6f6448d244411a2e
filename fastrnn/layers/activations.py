# SPDX-License-Identifier: MIT
"""`ReLU`, `Tanh`, `Sigmoid`, `Softmax`, `LogSoftmax` and `Dropout`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import FLOAT32, Array
from .checks import check_int, check_probability
from .flow import Axes, Flow
from .stateless import Back, Stateless, checked_dim

# An array, which NumPy takes faster than a scalar: 2 us instead of 3.
_ZERO = np.zeros((), FLOAT32)


class ReLU(Stateless):
    """max(x, 0) of an x of any shape, as torch.nn.ReLU; a NaN stays one.

    >>> ReLU()([-1.0, 2.0])[0].tolist()
    [0.0, 2.0]
    """

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        y: Array = np.maximum(x, _ZERO)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        return self._forward(x, flow), lambda dy: (np.where(x <= 0, np.float32(0), dy), {})


class _Curve(Stateless):
    """An activation that the core computes element by element."""

    _kernel: ClassVar[Any]  # of the core: (isa, x, y)

    def __init__(self, *, isa: str | None = None) -> None:
        super().__init__(isa)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        y = np.empty(x.shape, FLOAT32)
        if y.size:
            self._kernel(self.isa, np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        y = self._forward(x, flow)
        kept = y.copy()  # the caller may write into y, as in y -= target
        return y, lambda dy: (dy * self._slope(kept), {})

    def _slope(self, y: Array) -> Array:
        """dy/dx, by y."""
        raise NotImplementedError


class Tanh(_Curve):
    """tanh(x) of an x of any shape, as torch.nn.Tanh. isa: one of `fastrnn.isas()`.

    >>> Tanh()([0.0, 1.0])[0].round(3).tolist()
    [0.0, 0.7620000243186951]
    """

    _kernel = staticmethod(_core.tanh)

    def _slope(self, y: Array) -> Array:
        return 1 - y * y


class Sigmoid(_Curve):
    """1 / (1 + exp(-x)) of an x of any shape, as torch.nn.Sigmoid. isa: one of `fastrnn.isas()`.

    >>> Sigmoid()([0.0])[0].tolist()
    [0.5]
    """

    _kernel = staticmethod(_core.sigmoid)

    def _slope(self, y: Array) -> Array:
        return y * (1 - y)


class _OverAxis(Stateless):
    """An activation over one axis. Over the axis of steps, only those within the length count."""

    _kernel: ClassVar[Any]  # of the core: (isa, x, y)

    def __init__(self, dim: int, *, isa: str | None = None) -> None:
        super().__init__(isa)
        self.dim = check_int("dim", dim)

    def _options(self) -> dict[str, object]:
        return {"dim": self.dim}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        own = checked_dim(self.dim, ndim) if -ndim <= self.dim < ndim else None
        return super()._takes(axes, ndim) and axes[0] != own

    def _why_not_causal(self) -> str:
        features = self.dim in (-1, 2)  # of (steps, batch, features)
        return "" if features else f"dim={self.dim} is not the axis of features"

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        dim = checked_dim(self.dim, x.ndim)
        if flow.lengths is not None and flow.axes is not None and dim == flow.axes[1]:
            x = np.where(flow.valid(x), x, np.float32(-np.inf))
        moved = np.ascontiguousarray(x.swapaxes(dim, -1))
        y = np.empty(moved.shape, FLOAT32)
        if y.size:
            rows = (-1, moved.shape[-1])
            self._kernel(self.isa, moved.reshape(rows), y.reshape(rows))
        return y.swapaxes(dim, -1)


class Softmax(_OverAxis):
    """exp(x) / sum(exp(x)) over the axis dim, as torch.nn.Softmax.

    x of any shape with at least one axis; y the same, float32. With lengths and dim the axis of
    steps, the sum is over each row's valid ones. isa: one of `fastrnn.isas()`.

    >>> Softmax(-1)([[0.0, 0.0]])[0].tolist()
    [[0.5, 0.5]]
    """

    _kernel = staticmethod(_core.softmax)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        y = flow.zeroed(self._forward(x, flow))
        kept = y.copy()  # the caller may write into y
        return y, lambda dy: (kept * (dy - (dy * kept).sum(self.dim, keepdims=True)), {})


class LogSoftmax(_OverAxis):
    """x - log(sum(exp(x))) over the axis dim, as torch.nn.LogSoftmax; see `Softmax`.

    >>> LogSoftmax(-1)([[0.0, 0.0]])[0].round(3).tolist()
    [[-0.6930000185966492, -0.6930000185966492]]
    """

    _kernel = staticmethod(_core.log_softmax)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        y = self._forward(x, flow)
        kept = y.copy()  # the caller may write into y
        return y, lambda dy: (dy - np.exp(kept) * dy.sum(self.dim, keepdims=True), {})


class Dropout(Stateless):
    """Zeros in place of a part p of x, drawn anew in each training pass, as torch.nn.Dropout.

    `layer.vjp` is the training pass: there every value of x is kept with probability 1 - p and
    then divided by it. Calls and streams leave x as it is.

    >>> import numpy as np
    >>> x = np.ones((2, 3), np.float32)
    >>> y, _ = Dropout(0.5)(x)
    >>> bool((x == y).all())
    True
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_probability("p", p)

    def _options(self) -> dict[str, object]:
        return {"p": self.p}

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        return x

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        if self.p == 0.0:
            return x, lambda dy: (dy, {})
        kept = np.random.default_rng(seed).random(x.shape, np.float32) >= self.p
        factor = kept * np.float32(0.0 if self.p == 1.0 else 1 / (1 - self.p))
        return x * factor, lambda dy: (dy * factor, {})
