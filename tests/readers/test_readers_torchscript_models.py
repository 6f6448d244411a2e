# SPDX-License-Identifier: MIT
"""TorchScript archives as whole models: scripted, traced and frozen, their code read, never run."""

from __future__ import annotations

import contextlib
import random
import re
import time

import numpy as np
import pytest
from description_runner import run
from exported_models import MODELS, make
from limits import IMPORTED, error
from reader_files import Entry, dict_, global_, pickle, storage, tensor, tuple_, zip_file

from fastrnn.readers import FormatError, UnsupportedModel, describe_file
from fastrnn.readers.graph.graph import SCHEMAS

pytestmark = pytest.mark.filterwarnings("ignore")
WAYS = ("scripted", "traced", "scripted frozen", "traced frozen")


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def store(torch, module, x, way, path):
    script = torch.jit.trace(module, x) if "traced" in way else torch.jit.script(module)
    script = torch.jit.freeze(script) if "frozen" in way else script
    script.save(str(path))


def outputs(module, x):
    y = module(x)
    while isinstance(y, tuple):
        y = y[0]
    return y.detach().numpy()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_models(torch, tmp_path, name, way):
    module, x = make(torch, name)
    store(torch, module, x, way, tmp_path / "m.pt")
    description = describe_file(tmp_path / "m.pt")
    assert error(run(description, x.numpy()), outputs(module, x)) <= IMPORTED


@pytest.mark.parametrize("way", WAYS)
def test_names_and_options(torch, tmp_path, way):
    module, x = make(torch, "tagger")
    store(torch, module, x, way, tmp_path / "m.pt")
    layers = describe_file(tmp_path / "m.pt").layers
    kept = [layer for layer in layers if layer.arrays]
    assert [layer.kind for layer in kept] == ["Embedding", "LSTM", "LayerNorm", "Linear"]
    if "frozen" not in way:
        assert [layer.name for layer in kept] == ["emb", "rnn", "norm", "head"]
        assert [layer.options["p"] for layer in layers if layer.kind == "Dropout"] == [0.3]
    rnn = kept[1]
    assert rnn.options == {
        "input_size": 6, "hidden_size": 5, "num_layers": 2, "bias": True, "batch_first": True,
        "dropout": 0.2, "bidirectional": True, "proj_size": 0,
    }  # fmt: skip
    for key, value in module.rnn.state_dict().items():
        np.testing.assert_array_equal(rnn.arrays[key], value.numpy(), strict=True)
    assert kept[0].options["padding_idx"] == 0


def refused(torch, tmp_path, module, way="scripted", x=None) -> str:
    store(torch, module.eval(), x, way, tmp_path / "m.pt")
    with pytest.raises(UnsupportedModel) as caught:
        describe_file(tmp_path / "m.pt")
    assert "read_state_dict" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_every_obstacle_is_listed(torch, tmp_path, way):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(3, 4, batch_first=True)
            self.head = torch.nn.Linear(4, 2)

        def forward(self, x):
            y, _ = self.rnn(x)
            y = torch.sin(y)
            return self.head(torch.cumsum(y, 1))

    text = refused(torch, tmp_path, Net(), way, torch.zeros(2, 7, 3))
    for op in ("sin", "cumsum"):
        assert re.search(rf"\n  '\w+' \({op}\): there is no layer for this operator", text)
    assert text.count("\n  ") == 2


