# SPDX-License-Identifier: MIT
"""Damaged and hostile files are read or raise FormatError, in bounded memory and time."""

from __future__ import annotations

import errno
import io
import mmap
import os
import struct
import threading
import tracemalloc
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import make, written
from reader_files import (
    FLOATS,
    ORDERED_DICT,
    PAIR,
    SMALL,
    STATE,
    Entry,
    call,
    dict_,
    global_,
    integer,
    legacy_file,
    list_,
    memory_promise,
    npy,
    numbers,
    pickle,
    read_bytes,
    refuses,
    safetensors_file,
    state_file,
    storage,
    survives,
    survivors_of_flips,
    tensor,
    text,
    torch_file,
    tuple_,
    variant,
    zip_file,
)

from fastrnn.files.frnn_writer import read_model
from fastrnn.readers import FormatError, read_file
from fastrnn.readers.containers.source import Source
from fastrnn.readers.description import Description

CODE = b"""class Net(Module):
  def f(
    y, h = torch.gru(x, h, [self.weight, self.v], True, 1, 0., t, False, False)
"""

SAMPLES = {
    "torch zip": SMALL,
    "torch zip64": zip_file(PAIR, zip64=True),
    "legacy": legacy_file(
        STATE, list_(text("0")), (6).to_bytes(8, "little") + FLOATS.tobytes()
    ),
    "torchscript": zip_file(
        [
            Entry("m/data.pkl", pickle(global_("__torch__", "Net") + b")\x81" + STATE + b"b")),
            Entry("m/data/0", FLOATS.tobytes()),
            Entry("m/code/__torch__.py", CODE, 8),
            Entry("m/constants.pkl", pickle(b")")),
        ]
    ),
    "safetensors": safetensors_file(
        {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    ),
    "frnn": written(Description("", (make("fc", "Linear", in_features=2, out_features=1),))),
    "npz": zip_file([Entry("w.npy", npy(FLOATS)), Entry("v.npy", npy(FLOATS), 8)]),
}  # fmt: skip

sample = pytest.mark.parametrize("kind", SAMPLES)


@sample
def test_samples_are_read(tmp_path, kind):
    assert read_bytes(tmp_path, SAMPLES[kind]).arrays


@sample
def test_truncation_at_every_byte(tmp_path, kind):
    content = SAMPLES[kind]
    assert not any(survives(tmp_path, content[:length]) for length in range(len(content)))


@sample
@pytest.mark.parametrize(
    "junk", [b"\0", b"PK\5\6" + bytes(18), bytes(100)], ids=["byte", "end", "many"]
)
def test_appended_junk(tmp_path, kind, junk):
    refuses(tmp_path, SAMPLES[kind] + junk, "end|follow|bytes of data|header says")


@sample
def test_prepended_junk(tmp_path, kind):
    refuses(tmp_path, b"\0" + SAMPLES[kind], "known kind|JSON|header")


@sample
def test_single_bit_flips(tmp_path, kind):
    content = SAMPLES[kind]
    assert len(content) < 4096
    survivors_of_flips(tmp_path, content, ((i // 8, 1 << i % 8) for i in range(8 * len(content))))


def test_bit_flips_of_a_file_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "m.pt")
    content = (tmp_path / "m.pt").read_bytes()
    count = survivors_of_flips(tmp_path, content, ((i, 1 << i % 8) for i in range(len(content))))
    assert count < len(content) / 2


# places that are not files


def test_places_that_are_not_files(tmp_path):
    with pytest.raises(FormatError, match="a folder without"):
        read_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "missing.pt")
    with pytest.raises(TypeError, match="bytes"):
        read_file(os.fsencode(tmp_path))
    refuses(tmp_path, b"", "empty")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    failures = []

    def read():
        try:
            read_file(tmp_path / "pipe")
        except FormatError as error:
            failures.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert failures
    assert "not a regular file" in failures[0]


def test_sparse_file_of_a_tebibyte(tmp_path):
    path = tmp_path / "sparse"
    for head in (b"", b"PK\3\4", SMALL, struct.pack("<Q", 2) + b"{}"):
        with open(path, "wb") as file:
            file.write(head)
            try:
                file.truncate(1 << 40)
            except OSError:
                pytest.skip("no sparse files here")
        with pytest.raises(FormatError):
            read_file(path)


def test_file_that_shrinks_while_it_is_read():
    source = Source(io.BufferedReader(io.BytesIO(bytes(10))), 20)
    for read in (source.read, source.read_array):
        assert len(read(0, 10, "x")) == 10
        with pytest.raises(FormatError, match="x: the file became shorter"):
            read(5, 10, "x")
        with pytest.raises(FormatError, match="x: 11 bytes at byte 10 reach beyond the end"):
            read(10, 11, "x")


def test_lack_of_memory(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(MemoryError):
        read_bytes(tmp_path, SMALL)


def test_files_that_cannot_be_mapped(tmp_path, monkeypatch):
    path = tmp_path / "m.frnn"
    path.write_bytes(SAMPLES["frnn"])
    for error, kind, match in (
        (ValueError(), FormatError, r"m\.frnn: the file became shorter"),
        (OSError(errno.ENOMEM, ""), MemoryError, "no memory to map"),
        (OSError(errno.EIO, "broken"), OSError, "broken"),
        (RecursionError(), FormatError, r"m\.frnn: its content is nested too deep"),
    ):
        monkeypatch.setattr(mmap, "mmap", Mock(side_effect=error))
        with pytest.raises(kind, match=match):
            read_model(path)


# other kinds of files


@pytest.mark.parametrize(
    ("head", "match"),
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5|superblock|file head"),
        (b"x" * 257 + b"ustar", "tar archive"),
        (b"\x08\x08\x12\x07pytorch", "not an ONNX model"),
        (b"GGUF", "GGUF"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x93NUMPY", "single .npy array"),
        (b"\x80\x04\x95", "plain Python pickle"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "HTML"),
        (b'{"model_data": 1}', "JSON text that holds no known model"),
        (b"hello, world", "not a model file of a known kind"),
        (b"P", "not a model file"),
        (b"PK\3\4", "expected at least 22 bytes, got 4"),
    ],
)
def test_other_kinds_are_recognised(tmp_path, head, match):
    refuses(tmp_path, head, match)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["m/archive_format", "m/models/model.json"], "archive_format is b'1', expected b'pt2'"),
        (["m/models/model.json", "m/data/weights/weight_0"], "model.json is not an object"),
        (["serialized_exported_program.json", "version"], "unknown version b'1'"),
        (["metadata.json", "config.json", "model.weights.h5"], "expected a file of Keras 3"),
        (["a.txt", "b/c.txt"], "no known model, but 2 other files"),
        (["m/data.pkl", "n/data/0"], "'n/data/0' is outside the folder 'm/'"),
        (["data.pkl"], "no known model"),
        (["m/n/data.pkl"], "no known model"),
    ],
)
def test_other_archives_are_recognised(tmp_path, names, match):
    refuses(tmp_path, zip_file([Entry(name, b"1") for name in names]), match)


