# SPDX-License-Identifier: MIT
"""Keras's .h5 files, whole models and weights, as Keras 3 writes them and as Keras 2 did."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from description_runner import run
from hdf5_files import at_random
from keras2_files import DENSE, LSTM, keras2_layer, write
from keras_models import (
    TOKENS,
    floats,
    functional,
    import_keras,
    output,
    save,
    saved_agrees,
    sequential,
)
from limits import IMPORTED, error

import fastrnn
from fastrnn.readers import FormatError, UnsupportedModel, read_file
from fastrnn.readers import describe_file as describe

keras = import_keras()
h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
L = keras.layers
X = floats(2, 7, 3)


def agrees(tmp_path, model, x):
    return saved_agrees(tmp_path / "m.h5", model, x)


# --- as Keras 3 writes them


def test_long_attributes(tmp_path):
    """A config of more than 64 KiB, as of a model of many layers."""
    long = "a_rather_long_name_of_a_layer_" * 8
    layers = [L.Activation("tanh", name=f"{long}{n}") for n in range(150)]
    described = describe(save(sequential(keras, layers), tmp_path / "m.h5"))
    assert [layer.name for layer in described.layers] == [layer.name for layer in layers]


def test_every_kind_of_layer(tmp_path):
    inner = keras.Sequential(
        [L.Dense(4, name="d"), L.Bidirectional(L.GRU(2, return_sequences=True)), L.Dense(3)]
    )
    layers = [
        L.Embedding(10, 4), L.Conv1D(3, 2), inner, L.TimeDistributed(L.Dense(3)),
        L.Bidirectional(L.LSTM(3, return_sequences=True)), L.LayerNormalization(),
        L.RNN([L.LSTMCell(2), L.GRUCell(3, reset_after=False), L.LSTMCell(2)]),
    ]  # fmt: skip
    agrees(tmp_path, sequential(keras, layers, None), TOKENS)


def test_functional(tmp_path):
    def build(x):
        x = L.GRU(3, return_sequences=True)(L.Masking(0.0)(x))
        return L.Dense(2)(L.SimpleRNN(3, return_sequences=True)(x)[:, -1])

    x = X.copy()
    x[0, :3] = x[1, 5] = 0
    agrees(tmp_path, functional(keras, build), x)


def test_frozen_layers(tmp_path):
    """Keras lists the weights of frozen layers of an inner model last."""
    frozen = L.Dense(4)
    frozen.trainable = False
    inner = keras.Sequential([frozen, L.LSTM(3, return_sequences=True), L.Dense(4)])
    agrees(tmp_path, sequential(keras, [inner, L.Dense(2)]), X)


def test_one_layer_of_a_model(tmp_path):
    layers = [L.LSTM(3, return_sequences=True, name="a"), L.GRU(2, activation="relu", name="b")]
    model = sequential(keras, layers)
    path = save(model, tmp_path / "m.h5")
    with pytest.raises(UnsupportedModel, match=r"'b' .GRU.: activation 'relu'[^$]*prefixes: 'a'"):
        fastrnn.load(path)
    y, _ = fastrnn.load(path, prefix="a")(X)
    assert error(y, layers[0](X).detach().numpy()) <= IMPORTED
    with pytest.raises(FormatError, match=r"'b' .GRU.: activation 'relu'"):
        fastrnn.load(path, prefix="b")


# --- as Keras 2 wrote them


@pytest.fixture(scope="module")
def model():
    """A model, and its weights by the names of Keras 2."""
    layers = [L.LSTM(4, return_sequences=True), L.Dense(2, activation="relu")]
    model = sequential(keras, layers)
    kernel, recurrent, bias, dense, dense_bias = (
        variable.value.detach().numpy() for variable in model.weights
    )
    return model, {
        "lstm_1": {"lstm_1/kernel:0": kernel, "lstm_1/recurrent_kernel:0": recurrent,
                   "lstm_1/bias:0": bias},
        "dense_1": {"dense_1/kernel:0": dense, "dense_1/bias:0": dense_bias},
    }  # fmt: skip


def sequential_config(**options):
    layers = [
        keras2_layer("LSTM", "lstm_1", **LSTM | options),
        keras2_layer("Dense", "dense_1", **DENSE),
    ]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


FUNCTIONAL = {
    "name": "f",
    "layers": [
        {"name": "x", "class_name": "InputLayer", "inbound_nodes": [],
         "config": {"name": "x", "batch_input_shape": [None, 7, 3], "sparse": False}},
        keras2_layer("LSTM", "lstm_1", "x", **LSTM),
        keras2_layer("Dense", "dense_1", "lstm_1", **DENSE),
    ],
    "input_layers": [["x", 0, 0]],
    "output_layers": [["dense_1", 0, 0]],
}  # fmt: skip
CONFIGS = {
    "sequential": sequential_config(),
    "before 2.3": {"class_name": "Sequential", "config": sequential_config()["config"]["layers"]},
    "functional": {"class_name": "Functional", "config": FUNCTIONAL},
    "functional before 2.4": {"class_name": "Model", "config": FUNCTIONAL},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_configs_of_keras_2(tmp_path, model, config):
    made, arrays = model
    described = describe(write(tmp_path / "m.h5", arrays, config, "2.2.4"))
    assert error(run(described, X), output(made, X)) <= IMPORTED


def test_last_step_of_keras_2(tmp_path, model):
    made, arrays = model
    everything = {"start": None, "stop": None, "step": None}
    item = keras2_layer("SlicingOpLambda", "item", "dense_1", function="_operator.getitem")
    item["inbound_nodes"] = [["dense_1", 0, 0, {"slice_spec": [everything, -1]}]]
    config = FUNCTIONAL | {"layers": [*FUNCTIONAL["layers"], item],
                           "output_layers": [["item", 0, 0]]}  # fmt: skip
    path = write(tmp_path / "m.h5", arrays, {"class_name": "Functional", "config": config})
    assert error(run(describe(path), X), output(made, X)[:, -1]) <= IMPORTED


@pytest.mark.parametrize("most", [64512, 40], ids=["whole", "in parts"])
def test_weights_of_keras_2(tmp_path, model, most):
    made, arrays = model
    arrays = arrays | {f"layer_without_weights_{n}": {} for n in range(9)}
    path = write(tmp_path / "m.h5", arrays, most=most)
    y, _ = fastrnn.load(path, batch_first=True)(X)
    assert error(y, made.layers[0](X).detach().numpy()) <= IMPORTED
    assert set(fastrnn.read_state_dict(path)) == {
        "lstm_1.weight_ih_l0", "lstm_1.weight_hh_l0", "lstm_1.bias_ih_l0", "lstm_1.bias_hh_l0",
        "dense_1.weight", "dense_1.bias",
    }  # fmt: skip


REFUSED = {
    "hard_sigmoid": ({"recurrent_activation": "hard_sigmoid"}, "'hard_sigmoid', not sigmoid"),
    "time_major": ({"time_major": True}, "time_major is not supported"),
    "unknown": ({"peephole": 1}, "the option 'peephole' is not known"),
}


@pytest.mark.parametrize(("options", "reason"), REFUSED.values(), ids=REFUSED)
def test_options_that_are_refused(tmp_path, model, options, reason):
    path = write(tmp_path / "m.h5", model[1], sequential_config(**options))
    for arguments in ({}, {"prefix": "lstm_1"}, {"batch_first": True}):
        with pytest.raises(FormatError, match=reason):
            fastrnn.load(path, **arguments)


def test_versions(tmp_path, model):
    """Before 2.3 an LSTM had another recurrent_activation, unless the model chose one."""
    _, arrays = model
    for version in ("2.2.4", "2.1.6-tf"):
        path = write(tmp_path / "m.h5", arrays, version=version)
        assert read_file(path).arrays.keys() >= {"lstm_1.weight_ih_l0"}
        with pytest.raises(FormatError, match="does not tell its recurrent_activation"):
            fastrnn.load(path)
    path = write(tmp_path / "m.h5", {"lstm_1": {"lstm_1_W_i": np.eye(3)}}, version="1.2.2")
    with pytest.raises(FormatError, match="a file of Keras 1 is not supported"):
        fastrnn.load(path)


# --- damaged files


def test_random_damage(tmp_path, model):
    path = write(tmp_path / "m.h5", model[1], sequential_config())
    data, rng = path.read_bytes(), np.random.default_rng(0)
    read = 0
    for _ in range(400):
        path.write_bytes(at_random(data, rng))
        with contextlib.suppress(FormatError):
            read += bool(describe(path).layers)
    assert 0 < read < 400


DAMAGE = {
    "no group": (lambda f: f.__delitem__("model_weights/lstm_1"), "'model_weights/lstm_1' is miss"),
    "no array": (lambda f: f.__delitem__("model_weights/lstm_1/lstm_1/bias:0"), "bias:0' is missi"),
    "no json": (lambda f: f.attrs.__setitem__("model_config", b"{"), "model_config is not valid"),
    "other shape": (lambda f: (f.__delitem__("model_weights/dense_1/dense_1/bias:0"),
                               f.__setitem__("model_weights/dense_1/dense_1/bias:0", np.ones(7))),
                    "bias: expected 2 values, got 7"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_models(tmp_path, model, damage, reason):
    path = write(tmp_path / "m.h5", model[1], sequential_config())
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(FormatError, match=reason):
        describe(path)
