# SPDX-License-Identifier: MIT
"""Whole models in ONNX Runtime, exported from PyTorch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastrnn.bench import Arrays, Workload

from .engines import Runner
from .onnx_session import bind, make_session
from .whole_models import CHUNKS, TAGS, silero_example, tagger_words
from .whole_torch import Silero, Tagger

OPSET = 17


def make_tagger(workload: Workload, threads: int) -> Runner:
    case, words = workload.case, tagger_words(workload.case)
    model = export(Tagger(workload), [torch.from_numpy(words)], ["words"], ["y"])
    session = make_session(model, threads)
    arrays = {"words": words, "y": np.empty((case.steps, case.batch, TAGS), np.float32)}
    binding = bind(session, arrays)

    def call() -> None:
        session.run_with_iobinding(binding)

    def outputs() -> Arrays:
        call()
        return {"y": arrays["y"]}

    return Runner(call, outputs, lambda: "LSTM (MLAS)", keep=arrays)


def make_silero(workload: Workload, threads: int) -> Runner:
    """Chunks bound in advance, with two alternating pairs of states, so that nothing is copied."""
    example = silero_example()
    chunks = np.ascontiguousarray(example.cut(example.sounds(CHUNKS)))[:, None]
    zeros = torch.zeros(1, 1, 128)
    names = ["x", "h", "c"], ["y", "h_n", "c_n"]
    inputs = [torch.from_numpy(chunks[0]), zeros, zeros]
    session = make_session(export(Silero(example), inputs, *names), threads)
    states = np.zeros((2, 2, 1, 1, 128), np.float32)
    y = np.empty((CHUNKS, 1, 1), np.float32)
    bindings = []
    for i in range(CHUNKS):
        (h, c), (h_n, c_n) = states[i % 2], states[1 - i % 2]
        arrays = {"x": chunks[i], "h": h, "c": c, "y": y[i], "h_n": h_n, "c_n": c_n}
        bindings.append(bind(session, arrays))
    place = 0

    def call() -> None:
        nonlocal place
        session.run_with_iobinding(bindings[place])
        place = (place + 1) % CHUNKS

    def outputs() -> Arrays:
        nonlocal place
        states[...], place = 0.0, 0
        for _ in range(CHUNKS):
            call()
        return {"y": y[:, 0]}

    return Runner(call, outputs, lambda: "exported by torch.onnx", keep=(chunks, states, y))


def export(
    module: torch.nn.Module, inputs: Sequence[Any], names: list[str], results: list[str]
) -> bytes:
    """The module in ONNX for inputs of these sizes only, so that constants can be folded."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter warns that there is a newer one
        torch.onnx.export(
            module.eval(),
            tuple(inputs),
            file,
            input_names=names,
            output_names=results,
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()
