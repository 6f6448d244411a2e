# SPDX-License-Identifier: MIT
"""fastrnn in PyTorch: the layers of fastrnn.torch, trained like those of torch.nn."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch

import fastrnn
from fastrnn import torch as replacements
from fastrnn.bench import Arrays, Workload, named_outputs

from . import engine_torch
from .engines import Prepare, Runner, prepare_by_mode
from .torch_layers import arrays, make_layer, replaced_path
from .torch_training import make_step, make_trainer


class Engine(engine_torch.Engine):
    version = str(fastrnn.__version__)

    def prepare(self, workload: Workload, mode: str) -> Runner:
        ways: dict[str, Prepare] = {
            "train": partial(make_trainer, layers=replacements),
            "step": partial(make_step, change=replacements.accelerate),
            "repack": partial(_make_short, changed=True),
            "reuse": partial(_make_short, changed=False),
        }
        runner = prepare_by_mode(ways, mode, workload)
        return replace(runner, path=lambda: replaced_path(runner.call))


def _make_short(workload: Workload, changed: bool) -> Runner:
    """One step of one row. Weights count as changed if their version changes, so only that does."""
    layer = make_layer(workload, replacements).train()
    x = torch.from_numpy(workload.x[:1, :1].copy())
    parameters = tuple(layer.parameters())

    def call() -> Any:
        if changed:
            torch.autograd.graph.increment_version(parameters)
        return layer(x)

    def outputs() -> Arrays:
        y, state = call()
        return named_outputs(*arrays(y, state))

    return Runner(call, outputs, lambda: "")
