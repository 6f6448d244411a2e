# SPDX-License-Identifier: MIT
"""Keras 3 files against Keras itself: outputs, weights, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from keras_models import (
    TOKENS,
    floats,
    functional,
    import_keras,
    output,
    save,
    saved_agrees,
    sequential,
    shuffle,
    weights_of,
)
from limits import IMPORTED, error

import fastrnn
from fastrnn.readers import UnsupportedModel
from fastrnn.readers import describe_file as describe

keras = import_keras()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Keras's, about masks it drops
L = keras.layers
X = floats(2, 7, 3)


def agrees(tmp_path, model, x):
    return saved_agrees(tmp_path / "m.keras", model, x)


def kinds(description):
    return [layer.kind for layer in description.layers]


# --- outputs

CELLS = {
    "lstm": L.LSTM,
    "gru": L.GRU,
    "gru before": lambda units, **o: L.GRU(units, reset_after=False, **o),
    "rnn": L.SimpleRNN,
    "rnn relu": lambda units, **o: L.SimpleRNN(units, activation="relu", **o),
}
OPTIONS = {
    "last": {"use_bias": False, "dropout": 0.2, "recurrent_dropout": 0.2, "unroll": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "return_state": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_recurrent(tmp_path, cell, options):
    agrees(tmp_path, sequential(keras, [cell(5, **options)], steps=7), X)


CHAINS = {
    "cell": [L.RNN(L.LSTMCell(3))],
    "stacked": [L.RNN([L.GRUCell(3), L.LSTMCell(2), L.SimpleRNNCell(4), L.LSTMCell(3)])],
    "backwards": [L.RNN([L.LSTMCell(3), L.LSTMCell(2)], go_backwards=True, return_sequences=True)],
    "two ways": [L.Bidirectional(L.RNN(L.GRUCell(3), return_sequences=True))],
    "decoder": [L.GRU(3), L.RepeatVector(4), L.LSTM(2, return_sequences=True)],
    "reshaped": [L.ZeroPadding1D((2, 1)), L.Permute((2, 1)), L.GRU(6), L.Reshape((2, 3)),
                 L.GRU(4, return_sequences=True), L.Reshape((-1,)), L.Dense(2)],
    "noise": [L.GaussianNoise(0.1), L.GaussianDropout(0.1), L.AlphaDropout(0.1), L.LSTM(2),
              L.ActivityRegularization(0.1)],
}  # fmt: skip


@pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS)
def test_chains(tmp_path, layers):
    agrees(tmp_path, sequential(keras, layers, steps=7), X)


def test_stateful(tmp_path):
    layers = [L.LSTM(3, stateful=True, return_sequences=True), L.GRU(2, stateful=True)]
    model = shuffle(keras.Sequential([L.Input(batch_shape=(2, 7, 3)), *layers]))
    ours = fastrnn.load(save(model, tmp_path / "m.keras"))
    state = None
    for x in (X, X[::-1]):
        y, state = ours(x, state)
        assert error(y, output(model, x)) <= IMPORTED


def test_directions_side_by_side(tmp_path):
    """Without merge_mode Keras returns the y of both directions; here y has both."""
    model = sequential(keras, [L.Bidirectional(L.GRU(3), merge_mode=None)])
    y, _ = fastrnn.load(save(model, tmp_path / "m.keras"))(X)
    ahead, back = (part.detach().numpy() for part in model(X))
    assert error(y, np.concatenate([ahead, back], -1)) <= IMPORTED


MORE_LAYERS = {
    "merged": [L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum"),
               L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode="mul"),
               L.Bidirectional(L.SimpleRNN(2), merge_mode="ave")],
    "channels": [L.BatchNormalization(), L.Conv1D(4, 2), L.MaxPooling1D(2),
                 L.PReLU(shared_axes=[1]), L.MaxPooling1D(3, 1, "same"), L.LSTM(3),
                 L.BatchNormalization(center=False), L.PReLU()],
    "functions": [L.Dense(3, activation=name) for name in
                  ("elu", "gelu", "silu", "softplus", "leaky_relu", "relu6", "hard_tanh",
                   "hard_sigmoid", "hard_silu", "mish", "softsign", "celu")],
    "scales": [L.Rescaling([1.0, -2.0, 3.0], [0.5]), L.Rescaling(0.5, np.array([1.0, 2.0, 3.0])),
               L.Normalization(), L.Normalization(mean=[1e4, 2.0, 0.1], variance=[2.0, 0.0, 0.3]),
               L.Normalization(None, 0.5, 4.0, invert=True),
               L.TimeDistributed(L.Rescaling([1.0, 2.0, 3.0], 0.25))],
    "kept axes": [L.GlobalAveragePooling1D(keepdims=True), L.LSTM(3, return_sequences=True),
                  L.GlobalMaxPooling1D(keepdims=True), L.GRU(2)],
    "means": [L.AveragePooling1D(3, 1, padding="same"), L.AveragePooling1D(2, strides=1),
              L.AveragePooling1D(2), L.GRU(2)],
    "activations": [L.Rescaling(2.0, 0.5), L.LeakyReLU(), L.ELU(0.7), L.ReLU(0.5),
                    L.ReLU(2.0, 0.2), L.Dense(2, activation=L.LeakyReLU(0.1)),
                    L.TimeDistributed(L.ELU())],
}  # fmt: skip


@pytest.mark.parametrize("layers", MORE_LAYERS.values(), ids=MORE_LAYERS)
def test_more_layers(tmp_path, layers):
    agrees(tmp_path, sequential(keras, layers, steps=7), X)


@pytest.mark.parametrize("sequences", [True, False], ids=["sequence", "last"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_bidirectional(tmp_path, cell, sequences):
    layer = L.Bidirectional(cell(4, return_sequences=sequences))
    agrees(tmp_path, sequential(keras, [layer]), X)


def test_bidirectional_with_its_own_backward_layer(tmp_path):
    layer = L.Bidirectional(L.LSTM(4), backward_layer=L.LSTM(4, go_backwards=True))
    agrees(tmp_path, sequential(keras, [layer]), X)


CONVOLUTIONS = {
    "valid": {"padding": "valid"},
    "same": {"padding": "same"},
    "same even": {"padding": "same", "kernel_size": 4},
    "same strided, one tap": {"padding": "same", "kernel_size": 1, "strides": 2},
    "causal": {"padding": "causal"},
    "causal strided": {"padding": "causal", "strides": 2},
    "strided": {"strides": 2},
    "dilated": {"dilation_rate": 2},
    "causal dilated": {"padding": "causal", "dilation_rate": 2},
    "same dilated": {"padding": "same", "dilation_rate": 3, "kernel_size": 2},
    "no bias": {"use_bias": False},
    "relu": {"activation": "relu"},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_conv1d(tmp_path, options):
    agrees(tmp_path, sequential(keras, [L.Conv1D(4, **{"kernel_size": 3} | options)]), X)


def test_conv1d_groups_and_stacks(tmp_path):
    layers = [L.Conv1D(4, 2, groups=2), L.Conv1D(6, 2, groups=2), L.ReLU(), L.LSTM(2)]
    described = agrees(tmp_path, sequential(keras, layers, features=4), floats(2, 7, 4))
    expected = ["Transpose", "Conv1d", "Conv1d", "Transpose", "ReLU", "LSTM", "Last"]
    assert kinds(described) == expected


HEADS = {
    "dense": [L.Dense(4)],
    "dense no bias": [L.Dense(4, use_bias=False)],
    **{f"dense {name}": [L.Dense(4, activation=name)]
       for name in ("relu", "tanh", "sigmoid", "softmax", "log_softmax", "linear")},
    **{f"activation {name}": [L.Activation(name)]
       for name in ("relu", "softmax", "tanh", "linear")},
    "layers": [L.ReLU(), L.Softmax(), L.Dropout(0.3), L.SpatialDropout1D(0.2),
               L.GaussianNoise(0.1)],
    "norm": [L.LayerNormalization()],
    "norm of axis 2": [L.LayerNormalization(axis=2, epsilon=0.1)],
    "norm without scale": [L.LayerNormalization(scale=False)],
    "norm without center": [L.LayerNormalization(center=False)],
    "mean": [L.GlobalAveragePooling1D()],
    "max": [L.GlobalMaxPooling1D()],
    "wrapped": [L.TimeDistributed(L.Dense(4, activation="relu")), L.TimeDistributed(L.Dropout(0.1)),
                L.TimeDistributed(L.LayerNormalization()), L.TimeDistributed(L.Activation("tanh"))],
}  # fmt: skip


@pytest.mark.parametrize("layers", HEADS.values(), ids=HEADS)
def test_other_layers(tmp_path, layers):
    agrees(tmp_path, sequential(keras, [L.GRU(3, return_sequences=True), *layers]), X)


def test_flatten(tmp_path):
    model = keras.Sequential([L.Input((7, 3)), L.Flatten(), L.Dense(2)])
    agrees(tmp_path, shuffle(model), X)


def test_many_of_a_class(tmp_path):
    model = sequential(keras, [L.SimpleRNN(3, return_sequences=True) for _ in range(12)])
    assert len(agrees(tmp_path, model, X).layers) == 12


def test_models_within_models(tmp_path):
    inner = keras.Sequential([L.Dense(4), L.LSTM(3, return_sequences=True)], name="inner")
    model = sequential(keras, [L.Dense(3), inner, L.LSTM(2, name="end"), L.Dense(1)])
    described = agrees(tmp_path, model, X)
    assert [layer.name.split(".")[0] for layer in described.layers[1:3]] == ["inner", "inner"]
    within = functional(keras, lambda x: L.Dense(2)(inner(x)))
    agrees(tmp_path, within, X)


def test_after_training(tmp_path):
    model = sequential(keras, [L.LSTM(3), L.Dropout(0.5), L.Dense(1)])
    model.compile("adam", "mse")
    model.train_on_batch(X, floats(2, 1))
    agrees(tmp_path, model, X)


def test_bfloat16_weights(tmp_path):
    layer = L.Embedding(10, 3, dtype="bfloat16")
    described = describe(save(sequential(keras, [layer], None), tmp_path / "m.keras"))
    table = described.layers[0].arrays["weight"]
    expected = layer.weights[0].value.detach().float().numpy()
    assert table.dtype == np.float32
    assert (table == expected).all()


# --- masks


@pytest.mark.parametrize("wrap", [lambda layer: layer, L.Bidirectional], ids=["one way", "two way"])
def test_mask_of_an_embedding(tmp_path, wrap):
    layers = [
        L.Embedding(10, 4, mask_zero=True), L.Dense(3, activation="tanh"), L.Dropout(0.1),
        wrap(L.GRU(3, return_sequences=True)), L.LayerNormalization(), wrap(L.LSTM(2)), L.Dense(2),
    ]  # fmt: skip
    described = agrees(tmp_path, sequential(keras, layers, None), TOKENS)
    assert kinds(described)[:2] == ["Mask", "Embedding"]


def test_mask_of_features(tmp_path):
    x = floats(3, 6, 3)
    x[0, :2] = x[1, 3:] = x[2, 2] = -1.0
    for value, layer in ((-1.0, L.LSTM(4)), (-1, L.Bidirectional(L.GRU(4)))):
        agrees(tmp_path, sequential(keras, [L.Masking(value), layer]), x)


SEQUENCE = {"return_sequences": True}
MASKED = {
    "repeats": [L.LSTM(3, **SEQUENCE), L.Dense(2)],
    "zeros": [L.GRU(3, **SEQUENCE, zero_output_for_mask=True), L.LayerNormalization()],
    "zero at the end": [L.SimpleRNN(3, zero_output_for_mask=True)],
    "two ways": [L.Bidirectional(L.LSTM(3, **SEQUENCE)), L.Dense(2)],
    "one after another": [L.LSTM(3, **SEQUENCE), L.Dense(3), L.Bidirectional(L.GRU(2, **SEQUENCE)),
                          L.Activation("tanh"), L.LSTM(3, **SEQUENCE), L.Conv1D(2, 2)],
    "backwards": [L.LSTM(3, **SEQUENCE, go_backwards=True), L.Dense(2)],
    "zeros backwards": [L.GRU(3, go_backwards=True, zero_output_for_mask=True), L.Dense(2)],
    "stacked cells": [L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_state=True, **SEQUENCE)],
    "largest": [L.LSTM(3, **SEQUENCE), L.GlobalMaxPooling1D()],
}  # fmt: skip


@pytest.mark.parametrize("layers", MASKED.values(), ids=MASKED)
def test_values_at_masked_steps(tmp_path, layers):
    """Masked steps at the end, at the start and in between have the values that Keras has there."""
    embedding = L.Embedding(10, 4, mask_zero=True)
    agrees(tmp_path, sequential(keras, [embedding, *layers], None), TOKENS)


def test_masked_features_become_zeros(tmp_path):
    x = X.copy()
    x[0, :2] = x[1, 3] = -1.0
    agrees(tmp_path, sequential(keras, [L.Masking(-1.0), L.Dense(3), L.Conv1D(2, 2)]), x)


def test_mask_and_pooling(tmp_path):
    layers = [L.Embedding(10, 4, mask_zero=True), L.GlobalAveragePooling1D(), L.Dense(2)]
    agrees(tmp_path, sequential(keras, layers, None), TOKENS)
    layers = [L.Embedding(10, 4, mask_zero=True), L.GRU(3, go_backwards=True)]
    agrees(tmp_path, sequential(keras, layers, None), TOKENS)


def test_mask_that_nothing_uses(tmp_path):
    layers = [L.Embedding(10, 4, mask_zero=True), L.Conv1D(3, 2), L.LSTM(3)]
    described = agrees(tmp_path, sequential(keras, layers, None), TOKENS)
    assert "Mask" not in kinds(described)
    agrees(tmp_path, sequential(keras, [L.Masking(0.0), L.Conv1D(3, 2)]), X)


# --- functional models


@pytest.mark.parametrize("mask_zero", [False, True])
def test_functional_chain(tmp_path, mask_zero):
    def build(x):
        x = L.Embedding(10, 4, mask_zero=mask_zero)(x)
        x = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
        return L.Dense(2, activation="softmax")(L.GRU(3)(x))

    agrees(tmp_path, functional(keras, build, None), TOKENS)


def test_functional_mask_of_features(tmp_path):
    x = X.copy()
    x[0, 4:] = 0
    agrees(tmp_path, functional(keras, lambda x: L.LSTM(4)(L.Masking()(x))), x)


PARTS_OF_OUTPUTS = {
    "last step": lambda x: L.Dense(2)(L.GRU(3, return_sequences=True)(L.Masking()(x))[:, -1]),
    "first step": lambda x: L.Bidirectional(L.LSTM(3, return_sequences=True))(x)[:, 0, :],
    "state h": lambda x: L.Dense(2)(
        L.LSTM(3, return_state=True, return_sequences=True)(L.Masking()(x))[1]
    ),
    "y and state": lambda x: L.GRU(3, return_state=True)(x),
}


@pytest.mark.parametrize("build", PARTS_OF_OUTPUTS.values(), ids=PARTS_OF_OUTPUTS)
def test_parts_of_outputs(tmp_path, build):
    x = X.copy()
    x[0, 4:] = x[1, 2] = 0
    agrees(tmp_path, functional(keras, build), x)


def test_mask_that_the_user_computes(tmp_path):
    def build(x):
        mask = keras.ops.any(keras.ops.not_equal(x, 5.0), axis=-1)
        return L.LSTM(3, name="s")(L.Masking(0.0)(x), mask=mask)

    with pytest.raises(UnsupportedModel, match=r"'s'.*a mask that no layer before it makes"):
        describe(save(functional(keras, build), tmp_path / "m.keras"))


def overlapping(x):
    a = L.Dense(3)(x)
    b = L.Dense(3)(a)
    return L.Add()([a, L.Add(name="first")([x, b])])


def wide(x, *layers):
    for layer in layers:
        x = layer(x)
    return x


SEQUENCE_OF_3 = {"units": 3, "return_sequences": True}
SUMS = {
    "recurrent": lambda x: L.Dense(2)(L.Add()([x, L.LSTM(**SEQUENCE_OF_3)(x)])),
    "operator": lambda x: L.LSTM(2)(wide(x, L.Dense(3), L.GRU(**SEQUENCE_OF_3)) + x),
    "convolved": lambda x: L.ReLU()(L.Add()([wide(x, L.Conv1D(4, 3, padding="causal"), L.ReLU(),
                                                  L.Conv1D(3, 3, padding="same")), x])),
    "convolved after": lambda x: L.Conv1D(2, 2)(
        L.Add()([wide(x, L.Dense(2), L.Conv1D(3, 1), L.PReLU(shared_axes=[1])), x])
    ),
    "three": lambda x: (lambda y: L.Add()([L.Dense(3)(y), x, y]))(L.Dense(3, "tanh")(x)),
    "one in another": lambda x: L.Add()([x, nested(L.Dense(3)(x))]),
    "one after another": lambda x: nested(L.Dropout(0.1)(nested(x))),
    "of vectors": lambda x: nested(L.GRU(4)(x)),
    "of an inner model": lambda x: nested(inner_sum(x)),
    "twice": lambda x: L.Add()([L.GaussianNoise(0.1)(x), x]),
}  # fmt: skip


def nested(x):
    return L.Add()([x, L.LayerNormalization()(L.Dense(x.shape[-1], "relu")(x))])


def inner_sum(x):
    start = L.Input((None, 3))
    return keras.Model(start, nested(start))(x)


@pytest.mark.parametrize("build", SUMS.values(), ids=SUMS)
def test_sums(tmp_path, build):
    agrees(tmp_path, functional(keras, build), X)


MASKED_SUMS = {
    "recurrent": lambda x: L.LSTM(2)(L.Add()([x, L.LSTM(4, return_sequences=True)(x)])),
    "pooled": lambda x: L.GlobalAveragePooling1D()(
        L.Add()([x, L.Bidirectional(L.GRU(2, return_sequences=True))(x)])
    ),
    "of y": lambda x: nested(L.LSTM(3, return_sequences=True)(x)),
    "of vectors": lambda x: nested(L.GRU(3)(x)),
    "no step": lambda x: L.GRU(2, return_sequences=True)(nested(x)),
    "inside": lambda x: nested(L.Dense(2)(nested(x))),
    "operator": lambda x: L.LSTM(2)(nested(x) + x),
    "forgotten": lambda x: L.Add()([x, L.Conv1D(4, 3, padding="same")(x)]),
}


@pytest.mark.parametrize("build", MASKED_SUMS.values(), ids=MASKED_SUMS)
def test_masked_sums(tmp_path, build):
    """Steps of the sum that Keras masks have its values, where a later layer reads them."""
    model = functional(keras, lambda x: build(L.Embedding(10, 4, mask_zero=True)(x)), None)
    agrees(tmp_path, model, TOKENS)


def test_mask_within_a_sum(tmp_path):
    x = X.copy()
    x[0, 4:] = x[1, 2] = -1
    for last in (lambda y: y, L.LSTM(2)):

        def build(x, last=last):
            return last(L.Add()([x, L.LSTM(**SEQUENCE_OF_3)(L.Masking(-1.0)(x))]))

        agrees(tmp_path, functional(keras, build), x)


UNKNOWN_AT_MASKED_STEPS = {
    "shown": lambda x: L.Add(name="s")([x, L.LSTM(4, return_sequences=True)(x)]),
    "put back": lambda x: L.Add(name="s")([x, L.Conv1D(4, 1)(L.LSTM(4, return_sequences=True)(x))]),
    "operator": lambda x: x + L.LSTM(4, return_sequences=True)(x),
    "backwards": lambda x: L.Add(name="s")(
        [x, L.GRU(4, return_sequences=True, go_backwards=True)(x)]
    ),
}


@pytest.mark.parametrize("build", UNKNOWN_AT_MASKED_STEPS.values(), ids=UNKNOWN_AT_MASKED_STEPS)
def test_refused_masked_sums(tmp_path, build):
    model = functional(keras, lambda x: build(L.Embedding(10, 4, mask_zero=True)(x)), None)
    with pytest.raises(UnsupportedModel, match=r"masked steps of '(s|add\w*)'|'s' \(Add\): a mask"):
        describe(save(model, tmp_path / "m.keras"))


def test_mask_behind_a_model_within_the_model(tmp_path):
    """Keras passes the mask on when it runs, but writes none into the file."""
    inner = keras.Sequential([L.Dense(3)])
    model = functional(keras, lambda x: L.LSTM(2)(inner(L.Masking()(x))))
    with pytest.raises(UnsupportedModel, match=r"'lstm.*called without the mask"):
        describe(save(model, tmp_path / "m.keras"))


GRAPHS = {
    "two branches": (lambda x: L.Add()([L.Dense(3, name="a")(x), L.Dense(3, name="b")(x)]),
                     [r"'b' \(Dense\): it takes the output of 'input_layer"]),
    "other shapes": (lambda x: L.Add()([x, L.Dense(1)(x)]), [r"\(Add\): .*shapes .* and .*1\)"]),
    "other axes": (lambda x: L.Add()([x, L.GRU(3)(x)]), [r"\(Add\): it adds values of the shapes"]),
    "repeated": (lambda x: L.Add()([x, L.GlobalMaxPooling1D(keepdims=True)(x)]),
                 [r"\(Add\): .* and .*1, 3\)"]),
    "overlap": (overlapping, ["'first'.* overlap"]),
    "a number": (lambda x: L.Dense(3)(x) + 1.0, [r"\(Add\): it adds something"]),
    "its state": (lambda x: (lambda y, h: L.Dense(3)(y)[:, -1] + h)(
                      *L.GRU(3, return_sequences=True, return_state=True)(x)),
                  [r"\(Add\): it takes output number 1 of"]),
    "one of two": (lambda x: (lambda a, b: L.Add()([L.Dense(3)(a), a]))(
                       *L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode=None)(x)),
                   ["takes more of 'bi"]),
    "by position": (lambda x: L.GRU(3, name="g")(x, keras.ops.zeros((2, 3))),
                    ["'g'.* more than its input"]),
    "skip": (lambda x: L.Concatenate()([x, L.LSTM(3, return_sequences=True)(x)]), ["Concatenate"]),
    "state c": (lambda x: L.LSTM(3, return_state=True, name="s")(x)[2], ["takes more of 's'"]),
    "first of two": (lambda x: L.Bidirectional(L.GRU(3, return_state=True), name="s")(x)[1],
                     ["takes more of 's'"]),
    "strided": (lambda x: L.GRU(3, return_sequences=True)(x)[:, ::2], ["only one step"]),
    "two outputs": (lambda x: [L.Dense(1, name="a")(x), L.Dense(2)(x)], ["2 outputs"]),
    "initial state": (lambda x: L.GRU(3, name="g")(x, initial_state=keras.ops.zeros((2, 3))),
                      ["'g'.*initial_state"]),
    "operation": (lambda x: keras.ops.abs(L.Dense(3)(x)), ["Absolute"]),
}  # fmt: skip


@pytest.mark.parametrize(("build", "reasons"), GRAPHS.values(), ids=GRAPHS)
def test_graphs_that_are_no_chain(tmp_path, build, reasons):
    path = save(functional(keras, build), tmp_path / "m.keras")
    for reason in reasons:
        with pytest.raises(UnsupportedModel, match=reason):
            describe(path)


def test_shared_layer(tmp_path):
    def build(x):
        layer = L.Dense(3, name="twice")
        return layer(layer(x))

    with pytest.raises(UnsupportedModel, match=r"'twice' \(Dense\): it is called 2 times"):
        describe(save(functional(keras, build), tmp_path / "m.keras"))


# --- refusals

REFUSED = {
    "activation": (L.LSTM(3, activation="relu"), "activation 'relu', not tanh"),
    "gate": (L.GRU(3, recurrent_activation="hard_sigmoid"), "'hard_sigmoid', not sigmoid"),
    "rnn": (L.SimpleRNN(3, activation="elu"), "'elu', not tanh or relu"),
    "two way": (L.Bidirectional(L.LSTM(3), backward_layer=L.GRU(3, go_backwards=True)),
                "directions differ"),
    "dense": (L.Dense(3, activation="selu"), "activation 'selu'"),
    "threshold": (L.ReLU(threshold=0.1), "threshold"),
    "windows": (L.MaxPooling1D(2, padding="same"), "depends on the number of steps"),
    "scales": (L.Rescaling([[1.0, 2.0, 3.0]]), "is not a number or a list of numbers"),
    "reshape": (L.Reshape((3, -1)), "target_shape"),
    "softmax": (L.Softmax(axis=1), "axis"),
    "rms": (L.RMSNormalization(), "not supported"),
    "conv": (L.Conv1D(3, 3, padding="same", strides=2), "depends on the number of steps"),
    "channels": (L.Conv1D(3, 3, data_format="channels_last"), None),
    "cells": (L.Bidirectional(L.RNN([L.LSTMCell(3), L.LSTMCell(3)])), "stacked cells of two"),
    "wrapped": (L.TimeDistributed(L.Dense(2, activation="squareplus")), "'squareplus'"),
}  # fmt: skip


@pytest.mark.parametrize(("layer", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_options(tmp_path, layer, reason):
    path = save(sequential(keras, [layer]), tmp_path / "m.keras")
    if reason is None:
        assert describe(path).layers
        return
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        describe(path)
    assert repr(layer.name) in str(caught.value)
    assert "read_state_dict" in str(caught.value)


def test_every_obstacle_is_listed(tmp_path):
    layers = [
        L.LSTM(3, activation="relu", recurrent_activation="elu", return_sequences=True, name="one"),
        L.UpSampling1D(name="two"),
        L.Dense(2),
        L.UpSampling1D(name="three"),
    ]
    with pytest.raises(UnsupportedModel) as caught:
        describe(save(sequential(keras, layers), tmp_path / "m.keras"))
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["'one'", "'two'", "'three'"]
    assert "'relu'" in lines[1]
    assert "'elu'" in lines[1]


def test_masks_that_cannot_be_mapped(tmp_path):
    start = [L.Embedding(10, 4, mask_zero=True), L.LSTM(3, return_sequences=True)]
    backwards = L.GRU(3, return_sequences=True, go_backwards=True)
    for layers in ([L.Softmax()], [backwards, L.LSTM(2)]):
        with pytest.raises(UnsupportedModel, match=f"'{layers[-1].name}'"):
            describe(save(sequential(keras, [*start, *layers], None), tmp_path / "m.keras"))


def test_norm_of_another_axis(tmp_path):
    for layer in (L.LayerNormalization(axis=1), L.Normalization((1, 2), 0.0, 1.0)):
        model = keras.Sequential([L.Input((7, 3)), layer])
        with pytest.raises(UnsupportedModel, match="axis"):
            describe(save(model, tmp_path / "m.keras"))


@keras.saving.register_keras_serializable("test")
class Own(L.Layer):
    def call(self, x):
        return x


@keras.saving.register_keras_serializable("test")
class OwnModel(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.encoder = L.GRU(3)

    def call(self, x):
        return self.encoder(x)


@keras.saving.register_keras_serializable("test")
class LSTM(L.LSTM):
    """Another layer under the name of one that is known."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return 2 * super().call(sequences, initial_state, mask, training)


