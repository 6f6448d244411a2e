# SPDX-License-Identifier: MIT
"""The modules of torch.nn that are layers, and which of their attributes are its arguments.

Files with pickled modules and modules in memory are read by the same table.
"""

from __future__ import annotations

from ..description import PYTORCH_MODULES

_SIZES = ("kernel_size", "stride", "padding", "dilation")
# By the end of the path of the class.
OPTIONS: dict[str, tuple[str, ...]] = {
    "linear.Linear": ("in_features", "out_features"),
    "conv.Conv1d": ("in_channels", "out_channels", "groups", *_SIZES),
    "sparse.Embedding": ("num_embeddings", "embedding_dim", "padding_idx"),
    "normalization.LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "batchnorm.BatchNorm1d": ("num_features", "eps", "affine"),
    "pooling.MaxPool1d": (*_SIZES, "ceil_mode"),
    "pooling.AvgPool1d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "activation.PReLU": ("num_parameters",),
    "activation.ReLU": (),
    "activation.Tanh": (),
    "activation.Sigmoid": (),
    "activation.ELU": ("alpha",),
    "activation.LeakyReLU": ("negative_slope",),
    "activation.SiLU": (),
    "activation.GELU": ("approximate",),
    "activation.Softplus": ("beta", "threshold"),
    "activation.Hardtanh": ("min_val", "max_val"),
    "activation.Hardsigmoid": (),
    "activation.Hardswish": (),
    "activation.Mish": (),
    "activation.Softsign": (),
    "activation.Softmax": ("dim",),
    "activation.LogSoftmax": ("dim",),
    "dropout.Dropout": ("p",),
    "padding.ZeroPad1d": ("padding",),
    "padding.ReflectionPad1d": ("padding",),
    "flatten.Flatten": ("start_dim", "end_dim"),
    "flatten.Unflatten": ("dim", "unflattened_size"),
}
# Attributes that these layers do not have, and the value with which PyTorch's are the same.
FIXED: dict[str, dict[str, object]] = {
    "sparse.Embedding": {"max_norm": None},
    "conv.Conv1d": {"padding_mode": "zeros", "transposed": False},
    "batchnorm.BatchNorm1d": {"track_running_stats": True},
    "pooling.MaxPool1d": {"return_indices": False},
}
WITH_BIAS = ("linear.Linear", "normalization.LayerNorm", "conv.Conv1d")
# Modules that have all attributes of another one.
SAME = {"activation.ReLU6": "activation.Hardtanh"}
# Modules that do nothing when a model runs.
IDENTITIES = (
    "linear.Identity", "dropout.Dropout1d", "dropout.AlphaDropout", "dropout.FeatureAlphaDropout",
)  # fmt: skip


def key_of(class_path: str) -> str:
    """A class of torch.nn as the table names it; any other class by its whole path."""
    kind = class_path.removeprefix(PYTORCH_MODULES)
    return SAME.get(kind, kind)
