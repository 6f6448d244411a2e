# SPDX-License-Identifier: MIT
"""OpenVINO on the CPU with the same ONNX model, one stream, tensors set in advance."""

from __future__ import annotations

from collections import Counter

import numpy as np
import openvino as ov

from fastrnn.bench import Arrays, Workload

from .engines import Runner, UnsupportedError, prepare_by_mode
from .onnx_model import build_model, gather_outputs, model_inputs

# Layer types of the executed graph that are not part of the recurrence.
PLUMBING = {
    "Input",
    "Output",
    "Const",
    "Constant",
    "Reorder",
    "Reshape",
    "Transpose",
    "Concatenation",
}


class Engine:
    version = str(ov.__version__).split("-")[0]

    def __init__(self, threads: int) -> None:
        self.core = ov.Core()
        self.settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }

    def prepare(self, workload: Workload, mode: str) -> Runner:
        return prepare_by_mode({"infer": self._make_runner}, mode, workload)

    def _make_runner(self, workload: Workload) -> Runner:
        case = workload.case
        if case.proj:
            raise UnsupportedError("ONNX has no LSTM with projection")
        model = self.core.read_model(build_model(workload))
        compiled = self.core.compile_model(model, "CPU", self.settings)
        request = compiled.create_infer_request()
        feeds = model_inputs(workload)
        for name, array in feeds.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))

        # The synchronous call with shared outputs takes 70 us less than start_async and wait.
        def call() -> None:
            request.infer(share_outputs=True)

        def outputs() -> Arrays:
            call()
            ports = {port.get_any_name(): port for port in compiled.outputs}
            arrays = {name: np.array(request.get_tensor(port).data) for name, port in ports.items()}
            return gather_outputs(case, arrays)

        return Runner(call, outputs, lambda: _executed_layers(compiled), keep=feeds)


def _executed_layers(compiled: ov.CompiledModel) -> str:
    """The recurrent layer types, or loops, of the executed graph with their primitives."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = str(info["layerType"].astype(str)) if "layerType" in info else node.get_type_name()
        if kind in PLUMBING:
            continue
        primitive = info["primitiveType"].astype(str) if "primitiveType" in info else ""
        found[f"{kind} {primitive}".strip()] += 1
    return ", ".join(name if n == 1 else f"{n} x {name}" for name, n in sorted(found.items()))
