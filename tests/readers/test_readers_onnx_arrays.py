# SPDX-License-Identifier: MIT
"""Initializers of ONNX files: element types, where they are stored, and files beside the model."""

from __future__ import annotations

import os

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import model, save, tensor, value, weights  # noqa: E402

import fastrnn  # noqa: E402
from fastrnn.readers import FormatError, read_file  # noqa: E402

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def holder(*tensors, **options):
    """A model that does nothing, with these initializers."""
    node = helper.make_node("Relu", ["x"], ["y"])
    return model([node], [value("x", [None])], ["y"], list(tensors), **options)


def read(tmp_path, *tensors):
    return fastrnn.read_state_dict(save(tmp_path, holder(*tensors)))


def same(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("raw", [True, False])
def test_element_types(tmp_path, code, raw):
    array = np.array([[0, 1, 2], [3, 4, 100]]).astype(code)
    if code[0] in "fi":
        array[1] *= -1
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    data = array.tobytes() if raw else array.reshape(-1).tolist()
    made = helper.make_tensor("w", kind, array.shape, data, raw=raw)
    found = read(tmp_path, made)["w"]
    same(found, array)
    assert found.flags.carray


@pytest.mark.parametrize("raw", [True, False])
def test_bfloat16(tmp_path, raw):
    floats = np.array([1.0, -2.5, 3.140625, 0.0], np.float32)
    bits = (floats.view(np.uint32) >> 16).astype("<u2")
    made = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[4])
    if raw:
        made.raw_data = bits.tobytes()
    else:
        made.int32_data.extend(bits.tolist())
    same(read(tmp_path, made)["w"], floats)


def test_complex_scalar_and_empty(tmp_path):
    arrays = {
        "c": np.array([1 + 2j, 3 - 4j], np.complex64),
        "d": np.array([1 + 2j], np.complex128),
        "s": np.array(2.5, np.float32),
        "e": np.zeros((0, 3), np.float32),
    }
    found = read(tmp_path, *(tensor(array, name) for name, array in arrays.items()))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        same(found[name], array)
    pairs = helper.make_tensor("c", TensorProto.COMPLEX64, [2], arrays["c"].tolist())
    same(read(tmp_path, pairs)["c"], arrays["c"])


def test_kinds_that_are_not_read(tmp_path):
    strings = helper.make_tensor("s", TensorProto.STRING, [1], [b"text"])
    float8 = TensorProto(name="f", data_type=TensorProto.FLOAT8E4M3FN, dims=[1], raw_data=b"1")
    good = tensor(np.ones(3, np.float32), "w")
    made = holder(good, strings, float8)
    sparse = helper.make_sparse_tensor(good, tensor(np.arange(3), "i"), [9])
    sparse.values.name = "z"
    made.graph.sparse_initializer.append(sparse)
    file = read_file(save(tmp_path, made))
    assert file.format == "onnx"
    assert list(file.arrays) == ["w"]
    assert file.unreadable.keys() == {"s", "f", "z"}
    with pytest.raises(FormatError, match="'s' has elements of type strings"):
        fastrnn.read_state_dict(tmp_path / "m.onnx")


def test_key_and_wrapper(tmp_path):
    arrays = {"module.a.w": np.ones(2, np.float32), "module.b.w": np.zeros(3, np.float32)}
    path = save(tmp_path, holder(*(tensor(array, name) for name, array in arrays.items())))
    assert fastrnn.read_state_dict(path).keys() == {"a.w", "b.w"}
    same(fastrnn.read_state_dict(path, key="module.b")["w"], arrays["module.b.w"])


def test_torch_names_load_as_a_layer(tmp_path):
    """Initializers may well be named as in PyTorch."""
    arrays = {
        "rnn.weight_ih_l0": np.ones((8, 3), np.float32),
        "rnn.weight_hh_l0": np.ones((8, 2), np.float32),
    }
    path = save(tmp_path, holder(*(tensor(array, name) for name, array in arrays.items())))
    assert fastrnn.load(path, "rnn").hidden_size == 2


