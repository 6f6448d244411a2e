# SPDX-License-Identifier: MIT
"""Single ONNX nodes: forms that few writers use, read as ONNX Runtime runs them, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import agrees, draw, ints, kinds, model, save, tensor, value, weights  # noqa: E402

from fastrnn.readers import UnsupportedModel, describe_file  # noqa: E402

INPUTS, HIDDEN = 3, 4


def op(kind, inputs, outputs="out", **attributes):
    return helper.make_node(kind, inputs.split(" "), outputs.split(), **attributes)


def gru(data="x", outputs="Y", prefix="", more="", **attributes):
    """A GRU; `more` are its sequence_lens and initial_h."""
    names = " ".join(prefix + letter for letter in "WRB")
    return op("GRU", f"{data} {names} {more}".strip(), outputs, hidden_size=HIDDEN, **attributes)


def pair(axis=2, **second):
    """A forward layer and another one, joined."""
    return [
        gru(), gru(outputs="Z", direction="reverse", **second),
        op("Squeeze", "Y one", "y"), op("Squeeze", "Z one", "z"), op("Concat", "y z", axis=axis),
    ]  # fmt: skip


ARRAYS = [
    *(tensor(array, name) for name, array in weights("GRU", INPUTS, HIDDEN).items()),
    *(tensor(array, f"b{name}") for name, array in weights("GRU", HIDDEN, HIDDEN).items()),
    ints("zero", 0), ints("one", 1), ints("two", 2), ints("both", 0, 1), ints("minus", -1),
    ints("third", 2), ints("ends", 0, 2), ints("shape", 0, -1), ints("endless", (1 << 63) - 1),
    ints("four", 0, 0, 0, 0), ints("sizes", 1, 1, 2), ints("row", 1, 1, 1),
    tensor(np.float32(0.5), "half"), tensor(draw([INPUTS, 2], 3), "M"), tensor(draw([2], 4), "b"),
    tensor(draw([INPUTS], 5), "v"), tensor(np.zeros((1, 1, 1), np.float32), "empty"),
    tensor(np.array([0, 1]), "index"), tensor(np.float32([0, 1]), "floats"),
    *(tensor(array, f"c{name}") for name, array in weights("GRU", INPUTS, HIDDEN, 2).items()),
    tensor(draw([HIDDEN, 1], 3), "column"), tensor(np.array(-1), "last"), ints("wide", 100_000, 3),
    tensor(np.array(0), "first"), tensor(np.array(1), "second"), ints("begin", 1 - (1 << 63)),
    tensor(np.array(1 << 61), "big"), tensor(np.complex64([1j]), "complex"),
]  # fmt: skip


def made(nodes, shape=(None, None, INPUTS), opset=17, inputs=(), outputs=("out",)):
    return model(nodes, [value("x", shape), *inputs], list(outputs), ARRAYS, opset)


READ = {
    "a constant number": ([op("Constant", "", "c", value_float=0.5), op("Mul", "x c")], "Scale"),
    "constant numbers": ([op("Constant", "", "c", value_floats=[0.5]), op("Mul", "x c")], "Scale"),
    "a constant index": (
        [op("Constant", "", "c", value_int=-1), op("Gather", "x c", axis=0)],
        "Last",
    ),
    "constant sizes": (
        [op("Constant", "", "c", value_ints=[0, 0, 1, -1]), op("Reshape", "x c")],
        "Unsqueeze",
    ),
    "one term": ([op("Sum", "x", "s"), op("Tanh", "s")], "Tanh"),
    "a flat matrix": (
        [gru(), op("Squeeze", "Y one", "y"), op("Transpose", "y", "t", perm=[1, 0, 2]),
         op("Flatten", "t", axis=3)],
        "GRU Transpose Flatten Unsqueeze",
    ),
    "both directions": (pair(), "GRU"),
    "one direction summed": ([gru(), op("ReduceSum", "Y one", keepdims=0)], "GRU"),
    "repeated zeros": (
        [op("Tile", "empty row", "h"), gru(), op("Squeeze", "Y one")], "GRU",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_values(tmp_path, name):
    nodes, wanted = READ[name]
    for node in nodes:
        if not node.input[0]:
            del node.input[:]
    path = save(tmp_path, made(nodes))
    assert kinds(agrees(path, {"x": draw((5, 2, INPUTS))})) == wanted.split()


REFUSED = {
    "no axes": (op("ReduceMean", "x", noop_with_empty_axes=1), "noop_with_empty_axes", 18),
    "transposed": (op("Gemm", "x M b", transA=1), "it transposes its input", 17),
    "type": (op("LayerNormalization", "x v", stash_type=11), "stash_type", 17),
    "rule": (op("MaxPool", "x", kernel_shape=[2], auto_pad="SAME_UPPER"), "its auto_pad is", 17),
    "training": (
        op("BatchNormalization", "x v v v v", "out p q", training_mode=1), "in training mode", 14,
    ),
    "strided": (
        op("Conv", "x K", kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER"),
        "its padding depends on the number of steps", 17,
    ),
    "kernel": (op("Conv", "x K", kernel_shape=[2]), r"kernel_shape is not .* \[3\]", 17),
    "dilated": (op("AveragePool", "x", kernel_shape=[2], dilations=[2]), "dilation is 2", 19),
    "texts": (op("Constant", "", value_strings=["a"]), "not an array of numbers", 17),
    "filled": (
        op("ConstantOfShape", "ends", value=helper.make_tensor("t", 1, [2], [1.0, 2.0])),
        "something else than zeros", 17,
    ),
    "floats as places": (op("Gather", "x floats"), "not a constant of whole numbers", 17),
    "several places": (op("Gather", "x index"), "it takes several places of an axis", 17),
    "slices": (op("Slice", "x zero ends"), "do not fit together", 17),
    "no ends": (op("Slice", "x zero "), "it has no starts or ends", 17),
    "parts": (op("Split", "x", "out rest", axis=2, num_outputs=9), "it splits 3 into 9", 18),
    "a dropped axis": (op("Squeeze", "x one"), "not known to be of size 1", 17),
    "an axis twice": (op("Unsqueeze", "x four"), "it names an axis twice", 17),
    "repeated data": (op("Tile", "x row"), "it repeats data", 17),
    "zero sizes": (op("Reshape", "x four"), "an axis that is not there", 17),
    "a column": (op("Gather", "M x", axis=1), "expected rows of a table", 17),
    "a table of data": (op("Gather", "M x"), "its indices are not the model's input", 17),
    "a comparison": (op("Less", "half half"), "something else than indices", 17),
    "a condition": (op("Where", "half x x"), "to be a comparison of indices", 17),
    "no condition": (op("Not", "x"), "the result of a comparison", 17),
    "wide softmax": (op("Softmax", "x", axis=1), "it works on several axes at once", 12),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    node, why, opset = REFUSED[name]
    if not node.input[0]:
        del node.input[:]
    content = made([node], opset=opset)
    content.graph.initializer.append(tensor(draw([2, INPUTS, 3], 3), "K"))
    with pytest.raises(UnsupportedModel, match=why):
        describe_file(save(tmp_path, content))


Y, HALF = op("Squeeze", "Y one", "y"), gru(prefix="c", more="n", direction="bidirectional")
ENDS = [
    op("Gather", "Y second", "k", axis=1), op("Gather", "k first", "q", axis=0),
    op("Concat", "p q", axis=1),
]  # fmt: skip
REFUSED_MODELS = {
    # with sequence_lens
    "last step": ([gru(more="n"), Y, op("Gather", "y last", axis=0)], "past the end of short rows"),
    "sum": (
        [gru(more="n"), Y, op("Sigmoid", "y", "s"), op("Add", "y s")],
        "Sigmoid would see what lies beyond the lengths",
    ),
    "backwards": (
        [gru(more="n"), Y, op("Slice", "y minus begin zero minus")], "beyond them to the front",
    ),
    "other lengths": ([gru(more="n"), Y, gru("y", "out", "b")], "not take the same sequence_lens"),
    "another time": (
        [gru(more="n"), Y, op("Transpose", "y", "t", perm=[1, 0, 2]), gru("t", "out", "b", "n")],
        "another axis as time",
    ),
    "attention": (
        [gru(more="n"), Y, op("MatMul", "y column", "s"), op("Softmax", "s", "a", axis=0),
         op("Mul", "y a", "m"), op("ReduceSum", "m zero", keepdims=0)],
        "its weights are those of all steps",
    ),
    "ends": (
        [HALF, op("Gather", "Y first", "f", axis=1), op("Gather", "f last", "p", axis=0), *ENDS],
        "past the end of short rows",
    ),
    "a state and an end": (
        [gru(prefix="c", more="n", direction="bidirectional", outputs="Y H"),
         op("Gather", "H first", "p", axis=0), *ENDS],
        "past the end of short rows",
    ),
    # forward and backward layers that are no pair
    "axes": (pair(axis=0), "along another axis than the features"),
    "cells": (pair(linear_before_reset=1), "joins two branches"),
    "lengths": (pair(more="n"), "joins two branches"),
    "states": (pair(more=" h0"), "joins two branches"),
    "times": (
        [gru(), op("Transpose", "x", "u", perm=[1, 0, 2]), gru("u", "Z", direction="reverse"), Y,
         op("Squeeze", "Z one", "s"), op("Transpose", "s", "z", perm=[1, 0, 2]),
         op("Concat", "y z", axis=2)],
        "joins two branches",
    ),
    "both twice": (
        [gru(prefix="c", direction="bidirectional"), op("Slice", "x minus begin zero minus", "r"),
         gru("r", "Q", "c", direction="bidirectional"),
         op("Slice", "Q minus begin zero minus", "Z"),
         op("Concat", "Y Z", axis=3)],
        "joins two branches",
    ),
    # whole numbers and constants
    "a function": ([op("Relu", "n")], "its input holds whole numbers"),
    "fractions": ([op("Cast", "n", "f", to=1), op("Mul", "f half")], "computes with whole numbers"),
    "large numbers": (
        [op("Mul", "i big", "k"), op("Add", "k k", "l"), op("Add", "l l")], "with whole numbers",
    ),
    "a cast": ([op("Cast", "complex", "c", to=1), op("Add", "x c")], "casts from a type"),
    "places": (
        [op("Expand", "v wide", "e"), op("Gather", "e index", "g"), op("Add", "x g")],
        "several places of a repeated constant",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_MODELS)
def test_refused_models(tmp_path, name):
    nodes, why = REFUSED_MODELS[name]
    inputs = [value("n", [None], TensorProto.INT32), value("i", [None], TensorProto.INT64)]
    content = made(nodes, inputs=inputs)
    content.graph.initializer.append(tensor(np.ones((1, 2, HIDDEN), np.float32), "h0"))
    with pytest.raises(UnsupportedModel, match=why):
        describe_file(save(tmp_path, content))


def test_rows_of_the_initial_states(tmp_path):
    """Layers take the rows of one input in their order; others would get those of their number."""
    states = value("h", [3, None, HIDDEN])
    rest = [gru(more=" g"), op("Squeeze", "Y one")]
    for nodes in (
        [op("Slice", "h zero two zero", "p"), op("Slice", "p one two zero", "g")],
        [op("Gather", "h second", "p", axis=0), op("Unsqueeze", "p zero", "g")],
    ):
        path = save(tmp_path, made([*nodes, *rest], inputs=[states]))
        with pytest.raises(UnsupportedModel, match="take initial states in another order"):
            describe_file(path)


def test_old_operator_sets(tmp_path):
    path = save(tmp_path, made([op("Clip", "x", min=-0.5, max=0.5)], opset=10))
    assert kinds(agrees(path, {"x": draw((5, 2, INPUTS))})) == ["Hardtanh"]
    path = save(tmp_path, made([op("BatchNormalization", "x v v v v", "out p q")], opset=9))
    with pytest.raises(UnsupportedModel, match="in training mode"):
        describe_file(path)
