# SPDX-License-Identifier: MIT
"""The layers around the recurrence against torch: y and gradients of each."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from limits import PARITY, TORCH_GRADIENT, error, relative_error

import fastrnn

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


class Magnitude(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -2)
        return torch.sqrt(a**2 + b**2)


class Merged(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(*x.chunk(2, -1))


class ScaleFeatures(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 2, 17))
        self.bias = torch.nn.Parameter(torch.linspace(1, -1, 17))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight + self.bias


class Scale(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * -1.5 + 0.3


# (fastrnn's layer, torch's, x)
PAIRS: dict[str, tuple[Any, Any, np.ndarray]] = {
    "linear": (fastrnn.Linear(7, 5), torch.nn.Linear(7, 5), floats(3, 4, 7)),
    "linear wide": (fastrnn.Linear(65, 33), torch.nn.Linear(65, 33), floats(9, 65)),
    "linear one row": (fastrnn.Linear(7, 5), torch.nn.Linear(7, 5), floats(7)),
    "linear no bias": (
        fastrnn.Linear(7, 5, bias=False),
        torch.nn.Linear(7, 5, bias=False),
        floats(2, 7),
    ),
    "linear empty": (fastrnn.Linear(7, 5), torch.nn.Linear(7, 5), floats(0, 7)),
    "layer norm": (fastrnn.LayerNorm(6), torch.nn.LayerNorm(6), floats(3, 4, 6)),
    "layer norm 2": (
        fastrnn.LayerNorm((4, 6), eps=1e-3),
        torch.nn.LayerNorm((4, 6), eps=1e-3),
        floats(3, 4, 6),
    ),
    "layer norm no bias": (
        fastrnn.LayerNorm(6, bias=False),
        torch.nn.LayerNorm(6, bias=False),
        floats(5, 6),
    ),
    "layer norm bare": (
        fastrnn.LayerNorm(6, elementwise_affine=False),
        torch.nn.LayerNorm(6, elementwise_affine=False),
        floats(5, 6),
    ),
    "relu": (fastrnn.ReLU(), torch.nn.ReLU(), floats(3, 4, 5)),
    "tanh": (fastrnn.Tanh(), torch.nn.Tanh(), floats(3, 17)),
    "sigmoid": (fastrnn.Sigmoid(), torch.nn.Sigmoid(), floats(3, 17)),
    "elu": (fastrnn.ELU(1.5), torch.nn.ELU(1.5), floats(3, 17)),
    "leaky relu": (fastrnn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2), floats(3, 17)),
    "silu": (fastrnn.SiLU(), torch.nn.SiLU(), floats(3, 17)),
    "gelu": (fastrnn.GELU(), torch.nn.GELU(), floats(3, 17)),
    "gelu tanh": (fastrnn.GELU("tanh"), torch.nn.GELU("tanh"), floats(3, 17)),
    "softplus": (fastrnn.Softplus(2.0, 1.0), torch.nn.Softplus(2.0, 1.0), floats(3, 17)),
    "hardtanh": (fastrnn.Hardtanh(-0.5, 1), torch.nn.Hardtanh(-0.5, 1), floats(3, 17)),
    "hardsigmoid": (fastrnn.Hardsigmoid(), torch.nn.Hardsigmoid(), 3 * floats(3, 17)),
    "scale features": (fastrnn.ScaleFeatures(17), ScaleFeatures(), floats(3, 4, 17)),
    "hardswish": (fastrnn.Hardswish(), torch.nn.Hardswish(), 3 * floats(3, 17)),
    "mish": (fastrnn.Mish(), torch.nn.Mish(), 3 * floats(3, 17)),
    "softsign": (fastrnn.Softsign(), torch.nn.Softsign(), 3 * floats(3, 17)),
    "scale": (fastrnn.Scale(-1.5, 0.3), Scale(), floats(3, 4, 5)),
    "prelu": (fastrnn.PReLU(), torch.nn.PReLU(), floats(3, 4, 5)),
    "prelu channels": (fastrnn.PReLU(4), torch.nn.PReLU(4), floats(3, 4, 5)),
    "batch norm": (fastrnn.BatchNorm1d(6), torch.nn.BatchNorm1d(6).eval(), floats(3, 6, 5)),
    "batch norm rows": (
        fastrnn.BatchNorm1d(33, eps=1e-3),
        torch.nn.BatchNorm1d(33, eps=1e-3).eval(),
        floats(4, 33),
    ),
    "batch norm bare": (
        fastrnn.BatchNorm1d(6, affine=False),
        torch.nn.BatchNorm1d(6, affine=False).eval(),
        floats(2, 6, 1),
    ),
    "max pool": (fastrnn.MaxPool1d(2), torch.nn.MaxPool1d(2), floats(2, 3, 7)),
    "max pool one": (fastrnn.MaxPool1d(3, 1), torch.nn.MaxPool1d(3, 1), floats(3, 7)),
    "max pool sizes": (
        fastrnn.MaxPool1d(4, 3, 2, 2, True),
        torch.nn.MaxPool1d(4, 3, 2, 2, ceil_mode=True),
        floats(2, 3, 11),
    ),
    "max pool ceil": (
        fastrnn.MaxPool1d(2, 2, 1, ceil_mode=True),
        torch.nn.MaxPool1d(2, 2, 1, ceil_mode=True),
        floats(2, 3, 4),
    ),
    "avg pool": (fastrnn.AvgPool1d(2), torch.nn.AvgPool1d(2), floats(2, 3, 7)),
    "avg pool sizes": (
        fastrnn.AvgPool1d(5, 3, 2, True),
        torch.nn.AvgPool1d(5, 3, 2, True),
        floats(2, 3, 12),
    ),
    "avg pool without padding": (
        fastrnn.AvgPool1d(4, 1, 2, count_include_pad=False),
        torch.nn.AvgPool1d(4, 1, 2, count_include_pad=False),
        floats(3, 7),
    ),
    "avg pool ceil": (
        fastrnn.AvgPool1d(3, 2, 1, True, False),
        torch.nn.AvgPool1d(3, 2, 1, True, False),
        floats(2, 3, 4),
    ),
    "sum of directions": (fastrnn.MergeDirections(), Merged(torch.add), floats(3, 4, 10)),
    "product of directions": (
        fastrnn.MergeDirections("mul"),
        Merged(torch.mul),
        floats(3, 10),
    ),
    "mean of directions": (
        fastrnn.MergeDirections("mean"),
        Merged(lambda a, b: (a + b) / 2),
        floats(3, 2),
    ),
    "softmax": (fastrnn.Softmax(-1), torch.nn.Softmax(-1), floats(3, 4, 11)),
    "softmax 0": (fastrnn.Softmax(0), torch.nn.Softmax(0), floats(3, 4, 11)),
    "softmax 1": (fastrnn.Softmax(1), torch.nn.Softmax(1), floats(3, 4)),
    "log softmax": (fastrnn.LogSoftmax(2), torch.nn.LogSoftmax(2), floats(3, 4, 11)),
    "log softmax 1": (fastrnn.LogSoftmax(dim=1), torch.nn.LogSoftmax(dim=1), floats(3, 4, 2)),
    "dropout 0": (fastrnn.Dropout(0.0), torch.nn.Dropout(0.0), floats(3, 4)),
    "zero pad": (fastrnn.ZeroPad1d(2), torch.nn.ZeroPad1d(2), floats(2, 3, 4)),
    "zero pad sides": (fastrnn.ZeroPad1d((0, 3)), torch.nn.ZeroPad1d((0, 3)), floats(3, 4)),
    "reflection pad": (fastrnn.ReflectionPad1d(3), torch.nn.ReflectionPad1d(3), floats(2, 3, 4)),
    "reflection pad sides": (
        fastrnn.ReflectionPad1d((0, 2)),
        torch.nn.ReflectionPad1d((0, 2)),
        floats(3, 4),
    ),
    "reflection pad left": (
        fastrnn.ReflectionPad1d((3, 1)),
        torch.nn.ReflectionPad1d((3, 1)),
        floats(3, 4),
    ),
    "magnitude": (fastrnn.Magnitude(), Magnitude(), floats(2, 6, 4)),
    "magnitude one": (fastrnn.Magnitude(), Magnitude(), floats(2, 7)),
    "flatten": (fastrnn.Flatten(), torch.nn.Flatten(), floats(2, 3, 4)),
    "flatten front": (fastrnn.Flatten(0, -2), torch.nn.Flatten(0, -2), floats(2, 3, 4)),
    "flatten empty": (fastrnn.Flatten(), torch.nn.Flatten(), floats(0, 3, 4)),
}
for padding, stride, dilation, groups in [
    (0, 1, 1, 1),
    (2, 2, 1, 1),
    (1, 1, 2, 2),
    ("same", 1, 3, 4),
    ("same", 1, 1, 1),
    ("valid", 3, 1, 2),
]:
    words = {"padding": padding, "stride": stride, "dilation": dilation, "groups": groups}
    for size in (1, 4):
        PAIRS[f"conv {size} {padding} {stride} {dilation} {groups}"] = (
            fastrnn.Conv1d(4, 8, size, **words),
            torch.nn.Conv1d(4, 8, size, **words),
            floats(3, 4, 14) if stride == 1 else floats(4, 14),
        )
PAIRS["conv no bias"] = (
    fastrnn.Conv1d(4, 9, 3, bias=False),
    torch.nn.Conv1d(4, 9, 3, bias=False),
    floats(2, 4, 7),
)


def shared(layer: Any, module: Any) -> None:
    """Give both the same weights."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.empty_like(parameter).uniform_(-0.5, 0.5, generator=generator)
    for name, buffer in module.named_buffers():
        if name != "num_batches_tracked":
            buffer.uniform_(0.1, 2.0, generator=generator)
    layer.load_state_dict({name: a.numpy() for name, a in module.state_dict().items()})


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", PAIRS)
def test_against_torch(name: str) -> None:
    layer, module, x = PAIRS[name]
    shared(layer, module)
    names = [name for name in module.state_dict() if name != "num_batches_tracked"]
    assert list(layer.state_dict()) == names
    given = torch.tensor(x, requires_grad=True)
    wanted = module(given)
    y, state, backward = layer.vjp(x)
    again, none = layer(x)
    assert state is None
    assert none is None
    assert y.dtype == np.float32
    assert np.array_equal(y, again)
    assert error(y, wanted.detach().numpy()) <= PARITY
    dy = floats(*y.shape)
    wanted.backward(torch.from_numpy(dy))
    grads = backward(dy)
    assert grads.state is None
    assert relative_error(grads.x, given.grad.numpy()) <= TORCH_GRADIENT
    assert list(grads.weights) == [n for n, _ in module.named_parameters()]
    for key, parameter in module.named_parameters():
        assert relative_error(grads.weights[key], parameter.grad.numpy()) <= TORCH_GRADIENT


