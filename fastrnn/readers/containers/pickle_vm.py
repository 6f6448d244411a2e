# SPDX-License-Identifier: MIT
"""An interpreter of pickle protocol 2 that builds plain containers and never calls anything.

A global becomes a Global, which holds only its name. A call or an instance becomes a PickledObject,
which holds the name, the arguments, and what the object is filled with. The readers interpret a few
names, from closed tables. Two exceptions: OrderedDict and defaultdict become a dict, and an
attribute of a global, as a class within a class, becomes a Global.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from sys import getsizeof

from ..errors import FormatError, quote
from .budget import ITEM, SLOT, Budget

LARGEST_PICKLE = 64 << 20
_LONGEST_GLOBAL = 1024
_LONGEST_NUMBER = 1024  # Python refuses to show numbers of more than 4300 digits
_MOST_KEY_BITS = 60  # below 2 ** 61 - 1 no two integers have the same hash
_NEVER_SET = object()  # a memo entry


@dataclass(frozen=True, slots=True)
class Global:
    """Something that the pickle would import, by its dotted name."""

    name: str


@dataclass(slots=True, eq=False, repr=False)
class PickledObject:
    """A call or instance that was not executed: the name, the arguments, and what it gets then."""

    name: str
    args: tuple[object, ...]
    state: object = None
    items: dict[object, object] | None = None  # of a class that is like a dict


@dataclass(frozen=True, slots=True)
class Storage:
    """A reference to raw bytes outside the pickle."""

    kind: str
    key: str
    count: int  # elements, or bytes when kind is torch.storage.UntypedStorage


@dataclass(slots=True)
class Unpickled:
    """The result: the object, the offset after its STOP, and the storages that it refers to."""

    value: object
    end: int
    storages: dict[str, Storage] = field(default_factory=dict)


def load_pickle(data: bytes, where: str, budget: Budget, start: int = 0) -> Unpickled:
    """Interpret the pickle that begins at `start` of `data`; `where` is named in errors.

    Each opcode is a step of work, and whatever it makes is charged before the next one.
    """
    return _Machine(data, where, budget, start).run()


class _Machine:
    def __init__(self, data: bytes, where: str, budget: Budget, start: int) -> None:
        self.data = data
        self.where = where
        self.budget = budget
        self.start = self.at = start
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: list[object] = []
        self.storages: dict[str, Storage] = {}

    def run(self) -> Unpickled:
        if self.data[self.start : self.start + 1] != b"\x80":
            raise self.error("not a pickle (no PROTO opcode)")
        while True:
            self.budget.step(1, self.where)
            opcode = self.take(1)[0]
            if opcode == _STOP:
                break
            action = _OPCODES.get(opcode)
            if action is None:
                raise self.error(_refusal(opcode))
            action(self)
        value = self.pop()
        if self.stack or self.marks:
            raise self.error("STOP with values left on the stack")
        return Unpickled(value, self.at, self.storages)

    # input and stack

    def error(self, reason: str) -> FormatError:
        return FormatError(f"{self.where}: {reason} (byte {max(self.at - 1, 0)})")

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise self.error("the pickle is truncated")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def number(self, layout: struct.Struct) -> int:
        value: int = layout.unpack(self.take(layout.size))[0]
        return value

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + _LONGEST_GLOBAL)
        if end < 0:
            raise self.error("the name of a global does not end")
        return self.text(self.take(end + 1 - self.at)[:-1])

    def text(self, raw: bytes, errors: str = "strict") -> str:
        try:
            return raw.decode("utf-8", errors)
        except UnicodeDecodeError:
            raise self.error("a string is not UTF-8") from None

    def push(self, value: object) -> None:
        """Push a value that is there already, or one of those that Python keeps."""
        self.budget.spend(SLOT, self.where)
        self.stack.append(value)

    def push_new(self, value: object) -> None:
        """Push a new object."""
        self.budget.spend(SLOT + getsizeof(value), self.where)
        self.stack.append(value)

    def pop(self) -> object:
        self.need(1)
        return self.stack.pop()

    def need(self, count: int) -> None:
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) - floor < count:
            raise self.error("stack underflow")

    def pop_marked(self) -> list[object]:
        if not self.marks:
            raise self.error("MARK is missing")
        at = self.marks.pop()
        values = self.stack[at:]
        del self.stack[at:]
        return values

    # opcodes

    def proto(self) -> None:
        version = self.take(1)[0]
        if version != 2:
            raise self.error(
                f"expected pickle protocol 2 (the default of torch.save), got {version}"
            )

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def put(self, index: int) -> None:
        self.need(1)
        missing = index + 1 - len(self.memo)
        if missing > 0:
            self.budget.spend(SLOT * missing, self.where)
            self.memo += [_NEVER_SET] * missing
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        value = self.memo[index] if index < len(self.memo) else _NEVER_SET
        if value is _NEVER_SET:
            raise self.error(f"memo entry {index} was never set")
        self.push(value)

    def counted_string(self, layout: struct.Struct) -> None:
        self.push_new(self.text(self.take(self.number(layout)), "surrogatepass"))

    def byte_string(self, layout: struct.Struct) -> None:
        # A str of Python 2 is text or bytes; the pickle does not say which.
        self.push_new(self.take(self.number(layout)).decode("utf-8", "surrogateescape"))

    def long(self, layout: struct.Struct) -> None:
        count = self.number(layout)
        if count > _LONGEST_NUMBER:
            raise self.error(f"a number of {count} bytes")
        self.push_new(int.from_bytes(self.take(count), "little", signed=True))

    def global_(self) -> None:
        name = f"{self.line()}.{self.line()}"
        self.budget.spend(getsizeof(name), self.where)
        self.push_new(Global(name))

    def tuple_of(self, count: int) -> None:
        self.need(count)
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push_new(values)

    def tuple_marked(self) -> None:
        self.push_new(tuple(self.pop_marked()))

    def append(self, values: list[object]) -> None:
        self.need(1)
        target = self.stack[-1]
        self.budget.spend(SLOT * len(values), self.where)
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, PickledObject):  # what an object is not built with is ignored
            raise self.error(f"APPEND to {_kind(target)}")

    def set_items(self, values: list[object]) -> None:
        self.need(1)
        target = self.stack[-1]
        if len(values) % 2:
            raise self.error("SETITEMS with a key but no value")
        self.budget.spend(ITEM * len(values) // 2, self.where)
        if isinstance(target, PickledObject):
            if target.items is None:
                target.items = {}
                self.budget.spend(getsizeof(target.items), self.where)
            target = target.items
        if not isinstance(target, dict):
            raise self.error(f"SETITEM on {_kind(target)}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def drop_marked(self) -> None:
        """Drop values, as for a tuple that contains itself."""
        self.pop_marked()

    def drop(self) -> None:
        """Drop a value or a mark."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def call(self) -> None:
        args, callee = self.pop(), self.pop()
        if not isinstance(callee, (Global, PickledObject)) or not isinstance(args, tuple):
            raise self.error(f"call of {_kind(callee)} with {_kind(args)}")
        if isinstance(callee, PickledObject):
            self.push_new(PickledObject(_CALL_OF_OBJECT, args))
        elif callee.name == "collections.OrderedDict":
            self.push_new(self.ordered_dict(args))
        elif callee.name == "collections.defaultdict":  # its items follow
            self.push_new({})
        elif callee.name in _GETATTR:
            self.push_new(self.attribute(callee.name, args))
        else:
            self.push_new(PickledObject(callee.name, args))

    def attribute(self, getattr_name: str, args: tuple[object, ...]) -> Global | PickledObject:
        """The name of what is inside of another global; a method of an object stays a call."""
        owner, name = args if len(args) == 2 else (None, None)
        if not isinstance(owner, Global) or not isinstance(name, str):
            return PickledObject(getattr_name, args)
        if len(owner.name) + len(name) >= _LONGEST_GLOBAL:
            raise self.error("the name of a global is too long")
        whole = f"{owner.name}.{name}"
        self.budget.spend(getsizeof(whole), self.where)
        return Global(whole)

    def ordered_dict(self, args: tuple[object, ...]) -> dict[object, object]:
        """Build an OrderedDict: empty, or (Python 2) from a list of pairs."""
        result: dict[object, object] = {}
        pairs = args[0] if len(args) == 1 else []
        if len(args) > 1 or not isinstance(pairs, list):
            raise self.error("OrderedDict: expected a list of pairs")
        self.budget.step(len(pairs), self.where)  # the memo may return the same list many times
        self.budget.spend(ITEM * len(pairs), self.where)
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise self.error("OrderedDict: expected a list of pairs")
            result[_key(pair[0])] = pair[1]
        return result

    def build(self) -> None:
        state = self.pop()
        self.need(1)
        target = self.stack[-1]
        if isinstance(target, PickledObject):
            target.state = state
        elif not isinstance(target, dict):  # the _metadata of a state dict is not needed
            raise self.error(f"BUILD on {_kind(target)}")

    def persistent(self) -> None:
        """Push the storage of ('storage', class, key, location, count[, view])."""
        parts = self.pop()
        if not isinstance(parts, tuple) or len(parts) < 4:
            raise self.error("persistent id that is not a storage")
        if parts[0] == "module" and isinstance(parts[1], Global):
            self.push(parts[1])  # a class with its source, in legacy files of whole modules
            return
        if len(parts) not in (5, 6) or parts[0] != "storage":
            raise self.error("persistent id that is not a storage")
        _, kind, key, location, count = parts[:5]
        if not (isinstance(kind, Global) and isinstance(key, str) and isinstance(location, str)):
            raise self.error("malformed storage reference")
        if type(count) is not int or not 0 <= count < 1 << 62:
            raise self.error(f"storage {quote(key)} with an impossible element count")
        if parts[5:] not in ((), (None,)):
            raise self.error(f"storage {quote(key)} is a view of another storage: not supported")
        storage = Storage(kind.name, key, count)
        self.storages.setdefault(key, storage)
        self.push_new(storage)


