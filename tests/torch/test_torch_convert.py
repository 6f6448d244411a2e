# SPDX-License-Identifier: MIT
"""`fastrnn.torch.from_module`: modules of torch as layers of fastrnn, and those that cannot be."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from limits import PARITY, error
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fastrnn
import fastrnn.torch as ft
from fastrnn.readers import UnsupportedModel
from fastrnn.torch.padded import unpacked


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


MODULES: dict[str, Any] = {
    "dense": (
        lambda: nn.Sequential(
            nn.Linear(6, 5, bias=False), nn.ReLU(inplace=True), nn.LayerNorm(5, bias=False),
            nn.Dropout(0.3), nn.Linear(5, 4), nn.LayerNorm(4, elementwise_affine=False),
            nn.Identity(), nn.Softmax(dim=-1),
        ),
        floats(3, 6),
    ),
    "convolution": (
        lambda: nn.Sequential(OrderedDict(
            pad=nn.ZeroPad1d((1, 2)),
            mirror=nn.ReflectionPad1d((2, 1)),
            body=nn.Sequential(
                nn.Conv1d(6, 4, 3, stride=2, padding=1, groups=2), nn.Tanh(),
                nn.Conv1d(4, 4, 3, padding="same", dilation=2, bias=False), nn.Sigmoid(),
            ),
            flat=nn.Flatten(),
            out=nn.LogSoftmax(1),
        )),
        floats(3, 6, 9),
    ),
    "channels": (
        lambda: nn.Sequential(
            nn.BatchNorm1d(6), nn.PReLU(6), nn.MaxPool1d(3, 2, 1, ceil_mode=True), nn.PReLU(),
            nn.AvgPool1d(2, count_include_pad=False),
            nn.BatchNorm1d(6, affine=False), nn.Flatten(),
        ),
        floats(3, 6, 9),
    ),
    "functions": (
        lambda: nn.Sequential(
            nn.Linear(6, 5), nn.ELU(0.5), nn.LeakyReLU(0.2), nn.SiLU(), nn.GELU(), nn.GELU("tanh"),
            nn.Softplus(2, 1), nn.Hardtanh(-0.5, 2), nn.ReLU6(), nn.Hardsigmoid(),
            nn.AlphaDropout(0.3), nn.Dropout1d(), nn.FeatureAlphaDropout(),
        ),
        floats(3, 6),
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Linear(4, 2)),
        np.array([[0, 8, 3]]),
    ),
    "lstm": (lambda: nn.LSTM(6, 5, 2, bidirectional=True, dropout=0.1), floats(7, 3, 6)),
    "projected": (lambda: ft.LSTM(6, 5, proj_size=3), floats(7, 3, 6)),
    "gru": (
        lambda: nn.Sequential(nn.Linear(6, 4), ft.GRU(4, 3, batch_first=True)), floats(3, 7, 6)
    ),
    "rnn": (lambda: nn.RNN(6, 5, nonlinearity="relu", bias=False), floats(7, 3, 6)),
    "one": (lambda: nn.Linear(6, 2).double(), floats(3, 6)),
    "half": (lambda: nn.Linear(6, 2).bfloat16(), floats(3, 6)),
}  # fmt: skip


# What is exact in numpy, and so the same on every instruction set.
UNCOMPILED = (
    fastrnn.Embedding, fastrnn.Dropout, fastrnn.PReLU, fastrnn.MaxPool1d, fastrnn.AvgPool1d,
    fastrnn.ZeroPad1d, fastrnn.ReflectionPad1d, fastrnn.Flatten,
)  # fmt: skip


def leaves(model: fastrnn.Sequential) -> Iterator[Any]:
    for layer in model:
        if isinstance(layer, fastrnn.Sequential):
            yield from leaves(layer)
        else:
            yield layer


@pytest.mark.parametrize("name", MODULES)
def test_converted(name: str, isa: str) -> None:
    make, x = MODULES[name]
    module = make().eval()
    model = ft.from_module(module, isa=isa)
    assert isinstance(model, fastrnn.Sequential)
    assert all(layer.isa == isa for layer in leaves(model) if not isinstance(layer, UNCOMPILED))
    if isinstance(module, nn.Sequential):
        names = [name for name in module.state_dict() if not name.endswith("_tracked")]
        assert list(model.state_dict()) == names
    wanted = module.float()(torch.from_numpy(x))
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    y, _ = model(x)
    assert error(y, wanted.detach().numpy()) <= PARITY


def test_weights_are_copies() -> None:
    module = nn.Linear(3, 2)
    model = ft.from_module(module)
    before = model.state_dict()["0.weight"]
    module.weight.data.zero_()
    assert np.array_equal(model.state_dict()["0.weight"], before)
    twice = nn.Sequential(module, nn.ReLU(), nn.Linear(2, 3), module)
    assert len(ft.from_module(twice)) == 4


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4)


def test_refused() -> None:
    hooked, replaced = nn.Linear(3, 3), nn.Linear(3, 3)
    hooked.register_forward_hook(lambda *args: None)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    module = nn.Sequential(
        nn.LSTM(3, 3),
        Custom(),
        nn.Sequential(hooked, replaced, nn.Softmax()),
        nn.Conv1d(3, 3, 3, padding=1, padding_mode="circular"),
        nn.Embedding(3, 3, max_norm=1.0),
        nn.Linear(3, 3, device="meta"),
        nn.Sequential(nn.GRU(3, 3), nn.Hardshrink()),
    )
    with pytest.raises(UnsupportedModel) as refused:
        ft.from_module(module)
    lines = str(refused.value).splitlines()
    for place, words in [
        ("'0' (LSTM)", "(y, state)"),
        ("'1' (Custom)", "not a layer that fastrnn has"),
        ("'2.0' (Linear)", "hooks"),
        ("'2.1' (Linear)", "forward is replaced"),
        ("'2.2' (Softmax)", "dim=None"),
        ("'3' (Conv1d)", "padding_mode='circular'"),
        ("'4' (Embedding)", "max_norm"),
        ("'5' (Linear)", "on meta"),
        ("'6.0' (GRU)", "(y, state)"),
        ("'6.1' (Hardshrink)", "not a layer"),
        ("expected", "from_module(module, example)"),
    ]:
        assert any(place in line and words in line for line in lines), (place, lines)
    with pytest.raises(UnsupportedModel, match=r"'0' \(Custom\)"):
        ft.from_module(Custom())
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module, got dict"):
        ft.from_module({})


class Classifier(nn.Module):
    """As people write them: embedding, recurrent layer, its last state, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.rnn = nn.LSTM(6, 5, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(self.embed(x))
        return self.head(self.drop(y[:, -1]))


def test_example() -> None:
    module, x = Classifier(), np.random.default_rng(0).integers(0, 20, (2, 7))
    model = ft.from_module(module, torch.from_numpy(x))
    assert module.training
    assert module.drop.training
    assert list(model.state_dict()) == list(module.state_dict())
    wanted = module.eval()(torch.from_numpy(x)).detach().numpy()
    assert error(model(x)[0], wanted) <= PARITY


def test_example_of_an_accelerated_module() -> None:
    module = ft.accelerate(Classifier()).model
    kinds = [type(part) for part in module.modules()]
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 20, (2, 7)))
    model = ft.from_module(module, x)
    assert [type(part) for part in module.modules()] == kinds
    assert error(model(x.numpy())[0], module.eval()(x).detach().numpy()) <= PARITY


