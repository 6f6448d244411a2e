# SPDX-License-Identifier: MIT
"""Losses: each returns its value and the gradient of the predictions, over valid steps only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layers.arrays import Array, float_array
from ..layers.checks import check_from_zero, check_int, check_probability

Lengths = Sequence[int] | ArrayLike | None


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    lengths: Lengths = None,
    batch_first: bool = False,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> tuple[float, Array]:
    """-log softmax(logits)[target], averaged over valid steps, and the gradient of the logits.

    logits: (..., classes), as (B, C) or (T, B, C); targets: class indices of shape (...).
    lengths: steps of each row; batch_first: axis 0 is the batch and axis 1 the steps.
    ignore_index: a target, as that of padding, that does not count. If no step is valid, the loss
    and the gradient are 0. label_smoothing: the share of the target that is spread evenly
    over all classes (Szegedy et al. 2016).

    >>> loss, gradient = cross_entropy(np.zeros((2, 4)), [3, 0])
    >>> round(loss, 4), gradient[0]
    (1.3863, array([ 0.125,  0.125,  0.125, -0.375], dtype=float32))
    """
    rows = float_array(logits, "logits")
    if rows.ndim < 1 or rows.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., classes), got {rows.shape}")
    check_probability("label_smoothing", label_smoothing)
    wanted = np.asarray(targets)
    if wanted.dtype.kind not in "iu" and wanted.size:
        raise TypeError(f"targets: expected integers, got {wanted.dtype}")
    if wanted.shape != rows.shape[:-1]:
        raise ValueError(f"targets: expected shape {rows.shape[:-1]}, got {wanted.shape}")
    valid = _valid(wanted.shape, lengths, None, batch_first)
    if ignore_index is not None:
        valid = valid & (wanted != check_int("ignore_index", ignore_index))
    chosen = wanted[valid].astype(np.intp)
    classes = rows.shape[-1]
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < classes):
        outside = chosen[(chosen < 0) | (chosen >= classes)][0]
        raise ValueError(f"targets: expected 0 to {classes - 1}, got {outside}")
    gradient = np.zeros(rows.shape, np.float32)
    if not chosen.size:
        return 0.0, gradient
    scores = rows[valid]
    scores -= scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    sums = powers.sum(axis=1, keepdims=True)
    places = np.arange(len(chosen))
    logs = np.log(sums[:, 0], dtype=np.float64)
    loss = logs - scores[places, chosen]
    if label_smoothing:
        evenly = logs - scores.mean(axis=1, dtype=np.float64)
        loss = (1 - label_smoothing) * loss + label_smoothing * evenly
    powers /= sums
    powers[places, chosen] -= 1 - label_smoothing
    powers -= label_smoothing / classes
    powers /= len(chosen)
    gradient[valid] = powers
    return float(loss.mean()), gradient


def mse(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    lengths: Lengths = None,
    mask: ArrayLike | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """(prediction - target)^2, averaged over valid elements, and the gradient of the predictions.

    predictions, targets: of one shape, with lengths (T, B, ...) or with batch_first (B, T, ...).
    mask: bools of the leading axes of that shape; False does not count. Values that do not count
    may be anything, also NaN.

    >>> mse([1.0, 4.0], [1.0, 2.0])
    (2.0, array([0., 2.], dtype=float32))
    """
    rows, wanted, valid = _pair("predictions", predictions, targets, lengths, mask, batch_first)
    gradient = np.zeros(rows.shape, np.float32)
    difference = rows[valid] - wanted[valid]
    if not difference.size:
        return 0.0, gradient
    gradient[valid] = difference * np.float32(2.0 / difference.size)
    return float(np.mean(np.square(difference, dtype=np.float64))), gradient


def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    lengths: Lengths = None,
    mask: ArrayLike | None = None,
    batch_first: bool = False,
    pos_weight: float = 1.0,
) -> tuple[float, Array]:
    """Cross entropy of sigmoid(logits) with targets from 0 to 1, and the gradient of the logits.

    -(pos_weight t log s + (1 - t) log(1 - s)), s = sigmoid(logit), averaged over valid elements;
    arguments as those of `mse`. pos_weight: the weight of targets of 1, for when they are rare.

    >>> bce_with_logits([0.0, 0.0], [1.0, 0.0])
    (0.6931471805599453, array([-0.25,  0.25], dtype=float32))
    """
    check_from_zero("pos_weight", pos_weight)
    rows, wanted, valid = _pair("logits", logits, targets, lengths, mask, batch_first)
    gradient = np.zeros(rows.shape, np.float32)
    z, t = rows[valid].astype(np.float64), wanted[valid].astype(np.float64)
    if not z.size:
        return 0.0, gradient
    small = np.exp(-np.abs(z))  # sigmoid without overflow
    s = np.where(z >= 0, 1.0, small) / (1.0 + small)
    tail = np.log1p(small)
    loss = pos_weight * t * (tail + np.maximum(-z, 0)) + (1 - t) * (tail + np.maximum(z, 0))
    gradient[valid] = ((1 - t) * s - pos_weight * t * (1 - s)) / z.size
    return float(loss.mean()), gradient


def _pair(
    name: str, given: ArrayLike, targets: ArrayLike, lengths: Lengths, mask: Any, batch_first: bool
) -> tuple[Array, Array, NDArray[np.bool_]]:
    rows, wanted = float_array(given, name), float_array(targets, "targets")
    if wanted.shape != rows.shape:
        raise ValueError(f"targets: expected shape {rows.shape}, got {wanted.shape}")
    return rows, wanted, _valid(rows.shape, lengths, mask, batch_first)


def _valid(
    shape: tuple[int, ...], lengths: Lengths, mask: Any, batch_first: bool
) -> NDArray[np.bool_]:
    """What counts: bools of the leading axes of `shape`."""
    valid = np.ones(shape, bool)
    if lengths is not None:
        if len(shape) < 2:
            raise ValueError(
                f"lengths: expected predictions of several steps and rows, got {shape}"
            )
        batch, steps = shape[:2] if batch_first else (shape[1], shape[0])
        counts = np.asarray(lengths)
        if counts.shape != (batch,):
            raise ValueError(f"lengths: expected shape ({batch},), got {counts.shape}")
        if counts.size and counts.dtype.kind not in "iu":
            raise TypeError(f"lengths: expected integers, got {counts.dtype}")
        if counts.size and not (counts.min() >= 0 and counts.max() <= steps):
            raise ValueError(f"lengths: expected 0 to {steps} steps, got {counts.tolist()}")
        running = np.arange(steps)[:, None] < counts
        running = running.T if batch_first else running
        valid &= running.reshape(*running.shape, *[1] * (len(shape) - 2))
    if mask is not None:
        given = np.asarray(mask)
        if given.dtype != bool or given.shape != shape[: given.ndim]:
            raise ValueError(
                f"mask: expected bools of shape {shape} or its first axes, "
                f"got {given.dtype} {given.shape}"
            )
        valid &= given.reshape(*given.shape, *[1] * (len(shape) - given.ndim))
    return valid
