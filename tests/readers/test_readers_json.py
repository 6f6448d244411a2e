# SPDX-License-Identifier: MIT
"""RTNeural's JSON against torch and Keras's formulas, and state dicts as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn
from fastrnn.readers import FormatError, UnsupportedModel, describe_file, read_state_dict
from fastrnn.readers.containers.budget import Budget
from fastrnn.readers.containers.json_text import parse_json

torch = pytest.importorskip("torch")
nn = torch.nn


def columns(tensor):
    """A matrix of torch as Keras keeps it."""
    return tensor.detach().numpy().T.tolist()


def item(kind, outputs, weights=(), **more):
    return {
        "type": kind,
        "activation": "",
        "shape": [None, None, outputs],
        "weights": [*weights],
        **more,
    }


def lstm_item(module, **more):
    state = module.state_dict()
    bias = (state["bias_ih_l0"] + state["bias_hh_l0"]).tolist()
    weights = [columns(state["weight_ih_l0"]), columns(state["weight_hh_l0"]), bias]
    return item("lstm", module.hidden_size, weights, **more)


def gru_item(module, **more):
    def gates(tensor):
        r, z, n = tensor.detach().chunk(3)
        return torch.cat([z, r, n])

    state = {name: gates(tensor) for name, tensor in module.state_dict().items()}
    weights = [columns(state["weight_ih_l0"]), columns(state["weight_hh_l0"])]
    bias = [state["bias_ih_l0"].tolist(), state["bias_hh_l0"].tolist()]
    return item("gru", module.hidden_size, [*weights, bias], **more)


def dense_item(module, kind="dense", **more):
    return item(kind, module.out_features, [columns(module.weight), module.bias.tolist()], **more)


def conv_item(module, **more):
    kernel = module.weight.detach().permute(2, 1, 0).tolist()
    sizes = {"kernel_size": [*module.kernel_size], "dilation": [*module.dilation]}
    return item("conv1d", module.out_channels, [kernel, module.bias.tolist()], **sizes, **more)


def write(path, *layers, inputs=1, **more):
    model = {"in_shape": [None, None, inputs], "layers": list(layers), **more}
    path.write_text(json.dumps(model))
    return path


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    return tmp_path / "m.json"


@pytest.mark.parametrize("skip", [0, 1])
def test_lstm_and_dense(path, skip):
    rnn, head = nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 1)
    x = draw(2, 30, 1)
    with torch.inference_mode():
        wanted = head(rnn(torch.from_numpy(x))[0]).numpy() + skip * x
    model = fastrnn.load(write(path, lstm_item(rnn), dense_item(head), in_skip=skip, in_gain=0.0))
    assert error(model(x)[0], wanted) < PARITY
    assert describe_file(path).format == "rtneural"


def test_every_kind_of_layer(path):
    """Convolutions are causal; the activation that Keras writes of a GRU is the cell's own."""
    conv, last = nn.Conv1d(2, 4, 3, dilation=2), nn.Linear(5, 3)
    grouped = nn.Conv1d(4, 6, 2, groups=2)
    rnn, dense = nn.GRU(6, 5, batch_first=True), nn.Linear(5, 5)
    layers = [
        conv_item(conv, activation="relu"),
        conv_item(grouped, groups=2),
        item("activation", 6, activation="sigmoid"),
        gru_item(rnn, activation="tanh"),
        dense_item(dense, "time-distributed-dense", activation="tanh"),
        dense_item(last, activation="softmax"),
    ]
    x = draw(2, 20, 2)
    with torch.inference_mode():
        y = torch.relu(conv(nn.functional.pad(torch.from_numpy(x).mT, (4, 0))))
        y = torch.sigmoid(grouped(nn.functional.pad(y, (1, 0)))).mT
        wanted = last(torch.tanh(dense(rnn(y)[0]))).softmax(-1).numpy()
    assert error(fastrnn.load(write(path, *layers, inputs=2))(x)[0], wanted) < PARITY


def norm_item(module, weights):
    arrays = [getattr(module, name).tolist() for name in weights]
    return item("batchnorm", module.num_features, arrays, epsilon=module.eps)


def test_normalizations_slopes_and_gains(path):
    first, second = nn.BatchNorm1d(2, eps=1e-3), nn.BatchNorm1d(2, affine=False)
    slopes, one = nn.PReLU(2), nn.PReLU()
    with torch.no_grad():
        for norm in (first, second):
            norm.eval().running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
        for weight in (first.weight, first.bias, slopes.weight):
            weight.uniform_(-1, 1)
    statistics = ("running_mean", "running_var")
    layers = [
        norm_item(first, ("weight", "bias", *statistics)),
        item("prelu", 2, [[slopes.weight.tolist()]]),
        norm_item(second, statistics),
        item("prelu", 2, [one.weight.tolist()]),
    ]
    x, gain = draw(3, 20, 2), 10 ** (6 / 20)
    with torch.inference_mode():
        wanted = one(second(slopes(first(gain * torch.from_numpy(x).mT)))).mT.numpy() / gain
    model = fastrnn.load(write(path, *layers, inputs=2, in_gain=6, out_gain=-6.0))
    assert error(model(x)[0], wanted) < PARITY


def test_length_of_a_text():
    assert parse_json(b"[1]", "x", Budget(3), 3) == [1]
    with pytest.raises(FormatError, match=r"^x: expected at most 2 bytes, got 3"):
        parse_json(b"[1]", "x", Budget(3), 2)