@pytest.mark.parametrize("name", PAIRS)
def test_copies_and_inputs(name: str) -> None:
    layer, _, x = PAIRS[name]
    y, _ = layer(x)
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert np.array_equal(other(x)[0], y)
        assert repr(other) == repr(layer)
    assert repr(layer).startswith(type(layer).__name__ + "(")
    assert np.array_equal(layer(x.astype(np.float64))[0], y)
    strided = np.zeros((*x.shape, 2), np.float32)[..., 0]
    strided[...] = x
    strided.flags.writeable = False
    assert np.array_equal(layer(strided)[0], y)
    with pytest.raises(TypeError, match="x: expected float"):
        layer(x.astype(np.complex64))
    with pytest.raises(ValueError, match="state: expected None"):
        layer(x, np.zeros(3))
    with pytest.raises(ValueError, match="dy: expected shape"):
        layer.vjp(x)[2](np.zeros((1, 2, 3, 4, 5), np.float32))
    with pytest.raises(TypeError, match="seed"):
        layer.vjp(x, seed=1.0)


@pytest.mark.parametrize("name", ["linear", "conv 4 0 1 1 1", "layer norm", "tanh", "softmax"])
def test_bits_of_a_row_are_its_own(name: str, isa: str) -> None:
    kind, _, x = PAIRS[name]
    layer = type(kind)(**kind._options(), isa=isa)
    layer.load_state_dict(kind.state_dict())
    whole, _ = layer(x)
    for row in range(len(x)):
        assert layer(x[row : row + 1])[0].tobytes() == whole[row : row + 1].tobytes()


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 0), (2, 3, 4)])
def test_embedding(padding_idx: int | None, shape: tuple[int, ...]) -> None:
    layer = fastrnn.Embedding(6, 4, padding_idx)
    module = torch.nn.Embedding(6, 4, padding_idx)
    shared(layer, module)
    x = RNG.integers(0, 6, shape)
    wanted = module(torch.from_numpy(np.asarray(x)))
    y, _, backward = layer.vjp(x.astype(np.uint8) if shape else x)
    assert np.array_equal(y, wanted.detach().numpy())
    dy = floats(*y.shape)
    wanted.backward(torch.from_numpy(np.asarray(dy)))
    grads = backward(dy)
    assert grads.x is None
    assert error(grads.weights["weight"], module.weight.grad.numpy()) <= TORCH_GRADIENT


