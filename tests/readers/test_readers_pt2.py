# SPDX-License-Identifier: MIT
"""torch.export archives: weights by name and whole models, in the layouts of all versions.

Only one version of torch is at hand to write with. The older layouts are made from its archives
by packing the same graph and weights again as those versions did; torch's own loader, which still
reads what it can of them, has to agree.
"""

from __future__ import annotations

import io
import json
import random
import re
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from description_runner import run
from exported_models import MODELS, make
from limits import IMPORTED, error
from reader_files import Entry, memory_promise, zip_file

import fastrnn
from fastrnn.readers import FormatError, UnsupportedModel, describe_file, read_file

pytestmark = pytest.mark.filterwarnings("ignore")
LAYOUTS = ("2.5", "2.6", "2.7", "2.7 deflated", "2.8", "2.9", "2.13")
_SCHEMAS = {"2.5": (7, 3), "2.6": (8, 2), "2.7": (8, 7), "2.8": (8, 8), "2.9": (8, 14)}


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="module")
def exported(torch):
    """Module, input and exported program of each model, made once."""
    made = {}

    def get(name):
        if name not in made:
            module, x = make(torch, name)
            made[name] = module, x, torch.export.export(module, (x,))
        return made[name]

    return get


def saved(torch, program) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def outputs(module, x):
    y = module(x)
    while isinstance(y, tuple):
        y = y[0]
    return y.detach().numpy()


# --- the older layouts ---


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def older_json(raw: bytes, layout: str) -> bytes:
    """The program without the fields that the schema of a version did not have."""
    program = json.loads(raw)
    major, minor = _SCHEMAS[layout]
    program["schema_version"] = {"major": major, "minor": minor}
    if (major, minor) < (8, 8):
        program.pop("guards_code")
    for node in program["graph_module"]["graph"]["nodes"]:
        if (major, minor) < (8, 14):
            node.pop("name")
        if (major, minor) < (8, 7):
            node.pop("is_hop_single_tensor_return")
            for item in node["inputs"]:
                item.pop("kind")
    return json.dumps(program).encode()


