# SPDX-License-Identifier: MIT
"""Random models with the heads that people write, in torch and Keras, each from one seed.

A model grows by pieces while an example runs through it: a piece that the example does not fit is
left out. All pieces can be scripted.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

WORDS = 7

# --- Pieces of torch ---


class FirstOfPair(nn.Module):
    """y of a GRU or RNN."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return y


class SecondOfPair(FirstOfPair):
    """The final h of a GRU or RNN."""

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x)
        return h


class StateOfLSTM(FirstOfPair):
    """The final h of an LSTM."""

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.rnn(x)
        return h


class Both(nn.Module):
    """The last two rows of a final state side by side, in this order or the other, or added."""

    def __init__(self, form: int) -> None:
        super().__init__()
        self.form = form

    def forward(self, h: Tensor) -> Tensor:
        if self.form == 0:
            return torch.cat([h[-2], h[-1]], 1)
        if self.form == 1:
            return torch.hstack([h[-1], h[-2]])
        if self.form == 2:
            return h[-1] + h[-2]
        if self.form == 3:
            return torch.cat(h.unbind(0), -1)
        return torch.stack([h[-2], h[-1]], 1).mean(1)


class ConvolvedBatch(nn.Module):
    """A convolution over the second axis."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class LastStep(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


class LastKept(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1:]


class LastRow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[-1]


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class LastColumn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 0]


class Mean(nn.Module):
    def __init__(self, dim: int, keep: bool) -> None:
        super().__init__()
        self.dim, self.keep = dim, keep

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dim, self.keep)


class Sum(Mean):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(self.dim, self.keep)


class Max(Mean):
    def forward(self, x: Tensor) -> Tensor:
        return x.max(self.dim, self.keep)[0]


class Squeeze(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(self.dim)


class SqueezeAll(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze()


class Unsqueeze(Squeeze):
    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(self.dim)


class Rows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.size(0), -1)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1)


class Swapped(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(self.a, self.b)


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(1, 2, 0)


class Flipped(Squeeze):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip([self.dim])


class SumOfHalves(nn.Module):
    """Both directions added."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.size(-1) // 2
        return x[..., :half] + x[..., half:]


class OneHalf(nn.Module):
    """One direction of both."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        half = x.size(-1) // 2
        return x[..., half:] if self.second else x[..., :half]


class Ends(nn.Module):
    """A step of each direction: side by side, in this order or the other, stacked or added."""

    def __init__(self, first: int, second: int, form: int) -> None:
        super().__init__()
        self.first, self.second, self.form = first, second, form

    def forward(self, x: Tensor) -> Tensor:
        half = x.size(-1) // 2
        a, b = x[:, self.first, :half], x[:, self.second, half:]
        if self.form == 0:
            return torch.cat([a, b], -1)
        if self.form == 1:
            return torch.concat([b, a], dim=1)
        if self.form == 2:
            return torch.stack([a, b], 1)
        return a + b


class Unbound(nn.Module):
    def __init__(self, dim: int, place: int) -> None:
        super().__init__()
        self.dim, self.place = dim, place

    def forward(self, x: Tensor) -> Tensor:
        return x.unbind(self.dim)[self.place]


class InPlace(nn.Module):
    """A tensor that is changed before it is used again."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        y.relu_()
        return torch.sigmoid(y)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Residual(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(x)


class Around(nn.Module):
    """A sum around layers; `twice` adds x once more, or an x from before them."""

    def __init__(self, inner: nn.Module, twice: bool) -> None:
        super().__init__()
        self.inner, self.twice = inner, twice

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x) + x
        return torch.relu(y) + x if self.twice else y


class Minus(nn.Module):
    """A difference of x and what layers make of it."""

    def __init__(self, inner: nn.Module, form: int) -> None:
        super().__init__()
        self.inner, self.form = inner, form

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.form == 0:
            return x - y
        return y - x if self.form == 1 else torch.add(x, y, alpha=0.5)


class Attention(nn.Module):
    """A sum over steps by the softmax of scores, which are mostly of one feature."""

    def __init__(self, width: int, dim: int, form: int, scores: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, scores))
        self.dim, self.form, self.drop = dim, form, nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.score(x)
        if self.form == 4:
            return (self.drop(torch.softmax(scores, self.dim)) * x).sum(self.dim)
        if self.form == 5:
            return torch.einsum("bto,bth->bh", torch.softmax(scores, self.dim), x)
        if self.form == 6:
            weights = torch.softmax(scores.squeeze(-1), self.dim)
            return torch.einsum("tb,tbh->bh", weights, x)
        if self.form == 0:
            return (torch.softmax(scores, self.dim) * x).sum(self.dim)
        if self.form == 1:
            return torch.bmm(torch.softmax(scores, self.dim).transpose(1, 2), x).squeeze(1)
        if self.form == 2:
            weights = torch.softmax(scores.squeeze(-1), self.dim)
            return torch.matmul(weights.unsqueeze(1), x)[:, 0]
        return (x * torch.softmax(scores, self.dim)).sum(self.dim, keepdim=True)