def test_classes_of_the_user(tmp_path):
    with pytest.raises(UnsupportedModel, match="test>LSTM"):
        describe(save(sequential(keras, [LSTM(3)]), tmp_path / "m.keras"))
    with pytest.raises(UnsupportedModel, match=r"Own.*not supported"):
        describe(save(sequential(keras, [Own()]), tmp_path / "m.keras"))
    model = OwnModel()
    model(X)
    path = save(shuffle(model), tmp_path / "m.keras")
    with pytest.raises(UnsupportedModel, match="subclass of Model"):
        describe(path)
    arrays, known = weights_of(path)
    ((prefix, options),) = known.items()
    assert options["cell"] == "GRU"
    check_stack(arrays, prefix, options, output(model, X))


# --- weights alone


def check_stack(arrays, prefix, options, expected, x=X):
    """Run the layer of the package with the weights of a file."""
    kind = getattr(fastrnn, options["cell"])
    keys = ("input_size", "hidden_size", "bias", "bidirectional", "batch_first", "reset_after")
    layer = kind(**{key: options[key] for key in keys if key in options})
    layer.load_state_dict(arrays, prefix)
    y, _ = layer(x)
    assert error(y if expected.ndim == 3 else y[:, -1], expected) <= IMPORTED


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("cell", [L.LSTM, L.GRU, CELLS["gru before"], L.SimpleRNN])
def test_weights_of_layers(tmp_path, cell, suffix):
    one_way = cell(4, name="enc", return_sequences=True)
    two_way = L.Bidirectional(cell(4, return_sequences=True), name="enc")
    for layer in (one_way, two_way):
        model = sequential(keras, [layer])
        arrays, known = weights_of(save(model, tmp_path / f"m{suffix}"))
        assert list(known) == ["enc"]
        check_stack(arrays, "enc", known["enc"], output(model, X))


def test_names_of_weights(tmp_path):
    inner = keras.Sequential([L.Dense(4, name="d")], name="inner")
    layers = [
        L.Embedding(10, 3, name="e"), inner, L.Conv1D(2, 3, name="c"),
        L.LayerNormalization(name="n"), L.BatchNormalization(name="b"), L.LSTM(2, name="r"),
        L.Dense(5, use_bias=False, name="o"),
    ]  # fmt: skip
    model = sequential(keras, layers, None)
    model.compile("adam", "mse")
    arrays, _ = weights_of(save(model, tmp_path / "m.weights.h5"))
    shapes = {name: array.shape for name, array in arrays.items()}
    recurrent = {
        "r.weight_ih_l0": (8, 2),
        "r.weight_hh_l0": (8, 2),
        "r.bias_ih_l0": (8,),
        "r.bias_hh_l0": (8,),
    }
    assert shapes == {
        "e.weight": (10, 3), "inner.d.weight": (4, 3), "inner.d.bias": (4,), "c.weight": (2, 4, 3),
        "c.bias": (2,), "n.weight": (2,), "n.bias": (2,), "o.weight": (5, 2), **recurrent,
        **{f"b.vars.{k}": (2,) for k in range(4)},
    }  # fmt: skip