# pickle


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"\xff", "opcode 0xff"),
        (b"0", "underflow"),
        (b"1", "MARK is missing"),
        (b"2", "opcode 0x32"),
        (b"P1\n", "opcode 0x50"),
        (b"I1\n", "opcode 0x49"),
        (b"i__main__\nX\n", "opcode 0x69"),
        (b"(c__main__\nX\no", "opcode 0x6f"),
        (b"\x82\x01", "opcode 0x82"),
        (b"\x8b\xff\xff\xff\x7f", "a number of 2147483647 bytes"),
        (b"\x95" + bytes(8), "FRAME"),
        (b"\x93", "STACK_GLOBAL"),
        (b"\x94", "MEMOIZE"),
        (b"\x80\x04", "pickle protocol 2 .*, got 4"),
        (b"", "underflow"),
        (b"NN", "values left on the stack"),
        (b"(N", "values left|underflow"),
        (b"R", "underflow"),
        (b"(R", "underflow"),
        (b"N(R", "underflow"),
        (b"t", "MARK is missing"),
        (b"u", "MARK is missing"),
        (b"e", "MARK is missing"),
        (b"\x87", "underflow"),
        (b"N(\x85", "underflow"),
        (b"h\0", "never set"),
        (b"j\xff\xff\xff\xff", "never set"),
        (b"Nr\0\0\0\x80", "expands to more than"),
        (b"\x8b\x01\x04\0\0" + bytes(1025), "a number of 1025 bytes"),
        (b"q\0", "underflow"),
        (b"X\xff\xff\xff\xff", "truncated"),
        (b"X\1\0\0\0\xff", "not UTF-8"),
        (b"\x8a\xff", "truncated"),
        (b"cos\nsystem", "does not end"),
        (b"c" + b"x" * 5000 + b"\n\n", "does not end"),
        (b"c\xff\n\n", "not UTF-8"),
        (text("os") + b")R", "call of str with tuple"),
        (global_("os", "system") + b"]R", "call of 'os.system' with list"),
        (b"})\x81", "call of dict"),
        (call("__builtin__", "getattr", global_("a", "b" * 999), text("c" * 99)), "too long"),
        (call("torch._utils", "_rebuild_tensor_v2") + b")R", "the result of a call"),
        (b"]}b", "BUILD on list"),
        (b"N}b", "BUILD on NoneType"),
        (global_("os", "system") + b"}b", "BUILD on 'os.system'"),
        (b"](K\1K\2u", "SETITEM on list"),
        (b")K\1K\2s", "SETITEM on tuple"),
        (b"}(K\1u", "a key but no value"),
        (b"}Na", "APPEND to dict"),
        (b"N(Ne", "APPEND to NoneType"),
        (storage(6) + b"K\1K\2s", "SETITEM on Storage"),
        (b")Q", "persistent id"),
        (b"NQ", "persistent id"),
        (text("storage") + b"Q", "persistent id"),
        (tuple_(text("else"), b"NNNN") + b"Q", "persistent id"),
        (tuple_(text("storage"), b"N", text("0"), text("cpu"), integer(6)) + b"Q", "malformed"),
        (tuple_(text("storage"), global_("a", "b"), integer(0), text("cpu"), integer(6)) + b"Q",
         "malformed"),
        (tuple_(text("storage"), global_("a", "b"), text("0"), text("cpu"), b"\x88") + b"Q",
         "impossible element count"),
        (storage(-1), "impossible element count"),
        (storage(1 << 62), "impossible element count"),
        (call("collections", "OrderedDict", integer(1)), "OrderedDict: expected a list"),
        (call("collections", "OrderedDict", list_(integer(1))), "OrderedDict: expected a list"),
        (call("collections", "OrderedDict", b"]", b"]"), "OrderedDict: expected a list"),
        (call("os", "system", text("false")), "class 'os.system'"),
        (call("torch._utils", "os.system", text("false")), "class 'torch._utils.os.system'"),
        (call("torch._utils", "_rebuild_tensor_v2\u0430"), "whole pickled object"),
        (global_("os", "system"), "type Global, not a state dict"),
    ],
)  # fmt: skip
def test_bad_pickles(tmp_path, body, match):
    refuses(tmp_path, torch_file(body), match)


