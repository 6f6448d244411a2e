# SPDX-License-Identifier: MIT
"""Graphs of other writers: the many ways to reshape, join, select and normalise, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import agrees, draw, ints, kinds, model, save, tensor, value, weights  # noqa: E402

from fastrnn.readers import FormatError, UnsupportedModel, describe_file  # noqa: E402

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 4
END = (1 << 63) - 1


def op(kind, inputs, outputs, name="", **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), name, **attributes)


def cell(kind="LSTM", data="x", outputs="Y Y_h", count=1, prefix="", **attributes):
    names = [data, *(f"{prefix}{letter}" for letter in "WRB")]
    direction = {1: "forward", 2: "bidirectional"}[count]
    attributes = {"direction": direction, "hidden_size": HIDDEN} | attributes
    return helper.make_node(kind, names, outputs.split(), f"{prefix}{kind}", **attributes)


def cell_weights(kind="LSTM", inputs=INPUTS, count=1, prefix="", seed=0):
    arrays = weights(kind, inputs, HIDDEN, count, seed=seed)
    return [tensor(array, prefix + name) for name, array in arrays.items()]


def dense_weights(inputs, outputs=2, prefix=""):
    return [
        tensor(draw([inputs, outputs], 5), f"{prefix}M"),
        tensor(draw([outputs], 6), f"{prefix}b"),
    ]


def build(nodes, arrays, shape=(None, None, INPUTS), opset=17, outputs=("out",)):
    return model(nodes, [value("x", shape)], list(outputs), arrays, opset)


def check(tmp_path, nodes, arrays, shape=(STEPS, BATCH, INPUTS), *, free=True, opset=17):
    """Compare with ONNX Runtime, with free and with fixed sizes; the kinds of layers."""
    found = None
    declared = [(*[None] * (len(shape) - 1), shape[-1]), shape] if free else [shape]
    for sizes in declared:
        path = save(tmp_path, build(nodes, arrays, sizes, opset))
        names = kinds(agrees(path, {"x": draw(shape)}))
        assert found in (None, names)
        found = names
    return found


def refuses(tmp_path, nodes, arrays, why, shape=(None, None, INPUTS), outputs=("out",), opset=17):
    path = save(tmp_path, build(nodes, arrays, shape, opset, outputs))
    with pytest.raises(UnsupportedModel, match=why):
        describe_file(path)


# --- Y to a sequence of features ---


MERGES = {
    "transpose reshape": [
        op("Transpose", "Y", "a", perm=[0, 2, 1, 3]),
        op("Reshape", "a shape_00m", "out"),
    ],
    "batch first": [
        op("Transpose", "Y", "a", perm=[2, 0, 1, 3]),
        op("Reshape", "a shape_00m", "out"),
    ],
    "split": [
        op("Split", "Y", "p q", axis=1),
        op("Squeeze", "p one", "s"),
        op("Squeeze", "q one", "t"),
        op("Concat", "s t", "out", axis=2),
    ],
    "gather": [
        op("Gather", "Y zero", "s", axis=1),
        op("Gather", "Y unit", "t", axis=1),
        op("Concat", "s t", "out", axis=-1),
    ],
    "slice": [
        op("Slice", "Y zero_ one one", "p"),
        op("Slice", "Y one two one", "q"),
        op("Concat", "p q", "a", axis=-1),
        op("Squeeze", "a one", "out"),
    ],
    "shape of y": [
        op("Transpose", "Y", "a", perm=[0, 2, 1, 3]),
        op("Shape", "a", "s"),
        op("Slice", "s zero_ two zero_", "lead"),
        op("Concat", "lead minus", "t", axis=0),
        op("Reshape", "a t", "out"),
    ],
}
NUMBERS = [
    ints("shape_00m", 0, 0, -1),
    ints("one", 1),
    ints("two", 2),
    ints("minus", -1),
    ints("zero_", 0),
    ints("three", 3),
    ints("end", END),
    ints("beginning", -END),
    tensor(np.array(0, np.int64), "zero"),
    tensor(np.array(1, np.int64), "unit"),
    tensor(np.array(2, np.int64), "third"),
    tensor(np.array(-1, np.int64), "last"),
]


@pytest.mark.parametrize("way", MERGES)
def test_directions_side_by_side(tmp_path, way):
    found = check(tmp_path, [cell(count=2), *MERGES[way]], [*cell_weights(count=2), *NUMBERS])
    assert found == (["LSTM", "Transpose"] if way == "batch first" else ["LSTM"])


SINGLE = {
    "squeeze": [op("Squeeze", "Y one", "out")],
    "squeeze all": [op("Squeeze", "Y", "out")],
    "reshape": [op("Reshape", "Y shape", "out")],
    "slice gather": [op("Gather", "Y zero", "out", axis=1)],
    "transpose reshape": MERGES["transpose reshape"],
}


@pytest.mark.parametrize("way", SINGLE)
def test_one_direction(tmp_path, way):
    arrays = [*cell_weights(), *NUMBERS, ints("shape", STEPS, BATCH, HIDDEN)]
    free = way not in ("reshape", "squeeze all")
    found = check(tmp_path, [cell(), *SINGLE[way]], arrays, free=free)
    assert found == ["LSTM"]


def test_squeeze_of_axes_of_unknown_size(tmp_path):
    """It would drop steps or batch wherever a call has one of them."""
    nodes = [cell(), *SINGLE["squeeze all"]]
    with pytest.raises(UnsupportedModel, match="depends on the size of the input"):
        check(tmp_path, nodes, [*cell_weights(), *NUMBERS], free=True)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_stack_of_two(tmp_path, kind):
    nodes = [
        cell(kind, count=2, prefix="a"),
        op("Transpose", "Y", "t", perm=[0, 2, 1, 3]),
        op("Reshape", "t shape_00m", "z"),
        cell(kind, "z", "Y2 Y_h2", count=2, prefix="b"),
        op("Transpose", "Y2", "t2", perm=[0, 2, 1, 3]),
        op("Reshape", "t2 shape_00m", "out"),
    ]
    arrays = [
        *cell_weights(kind, count=2, prefix="a"),
        *cell_weights(kind, 2 * HIDDEN, 2, "b", 7),
        *NUMBERS,
    ]
    assert check(tmp_path, nodes, arrays) == [kind]
    (layer,) = describe_file(tmp_path / "m.onnx").layers
    assert layer.options["num_layers"] == 2


def test_forward_and_backward_node(tmp_path):
    """Two nodes on the same data are one bidirectional layer."""
    arrays = [*cell_weights(prefix="a"), *cell_weights(prefix="b", seed=3), *NUMBERS]
    nodes = [
        cell(prefix="a", outputs="Y Y_h"),
        cell(prefix="b", outputs="Z Z_h", direction="reverse"),
        op("Squeeze", "Y one", "s"),
        op("Squeeze", "Z one", "t"),
        op("Concat", "s t", "out", axis=2),
    ]
    assert check(tmp_path, nodes, arrays) == ["LSTM"]
    states = [
        *nodes[:2],
        op("Squeeze", "Y_h zero_", "s"),
        op("Squeeze", "Z_h zero_", "t"),
        op("Concat", "s t", "out", axis=-1),
    ]
    assert check(tmp_path, states, arrays) == ["LSTM", "Last"]
    swapped = [*nodes[:4], op("Concat", "t s", "out", axis=2)]
    refuses(tmp_path, swapped, arrays, "joins two branches")
    other_axis = [cell(prefix="b", data="r", outputs="Z Z_h"), *nodes[2:4]]
    other_axis = [nodes[0], op("Slice", "x minus start one minus", "r"), *other_axis]
    arrays = [*arrays, ints("start", -(1 << 63))]
    refuses(tmp_path, [*other_axis, nodes[4]], arrays, "joins two branches")


def test_reversed_by_slices(tmp_path):
    arrays = [
        *cell_weights(prefix="a"),
        *cell_weights(prefix="b", seed=3),
        *NUMBERS,
        ints("start", -(1 << 63)),
    ]
    nodes = [
        op("Slice", "x minus start zero_ minus", "r"),
        cell(prefix="a", outputs="Y"),
        cell(prefix="b", data="r", outputs="Z"),
        op("Squeeze", "Y one", "s"),
        op("Squeeze", "Z one", "t"),
        op("Slice", "t minus start zero_ minus", "u"),
        op("Concat", "s u", "out", axis=2),
    ]
    assert check(tmp_path, nodes, arrays) == ["LSTM"]
    not_turned_back = [*nodes[:5], op("Concat", "s t", "out", axis=2)]
    refuses(tmp_path, not_turned_back, arrays, "joins two branches")


def test_layers_along_different_axes(tmp_path):
    """The second LSTM takes the batch as its time, as after a forgotten batch_first."""
    nodes = [
        cell(prefix="a"),
        op("Squeeze", "Y one", "y"),
        op("Transpose", "y", "z", perm=[1, 0, 2]),
        cell(prefix="b", data="z", outputs="Y2"),
        op("Squeeze", "Y2 one", "out"),
    ]
    arrays = [*cell_weights(prefix="a"), *cell_weights(inputs=HIDDEN, prefix="b"), *NUMBERS]
    assert check(tmp_path, nodes, arrays) == ["LSTM", "LSTM", "Transpose"]


# --- Taking a part ---


PARTS = {
    "gather": ([op("Gather", "y last", "out", axis=0)], "Last"),
    "slice": ([op("Slice", "y minus end zero_", "a"), op("Squeeze", "a zero_", "out")], "Last"),
    "slice kept": ([op("Slice", "y minus end zero_", "out")], "Last Unsqueeze"),
    "state": ([op("Squeeze", "Y_h zero_", "out")], "Last"),
    "state row": ([op("Gather", "Y_h last", "out", axis=0)], "Last"),
    "mean": ([op("ReduceMean", "y", "out", axes=[0], keepdims=0)], "Pool"),
    "max": ([op("ReduceMax", "y", "out", axes=[0], keepdims=0)], "Pool"),
    "sum": ([op("ReduceSum", "y zero_", "out", keepdims=0)], "Pool"),
    "mean kept": ([op("ReduceMean", "y", "out", axes=[0], keepdims=1)], "Pool Unsqueeze"),
    "global mean": (
        [
            op("Transpose", "y", "a", perm=[1, 2, 0]),
            op("GlobalAveragePool", "a", "p"),
            op("Squeeze", "p two", "out"),
        ],
        "Pool",
    ),
    "first step": ([op("Gather", "y zero", "out", axis=0)], "Flip Last"),
    "first step by a slice": (
        [op("Slice", "y zero_ one zero_", "s"), op("Squeeze", "s zero_", "out")],
        "Flip Last",
    ),
    "last of the steps backwards": (
        [op("Slice", "y minus beginning zero_ minus", "r"), op("Gather", "r last", "out", axis=0)],
        "Flip Last",
    ),
    "first of the steps backwards": (
        [op("Slice", "y minus beginning zero_ minus", "r"), op("Gather", "r zero", "out", axis=0)],
        "Last",
    ),
    "global max": (
        [
            op("Transpose", "y", "a", perm=[1, 2, 0]),
            op("GlobalMaxPool", "a", "p"),
            op("Flatten", "p", "out"),
        ],
        "Pool",
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_time(tmp_path, part):
    nodes, wanted = PARTS[part]
    before = [cell("GRU"), op("Squeeze", "Y one", "y")]
    found = check(tmp_path, [*before, *nodes], [*cell_weights("GRU"), *NUMBERS])
    assert found == ["GRU", *wanted.split()]


WITHOUT_RECURRENCE = {
    "last of x": ([op("Gather", "x last", "out", axis=0)], "Last"),
    "mean of x": ([op("ReduceMean", "x", "out", axes=[1], keepdims=0)], "Pool"),
    "mean of channels": ([op("GlobalAveragePool", "x", "out")], "Transpose Pool Unsqueeze"),
    "other order": ([op("Transpose", "x", "out", perm=[1, 2, 0])], "Permute"),
}


@pytest.mark.parametrize("case", WITHOUT_RECURRENCE)
def test_parts_of_the_input(tmp_path, case):
    """Nothing says which axis is time, so it may be any."""
    nodes, wanted = WITHOUT_RECURRENCE[case]
    assert check(tmp_path, nodes, NUMBERS) == wanted.split()


def test_ends_of_both_directions(tmp_path):
    """The last step forward and the first backward, by slices of one step of free length."""
    nodes = [
        cell(count=2, outputs="Y"),
        op("Slice", "Y zero_ one one", "f"),
        op("Slice", "Y one two one", "b"),
        op("Slice", "f minus end zero_", "f1"),
        op("Slice", "b zero_ one zero_", "b1"),
        op("Squeeze", "f1 ends", "s"),
        op("Squeeze", "b1 ends", "t"),
        op("Concat", "s t", "out", axis=1),
    ]
    arrays = [*cell_weights(count=2), *NUMBERS, ints("ends", 0, 1)]
    assert check(tmp_path, nodes, arrays) == ["LSTM", "Last"]


REFUSED_PARTS = {
    "third step": ([op("Gather", "y third", "out", axis=0)], "step 2 .* expected 0 or -1"),
    "two steps": ([op("Slice", "y zero_ two zero_", "out")], "part of an axis"),
    "half": ([op("Slice", "y zero_ two two", "out")], "part of an axis"),
    "one row": ([op("Gather", "y zero", "out", axis=1)], "not known to be time"),
    "every second": ([op("Slice", "y zero_ end zero_ two", "out")], "every 2th"),
    "features": ([op("ReduceMax", "y", "out", axes=[2], keepdims=0)], "not known to be time"),
    "both axes": ([op("ReduceMean", "y", "out", axes=[0, 1], keepdims=0)], "several axes"),
}


@pytest.mark.parametrize("part", REFUSED_PARTS)
def test_refused_parts(tmp_path, part):
    nodes, why = REFUSED_PARTS[part]
    before = [cell("GRU"), op("Squeeze", "Y one", "y")]
    refuses(tmp_path, [*before, *nodes], [*cell_weights("GRU"), *NUMBERS], why)


def test_states_side_by_side(tmp_path):
    """h of both directions by transposing, by rows, and by flattening."""
    arrays = [*cell_weights(count=2), *NUMBERS, ints("flat", BATCH, -1)]
    ways = [
        [op("Transpose", "Y_h", "a", perm=[1, 0, 2]), op("Flatten", "a", "out")],
        [op("Transpose", "Y_h", "a", perm=[1, 0, 2]), op("Reshape", "a flat", "out")],
        [
            op("Gather", "Y_h zero", "s", axis=0),
            op("Gather", "Y_h unit", "t", axis=0),
            op("Concat", "s t", "out", axis=1),
        ],
        [
            op("Split", "Y_h", "s t", axis=0),
            op("Concat", "s t", "a", axis=2),
            op("Squeeze", "a zero_", "out"),
        ],
    ]
    for at, nodes in enumerate(ways):
        found = check(tmp_path, [cell(count=2), *nodes], arrays, free=at != 1)
        assert found == ["LSTM", "Last"]
    swapped = [*ways[2][:2], op("Concat", "t s", "out", axis=1)]
    assert check(tmp_path, [cell(count=2), *swapped], arrays) == ["Flip", "LSTM", "Last"]
    one = [cell(count=2), op("Gather", "Y_h zero", "out", axis=0)]
    assert check(tmp_path, one, arrays) == ["LSTM", "Last"]


# --- Layers without memory ---


DENSE = {
    "matmul add": [op("MatMul", "x M", "a"), op("Add", "a b", "out")],
    "add matmul": [op("MatMul", "x M", "a"), op("Add", "b a", "out")],
    "matmul": [op("MatMul", "x M", "out")],
    "gemm": [
        op("Reshape", "x rows", "r"),
        op("Gemm", "r M b", "a"),
        op("Reshape", "a back", "out"),
    ],
    "gemm scaled": [
        op("Reshape", "x rows", "r"),
        op("Gemm", "r N b", "a", transB=1, alpha=0.5, beta=2.0),
        op("Reshape", "a back", "out"),
    ],
    "gemm number": [
        op("Reshape", "x rows", "r"),
        op("Gemm", "r M half", "a"),
        op("Reshape", "a back", "out"),
    ],
}


@pytest.mark.parametrize("way", DENSE)
def test_linear(tmp_path, way):
    arrays = [
        *dense_weights(INPUTS),
        tensor(draw([2, INPUTS], 8), "N"),
        tensor(np.array(0.5, np.float32), "half"),
        ints("rows", -1, INPUTS),
        ints("back", STEPS, BATCH, 2),
    ]
    assert check(tmp_path, DENSE[way], arrays, free=not way.startswith("gemm")) == ["Linear"]


NORMS = {
    "node": [op("LayerNormalization", "x g b", "out", epsilon=1e-3)],
    "node without bias": [op("LayerNormalization", "x g", "out", axis=2)],
    "written out": [
        op("ReduceMean", "x", "m", axes=[-1]),
        op("Sub", "x m", "d"),
        op("Pow", "d two", "q"),
        op("ReduceMean", "q", "v", axes=[-1]),
        op("Add", "v eps", "e"),
        op("Sqrt", "e", "s"),
        op("Div", "d s", "n"),
        op("Mul", "n g", "w"),
        op("Add", "w b", "out"),
    ],
    "written out otherwise": [
        op("ReduceMean", "x", "m", axes=[2]),
        op("Sub", "x m", "d"),
        op("Mul", "d d", "q"),
        op("ReduceMean", "q", "v", axes=[2]),
        op("Add", "eps v", "e"),
        op("Sqrt", "e", "s"),
        op("Reciprocal", "s", "i"),
        op("Mul", "i d", "n"),
        op("Mul", "g n", "out"),
    ],
    "without weight": [
        op("ReduceMean", "x", "m", axes=[-1]),
        op("Sub", "x m", "d"),
        op("Pow", "d two", "q"),
        op("ReduceMean", "q", "v", axes=[-1]),
        op("Add", "v eps", "e"),
        op("Pow", "e half", "s"),
        op("Div", "d s", "out"),
    ],
}


@pytest.mark.parametrize("way", NORMS)
def test_layer_norm(tmp_path, way):
    arrays = [
        tensor(draw([INPUTS], 4), "g"),
        tensor(draw([INPUTS], 5), "b"),
        tensor(np.array(2, np.float32), "two"),
        tensor(np.array(0.5, np.float32), "half"),
        tensor(np.array(1e-3, np.float32), "eps"),
    ]
    assert check(tmp_path, NORMS[way], arrays) == ["LayerNorm"]
    layer = describe_file(tmp_path / "m.onnx").layers[0]
    assert layer.options["eps"] in (1e-3, 1e-5)
    assert layer.options["bias"] is ("bias" in layer.arrays)


def test_variance_of_something_else(tmp_path):
    arrays = [tensor(np.array(2, np.float32), "two"), tensor(np.array(1e-3, np.float32), "eps")]
    nodes = [
        op("ReduceMean", "x", "m", axes=[-1]),
        op("Relu", "x", "r"),
        op("Sub", "r m", "d"),
        op("Pow", "d two", "out"),
    ]
    refuses(tmp_path, nodes, arrays, "not a layer normalization")


CONVOLUTIONS = [
    ({}, 3, 1),
    ({"pads": [1, 1]}, 3, 1),
    ({"pads": [2, 2], "dilations": [2], "strides": [2]}, 3, 1),
    ({"auto_pad": "SAME_UPPER"}, 3, 1),
    ({"auto_pad": "VALID", "strides": [3]}, 2, 1),
    ({"auto_pad": "SAME_LOWER"}, 4, 1),
    ({"pads": [2, 0], "strides": [2]}, 3, 1),
    ({"group": 2, "pads": [1, 1]}, 3, 2),
]


@pytest.mark.parametrize(("attributes", "width", "groups"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(tmp_path, attributes, width, groups, bias):
    arrays = [tensor(draw([4, 6 // groups, width], 3), "K"), tensor(draw([4], 4), "k")]
    node = op("Conv", "x K k" if bias else "x K", "out", **attributes)
    for shape in ((BATCH, 6, 11), (None, 6, None)):
        path = save(tmp_path, build([node], arrays, shape))
        found = kinds(agrees(path, {"x": draw((BATCH, 6, 11))}))
        assert found in (["Conv1d"], ["ZeroPad1d", "Conv1d"])


def test_refused_convolutions(tmp_path):
    arrays = [tensor(draw([4, 6, 3], 3), "K"), tensor(draw([4, 6, 3, 3], 3), "K2")]
    shape = (None, 6, None)
    refuses(tmp_path, [op("Conv", "x K", "out", pads=[2, -1])], arrays, "padding is", shape)
    refuses(tmp_path, [op("Conv", "x K", "out", auto_pad="SAME_UPPER", strides=[2])], arrays,
            "depends on the number of steps", shape)  # fmt: skip
    refuses(tmp_path, [op("Conv", "x K2", "out")], arrays, "over 2 axes", (None, 6, None, None))


def test_activations_and_dropout(tmp_path):
    nodes = [
        op("MatMul", "x M", "a"),
        op("Add", "a b", "c"),
        op("Dropout", "c ratio", "d", "drop"),
        op("Relu", "d", "e"),
        op("Identity", "e", "f"),
        op("Tanh", "f", "g"),
        op("Sigmoid", "g", "h"),
        op("Cast", "h", "i", to=1),
        op("Softmax", "i", "out", axis=2),
    ]
    arrays = [*dense_weights(INPUTS, 4), tensor(np.array(0.25, np.float32), "ratio")]
    found = check(tmp_path, nodes, arrays)
    assert found == ["Linear", "Dropout", "ReLU", "Tanh", "Sigmoid", "Softmax"]
    assert describe_file(tmp_path / "m.onnx").layers[1].options == {"p": 0.25}


def test_softmax_of_old_operator_sets(tmp_path):
    for axis, passes in ((2, True), (1, False), (-1, True)):
        nodes = [op("LogSoftmax", "x", "out", axis=axis)]
        if passes:
            assert check(tmp_path, nodes, [], opset=11) == ["LogSoftmax"]
        else:
            refuses(tmp_path, nodes, [], "several axes", opset=11)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_over_each_axis(tmp_path, axis):
    nodes = [cell("GRU"), op("Squeeze", "Y one", "y"), op("Softmax", "y", "out", axis=axis)]
    assert check(tmp_path, nodes, [*cell_weights("GRU"), *NUMBERS]) == ["GRU", "Softmax"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_over_one_entry(tmp_path, axis):
    """A fixed size of 1 is an axis like any other."""
    nodes = [op("Softmax", "x", "out", axis=axis)]
    for shape in ((1, BATCH, INPUTS), (STEPS, 1, INPUTS), (STEPS, BATCH, 1)):
        assert check(tmp_path, nodes, [], shape, free=False) == ["Softmax"]


def test_softmax_over_time_with_lengths(tmp_path):
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B", "lens"], ["Y"], hidden_size=HIDDEN),
        op("Squeeze", "Y one", "y"),
        op("Softmax", "y", "out", axis=0),
    ]
    inputs = [value("x", [None, None, INPUTS]), value("lens", [None], TensorProto.INT32)]
    made = model(nodes, inputs, ["out"], [*cell_weights("GRU"), *NUMBERS])
    with pytest.raises(UnsupportedModel, match="would see what lies beyond the lengths"):
        describe_file(save(tmp_path, made))


def test_features_of_size_one(tmp_path):
    """Features that are one number lie before the batch and have to come last."""
    nodes = [op("Transpose", "x", "t", perm=[0, 2, 1]), op("MatMul", "t M", "out")]
    arrays = [tensor(draw([1, 2], 5), "M")]
    assert check(tmp_path, nodes, arrays, (STEPS, 1, BATCH), free=False) == ["Transpose", "Linear"]


def test_embedding(tmp_path):
    nodes = [op("Cast", "x", "i", to=7), op("Gather", "E i", "a"), cell("GRU", "a", "out")]
    arrays = [tensor(draw([9, INPUTS], 2), "E"), *cell_weights("GRU")]
    made = model(nodes, [value("x", [None, None], TensorProto.INT32)], ["out"], arrays)
    path = save(tmp_path, made)
    assert kinds(describe_file(path)) == ["Embedding", "GRU", "Unsqueeze"]
    assert describe_file(path).layers[0].options == {"num_embeddings": 9, "embedding_dim": INPUTS}


# --- Weights that are computed, zeros, and what is refused ---


def test_weights_that_are_computed(tmp_path):
    """Constants pass through the operations that unfolded exports leave around them."""
    draws = weights("LSTM", INPUTS, HIDDEN)
    w = draws["W"][0]
    arrays = [
        tensor(w[:8].T, "w_top"), tensor(w[8:].astype(np.float64), "w_low"),
        tensor(draws["R"], "R"), tensor(draws["B"][0], "b"), *NUMBERS, ints("eight", 8),
    ]  # fmt: skip
    nodes = [
        op("Transpose", "w_top", "t"),
        op("Cast", "w_low", "l", to=1),
        op("Concat", "t l", "w", axis=0),
        op("Unsqueeze", "w zero_", "W"),
        op("Split", "b", "b0 b1", axis=0),
        op("Concat", "b0 b1", "b2", axis=0),
        op("Unsqueeze", "b2 zero_", "B"),
        cell(outputs="Y"),
        op("Squeeze", "Y one", "out"),
    ]
    assert check(tmp_path, nodes, arrays) == ["LSTM"]


def test_zero_states_from_shapes(tmp_path):
    nodes = [
        op("Shape", "x", "s"),
        op("Gather", "s unit", "n", axis=0),
        op("Unsqueeze", "n zero_", "n1"),
        op("Concat", "one n1 four", "shape", axis=0),
        op("ConstantOfShape", "shape", "h0"),
        op("Expand", "nought shape", "c0"),
        helper.make_node("LSTM", ["x", "W", "R", "B", "", "h0", "c0"], ["Y"], hidden_size=HIDDEN),
        op("Squeeze", "Y one", "out"),
    ]
    arrays = [
        *cell_weights(), *NUMBERS, ints("four", HIDDEN),
        tensor(np.zeros((1, 1, 1), np.float32), "nought"),
    ]  # fmt: skip
    assert check(tmp_path, nodes, arrays) == ["LSTM"]
    assert not {"h_0", "c_0"} & describe_file(tmp_path / "m.onnx").layers[0].arrays.keys()


def test_learned_state_spread_over_the_batch(tmp_path):
    nodes = [
        op("Shape", "x", "s", start=1, end=2),
        op("Concat", "one s four", "shape", axis=0),
        op("Expand", "h shape", "h0"),
        helper.make_node("GRU", ["x", "W", "R", "B", "", "h0"], ["Y"], hidden_size=HIDDEN),
        op("Squeeze", "Y one", "out"),
    ]
    arrays = [
        *cell_weights("GRU"), *NUMBERS, ints("four", HIDDEN), tensor(draw([1, 1, HIDDEN], 9), "h"),
    ]  # fmt: skip
    assert check(tmp_path, nodes, arrays) == ["GRU"]
    (layer,) = describe_file(tmp_path / "m.onnx").layers
    np.testing.assert_array_equal(layer.arrays["h_0"], draw([1, 1, HIDDEN], 9)[:, 0])
    named = [*nodes[:3], op("Identity", "h0", "h1"), *nodes[3:]]
    named[4].input[5] = "h1"
    assert check(tmp_path, named, arrays) == ["GRU"]


def test_rows_of_a_learned_state(tmp_path):
    """One constant for two layers, spread over the batch and then cut, as torch writes it."""
    nodes = [
        op("Shape", "x", "s", start=1, end=2),
        op("Concat", "two s four", "shape", axis=0),
        op("Expand", "h shape", "h0"),
        op("Slice", "h0 zero_ one zero_", "ha"),
        op("Slice", "h0 one two zero_", "hb"),
        cell("GRU", prefix="a"),
        op("Squeeze", "Y one", "y"),
        cell("GRU", "y", "Y2", prefix="b"),
        op("Squeeze", "Y2 one", "out"),
    ]
    nodes[5].input.extend(["", "ha"])
    nodes[7].input.extend(["", "hb"])
    arrays = [
        *cell_weights("GRU", prefix="a"), *cell_weights("GRU", HIDDEN, 1, "b"), *NUMBERS,
        ints("four", HIDDEN), tensor(draw([2, 1, HIDDEN], 9), "h"),
    ]  # fmt: skip
    assert check(tmp_path, nodes, arrays) == ["GRU"]
    (layer,) = describe_file(tmp_path / "m.onnx").layers
    np.testing.assert_array_equal(layer.arrays["h_0"], draw([2, 1, HIDDEN], 9)[:, 0])


REFUSED_GRAPHS = {
    "product": ([op("MatMul", "x S", "a"), op("Mul", "a x", "out")], "two branches"),
    "scale": ([op("Relu", "x", "a"), op("Mul", "a S", "out")], "a value for each feature"),
    "reciprocal": ([op("Div", "half x", "out")], "no layer for this operator"),
    "clip": ([op("Clip", "x half half", "out")], "lower bound is 0.5, expected less than 0.5"),
    "ceil": ([op("MaxPool", "x", "out", kernel_shape=[2], pads=[1, 0])], "as much at both ends"),
    "selected product": ([op("Tanh", "x", "a"), op("Mul", "a x", "out")], "two branches"),
    "matmul of data": ([op("MatMul", "x x", "out")], "joins two branches of the model"),
    "unknown": ([op("Cosh", "x", "out")], "no layer for this operator"),
    "half a function": ([op("Erf", "x", "out")], "part of a function that is written out"),
    "mixing reshape": ([op("Reshape", "x mix", "out")], "splits or mixes"),
    "repeats": ([op("Expand", "x wide", "out")], "repeats"),
    "decoder": (
        [
            cell("GRU", prefix="", outputs="Y Y_h"),
            helper.make_node("GRU", ["x", "W", "R", "B", "", "Y_h"], ["Z"], hidden_size=HIDDEN),
            op("Squeeze", "Z one", "out"),
        ],
        "depends on the data",
    ),
    "two results": (None, "2 results"),
}


@pytest.mark.parametrize("case", REFUSED_GRAPHS)
def test_refused_graphs(tmp_path, case):
    nodes, why = REFUSED_GRAPHS[case]
    arrays = [
        *cell_weights("GRU"), *NUMBERS, tensor(draw([INPUTS, INPUTS]), "S"),
        tensor(np.array(0.5, np.float32), "half"), ints("mix", BATCH, STEPS, INPUTS),
        ints("wide", 2, STEPS, BATCH, INPUTS),
    ]  # fmt: skip
    if nodes is None:
        nodes = [op("Relu", "x", "out"), op("Tanh", "x", "out2")]
        path = save(tmp_path, build(nodes, arrays, outputs=("out", "out2")))
        with pytest.raises(UnsupportedModel, match=why):
            describe_file(path)
        assert kinds(describe_file(path, key="out2")) == ["Tanh"]
        return
    refuses(tmp_path, nodes, arrays, why, (STEPS, BATCH, INPUTS))


def test_graphs_inside_nodes(tmp_path):
    body = helper.make_graph([op("Relu", "x", "r")], "body", [], [value("r", None)])
    nodes = [helper.make_node("If", ["c"], ["out"], "if", then_branch=body, else_branch=body)]
    refuses(tmp_path, nodes, [tensor(np.array(True), "c")], "graph of its own")


def test_dead_nodes_do_not_matter(tmp_path):
    nodes = [op("Erf", "x", "dead"), op("Relu", "x", "out")]
    assert check(tmp_path, nodes, []) == ["ReLU"]


@pytest.mark.parametrize("kind", ["Mul", "Relu", "Softmax", "Transpose", "ReduceMean", "MatMul"])
def test_an_input_without_axes(tmp_path, kind):
    """A number as an input is refused with a reason wherever it goes."""
    inputs = [value("x", [None, None, INPUTS]), value("gain", [])]
    node = op(kind, "gain half" if kind in ("Mul", "MatMul") else "gain", "g")
    made = model([node, op("Mul", "x g", "out")], inputs, ["out"],
                 [tensor(np.array(0.5, np.float32), "half")])  # fmt: skip
    with pytest.raises(UnsupportedModel):
        describe_file(save(tmp_path, made))


def test_broken_graphs(tmp_path):
    for nodes, why in [
        ([op("Relu", "nowhere", "out")], "no node before it"),
        ([op("Relu", "b", "a"), op("Tanh", "a", "b"), op("Relu", "a", "out")], "no node before"),
        ([op("Relu", "x", "out"), op("Tanh", "x", "out")], "there already"),
    ]:
        with pytest.raises(FormatError, match=why):
            describe_file(save(tmp_path, build(nodes, [])))


# --- Axes of size 1: the direction, the hidden units, the batch and time may all be one ---

ONE_UNIT = {
    "squeeze": [op("Squeeze", "Y one", "y")],
    "transpose reshape": [
        op("Transpose", "Y", "a", perm=[0, 2, 1, 3]),
        op("Reshape", "a shape_00m", "y"),
    ],
    "reshape to one": [
        op("Transpose", "Y", "a", perm=[0, 2, 1, 3]),
        op("Reshape", "a shape_001", "y"),
    ],
}


def one_unit(direction: str, name: str, x: str, outputs: str):
    options = {"direction": direction, "hidden_size": 1, "linear_before_reset": 1}
    names = [x, *(name + weight for weight in "WRB")]
    return helper.make_node("GRU", names, outputs.split(), name, **options)


def one_unit_weights(name: str, inputs: int):
    return [tensor(array, name + key) for key, array in weights("GRU", inputs, 1).items()]


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("merge", ONE_UNIT)
def test_layers_of_one_unit(tmp_path, merge, direction, batch):
    nodes = [
        one_unit(direction, "a", "x", "Y"),
        *ONE_UNIT[merge],
        one_unit("forward", "b", "y", "Z"),
        op("Squeeze", "Z one", "out"),
    ]
    arrays = [*one_unit_weights("a", INPUTS), *one_unit_weights("b", 1), *NUMBERS]
    arrays.append(ints("shape_001", 0, 0, 1))
    flips = ["Flip"] * (direction == "reverse")
    wanted = [*flips, "GRU", *flips, "GRU"] if flips else ["GRU"]  # one layer of two in a stack
    shape = (STEPS, batch, INPUTS)
    assert check(tmp_path, nodes, arrays, shape, free=batch > 1) == wanted


@pytest.mark.parametrize("merge", ONE_UNIT)
def test_a_layer_of_one_unit_is_the_whole_model(tmp_path, merge):
    *before, last = ONE_UNIT[merge]
    end = helper.make_node(last.op_type, list(last.input), ["out"])
    nodes = [one_unit("forward", "a", "x", "Y"), *before, end]
    arrays = [*one_unit_weights("a", INPUTS), *NUMBERS, ints("shape_001", 0, 0, 1)]
    assert check(tmp_path, nodes, arrays) == ["GRU"]


def test_direction_stays_an_axis(tmp_path):
    """Of Y in another shape, that it has one direction can be seen: the axis stays."""
    nodes = [one_unit("forward", "a", "x", "Y"), op("Reshape", "Y shape_00m", "out")]
    arrays = [*one_unit_weights("a", INPUTS), *NUMBERS]
    assert check(tmp_path, nodes, arrays)[0] == "GRU"


def test_parts_that_are_not_used(tmp_path):
    """Of three steps the second is no layer's y, which matters only if it is used."""
    nodes = [
        one_unit("forward", "a", "x", "Y"),
        op("Squeeze", "Y one", "y"),
        op("Split", "y parts", "first middle final", axis=0),
        op("Squeeze", "final zero_", "out"),
    ]
    arrays = [*one_unit_weights("a", INPUTS), *NUMBERS, ints("parts", 1, 1, 1)]
    assert check(tmp_path, nodes, arrays, (3, BATCH, INPUTS), free=False) == ["GRU", "Last"]
    nodes.append(op("Relu", "middle", "other"))
    refuses(tmp_path, nodes, arrays, "takes step 1", (3, None, INPUTS), ("out", "other"))


