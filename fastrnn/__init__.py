# SPDX-License-Identifier: MIT
"""LSTM, GRU and RNN layers on CPUs, from PyTorch weights, without PyTorch.

>>> import numpy as np, fastrnn
>>> layer = fastrnn.LSTM(8, 16, seed=0)
>>> y, (h, c) = layer(np.ones((20, 4, 8), np.float32))
>>> y.shape
(20, 4, 16)
"""

from __future__ import annotations

try:
    from ._core import isas
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._core":
        raise
    raise ImportError(
        f"{__path__[0]} holds fastrnn's sources, but not its compiled core: run Python in another "
        "folder after `pip install .`, or compile in place with `pip install -e .`"
    ) from error

from . import _core
from .files.loading import load
from .files.saving import save
from .layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    AddInput,
    AttentionPool,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    Flip,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Last,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Magnitude,
    Mask,
    MaxPool1d,
    MergeDirections,
    Mish,
    Permute,
    Pool,
    PReLU,
    ReflectionPad1d,
    ReLU,
    RepeatVector,
    Residual,
    Scale,
    ScaleFeatures,
    Sequential,
    SequentialStream,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Squeeze,
    Stream,
    Tanh,
    Transpose,
    Unflatten,
    Unmask,
    Unsqueeze,
    ZeroPad1d,
)
from .readers import FormatError, read_state_dict
from .runtime.config import config, show_config
from .runtime.plans import explain, plan
from .runtime.threads import get_num_threads, num_threads, set_num_threads
from .train import (
    SGD,
    Adam,
    AdamW,
    bce_with_logits,
    clip_grad_norm,
    clip_grad_value,
    cross_entropy,
    fit,
    mse,
)

__version__ = _core.VERSION


def __dir__() -> list[str]:
    """The interface, without the modules that it is made in."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "AddInput",
    "AttentionPool",
    "AvgPool1d",
    "BatchNorm1d",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Flip",
    "FormatError",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Last",
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
    "__version__",
    "bce_with_logits",
    "clip_grad_norm",
    "clip_grad_value",
    "config",
    "cross_entropy",
    "explain",
    "fit",
    "get_num_threads",
    "isas",
    "load",
    "mse",
    "num_threads",
    "plan",
    "read_state_dict",
    "save",
    "set_num_threads",
    "show_config",
]
