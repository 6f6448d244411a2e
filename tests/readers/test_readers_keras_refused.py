# SPDX-License-Identifier: MIT
"""Models of Keras whose config or weights say something that is refused, with the reason."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("h5py")

from keras2_files import DENSE, LSTM, keras2_layer, write

import fastrnn
from fastrnn.readers import FormatError
from fastrnn.readers import describe_file as describe

INPUT = ("InputLayer", {"batch_input_shape": [None, 7, 3]})
NORM = {"axis": [2], "epsilon": 0.1, "center": True, "scale": True}
GIVEN = {"axis": [-1], "mean": None, "variance": None}
CELL = {"class_name": "LSTM", "config": LSTM}
BACK = {"class_name": "LSTM", "config": LSTM | {"go_backwards": True}}
TWO_WAYS = {"layer": CELL, "backward_layer": BACK, "merge_mode": "sum"}
KERNELS = {"kernel:0": np.ones((3, 16)), "recurrent_kernel:0": np.ones((4, 16))}
ITEM = {"function": "_operator.getitem"}


def arrays(*shapes):
    return {f"w{n}:0": np.ones(shape) for n, shape in enumerate(shapes)}


def cells(*items):
    return {"cell": {"class_name": "StackedRNNCells", "config": {"cells": list(items)}}}


# The class and the options of the last layer, its arrays, and why it is refused.
LAYERS = {
    "batch norm": ("BatchNormalization", NORM, arrays(3, 3, 3, 2), "its arrays differ in length"),
    "layer norm": ("LayerNormalization", NORM, arrays(3, 2), "gamma and beta differ in length"),
    "norm without arrays": ("LayerNormalization", NORM, {}, "its size is not in the file"),
    "norm of three": ("LayerNormalization", NORM, arrays(3, 3, 3), "holds 3 arrays"),
    "epsilon": ("LayerNormalization", NORM | {"epsilon": -1.0}, arrays(3, 3), "epsilon -1.0"),
    "normalization": ("Normalization", GIVEN, arrays(3), "holds 1 arrays"),
    "matrix": ("Normalization", GIVEN, arrays((2, 3), (2, 3)), "one number, or one for each fea"),
    "variance": ("Normalization", GIVEN | {"mean": 0, "variance": -1}, {}, "variance is less th"),
    "features": ("Rescaling", {"scale": [1, 2], "offset": 0}, {}, "for 2 features, not for 3"),
    "two slopes": ("PReLU", {"shared_axes": None}, arrays(3, 3), "holds 2 arrays"),
    "slopes of steps": ("PReLU", {"shared_axes": None}, arrays((7, 3)), "a slope for each step"),
    "mask value": ("Masking", {"mask_value": "x"}, {}, "its mask_value is not a number"),
    "windows": ("MaxPooling1D", {"pool_size": 2, "padding": "x"}, {}, "padding 'x'"),
    "zeros": ("ZeroPadding1D", {"padding": -1}, {}, "padding '-1'"),
    "axes": ("Permute", {"dims": [1, 2]}, {}, "not supported"),
    "function": ("SlicingOpLambda", {"function": "abs"}, {}, "the function 'abs'"),
    "slice": ("SlicingOpLambda", ITEM, {}, "only one step"),
    "slope": ("LeakyReLU", {"alpha": "x"}, {}, "alpha 'x' is not a number"),
    "rate": ("Dropout", {"rate": 2}, {}, "rate '2'"),
    "integers": ("Dense", DENSE, {"k:0": np.ones((3, 2), int)}, "elements of type int64"),
    "kernels": ("LSTM", LSTM, {"kernel:0": np.ones((3, 7)), "recurrent_kernel:0": np.ones((2, 7))},
                "expected kernels of an LSTM"),
    "bias": ("LSTM", LSTM, KERNELS | {"bias:0": np.ones(5)}, "bias: expected 16 columns"),
    "directions": ("Bidirectional", TWO_WAYS, {
        **{f"forward_lstm/{name}": array for name, array in KERNELS.items()},
        **{f"backward_lstm/{name}": array for name, array in KERNELS.items()},
        "backward_lstm/bias:0": np.ones(16)}, "the two directions differ"),
    "wrapped": ("TimeDistributed", {"layer": CELL}, {}, "it wraps a layer of class 'LSTM'"),
    "no cells": ("RNN", cells(), {}, "its cells are not a list"),
    "cell": ("RNN", cells({"class_name": "Own", "config": {}}), {}, "a cell of class 'Own'"),
    "no effect": ("Activation", {"activation": "linear"}, {}, "no layers that compute anything"),
}  # fmt: skip


def saved(tmp_path, layers, own=None, version="2.15.0", kind="Sequential", **more):
    """A file with these layers, which are dicts, and with arrays of that named last."""
    placed = {f"last/{name}": array for name, array in (own or {}).items()}
    config = {"class_name": kind, "config": {"name": "m", "layers": layers, **more}}
    return write(tmp_path / "m.h5", {"last": placed}, config, version)


@pytest.mark.parametrize(("kind", "options", "own", "why"), LAYERS.values(), ids=LAYERS)
def test_refused_layers(tmp_path, kind, options, own, why):
    layers = [keras2_layer(INPUT[0], "first", **INPUT[1]), keras2_layer(kind, "last", **options)]
    with pytest.raises(FormatError, match=why):
        describe(saved(tmp_path, layers, own))


def test_axes_that_are_not_known(tmp_path):
    pool = keras2_layer("MaxPooling1D", "last", pool_size=2, padding="valid")
    with pytest.raises(FormatError, match="the axes of its input are not known"):
        describe(saved(tmp_path, [pool]))


def test_names_and_numbers_of_layers(tmp_path):
    relu = keras2_layer("ReLU", "same")
    with pytest.raises(FormatError, match="layer 'same' occurs twice"):
        describe(saved(tmp_path, [relu, relu]))
    with pytest.raises(FormatError, match="more than 10000 layers"):
        describe(saved(tmp_path, [relu] * 10_001))
    model = {"class_name": "Sequential", "config": {"name": "inner", "layers": [relu]}}
    for _ in range(9):
        model = {"class_name": "Sequential", "config": {"name": "inner", "layers": [model]}}
    with pytest.raises(FormatError, match="nested more than 8 deep"):
        describe(saved(tmp_path, [model]))


def test_directions_of_one_layer(tmp_path):
    """A layer with a merge_mode is no layer of fastrnn by itself; old masks had other values."""
    own = {f"{way}_lstm/{n}": a for way in ("forward", "backward") for n, a in KERNELS.items()}
    for way in ("forward", "backward"):
        own[f"{way}_lstm/bias:0"] = np.ones(16)
    layers = [
        keras2_layer(INPUT[0], "first", **INPUT[1]),
        keras2_layer("Masking", "mask", mask_value=0.0),
        keras2_layer("Bidirectional", "last", **TWO_WAYS),
    ]
    with pytest.raises(FormatError, match="another meaning in this version"):
        describe(saved(tmp_path, layers, own, "2.3.0"))
    path = saved(tmp_path, layers, own)
    assert describe(path).layers[-1].kind == "MergeDirections"
    with pytest.raises(FormatError, match="merge_mode 'sum': by itself it would not be"):
        fastrnn.load(path, prefix="last")


def tensor(*history):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": list(history)}}


def inner(**more):
    """A model within the model, called on x."""
    layers = [keras2_layer("InputLayer", "a"), keras2_layer("ReLU", "b", "a")]
    ends = {"input_layers": [["a", 0, 0]], "output_layers": [["b", 0, 0]], **more}
    config = {"name": "y", "layers": layers, **ends}
    return {"name": "y", "class_name": "Functional", "config": config}


# What is other in a functional model of an input x and a layer y, and why it is refused.
GRAPHS = {
    "nodes": ({"inbound_nodes": "x"}, "the inbound_nodes of 'y' are not a list"),
    "arguments": ({"inbound_nodes": [{"args": 1}]}, "a call has no args or kwargs"),
    "entry": ({"inbound_nodes": [[["x", 0]]]}, "a call is not a list of layer"),
    "number": ({"inbound_nodes": [[["x", 0, "0", {}]]]}, "a call has no layer, output or keywords"),
    "history": ({"inbound_nodes": [{"args": [tensor("x", 0)]}]}, "several inputs, or none"),
    "index": ({"inbound_nodes": [{"args": [tensor("x", 0, "0")]}]}, "several inputs, or none"),
    "extra": ({"inbound_nodes": [{"args": [tensor("x", 0, 0), 1]}]}, "more than its input"),
    "inner extra": (inner() | {"inbound_nodes": [{"args": [tensor("x", 0, 0), 1]}]},
                    "'y' .Functional.: it is called with more than its input"),
    "inner takes": (inner() | {"inbound_nodes": [[["x", 0, 1, {}]]]}, "takes output number 1"),
    "inner returns": (inner(output_layers=[["b", 0, 1]]), "not the first output of its last layer"),
}  # fmt: skip
ENDS = {
    "output": ({"output_layers": [["y", 0, "0"]]}, "the number of an output is not an integer"),
    "outputs": ({"output_layers": 5}, "the inputs or outputs of a model are not a list"),
    "not the last": ({"output_layers": [["x", 0, 0]]}, "output of the model is not the last layer"),
}


@pytest.mark.parametrize(("change", "why"), GRAPHS.values(), ids=GRAPHS)
def test_refused_calls(tmp_path, change, why):
    layers = [keras2_layer("InputLayer", "x"), keras2_layer("ReLU", "y", "x") | change]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]}
    with pytest.raises(FormatError, match=why):
        describe(saved(tmp_path, layers, kind="Functional", **ends))


@pytest.mark.parametrize(("change", "why"), ENDS.values(), ids=ENDS)
def test_refused_ends(tmp_path, change, why):
    layers = [keras2_layer("InputLayer", "x"), keras2_layer("ReLU", "y", "x")]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]} | change
    with pytest.raises(FormatError, match=why):
        describe(saved(tmp_path, layers, kind="Functional", **ends))


def test_input_that_is_called(tmp_path):
    layers = [keras2_layer("InputLayer", "x", "y"), keras2_layer("ReLU", "y", "x")]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]}
    with pytest.raises(FormatError, match="the first layer of a graph is not its input"):
        describe(saved(tmp_path, layers, kind="Functional", **ends))


def test_sums_of_keras_2(tmp_path):
    """Keras 2 passes the mask of one value on, Keras 3 none."""
    x, ends = keras2_layer("InputLayer", "x"), {"input_layers": [["x", 0, 0]]}
    ends["output_layers"] = [["sum", 0, 0]]
    add = keras2_layer("Add", "sum", "y")
    add["inbound_nodes"] = [[["x", 0, 0, {}], ["y", 0, 0, {}]]]
    path = saved(tmp_path, [x, keras2_layer("ReLU", "y", "x"), add], kind="Functional", **ends)
    assert [layer.name for layer in describe(path).layers] == ["sum", "sum.y"]
    assert fastrnn.load(path)(np.float32([[[-1.0, 2.0, 3.0]]]))[0].tolist() == [[[-1.0, 4.0, 6.0]]]
    masking = keras2_layer("Masking", "y", "x", mask_value=0.0)
    with pytest.raises(FormatError, match="a value with a mask to one without"):
        describe(saved(tmp_path, [x, masking, add], kind="Functional", **ends))