# --- Functions of each value, maxima over windows, both directions as one ---

VALUES = {
    "elu": (op("Elu", "x", "out", alpha=0.5), "ELU"),
    "leaky relu": (op("LeakyRelu", "x", "out", alpha=0.3), "LeakyReLU"),
    "selu": (op("Selu", "x", "out"), "ELU Scale"),
    "softplus": (op("Softplus", "x", "out"), "Softplus"),
    "gelu": (op("Gelu", "x", "out"), "GELU"),
    "gelu tanh": (op("Gelu", "x", "out", approximate="tanh"), "GELU"),
    "hard sigmoid": (op("HardSigmoid", "x", "out"), "Scale Hardtanh"),
    "torch's": (op("HardSigmoid", "x", "out", alpha=1 / 6), "Hardsigmoid"),
    "clip": (op("Clip", "x low half", "out"), "Hardtanh"),
    "clip above": (op("Clip", "x  half", "out"), "Hardtanh"),
    "minus": (op("Sub", "half x", "out"), "Scale"),
    "quotient": (op("Div", "x half", "out"), "Scale"),
    "prelu": (op("PRelu", "x half", "out"), "PReLU"),
    "prelu of channels": (op("PRelu", "x slopes", "out"), "PReLU"),
    "batch norm": (op("BatchNormalization", "x slope slope slope slope", "out"), "BatchNorm1d"),
    "max pool": (
        op("MaxPool", "x", "out", kernel_shape=[3], strides=[2], pads=[1, 1]),
        "MaxPool1d",
    ),
    "avg pool": (op("AveragePool", "x", "out", kernel_shape=[3], strides=[2]), "AvgPool1d"),
    "padded means": (
        op("AveragePool", "x", "out", kernel_shape=[3], pads=[1, 1], strides=[2]),
        "AvgPool1d",
    ),
    "means of padding": (
        op("AveragePool", "x", "out", kernel_shape=[4], pads=[2, 2], count_include_pad=1),
        "AvgPool1d",
    ),
    "windows": (op("MaxPool", "x", "out", kernel_shape=[2], ceil_mode=1, strides=[2]), "MaxPool1d"),
}


