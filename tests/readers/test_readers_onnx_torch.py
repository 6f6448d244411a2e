# SPDX-License-Identifier: MIT
"""ONNX files that torch's two exporters write, against the numbers of the exported modules."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from description_runner import run  # noqa: E402
from onnx_files import compare, kinds  # noqa: E402
from torch import nn  # noqa: E402

import fastrnn  # noqa: E402
from fastrnn.readers import UnsupportedModel, describe_file  # noqa: E402

torch.set_num_threads(1)

FEATURES, WORDS, CLASSES = 5, 20, 3
HAS_SCRIPT = importlib.util.find_spec("onnxscript") is not None
WRITERS = ["script", "script static", "script unfolded", "dynamo static", "dynamo"]


class Net(nn.Module):
    """A module whose forward is a function of its parts."""

    def __init__(self, run_parts, **parts):
        super().__init__()
        self.run_parts = run_parts
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run_parts(self, x)


def stack(cell=nn.LSTM, inputs=FEATURES, hidden=4, layers=1, **options):
    options = {"batch_first": True} | options
    return cell(inputs, hidden, layers, **options)


def words(batch=2, steps=6):
    return torch.randint(0, WORDS, (batch, steps))


def numbers(batch=2, steps=6):
    return torch.randn(batch, steps, FEATURES)


def conv_net(m, x):
    y = torch.relu(m.conv(x.transpose(1, 2))).transpose(1, 2)
    return torch.sigmoid(m.fc(m.rnn(y)[0].mean(1)))


def final_states(m, x):
    h = m.rnn(x)[1][0]
    return m.fc(torch.cat([h[-2], h[-1]], -1)).softmax(-1)


def both_ends(m, x):
    y = m.rnn(x)[0]
    return m.fc(torch.cat([y[:, -1, :4], y[:, 0, 4:]], -1))


# name -> module, example, kinds of the layers
MODELS = {
    "tagger": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(m.emb(x))[0]),
            emb=nn.Embedding(WORDS, FEATURES), rnn=stack(layers=2, bidirectional=True),
            fc=nn.Linear(8, CLASSES),
        ),
        words(), "Embedding LSTM Linear",
    ),
    "time first": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(m.emb(x))[0]).log_softmax(-1),
            emb=nn.Embedding(WORDS, FEATURES), rnn=stack(nn.GRU, batch_first=False),
            fc=nn.Linear(4, CLASSES),
        ),
        words(), "Embedding GRU Linear LogSoftmax",
    ),
    "final state": lambda: (
        Net(lambda m, x: m.fc(m.rnn(x)[1][-1]), rnn=stack(nn.GRU), fc=nn.Linear(4, CLASSES)),
        numbers(), "GRU Last Linear",
    ),
    "final states": lambda: (
        Net(
            final_states,
            rnn=stack(layers=2, bidirectional=True), fc=nn.Linear(8, CLASSES),
        ),
        numbers(), "LSTM Last Linear Softmax",
    ),
    "both ends": lambda: (
        Net(both_ends, rnn=stack(bidirectional=True), fc=nn.Linear(8, CLASSES)),
        numbers(), "LSTM Last Linear",
    ),
    "last step": lambda: (
        Net(
            lambda m, x: m.fc(m.norm(m.rnn(x)[0][:, -1])),
            rnn=stack(layers=3, bias=False), norm=nn.LayerNorm(4), fc=nn.Linear(4, CLASSES),
        ),
        numbers(), "LSTM Last LayerNorm Linear",
    ),
    "two stacks": lambda: (
        Net(
            lambda m, x: m.out(m.drop(torch.relu(m.mid(m.second(torch.tanh(m.first(x)[0]))[0])))),
            first=stack(nn.GRU, bidirectional=True), second=stack(inputs=8, hidden=6),
            mid=nn.Linear(6, 7), drop=nn.Dropout(0.3), out=nn.Linear(7, 1, bias=False),
        ),
        numbers(), "GRU Tanh LSTM Linear ReLU Linear",
    ),
    "pooled": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(x)[0].amax(1)),
            rnn=stack(nn.GRU, bidirectional=True), fc=nn.Linear(8, CLASSES),
        ),
        numbers(), "GRU Pool Linear",
    ),
    "convolution": lambda: (
        Net(
            conv_net, conv=nn.Conv1d(FEATURES, 6, 3, padding=1, stride=2),
            rnn=stack(inputs=6, bidirectional=True), fc=nn.Linear(8, CLASSES),
        ),
        numbers(), "Transpose Conv1d ReLU Transpose LSTM Pool Linear Sigmoid",
    ),
    "time out": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(x)[0]).transpose(0, 1),
            rnn=stack(), fc=nn.Linear(4, CLASSES),
        ),
        numbers(), "LSTM Linear Transpose",
    ),
    "one number": lambda: (
        Net(lambda m, x: m.fc(m.rnn(x)[0]).squeeze(-1), rnn=stack(), fc=nn.Linear(4, 1)),
        numbers(), "LSTM Linear Squeeze",
    ),
    "univariate": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(x.unsqueeze(-1))[0][:, -1]),
            rnn=stack(inputs=1), fc=nn.Linear(4, 1),
        ),
        torch.randn(2, 6), "Unsqueeze LSTM Last Linear",
    ),
    "words in a row": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(m.emb(x))[0].reshape(-1, 4)),
            emb=nn.Embedding(WORDS, FEATURES), rnn=stack(), fc=nn.Linear(4, CLASSES),
        ),
        words(), "Embedding LSTM Linear Flatten",
    ),
    "rnn tanh": lambda: (
        Net(lambda m, x: m.fc(m.rnn(x)[0]), rnn=stack(nn.RNN, layers=2), fc=nn.Linear(4, CLASSES)),
        numbers(), "RNN Linear",
    ),
    "rnn relu": lambda: (
        Net(
            lambda m, x: m.fc(m.rnn(x)[0]),
            rnn=stack(nn.RNN, nonlinearity="relu", bidirectional=True), fc=nn.Linear(8, CLASSES),
        ),
        numbers(), "RNN Linear",
    ),
}  # fmt: skip


@contextlib.contextmanager
def quiet():
    """The exporters warn of themselves and of each other."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def export(path, module, example, writer: str, opset: int | None = None, **options):
    """Write a file; the dimensions of batch and time are free unless it says static."""
    kind, _, how = writer.partition(" ")
    if kind == "dynamo":
        if not HAS_SCRIPT:
            pytest.skip("onnxscript is not installed: torch's new exporter needs it")
        options |= {"dynamo": True, "verbose": False}
        if how != "static":
            free = dict.fromkeys((0, 1), torch.export.Dim.AUTO)
            options["dynamic_shapes"] = {"x": free}
    else:
        options |= {"dynamo": False, "input_names": ["x"]}
        options["do_constant_folding"] = how != "unfolded"
        if how != "static":
            options["dynamic_axes"] = {"x": {0: "batch", 1: "time"}}
    with quiet():
        torch.onnx.export(module.eval(), (example,), str(path), opset_version=opset, **options)


