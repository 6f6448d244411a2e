# SPDX-License-Identifier: MIT
"""fastrnn.torch within autograd: what is computed and kept, what is refused, dropout, training."""

from __future__ import annotations

import copy
import gc
import io
from typing import Any

import numpy as np
import pytest
from limits import PARITY

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch_pairs import LAYERS, close, compare, make_pair, same_gradient, twin  # noqa: E402

import fastrnn.torch  # noqa: E402
from fastrnn.torch import engine  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[bool]]:
    """For each backward pass: whether the engine was asked for dx, dh0, dc0 and each weight's."""
    calls: list[list[bool]] = []
    run = engine.gradients

    def watched(*arguments: Any) -> None:
        *_, dx, dh0, dc0, dweights = arguments
        weights = [array for place in dweights for array in place[:-1]]  # no projections here
        calls.append([array is not None for array in (dx, dh0, dc0, *weights)])
        run(*arguments)

    monkeypatch.setattr(engine, "gradients", watched)
    return calls


def test_only_wanted_gradients_are_computed(asked: list[list[bool]]) -> None:
    theirs, ours = make_pair("LSTM", 3, 5)
    x, state = (
        torch.randn(4, 2, 3),
        (torch.randn(1, 2, 5), torch.randn(1, 2, 5, requires_grad=True)),
    )
    for module in (theirs, ours):
        module.weight_ih_l0.requires_grad_(False)
        module.bias_hh_l0.requires_grad_(False)
    compare(theirs, ours, x, state)
    assert asked.pop() == [False, False, True, False, True, True, False]
    for module in (theirs, ours):
        module.requires_grad_(False)
    compare(theirs, ours, x.requires_grad_())
    assert asked.pop() == [True] + [False] * 6
    with torch.no_grad():
        assert not ours(x)[0].requires_grad
    assert not ours(x.detach())[0].requires_grad
    with torch.inference_mode():
        assert ours(x)[0].is_inference()
    assert not asked


@pytest.mark.parametrize("kind", LAYERS)
def test_gradient_of_one_result_alone(kind: str) -> None:
    def last(module: nn.Module, x: Any) -> Any:
        return module(x)[1]

    def only_y(module: nn.Module, x: Any) -> Any:
        return module(x)[0]

    pair, x = make_pair(kind, 3, 5, 2), torch.randn(4, 2, 3, requires_grad=True)
    compare(*pair, x, call=last)
    compare(*pair, x, call=only_y)


def test_strided_gradients() -> None:
    """Expanded ones, as a sum gives them, transposed ones, and those of a part of y."""
    theirs, ours = make_pair("GRU", 3, 5, batch_first=True)
    x = torch.randn(4, 6, 3)
    for result in (
        lambda y: y.sum(),
        lambda y: y.transpose(1, 2).reshape(4, 30).cumsum(1).sum(),
        lambda y: y[:, -1].pow(2).sum(),
        lambda y: y[..., 0].sum(),
        lambda y: y.mean(0, keepdim=True).expand(7, 6, 5).sum(),
    ):
        for module in (theirs, ours):
            module.zero_grad()
            result(module(x)[0]).backward()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            same_gradient(one.grad, other.grad)


def test_y_may_be_changed_in_place() -> None:
    def changed(module: nn.Module, x: Any) -> Any:
        y, h = module(x)
        y.mul_(2).sub_(1)
        return y, h.add_(1)

    x = torch.randn(4, 2, 3, requires_grad=True)
    compare(*make_pair("RNN", 3, 5), x, call=changed)


def test_changed_inputs_are_noticed() -> None:
    layer, x = fastrnn.torch.LSTM(3, 5), torch.randn(4, 2, 3)
    y, _ = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y, _ = layer(x)
    with torch.no_grad():
        layer.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_backward_twice() -> None:
    layer = fastrnn.torch.GRU(3, 5)
    y, _ = layer(torch.randn(4, 2, 3))
    y.sum().backward(retain_graph=True)
    once = [p.grad.clone() for p in layer.parameters()]
    y.sum().backward()
    for p, gradient in zip(layer.parameters(), once, strict=True):
        assert torch.equal(p.grad, 2 * gradient)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()


