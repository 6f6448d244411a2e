# SPDX-License-Identifier: MIT
"""`Residual`: values and gradients of the layers inside and of the sum, steps, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from limits import PARITY, TORCH_GRADIENT, error

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    Conv1d,
    Embedding,
    Last,
    LayerNorm,
    Linear,
    Mask,
    Residual,
    Sequential,
)

torch = pytest.importorskip("torch")


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Block(torch.nn.Module):
    """x + fc(lstm(x)), in PyTorch."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(size, hidden, bidirectional=True, batch_first=True)
        self.fc = torch.nn.Linear(2 * hidden, size)

    def forward(self, x):
        return x + self.fc(self.lstm(x)[0])


def block(size: int, hidden: int) -> Residual:
    return Residual(
        lstm=LSTM(size, hidden, bidirectional=True, batch_first=True), fc=Linear(2 * hidden, size)
    )


@pytest.mark.parametrize(("batch", "steps", "size"), [(1, 1, 1), (2, 5, 3), (3, 1, 17)])
def test_values_and_gradients_are_those_of_torch(batch, steps, size):
    twice = torch.nn.Sequential(Block(size, 4), Block(size, 2))
    model = Sequential(block(size, 4), block(size, 2))
    arrays = {name: tensor.detach().numpy() for name, tensor in twice.state_dict().items()}
    assert list(model.state_dict()) == list(arrays)
    model.load_state_dict(arrays)
    x, dy = floats(batch, steps, size), floats(batch, steps, size, seed=1)
    tensor = torch.tensor(x, requires_grad=True)
    wanted = twice(tensor)
    wanted.backward(torch.tensor(dy))
    y, state, backward = model.vjp(x)
    grads = backward(dy)
    assert error(y, wanted.detach().numpy()) <= PARITY
    assert np.array_equal(model(x)[0], y)
    assert state["1"]["lstm"][0].shape == (2, batch, 2)
    assert error(grads.x, tensor.grad.numpy()) <= TORCH_GRADIENT
    for name, parameter in twice.named_parameters():
        assert error(grads.weights[name], parameter.grad.numpy()) <= TORCH_GRADIENT, name
    assert grads.state["0"]["lstm"][1].shape == (2, batch, 4)


def test_a_stream_has_the_bits_of_a_call():
    model = Residual(a=Linear(4, 4), b=Residual(GRU(4, 4), LayerNorm(4)))
    model.b.initial_state = {"0": floats(1, 4)}
    x = floats(6, 3, 4)
    wanted, state = model(x)
    stream = model.stream(3)
    out = np.empty((3, 4), np.float32)
    for step in range(6):
        assert np.array_equal(stream.step(x[step], out=out), wanted[step])
    assert np.array_equal(stream.state["b"]["0"], state["b"]["0"])
    stream.reset()
    assert np.array_equal(stream.step(x[0]), wanted[0])


def test_it_is_a_collection():
    model = block(3, 2)
    assert repr(model).startswith("Residual(\n  (lstm): LSTM(3, 2")
    assert type(model[:1]) is Sequential
    assert model.fc is model["fc"] is model[1]
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(made(floats(1, 2, 3))[0], model(floats(1, 2, 3))[0])
    with model.editing() as weights:
        weights["fc.weight"][...] = 0
        weights["fc.bias"][...] = 0
    x = floats(2, 4, 3)
    assert np.array_equal(model(x)[0], x)


def test_lengths_reach_the_layers_inside():
    model, x = block(3, 2), floats(2, 5, 3)
    noisy = x.copy()
    noisy[0, 2:] = np.nan
    y, _ = model(noisy, lengths=[2, 5])
    assert np.array_equal(y[0, :2], model(x[:1, :2])[0][0])
    assert not y[0, 2:].any()


@pytest.mark.parametrize(
    ("layers", "x", "lengths", "message"),
    [
        ([Linear(3, 4)], floats(2, 5, 3), None, r"return its shape \(2, 5, 3\), got \(2, 5, 4\)"),
        ([Linear(3, 1)], floats(2, 5, 3), None, "return its shape"),  # PyTorch would broadcast
        ([GRU(3, 3), Last()], floats(1, 3, 3), None, "return its shape"),
        ([Conv1d(3, 3, 1, stride=2, padding=1)], floats(2, 3, 3), [1, 3], "keep the steps"),
        ([Mask(), GRU(3, 3, batch_first=True)], floats(2, 5, 3), None, "keep the steps"),
    ],
    ids=["features", "one feature", "no steps", "other lengths", "fewer steps"],
)
def test_what_changes_the_shape_or_steps_is_refused(layers, x, lengths, message):
    model = Sequential(Residual(*layers))
    with pytest.raises(ValueError, match=rf"layer '0': x: expected layers that .*{message}"):
        model(x, lengths=lengths)
    with pytest.raises(ValueError, match=message):
        model.vjp(x, lengths=lengths)


def test_other_errors():
    with pytest.raises(ValueError, match="layers: expected at least one layer, got none"):
        Residual()
    with pytest.raises(TypeError, match=r"x: expected float32, float16 or float64, got int64"):
        Residual(Embedding(3, 2))(np.zeros((1, 2), np.int64))
    with pytest.raises(ValueError, match=r"'0' \(Last\): it needs the end"):
        Residual(Last()).stream()
    stream = Residual(Linear(3, 2)).stream(2)
    with pytest.raises(ValueError, match=r"return its shape \(2, 3\), got \(2, 2\)"):
        stream.step(floats(2, 3))


def test_saved_and_loaded(tmp_path):
    model = Sequential(
        first=Linear(3, 4),
        deep=Residual(rnn=LSTM(4, 4), more=Sequential(LayerNorm(4), Residual(Linear(4, 4)))),
    )
    model.deep.initial_state = {"rnn": (floats(1, 4), floats(1, 4, seed=1))}
    fastrnn.save(model, tmp_path / "model.frnn")
    loaded = fastrnn.load(tmp_path / "model.frnn")
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert isinstance(loaded.deep["more.1"], Residual)
    x = floats(5, 2, 3)
    assert np.array_equal(loaded(x)[0], model(x)[0])
    fastrnn.save(model.deep, tmp_path / "alone.frnn")
    alone = fastrnn.load(tmp_path / "alone.frnn")
    assert np.array_equal(alone(floats(5, 2, 4))[0], model.deep(floats(5, 2, 4))[0])
