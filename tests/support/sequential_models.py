# SPDX-License-Identifier: MIT
"""Models of layers of many kinds, for tests of `Sequential` and of what describes it."""

from __future__ import annotations

from typing import Any

from fastrnn import (
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
    Flatten,
    Flip,
    Hardsigmoid,
    Hardtanh,
    Last,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Magnitude,
    MaxPool1d,
    MergeDirections,
    Permute,
    Pool,
    PReLU,
    ReflectionPad1d,
    ReLU,
    RepeatVector,
    Residual,
    Scale,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Squeeze,
    Tanh,
    Transpose,
    Unflatten,
    Unsqueeze,
    ZeroPad1d,
)  # fmt: skip

# Models of x (B, T, 6) whose y has sequences, then of those whose y has none.
SEQUENCES: dict[str, Any] = {
    "dense": lambda: [LSTM(6, 5, batch_first=True), Linear(5, 4), LayerNorm(4), Sigmoid()],
    "bidirectional": lambda: [
        Linear(6, 4), GRU(4, 3, bidirectional=True, batch_first=True), ReLU(), Linear(6, 2),
        LogSoftmax(-1),
    ],
    "over time": lambda: [Linear(6, 3), Softmax(1), RNN(3, 3, batch_first=True), LogSoftmax(-2)],
    "convolution": lambda: [
        Permute((0, 2, 1)), Conv1d(6, 4, 3, padding=1), Tanh(), Conv1d(4, 4, 4, stride=2),
        Transpose(1, 2), LSTM(4, 3, batch_first=True), Linear(3, 2),
    ],
    "padded": lambda: [
        Transpose(-1, -2), ZeroPad1d((3, 2)), Conv1d(6, 4, 2, dilation=2, bias=False), ReLU(),
        Permute((2, 0, 1)), GRU(4, 3), Sigmoid(),
    ],
    "spectrum": lambda: [
        Transpose(1, 2), ZeroPad1d((2, 1)), ReflectionPad1d((1, 2)), Conv1d(6, 8, 2), Magnitude(),
        Transpose(2, 1), Unflatten(-1, (2, 2)), Flatten(2), LSTM(4, 3, batch_first=True),
    ],
    "flipped": lambda: [Flip(batch_first=True), LSTM(6, 4, batch_first=True), Flip(True)],
    "skip": lambda: [Linear(6, 5), Tanh(), GRU(5, 6, batch_first=True), AddInput(6), Sigmoid()],
    "inner": lambda: [
        Linear(6, 5),
        Sequential(inner=Sequential(rnn=RNN(5, 4, batch_first=True), norm=LayerNorm(4))),
        Sequential(Linear(4, 4), AddInput(4)),
    ],
    "axes": lambda: [
        Unsqueeze(0), Squeeze(0), Unsqueeze(3), Flatten(2, 3), LSTM(6, 3, batch_first=True),
    ],
}  # fmt: skip
ENDINGS: dict[str, Any] = {
    "last": lambda: [LSTM(6, 5, batch_first=True), Last(batch_first=True), Linear(5, 2)],
    "state": lambda: [
        GRU(6, 3, 2, bidirectional=True, batch_first=True), Last(True, of="state"), Linear(6, 2),
    ],
    "mean": lambda: [Tanh(), Pool("mean", batch_first=True), Softmax(-1)],
    "sum": lambda: [Tanh(), Pool("sum", batch_first=True), Tanh()],
    "attention": lambda: [
        GRU(6, 3, bidirectional=True, batch_first=True),
        AttentionPool(Linear(6, 4), Tanh(), Linear(4, 1), batch_first=True), Linear(6, 2),
    ],
    "attention over steps first": lambda: [
        Transpose(0, 1), Linear(6, 5), AttentionPool(GRU(5, 1)), Sigmoid(),
    ],
    "repeated": lambda: [
        GRU(6, 3, batch_first=True), Last(True), RepeatVector(4), LSTM(3, 2, batch_first=True),
        Pool("max", True),
    ],
    "max": lambda: [Linear(6, 4), ReLU(), Transpose(0, 1), RNN(4, 4), Pool("max"), Linear(4, 1)],
}  # fmt: skip
# Models of x (B, T, 6) whose y has sequences, beside those above.
MORE: dict[str, Any] = {
    "functions": lambda: [
        Linear(6, 5), ELU(), LSTM(5, 4, batch_first=True), Scale(3.0, 0.5), SiLU(), Softplus(2.0),
        GELU(), GELU("tanh"),
    ],
    "residual": lambda: [
        Linear(6, 5),
        Residual(
            Residual(rnn=LSTM(5, 3, bidirectional=True, batch_first=True), fc=Linear(6, 5)),
            Sequential(LayerNorm(5), Tanh()),
        ),
        Residual(Transpose(1, 2), Conv1d(5, 5, 3, padding=1), Transpose(1, 2)),
        GRU(5, 2, batch_first=True),
    ],
}  # fmt: skip
# And with corners, where differences are no gradients.
CORNERS: dict[str, Any] = {
    "channels": lambda: [
        Transpose(1, 2), BatchNorm1d(6), Conv1d(6, 4, 3, padding=1), PReLU(4), MaxPool1d(2, 1, 1),
        AvgPool1d(3, 2, 1, True, False),
        Transpose(1, 2), GRU(4, 3, bidirectional=True, batch_first=True), MergeDirections("mean"),
        PReLU(), LeakyReLU(0.3), Hardtanh(-1.0, 2.0), Hardsigmoid(),
    ],
}  # fmt: skip
MODELS = SEQUENCES | ENDINGS | MORE | CORNERS
LENGTHS = [7, 3, 9, 1, 6]
