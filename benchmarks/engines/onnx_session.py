# SPDX-License-Identifier: MIT
"""Sessions of ONNX Runtime, and arrays bound to them."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from fastrnn.bench import Arrays


def make_session(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads  # they spin between calls, by default
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bind(session: ort.InferenceSession, arrays: Arrays) -> Any:
    """A binding to the memory of these arrays."""
    binding = session.io_binding()
    for wanted, bind_value in (
        (session.get_inputs(), binding.bind_ortvalue_input),
        (session.get_outputs(), binding.bind_ortvalue_output),
    ):
        for node in wanted:
            bind_value(node.name, ort.OrtValue.ortvalue_from_numpy(arrays[node.name]))
    return binding