def test_pickle_without_proto_or_stop(tmp_path):
    for raw, match in ((b"}.", "no PROTO"), (b"\x80\x02}", "truncated"), (b"", "no PROTO")):
        refuses(tmp_path, variant(index=0, data=raw), match)


def test_nothing_is_called_or_imported(tmp_path):
    """A pickle that would write a file and import a module does neither."""
    mark = tmp_path / "mark"
    (tmp_path / "evil_module.py").write_text(f"open({str(mark)!r}, 'w')")
    command = text(f"open({str(mark)!r}, 'w')")
    for body in (
        call("builtins", "exec", command),
        call("evil_module", "anything"),
        global_("builtins", "eval") + tuple_(command) + b"\x81",
        global_("posix", "system") + tuple_(text(f"touch {mark}")) + b"R}b",
    ):
        survives(tmp_path, torch_file(dict_({"state_dict": STATE, "evil": body})))
        survives(tmp_path, torch_file(body))
    assert not mark.exists()


def test_odd_keys_do_no_harm(tmp_path):
    odd = b"}(" + b"]N" + b"}N" + b"K\1\x85N" + b"G\x7f\xf8\0\0\0\0\0\0N" + b"u"
    assert survives(tmp_path, torch_file(dict_({"odd": odd, "state_dict": STATE})))