def test_loops_and_conditions_are_refused(torch, tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = torch.nn.LSTMCell(3, 4), torch.nn.Linear(4, 2)

        def forward(self, x):
            h, c = torch.zeros(2, 4), torch.zeros(2, 4)
            for step in range(x.size(0)):
                h, c = self.cell(x[step], (h, c))
            return self.head(h if bool(h.sum() > 0) else -h)

    text = refused(torch, tmp_path, Net())
    assert "(for): a loop" in text
    assert "(if): it depends on values, not on the code" in text


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_are_named(torch, tmp_path, kind):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(3, 4)

        def forward(self, x, lengths):
            y, _ = self.rnn(torch.nn.utils.rnn.pack_padded_sequence(x, lengths))
            return torch.nn.utils.rnn.pad_packed_sequence(y)[0]

    path = tmp_path / "m.pt"
    torch.jit.trace(Net(), (torch.ones(5, 2, 3), torch.tensor([5, 2]))).save(path)
    words = r"'rnn' .* it takes a packed sequence: .* fastrnn\.torch\.from_module\(module, \(x, len"
    with pytest.raises(UnsupportedModel, match=words):
        describe_file(path)


def test_packed_layers_are_refused(torch, tmp_path):
    net = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    assert "packed" in refused(torch, tmp_path, net)


# --- hand-made archives, which need no torch ---

CODE = """class Net(Module):
  __parameters__ = ["w", ]
  w : Tensor
  def forward(self: __torch__.Net,
    x: Tensor) -> Tensor:
    w = self.w
    return {expression}
"""
WEIGHT = tensor([2, 2], source=storage(4))


def archive(code: str, weight: bytes = WEIGHT, constants: bytes = b")") -> bytes:
    root = global_("__torch__", "Net") + b")\x81" + dict_({"w": weight}) + b"b"
    floats = np.arange(1, 5, dtype="<f4").tobytes()
    members = {
        "data.pkl": pickle(root), "data/0": floats, "constants.pkl": pickle(constants),
        "constants/0": floats, "code/__torch__.py": code.encode(), "version": b"3\n",
    }  # fmt: skip
    return zip_file([Entry(f"m/{name}", raw) for name, raw in members.items()])


def described(folder, content: bytes):
    (folder / "m.pt").write_bytes(content)
    return describe_file(folder / "m.pt")


def expression(folder, text: str, **more):
    return described(folder, archive(CODE.format(expression=text), **more))


def test_hand_made(tmp_path):
    for text in (
        "torch.linear(x, w)",
        "torch.matmul(x, torch.t(w))",
        "torch.linear(x, CONSTANTS.c0, None)",
        "annotate(Tensor, torch.linear(x, weight=w, bias=None))",
    ):
        description = expression(tmp_path, text, constants=tuple_(WEIGHT))
        assert [layer.kind for layer in description.layers] == ["Linear"]
        np.testing.assert_array_equal(description.layers[0].arrays["weight"], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("torch.linear(x, w", "not understood"),
        ("torch.linear(x, w))", "not understood"),
        ("x ? w", "not understood"),
        ("torch.linear(x, -)", "not understood"),
        ("(" * 60 + "x" + ")" * 60, "nested more than 48 deep"),
        ("torch.select(x, 0, " + "1" * 5000 + ")", "a line that is not understood"),
        ("CONSTANTS.c7", "CONSTANTS.c7 is not in constants.pkl"),
        ("CONSTANTS.c" + "9" * 50, "is not in constants.pkl"),
        ("(self).forward(x, )", "calls nest more than 40 deep"),
        ("(self).forward()", "is called without its 'x'"),
        ("(self).other(x, )", "its code is not there"),
        ("torch.linear(x, x)", "weight is computed by the model"),
        ("torch.linear(w, w)", "a weight or constant, not the output of a layer"),
        ("torch.linear(nobody, w)", "no tensor"),
        ("torch.add(torch.relu(x), torch.tanh(x))", "it joins two branches of the model"),
        ("torch.gru(x, None, [w, w], False, 1, 0., False, False, False)", "expected"),
        ("torch.gru(x, None, [w, w], False, 10000000000000000000000, 0., False, False, False)",
         "do not fit"),
        ("torch.permute(torch.relu(x), [0, 0, 1])", "not a permutation"),
        ("torch.transpose(torch.relu(x), 0, 99)", "is not one of"),
        ("torch.linear(torch.linear(x, w), CONSTANTS.c0)", "takes 4 features, .* returns 2"),
        ("os.system(x)", r"\(os.system\): there is no layer for this operator"),
        ("__import__(x)", "there is no layer for this operator"),
        ("None", "no tensor|no layer"),
        ("self", "no tensor|no layer"),
    ],
)  # fmt: skip
def test_bad_code(tmp_path, text, match):
    wide = tuple_(tensor([1, 4], source=storage(4)))
    with pytest.raises(FormatError, match=match):
        expression(tmp_path, text, constants=wide)


def test_no_forward(tmp_path):
    with pytest.raises(FormatError, match="holds only weights"):
        described(tmp_path, archive("class Net(Module):\n  w : Tensor\n"))


def test_calls_that_double(tmp_path):
    """Forty functions that each call the next one twice would take 2^40 lines."""
    lines = [CODE.format(expression="__torch__.f0(x, )")]
    for at in range(36):
        lines.append(f"def f{at}(x: Tensor) -> Tensor:\n")
        lines.append(f"  y = __torch__.f{at + 1}(x, )\n  return __torch__.f{at + 1}(y, )\n")
    lines.append("def f36(x: Tensor) -> Tensor:\n  return torch.relu(x)\n")
    start = time.perf_counter()
    with pytest.raises(FormatError, match="more work than"):
        described(tmp_path, archive("".join(lines)))
    assert time.perf_counter() - start < 60


def survives(path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(FormatError):
        describe_file(path)


def test_truncation_and_flips(tmp_path):
    content = bytearray(archive(CODE.format(expression="torch.relu(torch.linear(x, w))")))
    path = tmp_path / "m.pt"
    for end in range(len(content)):
        survives(path, bytes(content[:end]))
    for at in range(len(content)):
        mask = (1, 16, 128)[at % 3]
        content[at] ^= mask
        survives(path, bytes(content))
        content[at] ^= mask


WORDS = (
    "torch.relu torch.linear torch.select torch.gru torch.cat torch.add torch.dim torch.eq x w",
    'self ( ) [ ] , . 1 -1 0 True None "a" = CONSTANTS c0 getattr torch.max torch.flatten',
    "torch.squeeze torch.unsqueeze torch.permute torch.slice torch.view torch.mean torch.zeros",
)


def test_random_code(tmp_path):
    chance = random.Random(3)
    for _ in range(500):
        text = " ".join(chance.choices(" ".join(WORDS).split(), k=chance.randrange(1, 9)))
        survives(tmp_path / "m.pt", archive(CODE.format(expression=text)))


def test_random_calls(tmp_path):
    """Well-formed calls of known operators with arguments of all kinds."""
    chance = random.Random(4)
    plain = [
        "x",
        "w",
        "1",
        "-1",
        "0",
        "[]",
        "[1]",
        "[0, 1]",
        "None",
        "True",
        "0.5",
        "[x, w]",
        "self",
    ]

    def call(depth: int) -> str:
        arguments = [
            call(depth - 1) if depth and chance.random() < 0.6 else chance.choice(plain)
            for _ in range(chance.randrange(1, 5))
        ]
        return f"torch.{chance.choice(sorted(SCHEMAS))}({', '.join(arguments)})"

    for _ in range(1000):
        text = call(3)
        survives(tmp_path / "m.pt", archive(CODE.format(expression=text)))
