# SPDX-License-Identifier: MIT
"""The protobuf wire format: messages as dicts by a table of their fields, and packed numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..containers.budget import Budget
from ..errors import FormatError, quote

View = memoryview | bytearray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LARGEST_FIELD = (1 << 29) - 1
_OVERHEAD = 256  # what a Python object for a message or a value costs at most


class WireKind(Enum):
    """What a field holds."""

    INT = auto()  # a signed 64-bit number, as a varint
    FLOAT = auto()
    TEXT = auto()
    BYTES = auto()
    MESSAGE = auto()  # its bytes; the caller decodes them by its own table
    TEXTS = auto()  # the repeated kinds
    BLOBS = auto()
    MESSAGES = auto()
    VARINTS = auto()  # the raw bytes of all numbers, packed or not
    FIXED32S = auto()
    FIXED64S = auto()


_WIRE_TYPES = {  # the others are BYTES
    WireKind.INT: VARINT, WireKind.FLOAT: FIXED32, WireKind.VARINTS: VARINT,
    WireKind.FIXED32S: FIXED32, WireKind.FIXED64S: FIXED64,
}  # fmt: skip


class Field(NamedTuple):
    """A field of a message: the name and kind under which `decode` returns it."""

    name: str
    kind: WireKind


def decode(data: View, table: Mapping[int, Field], what: str, budget: Budget) -> dict[str, Any]:
    """The fields of one message; unknown ones are skipped, nested ones stay bytes."""
    found: dict[str, Any] = {}
    budget.spend(_OVERHEAD, what)
    for number, wire_type, value in fields(memoryview(data), what):
        budget.step(1, what)
        field = table.get(number)
        if field is not None:
            _add(found, field, wire_type, value, f"{what}: {field.name}", budget)
    return found


def fields(data: memoryview, what: str) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and raw bytes of each field, in the order of the file."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at, what)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= _LARGEST_FIELD:
            raise FormatError(f"{what}: a protobuf field of number {number}")
        begin = at
        if wire_type == VARINT:
            _, at = read_varint(data, at, what)
        elif wire_type == BYTES:
            length, begin = read_varint(data, at, what)
            at = begin + length
        elif wire_type in (FIXED32, FIXED64):
            at = begin + (4 if wire_type == FIXED32 else 8)
        else:
            raise FormatError(f"{what}: a protobuf field of wire type {wire_type}")
        if at > len(data):
            raise FormatError(
                f"{what}: a protobuf field of {at - begin} bytes, {len(data) - begin} are left"
            )
        yield number, wire_type, data[begin:at]


def read_varint(data: memoryview, at: int, what: str) -> tuple[int, int]:
    """An unsigned number of at most 64 bits, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + index + 1
    raise FormatError(f"{what}: a protobuf number is cut off or too long")


def _add(
    found: dict[str, Any],
    field: Field,
    wire_type: int,
    value: memoryview,
    what: str,
    budget: Budget,
) -> None:
    """Put one occurrence of a field to those before it."""
    name, kind = field.name, field.kind
    packed = kind in (WireKind.VARINTS, WireKind.FIXED32S, WireKind.FIXED64S) and wire_type == BYTES
    if wire_type != _WIRE_TYPES.get(kind, BYTES) and not packed:
        raise FormatError(f"{what}: unexpected protobuf wire type {wire_type}")
    if kind in (WireKind.VARINTS, WireKind.FIXED32S, WireKind.FIXED64S):
        if name in found:  # of more than one piece only the joint bytes are kept
            before = found[name]
            budget.spend(len(value), what)
            joint = before if isinstance(before, bytearray) else bytearray(before)
            joint += value
            found[name] = joint
        else:
            found[name] = value
    elif kind in (WireKind.TEXTS, WireKind.BLOBS, WireKind.MESSAGES):
        budget.spend(_OVERHEAD + len(value) * (kind is WireKind.TEXTS), what)
        found.setdefault(name, []).append(text(value, what) if kind is WireKind.TEXTS else value)
    elif name in found and kind is WireKind.MESSAGE:
        raise FormatError(f"{what}: occurs twice")
    else:  # as protobuf has it, the last one holds
        found[name] = _single(kind, value, what, budget)


def _single(kind: WireKind, value: memoryview, what: str, budget: Budget) -> Any:
    if kind is WireKind.INT:
        number, _ = read_varint(value, 0, what)
        return number - (1 << 64) if number >> 63 else number
    if kind is WireKind.FLOAT:
        return float(np.frombuffer(value, "<f4")[0])
    if kind is WireKind.TEXT:
        budget.spend(len(value), what)
        return text(value, what)
    return value


def text(value: memoryview, what: str) -> str:
    """The bytes as UTF-8."""
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{what}: {quote(repr(bytes(value[:20])))} is not UTF-8") from None


def varints(data: View, what: str) -> NDArray[np.int64]:
    """All numbers of a packed field at once, as signed 64-bit numbers."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if raw.size and (not ends.size or ends[-1] != raw.size - 1):
        raise FormatError(f"{what}: a protobuf number is cut off")
    begins = np.concatenate([np.zeros(1, ends.dtype), ends[:-1] + 1])[: ends.size]
    lengths = ends - begins + 1
    longest = int(lengths.max(initial=0))
    if longest > _LONGEST_VARINT:
        raise FormatError(f"{what}: a protobuf number is too long")
    numbers = np.zeros(ends.size, np.uint64)
    for index in range(longest):
        there = np.flatnonzero(lengths > index)
        part = (raw[begins[there] + index] & 0x7F).astype(np.uint64)
        if index == _LONGEST_VARINT - 1 and part.max(initial=0) > 1:
            raise FormatError(f"{what}: a protobuf number is too long")
        numbers[there] |= part << np.uint64(7 * index)
    return numbers.view(np.int64)


def fixed(data: View, code: str, what: str) -> NDArray[Any]:
    """All numbers of a packed field of numbers of one size."""
    dtype = np.dtype(code)
    if len(data) % dtype.itemsize:
        raise FormatError(f"{what}: {len(data)} bytes are no numbers of {dtype.itemsize} bytes")
    return np.frombuffer(data, dtype)