def check(path, module, *examples):
    description = describe_file(path)
    for example in examples:
        with torch.no_grad():
            wanted = module(example).numpy()
        compare(run(description, example.numpy()), wanted)
    return description


# Each model by both exporters, their variants in turn: an export takes a second and more. What
# torch's new exporter writes otherwise: see test_unrolled_rnn and test_fixed_time.
CASES = [
    (name, writer)
    for number, name in enumerate(MODELS)
    for writer in WRITERS[number % 2 :: 2]
    if not (writer.startswith("dynamo") and name.startswith("rnn"))
]


@pytest.mark.parametrize(("name", "writer"), CASES)
def test_exported(tmp_path, name, writer):
    torch.manual_seed(0)
    module, example, wanted = MODELS[name]()
    path = tmp_path / "m.onnx"
    export(path, module, example, writer)
    examples = [example] if "static" in writer else [example, torch.cat([example] * 2, 1)]
    description = check(path, module, *examples)
    assert kinds(description) == wanted.split()
    recurrent = [layer for layer in description.layers if layer.kind in ("LSTM", "GRU", "RNN")]
    modules = [part for part in module.children() if isinstance(part, nn.RNNBase)]
    for layer, part in zip(recurrent, modules, strict=True):
        assert layer.options["num_layers"] == part.num_layers
        assert layer.options["batch_first"] is (name != "time first")
        for key, weight in part.state_dict().items():
            np.testing.assert_array_equal(layer.arrays[key], weight.numpy())
    names = [layer.name for layer in description.layers]
    assert {"fc", "rnn"} <= {*names, *(["fc", "rnn"] if name == "two stacks" else [])}


