# SPDX-License-Identifier: MIT
"""Recurrent nodes of ONNX with each of their attributes, and ONNX's own test cases for them."""

from __future__ import annotations

import itertools
import pkgutil
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from description_runner import run  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from onnx_files import (  # noqa: E402
    compare,
    draw,
    ints,
    kinds,
    model,
    save,
    session,
    value,
    weights,
)

from fastrnn.readers import UnsupportedModel, describe_file  # noqa: E402

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 5, 4
CELLS = ("LSTM", "GRU", "RNN")
X = value("X", [STEPS, BATCH, INPUTS])


def node_model(
    cell, direction="forward", *, bias=True, inputs=(), outputs=("Y",), extra=None, **attributes
):
    """A model of one recurrent node; `inputs` are its further inputs by position."""
    opset = attributes.pop("opset", 17)
    directions = 2 if direction == "bidirectional" else 1
    arrays = weights(cell, INPUTS, HIDDEN, directions, bias=bias)
    names = ["X", "W", "R", "B" if bias else "", *inputs]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        cell, names, list(outputs), "node", direction=direction, hidden_size=HIDDEN, **attributes
    )
    graph_inputs = [X, *(extra or {}).pop("inputs", [])] if extra else [X]
    arrays |= (extra or {}).get("arrays", {})
    return model([node], graph_inputs, [name for name in outputs if name], arrays, opset)


def merge_directions(made):
    """Y and Y_h of a model as y [steps][batch][features] and h [batch][features]."""
    orders = {"Y": [0, 2, 1, 3], "Y_h": [1, 0, 2]}
    shapes = {"Y": [0, 0, -1], "Y_h": [0, -1]}
    for output in made.graph.output:
        name, merged = output.name, output.name.lower()
        made.graph.initializer.append(ints(f"{name} shape", *shapes[name]))
        made.graph.node.extend(
            [
                helper.make_node("Transpose", [name], [f"{name} turned"], perm=orders[name]),
                helper.make_node("Reshape", [f"{name} turned", f"{name} shape"], [merged]),
            ]
        )
        output.name = merged
    return made


