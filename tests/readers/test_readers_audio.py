# SPDX-License-Identifier: MIT
"""GuitarML and NAM files against torch modules built by those projects' equations."""

from __future__ import annotations

import contextlib
import json
import tracemalloc

import numpy as np
import pytest
from description_runner import run
from hdf5_files import at_random
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import IMPORTED, error
from reader_files import memory_promise

from fastrnn.readers import FormatError, UnsupportedModel
from fastrnn.readers.containers.json_text import LARGEST_TEXT
from fastrnn.readers.containers.source import naming, open_source
from fastrnn.readers.json_models.json_reader import describe_json

torch = pytest.importorskip("torch")


def guitarml(cell="LSTM", *, inputs=1, outputs=1, hidden=6, layers=1, skip=1, bias=True):
    """A model file as a dict, and the function that the model is: y = linear(rec(x)) + x."""
    torch.manual_seed(0)
    rec = getattr(torch.nn, cell)(inputs, hidden, layers)
    lin = torch.nn.Linear(hidden, outputs, bias=bias)
    tensors = {
        f"{n}.{k}": v for n, m in (("rec", rec), ("lin", lin)) for k, v in m.named_parameters()
    }
    file = {
        "model_data": {
            "model": "SimpleRNN", "input_size": inputs, "skip": skip, "output_size": outputs,
            "unit_type": cell, "num_layers": layers, "hidden_size": hidden, "bias_fl": bias,
        },
        "state_dict": {name: tensor.tolist() for name, tensor in tensors.items()},
    }  # fmt: skip

    def model(x):
        with torch.no_grad():
            y = lin(rec(torch.from_numpy(x).transpose(0, 1))[0]).transpose(0, 1).numpy()
        return y + x[..., :skip] if skip else y

    return file, model


