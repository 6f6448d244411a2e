# SPDX-License-Identifier: MIT
"""Whole modules of torch.save(model): read as inert records, and honoured or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn
from fastrnn.readers import FormatError, UnsupportedModel, read_state_dict

torch = pytest.importorskip("torch")
pytest.importorskip("fastrnn.torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, tmp_path):
    def write(value, name="model.pt"):
        torch.save(value, tmp_path / name, _use_new_zipfile_serialization=request.param)
        return tmp_path / name

    return write


def agrees(layer, module, x):
    with torch.inference_mode():
        wanted = module.eval()(torch.from_numpy(x))
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    return error(layer(x)[0], wanted.numpy()) < PARITY


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


RECURRENT = {
    "lstm": lambda: nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True, proj_size=2),
    "gru": lambda: nn.GRU(3, 5, 2, dropout=0.5, bias=False),
    "rnn": lambda: nn.RNN(3, 5, nonlinearity="relu", batch_first=True),
    "weight norm": lambda: nn.utils.weight_norm(nn.LSTM(3, 5), "weight_hh_l0"),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_module(save, kind):
    module = RECURRENT[kind]()
    layer = fastrnn.load(save(module))
    assert agrees(layer, module, draw(4, 6, 3))
    assert layer.batch_first == module.batch_first
    assert layer.dropout == module.dropout
    with pytest.raises(ValueError, match=r"batch_first=.* contradicts the file"):
        fastrnn.load(save(module), batch_first=not module.batch_first)


def test_sequential_of_known_modules(save):
    dense = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Identity(), nn.LayerNorm(4, eps=0.1))
    model = nn.Sequential(
        nn.Dropout(0.5), dense, nn.utils.weight_norm(nn.Linear(4, 2)), nn.Softmax(-1)
    )
    loaded = fastrnn.load(save({"net": model, "epoch": 3}))
    assert [type(layer).__name__ for layer in loaded] == [
        *("Dropout", "Linear", "ReLU", "LayerNorm", "Linear", "Softmax")
    ]
    assert agrees(loaded, model, draw(4, 6, 3))
    model = nn.Sequential(nn.Conv1d(3, 4, 5, 2, "valid", 1, bias=False), nn.Tanh(), nn.Flatten())
    assert agrees(fastrnn.load(save(model)), model, draw(2, 3, 9))
    model = nn.Sequential(nn.Embedding(9, 3, padding_idx=1), nn.GRU(3, 4, batch_first=True))
    with torch.inference_mode():
        wanted = model(torch.tensor([[1, 2, 8]]))[0].numpy()
    assert error(fastrnn.load(save(model))(np.array([[1, 2, 8]]))[0], wanted) < PARITY


def test_every_known_module(save):
    model = nn.Sequential(
        nn.Unflatten(1, (3, 8)), nn.ZeroPad1d((1, 0)), nn.BatchNorm1d(3), nn.Conv1d(3, 4, 2),
        nn.PReLU(4), nn.MaxPool1d(2), nn.AvgPool1d(2, 1, 1), nn.BatchNorm1d(4, affine=False),
        nn.ReLU6(), nn.ELU(0.5),
        nn.LeakyReLU(0.2), nn.SiLU(), nn.GELU("tanh"), nn.Softplus(2.0), nn.Mish(), nn.Hardswish(),
        nn.Softsign(), nn.Hardtanh(-0.5, 2.0), nn.Hardsigmoid(), nn.AlphaDropout(), nn.Flatten(),
        nn.LogSoftmax(-1),
    )  # fmt: skip
    with torch.no_grad():
        model[2].running_mean += 0.5
        model[7].running_var += torch.arange(4)
    assert agrees(fastrnn.load(save(model)), model, draw(2, 24))
    assert agrees(fastrnn.torch.from_module(model), model, draw(2, 24))


class Net(nn.Module):
    """A module of the user: what its forward does is not in the file."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 1)
        self.register_buffer("mean", torch.zeros(3))


class MyLSTM(nn.LSTM):
    """A layer of the user with PyTorch's weights."""


