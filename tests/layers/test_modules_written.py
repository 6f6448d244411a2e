# SPDX-License-Identifier: MIT
"""Callers write into what a pass returned, and Mask returns no steps in other places."""

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


@pytest.mark.parametrize("row", [[0, 0, 3, 4], [1, 0, 3, 0]], ids=["before", "between"])
def test_steps_of_y_are_those_of_x_or_refused(row):
    layers = [fastrnn.Mask(0), fastrnn.Embedding(9, 5), fastrnn.GRU(5, 4, batch_first=True)]
    tagger = fastrnn.Sequential(*layers)
    with pytest.raises(ValueError, match="end of each row"):
        tagger(np.array([row]))
    with pytest.raises(ValueError, match="end of each row"):
        tagger.vjp(np.array([row]))
    assert tagger(np.array([[1, 2, 0, 0]]))[0].shape == (1, 4, 4)
    y, _ = fastrnn.Sequential(*layers, fastrnn.Last(batch_first=True))(np.array([row]))
    assert y.shape == (1, 4)
