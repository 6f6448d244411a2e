# SPDX-License-Identifier: MIT
"""Single ONNX nodes: forms that few writers use, read as ONNX Runtime runs them, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402
from onnx_files import agrees, draw, ints, kinds, model, save, tensor, value, weights  # noqa: E402

from fastrnn.readers import UnsupportedModel, describe_file  # noqa: E402

INPUTS, HIDDEN = 3, 4


def op(kind, inputs, outputs="out", **attributes):
    return helper.make_node(kind, inputs.split(" "), outputs.split(), **attributes)


def gru(data="x", outputs="Y", prefix="", **attributes):
    names = " ".join(prefix + letter for letter in "WRB")
    return op("GRU", f"{data} {names}", outputs, hidden_size=HIDDEN, **attributes)


ARRAYS = [
    *(tensor(array, name) for name, array in weights("GRU", INPUTS, HIDDEN).items()),
    *(tensor(array, f"b{name}") for name, array in weights("GRU", HIDDEN, HIDDEN).items()),
    ints("zero", 0), ints("one", 1), ints("two", 2), ints("both", 0, 1), ints("minus", -1),
    ints("third", 2), ints("ends", 0, 2), ints("shape", 0, -1), ints("endless", (1 << 63) - 1),
    ints("four", 0, 0, 0, 0), ints("sizes", 1, 1, 2), ints("row", 1, 1, 1),
    tensor(np.float32(0.5), "half"), tensor(draw([INPUTS, 2], 3), "M"), tensor(draw([2], 4), "b"),
    tensor(draw([INPUTS], 5), "v"), tensor(np.zeros((1, 1, 1), np.float32), "empty"),
    tensor(np.array([0, 1]), "index"), tensor(np.float32([0, 1]), "floats"),
    tensor(draw([1, 2, 4], 3), "states"), tensor(np.array(["a"], object), "text"),
]  # fmt: skip


def made(nodes, shape=(None, None, INPUTS), opset=17, inputs=(), outputs=("out",)):
    return model(nodes, [value("x", shape), *inputs], list(outputs), ARRAYS, opset)


CONSTANTS = {"value_ints": [0, 2, 1], "value_int": 1, "value_float": 0.5, "value_floats": [0.5]}
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