def blob(torch, value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def repacked(torch, program, layout: str) -> bytes:
    """The archive that a version of torch writes."""
    content = saved(torch, program)
    version, _, deflated = layout.partition(" ")
    if version == "2.13":
        return content
    members = members_of(content)
    model = older_json(members["models/model.json"], version)
    if version == "2.9":
        return torch_zip(torch, {**members, "models/model.json": model})
    state = blob(torch, dict(program.state_dict))
    constants = blob(torch, dict(program.constants))
    example = members["data/sample_inputs/model.pt"]
    if version == "2.8":
        kept = {n: members[n] for n in ("archive_format", "archive_version")}
        return torch_zip(torch, {
            **kept, "models/model.json": model, "data/weights/model.pt": state,
            "data/constants/model.pt": constants, "data/sample_inputs/model.pt": example,
        })  # fmt: skip
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("version", ".".join(map(str, _SCHEMAS[version])))
        archive.writestr("serialized_exported_program.json", model)
        archive.writestr("serialized_state_dict.pt", state)
        archive.writestr("serialized_constants.pt", constants)
        archive.writestr("serialized_example_inputs.pt", example)
    return buffer.getvalue()


def torch_zip(torch, members: dict[str, bytes]) -> bytes:
    """Members in torch's own ZIP writer, which adds version, byteorder and serialization_id."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, content in members.items():
        if name not in (".data/version", "byteorder", ".data/serialization_id", "version"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["tagger", "convolution", "projected"])
def test_layouts(torch, exported, tmp_path, name, layout):
    module, x, program = exported(name)
    path = tmp_path / "m.pt2"
    path.write_bytes(repacked(torch, program, layout))
    if not layout.startswith("2.5"):  # another major version of the schema: torch refuses it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = torch.export.load(str(path)).module()
        np.testing.assert_array_equal(outputs(again, x), outputs(module, x))
    found = read_file(path)
    assert found.format == "torch export"
    state = module.state_dict()
    assert list(found.arrays) == list(state)
    for key, value in state.items():
        np.testing.assert_array_equal(found.arrays[key], value.numpy(), strict=True, err_msg=key)
    assert error(run(describe_file(path), x.numpy()), outputs(module, x)) <= IMPORTED


# --- whole models ---

KINDS = {
    "tagger": "Embedding LSTM LayerNorm Dropout Linear LogSoftmax",
    "classifier": "Embedding GRU Last Linear ReLU Dropout Linear Softmax",
    "last state": "LSTM Last Linear Sigmoid",
    "one-way state": "GRU Last Linear Squeeze",
    "convolution": "Transpose Conv1d ReLU Transpose RNN Pool",
    "max pool": "RNN Pool Linear Tanh",
    "projected": "LSTM Last LayerNorm",
    "two stacks": "LSTM GRU Linear",
    "functions": (
        "Scale GRU ELU Scale LeakyReLU SiLU Scale GELU Softplus ELU Scale Hardtanh Hardtanh "
        "Scale GELU Scale Hardtanh Hardsigmoid"
    ),
    "channels": (
        "Transpose BatchNorm1d PReLU MaxPool1d AvgPool1d Transpose GRU MergeDirections Linear "
        "PReLU Linear"
    ),
    "bare layer": "LSTM",
    "plain sequential": "Linear Tanh Linear Sigmoid LogSoftmax",
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("table", [None, {}], ids=["exported", "core"])
def test_models(torch, exported, tmp_path, name, table):
    module, x, program = exported(name)
    program = program if table is None else program.run_decompositions(table)
    torch.export.save(program, tmp_path / "m.pt2")
    description = describe_file(tmp_path / "m.pt2")
    kinds = KINDS[name] if table is None else KINDS[name].replace(" Dropout", "")
    assert " ".join(layer.kind for layer in description.layers) == kinds
    assert error(run(description, x.numpy()), outputs(module, x)) <= IMPORTED


def test_dynamic_batch(torch, tmp_path):
    module, x = make(torch, "last state")
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (x,), dynamic_shapes=dynamic), tmp_path / "m.pt2")
    more = torch.randn(5, 7, 3)
    found = run(describe_file(tmp_path / "m.pt2"), more.numpy())
    assert error(found, outputs(module, more)) <= IMPORTED


def test_load_knows_the_options(torch, exported, tmp_path):
    program = exported("convolution")[2]
    torch.export.save(program, tmp_path / "m.pt2")
    layer = fastrnn.load(tmp_path / "m.pt2", "rnn")
    assert repr(layer).startswith("RNN(6, 5")
    assert layer.batch_first
    assert layer.nonlinearity == "relu"


# --- models that are refused ---


def refused(torch, tmp_path, forward, *examples, **children):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in children.items():
                setattr(self, name, child)

        def forward(self, *inputs):
            return forward(self, *inputs)

    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(Net().eval(), examples), path)
    with pytest.raises(UnsupportedModel) as caught:
        describe_file(path)
    assert read_file(path).arrays.keys() == Net().state_dict().keys()
    return str(caught.value)


def test_every_obstacle_is_listed(torch, tmp_path):
    def forward(net, x):
        y, _ = net.rnn(x)
        y = torch.cos(torch.sin(y))
        return net.head(torch.cumsum(y, 1))

    text = refused(
        torch, tmp_path, forward, torch.zeros(2, 7, 3),
        rnn=torch.nn.LSTM(3, 4, batch_first=True), head=torch.nn.Linear(4, 2),
    )  # fmt: skip
    for op in ("cos", "sin", "cumsum"):
        assert re.search(rf"\n  '{op}\w*' \({op}\): there is no layer for this operator", text)
    assert text.count("\n  ") == 3
    assert "read_state_dict" in text
    assert "prefix=" in text


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (lambda n, x: n.rnn(x)[0] * x, "it joins two branches of the model"),
        (lambda n, x: n.rnn(x)[0][:, 3], "it takes step 3 of the sequence, expected 0 or -1"),
        (lambda n, x: n.rnn(x)[1].flatten(), "rows \\[0, 1\\] .* expected directions"),
        (lambda n, x: n.rnn(x)[0][:, -9:].mean(1), "it takes a part of an axis"),  # 7 steps here
        (lambda n, x: n.rnn(x)[0].mean(0), "on an axis that is not known to be time"),
        (lambda n, x: n.rnn(x)[0].mean(2), "on an axis that is not known to be time"),
        (lambda n, x: (n.rnn(x)[0], n.rnn(x)[0]), "the model has 2 results beside final"),
        (lambda n, x: n.rnn(x, n.start)[0], "its initial_h is a constant that differs within"),
        (lambda n, x: n.rnn(x, n.rnn(x)[1])[0], "its initial_h depends on the data"),
        (lambda n, x: n.rnn(x)[0].reshape(2, 7, 2, 2), "it splits or mixes axes"),
        (lambda n, x: n.rnn(x)[0] @ n.start[0].relu().t(), "its input is a weight or constant"),
        (lambda n, x: x, "the model has no layer"),
    ],
)  # fmt: skip
def test_refusals(torch, tmp_path, forward, match):
    rnn = torch.nn.GRU(4, 4, 2, batch_first=True)
    start = torch.nn.Parameter(torch.arange(16.0).reshape(2, 2, 4))
    text = refused(torch, tmp_path, forward, torch.zeros(2, 7, 4), rnn=rnn, start=start)
    assert re.search(match, text), text


# --- damaged and hostile archives ---


@pytest.fixture(scope="module")
def small(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = torch.nn.GRU(1, 1), torch.nn.Linear(1, 1)

        def forward(self, x):
            return self.head(self.rnn(x)[0][-1])

    return torch.export.export(Net().eval(), (torch.zeros(2, 1, 1),))


def survives(path, content: bytes) -> bool:
    path.write_bytes(content)
    read = 0
    for reader in (read_file, describe_file):
        try:
            reader(path)
            read += 1
        except FormatError:
            pass
    return read > 0


@pytest.mark.parametrize("layout", ["2.7", "2.8", "2.13"])
def test_truncation(torch, small, tmp_path, layout):
    content = repacked(torch, small, layout)
    step = max(len(content) // 300, 1)
    path = tmp_path / "m.pt2"
    assert not any(survives(path, content[:end]) for end in range(0, len(content), step))


@pytest.mark.parametrize("layout", ["2.7", "2.8", "2.13"])
def test_random_flips(torch, small, tmp_path, layout):
    content = bytearray(repacked(torch, small, layout))
    chance = random.Random(layout)
    for _ in range(300):
        at, mask = chance.randrange(len(content)), 1 << chance.randrange(8)
        content[at] ^= mask
        survives(tmp_path / "m.pt2", bytes(content))
        content[at] ^= mask


def rewritten(torch, small, change) -> bytes:
    """A current archive whose JSON texts went through `change`, with right checksums."""
    members = members_of(saved(torch, small))
    return zip_file(
        [
            Entry(f"m/{name}", change(name, raw) if name.endswith(".json") else raw)
            for name, raw in members.items()
        ]
    )


def test_random_json(torch, small, tmp_path):
    """Values of the JSON replaced by others, one at a time."""
    chance = random.Random(5)
    odd = [None, True, -1, 0, 3, 1 << 70, 1.5, "", "x", [], {}, [[]], {"a": 1}, "rnn.weight_ih_l0"]

    def change(name, raw):
        program = json.loads(raw)
        places = []
        pending = [program]
        while pending:
            value = pending.pop()
            keys = value.keys() if isinstance(value, dict) else range(len(value))
            for key in keys:
                places.append((value, key))
                if isinstance(value[key], (dict, list)):
                    pending.append(value[key])
        value, key = chance.choice(places)
        value[key] = chance.choice(odd)
        return json.dumps(program).encode()

    read = sum(survives(tmp_path / "m.pt2", rewritten(torch, small, change)) for _ in range(150))
    assert read > 0  # much of the JSON does not matter


MODEL = "models/model.json"
CONFIG = "data/weights/model_weights_config.json"


@pytest.mark.parametrize(
    ("member", "old", "new", "match"),
    [
        (MODEL, b'"major": 8', b'"major": 9', "schema version 9, expected one of"),
        (MODEL, b"{", b"[" * 100 + b"]" * 100 + b"{", "nested more than 64 deep"),
        (MODEL, b'"opset_version"', b'"graph_module": 1, "opset_version"', "occurs twice"),
        (MODEL, b'"as_int": 1', b'"as_int": ' + b"9" * 5000, "number '9999"),
        (MODEL, b'"as_int": 1', b'"as_int": NaN', "number 'NaN'"),
        (
            MODEL,
            b'"as_bool": true',
            b'"as_tensor": {"name": "nobody"}',
            "no node before it makes|not a",
        ),
        (CONFIG, b'"path_name": "weight_0"', b'"path_name": "../../x"', "not the name of a member"),
        (CONFIG, b'"path_name": "weight_0"', b'"path_name": "weight_9"', "missing from the arch"),
        (CONFIG, b'"as_int": 3', b'"as_int": 3000000000', "reaches element"),
        (CONFIG, b'"as_int": 3', b'"as_int": -3', "not a count"),
        (CONFIG, b'"use_pickle": false', b'"use_pickle": true', "is a pickled object"),
        (CONFIG, b'"dtype": 7', b'"dtype": 29', "elements of type 29"),
        (CONFIG, b'"layout": 7', b'"layout": 1', "not strided"),
    ],
)
def test_bad_json(torch, small, tmp_path, member, old, new, match):
    def change(name, raw):
        assert name != member or old in raw
        return raw.replace(old, new, 1) if name == member else raw

    path = tmp_path / "m.pt2"
    path.write_bytes(rewritten(torch, small, change))
    with pytest.raises(FormatError, match=match):
        describe_file(path)
    if member == CONFIG:
        with pytest.raises(FormatError, match=match):
            fastrnn.read_state_dict(path)


def test_compiled_code_is_never_loaded(torch, small, tmp_path):
    members = members_of(saved(torch, small))
    members["data/aotinductor/model/model.so"] = b"\x7fELF"
    path = tmp_path / "m.pt2"
    path.write_bytes(zip_file([Entry(f"m/{name}", raw) for name, raw in members.items()]))
    for reader in (read_file, describe_file):
        with pytest.raises(FormatError, match="compiled code"):
            reader(path)


def test_memory_is_bounded(tmp_path):
    """Ten million empty lists make a gigabyte of objects, from a file of 60 kB."""
    bomb = b'{"schema_version": [' + b"[]," * 10_000_000 + b"[]]}"
    members = {"serialized_exported_program.json": bomb, "version": b"8.7"}
    path = tmp_path / "m.pt2"
    path.write_bytes(zip_file([Entry(name, raw, 8) for name, raw in members.items()]))
    tracemalloc.start()
    with pytest.raises(FormatError, match="expands to more than"):
        read_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory_promise(path.stat().st_size)


def test_unrolled_rnn_needs_its_nonlinearity(torch, exported, tmp_path):
    torch.export.save(exported("convolution")[2].run_decompositions(), tmp_path / "m.pt2")
    with pytest.raises(FormatError, match="does not tell the nonlinearity"):
        fastrnn.load(tmp_path / "m.pt2", "rnn")


def test_unrolled_layers_are_named(torch, exported, tmp_path):
    """What torch unrolled into single steps is one obstacle, not hundreds."""
    program = exported("tagger")[2].run_decompositions()
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(UnsupportedModel) as caught:
        describe_file(tmp_path / "m.pt2")
    text = str(caught.value)
    assert re.search(r"\n  'rnn' \(torch.nn.modules.rnn.LSTM\): torch unrolled it into \d+", text)
    assert text.count("\n  ") == 1
    layer = fastrnn.load(tmp_path / "m.pt2", batch_first=True)
    assert repr(layer) == "LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)"
