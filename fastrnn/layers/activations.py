# SPDX-License-Identifier: MIT
"""Functions of each value by itself, `Softmax`, `LogSoftmax` and `Dropout`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import FLOAT32, Array
from .checks import (
    check_choice,
    check_finite,
    check_int,
    check_number,
    check_probability,
    check_size,
)
from .flow import Axes, Flow
from .stateless import Back, Stateless, checked_dim

_SMALLEST = 1.2e-38  # the smallest normal float32, nearly


class _Function(Stateless):
    """A function of each value by itself, which the core computes. x may have any shape."""

    _name: ClassVar[str]  # one of `_core.functions()`
    _arguments: ClassVar[tuple[str, ...]] = ()  # the names of its parameters a and b

    def __init__(self, *, isa: str | None = None) -> None:
        super().__init__(isa)

    def _options(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._arguments}

    def _function(self) -> tuple[str, list[float]]:
        """The function of the core, and its parameters."""
        return self._name, [getattr(self, name) for name in self._arguments]

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        y = np.empty(x.shape, FLOAT32)
        name, parameters = self._function()
        _core.apply(self.isa, name, np.ascontiguousarray(x), y, *parameters)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        name, parameters = self._function()

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx = np.empty(x.shape, FLOAT32)
            given = (np.ascontiguousarray(x), np.ascontiguousarray(dy))
            _core.apply_backward(self.isa, name, *given, dx, *parameters)
            return dx, {}

        return self._forward(x, flow), back


class ReLU(_Function):
    """max(x, 0) of an x of any shape, as torch.nn.ReLU; a NaN stays one.

    >>> ReLU()([-1.0, 2.0])[0].tolist()
    [0.0, 2.0]
    """

    _name = "relu"


class Tanh(_Function):
    """tanh(x) of an x of any shape, as torch.nn.Tanh. isa: one of `fastrnn.isas()`.

    >>> Tanh()([0.0, 1.0])[0].round(3).tolist()
    [0.0, 0.7620000243186951]
    """

    _name = "tanh"


class Sigmoid(_Function):
    """1 / (1 + exp(-x)) of an x of any shape, as torch.nn.Sigmoid. isa: one of `fastrnn.isas()`.

    >>> Sigmoid()([0.0])[0].tolist()
    [0.5]
    """

    _name = "sigmoid"


class ELU(_Function):
    """x, and alpha (exp(x) - 1) where that is negative, as torch.nn.ELU (Clevert et al. 2015).

    x of any shape; y the same, float32. isa: one of `fastrnn.isas()`.

    >>> ELU()([-1.0, 2.0])[0].round(3).tolist()
    [-0.6320000290870667, 2.0]
    """

    _name = "elu"
    _arguments = ("alpha",)

    def __init__(self, alpha: float = 1.0, *, isa: str | None = None) -> None:
        super().__init__(isa=isa)
        self.alpha = check_finite("alpha", alpha)


class LeakyReLU(_Function):
    """x, and negative_slope x where x is negative, as torch.nn.LeakyReLU (Maas et al. 2013).

    x of any shape; y the same, float32. isa: one of `fastrnn.isas()`.

    >>> LeakyReLU(0.25)([-1.0, 2.0])[0].tolist()
    [-0.25, 2.0]
    """

    _name = "leaky_relu"
    _arguments = ("negative_slope",)

    def __init__(self, negative_slope: float = 1e-2, *, isa: str | None = None) -> None:
        super().__init__(isa=isa)
        self.negative_slope = check_finite("negative_slope", negative_slope)


class SiLU(_Function):
    """x sigmoid(x), also called swish, as torch.nn.SiLU (Elfwing et al. 2018, 1702.03118).

    x of any shape; y the same, float32. isa: one of `fastrnn.isas()`.

    >>> SiLU()([0.0, 1.0])[0].round(3).tolist()
    [0.0, 0.7310000061988831]
    """

    _name = "silu"


class GELU(_Function):
    """x P(X < x) for a standard normal X, as torch.nn.GELU (Hendrycks and Gimpel 2016, 1606.08415).

    x of any shape; y the same, float32. approximate: "none"; or "tanh", which is
    x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. isa: one of `fastrnn.isas()`.

    >>> GELU()([0.0, 1.0])[0].round(3).tolist()
    [0.0, 0.8410000205039978]
    """

    def __init__(self, approximate: str = "none", *, isa: str | None = None) -> None:
        super().__init__(isa=isa)
        self.approximate = check_choice("approximate", approximate, ("none", "tanh"))

    def _options(self) -> dict[str, object]:
        return {"approximate": self.approximate}

    def _function(self) -> tuple[str, list[float]]:
        return ("gelu" if self.approximate == "none" else "gelu_tanh"), []


class Softplus(_Function):
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold, as torch.nn.Softplus.

    x of any shape; y the same, float32. beta is positive. isa: one of `fastrnn.isas()`.

    >>> Softplus()([0.0, 30.0])[0].round(3).tolist()
    [0.6930000185966492, 30.0]
    """

    _name = "softplus"
    _arguments = ("beta", "threshold")

    def __init__(
        self, beta: float = 1.0, threshold: float = 20.0, *, isa: str | None = None
    ) -> None:
        super().__init__(isa=isa)
        self.beta = check_finite("beta", beta)
        self.threshold = check_finite("threshold", threshold)
        if self.beta < _SMALLEST:
            raise ValueError(f"beta: expected a positive float32, got {beta}")