@pytest.mark.parametrize("name", VALUES)
def test_functions(tmp_path, name):
    node, wanted = VALUES[name]
    slopes = np.float32([0.1, 0.2, 0.7])
    arrays = [
        tensor(np.float32(0.5), "half"), tensor(np.float32(-0.2), "low"), tensor(slopes, "slope"),
        tensor(slopes[:, None], "slopes"),
    ]  # fmt: skip
    free = "Pool" not in wanted
    assert check(tmp_path, [node], arrays, (4, 3, 7), opset=20, free=free) == wanted.split()


def test_gate(tmp_path):
    nodes = [op("Sum", "x half half", "a"), op("Sigmoid", "a", "s"), op("Mul", "s a", "m")]
    nodes.append(op("Sum", "m", "out"))
    found = check(tmp_path, nodes, [tensor(np.float32(0.5), "half")])
    assert found == ["Scale", "Scale", "SiLU"]


@pytest.mark.parametrize("mode", ["ReduceSum", "ReduceMean"])
def test_directions_as_one(tmp_path, mode):
    nodes = [cell(count=2), op(mode, "Y axis", "out", keepdims=0)]
    arrays = [*cell_weights(count=2), ints("axis", 1)]
    assert check(tmp_path, nodes, arrays, opset=18) == ["LSTM", "MergeDirections"]


def test_directions_added(tmp_path):
    nodes = [cell(count=2), op("Split", "Y", "a b", axis=1, num_outputs=2), op("Add", "a b", "c")]
    nodes.append(op("Squeeze", "c axis", "out"))
    arrays = [*cell_weights(count=2), ints("axis", 1)]
    assert check(tmp_path, nodes, arrays, opset=18) == ["LSTM", "MergeDirections"]
