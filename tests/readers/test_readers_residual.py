# SPDX-License-Identifier: MIT
"""Sums around layers in graphs of every writer: loaded as `Residual`, or refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import IMPORTED, error

import fastrnn
from fastrnn import Residual

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
nn = torch.nn
FORMS = ("traced", "scripted", "exported", "onnx")
pytestmark = pytest.mark.filterwarnings("ignore")


def saved(module: Any, x: Any, form: str, folder: Path) -> Path:
    path = folder / ("model.pt2" if form == "exported" else "model")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if form == "traced":
            torch.jit.trace(module, x).save(str(path))
        elif form == "scripted":
            torch.jit.script(module).save(str(path))
        elif form == "exported":
            torch.export.save(torch.export.export(module, (x,)), path)
        else:
            axes = {"x": {0: "batch", 1: "steps"}}
            torch.onnx.export(
                module, (x,), str(path), input_names=["x"], dynamic_axes=axes, dynamo=False
            )
    return path


class Block(nn.Module):
    """Around a bidirectional LSTM with a Linear, normalized behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 3, bidirectional=True, batch_first=True)
        self.fc, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(x + self.fc(self.lstm(x)[0]))


class Blocks(nn.Module):
    """Two blocks, around both of them, then around a vector of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.blocks = nn.Linear(4, 6), nn.Sequential(Block(), Block())
        self.ff = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))

    def forward(self, x):
        x = self.first(x)
        y = self.blocks(x) + x
        last = y[:, -1]
        return last + self.ff(last)


class TwoGRUs(nn.Module):
    """ONNX has the layers of a stack as nodes: these two are none."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        y, _ = self.a(x)
        return y + self.b(y)[0]


class State(nn.Module):
    """The sum is left out where the final state goes on; around that there is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.GRU(4, 4), nn.GRU(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = x.transpose(0, 1)
        y, _ = self.a(x)
        _, h = self.b(y + x)
        last = h[-1]
        return torch.tanh(self.fc(last)) + last


class Channels(nn.Module):
    """Around a convolution over time, whose axes are in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(4, 4, 3, padding=1), nn.RNN(4, 4, 2, batch_first=True)

    def forward(self, x):
        x = x + torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.rnn(x)[0] + x


class Differences(nn.Module):
    """x - f(x), f(x) - x, and x + 0.5 f(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        x = x - self.a(x)
        x = torch.tanh(self.b(x)) - x
        return torch.add(x, self.c(x), alpha=0.5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Blocks, TwoGRUs, State, Channels, Differences])
def test_sums_are_loaded(tmp_path, kind, form):
    torch.manual_seed(3)
    module, x, other = kind().eval(), torch.randn(3, 5, 4), torch.randn(1, 1, 4)
    model = fastrnn.load(saved(module, x, form, tmp_path))
    with torch.no_grad():
        for given in (x, other):
            assert error(model(given.numpy())[0], module(given).numpy()) <= IMPORTED
    fastrnn.save(model, tmp_path / "again.frnn")
    again = fastrnn.load(tmp_path / "again.frnn")
    assert list(again.state_dict()) == list(model.state_dict())
    assert np.array_equal(again(x.numpy())[0], model(x.numpy())[0])


def test_names_are_those_of_modules(tmp_path):
    """A module around which there is a sum has its name, and its weights have theirs."""
    module = Blocks().eval()
    model = fastrnn.load(saved(module, torch.randn(3, 5, 4), "exported", tmp_path))
    assert isinstance(model["blocks"], Residual)
    assert isinstance(model["blocks"]["0"], Residual)
    assert isinstance(model["ff"], Residual)
    assert set(model.state_dict()) == set(module.state_dict())


class Refused(nn.Module):
    """Sums that are no layers around which x is added."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.which = which
        self.a, self.b = nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)
        self.one = nn.Linear(4, 1)

    def forward(self, x):
        y = self.a(x)[0]
        if self.which == "overlap":  # from inside of another one
            return self.b(y + x)[0] + y
        if self.which == "two branches":
            return y + self.b(x)[0]
        if self.which == "twice the same layer":
            return self.a(x)[0] + self.b(y)[0]
        if self.which == "broadcast features":
            return x + self.one(y)
        if self.which == "broadcast steps":
            return x + y[:, -1:]
        return x + y.transpose(1, 2).reshape(y.shape)  # mixed axes


@pytest.mark.parametrize("form", ["traced", "onnx"])
@pytest.mark.parametrize(
    "which",
    ["overlap", "two branches", "twice the same layer", "broadcast features", "broadcast steps",
     "mixed axes"],
)  # fmt: skip
def test_other_sums_are_refused(tmp_path, which, form):
    path = saved(Refused(which).eval(), torch.randn(3, 5, 4), form, tmp_path)
    with pytest.raises(fastrnn.FormatError, match=r"branches|different sizes|axes|mixes"):
        fastrnn.load(path)