def nam(*, inputs=1, hidden=5, layers=1):
    """A model file as a dict, and the function that the model is, which starts after silence."""
    torch.manual_seed(1)
    core = torch.nn.LSTM(inputs, hidden, layers, batch_first=True)
    head = torch.nn.Linear(hidden, 1)
    with torch.no_grad():
        _, (h, c) = core(torch.zeros(1, 4800, inputs))
        flat = []
        for k in range(layers):
            w_ih, w_hh, b_ih, b_hh = (
                getattr(core, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            flat += [torch.cat([w_ih, w_hh], 1), b_ih + b_hh, h[k], c[k]]
        flat += [head.weight, head.bias]
        weights = torch.cat([part.flatten() for part in flat]).tolist()
    file = {
        "version": "0.5.4", "metadata": {"loudness": -18.1, "name": "amp"}, "architecture": "LSTM",
        "config": {"input_size": inputs, "hidden_size": hidden, "num_layers": layers},
        "weights": weights, "sample_rate": 48000,
    }  # fmt: skip

    def model(x):
        with torch.no_grad():
            state = tuple(part.repeat(1, len(x), 1) for part in (h, c))
            return head(core(torch.from_numpy(x), state)[0]).numpy()

    return file, model


def read(tmp_path, content):
    path = tmp_path / "model.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return describe(path)


def describe(path):
    """What the reader makes of a file, whatever its first bytes are."""
    with naming(str(path)), open_source(str(path)) as source:
        return describe_json(source)


def agrees(tmp_path, file, model, inputs):
    x = np.random.default_rng(0).standard_normal((3, 50, inputs)).astype(np.float32)
    described = read(tmp_path, file)
    y = run(described, x)
    assert error(y, model(x)) <= IMPORTED
    return described


@pytest.mark.parametrize("options", [
    {}, {"skip": 0}, {"layers": 2}, {"inputs": 2}, {"bias": False},
    {"inputs": 2, "outputs": 2, "skip": 2},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_guitarml(tmp_path, cell, options):
    described = agrees(tmp_path, *guitarml(cell, **options), options.get("inputs", 1))
    assert described.format == "guitarml"
    assert [layer.kind for layer in described.layers][:2] == [cell, "Linear"]


@pytest.mark.parametrize("options", [{}, {"layers": 3}, {"inputs": 2}, {"hidden": 1}], ids=str)
def test_nam(tmp_path, options):
    described = agrees(tmp_path, *nam(**options), options.get("inputs", 1))
    assert described.format == "nam"


def test_defaults_of_guitarml(tmp_path):
    file, model = guitarml(skip=0)
    for key in ("skip", "num_layers", "input_size", "output_size", "bias_fl", "unit_type"):
        del file["model_data"][key]
    agrees(tmp_path, file, model, 1)


# --- refusals


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ({"architecture": "WaveNet", "config": {}, "weights": []}, r"\(WaveNet\): only LSTM"),
        ({"architecture": "ConvNet", "config": {}, "weights": []}, r"\(ConvNet\): only LSTM"),
        ({"architecture": None, "config": {}}, "only LSTM"),
        ({"model_data": {"model": "GatedConvNet"}, "state_dict": {}}, r"\(GatedConvNet\): only"),
        ({"model_data": {"model": "SimpleRNN", "unit_type": "X"}, "state_dict": {}}, r"\(X\)"),
        ({"model_data": {"model": "SimpleRNN", "unit_type": []}, "state_dict": {}}, r"\(list\)"),
    ],
)  # fmt: skip
def test_other_architectures(tmp_path, file, reason):
    with pytest.raises(UnsupportedModel, match=reason):
        read(tmp_path, file)


def changed(file, *path, to):
    copy = json.loads(json.dumps(file))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return copy


GUITARML, NAM = guitarml(hidden=2)[0], nam(hidden=2)[0]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (changed(GUITARML, "model_data", to=[]), "model_data is not a JSON object"),
        (changed(GUITARML, "model_data", "hidden_size", to=3), "has shape"),
        (changed(GUITARML, "model_data", "hidden_size", to=True), "hidden_size is bool"),
        (changed(GUITARML, "model_data", "hidden_size", to=2.0), "hidden_size is 2.0"),
        (changed(GUITARML, "model_data", "hidden_size", to=1 << 40), "hidden_size is 109951162"),
        (changed(GUITARML, "model_data", "num_layers", to=2), "'rec.weight_ih_l1'"),
        (changed(GUITARML, "model_data", "num_layers", to=10**6), "num_layers is 1000000"),
        (changed(GUITARML, "model_data", "skip", to=2), "skip 2 with 1 inputs"),
        (changed(GUITARML, "model_data", "bias_fl", to="yes"), "bias_fl"),
        (changed(GUITARML, "state_dict", "extra", to=[1]), "'extra'"),
        (changed(GUITARML, "state_dict", "lin.bias", to=[[1]]), "has shape"),
        (changed(GUITARML, "state_dict", "lin.bias", to=1), "'lin.bias' has shape"),
        (changed(GUITARML, "state_dict", "lin.bias", to=[True]), "an element is not a number"),
        (changed(GUITARML, "state_dict", "lin.bias", to=["1"]), "an element is not a number"),
        (changed(GUITARML, "state_dict", "lin.bias", to=[1e39]), "too large"),
        (changed(GUITARML, "state_dict", "lin.bias", to=[10**60]), "too large"),
        (changed(GUITARML, "state_dict", "lin.weight", to=[[1, 2], [3, 4]]), "has shape"),
        (changed(GUITARML, "state_dict", "lin.weight", to=[[1]]), "has shape"),
        (changed(NAM, "weights", to=NAM["weights"][1:]), "expected|a model of this size has"),
        (changed(NAM, "weights", to={}), "no list"),
        (changed(NAM, "weights", 0, to=None), "not a number"),
        (changed(NAM, "config", to=1), "config is not a JSON object"),
        (changed(NAM, "config", "hidden_size", to=0), "hidden_size is 0"),
        (changed(NAM, "config", "num_layers", to=65), "num_layers is 65"),
        ({}, "no known model"),
        ([], "no known model"),
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":1,"a":2}', "'a' occurs twice"),
        (b"[NaN]", "number 'NaN'"),
        (b"[-Infinity]", "number '-Infinity'"),
        (b"[1e400]", "number '1e400'"),
        (b"[" + b"9" * 100_000 + b"]", "number '999"),
        (b"[0." + b"9" * 100_000 + b"]", "number '0.9"),
        (b"[" * 99_999, "nested more than 64"),
        (b'{"a":' * 99_999, "nested more than 64"),
        (b"[" + b"[]," * 900_000, "expands to more than"),
        (b"[" + b'"",' * 900_000, "expands to more than"),
        (b'"' + b'\\"' * 150_000, "not valid JSON"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, file, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        read(tmp_path, file)
    assert "model.json: " in str(caught.value)


def test_too_large_a_text(tmp_path):
    with open(tmp_path / "model.json", "wb") as file:
        file.write(b"[")
        file.truncate(LARGEST_TEXT + 1)
    with pytest.raises(FormatError, match="at most 67108864 are read"):
        describe(tmp_path / "model.json")


@pytest.mark.parametrize("file", [GUITARML, NAM], ids=["guitarml", "nam"])
def test_truncated_and_damaged(tmp_path, file):
    content = json.dumps(file).encode()
    for length in range(0, len(content), 5):
        with pytest.raises(FormatError):
            read(tmp_path, content[:length])
    rng = np.random.default_rng(0)
    for _ in range(500):
        with contextlib.suppress(FormatError):
            read(tmp_path, at_random(content, rng))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), value=VALUES)
def test_any_value_anywhere(tmp_path, data, value):
    file = data.draw(st.sampled_from([GUITARML, NAM]))
    path = [data.draw(st.sampled_from(sorted(file)))]
    if isinstance(file[path[0]], dict) and data.draw(st.booleans()):
        path.append(data.draw(st.sampled_from(sorted(file[path[0]]))))
    with contextlib.suppress(FormatError):
        read(tmp_path, changed(file, *path, to=value))


@pytest.mark.parametrize(
    "item",
    [b"1.5", b"300", b"[]", b"{}", b'"ab"'],
    ids=["floats", "integers", "lists", "objects", "texts"],
)
def test_memory_is_bounded(tmp_path, item):
    text = b"[" + (item + b",") * 1_000_000 + b"1]"
    tracemalloc.start()
    with pytest.raises(FormatError):
        read(tmp_path, text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory_promise(len(text))
