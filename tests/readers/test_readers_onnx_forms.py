# SPDX-License-Identifier: MIT
"""Forms in which other writers, such as tf2onnx, write layers: a second axis, computed indices."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import agrees, draw, ints, kinds, model, save, tensor, value  # noqa: E402

from fastrnn.readers import UnsupportedModel, describe_file  # noqa: E402

BATCH, STEPS, INPUTS, OUTPUTS = 3, 12, 5, 6


def op(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


# --- Operators over two axes, of which one has size 1 ---


def widened(nodes, axis):
    """Nodes over (batch, channels, 1, steps) or (batch, channels, steps, 1), from x to out."""
    before = [
        op("Unsqueeze", "x axis", "x4"),
        op("Transpose", "x4", "a", perm=[0, 3, 1, 2]),
    ]
    behind = [
        op("Transpose", "b", "b4", perm=[0, 2, 3, 1]),
        op("Squeeze", "b4 axis", "out"),
    ]
    return [*before, *nodes, *behind], ints("axis", axis)


WIDE = {
    "convolution": (op("Conv", "a K k", "b", pads=[0, 1, 0, 1]), ["Conv1d"]),
    "strides": (op("Conv", "a K k", "b", strides=[2, 2], dilations=[1, 2]), ["Conv1d"]),
    "causal": (op("Conv", "a K k", "b", pads=[0, 2, 0, 0]), ["ZeroPad1d", "Conv1d"]),
    "same": (op("Conv", "a K k", "b", auto_pad="SAME_UPPER"), ["Conv1d"]),
    "maxima": (op("MaxPool", "a", "b", kernel_shape=[1, 2], strides=[1, 2]), ["MaxPool1d"]),
    "norm": (op("BatchNormalization", "a w v m u", "b"), ["BatchNorm1d"]),
    "slopes": (op("PRelu", "a s", "b"), ["PReLU"]),
}


@pytest.mark.parametrize("case", WIDE)
@pytest.mark.parametrize("time_last", [True, False])
def test_over_two_axes(tmp_path, case, time_last):
    node, expected = WIDE[case]
    node = onnx.NodeProto.FromString(node.SerializeToString())
    if not time_last:
        for attribute in node.attribute:
            turned = attribute.ints[::-1]
            if attribute.name == "pads":
                turned = [*attribute.ints[1::-1], *attribute.ints[3:1:-1]]
            attribute.ints[:] = turned
    kernel = draw([OUTPUTS, INPUTS, 1, 3] if time_last else [OUTPUTS, INPUTS, 3, 1], 3)
    nodes, axis = widened([node], 1 if time_last else 2)
    arrays = [axis, tensor(kernel, "K"), tensor(draw([OUTPUTS], 4), "k")]
    arrays += [tensor(draw([INPUTS], at), name) for at, name in enumerate("wvm")]
    arrays += [tensor(abs(draw([INPUTS], 5)), "u"), tensor(draw([INPUTS, 1, 1], 6), "s")]
    for shape in ((BATCH, STEPS, INPUTS), (None, None, INPUTS)):
        made = model(nodes, [value("x", shape)], ["out"], arrays)
        found = kinds(agrees(save(tmp_path, made), {"x": draw((BATCH, STEPS, INPUTS))}))
        assert found == ["Transpose", *expected, "Transpose"]


def test_a_bias_behind_a_convolution(tmp_path):
    nodes = [
        op("Unsqueeze", "x axis", "a"),
        op("Conv", "a K", "b"),
        op("Squeeze", "b axis", "c"),
        op("Add", "c k", "d"),
        op("Relu", "d", "e"),
        op("GlobalMaxPool", "e", "out"),
    ]
    arrays = [
        ints("axis", 2), tensor(draw([OUTPUTS, INPUTS, 1, 3], 3), "K"),
        tensor(draw([1, OUTPUTS, 1], 4), "k"),
    ]  # fmt: skip
    made = model(nodes, [value("x", (None, INPUTS, None))], ["out"], arrays)
    found = kinds(agrees(save(tmp_path, made), {"x": draw((BATCH, INPUTS, STEPS))}))
    assert found[:2] == ["Conv1d", "ReLU"]
    assert "Pool" in found


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (op("Conv", "x K", "out"), (None, INPUTS, 2, None)),
        (op("Conv", "x K", "out"), (None, INPUTS, None, None)),
        (op("Conv", "x K", "out", pads=[1, 0, 0, 0]), (None, INPUTS, 1, None)),
        (op("MaxPool", "x", "out", kernel_shape=[2, 2]), (None, INPUTS, 1, None)),
    ],
)
def test_two_axes_are_refused(tmp_path, node, shape):
    arrays = [tensor(draw([OUTPUTS, INPUTS, 1, 3], 3), "K")]
    path = save(tmp_path, model([node], [value("x", shape)], ["out"], arrays))
    with pytest.raises(UnsupportedModel, match="works over 2 axes"):
        describe_file(path)


# --- Indices of an embedding that count from the end where they are negative ---

WORDS = 9
INDICES = {
    "arithmetic": [
        op("Add", "x n", "more"), op("Cast", "x", "f", to=1), op("Less", "f zero", "below"),
        op("Not", "below", "above"), op("Cast", "above", "p", to=6), op("Mul", "x p", "a"),
        op("Cast", "below", "q", to=6), op("Mul", "q more", "b"), op("Add", "b a", "i"),
    ],
    "where": [op("Less", "x z", "below"), op("Add", "x n", "m"), op("Where", "below m x", "i")],
    "greater": [
        op("GreaterOrEqual", "x z", "c"), op("Sub", "x m9", "m"), op("Where", "c x m", "i"),
    ],
    "cast": [op("Cast", "x", "y", to=7), op("Cast", "y", "i", to=6)],
}  # fmt: skip
NUMBERS = [
    tensor(np.array(WORDS, np.int32), "n"), tensor(np.array(-WORDS, np.int32), "m9"),
    tensor(np.array(0, np.int32), "z"), tensor(np.array(0, np.float32), "zero"),
    tensor(np.array(1, np.int32), "one"), tensor(draw([WORDS, INPUTS], 2), "E"),
]  # fmt: skip


@pytest.mark.parametrize("way", INDICES)
def test_indices_from_the_end(tmp_path, way):
    nodes = [*INDICES[way], op("Gather", "E i", "e"), op("Tanh", "e", "out")]
    made = model(nodes, [value("x", [None, None], TensorProto.INT32)], ["out"], NUMBERS)
    tokens = np.arange(WORDS, dtype=np.int32).reshape(3, 3)
    assert kinds(agrees(save(tmp_path, made), {"x": tokens})) == ["Embedding", "Tanh"]


REFUSED_INDICES = {
    "shifted": ([op("Add", "x one", "i")], "indices are computed"),
    "doubled": ([op("Add", "x x", "i")], "indices are computed"),
    "squared": ([op("Mul", "x x", "i")], "computes with whole numbers"),
    "undecided": (
        [op("Less", "x one", "c"), op("Where", "c x z", "i")], "not the same for all indices",
    ),
    "rounded": (
        [op("Cast", "x", "f", to=1), op("Cast", "f", "i", to=6)], "numbers of different kinds",
    ),
    "turned": ([op("Transpose", "x", "t", perm=[1, 0]), op("Add", "t x", "i")], "two branches"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_INDICES)
def test_refused_indices(tmp_path, case):
    nodes, why = REFUSED_INDICES[case]
    nodes = [*nodes, op("Gather", "E i", "e"), op("Tanh", "e", "out")]
    made = model(nodes, [value("x", [3, 3], TensorProto.INT32)], ["out"], NUMBERS)
    with pytest.raises(UnsupportedModel, match=why):
        describe_file(save(tmp_path, made))


def test_indices_are_no_floats(tmp_path):
    nodes = [op("Cast", "x", "f", to=1), op("Tanh", "f", "out")]
    made = model(nodes, [value("x", [3, 3], TensorProto.INT32)], ["out"], NUMBERS)
    with pytest.raises(UnsupportedModel, match="holds whole numbers"):
        describe_file(save(tmp_path, made))
