# SPDX-License-Identifier: MIT
"""ONNX Runtime on the CPU, with inputs and outputs bound once so that no copies are timed."""

from __future__ import annotations

import onnxruntime as ort

from .engines import Runner, UnsupportedError, require_mode
from .onnx_model import build_model, gather_outputs, model_inputs
from .workload import Arrays, Workload


class Engine:
    version = str(ort.__version__)

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def prepare(self, workload: Workload, mode: str) -> Runner:
        require_mode(mode, ("infer",), "ONNX Runtime")
        case = workload.case
        if case.proj:
            raise UnsupportedError("ONNX has no LSTM with projection")
        session = ort.InferenceSession(
            build_model(workload), self._options(), providers=["CPUExecutionProvider"]
        )
        feeds = model_inputs(workload)
        names = [output.name for output in session.get_outputs()]
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for output in session.get_outputs():
            buffer = ort.OrtValue.ortvalue_from_shape_and_type(output.shape, "float32")
            binding.bind_ortvalue_output(output.name, buffer)

        def call() -> None:
            session.run_with_iobinding(binding)

        def outputs() -> Arrays:
            call()
            return gather_outputs(
                case, dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))
            )

        return Runner(call, outputs, lambda: f"{case.cell} (MLAS)", keep=feeds)

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        return options
