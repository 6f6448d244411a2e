# SPDX-License-Identifier: MIT
"""The pickle interpreter by itself: what each opcode makes, what it costs, what it refuses."""

from __future__ import annotations

import pickletools
import struct
from sys import getsizeof

import pytest
from reader_files import call, global_, integer, list_, pickle, text, tuple_

from fastrnn.readers import FormatError
from fastrnn.readers.containers.budget import ITEM, SLOT, Budget
from fastrnn.readers.containers.pickle_vm import Global, PickledObject, Storage, load_pickle

OBJECT = call("a", "b")
OBJECT_MADE = PickledObject("a.b", ())


def load(body: bytes):
    return load_pickle(pickle(body), "p", Budget(0)).value


def parts(value: object) -> object:
    """A PickledObject as a tuple, which can be compared."""
    if isinstance(value, PickledObject):
        return value.name, value.args, value.state, value.items
    return value


def storage_id(*items: bytes) -> bytes:
    return tuple_(text("storage"), global_("torch", "FloatStorage"), text("0"), *items) + b"Q"


VALUES = [
    (b"N", None),
    (b"\x88", True),
    (b"\x89", False),
    (b"K\xff", 255),
    (b"M\xff\xff", 65535),
    (b"J\xfe\xff\xff\xff", -2),
    (b"\x8a\0", 0),
    (b"\x8a\1\x80", -128),
    (b"\x8b\2\0\0\0\0\x80", -(1 << 15)),
    (b"\x8b\x00\x04\0\0" + bytes(1024), 0),  # the longest number
    (b"G" + struct.pack(">d", -2.5), -2.5),
    (b"U\2\xc3\xa9", "é"),
    (b"T\1\0\0\0\xff", "\udcff"),
    (b"X\3\0\0\0\xed\xa0\x80", "\ud800"),
    (b")", ()),
    (b"K\1\x85", (1,)),
    (b"K\1K\2\x86", (1, 2)),
    (b"K\1K\2K\3\x87", (1, 2, 3)),
    (b"(K\1K\2K\3K\4t", (1, 2, 3, 4)),
    (b"]K\1aK\2a", [1, 2]),
    (b"](K\1K\2e", [1, 2]),
    (b"}K\1K\2sK\3K\4s", {1: 2, 3: 4}),
    (b"}(K\1K\2K\3K\4u", {1: 2, 3: 4}),
    (b"}NK\2s", {None: 2}),
    (b"K\1K\0" + b"0", 1),
    (b"K\1(0", 1),
    (b"(K\1(0t", (1,)),
    (b"K\1(K\2K\x031", 1),
    (b"K\1q\2K\3q\0000h\2\x86", (1, 1)),
    (b"K\1r\2\0\0\0j\2\0\0\0\x86", (1, 1)),
    (global_("a", "b.c"), Global("a.b.c")),
    (global_("a" * 1023, "b" * 1023), Global("a" * 1023 + "." + "b" * 1023)),
    (OBJECT, ("a.b", (), None, None)),
    (global_("a", "b") + b"K\1\x85\x81", ("a.b", (1,), None, None)),
    (OBJECT + b"K\1b", ("a.b", (), 1, None)),
    (OBJECT + b"K\1K\2sK\3K\4s", ("a.b", (), None, {1: 2, 3: 4})),
    (OBJECT + b"K\1a", ("a.b", (), None, None)),
    (b"}K\1b", {}),
    (call("collections", "OrderedDict"), {}),
    (call("collections", "OrderedDict", list_(b"K\1K\2\x86", list_(b"K\3", b"K\4"))), {1: 2, 3: 4}),
    (call("collections", "defaultdict", b"N") + b"K\1K\2s", {1: 2}),
    (call("builtins", "getattr", global_("a", "b"), text("c")), Global("a.b.c")),
    (call("__builtin__", "getattr", global_("a", "b"), text("c" * 1020)),
     Global("a.b." + "c" * 1020)),
    (call("builtins", "getattr", global_("a", "b")),
     ("builtins.getattr", (Global("a.b"),), None, None)),
    (call("builtins", "getattr", global_("a", "b"), b"K\1"),
     ("builtins.getattr", (Global("a.b"), 1), None, None)),
    (call("builtins", "getattr", b"N", text("c")),
     ("builtins.getattr", (None, "c"), None, None)),
    (storage_id(text("cpu"), integer(0)), Storage("torch.FloatStorage", "0", 0)),
    (storage_id(text("cpu"), integer((1 << 62) - 1), b"N"),
     Storage("torch.FloatStorage", "0", (1 << 62) - 1)),
    (tuple_(text("module"), global_("a", "b"), b"N", b"N") + b"Q", Global("a.b")),
]  # fmt: skip


def test_what_each_opcode_makes():
    for body, expected in VALUES:
        found = parts(load(body))
        assert found == expected, body
        assert type(found) is type(expected), body


def test_keys_that_a_file_could_choose_for_their_hash_are_not_found():
    largest = (1 << 60) - 1
    for key in (0, largest, -largest):
        assert load(b"}" + integer(key) + b"K\1s") == {key: 1}
    for body in (integer(1 << 60), integer(-1 << 60), b")", OBJECT):
        (key,) = load(b"}" + body + b"K\1s")
        assert type(key) is object


