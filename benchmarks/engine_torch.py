# SPDX-License-Identifier: MIT
"""PyTorch eager: torch.nn layers under inference_mode; ragged batches as packed sequences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils import rnn as packing

from .cases import Case
from .engines import Runner, require_mode
from .workload import Arrays, Workload


class Engine:
    version = str(torch.__version__)

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        # nn.LSTM says on every call with a projection that oneDNN cannot do it; see `path`.
        warnings.filterwarnings("ignore", message=".*projections is not supported with oneDNN.*")

    def prepare(self, workload: Workload, mode: str) -> Runner:
        require_mode(mode, ("infer",), "PyTorch")
        layer = make_layer(workload).eval()
        x = torch.from_numpy(workload.x)
        call = _plain_call(layer, x)
        if workload.lengths is not None:
            call = _packed_call(layer, x, torch.from_numpy(workload.lengths))

        def outputs() -> Arrays:
            y, state = call()
            states = state if workload.case.cell == "LSTM" else (state,)
            named = zip(("y", "h_n", "c_n"), (y, *states), strict=False)
            return {name: tensor.numpy() for name, tensor in named}

        return Runner(call, outputs, lambda: _observed_path(call), torch.inference_mode)


def make_layer(workload: Workload) -> torch.nn.RNNBase:
    """The torch.nn layer of a workload with its weights loaded."""
    case = workload.case
    layer: torch.nn.RNNBase = getattr(torch.nn, case.cell)(
        case.inputs, case.hidden, case.layers, bidirectional=case.bidirectional, **_options(case)
    )
    tensors = {name: torch.from_numpy(array) for name, array in workload.weights.items()}
    layer.load_state_dict(tensors)
    return layer


def _options(case: Case) -> dict[str, Any]:
    if case.cell == "RNN":
        return {"nonlinearity": case.nonlinearity}
    return {"proj_size": case.proj} if case.proj else {}


def _plain_call(layer: torch.nn.RNNBase, x: torch.Tensor) -> Callable[[], Any]:
    return lambda: layer(x)


def _packed_call(
    layer: torch.nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor
) -> Callable[[], Any]:
    """The only correct way with lengths: pack, run, pad again, all of it timed."""
    steps = x.shape[0]

    def call() -> Any:
        packed = packing.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = layer(packed)
        return packing.pad_packed_sequence(y, total_length=steps)[0], state

    return call


def _observed_path(call: Callable[[], Any]) -> str:
    """One profiled call tells whether oneDNN's recurrent primitive or ATen's loop ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    names = [event.name for event in profile.events() or []]
    if any("mkldnn_rnn" in name for name in names):
        return "oneDNN"
    return f"ATen, {sum(name.startswith('aten::') for name in names)} operations"
