# SPDX-License-Identifier: MIT
"""Attention pooling as people write it, in graphs of torch and ONNX: loaded or refused."""

from __future__ import annotations

import numpy as np
import pytest
from limits import IMPORTED, error
from test_readers_residual import saved

import fastrnn
from fastrnn import AttentionPool

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")

# The sum, from y (batch, steps, 6), scores of it and the module.
LOADED = {
    "sum": lambda y, s, m: (torch.softmax(s, 1) * y).sum(1),
    "kept": lambda y, s, m: (y * torch.softmax(s, dim=-2)).sum(1, keepdim=True)[:, 0],
    "squeezed": lambda y, s, m: torch.sum(
        y * torch.softmax(s.squeeze(-1), -1).unsqueeze(-1), dim=1
    ),
    "bmm": lambda y, s, m: torch.bmm(torch.softmax(s, 1).transpose(1, 2), y).squeeze(1),
    "bmm of a row": lambda y, s, m: torch.bmm(
        torch.softmax(s.squeeze(2), 1).unsqueeze(1), y
    ).squeeze(1),
    "bmm from the left": lambda y, s, m: torch.bmm(y.permute(0, 2, 1), torch.softmax(s, 1)).squeeze(
        2
    ),
    "context": lambda y, s, m: (
        torch.softmax(torch.matmul(torch.tanh(m.a(y)), m.context), 1).unsqueeze(-1) * y
    ).sum(1),
    "steps first": lambda y, s, m: (torch.softmax(s.transpose(0, 1), 0) * y.transpose(0, 1)).sum(0),
    "dropped out": lambda y, s, m: (m.drop(torch.softmax(s, 1)) * y).sum(1),
    "bmm of dropped out": lambda y, s, m: (m.drop(torch.softmax(s, 1)).transpose(1, 2) @ y)[:, 0],
    "einsum": lambda y, s, m: torch.einsum(
        "bt,bth->bh",
        torch.softmax(torch.einsum("bth,h->bt", torch.tanh(m.a(y)), m.context), -1),
        y,
    ),
    "einsum of a column": lambda y, s, m: torch.einsum("bth,bto->boh", y, torch.softmax(s, 1))[
        :, 0
    ],
    "einsum, then a sum": lambda y, s, m: torch.einsum(
        "bto, bth -> tbh", torch.softmax(s, 1), y
    ).sum(0),
    "scores of a layer": lambda y, s, m: (torch.softmax(m.scores(y)[0], 1) * y).sum(1),
}
REFUSED = {
    "over the batch": lambda y, s, m: (torch.softmax(s, 0) * y).sum(1),
    "over features": lambda y, s, m: (torch.softmax(y, -1) * y).sum(1),
    "heads": lambda y, s, m: (torch.softmax(m.a(y), 1).transpose(1, 2) @ y)[:, 0],
    "a gate": lambda y, s, m: (torch.sigmoid(s) * y).sum(1),
    "other values": lambda y, s, m: (torch.softmax(s, 1) * m.again(y)).sum(1),
    "in between": lambda y, s, m: (torch.softmax(s, 1) * y).tanh().sum(1),
    "a mean": lambda y, s, m: (torch.softmax(s, 1) * y).mean(1),
    "a trace": lambda y, s, m: torch.einsum("bth,bth->bh", torch.softmax(y, 1), y),
    "a sum beside": lambda y, s, m: torch.einsum("bts,bth->bh", torch.softmax(m.a(y), 1), y),
    "three values": lambda y, s, m: torch.einsum(
        "bto,bth,bo->bh", torch.softmax(s, 1), y, y[:, -1, :1]
    ),
    "scores of the end": lambda y, s, m: (torch.softmax(m.one(m.a(y[:, -1:])), 1) * y).sum(1),
}


class Attention(nn.Module):
    def __init__(self, form) -> None:
        super().__init__()
        self.form = form
        self.rnn = nn.LSTM(4, 3, bidirectional=True, batch_first=True)
        self.a, self.one, self.head = nn.Linear(6, 5), nn.Linear(5, 1, bias=False), nn.Linear(6, 2)
        self.scores, self.again = nn.GRU(6, 1, batch_first=True), nn.Linear(6, 6)
        self.drop = nn.Dropout(0.1)
        self.context = nn.Parameter(torch.randn(5))

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(self.form(y, self.one(torch.tanh(self.a(y))), self))


@pytest.mark.parametrize("form", LOADED)
def test_attention_is_loaded(tmp_path, form):
    torch.manual_seed(1)
    module, x, other = Attention(LOADED[form]).eval(), torch.randn(3, 5, 4), torch.randn(1, 1, 4)
    for at, writer in enumerate(("traced", "exported", "onnx")):
        (tmp_path / writer).mkdir()
        model = fastrnn.load(saved(module, x, writer, tmp_path / writer))
        assert any(isinstance(layer, AttentionPool) for layer in model)
        with torch.no_grad():
            for given in (x, other):
                assert error(model(given.numpy())[0], module(given).numpy()) <= IMPORTED
        if at == 0:
            y, _ = model(x.numpy(), lengths=[5, 2, 3])
            assert error(y[1:2], model(x[1:2, :2].numpy())[0]) <= IMPORTED
            fastrnn.save(model, tmp_path / "again.frnn")
            again = fastrnn.load(tmp_path / "again.frnn")
            assert np.array_equal(again(x.numpy())[0], model(x.numpy())[0])


@pytest.mark.parametrize("form", REFUSED)
def test_other_forms_are_refused(tmp_path, form):
    torch.manual_seed(1)
    module = Attention(REFUSED[form]).eval()
    for writer in ("traced", "onnx"):
        (tmp_path / writer).mkdir()
        with pytest.raises(fastrnn.FormatError, match="taken as a whole"):
            fastrnn.load(saved(module, torch.randn(3, 5, 4), writer, tmp_path / writer))
