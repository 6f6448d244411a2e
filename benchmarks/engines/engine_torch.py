# SPDX-License-Identifier: MIT
"""PyTorch eager: torch.nn layers under inference_mode; ragged batches as packed sequences."""

from __future__ import annotations

import warnings

import torch

from fastrnn.bench import Arrays, Workload, named_outputs

from .engines import Runner, make_each, prepare_by_mode, require_plain_lstm
from .torch_layers import arrays, make_call, make_layer, observed_path
from .torch_training import make_step, make_trainer
from .whole_torch import make_silero, make_tagger


class Engine:
    version = str(torch.__version__)

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        # nn.LSTM warns at every call that oneDNN does not support projections; see `path`.
        warnings.filterwarnings("ignore", message=".*projections is not supported with oneDNN.*")

    def prepare(self, workload: Workload, mode: str) -> Runner:
        ways = {
            "infer": make_runner,
            "streams": make_streams,
            "train": make_trainer,
            "step": make_step,
            "tagger": make_tagger,
            "silero": make_silero,
        }
        return prepare_by_mode(ways, mode, workload)


def make_runner(workload: Workload) -> Runner:
    layer = make_layer(workload).eval()
    call = make_call(layer, torch.from_numpy(workload.x), workload.lengths)

    def outputs() -> Arrays:
        y, state = call()
        return named_outputs(*arrays(y, state))

    return Runner(call, outputs, lambda: observed_path(call), torch.inference_mode)


def make_streams(workload: Workload) -> Runner:
    """One LSTMCell, and a pair of state tensors for each stream.

    With 128 units, nn.LSTMCell takes a third of the time of nn.LSTM for one step.
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
        lambda: "LSTMCell: " + observed_path(lambda: cell(rows[0][0], states[0])),
        torch.inference_mode,
        memory=memory,
    )
