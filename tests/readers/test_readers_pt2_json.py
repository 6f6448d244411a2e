# SPDX-License-Identifier: MIT
"""Exported programs made by hand, in the layout of torch 2.7: forms of their JSON, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reader_files import Entry, list_, pickle, zip_file

import fastrnn
from fastrnn.readers import FormatError, describe_file

ATEN = "torch.ops.aten."


def size(number: int) -> dict[str, Any]:
    return {"as_int": number}


def node(target: str, *inputs: dict[str, Any], outputs: Any = None) -> dict[str, Any]:
    return {
        "target": target,
        "inputs": [{"name": "", "arg": arg} for arg in inputs],
        "outputs": [{"as_tensor": {"name": "y"}}] if outputs is None else outputs,
        "metadata": {},
    }


X = {"as_tensor": {"name": "x"}}


def program() -> dict[str, Any]:
    """The ReLU of x, of shape (2, 3, 4)."""
    return {
        "schema_version": {"major": 8, "minor": 0},
        "graph_module": {
            "graph": {
                "nodes": [node(f"{ATEN}relu.default", X)],
                "tensor_values": {"x": {"sizes": [size(2), size(3), size(4)]}},
            },
            "signature": {
                "input_specs": [{"user_input": {"arg": X}}],
                "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "y"}}}}],
            },
        },
    }


def saved(folder, made: dict[str, Any], weights: bytes = b"", version: bytes = b"8.8"):
    members = {
        "version": version,
        "serialized_exported_program.json": json.dumps(made).encode(),
        "serialized_state_dict.pt": weights,
        "serialized_constants.pt": b"",
    }
    path = folder / "m.pt2"
    path.write_bytes(zip_file([Entry(name, raw) for name, raw in members.items()]))
    return path


def parts(made: dict[str, Any]) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """The graph, the inputs and the outputs of a program."""
    module = made["graph_module"]
    return module["graph"], module["signature"]["input_specs"], module["signature"]["output_specs"]


def with_node(*inputs: dict[str, Any], op: str = f"{ATEN}relu.default", **more: Any):
    """A change of a program, which gives it this node alone."""
    return lambda graph, inputs_, outputs: graph.update(nodes=[node(op, *inputs, **more)])


Change = Callable[[dict[str, Any], list[Any], list[Any]], object]
TENSORS = {"as_tensors": [{"name": "x"}]}
FORMS: dict[str, Change] = {
    "plain": lambda graph, inputs, outputs: None,
    "an input that is a number": lambda graph, inputs, outputs: inputs.append(
        {"user_input": {"arg": {"as_int": 3}}}
    ),
    "tokens": lambda graph, inputs, outputs: (
        inputs.append({"token": {"arg": {}}}),
        outputs.append({"token": {"arg": {}}}),
    ),
    "a result that is a number": lambda graph, inputs, outputs: outputs.append(
        {"user_output": {"arg": {"as_int": 3}}}
    ),
    "an optional tensor": with_node({"as_optional_tensor": {"as_tensor": {"name": "x"}}}),
    "a list of tensors": lambda graph, inputs, outputs: graph["nodes"].insert(
        0, node(f"{ATEN}cat.default", TENSORS, outputs=[{"as_tensor": {"name": "z"}}])
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path, form):
    made = program()
    FORMS[form](*parts(made))
    x = np.float32([[[-1, 2, -3, 4]] * 3] * 2)
    np.testing.assert_array_equal(fastrnn.load(saved(tmp_path, made))(x)[0], np.maximum(x, 0))


def test_layers_without_a_module(tmp_path):
    """Weights that the graph computes belong to no module; nothing says that they are a layer's."""
    made = program()
    arguments = (X, {"as_none": True}, TENSORS, {"as_bool": False})
    parts(made)[0]["nodes"] = [node(f"{ATEN}gru.input", *arguments)]
    assert fastrnn.read_state_dict(saved(tmp_path, made)) == {}


