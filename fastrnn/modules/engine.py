# SPDX-License-Identifier: MIT
"""The core's float arithmetic for the layers around the recurrence, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..arrays import Array


class Dense:
    """y = W x + b. x and y: 2-D float32."""

    def __init__(self, inputs: int, outputs: int, isa: str) -> None:
        self._weight = np.zeros((outputs, inputs), np.float32)
        self._bias = np.zeros(outputs, np.float32)

    def set_weights(self, weight: Array, bias: Array | None) -> None:
        self._weight = weight.copy()
        if bias is not None:
            self._bias = bias.copy()

    def run(self, x: Array, y: Array) -> None:
        # One order of summation for every row, whatever the batch.
        y[...] = (x.astype(np.float64) @ self._weight.T.astype(np.float64)) + self._bias


class Conv1d:
    """x (B, in_channels, T) and y (B, out_channels, steps(T)): float32 of any strides."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding_left: int,
        padding_right: int,
        dilation: int,
        groups: int,
        isa: str,
    ) -> None:
        self._sizes = (kernel_size, stride, padding_left, padding_right, dilation, groups)
        self._weight = np.zeros((out_channels, in_channels // groups, kernel_size), np.float32)
        self._bias = np.zeros(out_channels, np.float32)

    def set_weights(self, weight: Array, bias: Array | None) -> None:
        self._weight = weight.copy()
        if bias is not None:
            self._bias = bias.copy()

    def steps(self, steps: int) -> int:
        kernel_size, stride, left, right, dilation, _ = self._sizes
        return max(0, (steps + left + right - dilation * (kernel_size - 1) - 1) // stride + 1)

    def run(self, x: Array, y: Array) -> None:
        size, stride, left, right, dilation, groups = self._sizes
        padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (left, right)))
        batch, steps = len(x), y.shape[2]
        rows = padded.reshape(batch, groups, -1, padded.shape[2])
        weight = self._weight.reshape(groups, -1, *self._weight.shape[1:])
        total = np.zeros((batch, groups, weight.shape[1], steps))
        for tap in range(size):
            start = tap * dilation
            part = rows[..., start : start + (steps - 1) * stride + 1 : stride]
            total += np.einsum("bgct,goc->bgot", part, weight[..., tap])
        y[...] = total.reshape(batch, -1, steps) + self._bias[:, None]


def softmax(isa: str, x: Array, y: Array) -> None:
    wide = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    y[...] = wide / wide.sum(-1, keepdims=True)


def log_softmax(isa: str, x: Array, y: Array) -> None:
    wide = x.astype(np.float64) - x.max(-1, keepdims=True)
    y[...] = wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def layer_norm(
    isa: str, x: Array, y: Array, weight: Array | None, bias: Array | None, eps: float
) -> None:
    wide = x.astype(np.float64) - x.mean(-1, dtype=np.float64, keepdims=True)
    wide /= np.sqrt((wide * wide).mean(-1, keepdims=True) + eps)
    y[...] = wide * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)


def pool_mean(isa: str, x: Array, lengths: NDArray[np.uintp] | None, y: Array) -> None:
    for row in range(x.shape[1]):
        count = len(x) if lengths is None else int(lengths[row])
        y[row] = x[:count, row].sum(0, dtype=np.float64) / max(count, 1)


tanh, sigmoid = _core.tanh, _core.sigmoid