def test_embedding_refuses() -> None:
    layer = fastrnn.Embedding(6, 4)
    with pytest.raises(TypeError, match=r"x: expected integers.*got float32"):
        layer(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match=r"x: expected integers.*got bool"):
        layer(np.zeros(3, bool))
    with pytest.raises(ValueError, match="indices from 0 to 5, got 6"):
        layer([0, 6])
    with pytest.raises(ValueError, match="indices from 0 to 5, got -1"):
        layer([0, -1])
    with pytest.raises(ValueError, match="indices from 0 to 5, got 18446744073709551615"):
        layer(np.array([2**64 - 1], np.uint64))
    with pytest.raises(ValueError, match="padding_idx: expected -6 to 5, got 6"):
        fastrnn.Embedding(6, 4, padding_idx=6)
    assert not fastrnn.Embedding(6, 4, padding_idx=2).state_dict()["weight"][2].any()


# What must be refused: (what makes it, the words of the error).
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: fastrnn.Linear(0, 3), ValueError, "in_features: expected 1 to"),
    (lambda: fastrnn.Linear(2.0, 3), TypeError, "in_features: expected an int, got float"),
    (lambda: fastrnn.Linear(2, 3, bias=1), TypeError, "bias: expected True or False"),
    (lambda: fastrnn.Linear(2, 3, isa="sse"), ValueError, "isa: expected one of"),
    (lambda: fastrnn.Linear(2, 3)(floats(4, 3)), ValueError, r"\(\.\.\., 2\), got \(4, 3\)"),
    (lambda: fastrnn.Linear(2, 3)(np.float32(1)), ValueError, r"\(\.\.\., 2\), got \(\)"),
    (lambda: fastrnn.Conv1d(4, 6, 3, groups=4), ValueError, "groups: expected a divisor"),
    (lambda: fastrnn.Conv1d(4, 6, 3, padding="full"), ValueError, "padding: expected an int"),
    (lambda: fastrnn.Conv1d(4, 6, 3, 2, "same"), ValueError, "'same' with stride 2"),
    (lambda: fastrnn.Conv1d(4, 6, 3, padding=-1), ValueError, "padding: expected 0 to"),
    (lambda: fastrnn.Conv1d(4, 6, (3, 3)), ValueError, "kernel_size: expected one number"),
    (lambda: fastrnn.Conv1d(4, 6, 3)(floats(2, 4, 2)), ValueError, "at least 3 steps.*got 2"),
    (lambda: fastrnn.Conv1d(4, 6, 3)(floats(2, 5, 9)), ValueError, r"got shape \(2, 5, 9\)"),
    (lambda: fastrnn.LayerNorm(()), ValueError, "normalized_shape: expected at least one axis"),
    (lambda: fastrnn.LayerNorm(3, eps=-1), ValueError, "eps: expected a finite number"),
    (lambda: fastrnn.LayerNorm((2, 3))(floats(3, 2)), ValueError, r"\(\.\.\., 2, 3\)"),
    (lambda: fastrnn.Softmax(2)(floats(3, 2)), ValueError, "dim: expected an axis of x with 2"),
    (lambda: fastrnn.Softmax(1.0), TypeError, "dim: expected an int"),
    (lambda: fastrnn.Dropout(1.5), ValueError, "p: expected a probability"),
    (lambda: fastrnn.Dropout("half"), TypeError, "p: expected a number"),
    (lambda: fastrnn.Last(of="end"), ValueError, "of: expected 'step' or 'state'"),
    (lambda: fastrnn.Last()(floats(3)), ValueError, r"got shape \(3,\)"),
    (lambda: fastrnn.Last(of="state")(floats(3, 2, 5)), ValueError, "an even number, got 5"),
    (lambda: fastrnn.Last()(floats(0, 2, 5)), ValueError, "at least one step"),
    (lambda: fastrnn.Pool("min"), ValueError, "mode: expected 'mean' or 'max' or 'sum'"),
    (lambda: fastrnn.Mask("0"), TypeError, "value: expected a number"),
    (lambda: fastrnn.Mask(0)(floats(3)), ValueError, r"got shape \(3,\)"),
    (lambda: fastrnn.ZeroPad1d((1, 2, 3)), ValueError, "padding: expected a number or"),
    (lambda: fastrnn.ZeroPad1d(-1), ValueError, "padding: expected 0 to"),
    (lambda: fastrnn.ReflectionPad1d((1, 2, 3)), ValueError, "padding: expected a number or"),
    (lambda: fastrnn.ReflectionPad1d(-1), ValueError, "padding: expected 0 to"),
    (lambda: fastrnn.ReflectionPad1d(4)(floats(2, 3, 4)), ValueError, "more than 4 steps.*got 4"),
    (lambda: fastrnn.ReflectionPad1d(1)(floats(4)), ValueError, r"got shape \(4,\)"),
    (lambda: fastrnn.Magnitude()(floats(3, 4)), ValueError, r"even number, got shape \(3, 4\)"),
    (lambda: fastrnn.AddInput(3)(floats(2, 2)), ValueError, "3 features"),
    (lambda: fastrnn.Flatten(2, 1)(floats(2, 3, 4)), ValueError, "start_dim: expected at most"),
    (lambda: fastrnn.Permute((0, 0))(floats(2, 3)), ValueError, "dims: expected each of the 2"),
    (lambda: fastrnn.Transpose(0, 3)(floats(2, 3)), ValueError, "dim: expected an axis"),
    (lambda: fastrnn.Squeeze(1)(floats(2, 3)), ValueError, "of length 1, got shape"),
    (lambda: fastrnn.Unflatten(1, (2, 2))(floats(2, 3)), ValueError, "of length 4, got shape"),
    (lambda: fastrnn.Unsqueeze(4)(floats(2, 3)), ValueError, "dim: expected an axis"),
    (lambda: fastrnn.Linear(2, 3)(floats(2), lengths=[1]), ValueError, "lengths: no arrangement"),
    (lambda: fastrnn.ReLU()(floats(5, 2, 3), lengths=[1]), ValueError, r"shape \(2,\), got"),
    (lambda: fastrnn.ReLU()(floats(5, 2, 3), lengths=[1, 6]), ValueError, "1 to 5 steps, got 6"),
    (lambda: fastrnn.ReLU()(floats(5, 2, 3), lengths=[1.0, 2]), TypeError, "lengths: expected int"),
    (lambda: fastrnn.Linear(2, 3).load_state_dict({}), ValueError, "missing 'weight', 'bias'"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case: int) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()


