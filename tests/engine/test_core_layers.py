# SPDX-License-Identifier: MIT
"""The C layers other than stacks, through the binding: values, strides, threads, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn
from fastrnn import _core, reference


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def dense(isa: str, inputs: int, outputs: int) -> tuple[_core.Dense, np.ndarray, np.ndarray]:
    layer = _core.Dense(inputs, outputs, isa)
    weight, bias = draw(outputs, inputs) / np.float32(np.sqrt(inputs)), draw(outputs)
    layer.set_weights(weight, bias)
    return layer, weight, bias


def run(layer: Any, x: np.ndarray, *shape: int) -> np.ndarray:
    y = np.full(shape, np.nan, np.float32)
    layer.run(x, y)
    return y


# ---- Dense --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1), (7, 9), (300, 33), (128, 130)])
@pytest.mark.parametrize("rows", [0, 1, 5, 260])
def test_dense(isa: str, sizes: tuple[int, int], rows: int) -> None:
    layer, weight, bias = dense(isa, *sizes)
    x = draw(rows, sizes[0])
    y = run(layer, x, rows, sizes[1])
    assert error(y, x @ weight.astype(np.float64).T + bias) < PARITY
    layer.set_weights(weight, None)
    assert error(run(layer, x, rows, sizes[1]), x @ weight.astype(np.float64).T) < PARITY


def test_dense_reads_any_rows_in_place(isa: str) -> None:
    layer, *_ = dense(isa, 20, 6)
    x = draw(8, 20)
    wanted = run(layer, x, 8, 6)
    x.flags.writeable = False
    out = np.full((16, 9), np.nan, np.float32)
    layer.run(x[::-1], out[::2, 1:7])
    assert np.array_equal(out[::2, 1:7], wanted[::-1])
    assert np.isnan(out[1::2]).all()
    assert np.isnan(out[:, 0]).all()


@pytest.mark.parametrize("sizes", [(900, 20, 500), (3, 600, 900)])
def test_threads_change_no_bit(isa: str, sizes: tuple[int, int, int]) -> None:
    rows, inputs, outputs = sizes
    layer, *_ = dense(isa, inputs, outputs)
    x = draw(rows, inputs)
    with fastrnn.num_threads(1):
        wanted = run(layer, x, rows, outputs)
    for threads in (2, 3):
        with fastrnn.num_threads(threads):
            for _ in range(3):
                assert np.array_equal(run(layer, x, rows, outputs), wanted)


def test_dense_refuses(isa: str) -> None:
    layer, weight, bias = dense(isa, 3, 2)
    x, y = draw(4, 3), draw(4, 2)
    for bad_x, bad_y in [(x[:, :2], y), (x, y[:3]), (x, draw(4, 3))]:
        with pytest.raises(ValueError, match=r"expected x of shape \(N, 3\) and y of shape \(N, 2"):
            layer.run(bad_x, bad_y)
    with pytest.raises(ValueError, match="x: expected float32 with 2 axes"):
        layer.run(x.astype(np.float64), y)
    with pytest.raises(ValueError, match="x: expected float32 with 2 axes"):
        layer.run(x[0], y)
    with pytest.raises(ValueError, match="contiguous last axis"):
        layer.run(np.asfortranarray(x), y)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        layer.run(x, y)
    for bad in (weight.T.copy(), weight[:1]):
        with pytest.raises(ValueError, match=r"weight: expected \(2, 3\)"):
            layer.set_weights(bad, bias)
    with pytest.raises(ValueError, match="size of the configuration"):
        _core.Dense(0, 2, isa)
    with pytest.raises(ValueError, match="isa: expected one of"):
        _core.Dense(1, 2, "none")


# ---- Convolutions -------------------------------------------------------------------------------

# in, out, kernel, stride, left, right, dilation, groups, steps, batch
CONVOLUTIONS = [
    (1, 34, 256, 128, 0, 0, 1, 1, 640, 2),
    (129, 16, 3, 1, 1, 1, 1, 1, 4, 3),
    (6, 9, 5, 1, 3, 1, 2, 3, 200, 2),
    (4, 8, 2, 3, 0, 0, 1, 4, 70, 5),
    (3, 5, 4, 2, 7, 0, 3, 1, 6, 1),
]


def convolution(c: tuple[int, ...], x: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The sums in float64."""
    _, outputs, kernel, stride, left, right, dilation, groups, *_ = c
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (left, right)))
    span = (kernel - 1) * dilation + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, 2)[:, :, ::stride, ::dilation]
    parts = [
        np.einsum("bctk,ock->bot", part, filters)
        for part, filters in zip(
            np.split(windows, groups, 1), np.split(w.astype(np.float64), groups), strict=True
        )
    ]
    return np.concatenate(parts, 1) + bias.reshape(1, outputs, 1)


