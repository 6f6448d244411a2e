# SPDX-License-Identifier: MIT
"""ONNX models for the tests of the importer, made by ONNX's helpers and run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from description_runner import run
from limits import IMPORTED, error
from onnx import TensorProto, helper, numpy_helper

from fastrnn.readers import describe_file
from fastrnn.readers.description import Description
from fastrnn.stack_spec import LAYERS


def tensor(array, name: str) -> TensorProto:
    return numpy_helper.from_array(np.array(array, order="C"), name)


def ints(name: str, *values: int) -> TensorProto:
    return tensor(np.array(values, np.int64), name)


def value(name: str, shape, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, arrays=(), opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    """A model; outputs are names, arrays a dict or a list of tensors."""
    if isinstance(arrays, dict):
        arrays = [tensor(array, name) for name, array in arrays.items()]
    outputs = [value(name, None) if isinstance(name, str) else name for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(arrays))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = ir
    return made


def weights(cell: str, inputs: int, hidden: int, directions: int = 1, *, bias=True, seed=0):
    """W, R and B of a recurrent node."""
    draw = np.random.default_rng(seed)
    rows = len(LAYERS[cell][0].gates) * hidden
    arrays = {
        "W": draw.uniform(-0.6, 0.6, (directions, rows, inputs)).astype(np.float32),
        "R": draw.uniform(-0.6, 0.6, (directions, rows, hidden)).astype(np.float32),
    }
    if bias:
        arrays["B"] = draw.uniform(-0.6, 0.6, (directions, 2 * rows)).astype(np.float32)
    return arrays


def save(folder: Path, made: onnx.ModelProto, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def draw(shape, seed: int = 1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def agrees(path: Path, feeds: dict, *, output: str | None = None, **given) -> Description:
    """Require that the description returns what ONNX Runtime returns, given the first input."""
    description = describe_file(path, key=output)
    wanted = session(path).run([output] if output else None, feeds)[0]
    compare(run(description, next(iter(feeds.values())), **given), wanted)
    return description


def compare(found: np.ndarray, wanted: np.ndarray) -> None:
    assert error(found, wanted) <= IMPORTED


def kinds(description: Description) -> list[str]:
    return [layer.kind for layer in description.layers]
