# SPDX-License-Identifier: MIT
"""`AttentionPool`: values and gradients against torch and the specification, lengths, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from limits import PARITY, TORCH_GRADIENT, error

import fastrnn
from fastrnn import (
    GRU,
    AttentionPool,
    Embedding,
    Flip,
    Last,
    Linear,
    Mask,
    Residual,
    Sequential,
    Tanh,
    reference,
)

torch = pytest.importorskip("torch")


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Attention(torch.nn.Module):
    """As people write it, with a mask for the lengths."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(size, 4), torch.nn.Linear(4, 1, bias=False)

    def forward(self, x, lengths):
        scores = self.b(torch.tanh(self.a(x)))
        mask = torch.arange(x.shape[1])[None, :, None] >= lengths[:, None, None]
        weights = torch.softmax(scores.masked_fill(mask, float("-inf")), 1)
        return (weights * x).sum(1)


def layers(size: int) -> dict[str, fastrnn.Layer]:
    return {"a": Linear(size, 4), "tanh": Tanh(), "b": Linear(4, 1, bias=False)}


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("batch", "steps", "size"), [(1, 1, 1), (2, 5, 17), (3, 70, 64)])
def test_values_and_gradients_are_those_of_torch(batch, steps, size, batch_first, isa):
    module, model = Attention(size), AttentionPool(layers(size), batch_first=batch_first, isa=isa)
    model.load_state_dict({n: t.detach().numpy() for n, t in module.state_dict().items()})
    x, dy = floats(batch, steps, size), floats(batch, size, seed=1)
    lengths = np.random.default_rng(2).integers(1, steps + 1, batch)
    tensor = torch.tensor(x, requires_grad=True)
    wanted = module(tensor, torch.tensor(lengths))
    wanted.backward(torch.tensor(dy))
    given = x.copy() if batch_first else x.swapaxes(0, 1).copy()
    (given if batch_first else given.swapaxes(0, 1))[np.arange(steps) >= lengths[:, None]] = np.nan
    y, _, backward = model.vjp(given, lengths=lengths)
    grads = backward(dy)
    assert error(y, wanted.detach().numpy()) <= PARITY
    assert model(given, lengths=lengths)[0].tobytes() == y.tobytes()
    dx = grads.x if batch_first else grads.x.swapaxes(0, 1)
    assert error(dx, tensor.grad.numpy()) <= TORCH_GRADIENT
    for name, parameter in module.named_parameters():
        assert error(grads.weights[name], parameter.grad.numpy()) <= TORCH_GRADIENT, name


def test_values_are_those_of_the_specification():
    x, score = floats(9, 5), floats(9, 1, seed=1) * 30
    both = np.concatenate([x, score], 1)
    pick = Linear(6, 1, bias=False)
    pick.load_state_dict({"weight": np.eye(6, dtype=np.float32)[5:]})
    for length in (1, 4, 9):
        y, _ = AttentionPool(pick)(both, lengths=[length])
        assert error(y, reference.attention_pool(both, score[:, 0], length)) <= PARITY
    assert not reference.attention_pool(both, score[:, 0], 0).any()


def test_a_row_without_steps_becomes_zeros():
    model = Sequential(Mask(0.0), AttentionPool(Linear(3, 1), batch_first=True))
    x = floats(2, 4, 3)
    x[0] = 0
    y, _, backward = model.vjp(x)
    assert not y[0].any()
    assert y[1].any()
    grads = backward(np.ones_like(y))
    assert not grads.x[0].any()
    assert np.isfinite(grads.x).all()


def test_it_is_a_collection_with_states():
    model = AttentionPool(rnn=GRU(3, 2), score=Linear(2, 1))
    y, state = model(floats(4, 2, 3))
    assert y.shape == (2, 3)
    assert state["rnn"].shape == (1, 2, 2)
    assert repr(model).startswith("AttentionPool(\n  batch_first=False\n  (rnn): GRU(3, 2)")
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(made(floats(4, 2, 3))[0], y)
    with pytest.raises(AttributeError, match="batch_first: expected to stay False"):
        model.batch_first = True


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Linear(3, 2)], r"one score for each step, shape \(2, 5, 1\), got \(2, 5, 2\)"),
        ([Linear(3, 1), Last(True)], "one score for each step"),
        ([Mask(), Linear(3, 1)], "keep the steps of each row"),
    ],
    ids=["heads", "no steps", "fewer steps"],
)
def test_what_makes_no_score_of_each_step_is_refused(layers, message):
    model = Sequential(AttentionPool(*layers, batch_first=True))
    with pytest.raises(ValueError, match=f"layer '0': x: expected layers that .*{message}"):
        model(floats(2, 5, 3))


def test_other_errors():
    with pytest.raises(ValueError, match="layers: expected at least one layer, got none"):
        AttentionPool()
    with pytest.raises(TypeError, match="batch_first: expected True or False, got 1"):
        AttentionPool(Tanh(), batch_first=1)
    with pytest.raises(ValueError, match=r"stream: AttentionPool cannot run step by step: it need"):
        AttentionPool(Linear(3, 1)).stream()
    with pytest.raises(ValueError, match=r"'1' \(AttentionPool\): it needs the end of the seq"):
        Sequential(Tanh(), AttentionPool(Linear(3, 1))).stream()
    with pytest.raises(ValueError, match="at least one step"):
        AttentionPool(Linear(3, 1))(floats(0, 2, 3))
    with pytest.raises(TypeError, match="x: expected float32, float16 or float64, got int64"):
        AttentionPool(Embedding(3, 1))(np.zeros((2, 1), np.int64))


def test_saved_and_loaded(tmp_path):
    score = Sequential(Residual(Flip(batch_first=True), Flip(True)), Linear(4, 1))
    model = Sequential(GRU(3, 4, batch_first=True), AttentionPool(score, batch_first=True))
    fastrnn.save(model, tmp_path / "model.frnn")
    loaded = fastrnn.load(tmp_path / "model.frnn")
    assert list(loaded.state_dict()) == list(model.state_dict())
    x = floats(2, 5, 3)
    assert np.array_equal(loaded(x, lengths=[3, 5])[0], model(x, lengths=[3, 5])[0])
