# SPDX-License-Identifier: MIT
"""Damaged and hostile ONNX files: each is read, or refused with a reason, quickly."""

from __future__ import annotations

import re
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reader_files import memory_promise, refused_in_new_process, refuses, survivors_of_flips

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import ints, model, save, tensor, value, weights  # noqa: E402

from fastrnn.readers import FormatError, describe_file, read_file  # noqa: E402


def sample() -> bytes:
    """A tagger with most kinds of nodes, small enough to damage each of its bits."""
    arrays = [
        *(tensor(array, name) for name, array in weights("LSTM", 2, 1, 2).items()),
        tensor(np.ones((3, 2), np.float32), "E"),
        tensor(np.ones((2, 2), np.float32), "M"),
        tensor(np.ones(2, np.float32), "b"),
        ints("shape", 0, 0, -1),
    ]
    nodes = [
        helper.make_node("Gather", ["E", "x"], ["e"]),
        helper.make_node("Transpose", ["e"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "W", "R", "B"], ["Y"], "rnn", hidden_size=1,
                         direction="bidirectional"),
        helper.make_node("Transpose", ["Y"], ["u"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["u", "shape"], ["v"]),
        helper.make_node("MatMul", ["v", "M"], ["w"]),
        helper.make_node("Add", ["w", "b"], ["out"]),
    ]  # fmt: skip
    inputs = [value("x", ["b", "t"], TensorProto.INT64)]
    return model(nodes, inputs, ["out"], arrays).SerializeToString()


SAMPLE = sample()


def tries(path, content: bytes) -> bool:
    """Whether both ways to read accept the file; anything but FormatError fails the test."""
    path.write_bytes(content)
    begin = time.perf_counter()
    accepted = 0
    for read in (read_file, describe_file):
        try:
            read(path)
            accepted += 1
        except FormatError:
            pass
    assert time.process_time() >= 0
    assert time.perf_counter() - begin < 60  # a process may be paused
    return accepted == 2


def test_sample_is_read(tmp_path):
    assert len(SAMPLE) < 1500
    assert tries(tmp_path / "m.onnx", SAMPLE)
    assert [layer.kind for layer in describe_file(tmp_path / "m.onnx").layers] == [
        "Embedding", "LSTM", "Linear",
    ]  # fmt: skip


def test_truncation_at_every_byte(tmp_path):
    assert not any(tries(tmp_path / "m.onnx", SAMPLE[:length]) for length in range(len(SAMPLE)))


@pytest.mark.parametrize("junk", [b"\0", b"\x08", bytes(100), b"\x3a\x00", b"\x78\x01"])
def test_appended_junk(tmp_path, junk):
    assert not tries(tmp_path / "m.onnx", SAMPLE + junk)


def test_single_bit_flips(tmp_path):
    flips = ((i // 8, 1 << i % 8) for i in range(8 * len(SAMPLE)))
    survivors_of_flips(tmp_path, SAMPLE, flips)


def test_bit_flips_of_the_graph(tmp_path):
    for at in range(len(SAMPLE)):
        damaged = bytearray(SAMPLE)
        damaged[at] ^= 1 << at % 8
        tries(tmp_path / "m.onnx", bytes(damaged))


@given(st.data())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_damage(tmp_path, data):
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        size = data.draw(st.integers(0, 8))
        content[at : at + size] = data.draw(st.binary(max_size=8))
    tries(tmp_path / "m.onnx", bytes(content))


OPERATORS = [
    "LSTM", "GRU", "RNN", "MatMul", "Gemm", "Add", "Mul", "Sub", "Div", "Gather", "Slice", "Split",
    "Concat", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Shape",
    "ConstantOfShape", "ReduceMean", "ReduceMax", "Softmax", "Conv", "LayerNormalization",
    "Dropout", "Relu", "Identity", "Cast", "Pow", "Sqrt", "GlobalMaxPool", "Constant", "Tile",
]  # fmt: skip
NUMBER = st.integers(-3, 4) | st.sampled_from([1 << 62, -(1 << 63)])
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "axis": NUMBER,
        "to": st.integers(0, 20),
        "perm": st.permutations([0, 1, 2]) | st.permutations([0, 1, 2, 3]),
        "keepdims": st.integers(0, 1),
        "axes": st.lists(NUMBER, min_size=1, max_size=2),
        "hidden_size": st.integers(0, 3),
        "direction": st.sampled_from(["forward", "reverse", "bidirectional", "x"]),
        "layout": st.integers(0, 1),
        "start": NUMBER,
        "pads": st.lists(NUMBER, min_size=1, max_size=4),
        "strides": st.lists(NUMBER, min_size=1, max_size=2),
        "transB": st.integers(0, 1),
        "value_ints": st.lists(NUMBER, min_size=1, max_size=3),
    },
)


@st.composite
def graphs(draw):
    """Any operators on any values made before."""
    arrays = [
        *(tensor(array, name) for name, array in weights("LSTM", 2, 2, 2).items()),
        *(tensor(array, name + "1") for name, array in weights("GRU", 2, 2, 1).items()),
        tensor(np.ones((2, 2), np.float32), "M"),
        tensor(np.zeros((2, 1, 2), np.float32), "z"),
        tensor(np.ones((2, 2, 3), np.float32), "K"),
        tensor(np.array(0, np.int64), "zero"),
        ints("one", 1),
        ints("minus", -1),
        ints("shape", 0, 0, -1),
        ints("two", 0, 1),
    ]
    names = ["x", "", *(array.name for array in arrays)]
    nodes = []
    for index in range(draw(st.integers(1, 8))):
        chosen = draw(st.lists(st.sampled_from(names[::-1]), min_size=1, max_size=5))
        outputs = [f"v{index}", f"u{index}"]
        attributes = draw(ATTRIBUTES)
        nodes.append(
            helper.make_node(draw(st.sampled_from(OPERATORS)), chosen, outputs, **attributes)
        )
        names += outputs
    shape = draw(st.sampled_from([(None, None, 2), (3, 4, 2), (1, 1, 2), (2, 2), (0, 3, 2)]))
    made = model(nodes, [value("x", shape)], draw(st.sampled_from([["v0"], [names[-2], "v0"]])),
                 arrays, opset=draw(st.sampled_from([7, 11, 13, 18, 22])))  # fmt: skip
    return made.SerializeToString()


@given(graphs())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_graphs(tmp_path, content):
    tries(tmp_path / "m.onnx", content)


# --- By hand ---


def field(number: int, kind: int, content: bytes = b"") -> bytes:
    """A protobuf field with a length in front if it is of bytes."""
    out = varint(number << 3 | kind)
    return out + (varint(len(content)) if kind == 2 else b"") + content


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def weight(number: int, content: bytes) -> bytes:
    """An initializer of floats with one more field."""
    return field(5, 2, field(8, 2, b"w") + field(2, 0, b"\x01") + field(number, 2, content))


HEAD = field(1, 0, b"\x08")
OPSET = field(8, 2, field(2, 0, b"\x11"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (HEAD + b"\x3a\xff\xff\xff\xff\x0f", "are left"),
        (HEAD + b"\x3a" + b"\xff" * 12, "too long"),
        (HEAD + b"\x3a" + b"\xff" * 9 + b"\x7f", "too long"),
        (HEAD + OPSET + field(7, 2) + field(7, 2), "occurs twice"),
        (HEAD + OPSET + field(7, 2, b"\x0b"), "wire type 3"),
        (HEAD + OPSET + field(7, 2, b"\x08\x01"), "wire type 0"),
        (HEAD + OPSET + field(7, 2, b"\x00"), "number 0"),
        (HEAD + b"\x12\x01x" + field(9, 2) + OPSET, r"not an ONNX model \(field 9\)"),
        (b"\x08\x01\x12\x05hello", "known kind"),
        (HEAD + field(2, 2, b"pytorch"), "cut off"),
        (HEAD + OPSET + field(7, 2, field(1, 2, field(4, 2, b"\xff\xfe"))), "UTF-8"),
        (HEAD + OPSET + field(7, 2, weight(1, b"\xff" * 10 + b"\1")), "too long"),
        (HEAD + OPSET + field(7, 2, weight(1, b"\xff" * 9 + b"\x7f")), "too long"),
        (HEAD + OPSET + field(7, 2, weight(1, b"\1")), "0 bytes of data"),
        (HEAD + OPSET + field(7, 2, weight(4, b"abc")), "3 bytes are no numbers of 4 bytes"),
    ],
)
def test_bad_protobuf(tmp_path, content, why):
    refuses(tmp_path, content, why)


def test_saved_model_of_tensorflow_is_not_onnx(tmp_path):
    refuses(tmp_path, b"\x08\x01\x12\x80\x01" + bytes(128), "known kind")


@pytest.mark.parametrize("piece", [field(1, 2), field(5, 2)])
def test_masses_of_empty_messages(tmp_path, piece):
    content = HEAD + OPSET + field(7, 2, piece * 250_000)
    (tmp_path / "m.onnx").write_bytes(content)
    peak, reason = refused_in_new_process(tmp_path / "m.onnx")
    assert re.search("expands to|no name", reason)
    assert peak < memory_promise(len(content))


def test_numbers_in_single_pieces(tmp_path):
    """Unpacked repeated numbers, as old writers give them: the same array, bounded in memory."""
    floats = b"".join(field(4, 5, np.float32(k).tobytes()) for k in range(1000))
    dims = field(1, 0, varint(1000))
    initializer = field(5, 2, dims + field(2, 0, b"\x01") + floats + field(8, 2, b"w"))
    (tmp_path / "m.onnx").write_bytes(HEAD + OPSET + field(7, 2, initializer))
    found = read_file(tmp_path / "m.onnx").arrays["w"]
    np.testing.assert_array_equal(found, np.arange(1000, dtype=np.float32))


def test_deep_nesting(tmp_path):
    content = b""
    for _ in range(20_000):
        content = field(7, 2, content)[:1] + varint(len(content)) + content
        if len(content) > 200_000:
            break
    (tmp_path / "m.onnx").write_bytes(HEAD + OPSET + content)
    with pytest.raises(FormatError, match="output"):
        describe_file(tmp_path / "m.onnx")


def test_long_chain(tmp_path):
    """Depth of a graph is not depth of recursion."""
    nodes = [helper.make_node("Relu", [f"v{k}"], [f"v{k + 1}"]) for k in range(5000)]
    made = model(nodes, [value("v0", [None, None, 2])], ["v5000"], [])
    path = save(tmp_path, made)
    assert len(describe_file(path).layers) == 5000


@pytest.mark.parametrize("sizes", [(1 << 40, 1 << 20), (1 << 62, 2), (0, 1 << 62)])
def test_sizes_are_not_allocated(tmp_path, sizes):
    """Shapes that a graph computes may be of any size: nothing is made of them."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["h"]),
        helper.make_node("Expand", ["one", "s"], ["i"]),
        helper.make_node("Tile", ["h", "s"], ["j"]),
        helper.make_node("Add", ["i", "j"], ["k"]),
        helper.make_node("Add", ["x", "k"], ["out"]),
    ]
    made = model(nodes, [value("x", [None, None, 2])], ["out"],
                 [ints("s", *sizes), tensor(np.ones((1, 1), np.float32), "one")])  # fmt: skip
    path = save(tmp_path, made)
    tracemalloc.start()
    with pytest.raises(FormatError):
        describe_file(path)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