def test_groups_and_variances_that_cannot_be(path):
    conv = conv_item(nn.Conv1d(4, 6, 2, groups=2), groups=4)
    with pytest.raises(FormatError, match="4 groups of 4 inputs and 6 outputs"):
        fastrnn.load(write(path, conv, inputs=4))
    norm = item("batchnorm", 2, [[0.0, 0.0], [1.0, -1.0]], epsilon=2.0)
    with pytest.raises(FormatError, match="a variance plus epsilon is not above 0"):
        fastrnn.load(write(path, norm, inputs=2))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"type": "conv2d"}, "conv2d.*no layer for this type"),
        ({"type": "batchnorm"}, r"sizes \(3, 2\), expected \(3,\)"),
        ({"type": "batchnorm", "weights": [[1.0] * 3] * 3}, "it has 3 weights"),
        ({"type": "prelu"}, "it has 2 weights, expected one array"),
        ({"type": "prelu", "weights": [[[0.1] * 2]]}, r"slopes have shape \(1, 2\)"),
        ({"activation": "swish"}, "activation 'swish'"),
        ({"strides": [2]}, "'strides' is not known"),
        ({"shape": [None, None, 4]}, r"sizes \(2, 3\), expected \(4, 3\)"),
        ({"shape": [None, None, None]}, "shape is NoneType"),
        ({"weights": 3}, "weights: expected a list"),
        ({"weights": [[[1.0], [1.0, 2.0]]]}, "not those of an array"),
        ({"weights": [[[1.0, "a"]]]}, "not a number"),
        ({"weights": [[[1e39, 1.0]] * 3, [0.0, 0.0]]}, "too large"),
        ({"weights": [[1.0]]}, "expected arrays of"),
        ({"type": "lstm", "activation": "relu"}, "expected 'tanh'"),
        ({"type": "lstm"}, "expected arrays of"),
    ],
)
def test_refused_layers(path, change, why):
    layer = dense_item(nn.Linear(3, 2)) | change
    with pytest.raises(FormatError, match=why):
        fastrnn.load(write(path, layer, inputs=3))


def test_refused_models(path):
    dense = dense_item(nn.Linear(3, 2))
    with pytest.raises(UnsupportedModel, match=r"in_skip.*which x it adds"):
        fastrnn.load(write(path, dense_item(nn.Linear(1, 1)), in_gain=1.5, in_skip=1))
    for gain in ("loud", True, None, 201, -1e300):
        with pytest.raises(FormatError, match=r"out_gain is .*, expected a number"):
            fastrnn.load(write(path, dense, inputs=3, out_gain=gain))
    with pytest.raises(FormatError, match="in_skip with 3 inputs"):
        fastrnn.load(write(path, dense, inputs=3, in_skip=1))
    for layers in (3, [3], [dense] * 1001):
        path.write_text(json.dumps({"in_shape": [None, 3], "layers": layers}))
        with pytest.raises(FormatError, match="layer"):
            fastrnn.load(path)
    wrong = lstm_item(nn.LSTM(1, 4)) | {"type": "gru"}
    with pytest.raises(FormatError, match=r"a layer \('LSTM', 1, 4\), expected \('GRU', 1, 4\)"):
        fastrnn.load(write(path, wrong))


# State dicts


def test_state_dict(path):
    rnn = nn.LSTM(3, 4, 2, bidirectional=True)
    state = {f"lstm.{name}": tensor for name, tensor in rnn.state_dict().items()}
    lists = {name: tensor.tolist() for name, tensor in state.items()}
    more = {"epoch": 3, "name": "a", "tags": ["a", "b"], "flags": [True], "none": None}
    for content in (lists, lists | more, {"state_dict": lists} | more):
        path.write_text(json.dumps(content))
        found = read_state_dict(path)
        prefix = "" if content.keys() & lists.keys() else "state_dict."
        assert list(found) == [prefix + name for name in state]
        for name, tensor in state.items():
            np.testing.assert_array_equal(found[prefix + name], tensor.numpy(), strict=True)
        x = draw(5, 2, 3)
        with torch.inference_mode():
            wanted = rnn(torch.from_numpy(x))[0].numpy()
        assert error(fastrnn.load(path)(x)[0], wanted) < PARITY
    assert set(read_state_dict(path, key="state_dict.lstm")) == rnn.state_dict().keys()


def test_bad_tensors_are_named(path):
    lists = {f"a.{name}": tensor.tolist() for name, tensor in nn.GRU(2, 3).state_dict().items()}
    path.write_text(json.dumps({**lists, "other": [[1, 2], [3]]}))
    with pytest.warns(UserWarning, match="leaves out 'other'"):
        assert fastrnn.load(path).hidden_size == 3
    with pytest.raises(FormatError, match="tensor 'other': its lists are not those of an array"):
        read_state_dict(path)
    path.write_text(json.dumps({**lists, "a.scale": 0.5}))
    with pytest.raises(FormatError, match=r"unexpected tensors below 'a'.*'a\.scale'"):
        fastrnn.load(path)
    path.write_text(json.dumps({**lists, "a.norm": [[1, 2], [3]]}))
    with pytest.raises(FormatError, match=r"'a\.norm'"):
        fastrnn.load(path)
    for content in ({"w": [1.0]}, {"weight": "a"}, {}, [1.0], 3):
        path.write_text(json.dumps(content))
        with pytest.raises(FormatError, match=r"no known model|known kind"):
            read_state_dict(path)
