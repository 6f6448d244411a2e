# SPDX-License-Identifier: MIT
"""Callers write into what a pass gave them, and Mask never gives steps in other places."""

from __future__ import annotations

import numpy as np
import pytest

import fastrnn


@pytest.mark.parametrize(
    "layer",
    [fastrnn.Tanh(), fastrnn.Sigmoid(), fastrnn.Softmax(-1), fastrnn.LogSoftmax(-1)],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a Sequential"])
def test_gradients_after_y_was_written(layer, inside):
    model = fastrnn.Sequential(layer, fastrnn.Flatten()) if inside else layer
    x = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    y, _, backward = model.vjp(x)
    dy = y.copy()
    before = backward(dy).x.copy()
    y -= 1.0
    np.testing.assert_array_equal(backward(dy).x, before)