@pytest.mark.parametrize("opset", [9, 11, 13, 14, 15, 17, 18])
@pytest.mark.parametrize("name", ["tagger", "last step", "pooled", "convolution", "rnn relu"])
def test_opsets(tmp_path, name, opset):
    torch.manual_seed(0)
    module, example, wanted = MODELS[name]()
    export(tmp_path / "m.onnx", module, example, "script", opset)
    assert kinds(check(tmp_path / "m.onnx", module, example)) == wanted.split()


class Streaming(nn.Module):
    """A step with the state as input and output, as models for streams are exported."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, 4, 2, batch_first=True)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x, h, c):
        y, (h, c) = self.rnn(x, (h, c))
        return self.fc(y), h, c


@pytest.mark.parametrize("writer", ["script", "dynamo static"])
def test_states_in_and_out(tmp_path, writer):
    torch.manual_seed(0)
    module, x = Streaming().eval(), numbers()
    h, c = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    if writer.startswith("dynamo") and not HAS_SCRIPT:
        pytest.skip("onnxscript is not installed")
    with quiet():
        torch.onnx.export(
            module, (x, h, c), str(tmp_path / "m.onnx"), dynamo=writer.startswith("dynamo"),
            input_names=["x", "h", "c"], output_names=["y", "h_n", "c_n"],
        )  # fmt: skip
    description = describe_file(tmp_path / "m.onnx")
    assert kinds(description) == ["LSTM", "Linear"]
    with torch.no_grad():
        wanted = module(x, h, c)[0].numpy()
    state = (h.numpy(), c.numpy())
    compare(run(description, x.numpy(), states={"rnn": state}), wanted)


def test_dropout_in_training_mode(tmp_path):
    """An export for training keeps Dropout; as a layer it does nothing at inference."""
    torch.manual_seed(0)
    module = Net(
        lambda m, x: m.fc(m.drop(m.rnn(x)[0])),
        rnn=stack(), drop=nn.Dropout(0.25), fc=nn.Linear(4, 2),
    )  # fmt: skip
    with quiet():
        torch.onnx.export(
            module, (numbers(),), str(tmp_path / "m.onnx"), dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        )  # fmt: skip
    with contextlib.suppress(UnsupportedModel):
        assert "Dropout" in kinds(describe_file(tmp_path / "m.onnx"))


def test_projection(tmp_path):
    """torch's new exporter drops the projection from the file: that must not pass silently."""
    torch.manual_seed(0)
    module = Net(lambda m, x: m.rnn(x)[0], rnn=stack(proj_size=2))
    export(tmp_path / "m.onnx", module, numbers(), "dynamo static")
    with pytest.raises(UnsupportedModel, match=r"initial_c has shape \[1, 2, 4\]"):
        describe_file(tmp_path / "m.onnx")


def test_unrolled_rnn(tmp_path):
    """torch's new exporter writes nn.RNN as single steps of a fixed length."""
    torch.manual_seed(0)
    module, example, _ = MODELS["rnn tanh"]()
    export(tmp_path / "m.onnx", module, example, "dynamo static")
    with pytest.raises(UnsupportedModel, match="takes step 1 of the sequence"):
        describe_file(tmp_path / "m.onnx")


def test_fixed_time(tmp_path):
    """The new exporter declares the time of a time-first GRU free, but reshapes to the example's.

    The file is right for this one number of steps only, and does not say so.
    """
    torch.manual_seed(0)
    module, example, _ = MODELS["time first"]()
    export(tmp_path / "m.onnx", module, example, "dynamo")
    with pytest.raises(UnsupportedModel, match=r"\(Reshape\): its shape does not follow"):
        describe_file(tmp_path / "m.onnx")


@pytest.mark.parametrize("writer", ["script", "dynamo static"])
def test_state_dict(tmp_path, writer):
    """The initializers by name; dynamo writes the larger ones to a file beside the model."""
    torch.manual_seed(0)
    module, example, _ = MODELS["tagger"]()
    export(tmp_path / "m.onnx", module, example, writer)
    arrays = fastrnn.read_state_dict(tmp_path / "m.onnx")
    np.testing.assert_array_equal(arrays["emb.weight"], module.emb.weight.detach().numpy())
    np.testing.assert_array_equal(arrays["fc.bias"], module.fc.bias.detach().numpy())
