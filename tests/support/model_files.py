# SPDX-License-Identifier: MIT
"""Models for the tests of the .frnn format, and their bytes."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np

from fastrnn.files.frnn_writer import write_model
from fastrnn.readers.description import DescribedLayer, Description
from fastrnn.readers.frnn.frnn_fields import pack, unpack
from fastrnn.readers.frnn.frnn_kinds import KINDS, initial_states, plain_options
from fastrnn.readers.frnn.frnn_reader import CHECKSUM_AT, checksum


def make(name: str, kind: str, states: bool = False, **options: object) -> DescribedLayer:
    """A layer whose weights are drawn with its name as the seed."""
    rng = np.random.default_rng(list(name.encode()))
    fields = KINDS[kind].fields
    whole = unpack(fields, pack(fields, plain_options(kind, options)))
    shapes = KINDS[kind].shapes(whole) | (initial_states(kind, whole) if states else {})
    arrays = {n: rng.uniform(-0.7, 0.7, shape).astype(np.float32) for n, shape in shapes.items()}
    if "running_var" in arrays:
        arrays["running_var"] = np.abs(arrays["running_var"]) + np.float32(0.1)
    return DescribedLayer(name, kind, options, arrays)


RNN = {"input_size": 3, "hidden_size": 4}

EVERY_KIND = (
    make("lstm", "LSTM", **RNN, num_layers=2, bidirectional=True, dropout=0.25),
    make("lstm.projected", "LSTM", True, **RNN, proj_size=2, batch_first=True, bias=False),
    make("lstm.coupled", "LSTM", **RNN, num_layers=2, coupled=True),
    make("gru", "GRU", **RNN, reset_after=False),
    make("gru.states", "GRU", True, **RNN, bidirectional=True),
    make("rnn", "RNN", **RNN),
    make("rnn.relu", "RNN", True, **RNN, nonlinearity="relu", num_layers=3),
    make("embedding", "Embedding", num_embeddings=5, embedding_dim=3),
    make("embedding.padded", "Embedding", num_embeddings=5, embedding_dim=3, padding_idx=0),
    make("linear", "Linear", in_features=3, out_features=2),
    make("linear.bare", "Linear", in_features=17, out_features=33, bias=False),
    make("conv", "Conv1d", in_channels=4, out_channels=6, kernel_size=3, stride=2, padding=1,
         dilation=2, groups=2),
    make("conv.same", "Conv1d", in_channels=1, out_channels=1, kernel_size=1, padding="same",
         bias=False),
    make("norm", "LayerNorm", normalized_shape=(2, 3), eps=1e-3),
    make("norm.bare", "LayerNorm", normalized_shape=(4,), elementwise_affine=False),
    make("norm.weight", "LayerNorm", normalized_shape=(1, 2, 3, 4), bias=False),
    make("relu", "ReLU"),
    make("tanh", "Tanh"),
    make("sigmoid", "Sigmoid"),
    make("elu", "ELU", alpha=0.5),
    make("leaky_relu", "LeakyReLU", negative_slope=0.2),
    make("silu", "SiLU"),
    make("gelu", "GELU"),
    make("gelu.tanh", "GELU", approximate="tanh"),
    make("softplus", "Softplus", beta=2.0, threshold=1.0),
    make("hardtanh", "Hardtanh", min_val=-2.0, max_val=float("inf")),
    make("hardsigmoid", "Hardsigmoid"),
    make("hardswish", "Hardswish"),
    make("mish", "Mish"),
    make("softsign", "Softsign"),
    make("scale", "Scale", factor=-1.5, offset=0.25),
    make("scales", "ScaleFeatures", num_features=3),
    make("batch_norm", "BatchNorm1d", num_features=3, eps=1e-3),
    make("batch_norm.bare", "BatchNorm1d", num_features=3, affine=False),
    make("max_pool", "MaxPool1d", kernel_size=4, stride=3, padding=2, dilation=2, ceil_mode=True),
    make("avg_pool", "AvgPool1d", kernel_size=3, stride=2, padding=1, count_include_pad=False),
    make("prelu", "PReLU", num_parameters=3),
    make("merge", "MergeDirections", mode="mul"),
    make("softmax", "Softmax", dim=-1),
    make("log_softmax", "LogSoftmax", dim=2),
    make("dropout", "Dropout", p=0.1),
    make("last", "Last", batch_first=True, of="state"),
    make("pool", "Pool", mode="max"),
    make("pool.mean", "Pool", mode="mean", batch_first=True),
    make("pool.sum", "Pool", mode="sum", batch_first=True),
    make("flip", "Flip", batch_first=True),
    make("mask", "Mask", value=-1.5),
    make("unmask", "Unmask", repeat=True),
    make("repeat", "RepeatVector", n=3),
    make("pad", "ZeroPad1d", padding=(2, 0)),
    make("add", "AddInput", features=3),
    make("flatten", "Flatten", start_dim=0, end_dim=-2),
    make("transpose", "Transpose", dim0=0, dim1=-1),
    make("permute", "Permute", dims=(2, 0, 1)),
    make("squeeze", "Squeeze", dim=-1),
    make("unsqueeze", "Unsqueeze", dim=0),
    make("unflatten", "Unflatten", dim=-2, unflattened_size=(1, 2, 3, 4, 5, 6)),
    make("größe", "Tanh"),
)  # fmt: skip

# The kinds that hold layers, with these.
NESTED = (
    make("residual", "Residual", layers=2),
    make("residual.0", "Linear", in_features=3, out_features=3),
    make("residual.1", "Residual", layers=1),
    make("residual.1.0", "GRU", True, input_size=3, hidden_size=3),
    make("after", "Tanh"),
    make("attention", "AttentionPool", layers=1, batch_first=True),
    make("attention.0", "Linear", in_features=3, out_features=1),
)


def sample(small: bool = False) -> Description:
    """A tagger, or a smaller one with fewer bytes."""
    size = 1 if small else 6
    deep = {} if small else {"num_layers": 2, "bidirectional": True}
    width = size if small else 2 * size
    return Description(
        "",
        (
            make("embedding", "Embedding", num_embeddings=3, embedding_dim=2),
            make("rnn", "GRU", input_size=2, hidden_size=size, batch_first=True, **deep),
            make("tags", "Linear", in_features=width, out_features=2),
        ),
    )


def written(description: Description) -> bytes:
    """The bytes of the file."""
    file = BytesIO()
    write_model(file, description)
    return file.getvalue()


def patched(content: bytes, at: int, format: str, *values: object) -> bytes:
    """Replace values at an offset, and update the checksum."""
    changed = bytearray(content)
    struct.pack_into(format, changed, at, *values)
    crc = checksum([np.frombuffer(changed, np.uint8)])
    struct.pack_into("<I", changed, CHECKSUM_AT, crc)
    return bytes(changed)
