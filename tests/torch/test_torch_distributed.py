# SPDX-License-Identifier: MIT
"""DistributedDataParallel over gloo: two processes train as one does on the joined batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

WORKER = """
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import fastrnn.torch

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 6, 2, batch_first=True)
        self.cell = nn.GRUCell(6, 5)
        self.frozen = nn.RNNCell(5, 5).requires_grad_(False)

    def forward(self, x):
        return self.frozen(self.cell(self.rnn(x)[0][:, -1]))


def train(model, x):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


torch.manual_seed(rank)  # DDP starts all from the weights of rank 0
model = fastrnn.torch.accelerate(Model()).model
x = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(7))
model(x)  # so that weights are packed before DDP overwrites them
store = dist.FileStore(folder + "/store", 2)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
start = [p.detach().clone() for p in model.parameters()]
found = train(DistributedDataParallel(model), x[rank::2])
if rank == 0:
    alone = fastrnn.torch.accelerate(Model()).model
    for p, value in zip(alone.parameters(), start, strict=True):
        p.data.copy_(value)
    for one, other in zip(found, train(alone, x), strict=True):
        assert torch.allclose(one, other, atol=1e-6), (one - other).abs().max()
    print("equal")
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,  # a checkout there would be imported before the installed package
        )
        for rank in range(2)
    ]
    try:
        results = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], results
    assert results[0][0].strip() == "equal"
