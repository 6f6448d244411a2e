# SPDX-License-Identifier: MIT
"""`Linear` and `Conv1d`: products with packed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import FLOAT32, Array
from .checks import MOST_SIZE, check_int, check_size, checked_flag, single
from .flow import Axes, Flow, Lengths, channel_axes
from .stateless import Back, Stateless, as_rows
from .weighted import uniform_weights

LONG_PRODUCT = 1 << 28  # multiply-adds in one call of numpy: some 10 ms of one core


def product(a: Array, b: Array) -> Array:
    """a @ b; a long one in parts, so that Python answers Ctrl-C in between."""
    sizes = (*a.shape[-2:], b.shape[-1])
    count, longest = a.size * sizes[2], max(sizes)
    if count <= LONG_PRODUCT:
        return a @ b
    y = np.zeros((*a.shape[:-1], sizes[2]), FLOAT32)
    step = max(1, LONG_PRODUCT * longest // count)
    for start in range(0, longest, step):
        part = slice(start, start + step)
        if longest == sizes[0]:
            y[..., part, :] = a[..., part, :] @ b
        elif longest == sizes[1]:
            y += a[..., part] @ b[..., part, :]
        else:
            y[..., part] = a @ b[..., part]
    return y


class Linear(Stateless):
    """y = x W^T + b over the last axis, as torch.nn.Linear.

    x: (..., in_features) of floats; y: (..., out_features), float32. Weights: `weight`
    (out_features, in_features), `bias` (out_features,). isa: instruction set, one of
    `fastrnn.isas()`; seed: of the initial weights. ValueError for an x of another width.

    >>> import numpy as np
    >>> y, _ = Linear(3, 2)(np.ones((5, 4, 3), np.float32))
    >>> y.shape
    (5, 4, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        isa: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(isa)
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        self.bias = checked_flag("bias", bias)
        self._weights = uniform_weights(self._shapes(), self.in_features, seed)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        return {**shapes, "bias": (self.out_features,)} if self.bias else shapes

    def _options(self) -> dict[str, object]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
        }

    def _packed(self) -> _core.Dense:
        packed: _core.Dense = self._packing.current or self._packing.get(self._make, self._fill)
        return packed

    def _make(self, training: bool, home: _core.Spare) -> _core.Dense:
        return _core.Dense(self.in_features, self.out_features, self.isa, home)

    def _fill(self, packed: _core.Dense) -> None:
        packed.set_weights(self._weights["weight"], self._weights.get("bias"))

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return super()._takes(axes, ndim - 1)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"x: expected shape (..., {self.in_features}), got {x.shape}")
        y = np.empty((*x.shape[:-1], self.out_features), FLOAT32)
        if y.size:
            self._packed().run(as_rows(x), y.reshape(-1, self.out_features))
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        weights = self._weights

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            rows = as_rows(dy)
            grads = {"weight": product(rows.T, as_rows(x)), "bias": rows.sum(0)}
            dx = product(rows, weights["weight"]).reshape(x.shape)
            return dx, {name: grads[name] for name in weights}

        return self._forward(x, flow), back


