# SPDX-License-Identifier: MIT
"""fastrnn.load of files that hold whole models: a Sequential with the outputs of the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn
from fastrnn import cli

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # what torch says of its own older exporters


class Tagger(torch.nn.Module):
    """Scores for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 12)
        self.rnn = torch.nn.LSTM(12, 9, bidirectional=True, batch_first=True)
        self.scores = torch.nn.Linear(18, 5)

    def forward(self, x):
        y, _ = self.rnn(self.words(x))
        return self.scores(y)


class Classifier(torch.nn.Module):
    """The class of a sequence of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(7, 11, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(11)
        self.out = torch.nn.Linear(11, 4)

    def forward(self, x):
        y, _ = self.rnn(x)
        return torch.softmax(self.out(self.norm(y[:, -1])), -1)


def save_script(model: Any, x: Any, path: Path) -> None:
    torch.jit.script(model).save(str(path))


def save_trace(model: Any, x: Any, path: Path) -> None:
    torch.jit.trace(model, x).save(str(path))


def save_frozen(model: Any, x: Any, path: Path) -> None:
    torch.jit.freeze(torch.jit.script(model)).save(str(path))


def save_export(model: Any, x: Any, path: Path) -> None:
    torch.export.save(torch.export.export(model, (x,)), path)


def save_onnx(model: Any, x: Any, path: Path) -> None:
    pytest.importorskip("onnx")
    torch.onnx.export(model, (x,), str(path), dynamo=False)


WRITERS = {
    "m.pt": save_script,
    "traced.pt": save_trace,
    "frozen.pt": save_frozen,
    "m.pt2": save_export,
    "m.onnx": save_onnx,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", [Tagger, Classifier])
def test_whole_models(kind: Any, name: str, isa: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    x = torch.randint(50, (3, 8)) if kind is Tagger else torch.randn(3, 8, 7)
    with torch.no_grad():
        WRITERS[name](model, x, tmp_path / name)
        wanted = model(x).numpy()
    loaded = fastrnn.load(tmp_path / name, isa=isa)
    assert isinstance(loaded, fastrnn.Sequential)
    y, _ = loaded(x.numpy())
    assert error(y, wanted) <= PARITY


def test_a_model_that_is_one_layer_is_that_layer(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.GRU(3, 4, batch_first=True)).save(str(tmp_path / "m.pt"))
    layer = fastrnn.load(tmp_path / "m.pt")
    assert isinstance(layer, fastrnn.GRU)
    assert layer.batch_first


def test_one_layer_of_a_whole_model(tmp_path: Path) -> None:
    model = Tagger()
    save_script(model, None, tmp_path / "m.pt")
    layer = fastrnn.load(tmp_path / "m.pt", "rnn")
    assert isinstance(layer, fastrnn.LSTM)
    assert layer.bidirectional
    assert layer.batch_first


def test_a_model_out_of_reach_says_what_can_be_done(tmp_path: Path) -> None:
    class Odd(Tagger):
        def forward(self, x):
            return torch.cumsum(super().forward(x), 1)

    save_trace(Odd(), torch.zeros(2, 3, dtype=torch.int64), tmp_path / "m.pt")
    with pytest.raises(fastrnn.FormatError, match=r"cumsum(.|\n)*read_state_dict(.|\n)*'rnn'"):
        fastrnn.load(tmp_path / "m.pt")


def test_run_of_a_whole_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Classifier().eval()
    save_script(model, None, tmp_path / "m.pt")
    x = np.random.default_rng(0).standard_normal((2, 6, 7)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    files = [str(tmp_path / name) for name in ("m.pt", "x.npy", "y.npy")]
    assert cli.main(["run", *files[:2], "-o", files[2]]) == 0
    assert "layers" in capsys.readouterr().out
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    assert error(np.load(files[2]), wanted) <= PARITY
    assert cli.main(["run", *files[:2], "-o", files[2], "--state-out", files[2] + "s"]) == 1
    assert "whole model" in capsys.readouterr().err


def test_a_reshape_to_fixed_sizes_is_not_guessed(tmp_path: Path) -> None:
    """(7, 3, 5) as (3, 7, 5) mixes rows and steps, which a trace without sizes does not show."""

    class Regrouped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.GRU(5, 4)

        def forward(self, x):
            return self.rnn(x.reshape(3, 7, 5))[0]

    save_trace(Regrouped().eval(), torch.randn(7, 3, 5), tmp_path / "m.pt")
    with pytest.raises(fastrnn.FormatError, match=r"reshape(.|\n)*fixed size"):
        fastrnn.load(tmp_path / "m.pt")