def test_all_of_an_unpickled_file():
    body = storage_id(text("cpu"), integer(6)) + storage_id(text("cpu"), integer(7)) + b"\x86"
    result = load_pickle(b"junk" + pickle(body) + b"more", "p", Budget(0), 4)
    first, second = result.value
    assert result.storages == {"0": first}
    assert (first.count, second.count) == (6, 7)
    assert result.end == 4 + len(pickle(body))
    with pytest.raises(FormatError, match=r"^p: not a pickle .* \(byte 0\)"):
        load_pickle(b"", "p", Budget(0))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x80\x03", r"protocol 2 .* got 3 \(byte 3\)"),
        (b"NN", r"values left on the stack \(byte 4\)"),
        (b"N(", "underflow"),
        (b"(N0.", "underflow"),
        (b"K", "truncated"),
        (b"(K\1K\2\x87", "underflow"),
        (b"K\1K\2\x87", "underflow"),
        (b"K\1\x86", "underflow"),
        (b"(a", "underflow"),
        (b"Na", "underflow"),
        (b"](Na", "underflow"),
        (b"(](Na", "underflow"),
        (b"}(NNs", "underflow"),
        (b"}(Nb", "underflow"),
        (b"a", "underflow"),
        (b"(q\0", "underflow"),
        (b"K\1b", "underflow"),
        (b"N(e", "APPEND to NoneType"),
        (b"(NNu", "underflow"),
        (b"h\0", "memo entry 0 was never set"),
        (b"Nq\2h\1", "memo entry 1 was never set"),
        (b"Nq\2h\3", "memo entry 3 was never set"),
        (global_("a" * 1024, "b"), "does not end"),
        (call("builtins", "getattr", global_("a", "b"), text("c" * 1021)), "too long"),
        (call("collections", "OrderedDict", list_(b"K\1K\2K\3\x87")), "a list of pairs"),
        (call("collections", "OrderedDict", list_(b"K\1\x85")), "a list of pairs"),
        (call("collections", "OrderedDict", list_(text("ab"))), "a list of pairs"),
        (global_("a", "b") + b"NR", "call of 'a.b' with NoneType"),
        (tuple_(text("module"), global_("a", "b"), b"N") + b"Q", "not a storage"),
        (tuple_(text("module"), b"NNN") + b"Q", "not a storage"),
        (storage_id(text("cpu")), "not a storage"),
        (storage_id(text("cpu"), integer(6), b"N", b"N"), "not a storage"),
        (tuple_(text("stora"), global_("a", "b"), text("0"), text("cpu"), b"K\1") + b"Q",
         "not a storage"),
        (storage_id(b"N", integer(6)), "malformed"),
        (storage_id(text("cpu"), integer(1 << 62)), "impossible element count"),
        (storage_id(text("cpu"), integer(6), b")"), "view of another storage"),
    ],
)  # fmt: skip
def test_refused(body, reason):
    with pytest.raises(FormatError, match=rf"^p: .*{reason}"):
        load(body)


def test_each_opcode_of_python_is_known_or_named():
    newer = {ord(op.code): op.name for op in pickletools.opcodes if op.proto in (3, 4)}
    for code in range(256):
        with pytest.raises(FormatError) as caught:
            load(bytes([code]) + bytes(20))
        name = newer.get(code)
        assert (f"opcode {name} of pickle protocol 3 or 4" in str(caught.value)) == bool(name)
        assert ("protocol 3 or 4" in str(caught.value)) == bool(name)


def size(*values: object) -> int:
    return sum(SLOT + getsizeof(value) for value in values)


def named(name: str) -> int:
    return getsizeof(name) + size(Global(name))


COSTS = [  # body, memory, opcodes, other work
    (b"N", SLOT, 1, 0),
    (b"K\1", SLOT, 1, 0),
    (b")", SLOT, 1, 0),
    (b"M\1\1", size(257), 1, 0),
    (b"K\1q\2h\2\x86", 5 * SLOT + size((1, 1)), 4, 0),
    (b"K\1q\0q\0q\1", 3 * SLOT, 4, 0),
    (b"](NNe", size([]) + 4 * SLOT, 5, 0),
    (b"}(NNNNu", size({}) + 4 * SLOT + 2 * ITEM, 7, 0),
    (global_("a", "b"), named("a.b"), 1, 0),
    (OBJECT + b"NNs", named("a.b") + size((), OBJECT_MADE, {}) + SLOT + ITEM, 7, 0),
    (global_("collections", "OrderedDict") + b"](NN\x86NN\x86e\x85R",
     named("collections.OrderedDict") + size([], (1, 1), (1, 1), (1,), {1: 1})
     + 6 * SLOT + 2 * ITEM, 12, 2),
    (global_("builtins", "getattr") + global_("a", "b") + text("c") + b"\x86R",
     named("builtins.getattr") + named("a.b") + size("c", (1, 1)) + named("a.b.c"), 5, 0),
]  # fmt: skip


def test_what_each_opcode_costs():
    for body, memory, opcodes, other in COSTS:
        budget = Budget(0)
        before = budget.work
        load_pickle(pickle(body), "p", budget)
        assert budget.in_use == memory, body
        assert before - budget.work == opcodes + 2 + other, body  # PROTO and STOP
