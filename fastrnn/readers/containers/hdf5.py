# SPDX-License-Identifier: MIT
"""The part of HDF5 that Keras writes: old-style groups and contiguous arrays, nothing else.

Opening a file walks and checks all of it. Every header must be within the file and is read once.
Links, external data, filters and chunks raise FormatError, so an array never takes more memory
than it has bytes in the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..entry_names import LONGEST_NAME
from ..errors import FormatError, UnsupportedError, quote
from .budget import Budget
from .elements import BFLOAT16, Array, check_shape, finish, finished_bytes, raw_dtype
from .source import Bytes

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = (1 << 64) - 1
_DEEPEST = 32
_LONGEST_NAME = 256
_OBJECT_BYTES = 512  # upper bound of the memory of an object, beside its path
_ATTRIBUTE_BYTES = 512  # upper bound of the memory of an attribute, beside its data
_TEXT_BYTES = 128  # the same of a text
_RESAVE = "write the file again with Keras 3"

# Messages of an object header.
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL, _LAYOUT = 1, 2, 3, 6, 7, 8
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 11, 12, 16, 17
_REFUSED = {
    _LINK_INFO: "a group of a newer kind",
    _LINK: "a link",
    _EXTERNAL: "data outside the file",
    _FILTERS: "compressed data",
}
_SHARED = 2  # flag of a message that is stored elsewhere
_FIXED, _FLOAT, _STRING, _OPAQUE, _ENUM, _VARIABLE = 0, 1, 3, 5, 8, 9  # classes of datatypes
_OPAQUE_PAIR = "V2"  # elements whose meaning an attribute tells
_IEEE = {  # bytes: place and size of exponent and mantissa, bias
    2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023),
}  # fmt: skip

Messages = dict[int, list[bytes]]


@dataclass(frozen=True, slots=True)
class _Place:
    """The elements of an array: their checked place in the file."""

    shape: tuple[int, ...]
    code: str
    big_endian: bool
    begin: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A value beside an object, as it is in the file."""

    datatype: bytes
    space: bytes
    data: bytes


@dataclass(slots=True)
class Hdf5Object:
    """A group or an array of the file."""

    attributes: dict[str, _Attribute] = field(default_factory=dict)
    place: _Place | str | None = None  # None: a group; str: why the array is not read