class Attention(nn.LSTM):
    def __init__(self):
        super().__init__(3, 5)
        self.query = nn.Linear(5, 5)


def test_parts_of_a_module_of_the_user(save):
    model = Net()
    path = save(model)
    with pytest.raises(UnsupportedModel, match=r"Net.* code, which is not in the file(.|\n)*'rnn'"):
        fastrnn.load(path)
    layer = fastrnn.load(path, "rnn")
    assert layer.batch_first
    assert agrees(layer, model.rnn, draw(2, 4, 3))
    state = read_state_dict(path)
    assert list(state) == list(model.state_dict())
    assert all(np.array_equal(state[name], t.numpy()) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    "make", [lambda: MyLSTM(3, 5), Attention, nn.LSTM], ids=["subclass", "function", "class"]
)
def test_code_of_the_user_is_refused(save, make):
    layer = make() if make is not nn.LSTM else nn.LSTM(3, 5)
    if make is nn.LSTM:
        layer.register_forward_hook(print)
    path = save(layer)
    with pytest.raises(FormatError, match=r"code, which is not in the file"):
        fastrnn.load(path)
    with pytest.raises(FormatError, match=r"code, which is not in the file|unexpected tensors"):
        fastrnn.load(path, "")


def test_modules_of_fastrnn(save, tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 4, batch_first=True))
    fastrnn.torch.accelerate(model)
    assert agrees(fastrnn.load(save(model)), model, draw(2, 4, 3))
    subclass, _ = fastrnn.torch.accelerate(MyLSTM(3, 4))
    with pytest.raises(FormatError, match="runs code, which is not in the file"):
        fastrnn.load(save(subclass))
    traced = tmp_path / "traced.pt"
    torch.jit.trace(model, torch.zeros(2, 4, 3)).save(str(traced))
    with pytest.raises(FormatError, match=r"'1' runs on fastrnn: call fastrnn.torch.restore"):
        fastrnn.load(traced, "1")
    torch.jit.trace(fastrnn.torch.restore(model), torch.zeros(2, 4, 3)).save(str(traced))
    assert fastrnn.load(traced, "1").batch_first


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nn.Sequential(nn.LSTM(3, 5), nn.Linear(5, 1)), "gets its state, too"),
        (nn.Sequential(nn.Bilinear(3, 3, 3)), "no layer for this module"),
        (nn.Sequential(nn.Embedding(9, 3, max_norm=1.0)), "max_norm: expected None"),
        (nn.Sequential(nn.Conv1d(3, 4, 3, padding_mode="circular")), "expected 'zeros'"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), "expected True"),
        (nn.Sequential(nn.MaxPool1d(2, return_indices=True)), "expected False"),
        (nn.LSTMCell(3, 5), "no layer for this module"),
        (nn.Sequential(nn.Linear(3, 5).to(torch.float8_e4m3fn)), "float8.*not supported"),
    ],
)
def test_unsupported_modules_are_named(save, model, why):
    with pytest.raises(UnsupportedModel, match=why):
        fastrnn.load(save(model))


def test_modules_without_layers_or_with_too_many_around_them(save):
    with pytest.raises(FormatError, match="the module has no layers"):
        fastrnn.load(save(nn.Sequential()))
    deep = nn.ReLU()
    for _ in range(65):
        deep = nn.Sequential(deep)
    with pytest.raises(FormatError, match="the modules nest too deep"):
        fastrnn.load(save(deep))


def test_sizes_that_are_not_those_of_the_weights(save):
    for name, value in {"hidden_size": 6, "num_layers": 1 << 60, "proj_size": 1}.items():
        layer = nn.LSTM(3, 5)
        setattr(layer, name, value)
        with pytest.raises(FormatError):
            fastrnn.load(save(layer))
    linear = nn.Linear(3, 5)
    linear.out_features = 1 << 60
    with pytest.raises(UnsupportedModel, match=r"has tensors .* expected"):
        fastrnn.load(save(linear))


def test_a_number_that_no_option_has(save):
    layer = nn.LSTM(2, 3)
    layer.dropout = 10**400
    with pytest.raises(FormatError, match="dropout is a number of 1329 bits"):
        read_state_dict(save(layer))
