# SPDX-License-Identifier: MIT
"""The layers and `Sequential`, with the arguments and weights of torch.nn."""

from __future__ import annotations

from .activations import (
    ELU,
    GELU,
    Dropout,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Scale,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from .attention import AttentionPool
from .base import Layer
from .dense import Conv1d, Linear
from .embedding import Embedding
from .norm import BatchNorm1d, LayerNorm, ScaleFeatures
from .recurrent import GRU, LSTM, RNN
from .residual import Residual
from .sequential import Sequential
from .shape import Flatten, Permute, RepeatVector, Squeeze, Transpose, Unflatten, Unsqueeze
from .signal import AvgPool1d, Magnitude, MaxPool1d, ReflectionPad1d, ZeroPad1d
from .streams import SequentialStream, Stream
from .time import AddInput, Flip, Last, Mask, MergeDirections, Pool, Unmask

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AddInput",
    "AttentionPool",
    "AvgPool1d",
    "BatchNorm1d",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Flip",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Last",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Magnitude",
    "Mask",
    "MaxPool1d",
    "MergeDirections",
    "Mish",
    "PReLU",
    "Permute",
    "Pool",
    "ReLU",
    "ReflectionPad1d",
    "RepeatVector",
    "Residual",
    "Scale",
    "ScaleFeatures",
    "Sequential",
    "SequentialStream",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Squeeze",
    "Stream",
    "Tanh",
    "Transpose",
    "Unflatten",
    "Unmask",
    "Unsqueeze",
    "ZeroPad1d",
]