class Hdf5File:
    """An open file. `nodes` are its groups and arrays by path, as "layers/lstm/cell/vars/0"."""

    def __init__(self, data: Bytes, budget: Budget) -> None:
        self._data = data
        self._view = data.data
        self._budget = budget
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self.nodes: dict[str, Hdf5Object] = {}
        self._walk(self._root())

    def array(self, path: str) -> Array:
        """Return the elements of one array; UnsupportedError if their type is not supported."""
        place, what = self.nodes[path].place, f"array {quote(path)}"
        if not isinstance(place, _Place):
            raise UnsupportedError(f"{what} {place or 'is a group'}: not supported")
        self._budget.spend(place.nbytes + finished_bytes(place.nbytes, place.code), what)
        dtype = raw_dtype(place.code, place.big_endian)
        elements = self._data[place.begin : place.begin + place.nbytes]
        array: Array = np.ndarray(place.shape, dtype, elements.copy())
        return finish(array, place.code)

    def text(self, path: str, name: str) -> str | None:
        """Return an attribute that is a single text; None if the object has none of this name."""
        texts = self.texts(path, name)
        return texts[0] if texts and len(texts) == 1 else None

    def texts(self, path: str, name: str) -> list[str] | None:
        """Return an attribute that is a text or a list of texts; None if it is not, or missing."""
        attribute = self.nodes[path].attributes.get(name)
        what = f"attribute {quote(name)} of {quote(path)}"
        return None if attribute is None else self._texts(attribute, what)

    # --- bytes

    def _bytes(self, at: int, count: int, what: str) -> memoryview:
        if at < 0 or count < 0 or at + count > len(self._view):
            raise FormatError(f"{what}: {count} bytes at byte {at} reach beyond the HDF5 data")
        self._budget.step(1 + count // 64, what)  # again for headers that overlap
        return self._view[at : at + count]

    def _unpack(self, layout: str, at: int, what: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self._bytes(at, struct.calcsize(layout), what))

    # --- groups

    def _root(self) -> int:
        what = "HDF5 superblock"
        head = bytes(self._bytes(0, min(96, len(self._view)), what))
        if not head.startswith(SIGNATURE) or len(head) < 96:
            raise FormatError(f"{what}: not an HDF5 file, or truncated")
        if head[8] != 0 or head[9:12] != bytes(3) or head[13:15] != b"\x08\x08":
            raise FormatError(f"{what} of version {head[8]}: only version 0 is read; {_RESAVE}")
        base, _, end, driver, _, root = struct.unpack_from("<6Q", head, 24)
        if base != 0 or driver != _UNDEFINED:
            raise FormatError(f"{what}: a base address or a driver is not supported; {_RESAVE}")
        if end != len(self._view):
            raise FormatError(f"{what}: expected a file of {end} bytes, got {len(self._view)}")
        return int(root)

    def _walk(self, root: int) -> None:
        """Read every object that the root leads to, each once."""
        todo, seen = [("", root, 0)], {root}
        while todo:
            path, at, depth = todo.pop()
            what = f"object {quote(path)}" if path else "the root group"
            messages = self._messages(at, what)
            node = self.nodes[path] = Hdf5Object(self._attributes(messages, what))
            if _SYMBOL_TABLE not in messages:
                node.place = self._place(messages, path, what)
                continue
            if depth >= _DEEPEST:
                raise FormatError(f"{what}: groups are nested more than {_DEEPEST} deep")
            for name, child in self._children(messages[_SYMBOL_TABLE][0], what):
                below = f"{path}/{name}" if path else name
                self._budget.spend(_OBJECT_BYTES + len(below), what)
                if len(below) > LONGEST_NAME:
                    raise FormatError(f"{what}: a path of {len(below)} characters is too long")
                if child in seen or below in self.nodes:
                    raise FormatError(f"object {quote(below)} occurs twice in the file")
                seen.add(child)
                self.nodes[below] = Hdf5Object()
                todo.append((below, child, depth + 1))

    def _children(self, table: bytes, what: str) -> Iterator[tuple[str, int]]:
        tree, heap = _fields("<2Q", table, 0, what)
        sign, version, size, _, names = self._unpack("<4sB3x3Q", heap, what)
        if sign != b"HEAP" or version != 0:
            raise FormatError(f"{what}: bad local heap")
        if names + size > len(self._view):
            raise FormatError(f"{what}: the local heap reaches beyond the HDF5 data")
        todo = [tree]
        while todo:
            at = todo.pop()
            sign, kind, _, count, _, _ = self._unpack("<4sBBH2Q", at, what)
            if sign != b"TREE" or kind != 0:
                raise FormatError(f"{what}: bad B-tree node")
            numbers = self._unpack(f"<{2 * count + 1}Q", at + 24, what)
            for child in numbers[1::2]:
                if bytes(self._bytes(child, 4, what)) == b"TREE":
                    todo.append(child)
                else:
                    yield from self._symbols(child, names, size, what)

    def _symbols(self, at: int, names: int, size: int, what: str) -> Iterator[tuple[str, int]]:
        sign, version, count = self._unpack("<4sBxH", at, what)
        if sign != b"SNOD" or version != 1:
            raise FormatError(f"{what}: bad symbol table node")
        for index in range(count):
            name_at, child, cache = self._unpack("<2QL20x", at + 8 + 40 * index, what)
            if cache > 1:
                raise FormatError(f"{what} holds a soft link: not supported")
            yield self._name(names + name_at, names + size, what), child

    def _name(self, at: int, end: int, what: str) -> str:
        raw = bytes(self._bytes(at, max(0, min(_LONGEST_NAME, end - at)), what))
        name, stop, _ = raw.partition(b"\0")
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if not (stop and text.isprintable()) or text in ("", ".", "..") or "/" in text:
            raise FormatError(f"{what}: bad name {raw[:40]!r}")
        return text

    # --- object headers

    def _messages(self, at: int, what: str) -> Messages:
        version, count, size = self._unpack("<BxH4xL4x", at, what)
        if version != 1:
            raise FormatError(f"{what}: object header of version {version}; {_RESAVE}")
        messages: Messages = {}
        blocks = [(at + 16, size)]
        for begin, size in blocks:  # and those that continue them
            if not count:
                break
            block = bytes(self._bytes(begin, size, what))
            position = 0
            while count and position + 8 <= size:
                kind, length, flags = struct.unpack_from("<HHB", block, position)
                body = block[position + 8 : position + 8 + length]
                if len(body) != length:
                    raise FormatError(f"{what}: a message reaches beyond its object header")
                if kind in _REFUSED:
                    raise FormatError(f"{what} has {_REFUSED[kind]}: not supported; {_RESAVE}")
                if flags & _SHARED and kind != _ATTRIBUTE:
                    raise FormatError(f"{what}: a shared message is not supported; {_RESAVE}")
                if kind == _CONTINUATION:
                    blocks.append(_fields("<2Q", body, 0, what))
                else:
                    messages.setdefault(kind, []).append(body)
                position += 8 + length
                count -= 1
        if count:
            raise FormatError(f"{what}: {count} messages of the object header are missing")
        return messages

    def _attributes(self, messages: Messages, what: str) -> dict[str, _Attribute]:
        """Return the attributes; those of a form that Keras does not write are ignored."""
        found: dict[str, _Attribute] = {}
        for body in messages.get(_ATTRIBUTE, []):
            version, flags, *sizes = _fields("<BB3H", body, 0, what)
            if version not in (1, 3) or (version == 3 and flags):
                continue
            self._budget.spend(_ATTRIBUTE_BYTES + len(body), what)
            at, parts = 8 + (version == 3), []
            for size in sizes:
                parts.append(body[at : at + size])
                at += (size + 7) // 8 * 8 if version == 1 else size
            name = parts[0].partition(b"\0")[0].decode("utf-8", "replace")
            found[name] = _Attribute(parts[1], parts[2], body[at:])
        return found

    def _texts(self, attribute: _Attribute, what: str) -> list[str] | None:
        head, bits, _, _, size = _fields("<4BL", attribute.datatype, 0, what)
        kind, data = head & 15, attribute.data
        if attribute.space[:1] == b"\2" and attribute.space[3:4] == b"\2":
            return []  # a null dataspace
        is_heap = kind == _VARIABLE and bits & 15 == 1
        size = 16 if is_heap else size
        count = math.prod(_shape(attribute.space, what))
        if not (is_heap or (kind == _STRING and size)):
            return None if count else []  # numpy does not know what an empty list is a list of
        if count * size > len(data):
            raise FormatError(f"{what}: expected {count} texts of {size} bytes, got {len(data)}")
        self._budget.step(count, what)
        self._budget.spend((_TEXT_BYTES + 4 * size) * count, what)
        raw = [data[at : at + size] for at in range(0, count * size, size)]
        return [self._heap_text(item, what) if is_heap else _decoded(item) for item in raw]

    def _heap_text(self, descriptor: bytes, what: str) -> str:
        """Return a text of a global heap."""
        length, at, wanted = struct.unpack("<LQL", descriptor)
        if not length:
            return ""
        if at not in self._heaps:
            sign, version, size = self._unpack("<4sB3xQ", at, what)
            if sign != b"GCOL" or version != 1:
                raise FormatError(f"{what}: bad global heap")
            self._heaps[at] = self._index_heap(at + 16, at + size, what)
        begin, available = self._heaps[at].get(wanted, (0, -1))
        if length > available:
            raise FormatError(f"{what}: a text is not in the global heap")
        self._budget.spend(4 * length, what)
        return _decoded(bytes(self._bytes(begin, length, what)))

    def _index_heap(self, at: int, end: int, what: str) -> dict[int, tuple[int, int]]:
        objects = {}
        while at + 16 <= end:
            index, size = self._unpack("<H6xQ", at, what)
            if not index:  # the unused rest of the heap
                break
            if at + 16 + size > end:
                raise FormatError(f"{what}: bad global heap")
            objects[index] = (at + 16, size)
            at += 16 + (size + 7) // 8 * 8
        return objects

    # --- arrays

    def _place(self, messages: Messages, path: str, what: str) -> _Place | str:
        try:
            space, datatype, layout = (
                messages[kind][0] for kind in (_DATASPACE, _DATATYPE, _LAYOUT)
            )
        except KeyError:
            raise FormatError(f"{what} is neither a group nor an array of HDF5") from None
        code, big_endian = _element_type(datatype, what)
        if code == _OPAQUE_PAIR:
            code = BFLOAT16 if self.text(path, "dtype") == "bfloat16" else ""
        if not code:
            return f"has elements of HDF5 class {datatype[0] & 15}"
        itemsize = raw_dtype(code).itemsize
        shape, nbytes = check_shape(_shape(space, what), itemsize, what)
        version, kind = _fields("<BB", layout, 0, what)
        if (version, kind) != (3, 1):
            raise FormatError(
                f"{what}: expected a contiguous layout, got {version}.{kind}; {_RESAVE}"
            )
        begin, stored = _fields("<2Q", layout, 2, what)
        if stored != nbytes:
            raise FormatError(f"{what} has {stored} bytes, its shape needs {nbytes}")
        if nbytes and begin + nbytes > len(self._view):
            raise FormatError(f"{what}: its {nbytes} bytes reach beyond the HDF5 data")
        return _Place(shape, code, big_endian, begin if nbytes else 0, nbytes)


def _fields(layout: str, body: bytes, at: int, what: str) -> tuple[Any, ...]:
    if at + struct.calcsize(layout) > len(body):
        raise FormatError(f"{what}: a message of the object header is too short")
    return struct.unpack_from(layout, body, at)


def _shape(space: bytes, what: str) -> list[int]:
    version, rank, _, kind = _fields("<4B", space, 0, what)
    if version not in (1, 2) or (version == 2 and kind > 1):
        raise FormatError(f"{what}: unknown dataspace")
    return list(_fields(f"<{rank}Q", space, 8 if version == 1 else 4, what))


def _decoded(raw: bytes) -> str:
    """The text in a field that may be longer."""
    return raw.rstrip(b"\0 ").decode("utf-8", "replace")


def _element_type(datatype: bytes, what: str) -> tuple[str, bool]:
    """Return the type code, "" if it is not supported, and whether elements are big-endian."""
    head, bits, _, _, size = _fields("<4BL", datatype, 0, what)
    kind, big_endian = head & 15, bool(bits & 1)
    if kind == _OPAQUE and size == 2:
        return _OPAQUE_PAIR, False
    if kind == _ENUM and size == 1:
        return "b1", False
    if kind == _FIXED and size in (1, 2, 4, 8):
        offset, precision = _fields("<2H", datatype, 8, what)
        code = f"{'i' if bits & 8 else 'u'}{size}"
        return (code if (offset, precision) == (0, 8 * size) else ""), big_endian
    if kind == _FLOAT and not bits & 64:
        offset, precision, *form = _fields("<2H4BL", datatype, 8, what)
        if (offset, precision) == (0, 8 * size) and tuple(form) == _IEEE.get(size):
            return f"f{size}", big_endian
        if (size, offset, precision, *form) == (2, 0, 16, 7, 8, 0, 7, 127):
            return BFLOAT16, big_endian
    return "", False
