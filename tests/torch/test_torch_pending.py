# SPDX-License-Identifier: MIT
"""Passes of one module whose backward passes are still to come keep what they need."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402
from torch_pairs import CELLS, LAYERS, leaves, make_pair, same_gradient  # noqa: E402

import fastrnn.torch  # noqa: E402

torch.set_num_threads(1)

ORDERS = [order for passes in (2, 3) for order in permutations(range(passes))]


def sequences() -> list[Tensor]:
    """Inputs of different lengths, so that tapes of different sizes follow each other."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(steps, 3, 8, generator=generator) for steps in (7, 9, 4)]


def packed(x: Tensor) -> Any:
    return pack_padded_sequence(x, [len(x), 2, 3], enforce_sorted=False)


def first_step(x: Tensor) -> Tensor:
    return x[0]


def loss_of(net: nn.Module, x: Any) -> Tensor:
    """A different sum for each result, so that no gradient stands for another."""
    return sum((i + 1) * leaf.square().sum() for i, leaf in enumerate(leaves(net(x))))


def gradients(net: nn.Module, inputs: list[Any], order: tuple[int, ...]) -> list[Tensor]:
    """The gradients after the backward passes in this order, the first of them twice."""
    net.zero_grad()
    losses = [loss_of(net, inputs[i]) for i in range(len(order))]
    with torch.no_grad():
        net(inputs[0])
    for place, i in enumerate(order):
        losses[i].backward(retain_graph=place == 0)
    loss_of(net, inputs[1]).backward()  # takes the memory of a pass that is done
    losses[order[0]].backward()
    return [parameter.grad.clone() for parameter in net.parameters()]


@pytest.mark.parametrize(
    ("kind", "prepare"),
    [(kind, prepare) for kind in LAYERS for prepare in (torch.clone, packed)]
    + [(kind, first_step) for kind in CELLS],
)
def test_backward_passes_in_every_order(kind: str, prepare: Callable[[Tensor], Any]) -> None:
    theirs, ours = make_pair(kind, 8, 16)
    inputs = [prepare(x) for x in sequences()]
    for order in ORDERS:
        wanted = gradients(theirs, inputs, order)
        for one, other in zip(gradients(ours, inputs, order), wanted, strict=True):
            same_gradient(one, other)


@pytest.mark.parametrize("kind", LAYERS)
def test_one_backward_pass_of_several_passes(kind: str) -> None:
    """As in siamese networks and decoders that are called step by step."""
    theirs, ours = make_pair(kind, 8, 16)
    for net in (theirs, ours):
        for passes in (2, 3):
            sum(loss_of(net, x) for x in sequences()[:passes]).backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        same_gradient(one.grad, other.grad)


def test_threads_that_share_a_module() -> None:
    _, layer = make_pair("GRU", 8, 16)
    wanted = [torch.autograd.grad(loss_of(layer, x), layer.parameters()) for x in sequences()]
    wrong: list[int] = []

    def work(me: int) -> None:
        for _ in range(20):
            losses = [loss_of(layer, x) for x in sequences()]
            for i in (me % 3, (me + 1) % 3, (me + 2) % 3):
                found = torch.autograd.grad(losses[i], layer.parameters())
                wrong.extend(i for a, b in zip(found, wanted[i], strict=True) if not a.equal(b))

    threads = [threading.Thread(target=work, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_tape_is_kept() -> None:
    """Many passes before the backward pass leave no more memory behind than one."""
    layer = fastrnn.torch.GRU(8, 16)
    losses = [loss_of(layer, x) for x in sequences() for _ in range(5)]
    assert layer._packed._tapes.nbytes == 0
    sum(losses).backward()
    del losses
    assert 0 < layer._packed._tapes.nbytes < 100_000
    with torch.no_grad():
        layer(sequences()[0])
    assert layer._packed._tapes.nbytes == 0
