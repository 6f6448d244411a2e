# SPDX-License-Identifier: MIT
"""Small torch models of common architectures, for the tests of the importers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Made = tuple[Any, Any]  # a module in eval mode, an example input


def make(torch: Any, name: str) -> Made:
    """Return the module of a name, with weights from a fixed seed, and an input."""
    torch.manual_seed(7)
    module, x = MODELS[name](torch)
    return module.eval(), x


def tagger(torch: Any) -> Made:
    nn = torch.nn

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb = nn.Embedding(20, 6, padding_idx=0)
            self.rnn = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True, dropout=0.2)
            self.norm, self.drop = nn.LayerNorm(10), nn.Dropout(0.3)
            self.head = nn.Linear(10, 4)

        def forward(self, x):
            y, _ = self.rnn(self.emb(x))
            return torch.log_softmax(self.head(self.drop(self.norm(y))), dim=-1)

    return Tagger(), torch.randint(0, 20, (2, 7))


def classifier(torch: Any) -> Made:
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.rnn = nn.Embedding(20, 6), nn.GRU(6, 5, batch_first=True)
            self.head = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 2))

        def forward(self, x):
            y, _ = self.rnn(self.emb(x))
            return torch.softmax(self.head(y[:, -1]), dim=1)

    return Classifier(), torch.randint(0, 20, (2, 7))


def last_state(torch: Any) -> Made:
    nn = torch.nn

    class LastState(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            _, (h, _) = self.rnn(x)
            return torch.sigmoid(self.head(torch.cat([h[-2], h[-1]], dim=1)))

    return LastState(), torch.randn(2, 7, 3)


def one_way_state(torch: Any) -> Made:
    nn = torch.nn

    class OneWay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 4, 2, bias=False), nn.Linear(4, 1)

        def forward(self, x):
            _, h = self.rnn(x)
            return self.head(h[-1]).squeeze(-1)

    return OneWay(), torch.randn(7, 2, 3)


def convolution(torch: Any) -> Made:
    nn = torch.nn

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
            self.rnn = nn.RNN(6, 5, batch_first=True, nonlinearity="relu")

        def forward(self, x):
            y = torch.relu(self.conv(x.transpose(1, 2))).permute(0, 2, 1)
            y, _ = self.rnn(y)
            return y.mean(1)

    return Convolution(), torch.randn(2, 9, 4)


def max_pool(torch: Any) -> Made:
    nn = torch.nn

    class MaxPool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.RNN(3, 4, bidirectional=True), nn.Linear(8, 3, bias=False)

        def forward(self, x):
            y, _ = self.rnn(x)
            return torch.tanh(self.head(torch.max(y, 0)[0]))

    return MaxPool(), torch.randn(7, 2, 3)


def projected(torch: Any) -> Made:
    nn = torch.nn

    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 5, 2, proj_size=2, batch_first=True)
            self.norm = nn.LayerNorm(2, elementwise_affine=False, eps=1e-3)

        def forward(self, x):
            return self.norm(self.rnn(x)[0][:, -1, :])

    return Projected(), torch.randn(2, 7, 3)


def two_stacks(torch: Any) -> Made:
    nn = torch.nn

    class TwoStacks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LSTM(3, 4, batch_first=True)
            self.second = nn.GRU(4, 5)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            y = self.first(x)[0].transpose(0, 1)
            return self.head(self.second(y)[0]).transpose(0, 1)

    return TwoStacks(), torch.randn(2, 7, 3)


def functions(torch: Any) -> Made:
    nn, f = torch.nn, torch.nn.functional

    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.gate = nn.GRU(3, 8, batch_first=True), nn.GELU()

        def forward(self, x):
            y = f.elu(self.rnn(2.0 * x - 0.5)[0], alpha=0.5)
            y = f.silu(f.leaky_relu(y * 3 + 1, 0.2)) / 2
            y = f.softplus(self.gate(1 - y), beta=2.0)
            y = f.hardtanh(f.selu(y), -1.0, 2.0).clamp(min=0.1, max=1.5)
            return f.hardsigmoid(f.relu6(f.gelu(-y, approximate="tanh") + 1.0))

    return Functions(), torch.randn(2, 7, 3)


def channels(torch: Any) -> Made:
    nn = torch.nn

    class Channels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.act = nn.BatchNorm1d(4), nn.PReLU(4)
            self.pool = nn.Sequential(nn.MaxPool1d(2), nn.AvgPool1d(3, 1, 1))
            self.rnn = nn.GRU(4, 5, bidirectional=True, batch_first=True)
            self.head = nn.Sequential(nn.Linear(5, 6), nn.PReLU(), nn.Linear(6, 2))
            with torch.no_grad():
                self.norm.running_mean += 0.3
                self.norm.running_var *= 2.0
                self.act.weight += torch.arange(4) / 8

        def forward(self, x):
            y = self.pool(self.act(self.norm(x.transpose(1, 2)))).transpose(1, 2)
            y, _ = self.rnn(y)
            return self.head(y[..., :5] + y[..., 5:])

    return Channels(), torch.randn(2, 8, 4)


def bare_layer(torch: Any) -> Made:
    return torch.nn.LSTM(3, 4), torch.randn(7, 2, 3)


def plain_sequential(torch: Any) -> Made:
    nn = torch.nn
    layers = [nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid(), nn.LogSoftmax(dim=-1)]
    return nn.Sequential(*layers), torch.randn(3, 6)


MODELS: dict[str, Callable[[Any], Made]] = {
    "tagger": tagger,
    "classifier": classifier,
    "last state": last_state,
    "one-way state": one_way_state,
    "convolution": convolution,
    "max pool": max_pool,
    "projected": projected,
    "two stacks": two_stacks,
    "functions": functions,
    "channels": channels,
    "bare layer": bare_layer,
    "plain sequential": plain_sequential,
}