@pytest.mark.parametrize("opset", [7, 13, 14, 17, 22])
@pytest.mark.parametrize(
    ("cell", "direction", "bias"),
    list(itertools.product(CELLS, ("forward", "reverse", "bidirectional"), (True, False))),
)
def test_directions_and_bias(tmp_path, cell, direction, bias, opset):
    made = node_model(cell, direction, bias=bias, outputs=("Y", "Y_h"), opset=opset)
    path = save(tmp_path, made)
    x = draw([STEPS, BATCH, INPUTS])
    y, h = session(path).run(None, {"X": x})
    description = describe_file(path)
    compare(run(description, x), y)
    compare(run(describe_file(path, key="Y_h"), x), h)
    layers = ["Flip", cell, "Flip"] if direction == "reverse" else [cell]
    axes = ["Unflatten", "Transpose"] if direction == "bidirectional" else ["Unsqueeze"]
    assert kinds(description) == layers + axes
    layer = description.layers[len(layers) // 2]
    assert layer.options["bias"] is bias
    assert layer.options["bidirectional"] is (direction == "bidirectional")
    assert layer.options["batch_first"] is False


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_linear_before_reset(tmp_path, after, direction):
    made = node_model("GRU", direction, linear_before_reset=after)
    path = save(tmp_path, made)
    x = draw([STEPS, BATCH, INPUTS])
    description = describe_file(path)
    compare(run(description, x), session(path).run(None, {"X": x})[0])
    assert description.layers[0].options.get("reset_after", True) is bool(after)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_coupled_gates(tmp_path, direction, bias):
    made = node_model("LSTM", direction, bias=bias, outputs=("Y", "Y_h"), input_forget=1)
    path = save(tmp_path, made)
    x = draw([STEPS, BATCH, INPUTS])
    y, h = session(path).run(None, {"X": x})
    description = describe_file(path)
    compare(run(description, x), y)
    compare(run(describe_file(path, key="Y_h"), x), h)
    (layer,) = (layer for layer in description.layers if layer.kind == "LSTM")
    assert layer.options["coupled"] is True
    assert layer.arrays["weight_hh_l0"].shape == (3 * HIDDEN, HIDDEN)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_relu(tmp_path, direction):
    count = 2 if direction == "bidirectional" else 1
    path = save(tmp_path, node_model("RNN", direction, activations=["Relu"] * count))
    x = draw([STEPS, BATCH, INPUTS])
    description = describe_file(path)
    compare(run(description, x), session(path).run(None, {"X": x})[0])
    (layer,) = (layer for layer in description.layers if layer.kind == "RNN")
    assert layer.options["nonlinearity"] == "relu"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lengths_of_the_caller(tmp_path, cell, direction):
    extra = {"inputs": [value("lens", [BATCH], TensorProto.INT32)]}
    made = node_model(cell, direction, inputs=["lens"], outputs=("Y", "Y_h"), extra=extra)
    path = save(tmp_path, merge_directions(made))
    x, lengths = draw([STEPS, BATCH, INPUTS]), np.array([7, 2, 4], np.int32)
    y, h = session(path).run(None, {"X": x, "lens": lengths})
    compare(run(describe_file(path, key="y"), x, lengths), y)
    compare(run(describe_file(path, key="y_h"), x, lengths), h)


def test_constant_lengths(tmp_path):
    full = {"arrays": {"lens": np.full(BATCH, STEPS, np.int32)}}
    path = save(tmp_path, node_model("GRU", inputs=["lens"], extra=full))
    assert kinds(describe_file(path)) == ["GRU", "Unsqueeze"]
    short = {"arrays": {"lens": np.array([7, 2, 4], np.int32)}}
    path = save(tmp_path, node_model("GRU", inputs=["lens"], extra=short))
    with pytest.raises(UnsupportedModel, match="sequence_lens"):
        describe_file(path)


def state_names(cell):
    return ["h0", "c0"] if cell == "LSTM" else ["h0"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_states_of_the_caller(tmp_path, cell, direction):
    count = 2 if direction == "bidirectional" else 1
    names = state_names(cell)
    shape = [count, BATCH, HIDDEN]
    extra = {"inputs": [value(name, shape) for name in names]}
    path = save(tmp_path, node_model(cell, direction, inputs=["", *names], extra=extra))
    feeds = {name: draw(shape, at) for at, name in enumerate(names)}
    x = draw([STEPS, BATCH, INPUTS])
    (y,) = session(path).run(None, {"X": x, **feeds})
    state = tuple(feeds.values()) if cell == "LSTM" else feeds["h0"]
    description = describe_file(path)
    compare(run(description, x, states={description.layers[0].name: state}), y)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_constant_states(tmp_path, cell, direction):
    count = 2 if direction == "bidirectional" else 1
    names = state_names(cell)
    row = {name: draw([count, 1, HIDDEN], at) for at, name in enumerate(names)}
    spread = {name: np.repeat(array, BATCH, 1) for name, array in row.items()}
    path = save(
        tmp_path, node_model(cell, direction, inputs=["", *names], extra={"arrays": spread})
    )
    x = draw([STEPS, BATCH, INPUTS])
    description = describe_file(path)
    compare(run(description, x), session(path).run(None, {"X": x})[0])
    assert description.layers[0].arrays["h_0"].shape == (count, HIDDEN)
    spread["h0"] = spread["h0"] + np.arange(BATCH, dtype=np.float32)[:, None]
    path = save(
        tmp_path, node_model(cell, direction, inputs=["", *names], extra={"arrays": spread})
    )
    with pytest.raises(UnsupportedModel, match="differs within the batch"):
        describe_file(path)


@pytest.mark.parametrize("inputs", [["", "h0"], ["", "", "c0"]])
def test_one_constant_state(tmp_path, inputs):
    """The other one of an LSTM is zero."""
    spread = {inputs[-1]: np.repeat(draw([1, 1, HIDDEN]), BATCH, 1)}
    path = save(tmp_path, node_model("LSTM", inputs=inputs, extra={"arrays": spread}))
    x = draw([STEPS, BATCH, INPUTS])
    description = describe_file(path)
    compare(run(description, x), session(path).run(None, {"X": x})[0])
    assert {"h_0", "c_0"} <= description.layers[0].arrays.keys()


def test_one_state_of_the_caller(tmp_path):
    shape = [1, BATCH, HIDDEN]
    made = node_model("LSTM", inputs=["", "h0"], extra={"inputs": [value("h0", shape)]})
    path = save(tmp_path, made)
    x, h = draw([STEPS, BATCH, INPUTS]), draw(shape, 2)
    description = describe_file(path)
    states = {description.layers[0].name: (h, np.zeros_like(h))}
    wanted = session(path).run(None, {"X": x, "h0": h})[0]
    compare(run(description, x, states=states), wanted)


def test_zero_states_and_peepholes(tmp_path):
    zeros = {
        "h0": np.zeros((1, BATCH, HIDDEN), np.float32),
        "c0": np.zeros((1, BATCH, HIDDEN), np.float32),
        "P": np.zeros((1, 3 * HIDDEN), np.float32),
    }
    made = node_model("LSTM", inputs=["", "h0", "c0", "P"], extra={"arrays": zeros})
    path = save(tmp_path, made)
    x = draw([STEPS, BATCH, INPUTS])
    description = describe_file(path)
    compare(run(description, x), session(path).run(None, {"X": x})[0])
    assert not {"h_0", "c_0"} & description.layers[0].arrays.keys()


REFUSED = {
    "clip": ("LSTM", {"clip": 3.0}, "clips"),
    "activations": ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "hardsigmoid|HardS"),
    "relu gru": ("GRU", {"activations": ["Sigmoid", "Relu"]}, "expected sigmoid, tanh"),
    "affine": ("RNN", {"activations": ["Affine"]}, "Affine"),
    "layout": ("RNN", {"layout": 2}, "layout is 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    cell, attributes, why = REFUSED[case]
    path = save(tmp_path, node_model(cell, **attributes))
    with pytest.raises(UnsupportedModel, match=why):
        describe_file(path)


def test_all_reasons_are_listed(tmp_path):
    extra = {"arrays": {"P": np.ones((1, 3 * HIDDEN), np.float32)}}
    made = node_model(
        "LSTM", inputs=["", "", "", "P"], extra=extra, clip=1.0, layout=2, outputs=("Y",)
    )
    made.graph.node.extend(
        [
            helper.make_node("Squeeze", ["Y", "one"], ["y"]),
            helper.make_node("Sin", ["y"], ["z"], "sine"),
            helper.make_node("Gelu", ["z"], ["out"], "gelu", domain="com.example"),
        ]
    )
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    made.graph.output[0].name = "out"
    with pytest.raises(UnsupportedModel) as caught:
        describe_file(save(tmp_path, made))
    for part in ("peepholes", "clips", "layout is 2", "'sine' (Sin)", "com.example.Gelu"):
        assert part in str(caught.value)
    assert "read_state_dict" in str(caught.value)


# --- ONNX's own cases ---

CASES = {  # name -> why it is refused, if it is
    "test_gru_defaults": "",
    "test_gru_with_initial_bias": "",
    "test_gru_seq_length": "",
    "test_gru_batchwise": "",
    "test_gru_reverse": "",
    "test_gru_bidirectional": "",
    "test_lstm_defaults": "",
    "test_lstm_with_initial_bias": "",
    "test_lstm_with_peepholes": "peepholes",
    "test_lstm_batchwise": "",
    "test_lstm_reverse": "",
    "test_lstm_bidirectional": "",
    "test_simple_rnn_defaults": "",
    "test_simple_rnn_with_initial_bias": "",
    "test_rnn_seq_length": "",
    "test_simple_rnn_batchwise": "",
    "test_simple_rnn_reverse": "",
    "test_simple_rnn_bidirectional": "",
}


@pytest.fixture(scope="module")
def cases():
    """Those of ONNX for the three operators: only their modules are imported."""
    from onnx.backend.test.case.node import collect_testcases

    modules = pkgutil.iter_modules

    def ours(*arguments):
        return (m for m in modules(*arguments) if m.name in ("lstm", "gru", "rnn"))

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(pkgutil, "iter_modules", ours)
        found = collect_testcases(None)
    return {case.name: case for case in found if case.model.graph.node[0].op_type in CELLS}


def test_no_case_is_missing(cases):
    assert cases.keys() <= CASES.keys()
    assert len(cases) >= 12


@pytest.mark.parametrize("name", CASES)
def test_case_of_onnx(tmp_path, cases, name):
    """The cases give weights as inputs; here they become initializers."""
    case = cases.get(name)
    if case is None:
        pytest.skip("onnx: this version has no such case")
    ((given, wanted),) = case.data_sets
    made = onnx.ModelProto()
    made.CopyFrom(case.model)
    names = [declared.name for declared in made.graph.input]
    for key, array in list(zip(names, given, strict=True))[1:]:
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    path = save(tmp_path, made)
    if CASES[name]:
        with pytest.raises(UnsupportedModel, match=CASES[name]):
            describe_file(path)
        return
    for key, array in zip([output.name for output in made.graph.output], wanted, strict=True):
        if key == "Y_c":
            continue  # a state that the layer returns, never a result by itself
        compare(run(describe_file(path, key=key), given[0]), array)


def test_cell_state_is_no_result(tmp_path):
    path = save(tmp_path, node_model("LSTM", outputs=("Y", "Y_h", "Y_c")))
    with pytest.raises(UnsupportedModel, match="cell state"):
        describe_file(path, key="Y_c")
    with pytest.raises(ValueError, match="no output 'Z'; it has 'Y', 'Y_h', 'Y_c'"):
        describe_file(path, key="Z")