def test_self_references(tmp_path):
    loops = [
        b"]q\0h\0a",
        b"}q\0" + text("a") + b"h\0s",
        b"]q\0(h\0h\0h\0e",
        b"}q\0(" + text("a") + b"]h\0a" + text("b") + b"h\0u",
    ]
    for loop in loops:
        refuses(tmp_path, torch_file(loop), "state dict")
        assert survives(tmp_path, torch_file(dict_({"loop": loop, "state_dict": STATE})))
        looped = torch_file(dict_({"loop": loop}))
        refuses(tmp_path, looped, "state dict|nothing at", key="loop" + ".0" * 1000)
        refuses(tmp_path, looped, "state dict|nothing at", key="loop" + ".a" * 1000)


def padding(count: int) -> bytes:
    """A long string, so that the limit on containers allows for `count` of them."""
    return text("x" * (4 * count))


@pytest.mark.parametrize(
    ("opening", "closing"),
    [(b"]", b"a"), (b"", b"\x85"), (b"}N", b"s"), (b"cA\nB\n", b"\x85R")],
    ids=["lists", "tuples", "dicts", "calls"],
)
def test_deep_nesting(tmp_path, opening, closing):
    depth = 50_000
    body = list_(padding(3 * depth), opening * (depth - 1) + b"]" + closing * (depth - 1))
    refuses(tmp_path, torch_file(body), "state dict")


def test_billion_laughs(tmp_path):
    pieces = [b"](Neq\0"]
    for level in range(40):
        pieces.append(b"](" + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1]))
    refuses(tmp_path, torch_file(list_(*pieces)), "state dict")


def test_billion_laughs_of_modules(tmp_path):
    """Each module holds the one before it twice: 2**40 paths."""
    new = global_("__torch__", "N") + b")\x81"
    body = new + b"}bq\0"
    for level in range(40):
        inner = b"h" + bytes([level])
        body += new + b"}(" + text("a") + inner + text("b") + inner + b"ubq" + bytes([level + 1])
    root = new + dict_({"unused": b"(" + body + b"t", "top": b"h\x28"}) + b"b"
    entries = [Entry("m/data.pkl", pickle(root)), Entry("m/constants.pkl", pickle(b")"))]
    refuses(tmp_path, zip_file(entries), "nest too deep or are too many")


def test_repeated_ordered_dict(tmp_path):
    """The same long list of pairs made into a dict again and again."""
    pair = b"](K\1K\2e"
    body = b"(](" + pair * 2000 + b"eq\0"
    body += global_("collections", "OrderedDict") + b"q\1" + b"h\1h\0\x85R" * 2000 + b"t"
    refuses(tmp_path, torch_file(body), "takes more work than 2 steps")


# tensors


def rebuilt(
    kind: str = "tensor_v2",
    offset: bytes = integer(0),
    shape: bytes = numbers([6]),
    strides: bytes = numbers([1]),
    *more: bytes,
) -> bytes:
    rest = (b"\x89", ORDERED_DICT, *more)
    return call("torch._utils", f"_rebuild_{kind}", storage(6), offset, shape, strides, *rest)


