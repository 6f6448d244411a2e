# SPDX-License-Identifier: MIT
"""Build the ONNX model of a workload: one LSTM, GRU or RNN node per layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from fastrnn.bench import Arrays, Case, Workload

OPSET = 14
IR_VERSION = 8

# PyTorch's blocks of rows in ONNX's order of gates: i f g o -> i o f c; r z n -> z r h.
GATE_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def build_model(workload: Workload, states: bool = False) -> bytes:
    """The serialized model: input x (and lengths), outputs y, h_l{k} and, for an LSTM, c_l{k}.

    states: the model has one layer, and more inputs: h0 and, for an LSTM, c0.
    """
    case = workload.case
    if case.proj:
        raise ValueError("case: ONNX's LSTM has no projection")
    nodes: list[Any] = []
    constants = [numpy_helper.from_array(np.array([1], np.int64), "direction_axis")]
    if case.bidirectional:
        shape = np.array([case.steps, case.batch, 2 * case.hidden], np.int64)
        constants.append(numpy_helper.from_array(shape, "joined_shape"))
    outputs = [_tensor("y", (case.steps, case.batch, case.directions * case.hidden))]
    state_shape = (case.directions, case.batch, case.hidden)
    starts = [f"{state}0" for state in state_names(case)] if states else []
    x = "x"
    for layer in range(case.layers):
        y = "y" if layer == case.layers - 1 else f"y_l{layer}"
        constants += _layer_weights(case, workload.weights, layer)
        nodes += _layer_nodes(case, layer, x, y, starts)
        outputs += [_tensor(f"{state}_l{layer}", state_shape) for state in state_names(case)]
        x = y
    inputs = [_tensor("x", (case.steps, case.batch, case.inputs))]
    if case.ragged:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [case.batch]))
    inputs += [_tensor(start, state_shape) for start in starts]
    graph = helper.make_graph(nodes, case.name, inputs, outputs, constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def model_inputs(workload: Workload) -> Arrays:
    """The arrays to feed, by input name."""
    feeds = {"x": workload.x}
    if workload.lengths is not None:
        feeds["lengths"] = workload.lengths.astype(np.int32)
    return feeds


def state_names(case: Case) -> tuple[str, ...]:
    return ("h", "c") if case.cell == "LSTM" else ("h",)


def gather_outputs(case: Case, outputs: Arrays) -> Arrays:
    """A model's outputs by the common names: y, h_n and c_n in PyTorch's shapes."""
    gathered = {"y": outputs["y"]}
    for state in state_names(case):
        layers = [outputs[f"{state}_l{layer}"] for layer in range(case.layers)]
        gathered[f"{state}_n"] = np.concatenate(layers)
    return gathered


def _tensor(name: str, shape: tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _layer_nodes(case: Case, layer: int, x: str, y: str, starts: list[str]) -> list[Any]:
    """The recurrent node, and nodes that reshape its [T][D][B][H] output to [T][B][D * H]."""
    raw = f"raw_l{layer}"
    attributes: dict[str, Any] = {"hidden_size": case.hidden}
    if case.bidirectional:
        attributes["direction"] = "bidirectional"
    if case.cell == "GRU":
        attributes["linear_before_reset"] = 1
    if case.cell == "RNN":
        attributes["activations"] = [case.nonlinearity.capitalize()] * case.directions
    inputs = [x, f"W_l{layer}", f"R_l{layer}", f"B_l{layer}"]
    if case.ragged or starts:
        inputs.append("lengths" if case.ragged else "")
    inputs += starts
    results = [raw, *(f"{state}_l{layer}" for state in state_names(case))]
    node = helper.make_node(case.cell, inputs, results, name=f"layer_{layer}", **attributes)
    if not case.bidirectional:
        return [node, helper.make_node("Squeeze", [raw, "direction_axis"], [y])]
    turned = f"turned_l{layer}"
    return [
        node,
        helper.make_node("Transpose", [raw], [turned], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [turned, "joined_shape"], [y]),
    ]


def _layer_weights(case: Case, weights: Arrays, layer: int) -> list[Any]:
    suffixes = [f"_l{layer}{suffix}" for suffix in ("", "_reverse")[: case.directions]]

    def stacked(kind: str) -> np.ndarray:
        return np.stack([_reorder(case, weights[kind + suffix]) for suffix in suffixes])

    bias = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
    return [
        numpy_helper.from_array(stacked("weight_ih"), f"W_l{layer}"),
        numpy_helper.from_array(stacked("weight_hh"), f"R_l{layer}"),
        numpy_helper.from_array(bias, f"B_l{layer}"),
    ]


def _reorder(case: Case, rows: np.ndarray) -> np.ndarray:
    blocks = rows.reshape(-1, case.hidden, *rows.shape[1:])
    return np.ascontiguousarray(blocks[list(GATE_ORDER[case.cell])]).reshape(rows.shape)
