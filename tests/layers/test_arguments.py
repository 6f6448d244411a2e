# SPDX-License-Identifier: MIT
"""A wrong value of any argument is an error that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastrnn

WEIGHT, SCORES, TARGETS = np.ones(3, np.float32), np.ones((2, 3), np.float32), [0, 1]
CALLS: dict[str, tuple[Callable[..., object], str]] = {
    "GRU": (lambda **k: fastrnn.GRU(3, 4, **k), "seed isa bias dropout num_layers reset_after"),
    "RNN": (lambda **k: fastrnn.RNN(3, 4, **k), "nonlinearity batch_first bidirectional"),
    "LSTM": (lambda **k: fastrnn.LSTM(3, 4, **k), "proj_size coupled"),
    "Linear": (lambda **k: fastrnn.Linear(3, 4, **k), "bias seed"),
    "LayerNorm": (lambda **k: fastrnn.LayerNorm(3, **k), "eps"),
    "Unflatten": (lambda **k: fastrnn.Unflatten(1, **k), "unflattened_size"),
    "Permute": (fastrnn.Permute, "dims"),
    "Pool": (fastrnn.Pool, "mode"),
    "GELU": (fastrnn.GELU, "approximate"),
    "SGD": (lambda **k: fastrnn.SGD({"w": WEIGHT}, **k), "lr momentum weight_decay"),
    "SGD flag": (lambda **k: fastrnn.SGD({"w": WEIGHT}, momentum=0.9, **k), "nesterov"),
    "Adam": (lambda **k: fastrnn.Adam({"w": WEIGHT}, **k), "lr betas eps weight_decay amsgrad"),
    "step": (fastrnn.Adam({"w": WEIGHT}).step, "gradients"),
    "cross_entropy": (
        lambda **k: fastrnn.cross_entropy(SCORES, TARGETS, **k),
        "ignore_index label_smoothing",
    ),
    "bce": (lambda **k: fastrnn.bce_with_logits(SCORES, SCORES, **k), "pos_weight"),
    "clip_grad_norm": (lambda **k: fastrnn.clip_grad_norm({"w": WEIGHT}, **k), "max_norm"),
    "clip_grad_value": (lambda **k: fastrnn.clip_grad_value({"w": WEIGHT}, **k), "clip_value"),
    "gradients": (lambda **k: fastrnn.clip_grad_norm(max_norm=1.0, **k), "gradients"),
    "fit": (
        lambda **k: fastrnn.fit(
            fastrnn.GRU(3, 4), (SCORES, SCORES), fastrnn.mse, fastrnn.Adam({"w": WEIGHT}), **k
        ),
        "epochs batch_size patience seed",
    ),
}
WRONG: list[Any] = [None, "x", [0.5], np.ones((2, 2)), 1j, object(), -7, float("nan")]
RIGHT = {"seed": [None], "isa": [None], "patience": [None], "ignore_index": [None, -7]}


@pytest.mark.parametrize("call", CALLS)
def test_errors_name_the_argument(call: str) -> None:
    function, names = CALLS[call]
    for name in names.split():
        for value in WRONG:
            if not any(value is right for right in RIGHT.get(name, [])):
                with pytest.raises((TypeError, ValueError), match=name):
                    function(**{name: value})