@pytest.mark.parametrize("c", CONVOLUTIONS, ids=str)
def test_convolution(isa: str, c: tuple[int, ...]) -> None:
    inputs, outputs, kernel, *_, groups, steps, batch = c
    weight = draw(outputs, inputs // groups, kernel) / np.float32(np.sqrt(kernel * inputs))
    bias, x = draw(outputs), draw(batch, inputs, steps)
    layer = _core.Conv1d(*c[:8], isa)
    layer.set_weights(weight, bias)
    wanted = convolution(c, x, weight, bias)
    assert layer.steps(steps) == wanted.shape[2]
    y = run(layer, x, *wanted.shape)
    assert error(y, wanted) < PARITY
    for axes in [(2, 0, 1), (0, 2, 1)]:  # time-major and batch-first, channels last
        back = tuple(np.argsort(axes))
        moved = np.ascontiguousarray(x.transpose(axes)).transpose(back)
        out = np.full(tuple(wanted.shape[axis] for axis in axes), np.nan, np.float32)
        for threads in (1, 3):
            with fastrnn.num_threads(threads):
                layer.run(moved, out.transpose(back))
            assert np.array_equal(out.transpose(back), y)


def test_convolution_refuses(isa: str) -> None:
    layer = _core.Conv1d(4, 6, 3, 1, 0, 0, 1, 2, isa)
    assert layer.steps(2) == 0
    with pytest.raises(ValueError, match=r"weight: expected \(6, 2, 3\)"):
        layer.set_weights(draw(6, 4, 3), None)
    for x, y in [(draw(1, 3, 5), draw(1, 6, 3)), (draw(1, 4, 5), draw(1, 6, 5))]:
        with pytest.raises(ValueError, match=r"expected x \(B, 4, T\) and y \(B, 6, 3\)"):
            layer.run(x, y)
    with pytest.raises(ValueError, match="size of the configuration"):
        _core.Conv1d(4, 6, 3, 1, 0, 0, 1, 3, isa)


# ---- Rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 16, 33, 1000])
def test_rows(isa: str, size: int) -> None:
    x, weight, bias = draw(5, size) * 4, draw(size), draw(size)
    exact = x.astype(np.float64)
    shifted = exact - exact.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    centered = exact - exact.mean(1, keepdims=True)
    normed = centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5)
    y = np.empty_like(x)
    _core.softmax(isa, x, y)
    assert error(y, np.exp(logs)) < PARITY
    _core.log_softmax(isa, x, y)
    assert error(y, logs) < PARITY
    _core.layer_norm(isa, x, y, None, None, 1e-5)
    assert error(y, normed) < PARITY
    _core.layer_norm(isa, x, x, weight, bias, 1e-5)
    assert error(x, normed * weight + bias) < PARITY


def test_relu(isa: str) -> None:
    x = np.float32([-1, 0, 2, np.nan, np.inf, -np.inf, 3, -4, 5])
    y = np.empty_like(x)
    _core.apply(isa, "relu", x, y)
    assert np.array_equal(y, np.maximum(x, 0), equal_nan=True)


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_pool(isa: str, mode: str) -> None:
    x, y = draw(40, 3, 21), np.full((3, 21), np.nan, np.float32)
    lengths = np.array([40, 0, 7], np.uintp)
    x[7:, 2] = np.nan
    pool, reduce = getattr(_core, f"pool_{mode}"), getattr(np, mode)
    pool(isa, x, lengths, y)
    wanted = [reduce(x[:40, 0], 0, np.float64), np.zeros(21), reduce(x[:7, 2], 0, np.float64)]
    assert error(y, np.stack(wanted)) < PARITY
    pool(isa, x[:7].transpose(1, 0, 2).copy().transpose(1, 0, 2), None, y)
    assert error(y, reduce(x[:7], 0, np.float64)) < PARITY


def test_attention_pool(isa: str) -> None:
    x, weights = draw(40, 3, 21), 9 * draw(3, 40)
    scores, y = weights.copy(), np.full((3, 21), np.nan, np.float32)
    lengths = np.array([40, 0, 7], np.uintp)
    x[7:, 2] = scores[2, 7:] = weights[2, 7:] = np.nan
    _core.attention_pool(isa, x, lengths, weights, y)
    for row, length in enumerate(lengths):
        wanted = reference.attention_pool(x[:, row], scores[row], int(length))
        assert error(y[row], wanted) < PARITY
        assert abs(weights[row].sum(dtype=np.float64) - (length > 0)) < PARITY
        assert not weights[row, length:].any()
    with pytest.raises(ValueError, match=r"weights: expected aligned float32 \(3, 40\)"):
        _core.attention_pool(isa, x, lengths, weights[:, :39].copy(), y)


def test_rows_refuse(isa: str) -> None:
    x, y = draw(2, 3), draw(2, 3)
    with pytest.raises(ValueError, match="expected x of shape"):
        _core.softmax(isa, x, y[:, :2])
    with pytest.raises(ValueError, match="weight, bias: expected 3 values"):
        _core.layer_norm(isa, x, y, draw(2), None, 1e-5)
    with pytest.raises(ValueError, match="null or out of range"):
        _core.layer_norm(isa, x, y, None, None, -1.0)
    with pytest.raises(ValueError, match="null or out of range"):
        _core.pool_mean(isa, x[None], np.array([1, 2], np.uintp), y)
    with pytest.raises(ValueError, match="y, lengths: expected a batch of 2"):
        _core.pool_mean(isa, x[None], None, y[:1])
