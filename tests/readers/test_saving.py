# SPDX-License-Identifier: MIT
"""`fastrnn.save` and back by `fastrnn.load`: the same model, to the bit."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

import fastrnn
from fastrnn.files.frnn_writer import read_model


def test_sequential_round_trip(tmp_path):
    model = fastrnn.Sequential(
        {
            "embedding": fastrnn.Embedding(9, 4, padding_idx=0, seed=1),
            "encoder": fastrnn.Sequential(
                {
                    "rnn": fastrnn.LSTM(4, 5, bidirectional=True, batch_first=True, seed=2),
                    "norm": fastrnn.LayerNorm(10),
                }
            ),
            "pool": fastrnn.Pool("max", batch_first=True),
            "head": fastrnn.Linear(10, 3, seed=3),
        }
    )
    fastrnn.save(model, tmp_path / "model.frnn")
    names = [layer.name for layer in read_model(tmp_path / "model.frnn").layers]
    assert names == ["embedding", "encoder.rnn", "encoder.norm", "pool", "head"]
    loaded = fastrnn.load(tmp_path / "model.frnn")
    assert isinstance(loaded, fastrnn.Sequential)
    x = np.random.default_rng(0).integers(0, 9, (3, 7))
    for lengths in (None, [7, 2, 5]):
        assert loaded(x, lengths=lengths)[0].tobytes() == model(x, lengths=lengths)[0].tobytes()
    found, wanted = loaded.state_dict(), model.state_dict()
    assert list(found) == list(wanted)
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_initial_states_are_kept(tmp_path):
    model = fastrnn.Sequential(
        {"rnn": fastrnn.GRU(2, 3, seed=1), "out": fastrnn.Linear(3, 1, seed=2)}
    )
    model.initial_state = {"rnn": np.full((1, 3), 0.5, np.float32)}
    fastrnn.save(model, tmp_path / "model.frnn")
    loaded = fastrnn.load(tmp_path / "model.frnn")
    x = np.ones((4, 2, 2), np.float32)
    assert loaded(x)[0].tobytes() == model(x)[0].tobytes()


@pytest.mark.parametrize(
    "layer",
    [
        fastrnn.LSTM(3, 4, 2, proj_size=2, dropout=0.5, seed=1),
        fastrnn.GRU(3, 4, reset_after=False, bias=False, batch_first=True, seed=1),
        fastrnn.RNN(3, 4, nonlinearity="relu", bidirectional=True, seed=1),
    ],
    ids=repr,
)
def test_one_layer_stays_one(tmp_path, layer):
    fastrnn.save(layer, tmp_path / "layer.frnn")
    loaded = fastrnn.load(tmp_path / "layer.frnn")
    assert repr(loaded) == repr(layer)
    x = np.ones((5, 2, 3), np.float32)
    assert loaded(x)[0].tobytes() == layer(x)[0].tobytes()
    assert repr(fastrnn.load(tmp_path / "layer.frnn", prefix="rnn")) == repr(layer)


def test_what_is_not_a_model():
    with pytest.raises(
        TypeError, match=r"model: expected a fastrnn\.Sequential or a layer, got dict"
    ):
        fastrnn.save({}, BytesIO())
