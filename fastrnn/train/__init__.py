# SPDX-License-Identifier: MIT
"""Training with numpy only: losses, optimizers, gradient clipping and `fit`."""

from __future__ import annotations

from .clipping import clip_grad_norm, clip_grad_value
from .fitting import Progress, fit
from .losses import bce_with_logits, cross_entropy, mse
from .optimizers import SGD, Adam, AdamW, Optimizer
from .show import ProgressBar

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "Progress",
    "ProgressBar",
    "bce_with_logits",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "fit",
    "mse",
]
