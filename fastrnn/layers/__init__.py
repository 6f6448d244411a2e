# SPDX-License-Identifier: MIT
"""Layers around the recurrence, and `Sequential`, with the words and weights of torch.nn."""

from __future__ import annotations

from .activations import Dropout, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .base import Layer
from .dense import Conv1d, Linear
from .embedding import Embedding
from .norm import LayerNorm
from .sequential import Sequential
from .shape import Flatten, Permute, Squeeze, Transpose, Unsqueeze
from .signal import Magnitude, ReflectionPad1d
from .streams import SequentialStream
from .time import AddInput, Flip, Last, Mask, Pool, ZeroPad1d

__all__ = [
    "AddInput",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Flip",
    "Last",
    "Layer",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "Magnitude",
    "Mask",
    "Permute",
    "Pool",
    "ReLU",
    "ReflectionPad1d",
    "Sequential",
    "SequentialStream",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "ZeroPad1d",
]
