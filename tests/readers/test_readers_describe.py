# SPDX-License-Identifier: MIT
"""The one entry to whole models: every kind of file finds its importer or a precise refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from description_runner import run
from limits import IMPORTED, error

import fastrnn
from fastrnn.readers import FormatError, UnsupportedModel, describe_file, read_file


class Sample:
    """A small model with one recurrent layer, and the file of it in each format."""

    def __init__(self, folder: Path):
        import torch

        torch.manual_seed(0)
        self.torch, self.folder = torch, folder
        self.module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).eval()
        self.x = torch.randn(2, 5, 3)
        self.y = self.module(self.x).detach().numpy()

    def write(self, kind: str) -> Path:
        torch, path = self.torch, self.folder / "m"
        state = self.module.state_dict()
        arrays = {name: value.numpy() for name, value in state.items()}
        if kind == "torch export":
            torch.export.save(torch.export.export(self.module, (self.x,)), path)
        elif kind == "torchscript":
            torch.jit.trace(self.module, self.x).save(str(path))
        elif kind == "onnx":
            torch.onnx.export(self.module, (self.x,), str(path), dynamo=False)
        elif kind == "torch zip":
            torch.save(state, path)
        elif kind == "torch legacy":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        elif kind == "safetensors":
            from safetensors.numpy import save_file

            save_file(arrays, path)
        else:
            with open(path, "wb") as file:
                np.savez(file, **arrays)
        return path


@pytest.fixture
def sample(tmp_path):
    pytest.importorskip("torch")
    return Sample(tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["torch export", "torchscript", "onnx"])
def test_whole_models(sample, kind):
    path = sample.write(kind)
    described = describe_file(path)
    assert described.format == read_file(path).format == kind
    assert [layer.kind for layer in described.layers] == ["Linear", "Tanh"]
    assert error(run(described, sample.x.numpy()), sample.y) <= IMPORTED


@pytest.mark.parametrize("kind", ["torch zip", "torch legacy", "safetensors", "npz"])
def test_weights_alone(sample, kind):
    path = sample.write(kind)
    assert read_file(path).format == kind
    with pytest.raises(FormatError, match=rf"m: the file \({kind}\) holds only weights") as caught:
        describe_file(path)
    assert "fastrnn.read_state_dict(path)" in str(caught.value)
    assert not isinstance(caught.value, UnsupportedModel)


@pytest.fixture
def keras():
    from keras_models import import_keras

    return import_keras()


@pytest.mark.filterwarnings("ignore")
def test_keras(keras, tmp_path):
    from keras_models import floats, output, save, sequential

    layers = [keras.layers.SimpleRNN(4, name="rnn", return_sequences=True), keras.layers.Dense(2)]
    model, x = sequential(keras, layers), floats(2, 5, 3)
    path = save(model, tmp_path / "m.keras")
    described = describe_file(path)
    assert described.format == read_file(path).format == "keras"
    assert error(run(described, x), output(model, x)) <= IMPORTED
    weights = save(model, tmp_path / "m.weights.h5")
    assert read_file(weights).format == "keras h5"
    with pytest.raises(FormatError, match="holds only weights"):
        describe_file(weights)
    with pytest.raises(FormatError, match="does not tell the nonlinearity of the RNN 'rnn'"):
        fastrnn.load(weights, "rnn")
    for file in (path, weights):
        layer = fastrnn.load(file, nonlinearity="tanh")
        assert repr(layer) == "RNN(3, 4, batch_first=True)"
        wanted = run(type(described)("keras", described.layers[:1]), x)
        assert error(layer(x)[0], wanted) <= IMPORTED


NAM = {
    "architecture": "LSTM",
    "config": {"input_size": 1, "hidden_size": 2, "num_layers": 1},
    "weights": [k / 50 for k in range(8 * 3 + 8 + 4 + 3)],
}


def test_json(tmp_path):
    path = tmp_path / "m.nam"
    path.write_text(json.dumps(NAM))
    assert describe_file(path).format == "nam"
    found = read_file(path)
    assert found.format == "json"
    assert found.arrays["lstm.weight_ih_l0"].shape == (8, 1)
    assert repr(fastrnn.load(path, "lstm")) == "LSTM(1, 2, batch_first=True)"
    path.write_text(json.dumps(NAM | {"architecture": "WaveNet"}))
    for reader in (describe_file, read_file):
        with pytest.raises(UnsupportedModel, match="WaveNet"):
            reader(path)


@pytest.mark.filterwarnings("ignore")
def test_key(sample):
    path = sample.write("torch export")
    assert len(describe_file(path, key="model").layers) == 2
    with pytest.raises(FormatError, match=r"choose one of the models 'model' with .*'other'"):
        describe_file(path, key="other")
    path = sample.write("torchscript")
    with pytest.raises(FormatError, match=r"key='other': a file of this kind \(torchscript\)"):
        describe_file(path, key="other")


def test_arguments(tmp_path):
    with pytest.raises(TypeError, match="path: expected str"):
        describe_file(3)
    with pytest.raises(TypeError, match="key: expected str or None, got int"):
        describe_file("m", key=3)
    with pytest.raises(FileNotFoundError):
        describe_file(tmp_path / "missing")
    (tmp_path / "m").write_bytes(b"hello, world")
    with pytest.raises(FormatError, match="m: not a model file of a known kind"):
        describe_file(tmp_path / "m")