# --- Models of torch ---


class TorchModel:
    """A module with inputs for it: an example, and one of other sizes."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        torch.manual_seed(seed)
        self.batch_first = self.draw.random() < 0.6
        self.pieces: list[nn.Module] = []
        batch, steps = self.draw.choice([1, 2, 3]), self.draw.choice([1, 4, 5])
        features = self.draw.choice([1, 2, 3])
        self.is_words = self.draw.random() < 0.2
        self.example = self.input(batch, steps, features)
        self.other = self.input(batch + 1, steps + 2, features)
        self.y = self.example
        if self.is_words:
            self.grow(nn.Embedding(WORDS, self.size()))
        self.front()
        for _ in range(self.draw.choice([1, 1, 2])):
            self.recur()
            if self.draw.random() < 0.3:
                self.grow(self.around())
        if self.draw.random() < 0.3:
            self.grow(self.attention())
        elif self.draw.random() < 0.3:
            self.grow(self.directions())
        for _ in range(self.draw.choice([0, 1, 2, 3, 4])):
            self.grow(self.head())
        self.module = nn.Sequential(*self.pieces).eval()

    def input(self, batch: int, steps: int, features: int) -> Tensor:
        shape = [batch, steps] if self.batch_first else [steps, batch]
        if self.is_words:
            return torch.randint(0, WORDS, shape)
        return torch.randn(*shape, features)

    def size(self) -> int:
        return self.draw.choice([1, 1, 2, 3, 4])

    def width(self) -> int:
        """The size of the last axis; 1 if there is none."""
        return max(self.y.size(-1), 1) if self.y.dim() else 1

    def grow(self, piece: nn.Module) -> bool:
        """Add a piece, if the example runs through it."""
        try:
            with torch.no_grad():
                self.y = piece.eval()(self.y)
        except (RuntimeError, IndexError, AssertionError, ValueError):
            return False
        self.pieces.append(piece)
        return True

    def front(self) -> None:
        if self.draw.random() < 0.25 and self.batch_first:
            width, kernel = self.y.size(-1), self.draw.choice([1, 2, 3])
            self.grow(ConvolvedBatch(width, self.size(), kernel, self.draw.choice([0, 1])))
        if self.draw.random() < 0.25:
            self.grow(nn.Linear(self.y.size(-1), self.size()))
            self.grow(self.draw.choice([nn.ReLU(), nn.Tanh(), nn.LayerNorm(self.y.size(-1))]))

    def recur(self) -> None:
        """A recurrent layer, of which further ones take y."""
        draw, cell = self.draw, self.draw.choice(["LSTM", "GRU", "RNN"])
        options: dict[str, Any] = {
            "num_layers": draw.choice([1, 1, 2]),
            "bias": draw.random() < 0.85,
            "batch_first": self.batch_first,
            "bidirectional": draw.random() < 0.35,
        }
        hidden = self.size()
        if cell == "LSTM" and hidden > 1 and draw.random() < 0.2:
            options["proj_size"] = hidden - 1
        if cell == "RNN":
            options["nonlinearity"] = draw.choice(["tanh", "relu"])
        rnn = getattr(nn, cell)(self.y.size(-1), hidden, **options)
        if draw.random() < 0.3:
            self.grow((StateOfLSTM if cell == "LSTM" else SecondOfPair)(rnn))
            both = Both(draw.randrange(5))
            self.grow(draw.choice([LastRow(), LastRow(), both, both, nn.Identity()]))
        else:
            self.grow(FirstOfPair(rnn))

    def around(self) -> nn.Module:
        """A residual sum, mostly of values of one shape."""
        draw, width = self.draw, self.width()
        wide = draw.choice([width, width, width, 1])
        both = draw.random() < 0.5
        rnn = draw.choice([nn.GRU, nn.RNN])(
            width, wide, draw.choice([1, 2]), batch_first=self.batch_first, bidirectional=both
        )
        inner: list[nn.Module] = [FirstOfPair(rnn)]
        if both or draw.random() < 0.3:
            inner.append(nn.Linear((1 + both) * wide, width))
        dense = nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, wide))
        conv = ConvolvedBatch(width, wide, 3, 1)
        choices = [
            nn.Sequential(*inner),
            nn.Sequential(*inner),
            dense,
            conv,
            Turned(),
            Swapped(0, 1),
        ]
        inside = draw.choice(choices)
        if draw.random() < 0.3:
            return Minus(inside, draw.randrange(3))
        return Around(inside, draw.random() < 0.25)

    def attention(self) -> nn.Module:
        draw, width = self.draw, self.width()
        time = 1 if self.batch_first else 0
        dim = draw.choice([time, time, time, 0, 1, 2])
        return Attention(width, dim, draw.randrange(7), draw.choice([1, 1, 1, 2]))

    def directions(self) -> nn.Module:
        """Some of two directions, mostly of the ends of time."""
        draw = self.draw
        ends = [draw.choice([-1, 0]), draw.choice([-1, 0])]
        return draw.choice([OneHalf(draw.random() < 0.5), Ends(*ends, draw.randrange(4))])

    def head(self) -> nn.Module:
        draw, width = self.draw, self.width()
        dim = draw.choice([-1, 0, 1, 2, -2])
        return draw.choice(
            [
                *(LastStep(), LastStep(), LastKept(), LastRow(), First(), LastColumn()),
                *(Mean(dim, False), Mean(dim, True), Max(dim, False), Max(dim, True)),
                *(Squeeze(dim), SqueezeAll(), Unsqueeze(dim), Rows(), Flat(), nn.Flatten()),
                *(Swapped(0, 1), Swapped(1, 2), Turned(), Flipped(dim), SumOfHalves()),
                *(nn.Softmax(dim), nn.LogSoftmax(dim), nn.Softmax(dim), nn.Sigmoid(), nn.ReLU()),
                *(nn.Dropout(0.2), nn.LayerNorm(width), nn.Linear(width, self.size())),
                *(nn.Linear(width, self.size()), nn.Linear(width, 1, bias=False)),
                *(Sum(dim, False), Sum(dim, True), self.directions(), self.directions()),
                *(Unbound(dim, draw.choice([0, -1])), Unbound(1, -1)),
                *(InPlace(), Doubled(), Residual(), nn.ELU(), self.around(), self.attention()),
            ]
        )


# --- Models of Keras ---


def keras_model(keras: Any, seed: int) -> tuple[Any, Any]:
    """A model of Keras with random weights, and an input for it."""
    from keras_models import TOKENS, floats, sequential

    draw, layers = random.Random(seed), keras.layers
    is_words = draw.random() < 0.25
    features = None if is_words else draw.choice([1, 2, 3])
    chain: list[Any] = []
    if is_words:
        chain.append(layers.Embedding(50, draw.choice([1, 3]), mask_zero=draw.random() < 0.3))
    elif draw.random() < 0.2:
        chain.append(layers.Masking(0.0))
    if draw.random() < 0.25:
        kernel, padding = draw.choice([1, 2, 3]), draw.choice(["same", "valid", "causal"])
        chain.append(layers.Conv1D(draw.choice([1, 2]), kernel, padding=padding))
    count = draw.choice([1, 1, 2])
    for at in range(count):
        last = at == count - 1
        chain.append(_keras_recurrent(layers, draw, draw.random() < 0.5 or not last))
    heads = [
        *(layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D, layers.LayerNormalization),
        *(layers.Flatten, lambda: layers.Dropout(0.2), lambda: layers.Softmax(axis=1)),
        *(lambda: layers.Dense(1, activation="sigmoid"), lambda: layers.Dense(3), layers.Softmax),
        *(lambda: layers.Dense(2, activation="softmax"), lambda: layers.Activation("elu")),
        *(lambda: layers.Permute((2, 1)), lambda: layers.TimeDistributed(layers.Dense(2))),
    ]
    x = TOKENS if is_words else floats(2, 7, features)
    for make in draw.sample(heads, draw.choice([0, 1, 1, 2])):
        try:
            sequential(keras, [*chain, make()], features)(x)
        except (ValueError, IndexError):
            continue
        chain.append(make())
    return sequential(keras, chain, features), x


def _keras_recurrent(layers: Any, draw: random.Random, sequences: bool) -> Any:
    cell = draw.choice(["LSTM", "GRU", "SimpleRNN"])
    options: dict[str, Any] = {"return_sequences": sequences, "use_bias": draw.random() < 0.85}
    if cell == "GRU":
        options["reset_after"] = draw.random() < 0.6
    if cell == "SimpleRNN":
        options["activation"] = draw.choice(["tanh", "relu"])
    units = draw.choice([1, 2, 3])
    if draw.random() < 0.3:
        merge = draw.choice(["concat", "concat", "sum", "ave", "mul"])
        return layers.Bidirectional(getattr(layers, cell)(units, **options), merge_mode=merge)
    options["go_backwards"] = draw.random() < 0.15
    return getattr(layers, cell)(units, **options)