REFUSED: list[tuple[Change, str]] = [
    (lambda graph, inputs, outputs: inputs.append({}), "an item of input_specs has 0 kinds"),
    (lambda graph, inputs, outputs: inputs.append({"custom_obj": {}}), "this kind of input is not"),
    (
        lambda graph, inputs, outputs: outputs.append({"buffer_mutation": {}}),
        "the model changes or returns other things",
    ),
    (
        lambda graph, inputs, outputs: inputs.append(
            {"parameter": {"arg": {"name": "p"}, "parameter_name": "w"}}
        ),
        "'w' .* it is missing from the archive",
    ),
    (lambda graph, inputs, outputs: graph.update(nodes={}), "the graph's nodes are not a list"),
    (
        lambda graph, inputs, outputs: graph.update(tensor_values={"x": {"sizes": 1}}),
        "tensor 'x': its sizes are not a list",
    ),
    (with_node(X, op=3), "target is not a string"),  # type: ignore[arg-type]
    (with_node(X, op="math.sqrt"), r"\(math.sqrt\): there is no layer"),
    (with_node(X, X, op=f"{ATEN}lstm.data"), r"\(lstm.data\): there is no layer"),
    (with_node(X, outputs={}), "its outputs are not a list"),
    (
        lambda graph, inputs, outputs: graph["nodes"][0].update(inputs={}),
        "its inputs are not a list",
    ),
    (with_node({}), "an argument has 0 kinds, expected one"),
    (with_node({"as_tensors": 3}), "an argument is not a list"),
    (with_node({"as_ints": ["a"]}), "an argument is not of the kind it says"),
    (with_node({"as_int": {}}), "an argument is not of the kind it says"),
]


@pytest.mark.parametrize(("change", "why"), REFUSED)
def test_refused(tmp_path, change, why):
    made = program()
    change(*parts(made))
    with pytest.raises(FormatError, match=why):
        describe_file(saved(tmp_path, made))


def test_specs_that_are_no_list(tmp_path):
    made = program()
    made["graph_module"]["signature"]["input_specs"] = {}
    with pytest.raises(FormatError, match="input_specs is not a list"):
        describe_file(saved(tmp_path, made))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"version": b"eight"}, "unknown version b'eight'"),
        ({"weights": b"no archive"}, "serialized_state_dict.pt: not a torch.save archive"),
        ({"weights": zip_file([Entry("m/data.pkl", pickle(list_()))])}, "does not hold a dict"),
    ],
)
def test_bad_members(tmp_path, options, why):
    with pytest.raises(FormatError, match=why):
        describe_file(saved(tmp_path, program(), **options))


def test_newer_layout(tmp_path):
    """What an archive has to hold, of which the lists of weights may be empty files."""
    path = tmp_path / "m.pt2"
    members = {
        "archive_format": b"pt2",
        "archive_version": b"0",
        "models/model.json": json.dumps(program()).encode(),
        "data/weights/model.pt": b"",
        "data/constants/model.pt": b"",
    }
    for name, raw, why in [
        ("", b"", ""),
        ("archive_version", b"9", "archive_version is b'9', expected b'0'"),
        ("data/weights/model.pt", None, "model_weights_config.json' is missing"),
        ("models/model.json", None, "the archive holds no exported program"),
    ]:
        changed = {**members, **({name: raw} if name else {})}
        entries = [Entry(f"m/{name}", raw) for name, raw in changed.items() if raw is not None]
        path.write_bytes(zip_file(entries))
        if why:
            with pytest.raises(FormatError, match=why):
                describe_file(path)
        else:
            assert [layer.kind for layer in describe_file(path).layers] == ["ReLU"]


def test_axes(tmp_path):
    """All places of an axis as so many results; squeeze keeps what is not of size 1."""
    z = [{"as_tensor": {"name": "z"}}]
    places = [{"as_tensors": [{"name": "w"}, {"name": "z"}]}]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    for first, wanted in [
        (node(f"{ATEN}squeeze.default", X, outputs=z), x),
        (node(f"{ATEN}unbind.int", X, {"as_int": 0}, outputs=places), x[1]),
    ]:
        made = program()
        parts(made)[0]["nodes"] = [first, node(f"{ATEN}relu.default", *z)]
        found = fastrnn.load(saved(tmp_path, made))(x)[0]
        np.testing.assert_array_equal(found, np.maximum(wanted, 0))
