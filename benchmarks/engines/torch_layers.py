# SPDX-License-Identifier: MIT
"""torch.nn layers of a workload, their calls, and which code of PyTorch ran."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils import rnn as packing

from fastrnn.bench import Case, Workload
from fastrnn.layers.checks import default_isa


def make_layer(workload: Workload, layers: Any = torch.nn) -> torch.nn.RNNBase:
    """The torch.nn layer of a workload, or its replacement, with the weights."""
    case = workload.case
    layer: torch.nn.RNNBase = getattr(layers, case.cell)(
        case.inputs, case.hidden, case.layers, bidirectional=case.bidirectional, **_options(case)
    )
    tensors = {name: torch.from_numpy(array) for name, array in workload.weights.items()}
    layer.load_state_dict(tensors)
    return layer


def arrays(y: torch.Tensor, state: Any) -> tuple[np.ndarray, Any]:
    if isinstance(state, tuple):
        return y.detach().numpy(), tuple(part.detach().numpy() for part in state)
    return y.detach().numpy(), state.detach().numpy()


def _options(case: Case) -> dict[str, Any]:
    if case.cell == "RNN":
        return {"nonlinearity": case.nonlinearity}
    return {"proj_size": case.proj} if case.proj else {}


def make_call(layer: Any, x: torch.Tensor, lengths: np.ndarray | None) -> Callable[[], Any]:
    if lengths is None:
        return lambda: layer(x)
    return _packed_call(layer, x, torch.from_numpy(lengths))


def _packed_call(layer: Any, x: torch.Tensor, lengths: torch.Tensor) -> Callable[[], Any]:
    """With lengths: pack, run and pad again, all of it timed."""
    steps = x.shape[0]

    def call() -> Any:
        packed = packing.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = layer(packed)
        return packing.pad_packed_sequence(y, total_length=steps)[0], state

    return call


def observed_path(call: Callable[[], Any]) -> str:
    """Profile one call to see whether oneDNN's recurrent primitive or ATen's loop runs."""
    names = _events(call)
    if any("mkldnn_rnn" in name for name in names):
        return "oneDNN"
    return f"ATen, {_count_aten(names)} operations"


def replaced_path(call: Callable[[], Any]) -> str:
    """The same with recurrent layers of fastrnn: the other operators."""
    return f"{default_isa()}, {_count_aten(_events(call))} operations of ATen"


def _events(call: Callable[[], Any]) -> list[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    return [event.name for event in profile.events() or []]


def _count_aten(names: Sequence[str]) -> int:
    return sum(name.startswith("aten::") for name in names)