class Packing(nn.Module):
    """Packs its sequences; what it makes of the result is up to `end`."""

    def __init__(self, end: str, layer_first: bool = True, **options: Any) -> None:
        super().__init__()
        self.end, self.options = end, options
        self.embed = nn.Embedding(20, 4)
        self.rnn = nn.LSTM(4, 5, batch_first=layer_first, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = pack_padded_sequence(self.embed(x), lengths, batch_first=True, **self.options)
        packed, (h, _) = self.rnn(packed)
        if self.end == "state":
            return self.head(torch.cat([h[-2], h[-1]], 1))
        y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        return self.head(y.mean(1) if self.end == "mean" else y)


TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 20, (3, 7)))


@pytest.mark.parametrize(
    ("end", "layer_first", "ordered"),
    [
        ("state", True, False),
        ("state", False, True),
        ("steps", True, True),
        ("steps", False, False),
    ],
)
def test_a_module_that_packs(end: str, layer_first: bool, ordered: bool) -> None:
    module = Packing(end, layer_first, enforce_sorted=ordered)
    if not ordered:
        ft.accelerate(module)
    lengths = torch.tensor([7, 4, 2] if ordered else [4, 7, 2])
    model = ft.from_module(module, (TOKENS, lengths))
    assert module.training
    assert "forward" not in vars(module)
    assert list(model.state_dict()) == list(module.state_dict())
    for tried in (lengths, torch.where(lengths == 7, 7, 1)):
        wanted = module.eval()(TOKENS, tried).detach().numpy()
        found, _ = model(TOKENS.numpy(), lengths=tried.numpy())
        rows = slice(None) if end == "state" else np.arange(7) < tried.numpy()[:, None]
        assert error(found[rows], wanted[rows]) <= PARITY


def test_packing_that_has_no_counterpart() -> None:
    lengths = torch.tensor([7, 4, 2])
    with pytest.raises(UnsupportedModel, match="with lengths it gives something else"):
        ft.from_module(Packing("mean"), (TOKENS, lengths))
    with pytest.raises(ValueError, match=r"lengths that differ, .*got \[\[7, 7, 7\]\]"):
        ft.from_module(Packing("state"), (TOKENS, torch.tensor([7, 7, 7])))

    class Counting(Packing):
        def forward(self, x: Any, lengths: Any = None) -> Any:
            return super().forward(x, 2 + x[:, 0].argsort(descending=True))

    with pytest.raises(ValueError, match=r"expected the lengths \[.*\] .* among its arguments"):
        ft.from_module(Counting("state", enforce_sorted=False), (TOKENS,))


def test_others_pack_as_ever_meanwhile() -> None:
    module, lengths = Packing("state"), torch.tensor([7, 4, 2])
    kind, codes = (
        type(module.rnn),
        [f.__code__ for f in (pack_padded_sequence, pad_packed_sequence)],
    )
    found = []
    with unpacked(module):
        thread = threading.Thread(
            target=lambda: found.append(pack_padded_sequence(TOKENS.T, lengths))
        )
        thread.start()
        thread.join()
        assert pack_padded_sequence(TOKENS.T, lengths).data.shape == (7, 3)
    wanted = pack_padded_sequence(TOKENS.T, lengths)
    assert torch.equal(found[0].data, wanted.data)
    assert torch.equal(found[0].batch_sizes, wanted.batch_sizes)
    assert [f.__code__ for f in (pack_padded_sequence, pad_packed_sequence)] == codes
    assert type(module.rnn) is kind


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(x).real


def test_example_of_another_kind() -> None:
    with pytest.raises(UnsupportedModel, match="fft"):
        ft.from_module(Doubled(), (torch.ones(2, 3),))