class Hardtanh(_Function):
    """x, but at least min_val and at most max_val, as torch.nn.Hardtanh and torch.clamp.

    x of any shape; y the same, float32. The bounds may be infinite. `Hardtanh(0, 6)` is
    torch.nn.ReLU6. isa: one of `fastrnn.isas()`.

    >>> Hardtanh()([-3.0, 0.5, 3.0])[0].tolist()
    [-1.0, 0.5, 1.0]
    """

    _name = "hardtanh"
    _arguments = ("min_val", "max_val")

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, *, isa: str | None = None
    ) -> None:
        super().__init__(isa=isa)
        self.min_val = check_number("min_val", min_val)
        self.max_val = check_number("max_val", max_val)
        if not self.min_val < self.max_val:
            raise ValueError(f"min_val: expected less than max_val {max_val}, got {min_val}")


class Hardsigmoid(_Function):
    """x / 6 + 1 / 2, but at least 0 and at most 1, as torch.nn.Hardsigmoid.

    x of any shape; y the same, float32. isa: one of `fastrnn.isas()`.

    >>> Hardsigmoid()([-4.0, 0.0, 3.0])[0].tolist()
    [0.0, 0.5, 1.0]
    """

    _name = "hardsigmoid"


class Hardswish(_Function):
    """x times its Hardsigmoid, as torch.nn.Hardswish (Howard et al. 2019, 1905.02244).

    x of any shape; y the same, float32. isa: one of `fastrnn.isas()`.

    >>> Hardswish()([-4.0, 0.0, 3.0])[0].tolist()
    [-0.0, 0.0, 3.0]
    """

    _name = "hardswish"


class Mish(_Function):
    """x tanh(log(1 + exp(x))), as torch.nn.Mish (Misra 2019, 1908.08681).

    x of any shape; y the same, float32. isa: one of `fastrnn.isas()`.

    >>> Mish()([0.0, 1.0])[0].round(3).tolist()
    [0.0, 0.8650000095367432]
    """

    _name = "mish"


class Softsign(_Function):
    """x / (1 + |x|) of an x of any shape, as torch.nn.Softsign. isa: one of `fastrnn.isas()`.

    >>> Softsign()([-1.0, 0.0, 3.0])[0].tolist()
    [-0.5, 0.0, 0.75]
    """

    _name = "softsign"


class Scale(_Function):
    """factor x + offset, with constants that training leaves as they are.

    x of any shape; y the same, float32, the product rounded before the sum. isa: one of
    `fastrnn.isas()`.

    >>> Scale(2.0, 1.0)([-1.0, 2.0])[0].tolist()
    [-1.0, 5.0]
    """

    _name = "scale"
    _arguments = ("factor", "offset")

    def __init__(self, factor: float, offset: float = 0.0, *, isa: str | None = None) -> None:
        super().__init__(isa=isa)
        self.factor = check_finite("factor", factor)
        self.offset = check_finite("offset", offset)


class PReLU(Stateless):
    """x, and weight x where x is negative, as torch.nn.PReLU (He et al. 2015, 1502.01852).

    x: any shape; with more than one parameter axis 1 of x has num_parameters. y the same, float32.
    Weight: `weight` (num_parameters,), at first init.

    >>> PReLU()([-1.0, 2.0])[0].tolist()
    [-0.25, 2.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        count = check_size("num_parameters", num_parameters)
        self._weights = {"weight": np.full(count, check_finite("init", init), FLOAT32)}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": self._weights["weight"].shape}

    def _options(self) -> dict[str, object]:
        return {"num_parameters": self.num_parameters}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return super()._takes(axes, ndim) and (self.num_parameters == 1 or 1 not in axes)

    def _why_not_causal(self) -> str:
        return "" if self.num_parameters == 1 else "its channels are axis 1 of x"

    def _slopes(self, x: Array) -> Array:
        """The weight in a shape that broadcasts against x."""
        count = self.num_parameters
        if count > 1 and (x.ndim < 2 or x.shape[1] != count):
            raise ValueError(f"x: expected {count} channels on axis 1, got shape {x.shape}")
        return self._weights["weight"].reshape(-1, *[1] * max(x.ndim - 2, 0))

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        slopes = self._slopes(x) if self.num_parameters > 1 else self._weights["weight"][0]
        y: Array = np.where(x > 0, x, slopes * x)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        slopes = self._slopes(x).copy() if self.num_parameters > 1 else self._weights["weight"][0]

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            below = np.where(x > 0, np.float32(0), x * dy)
            others = tuple(at for at in range(x.ndim) if at != 1)
            dw = below.sum(others) if self.num_parameters > 1 else below.sum().reshape(1)
            return np.where(x > 0, dy, slopes * dy), {"weight": dw.astype(FLOAT32)}

        return self._forward(x, flow), back


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