def parameter(*args: bytes) -> bytes:
    return call("torch._utils", "_rebuild_parameter", *args)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (tensor([7], source=storage(6)), "reaches element 6 of a storage of 6"),
        (tensor([6], offset=1), "reaches element 6"),
        (tensor([2, 3], [1000, 1], source=storage(6)), "reaches element 1002"),
        (tensor([2, 2], [1 << 61, 1 << 61], source=storage(6)), "reaches element"),
        (tensor([1 << 31, 1 << 31], source=storage(6)), "reaches element|too large"),
        (tensor([1 << 33, 1 << 33], [0, 0], source=storage(6)), "too large"),
        (tensor([1 << 40], [0], source=storage(6)), "expands to more than"),
        (tensor([1 << 62], [0], source=storage(6)), "not a count"),
        (tensor([0, 1 << 62], [1, 1], source=storage(6)), "not a count"),
        (tensor([0, 1 << 61, 1 << 61], [1, 1, 1], source=storage(6)), "too large"),
        (tensor([-1], source=storage(6)), "not a count"),
        (tensor([6], [-1], source=storage(6)), "negative"),
        (tensor([6], offset=-1), "negative"),
        (tensor([6], [1, 1], source=storage(6)), "differ in length"),
        (tensor([1] * 20, source=storage(6)), "dimensions, got 20"),
        (tensor([1] * 100_000, [1] * 100_000, source=storage(6)), "16 dimensions, got 100000"),
        (tensor([6], source=storage(7)), "has 24 bytes, the pickle says 28"),
        (tensor([6], source=storage(6, kind="DoubleStorage")), "has 24 bytes, the pickle says 48"),
        (tensor([6], source=storage(6, kind="QInt8Storage")), "QInt8Storage"),
        (tensor([6], source=storage(6, kind="ListStorage")), "ListStorage"),
        (tensor([6], source=storage(6, key="../../etc/passwd")), "missing"),
        (tensor([6], source=storage(6, key="1")), "'m/data/1' is missing"),
        (tensor([6], source=b"N"), "does not refer to a storage"),
        (tensor([6], source=STATE), "does not refer to a storage"),
        (call("torch._utils", "_rebuild_tensor_v2"), "expected 6 arguments, got 0"),
        (rebuilt(offset=b"\x88"), "negative or not a number"),
        (rebuilt(offset=b"G?\xf0\0\0\0\0\0\0"), "negative or not a number"),
        (rebuilt(shape=tuple_(b"\x88")), "not a count"),
        (rebuilt(shape=tuple_(text("6"))), "not a count"),
        (rebuilt(shape=b"N"), "not a list of sizes"),
        (rebuilt(strides=b"N"), "differ in length"),
        (rebuilt("tensor_v2", b"K\0", numbers([6]), numbers([1]), dict_({"conj": b"\x88"})),
         "conjugate"),
        (rebuilt("tensor_v3"), "expected 7 arguments, got 6"),
        (rebuilt("tensor_v3", b"K\0", numbers([6]), numbers([1]), b"N"), "type NoneType"),
        (rebuilt("tensor_v3", b"K\0", numbers([6]), numbers([1]), global_("torch", "float4")),
         "torch.float4"),
        (rebuilt("qtensor"), "quantized"),
        (parameter(), "not supported"),
        (parameter(integer(3)), "'weight' is int"),
        (parameter(parameter(tensor([6]))), "not supported"),
        (call("torch._tensor", "_rebuild_from_type_v2", tensor([6])), "tensor subclass"),
    ],
)  # fmt: skip
def test_bad_tensors(tmp_path, bad, match):
    refuses(tmp_path, state_file(weight=bad), match)


