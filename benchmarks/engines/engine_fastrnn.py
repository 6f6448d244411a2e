# SPDX-License-Identifier: MIT
"""fastrnn: a timed call is one call of the layer, which allocates its result."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastrnn
from fastrnn.bench import Arrays, Workload, make_layer, named_outputs
from fastrnn.layers.recurrent import Recurrent
from fastrnn.runtime.plans import plan

from ..measuring.workload import output_gradient
from .engines import Prepare, Runner, make_each, prepare_by_mode, require_plain_lstm
from .whole_models import make_silero, make_tagger


class Engine:
    version = str(fastrnn.__version__)

    def __init__(self, threads: int) -> None:
        fastrnn.set_num_threads(threads)

    def prepare(self, workload: Workload, mode: str) -> Runner:
        ways: dict[str, Prepare] = {
            "infer": make_runner,
            "padded": make_padded,
            "streams": make_streams,
            "train": make_trainer,
            "repack": partial(_make_short, changed=True),
            "reuse": partial(_make_short, changed=False),
            "tagger": make_tagger,
            "silero": make_silero,
        }
        return prepare_by_mode(ways, mode, workload)


def make_runner(workload: Workload) -> Runner:
    """Inference with the current number of threads."""
    layer = make_layer(workload)
    x, lengths = workload.x, workload.lengths

    def call() -> tuple[np.ndarray, object]:
        return layer(x, lengths=lengths)

    path = partial(_path, layer, workload.case.steps, workload.case.batch)
    return Runner(call, lambda: named_outputs(*call()), path)


def make_padded(workload: Workload) -> Runner:
    """Compute all steps of all rows. Only y within the lengths is meaningful."""
    layer, x = make_layer(workload), workload.x
    case = workload.case
    lengths = np.full(case.batch, case.steps) if workload.lengths is None else workload.lengths

    def outputs() -> Arrays:
        y = layer(x)[0].copy()
        y[np.arange(case.steps)[:, None] >= lengths] = 0.0
        return {"y": y}

    return Runner(lambda: layer(x), outputs, partial(_path, layer, case.steps, case.batch))


def make_streams(workload: Workload) -> Runner:
    """A stream for each row, with results written to the caller's array."""
    require_plain_lstm(workload)
    layer = make_layer(workload)
    case, x = workload.case, workload.x
    y = np.empty((case.steps, case.batch, case.outputs), np.float32)

    def make() -> fastrnn.Stream:
        stream = layer.stream()
        stream.step(x[0, :1])
        return stream

    streams, memory = make_each(make, case.batch)
    steps = [
        (stream.step, x[t, row : row + 1], y[t, row : row + 1])
        for t in range(case.steps)
        for row, stream in enumerate(streams)
    ]

    def call() -> None:
        for step, x_row, y_row in steps:
            step(x_row, out=y_row)

    def outputs() -> Arrays:
        for stream in streams:
            stream.reset()
        call()
        h, c = zip(*(stream.state for stream in streams), strict=True)
        return {"y": y, "h_n": np.concatenate(h, axis=1), "c_n": np.concatenate(c, axis=1)}

    return Runner(call, outputs, partial(_path, layer, 1, 1), memory=memory)


def make_trainer(workload: Workload) -> Runner:
    """Forward and backward pass, with the gradients of x and all weights in new arrays."""
    layer = make_layer(workload)
    x, lengths, dy = workload.x, workload.lengths, output_gradient(workload)

    def call() -> tuple[np.ndarray, object, Any]:
        y, state, backward = layer.vjp(x, lengths=lengths)
        return y, state, backward(dy)

    def outputs() -> Arrays:
        y, state, gradients = call()
        return named_outputs(y, state) | named_gradients(gradients)

    return Runner(call, outputs, partial(_path, layer, workload.case.steps, workload.case.batch))


def named_gradients(gradients: Any) -> Arrays:
    """The gradients of x and the weights, by names that differ from those of the outputs."""
    found: Arrays = {"x": gradients.x, **gradients.weights}
    return {f"d_{name}": array for name, array in found.items()}


def _make_short(workload: Workload, changed: bool) -> Runner:
    """One step of one row, so short that the time to pack the weights is visible."""
    layer = make_layer(workload)
    x = workload.x[:1, :1]

    def call() -> tuple[np.ndarray, object]:
        if changed:
            with layer.editing():  # as an optimizer does; the weights count as changed
                pass
        y, state, _ = layer.vjp(x)
        return y, state

    return Runner(call, lambda: named_outputs(*call()), partial(_path, layer, 1, 1))


def _path(layer: Recurrent, steps: int, batch: int) -> str:
    """The instruction set, and how the plan divides the pass among threads."""
    chosen = plan(layer, steps, batch)
    kinds = [name for name in chosen if name.endswith(("_groups", "_teams", "_workers"))]
    splits = [f"{chosen[name]} {name.replace('_', ' ')}" for name in kinds if chosen[name] > 1]
    return ", ".join([chosen["isa"], *splits])
