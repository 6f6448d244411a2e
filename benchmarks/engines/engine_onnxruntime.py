# SPDX-License-Identifier: MIT
"""ONNX Runtime on the CPU, with inputs and outputs bound in advance, so that nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

from fastrnn.bench import Arrays, Workload

from .engines import (
    WHOLE,
    Prepare,
    Runner,
    UnsupportedError,
    make_each,
    prepare_by_mode,
    require_plain_lstm,
)
from .onnx_model import build_model, gather_outputs, model_inputs
from .onnx_session import bind, make_session

Step = Callable[[], object]


class Engine:
    version = str(ort.__version__)

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def prepare(self, workload: Workload, mode: str) -> Runner:
        if workload.case.proj:
            raise UnsupportedError("ONNX has no LSTM with projection")
        ways: dict[str, Prepare] = {
            "infer": self._make_runner,
            "streams": self._make_streams,
            "sessions": self._make_sessions,
        }
        if mode in WHOLE:  # the models come from PyTorch, which the other modes do not need
            from . import whole_onnxruntime as whole

            ways["tagger"] = partial(whole.make_tagger, threads=self.threads)
            ways["silero"] = partial(whole.make_silero, threads=self.threads)
        return prepare_by_mode(ways, mode, workload)

    def _make_runner(self, workload: Workload) -> Runner:
        case = workload.case
        session = make_session(build_model(workload), self.threads)
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

    def _make_streams(self, workload: Workload) -> Runner:
        """One session. A step reads one of two states of a stream and writes the other.

        Both are bound in advance, so that nothing is copied between steps.
        """
        case = workload.case
        if case.steps % 2:
            raise UnsupportedError("streams: an even number of steps, for the states to alternate")
        require_plain_lstm(workload)
        session = make_session(_step_model(workload), self.threads)
        y = np.empty((case.steps, case.batch, case.hidden), np.float32)
        states = [np.zeros((2, 2, 1, 1, case.hidden), np.float32) for _ in range(case.batch)]
        rows = iter(range(-1, case.batch))  # the first one is discarded

        def make() -> list[Any]:
            row = max(next(rows), 0)
            bound = []
            for t in range(case.steps):
                read, write = states[row][t % 2], states[row][1 - t % 2]
                arrays = {"h0": read[0], "c0": read[1], "h_l0": write[0], "c_l0": write[1]}
                arrays["x"] = workload.x[t : t + 1, row : row + 1]
                arrays["y"] = y[t : t + 1, row : row + 1]
                bound.append(bind(session, arrays))
            session.run_with_iobinding(bound[0])
            return bound

        bindings, memory = make_each(make, case.batch)
        steps = [bound[t] for t in range(case.steps) for bound in bindings]

        def call() -> None:
            for binding in steps:
                session.run_with_iobinding(binding)

        def outputs() -> Arrays:
            for state in states:
                state[...] = 0.0
            call()
            h, c = np.concatenate([state[0] for state in states], axis=2)
            return {"y": y, "h_n": h, "c_n": c}

        kept = (workload, states, bindings)
        return Runner(call, outputs, lambda: "LSTM (MLAS), bound states", keep=kept, memory=memory)

    def _make_sessions(self, workload: Workload) -> Runner:
        """A session per stream and `run` with arrays, as in most programs."""
        require_plain_lstm(workload)
        case, x = workload.case, workload.x
        model = _step_model(workload)
        zero = np.zeros((1, 1, case.hidden), np.float32)

        def make() -> Any:
            session = make_session(model, self.threads)
            session.run(["y"], {"x": x[:1, :1], "h0": zero, "c0": zero})
            return session

        sessions, memory = make_each(make, case.batch)
        states = [(zero, zero)] * case.batch
        y: list[list[np.ndarray]] = []

        def call() -> None:
            y.clear()
            for t in range(case.steps):
                y_t = []
                for row, session in enumerate(sessions):
                    h, c = states[row]
                    feeds = {"x": x[t : t + 1, row : row + 1], "h0": h, "c0": c}
                    y_row, h, c = session.run(["y", "h_l0", "c_l0"], feeds)
                    states[row] = h, c
                    y_t.append(y_row)
                y.append(y_t)

        def outputs() -> Arrays:
            states[:] = [(zero, zero)] * case.batch
            call()
            h, c = (np.concatenate(part, axis=1) for part in zip(*states, strict=True))
            rows = [np.concatenate(y_t, axis=1) for y_t in y]
            return {"y": np.concatenate(rows), "h_n": h, "c_n": c}

        return Runner(call, outputs, lambda: "LSTM (MLAS), session.run", memory=memory)


def _step_model(workload: Workload) -> bytes:
    """The model of one step of one row with its state as an input."""
    step = replace(workload, case=replace(workload.case, steps=1, batch=1))
    return build_model(step, states=True)