class Conv1d(Stateless):
    """A convolution over time, as torch.nn.Conv1d with zeros as padding.

    x: (B, in_channels, T) or (in_channels, T) of floats; y: (B, out_channels, T') with
    T' = (T + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1, float32. padding: steps of
    zeros at both ends, "valid" for 0, or "same" for T' = T (stride 1). Weights: `weight`
    (out_channels, in_channels / groups, kernel_size), `bias` (out_channels,). Of a row of a given
    length T' steps are valid by the same formula, 0 if it is shorter than the kernel.
    isa: instruction set, one of `fastrnn.isas()`; seed: of the initial weights.

    >>> import numpy as np
    >>> y, _ = Conv1d(3, 4, kernel_size=5, stride=2, padding=2)(np.ones((2, 3, 9), np.float32))
    >>> y.shape
    (2, 4, 5)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: int | tuple[int] | str = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        isa: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        sizes = {"kernel_size": single("kernel_size", kernel_size)}
        sizes |= {"stride": single("stride", stride), "dilation": single("dilation", dilation)}
        sizes |= {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        for name, value in sizes.items():
            check_size(name, value)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups: expected a divisor of in_channels {in_channels} and out_channels "
                f"{out_channels}, got {groups}"
            )
        super().__init__(isa)
        self.in_channels, self.out_channels = int(in_channels), int(out_channels)
        self.kernel_size, self.stride = int(sizes["kernel_size"]), int(sizes["stride"])
        self.dilation, self.groups = int(sizes["dilation"]), int(groups)
        self.padding = _checked_padding(padding, self.stride)
        self.bias = checked_flag("bias", bias)
        fan_in = self.in_channels // self.groups * self.kernel_size
        self._weights = uniform_weights(self._shapes(), fan_in, seed)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "weight": (self.out_channels, self.in_channels // self.groups, self.kernel_size)
        }
        return {**shapes, "bias": (self.out_channels,)} if self.bias else shapes

    def _options(self) -> dict[str, object]:
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
        return {name: getattr(self, name) for name in (*names, "groups", "bias")}

    @property
    def _sides(self) -> tuple[int, int]:
        """Steps of zeros before and after x."""
        reach = self.dilation * (self.kernel_size - 1)
        if self.padding == "same":
            return reach // 2, reach - reach // 2
        both = 0 if isinstance(self.padding, str) else self.padding
        return both, both

    def _packed(self) -> _core.Conv1d:
        packed: _core.Conv1d = self._packing.current or self._packing.get(self._make, self._fill)
        return packed

    def _make(self, training: bool, home: _core.Spare) -> _core.Conv1d:
        sizes = (self.kernel_size, self.stride, *self._sides, self.dilation, self.groups)
        return _core.Conv1d(self.in_channels, self.out_channels, *sizes, self.isa, home)

    def _fill(self, packed: _core.Conv1d) -> None:
        packed.set_weights(self._weights["weight"], self._weights.get("bias"))

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return axes == channel_axes(ndim)

    def _steps(self, steps: Any) -> Any:
        """Steps of y; less than 1 where x is shorter than the kernel."""
        reach = self.dilation * (self.kernel_size - 1)
        return (steps + sum(self._sides) - reach - 1) // self.stride + 1

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        if lengths is None:
            return None
        return np.where(lengths > 0, np.maximum(self._steps(lengths), 0), 0)

    def _why_not_causal(self) -> str:
        return "its x is (B, C, T), and a step of y needs several steps of x"

    def _batched(self, x: Array) -> tuple[Array, int]:
        """x as (B, C, T), and the steps of y."""
        if x.ndim not in (2, 3) or x.shape[-2] != self.in_channels:
            raise ValueError(
                f"x: expected (batch, {self.in_channels}, steps) or ({self.in_channels}, steps), "
                f"got shape {x.shape}"
            )
        steps = self._steps(x.shape[-1])
        if steps < 1:
            reach = self.dilation * (self.kernel_size - 1)
            raise ValueError(
                f"x: expected at least {max(reach + 1 - sum(self._sides), 1)} steps for a kernel "
                f"that spans {reach + 1}, got {x.shape[-1]}"
            )
        return (x if x.ndim == 3 else x[None]), steps

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        rows, steps = self._batched(x)
        y = np.empty((len(rows), self.out_channels, steps), FLOAT32)
        if y.size:
            self._packed().run(rows, y)
        return y if x.ndim == 3 else y[0]

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        weights = self._weights

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx, dw = self._products(self._batched(x)[0], weights["weight"], dy.reshape(shape))
            grads = {"weight": dw, "bias": dy.reshape(shape).sum((0, 2))}
            return dx.reshape(x.shape), {name: grads[name] for name in weights}

        y = self._forward(x, flow)
        shape = y.shape if y.ndim == 3 else (1, *y.shape)
        return y, back

    def _products(self, x: Array, weight: Array, dy: Array) -> tuple[Array, Array]:
        """dx (B, C, T) and dW: for each tap of the kernel one product for each group."""
        batch, groups, steps = len(x), self.groups, dy.shape[2]
        left, right = self._sides
        padded = np.pad(x, ((0, 0), (0, 0), (left, right)))
        dpadded = np.zeros_like(padded)
        kernel = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, out, in, taps)
        dkernel = np.zeros_like(kernel)
        rows = dy.reshape(batch, groups, -1, steps).transpose(1, 2, 0, 3)
        flat = rows.reshape(groups, rows.shape[1], -1)  # (groups, out, B T')
        for tap in range(self.kernel_size):
            start = tap * self.dilation
            seen = slice(start, start + (steps - 1) * self.stride + 1, self.stride)
            part = padded[:, :, seen].reshape(batch, groups, -1, steps).transpose(1, 0, 3, 2)
            dkernel[..., tap] = product(flat, part.reshape(groups, -1, part.shape[3]))
            dpart = product(kernel[..., tap].transpose(0, 2, 1), flat)
            dpart = dpart.reshape(groups, -1, batch, steps)
            dpadded[:, :, seen] += dpart.transpose(2, 0, 1, 3).reshape(batch, -1, steps)
        return dpadded[:, :, left : left + x.shape[2]], dkernel.reshape(weight.shape)


def _checked_padding(padding: Any, stride: int) -> int | str:
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding: expected an int, 'same' or 'valid', got {padding!r}")
        if padding == "same" and stride != 1:
            raise ValueError(f"padding: expected no 'same' with stride {stride}, only with 1")
        return padding
    return check_int("padding", single("padding", padding), 0, MOST_SIZE)