def _key(key: object) -> object:
    """Return the key if no file can choose others with its hash, else one that nothing finds."""
    if isinstance(key, int):
        return key if key.bit_length() <= _MOST_KEY_BITS else object()
    return key if key is None or isinstance(key, str) else object()


def _kind(value: object) -> str:
    return quote(value.name) if isinstance(value, (Global, PickledObject)) else type(value).__name__


def _refusal(opcode: int) -> str:
    name = _PROTOCOL_4.get(opcode)
    if name:
        return f"opcode {name} of pickle protocol 3 or 4: save with the default pickle_protocol=2"
    return f"opcode 0x{opcode:02x} does not occur in a PyTorch file"


_U1, _U2, _U4 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<L")
_I4, _F8 = struct.Struct("<l"), struct.Struct(">d")
_STOP = ord(".")
_CALL_OF_OBJECT = "the result of a call"
_GETATTR = ("__builtin__.getattr", "builtins.getattr")

_OPCODES: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.proto,
    0x81: _Machine.call,  # NEWOBJ
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    0x8A: lambda m: m.long(_U1),
    0x8B: lambda m: m.long(_U4),
    ord("("): _Machine.mark,
    ord(")"): lambda m: m.push(()),
    ord("]"): lambda m: m.push_new([]),
    ord("}"): lambda m: m.push_new({}),
    ord("G"): lambda m: m.push_new(_F8.unpack(m.take(8))[0]),
    ord("J"): lambda m: m.push_new(m.number(_I4)),
    ord("K"): lambda m: m.push(m.number(_U1)),
    ord("M"): lambda m: m.push_new(m.number(_U2)),
    ord("N"): lambda m: m.push(None),
    ord("Q"): _Machine.persistent,
    ord("R"): _Machine.call,
    ord("T"): lambda m: m.byte_string(_U4),
    ord("U"): lambda m: m.byte_string(_U1),
    ord("X"): lambda m: m.counted_string(_U4),
    ord("0"): _Machine.drop,
    ord("1"): _Machine.drop_marked,
    ord("a"): lambda m: m.append([m.pop()]),
    ord("b"): _Machine.build,
    ord("c"): _Machine.global_,
    ord("e"): lambda m: m.append(m.pop_marked()),
    ord("h"): lambda m: m.get(m.number(_U1)),
    ord("j"): lambda m: m.get(m.number(_U4)),
    ord("q"): lambda m: m.put(m.number(_U1)),
    ord("r"): lambda m: m.put(m.number(_U4)),
    ord("s"): _Machine.set_item,
    ord("t"): _Machine.tuple_marked,
    ord("u"): lambda m: m.set_items(m.pop_marked()),
}

_PROTOCOL_4 = {
    ord("B"): "BINBYTES",
    ord("C"): "SHORT_BINBYTES",
    0x8C: "SHORT_BINUNICODE",
    0x8D: "BINUNICODE8",
    0x8E: "BINBYTES8",
    0x8F: "EMPTY_SET",
    0x90: "ADDITEMS",
    0x91: "FROZENSET",
    0x92: "NEWOBJ_EX",
    0x93: "STACK_GLOBAL",
    0x94: "MEMOIZE",
    0x95: "FRAME",
}