def test_tensors_that_disagree_about_their_storage(tmp_path):
    tensors = {"a": tensor([6]), "b": tensor([5], source=storage(5))}
    refuses(tmp_path, state_file(**tensors), "'b'.*: storage '0' has 24 bytes, the pickle says 20")


def test_broken_tensor_beside_good_ones(tmp_path):
    broken = call("torch._utils", "_rebuild_tensor_v2")
    body = dict_(
        {"state_dict": dict_({"bad.weight": broken, "n": integer(1)}), "epoch": integer(1)}
    )
    refuses(tmp_path, torch_file(body), "'bad.weight': expected 6 arguments, got 0")


def test_empty_tensors_of_any_place(tmp_path):
    found = read_bytes(
        tmp_path, state_file(weight=tensor([0, 5], [9, 9], offset=99, source=storage(6)))
    )
    assert found.arrays["weight"].shape == (0, 5)


def test_expanded_tensors_have_a_budget(tmp_path):
    wide = {f"weight{at}": tensor([1 << 20, 1 + at], [0, 0], source=storage(6)) for at in range(8)}
    refuses(tmp_path, state_file(**wide), "'weight.' *: the file expands to more than")
    one = read_bytes(tmp_path, state_file(weight=tensor([1 << 20], [0], source=storage(6))))
    assert not one.arrays["weight"].any()


@pytest.mark.parametrize("kind", ["expanded", "names"])
def test_memory_is_bounded(tmp_path, kind):
    if kind == "expanded":
        content = state_file(weight=tensor([1 << 28], [0], source=storage(6)))
    else:
        name = text("n" * 1000)
        level = tensor([6]) + b"q\0"
        body = b"}(" + name + level + name + b"h\0u"
        content = torch_file(dict_({str(at): body for at in range(2000)}))
    tracemalloc.start()
    try:
        survives(tmp_path, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory_promise(len(content))


# random


quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

OPCODES = [
    b"(", b")", b"]", b"}", b"N", b"\x88", b"K\1", b"K\6", b"q\0", b"q\1", b"h\0", b"h\1", b"t",
    b"\x85", b"\x86", b"\x87", b"R", b"b", b"\x81", b"Q", b"s", b"u", b"a", b"e", b"\x8a\1\xff",
    text("storage"), text("0"), text("cpu"), text("weight"), storage(6), numbers([6]),
    global_("collections", "OrderedDict"), global_("torch", "FloatStorage"),
    global_("os", "system"), global_("torch._utils", "_rebuild_tensor_v2"), tensor([6]),
    ORDERED_DICT, STATE,
]  # fmt: skip


@quick
@given(st.lists(st.sampled_from(OPCODES), max_size=30))
def test_random_pickles(tmp_path, pieces):
    survives(tmp_path, torch_file(b"".join(pieces)))


@quick
@given(st.binary(max_size=80))
def test_random_pickle_bytes(tmp_path, raw):
    survives(tmp_path, torch_file(raw))


@quick
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_random_damage(tmp_path, kind, data):
    content = bytearray(SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(max_size=8))
        content[at : at + data.draw(st.integers(0, 8))] = piece
    survives(tmp_path, bytes(content))


FIELDS = st.sampled_from(["dtype", "shape", "data_offsets", "w", "__metadata__"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F32", "BF16", "dtype", 24, [0, 24], [2, 3]]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(FIELDS, inner),
    max_leaves=12,
)  # fmt: skip


@quick
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_random_safetensors_headers(tmp_path, header):
    survives(tmp_path, safetensors_file(header))


@quick
@given(st.text(max_size=40), st.binary(max_size=40))
def test_random_npy(tmp_path, header, raw):
    survives(
        tmp_path,
        zip_file([Entry("w.npy", npy(np.zeros(0), header.encode().decode("latin-1")) + raw)]),
    )


@quick
@given(st.binary(max_size=200))
def test_random_bytes(tmp_path, raw):
    survives(tmp_path, raw)