def test_double_backward_is_refused() -> None:
    layer, x = fastrnn.torch.LSTM(3, 5), torch.randn(4, 2, 3, requires_grad=True)
    y, _ = layer(x)
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    plain = torch.autograd.grad(layer(x)[0].sum(), x)[0]
    assert torch.equal(gradient, plain)
    with pytest.raises(NotImplementedError, match=r"expected a first derivative.*torch\.nn"):
        gradient.sum().backward()
    with pytest.raises(NotImplementedError, match=r"no transform of torch\.func"):
        torch.func.grad(lambda x: layer(x)[0].sum())(x)


def test_many_gradients_at_once_are_refused() -> None:
    layer, x = fastrnn.torch.LSTM(3, 5), torch.randn(4, 2, 3, requires_grad=True)
    y, _ = layer(x)
    many = torch.randn(6, *y.shape)
    with pytest.raises(NotImplementedError, match="expected one gradient, got many at once"):
        torch.autograd.grad(y, x, many, is_grads_batched=True, retain_graph=True)
    with pytest.raises(NotImplementedError, match="expected one gradient, got many at once"):
        torch.func.vmap(lambda dy: torch.autograd.grad(y, x, dy, retain_graph=True))(many)
    run = lambda x: layer(x)[0].sum(0)  # noqa: E731
    jacobian = torch.autograd.functional.jacobian(run, x)  # one after the other
    assert jacobian.shape == (2, 5, 4, 2, 3)
    with pytest.raises(NotImplementedError, match="vectorize=True"):
        torch.autograd.functional.jacobian(run, x, vectorize=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
@pytest.mark.parametrize("of", ["input", "weight"])
def test_tangents_are_refused(of: str) -> None:
    """They must not get lost: without a gradient wanted, nothing else would notice them."""
    layer, x = fastrnn.torch.GRU(3, 5).requires_grad_(False), torch.randn(4, 2, 3)
    with forward_ad.dual_level():
        plain = layer(x)[0]
        if of == "input":
            x = forward_ad.make_dual(x, torch.ones_like(x))
        else:
            weight = forward_ad.make_dual(layer.weight_hh_l0.clone(), torch.ones(15, 5))
            del layer.weight_hh_l0
            layer.weight_hh_l0 = weight
        with pytest.raises(NotImplementedError, match="expected no tangents"):
            layer(x)
    assert plain.shape == (4, 2, 5)


# --- Dropout ---


def masked_share(layer: nn.Module) -> float:
    """The share of the units between the layers whose weights get no gradient in one step."""
    layer.zero_grad()
    layer(torch.ones(1, 1, 3))[0].sum().backward()
    return float((layer.weight_ih_l1.grad == 0).all(0).float().mean())


def test_dropout_follows_torchs_seed() -> None:
    layer, x = fastrnn.torch.GRU(3, 50, 3, dropout=0.5), torch.randn(4, 2, 3)
    torch.manual_seed(1)
    first, again = layer(x)[0], layer(x)[0]
    assert not torch.equal(first, again)
    torch.manual_seed(1)
    assert torch.equal(layer(x)[0], first)
    with torch.no_grad():  # dropout is of training mode, not of gradients
        torch.manual_seed(1)
        close(layer(x)[0], first, PARITY)
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
    layer.train()
    layer.dropout = 0.0
    assert torch.equal(layer(x)[0], layer.eval()(x)[0])


def test_dropout_mask_is_the_same_in_backward() -> None:
    """A unit that was dropped gave nothing, so its weights get nothing; the share is p."""
    layer = fastrnn.torch.RNN(3, 1000, 2, dropout=0.3, nonlinearity="tanh")
    torch.manual_seed(0)
    assert abs(masked_share(layer) - 0.3) < 4 * (0.3 * 0.7 / 1000) ** 0.5
    layer.dropout = 1.0
    assert masked_share(layer) == 1.0


def test_dropout_gradient_is_that_of_the_function() -> None:
    layer = fastrnn.torch.LSTM(3, 6, 2, dropout=0.4)
    x, step = torch.randn(5, 2, 3, requires_grad=True), torch.randn(5, 2, 3)

    def loss(at: Any) -> Any:
        torch.manual_seed(2)
        return layer(at)[0].double().pow(2).sum()

    (gradient,) = torch.autograd.grad(loss(x), x)
    with torch.no_grad():
        slope = (loss(x + 1e-2 * step) - loss(x - 1e-2 * step)) / 2e-2
    assert abs(float((gradient * step).sum()) - float(slope)) < 1e-3


def test_activation_checkpointing() -> None:
    layer, x = fastrnn.torch.LSTM(3, 6, 2, dropout=0.4), torch.randn(5, 2, 3, requires_grad=True)
    found = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(3)
        found.append(torch.autograd.grad(run(x)[0].pow(2).sum(), x)[0])
    assert torch.equal(*found)


# --- In a model that is trained ---


class Tagger(nn.Module):
    """Embedding, two layers, an output: as people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.rnn = nn.GRU(6, 8, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 11)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.rnn(self.embedding(tokens))[0])


def train(model: nn.Module, steps: int) -> list[float]:
    torch.manual_seed(5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        tokens = torch.randint(11, (8, 7))
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_goes_the_same_way() -> None:
    torch.manual_seed(0)
    theirs = Tagger()
    ours = twin(theirs)
    wanted, found = train(theirs, 12), train(ours, 12)
    assert found == pytest.approx(wanted, rel=1e-4)
    assert found[-1] < found[0]
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    back = Tagger()
    back.load_state_dict(torch.load(file, weights_only=True))
    tokens = torch.arange(11)[None]
    close(ours(tokens), back(tokens), PARITY)


def test_hooks() -> None:
    model, seen = twin(Tagger()), []
    model.rnn.register_forward_pre_hook(lambda module, given: seen.append("before"))
    model.rnn.register_forward_hook(lambda module, given, result: seen.append("after"))
    model.rnn.register_full_backward_hook(lambda module, gave, got: seen.append("back"))
    model.rnn.weight_hh_l1.register_hook(lambda gradient: seen.append("weight"))
    model(torch.arange(11)[None]).sum().backward()
    assert seen[:2] == ["before", "after"]
    assert sorted(seen[2:]) == ["back", "weight"]


def test_padding_between_packed_rows_is_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastrnn.torch import layouts

    def hostile(shape: Any, dtype: Any = float, **more: Any) -> Any:
        return np.full(shape, np.nan, dtype, **more)

    layer = fastrnn.torch.LSTM(3, 5, bidirectional=True)
    x = pack_sequence([torch.randn(n, 3) for n in (6, 2)])
    found = []
    for _ in range(2):
        layer.zero_grad()
        layer(x)[0].data.pow(2).sum().backward()
        found.append([p.grad.clone() for p in layer.parameters()])
        monkeypatch.setattr(layouts.np, "empty", hostile)
    assert all(map(torch.equal, *found))


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_memory_does_not_grow() -> None:
    layer, x = fastrnn.torch.LSTM(32, 128), torch.randn(8, 4, 32)
    sizes = []
    for step in range(40):
        layer(x)[0].sum().backward()
        with torch.no_grad():
            for p in layer.parameters():
                p.sub_(p.grad, alpha=1e-3)
        if step in (9, 39):
            gc.collect()
            sizes.append(resident())
    assert sizes[1] - sizes[0] < 4 << 20  # thirty sets of packed weights are 10 MB, tapes 3 MB


def test_graph_keeps_no_tape_after_backward() -> None:
    layer, x = fastrnn.torch.LSTM(16, 128), torch.randn(40, 16, 16)
    kept = []
    for step in range(10):
        if step == 2:
            before = resident()
        y, _ = layer(x)
        y[-1].sum().backward()
        kept.append(y[-1:].sum())
    assert resident() - before < 8 << 20  # eight tapes are 16 MB


def test_saved_tensors_may_come_back_elsewhere() -> None:
    """As numpy arrays do, whose memory begins anywhere."""

    def moved(tensor: Any) -> Any:
        if tensor.dtype is not torch.uint8:
            return tensor
        room = torch.empty(tensor.numel() + 16, dtype=torch.uint8)[16:]
        return room.copy_(tensor)

    layer, x = fastrnn.torch.LSTM(3, 5), torch.randn(4, 2, 3)
    wanted = torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters()))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, moved):
        y, _ = layer(x)
    found = torch.autograd.grad(y.sum(), list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_copies_train_apart() -> None:
    layer = fastrnn.torch.RNN(3, 5)
    other = copy.deepcopy(layer)
    x = torch.randn(4, 2, 3)
    other(x)[0].sum().backward()
    assert all(p.grad is None for p in layer.parameters())
    with torch.no_grad():
        other.weight_ih_l0.zero_()
    assert not torch.equal(layer(x)[0], other(x)[0])
