# SPDX-License-Identifier: MIT
"""Layers over channels: `ZeroPad1d`, `ReflectionPad1d`, `MaxPool1d`, `AvgPool1d`, `Magnitude`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .arrays import FLOAT32, Array
from .checks import MOST_SIZE, check_int, check_size, checked_flag, single
from .flow import Axes, Flow, Lengths, channel_axes
from .stateless import Back, Stateless


class _Channels(Stateless):
    """A layer of (B, C, T) or (C, T)."""

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return axes == channel_axes(ndim)

    def _check(self, x: NDArray[Any]) -> None:
        if x.ndim not in (2, 3):
            raise ValueError(
                f"x: expected (batch, channels, steps) or (channels, steps), got shape {x.shape}"
            )


def _both_sides(padding: int | tuple[int, int]) -> tuple[int, int]:
    """(left, right) of one size for both or of two; ValueError or TypeError for others."""
    sides = tuple(padding) if isinstance(padding, tuple | list) else (padding, padding)
    if len(sides) != 2:
        raise ValueError(f"padding: expected a number or (left, right), got {padding!r}")
    left, right = (check_int("padding", side, 0, MOST_SIZE) for side in sides)
    return left, right


class ZeroPad1d(_Channels):
    """Zeros before and after the last axis, as torch.nn.ZeroPad1d.

    x: (B, C, T) or (C, T); y has T + left + right steps. padding: one number for both sides, or
    (left, right). A row of a given length grows by both.

    >>> ZeroPad1d((1, 2))([[[5.0]]])[0].tolist()
    [[[0.0, 5.0, 0.0, 0.0]]]
    """

    def __init__(self, padding: int | tuple[int, int]) -> None:
        super().__init__()
        self.padding = _both_sides(padding)

    def _options(self) -> dict[str, object]:
        return {"padding": self.padding}

    def _why_not_causal(self) -> str:
        return "it adds steps to the sequence"

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        return None if lengths is None else lengths + sum(self.padding)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        self._check(x)
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [self.padding])

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        left = self.padding[0]
        return self._forward(x, flow), lambda dy: (dy[..., left : left + x.shape[-1]], {})


class ReflectionPad1d(_Channels):
    """The steps next to both ends repeated in reverse, as torch.nn.ReflectionPad1d.

    x: (B, C, T) or (C, T); y has T + left + right steps. padding: one number for both sides, or
    (left, right), each less than the steps of x. A row of a given length is reflected at its own
    end, and grows by both.

    >>> ReflectionPad1d((2, 1))([[[1.0, 2.0, 3.0]]])[0].tolist()
    [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]
    """

    def __init__(self, padding: int | tuple[int, int]) -> None:
        super().__init__()
        self.padding = _both_sides(padding)

    def _options(self) -> dict[str, object]:
        return {"padding": self.padding}

    def _why_not_causal(self) -> str:
        return "it adds steps to the sequence"

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        return None if lengths is None else np.where(lengths > 0, lengths + sum(self.padding), 0)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        self._check(x)
        (left, right), steps = self.padding, x.shape[-1]
        shortest = steps
        if flow.lengths is not None and flow.lengths.any():
            shortest = int(flow.lengths[flow.lengths > 0].min())
        if shortest <= max(self.padding):
            raise ValueError(
                f"x: expected more than {max(self.padding)} steps to reflect, got {shortest}"
            )
        if flow.lengths is not None:
            return self._ragged(x, flow.lengths)
        y = np.empty((*x.shape[:-1], left + steps + right), FLOAT32)
        y[..., left : left + steps] = x
        if left:
            y[..., :left] = x[..., left:0:-1]
        if right:
            y[..., left + steps :] = x[..., steps - 1 - right : steps - 1][..., ::-1]
        return y

    def _sources(self, steps: int, lengths: Lengths) -> NDArray[np.intp]:
        """For each row and step of y its step of x; beyond the lengths, any."""
        ends = np.maximum(lengths, 1)[:, None] - 1
        places = np.abs(np.arange(steps + sum(self.padding)) - self.padding[0])
        sources: NDArray[np.intp] = np.clip(ends - np.abs(ends - places), 0, steps - 1)
        return sources

    def _ragged(self, x: Array, lengths: Lengths) -> Array:
        rows = x if x.ndim == 3 else x[None]
        y = np.take_along_axis(rows, self._sources(x.shape[-1], lengths)[:, None], 2)
        return y if x.ndim == 3 else y[0]

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        y = self._forward(x, flow)
        rows = x if x.ndim == 3 else x[None]
        lengths = np.full(len(rows), x.shape[-1]) if flow.lengths is None else flow.lengths

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx = np.zeros(rows.shape, FLOAT32)
            sources = self._sources(x.shape[-1], lengths)
            for row, (drow, source) in enumerate(zip(dx, sources, strict=True)):
                np.add.at(drow.T, source, dy.reshape(len(rows), *y.shape[-2:])[row].T)
            return dx.reshape(x.shape), {}

        return y, back


class _OverWindows(_Channels):
    """A layer that makes a step of each window of steps."""

    _arguments: ClassVar[tuple[str, ...]]

    def __init__(
        self, kernel_size: int, stride: int | None, padding: int, dilation: int, ceil_mode: bool
    ) -> None:
        super().__init__()
        self.kernel_size = check_size("kernel_size", single("kernel_size", kernel_size))
        stride = self.kernel_size if stride is None else single("stride", stride)
        self.stride = check_size("stride", stride)
        half = self.kernel_size // 2
        self.padding = check_int(
            "padding", single("padding", padding), 0, half, f"at most half of {kernel_size}"
        )
        self.dilation = check_size("dilation", single("dilation", dilation))
        self.ceil_mode = checked_flag("ceil_mode", ceil_mode)

    def _options(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._arguments}

    def _why_not_causal(self) -> str:
        return "its x is (B, C, T), and a step of y needs several steps of x"

    def _steps(self, steps: Any) -> Any:
        """Windows in so many steps: the last one begins in x or in the padding before it."""
        rest = steps + 2 * self.padding - self.dilation * (self.kernel_size - 1) - 1
        windows = (rest + (self.stride - 1 if self.ceil_mode else 0)) // self.stride + 1
        windows = windows - ((windows - 1) * self.stride >= steps + self.padding)
        return np.where((rest < 0) | (steps == 0), 0, windows)

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        return None if lengths is None else np.asarray(self._steps(lengths), np.intp)

    def _count(self, x: NDArray[Any]) -> int:
        """The windows in x, at least one."""
        self._check(x)
        count = int(self._steps(x.shape[-1]))
        if count < 1:
            reach = self.dilation * (self.kernel_size - 1) + 1
            raise ValueError(
                f"x: expected at least {max(reach - 2 * self.padding, 1)} steps for a window that "
                f"spans {reach}, got {x.shape[-1]}"
            )
        return count


class MaxPool1d(_OverWindows):
    """The maximum over windows of steps, as torch.nn.MaxPool1d.

    x: (B, C, T) or (C, T); y has a step for each window. stride None: kernel_size. padding, at most
    half of kernel_size, counts steps of -inf at both ends. With ceil_mode the last window may reach
    beyond the padding. Windows of a row with a length see its valid steps alone. A maximum's
    gradient goes to the first step that holds it; NaN counts as the largest value.

    >>> MaxPool1d(2)([[[1.0, 3.0, 2.0, 0.0]]])[0].tolist()
    [[[3.0, 2.0]]]
    """

    _arguments = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        dilation: int = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def _windows(self, x: Array, flow: Flow) -> Array:
        """(..., C, windows, kernel_size): a view of x with -inf around its valid steps."""
        count = self._count(x)
        inside = x if flow.lengths is None else np.where(flow.valid(x), x, np.float32(-np.inf))
        reach = (count - 1) * self.stride + self.dilation * (self.kernel_size - 1) + 1
        after = max(reach - self.padding - x.shape[-1], 0)
        sides = [(0, 0)] * (x.ndim - 1) + [(self.padding, after)]
        padded = np.pad(inside, sides, constant_values=-np.inf)
        step = padded.strides[-1]
        return np.lib.stride_tricks.as_strided(
            padded,
            (*x.shape[:-1], count, self.kernel_size),
            (*padded.strides[:-1], step * self.stride, step * self.dilation),
            writeable=False,
        )

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        y: Array = self._windows(x, flow).max(-1)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        windows = self._windows(x, flow)

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            starts = np.arange(windows.shape[-2]) * self.stride - self.padding
            steps = starts + windows.argmax(-1) * self.dilation
            inside = (steps >= 0) & (steps < x.shape[-1])
            dx = np.zeros((x.size // x.shape[-1], x.shape[-1]), FLOAT32)
            rows = np.arange(len(dx))[:, None], np.where(inside, steps, 0).reshape(len(dx), -1)
            np.add.at(dx, rows, np.where(inside, dy, np.float32(0)).reshape(len(dx), -1))
            return dx.reshape(x.shape), {}

        return windows.max(-1), back


class AvgPool1d(_OverWindows):
    """The mean over windows of steps, as torch.nn.AvgPool1d.

    x: (B, C, T) or (C, T); y has a step for each window. stride None: kernel_size. padding, at most
    half of kernel_size, counts steps of 0 at both ends, which count_include_pad counts, too. With
    ceil_mode the last window may reach beyond the padding, where nothing counts. Windows of a row
    with a length see its valid steps alone.

    >>> AvgPool1d(2)([[[1.0, 3.0, 2.0, 0.0]]])[0].tolist()
    [[[2.0, 1.0]]]
    """

    _arguments = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = checked_flag("count_include_pad", count_include_pad)

    def _parts(self, steps: int, count: int) -> Iterator[tuple[slice, slice]]:
        """Each place in a window: the steps of x that are there, and the windows that have one."""
        last = (count - 1) * self.stride - self.padding
        for place in range(max(0, -last), min(self.kernel_size, steps + self.padding)):
            begin = place - self.padding
            first = max(0, -(begin // self.stride))
            end = min(count, (steps - 1 - begin) // self.stride + 1)
            start = begin + first * self.stride
            if first < end:
                stop = start + (end - first) * self.stride
                yield slice(start, stop, self.stride), slice(first, end)

    def _counts(self, x: NDArray[Any], count: int, flow: Flow) -> Array:
        """What each window counts, in a shape that broadcasts against y."""
        steps = x.shape[-1] if flow.lengths is None else flow.lengths[:, None, None]
        begin = np.arange(count) * self.stride - self.padding
        end = np.minimum(begin + self.kernel_size, steps + self.padding)
        if not self.count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, steps)
        counts: Array = np.maximum(end - begin, 1).astype(FLOAT32)
        return counts if x.ndim == 3 or flow.lengths is None else counts[0]

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        count = self._count(x)
        y = np.zeros((*x.shape[:-1], count), FLOAT32)
        for steps, windows in self._parts(x.shape[-1], count):
            y[..., windows] += x[..., steps]
        y /= self._counts(x, count, flow)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        y = self._forward(x, flow)

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx, each = np.zeros(x.shape, FLOAT32), dy / self._counts(x, y.shape[-1], flow)
            for steps, windows in self._parts(x.shape[-1], y.shape[-1]):
                dx[..., steps] += each[..., windows]
            return dx, {}

        return y, back


class Magnitude(_Channels):
    """sqrt(a^2 + b^2), where a is the first half of the channels and b the second.

    x: (B, 2 F, T) or (2 F, T), as the real and imaginary parts of a spectrum from a convolution
    with cosines and then sines; y: (B, F, T) or (F, T). The gradient at 0 is 0.

    >>> Magnitude()([[3.0, 0.0], [4.0, 0.0]])[0].tolist()
    [[5.0, 0.0]]
    """

    def _halves(self, x: NDArray[Any]) -> tuple[Array, Array]:
        self._check(x)
        channels = x.shape[-2]
        if channels % 2:
            raise ValueError(
                f"x: expected channels of two parts, an even number, got shape {x.shape}"
            )
        return x[..., : channels // 2, :], x[..., channels // 2 :, :]

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        a, b = self._halves(x)
        squares = a * a
        squares += b * b
        y: Array = np.sqrt(squares, out=squares)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        y = self._forward(x, flow)

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            slope = np.divide(dy, y, out=np.zeros_like(y), where=y > 0)
            return np.concatenate([slope * part for part in self._halves(x)], -2), {}

        return y, back
