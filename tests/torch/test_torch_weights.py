# SPDX-License-Identifier: MIT
"""fastrnn.torch packs weights again when they have changed, whoever changed them and how."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch_pairs import CELLS, LAYERS, compare, count_packings, make_pair  # noqa: E402

import fastrnn  # noqa: E402
import fastrnn.torch  # noqa: E402

torch.set_num_threads(1)

LONG, SHORT = torch.ones(64, 8, 3), torch.ones(2, 1, 3)  # numbers of all weights, or of a sample
lengths = pytest.mark.parametrize("x", [LONG, SHORT], ids=["long", "short"])


def same(theirs: nn.Module, ours: nn.Module, x: Any) -> None:
    """The results are those of torch.nn's module with the same weights."""
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert torch.allclose(theirs(x)[0], ours(x)[0], atol=1e-6)


def test_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packings = count_packings(monkeypatch)
    layer = fastrnn.torch.LSTM(3, 40)
    for step in range(4):
        layer(SHORT)[0].sum().backward()
        layer.train(step % 2 == 0)
        layer.zero_grad()
    assert len(packings) == 1
    with torch.no_grad():
        layer(SHORT)  # what was packed for training serves inference, too
    assert len(packings) == 1


def test_packed_once_for_each_step_of_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    packings = count_packings(monkeypatch)
    layer = fastrnn.torch.GRU(3, 40)
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        for fused in (None, True):
            optimizer = kind(layer.parameters(), lr=0.1, fused=fused)
            layer(SHORT)[0].sum().backward()
            del packings[:]
            for step in range(1, 4):
                optimizer.step()
                layer(LONG)[0].sum().backward()
                layer(LONG)
                assert len(packings) == step
            same(nn.GRU(3, 40), layer, LONG)


@lengths
@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.data.mul_(0.9),
        lambda p: p.data.copy_(0.99 * p.data + 0.01),
        lambda p: p.detach().numpy().__imul__(0.5),
        lambda p: setattr(p, "data", p.data * 0.9),
        lambda p: setattr(p, "data", p.data.flip(0)),
        lambda p: p.detach().add_(0.1),
        lambda p: nn.init.orthogonal_(p) if p.dim() > 1 else nn.init.zeros_(p),
    ],
    ids=["mul", "polyak", "numpy", "assigned", "flipped", "detached", "init"],
)
def test_changes_behind_autograd(change: Any, x: Any) -> None:
    """As target networks, weight averages, clipping and old training loops make them."""
    theirs, ours = make_pair("LSTM", 3, 40)
    same(theirs, ours, x)
    for _ in range(3):
        for p in ours.parameters():
            change(p)
        same(theirs, ours, x)


def test_one_number_of_one_bias() -> None:
    theirs, ours = make_pair("GRU", 3, 40)
    for x in (LONG, SHORT):
        same(theirs, ours, x)
        ours.bias_ih_l0.data[7] += 1.0
        same(theirs, ours, x)
    ours.weight_hh_l0.data[5, 6] += 1.0
    same(theirs, ours, LONG)


@pytest.mark.parametrize("hidden", [16, 100])
def test_numbers_that_change_places(hidden: int) -> None:
    """As in a permutation of hidden units; sums over all of a block would be the same."""
    theirs, ours = make_pair("LSTM", 3, hidden)
    same(theirs, ours, LONG)
    weight = ours.weight_hh_l0.data
    weight[[0, 1]] = weight[[1, 0]]
    same(theirs, ours, LONG)
    weight[:, [0, 1]] = weight[:, [1, 0]]
    same(theirs, ours, LONG)


def test_replaced_weights() -> None:
    theirs, ours = make_pair("RNN", 3, 40)
    x, same_size = SHORT, nn.RNN(3, 40)
    same(theirs, ours, x)
    found = functional_call(ours, dict(same_size.named_parameters()), (x,))[0]
    assert torch.allclose(found, same_size(x)[0], atol=1e-6)
    same(theirs, ours, x)
    ours.weight_hh_l0 = nn.Parameter(torch.randn(40, 40))
    same(theirs, ours, x)
    ours.load_state_dict(same_size.state_dict(), assign=True)
    same(theirs, ours, x)
    ours.weight_hh_l0 = nn.Parameter(ours.weight_hh_l0.t())  # in the same memory, not contiguous
    same(theirs, ours, x)
    ours.weight_hh_l0.data.mul_(0.5)
    same(theirs, ours, x)
    ours.double().float().half().float()
    same(theirs, ours, x)


def test_memory_of_freed_weights_is_not_taken_for_them() -> None:
    """New tensors of the same size tend to get the memory of those freed before."""
    theirs, ours = make_pair("RNN", 8, 64)
    x = torch.ones(2, 1, 8)
    for _ in range(20):
        for _ in range(2):
            ours.weight_hh_l0.data = torch.randn(64, 64) / 8
        same(theirs, ours, x)


