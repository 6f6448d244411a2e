# SPDX-License-Identifier: MIT
"""torch.compile of a torch.nn layer, which unrolls its steps and compiles both directions."""

from __future__ import annotations

import torch
import torch._dynamo
import torch._inductor.config

from fastrnn.bench import Workload

from . import engine_torch
from .engines import Runner, UnsupportedError, prepare_by_mode
from .torch_training import make_trainer

# Steps over all layers and directions. Each one takes seconds to compile.
MOST_STEPS = 30


class Engine(engine_torch.Engine):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # Without it the compiler skips recurrent layers.
        torch._dynamo.config.allow_rnn = True
        # No pool of compiler processes: these would continue while this process is stopped.
        torch._inductor.config.compile_threads = 1

    def prepare(self, workload: Workload, mode: str) -> Runner:
        return prepare_by_mode({"train": make_compiled_trainer}, mode, workload)


def make_compiled_trainer(workload: Workload) -> Runner:
    case = workload.case
    steps = case.steps * case.layers * case.directions
    if case.ragged:
        raise UnsupportedError("torch.compile does not take packed sequences into its graphs")
    if steps > MOST_STEPS:
        raise UnsupportedError(f"takes too long: each of {steps} unrolled steps is compiled alone")
    torch._dynamo.reset()
    runner = make_trainer(workload, wrap=torch.compile)
    try:
        runner.call()
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        raise UnsupportedError(f"torch.compile: {type(error).__name__}: {line}") from error
    return Runner(runner.call, runner.outputs, lambda: f"inductor, {steps} steps unrolled")
