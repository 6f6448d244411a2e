# SPDX-License-Identifier: MIT
"""The layers and `Sequential`, with the arguments and weights of torch.nn."""

from __future__ import annotations

from .activations import Dropout, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .base import Layer
from .dense import Conv1d, Linear
from .embedding import Embedding
from .norm import LayerNorm
from .recurrent import GRU, LSTM, RNN
from .sequential import Sequential
from .shape import Flatten, Permute, Squeeze, Transpose, Unflatten, Unsqueeze
from .signal import Magnitude, ReflectionPad1d, ZeroPad1d
from .streams import SequentialStream, Stream
from .time import AddInput, Flip, Last, Mask, Pool, Unmask

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
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
    "Stream",
    "Tanh",
    "Transpose",
    "Unflatten",
    "Unmask",
    "Unsqueeze",
    "ZeroPad1d",
]
