# SPDX-License-Identifier: MIT
"""`fastrnn convert`: models of every kind of file as .frnn files and as C arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from model_files import sample, written

import fastrnn
from fastrnn.cli import main
from fastrnn.files.frnn_writer import read_model, write_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a whole model and with files of one and of two recurrent layers."""
    monkeypatch.chdir(tmp_path)
    write_model("whole.frnn", sample())
    gru, rnn = fastrnn.GRU(3, 4, seed=1), fastrnn.RNN(2, 3, seed=2)
    np.savez("one.npz", **gru.state_dict())
    arrays = [
        (f"{p}.{n}", w) for p, x in (("a", gru), ("b", rnn)) for n, w in x.state_dict().items()
    ]
    np.savez("two.npz", **dict(arrays))
    return tmp_path


def fails(capsys, *argv: str) -> str:
    assert main(argv) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_whole_model(folder, capsys):
    assert main(["convert", "whole.frnn", "copy.frnn"]) == 0
    assert capsys.readouterr().out == "whole.frnn: Embedding, GRU, Linear: copy.frnn\n"
    assert Path("copy.frnn").read_bytes() == written(sample())


def test_c_array_holds_the_same_bytes(folder, capsys):
    assert main(["convert", "whole.frnn", "model.h", "--c-array", "tagger", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] == "model.h"
    assert facts["layers"][1] == {"name": "rnn", "kind": "GRU"}
    text = Path("model.h").read_text()
    content = written(sample())
    assert f"static const unsigned char tagger[{len(content)}] = {{" in text
    numbers = text.partition("= {")[2].partition("}")[0].split(",")[:-1]
    assert bytes(map(int, numbers)) == content


def test_one_recurrent_layer(folder, capsys):
    assert main(["convert", "one.npz", "a.frnn", "--reset-before", "--batch-first"]) == 0
    (layer,) = read_model("a.frnn").layers
    assert (layer.kind, layer.options["reset_after"], layer.options["batch_first"]) == (
        "GRU",
        False,
        True,
    )
    x = np.ones((2, 5, 3), np.float32)
    options = {"reset_after": False, "batch_first": True}
    wanted, _ = fastrnn.load("one.npz", **options)(x)
    assert fastrnn.load("a.frnn", prefix="rnn")(x)[0].tobytes() == wanted.tobytes()


def test_choice_of_a_layer(folder, capsys):
    assert "choose by --prefix" in fails(capsys, "convert", "two.npz", "a.frnn")
    assert main(["convert", "two.npz", "a.frnn", "--prefix", "b", "--nonlinearity", "relu"]) == 0
    (layer,) = read_model("a.frnn").layers
    assert (layer.name, layer.kind, layer.options["nonlinearity"]) == ("b", "RNN", "relu")


def test_mistakes(folder, capsys):
    assert "expected a C identifier, got '1x'" in fails(
        capsys, "convert", "whole.frnn", "model.h", "--c-array", "1x"
    )
    assert not Path("model.h").exists()
    with pytest.raises(SystemExit):
        main(["convert", "whole.frnn", "./whole.frnn"])
    assert "OUTPUT: expected another file than MODEL" in capsys.readouterr().err
    Path("old.frnn").write_bytes(b"old")
    Path("whole.frnn").write_bytes(b"\x89FRNN")
    assert "damaged" in fails(capsys, "convert", "whole.frnn", "old.frnn")
    assert Path("old.frnn").read_bytes() == b"old"