# --- Broken tensors ---


def broken(**fields):
    made = TensorProto(name="w", data_type=1, dims=[2])
    for name, content in fields.items():
        if isinstance(content, list):
            del getattr(made, name)[:]
            getattr(made, name).extend(content)
        else:
            setattr(made, name, content)
    return made


BROKEN = {
    "short": (broken(raw_data=b"1234"), "4 bytes of data, its shape needs 8"),
    "long": (broken(raw_data=b"123456789"), "9 bytes"),
    "none": (broken(), "0 bytes"),
    "two places": (broken(raw_data=bytes(8), float_data=[1.0, 2.0]), "2 places"),
    "wrong slot": (broken(int64_data=[1, 2]), "in int64_data, expected float_data"),
    "type": (broken(data_type=99, raw_data=bytes(8)), "unknown type 99"),
    "no type": (broken(data_type=0, raw_data=bytes(8)), "unknown type 0"),
    "negative": (broken(dims=[-2], raw_data=bytes(8)), "not a count"),
    "huge": (broken(dims=[1 << 40, 1 << 40]), "too large"),
    "segment": (TensorProto.FromString(broken().SerializeToString() + b"\x1a\0"), "is a segment"),
    "location": (
        TensorProto.FromString(broken(raw_data=bytes(8)).SerializeToString() + b"\x70\2"),
        "data_location is 2, expected 0 or 1",
    ),
    "many axes": (broken(dims=[1] * 40), "at most 16 dimensions, got 40"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tensors(tmp_path, case):
    made, why = BROKEN[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(holder(made).SerializeToString())
    with pytest.raises(FormatError, match=why):
        fastrnn.read_state_dict(path)


def test_names(tmp_path):
    good = tensor(np.ones(1, np.float32), "w")
    with pytest.raises(FormatError, match="two initializers are named 'w'"):
        read(tmp_path, good, good)
    with pytest.raises(FormatError, match="no name"):
        read(tmp_path, tensor(np.ones(1, np.float32), ""))


def test_opsets(tmp_path):
    with pytest.raises(FormatError, match="operator set 6"):
        fastrnn.read_state_dict(save(tmp_path, holder(opset=6)))
    made = holder()
    del made.opset_import[:]
    with pytest.raises(FormatError, match="not an ONNX model"):
        fastrnn.read_state_dict(save(tmp_path, made))


# --- Files beside the model ---


DATA = np.arange(12, dtype="<f4").reshape(3, 4)


def external(location, offset=None, length=None, name="w", dims=(3, 4)):
    made = TensorProto(name=name, data_type=1, dims=dims, data_location=TensorProto.EXTERNAL)
    said = {"location": location, "offset": offset, "length": length}
    for key, text in said.items():
        if text is not None:
            made.external_data.add(key=key, value=str(text))
    return made


def test_external_data(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(bytes(16) + DATA.tobytes() + b"tail")
    same(read(tmp_path, external("sub/w.bin", 16, 48))["w"], DATA)
    same(read(tmp_path, external("sub/w.bin", 16))["w"], DATA)


def test_external_data_of_onnx(tmp_path):
    """As ONNX's own helper and torch write it, also seen from another working directory."""
    made = holder(tensor(np.arange(1000, dtype=np.float32), "w"), tensor(DATA, "v"))
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    files = [entry for entry in os.listdir(tmp_path) if entry != "m.onnx"]
    assert files
    found = fastrnn.read_state_dict(tmp_path / "m.onnx")
    same(found["v"], DATA)
    same(found["w"], np.arange(1000, dtype=np.float32))


def test_large_external_data_beside_a_small_model(tmp_path):
    array = np.zeros((5000, 5000), np.float32)
    (tmp_path / "w.bin").write_bytes(array.tobytes())
    assert read(tmp_path, external("w.bin", dims=array.shape))["w"].shape == array.shape


PLACES = {
    "above": ("../w.bin", "plain path"),
    "above in the middle": ("sub/../w.bin", "plain path"),
    "absolute": ("/etc/hostname", "plain path"),
    "drive": ("C:/w.bin", "plain path"),
    "backslash": ("sub\\w.bin", "relative path"),
    "dot": ("./w.bin", "plain path"),
    "nul": ("w.bin\0", "relative path"),
    "nothing": ("", "relative path"),
    "missing": ("no.bin", "No such file"),
    "folder": ("sub", "not a regular file"),
    "a file as folder": ("w.bin/w.bin", "cannot be opened"),
    "long": ("x" * 5000, "cannot be opened"),
}


@pytest.mark.parametrize("case", PLACES)
def test_places_outside(tmp_path, case):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, folder):
        (place / "w.bin").write_bytes(DATA.tobytes())
    location, why = PLACES[case]
    with pytest.raises(FormatError, match=why):
        read(folder, external(location))


def test_links_are_not_followed(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(DATA.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "up").symlink_to(tmp_path)
    os.link(tmp_path / "w.bin", folder / "hard.bin")
    for location, why in [
        ("link.bin", "without following links"),
        ("up/w.bin", "without following links"),
        ("hard.bin", "2 names"),
    ]:
        with pytest.raises(FormatError, match=why):
            read(folder, external(location))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        read(tmp_path, external("pipe"))


@pytest.mark.parametrize(
    ("offset", "length", "why"),
    [
        (4, 48, "beyond the end"),
        (1 << 62, 48, "beyond the end"),
        (-4, 48, "not a count"),
        ("0x0", 48, "not a count"),
        (0, 44, "44 bytes of data, its shape needs 48"),
        (0, "1e9", "not a count"),
        (0, "9" * 30, "not a count"),
    ],
)
def test_bounds_of_external_data(tmp_path, offset, length, why):
    (tmp_path / "w.bin").write_bytes(DATA.tobytes())
    with pytest.raises(FormatError, match=why):
        read(tmp_path, external("w.bin", offset, length))


def test_one_file_for_many_tensors_is_bounded(tmp_path):
    """Sharing is fine, but the whole stays a small multiple of what the files hold."""
    array = np.zeros(1 << 22, np.float32)
    (tmp_path / "w.bin").write_bytes(array.tobytes())
    dims = array.shape
    some = [external("w.bin", name=f"w{k}", dims=dims) for k in range(3)]
    assert len(read(tmp_path, *some)) == 3
    many = [external("w.bin", name=f"w{k}", dims=dims) for k in range(40)]
    with pytest.raises(FormatError, match="expands"):
        read(tmp_path, *many)


# --- Recurrent nodes of models that cannot be taken as a whole ---


def part_model(nodes, arrays=(), inputs=()):
    """Erf is not supported, so that only parts can be loaded."""
    nodes = [helper.make_node("Erf", ["x"], ["e"]), *nodes]
    return model(nodes, [value("x", [None, None, 4]), *inputs], ["Y"], arrays)


def recurrent(data="e", name="/enc/rnn/LSTM", outputs=("Y",), extra=(), **attributes):
    inputs = [data, "W", "R", "B", *extra]
    return helper.make_node("LSTM", inputs, list(outputs), name, hidden_size=8, **attributes)


def constants():
    return [
        helper.make_node("Constant", [], [name], value=tensor(array, name))
        for name, array in weights("LSTM", 4, 8).items()
    ]


def lstm_alone(folder):
    """The same weights in a model of their own."""
    squeezed = [recurrent("x"), helper.make_node("Squeeze", ["Y"], ["out"])]
    made = model(squeezed, [value("x", [6, 3, 4])], ["out"], weights("LSTM", 4, 8))
    return save(folder, made, "alone.onnx")


@pytest.mark.parametrize("place", ["initializers", "constants", "branches"])
def test_parts_by_scope_and_node(tmp_path, place):
    if place == "branches":
        branches = [
            helper.make_graph([*constants(), recurrent()], name, [], [value("Y", None)])
            for name in ("a", "b")
        ]
        switch = helper.make_node(
            "If", ["c"], ["Y"], then_branch=branches[0], else_branch=branches[1]
        )
        made = part_model([switch], inputs=[value("c", [1], TensorProto.BOOL)])
    elif place == "constants":
        made = part_model([*constants(), recurrent()])
    else:
        made = part_model([recurrent()], weights("LSTM", 4, 8))
    path = save(tmp_path, made)
    with pytest.raises(FormatError, match=r"prefixes: 'enc.rnn' \(LSTM, input 4, hidden 8"):
        fastrnn.load(path)
    wanted = fastrnn.load(lstm_alone(tmp_path))
    x = np.random.default_rng(0).standard_normal((6, 3, 4)).astype(np.float32)
    for prefix in ("enc.rnn", "/enc/rnn/LSTM"):
        same(fastrnn.load(path, prefix=prefix)(x)[0], wanted(x)[0])
    assert read_file(path).recurrent["enc.rnn"]["nodes"] == ["/enc/rnn/LSTM"]


def test_layers_of_one_module(tmp_path):
    arrays = {f"{name}2": a for name, a in weights("LSTM", 8, 8, seed=1).items()}
    second = helper.make_node(
        "LSTM", ["y", "W2", "R2", "B2"], ["Y"], "/enc/rnn/LSTM_1", hidden_size=8
    )
    squeeze = helper.make_node("Squeeze", ["Y1", "one"], ["y"])
    made = part_model([recurrent(outputs=["Y1"]), squeeze, second], weights("LSTM", 4, 8) | arrays)
    made.graph.initializer.append(tensor(np.array([1]), "one"))
    layer = fastrnn.load(save(tmp_path, made), "enc.rnn")
    assert repr(layer) == "LSTM(4, 8, num_layers=2)"
    relu = helper.make_node("Relu", ["Y1"], ["r"])
    squeeze.input[0] = "r"
    made = part_model(
        [recurrent(outputs=["Y1"]), relu, squeeze, second], weights("LSTM", 4, 8) | arrays
    )
    path = save(tmp_path, made)
    assert repr(fastrnn.load(path, "enc.rnn")) == "LSTM(4, 8)"
    assert repr(fastrnn.load(path, "/enc/rnn/LSTM_1")) == "LSTM(8, 8)"


UNSUPPORTED_PARTS = {
    "clip": ({"clip": 3.0}, {}, "it clips"),
    "reverse": ({"direction": "reverse"}, {}, "it runs in reverse"),
    "unknown attribute": ({"surprise": 1}, {}, "its 'surprise' is not supported"),
    "state": (
        {"extra": ["", "h"]},
        {"h": np.ones((1, 3, 8), np.float32)},
        "initial_h is a constant",
    ),
    "width": ({"extra": ["", "h"]}, {"h": np.zeros((1, 3, 7), np.float32)}, "have 8 features"),
    "lengths": ({"extra": ["n"]}, {"n": np.ones(3, np.int32)}, "its sequence_lens is a constant"),
}


@pytest.mark.parametrize("case", UNSUPPORTED_PARTS)
def test_parts_are_honoured_or_refused(tmp_path, case):
    attributes, arrays, why = UNSUPPORTED_PARTS[case]
    path = save(tmp_path, part_model([recurrent(**attributes)], weights("LSTM", 4, 8) | arrays))
    for options in ({"prefix": "enc.rnn"}, {"prefix": "/enc/rnn/LSTM"}):
        with pytest.raises(FormatError, match=why):
            fastrnn.load(path, **options)
    assert "W" in fastrnn.read_state_dict(path)
