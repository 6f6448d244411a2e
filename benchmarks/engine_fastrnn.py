# SPDX-License-Identifier: MIT
"""fastrnn itself: one layer call per timed call, the result freshly allocated as a user gets it."""

from __future__ import annotations

from typing import Any

import fastrnn

from .cases import Case
from .engines import Runner, require_mode
from .workload import Arrays, Workload


class Engine:
    version = str(fastrnn.__version__)

    def __init__(self, threads: int) -> None:
        fastrnn.set_num_threads(threads)

    def prepare(self, workload: Workload, mode: str) -> Runner:
        require_mode(mode, ("infer",), "fastrnn")
        return make_runner(workload)


def make_runner(workload: Workload) -> Runner:
    """Inference with the current number of threads."""
    layer = make_layer(workload)
    x, lengths = workload.x, workload.lengths

    def call() -> Any:
        return layer(x, lengths=lengths)

    def outputs() -> Arrays:
        y, state = call()
        states = state if workload.case.cell == "LSTM" else (state,)
        return dict(zip(("y", "h_n", "c_n"), (y, *states), strict=False))

    return Runner(call, outputs, lambda: str(layer.isa))


def make_layer(workload: Workload) -> Any:
    """The fastrnn layer of a workload with its weights loaded."""
    case = workload.case
    layer = getattr(fastrnn, case.cell)(
        case.inputs, case.hidden, case.layers, bidirectional=case.bidirectional, **_options(case)
    )
    layer.load_state_dict(workload.weights)
    return layer


def _options(case: Case) -> dict[str, Any]:
    if case.cell == "RNN":
        return {"nonlinearity": case.nonlinearity}
    return {"proj_size": case.proj} if case.proj else {}