def test_weight_norm_of_both_kinds() -> None:
    for norm in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm):
        pair = make_pair("LSTM", 3, 5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *arguments, **options: None)  # that one is old
            pair = [norm(module, "weight_hh_l0") for module in pair]
        for _ in range(2):
            compare(*pair, torch.randn(4, 2, 3))
            for module in pair:
                with torch.no_grad():
                    for p in module.parameters():
                        p.mul_(0.9)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies(kind: str, duplicate: Any) -> None:
    layer = getattr(fastrnn.torch, kind)(3, 40)
    x = torch.ones(2, 3) if kind in CELLS else SHORT
    before = layer(x)[0]
    other = duplicate(layer)
    assert type(other) is type(layer)
    assert "_packed" not in layer.__getstate__()
    assert other._packed is not layer._packed
    assert torch.equal(other(x)[0], before)
    compare(layer, other, x)


def test_shared_memory() -> None:
    theirs, ours = make_pair("LSTM", 3, 40)
    same(theirs, ours, SHORT)
    ours.share_memory()
    same(theirs, ours, SHORT)
    context = torch.multiprocessing.get_context("fork")
    worker = context.Process(target=lambda: [p.data.mul_(0.5) for p in ours.parameters()])
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    same(theirs, ours, SHORT)
    same(theirs, ours, LONG)


def test_inference_tensors() -> None:
    with torch.inference_mode():
        layer = fastrnn.torch.GRU(3, 40)
        first = layer(SHORT)[0]
        assert torch.equal(layer(SHORT)[0], first)
        layer.weight_ih_l0.mul_(0.5)
        assert not torch.equal(layer(SHORT)[0], first)


def test_threads_share_a_module() -> None:
    """As DataParallel and servers run them: one module, or replicas with weights of their own."""
    layer = fastrnn.torch.LSTM(3, 40)
    replica = copy.copy(layer)
    replica._packed = layer._packed  # as replicas of DataParallel have it
    replica.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0 * 0.5)
    x = torch.randn(5, 4, 3)
    wanted = []
    for module in (layer, replica):
        y = module(x)[0]
        (gradient,) = torch.autograd.grad(y.sum(), module.weight_hh_l0)
        wanted.append((y, gradient))
    wrong: list[Any] = []

    def work(me: int) -> None:
        module, (y, gradient) = (layer, replica)[me % 2], wanted[me % 2]
        for _ in range(15):
            found = module(x)[0]
            (of_found,) = torch.autograd.grad(found.sum(), module.weight_hh_l0)
            if not (torch.equal(found, y) and torch.equal(of_found, gradient)):
                wrong.append(me)

    workers = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's, unless fastrnn was given one."""
    from fastrnn.torch import ops

    seen: list[int] = []
    run = ops.engine.record
    monkeypatch.setattr(
        ops.engine, "record", lambda *given: (seen.append(fastrnn.get_num_threads()), run(*given))
    )
    monkeypatch.setattr("fastrnn.runtime.threads._said", 0)
    layer = fastrnn.torch.RNN(3, 5)
    before = torch.get_num_threads()
    for n in (3, 1):
        torch.set_num_threads(n)
        layer(SHORT)
    torch.set_num_threads(before)
    with fastrnn.num_threads(2):
        layer(SHORT)
    monkeypatch.setattr("fastrnn.runtime.threads._said", 7)
    layer(SHORT)
    assert seen[:3] == [3, 1, 2]
    assert fastrnn.get_num_threads() == seen[3]


def test_memory_of_old_weights_and_tapes_is_used_again() -> None:
    layer, x = fastrnn.torch.GRU(9, 40), torch.randn(30, 20, 9)
    packed, tapes = layer._packed, set()
    for _ in range(4):
        loss = layer(x)[0].square().sum()
        assert packed._stacks.nbytes == packed._tapes.nbytes == 0  # all of it is in use
        loss.backward()
        del loss
        tapes.add(packed._tapes.nbytes)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter -= 1e-3 * parameter.grad
    assert len(tapes - {0}) == 1


def test_tapes_that_are_alive_are_not_written_over() -> None:
    layer, x = fastrnn.torch.LSTM(9, 40), torch.randn(30, 20, 9)
    wanted = []
    for scale in (1.0, 2.0):
        (found,) = torch.autograd.grad(layer(x * scale)[0].sum(), [layer.weight_hh_l0])
        wanted.append(found)
    ys = [layer(x * scale)[0].sum() for scale in (1.0, 2.0)]
    layer.eval()
    with torch.no_grad():
        layer(x)
    for y, gradient in zip(reversed(ys), reversed(wanted), strict=True):
        assert torch.equal(torch.autograd.grad(y, [layer.weight_hh_l0])[0], gradient)
