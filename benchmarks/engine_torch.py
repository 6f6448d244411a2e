# SPDX-License-Identifier: MIT
"""PyTorch eager: torch.nn layers under inference_mode; ragged batches as packed sequences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.utils import rnn as packing

from fastrnn.bench import Arrays, Case, Workload, named_outputs

from .engines import Runner, make_each, prepare_by_mode, require_plain_lstm


class Engine:
    version = str(torch.__version__)

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        # nn.LSTM says on every call with a projection that oneDNN cannot do it; see `path`.
        warnings.filterwarnings("ignore", message=".*projections is not supported with oneDNN.*")

    def prepare(self, workload: Workload, mode: str) -> Runner:
        return prepare_by_mode({"infer": make_runner, "streams": make_streams}, mode, workload)


def make_runner(workload: Workload) -> Runner:
    layer = make_layer(workload).eval()
    x = torch.from_numpy(workload.x)
    call = _plain_call(layer, x)
    if workload.lengths is not None:
        call = _packed_call(layer, x, torch.from_numpy(workload.lengths))

    def outputs() -> Arrays:
        y, state = call()
        return named_outputs(*_arrays(y, state))

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


def make_streams(workload: Workload) -> Runner:
    """One LSTMCell, a pair of state tensors for each stream.

    At 128 units a step of nn.LSTMCell takes a third of the time of nn.LSTM.
    """
    require_plain_lstm(workload)
    case = workload.case
    cell = torch.nn.LSTMCell(case.inputs, case.hidden).eval()
    cell.load_state_dict(
        {
            name.removesuffix("_l0"): torch.from_numpy(array)
            for name, array in workload.weights.items()
        }
    )
    x = torch.from_numpy(workload.x)
    rows = [[x[t, row : row + 1] for row in range(case.batch)] for t in range(case.steps)]
    zeros = torch.zeros(1, case.hidden)

    def make() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            state: tuple[torch.Tensor, torch.Tensor] = cell(rows[0][0], (zeros, zeros))
            return state

    states, memory = make_each(make, case.batch)

    def call() -> None:
        for x_t in rows:
            for row, x_row in enumerate(x_t):
                states[row] = cell(x_row, states[row])

    def outputs() -> Arrays:
        states[:] = [(zeros, zeros)] * case.batch
        y = []
        for x_t in rows:
            for row, x_row in enumerate(x_t):
                states[row] = cell(x_row, states[row])
            y.append(torch.cat([h for h, _ in states]))
        c = torch.cat([c for _, c in states])
        return {"y": torch.stack(y).numpy(), "h_n": y[-1][None].numpy(), "c_n": c[None].numpy()}

    return Runner(
        call,
        outputs,
        lambda: "LSTMCell: " + _observed_path(lambda: cell(rows[0][0], states[0])),
        torch.inference_mode,
        memory=memory,
    )


def _arrays(y: torch.Tensor, state: Any) -> tuple[np.ndarray, Any]:
    if isinstance(state, tuple):
        return y.numpy(), tuple(part.numpy() for part in state)
    return y.numpy(), state.numpy()


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