def test_dropout_is_reproducible_and_unbiased() -> None:
    layer, x = fastrnn.Dropout(0.25), np.ones((200, 500), np.float32)
    assert np.array_equal(layer(x)[0], x)
    y, _, backward = layer.vjp(x, seed=5)
    assert np.array_equal(y, layer.vjp(x, seed=5)[0])
    assert not np.array_equal(y, layer.vjp(x, seed=6)[0])
    assert not np.array_equal(layer.vjp(x)[0], layer.vjp(x)[0])
    assert np.array_equal(backward(x).x, y)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    # The share kept of 100,000 has a standard deviation of 0.0014.
    assert abs((y > 0).mean() - 0.75) < 0.007
    assert not fastrnn.Dropout(1.0).vjp(x)[0].any()


def test_magnitude_has_no_slope_at_zero() -> None:
    _, _, backward = fastrnn.Magnitude().vjp(np.zeros((2, 3), np.float32))
    assert np.array_equal(backward(floats(1, 3)).x, np.zeros((2, 3), np.float32))


def test_nan_stays() -> None:
    x = np.array([[np.nan, -1.0, 1.0]], np.float32)
    assert np.isnan(fastrnn.ReLU()(x)[0][0, 0])
    assert np.isnan(fastrnn.Pool("max")(np.stack([x, x * 0]))[0][0, 0])
    assert np.isnan(fastrnn.Linear(3, 2)(x)[0]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fastrnn.ELU(np.inf), "alpha: expected a finite float32, got inf"),
        (lambda: fastrnn.LeakyReLU(1e39), "negative_slope: expected a finite float32"),
        (lambda: fastrnn.GELU("erf"), "approximate: expected 'none' or 'tanh', got 'erf'"),
        (lambda: fastrnn.Softplus(0.0), "beta: expected a positive float32, got 0"),
        (lambda: fastrnn.Hardtanh(1.0, 1.0), "min_val: expected less than max_val 1.0, got 1.0"),
        (lambda: fastrnn.Hardtanh(np.nan, 1.0), "min_val: expected less than max_val 1.0, got nan"),
        (lambda: fastrnn.BatchNorm1d(3)(floats(2, 4)), r"x: expected \(batch, 3\).*shape \(2, 4\)"),
        (lambda: fastrnn.PReLU(3)(floats(2, 4)), r"x: expected 3 channels on axis 1.*\(2, 4\)"),
        (lambda: fastrnn.MaxPool1d(3, padding=2), "padding: expected at most half of 3, got 2"),
        (lambda: fastrnn.AvgPool1d(3, padding=2), "padding: expected at most half of 3, got 2"),
        (lambda: fastrnn.MaxPool1d(5)(floats(2, 4)), "x: expected at least 5 steps.*got 4"),
        (lambda: fastrnn.MergeDirections()(floats(3)), "x: expected features of two.*got 3"),
        (lambda: fastrnn.MergeDirections("cat"), "mode: expected 'sum' or 'mean' or 'mul'"),
        (lambda: fastrnn.Scale(np.nan), "factor: expected a finite float32, got nan"),
    ],
)
def test_functions_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
