# SPDX-License-Identifier: MIT
"""Reads the .frnn format: whole models in 64-byte records and aligned arrays.

docs/file_format.md specifies it.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from ..containers.elements import Array
from ..containers.source import Bytes, Source
from ..description import DescribedLayer, Description
from ..errors import FormatError, quote
from .frnn_fields import Options, Record, unpack
from .frnn_kinds import (
    BY_NUMBER,
    KINDS,
    MOST_DIMENSIONS,
    ROLES,
    check_arrays,
    check_nesting,
    role_of,
    torch_options,
)  # fmt: skip

MAGIC = b"\x89FRNN\r\n\x1a"
MAJOR, MINOR = 1, 0
ALIGNMENT = 64

HEADER = struct.Struct("<8sHHIQII32s")  # magic, major, minor, checksum, bytes, records, names
CHECKSUM_AT = 12
LAYER_RECORD = struct.Struct("<HHIIHH8i2d")  # type, kind, name at, bytes, arrays, flags, options
ARRAY_RECORD = struct.Struct("<HHHHHHIQQ4I16s")  # type, role, layer, direction, element, rank ...
ARRAY_OFFSET_AT = 16
LAYER, ARRAY, OPTIONAL = 1, 2, 0x8000
FLOAT32 = 1

LONGEST_NAME = 1024
MOST_MODEL_LAYERS = 1024
_OBJECT_BYTES = 1024  # upper bound of the memory of a record as Python objects


def read_frnn(source: Source, check_crc: bool = True, mapped: bool = False) -> Description:
    """Read the model; if mapped, its arrays are read-only views of the file itself."""
    _check_head(source.read(0, min(source.size, HEADER.size), "header"), source.size)
    data = source.map() if mapped else source.read_array(0, source.size, "the file")
    return _Reader(data, source, check_crc).read()


def checksum(pieces: list[Bytes]) -> int:
    """Return the CRC-32 of the file without the four bytes of the checksum itself."""
    crc = zlib.crc32(pieces[0][:CHECKSUM_AT].data)
    crc = zlib.crc32(pieces[0][CHECKSUM_AT + 4 :].data, crc)
    for piece in pieces[1:]:
        crc = zlib.crc32(piece.data, crc)
    return crc


def aligned(count: int) -> int:
    """Round a count up to the alignment of the format."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def _check_head(head: bytes, size: int) -> None:
    if head[: len(MAGIC)] != MAGIC[: len(head)] or len(head) < len(MAGIC):
        raise FormatError("not a .frnn file, or damaged by a transfer in text mode")
    if len(head) < HEADER.size:
        raise FormatError(f"the file ends in its header ({size} bytes)")
    _, major, minor, _, total, *_ = HEADER.unpack(head)
    if major != MAJOR:
        raise FormatError(
            f"a .frnn file of version {major}.{minor}; this fastrnn reads versions {MAJOR}.x"
            f"{': a newer one may read it' if major > MAJOR else ''}"
        )
    if total != size:
        raise FormatError(f"the file has {size} bytes, its header says {total}")
    if size % ALIGNMENT:
        raise FormatError(f"the size of the file, {size} bytes, is not a multiple of {ALIGNMENT}")


@dataclass
class _Open:
    """A layer whose array records follow."""

    name: str
    kind: str
    options: Options
    missing: int
    arrays: dict[str, Array]


class _Reader:
    def __init__(self, data: Bytes, source: Source, check_crc: bool) -> None:
        self._data = data
        *_, crc, _, self._records, self._name_bytes, reserved = HEADER.unpack(
            self._data[: HEADER.size].tobytes()
        )
        if check_crc and crc != checksum([self._data]):
            raise FormatError("the checksum is wrong: the file is damaged")
        if any(reserved):
            raise FormatError("a reserved byte of the header is not 0")
        self._names_at = ALIGNMENT * (1 + self._records)
        self._at = aligned(self._names_at + self._name_bytes)  # where the next array may begin
        if self._at > len(self._data):
            raise FormatError(f"{self._records} records and their names do not fit in the file")
        source.budget.spend(_OBJECT_BYTES * self._records, "the records of the file")

    def read(self) -> Description:
        layers: list[DescribedLayer] = []
        names: set[str] = set()
        current: _Open | None = None
        for number in range(self._records):
            at = ALIGNMENT * (1 + number)
            raw = self._data[at : at + ALIGNMENT].tobytes()
            kind = int.from_bytes(raw[:2], "little")
            if kind & OPTIONAL:
                continue
            if kind == LAYER and current is None:
                current = self._layer(raw, number)
                if len(layers) == MOST_MODEL_LAYERS:
                    raise FormatError(f"a model of more than {MOST_MODEL_LAYERS} layers")
                if current.name in names:
                    raise FormatError(f"two layers have the name {quote(current.name)}")
                names.add(current.name)
            elif kind == ARRAY and current is not None:
                self._array(raw, current)
                current.missing -= 1
            elif kind in (LAYER, ARRAY):
                raise FormatError(f"record {number} is out of order")
            else:
                raise FormatError(
                    f"record {number} has the type {kind}, which this fastrnn does not know: "
                    "a newer one may read the file"
                )
            if current is not None and not current.missing:
                layers.append(_finish(current))
                current = None
        if current is not None:
            raise FormatError(f"layer {quote(current.name)}: {current.missing} arrays are missing")
        if not layers:
            raise FormatError("a model without layers")
        check_nesting(layers)
        return Description("frnn", tuple(layers))

    def _layer(self, raw: bytes, number: int) -> _Open:
        _, kind_number, at, count, arrays, flags, *numbers = LAYER_RECORD.unpack(raw)
        name = self._name(at, count, number)
        if kind_number not in BY_NUMBER:
            raise FormatError(
                f"layer {quote(name)} is of kind {kind_number}, which this fastrnn does not know: "
                "a newer one may read the file"
            )
        kind = BY_NUMBER[kind_number]
        try:
            options = unpack(KINDS[kind].fields, Record(flags, numbers[:8], numbers[8:]))
            KINDS[kind].check(options)
        except FormatError as error:
            raise FormatError(f"layer {quote(name)} ({kind}): {error}") from None
        return _Open(name, kind, options, arrays, {})

    def _name(self, at: int, count: int, number: int) -> str:
        what = f"the name of the layer in record {number}"
        if not 1 <= count <= LONGEST_NAME or at + count + 1 > self._name_bytes:
            raise FormatError(f"{what} is empty, too long, or outside of the names")
        start = self._names_at + at
        raw = self._data[start : start + count + 1].tobytes()
        if raw.find(b"\0") != count:
            raise FormatError(f"{what} does not end with a zero byte")
        try:
            return raw[:-1].decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"{what} is not UTF-8") from None

    def _array(self, raw: bytes, layer: _Open) -> None:
        _, role, number, direction, element, rank, zero, at, count, *sizes = ARRAY_RECORD.unpack(
            raw
        )
        name = _array_name(role, number, direction)
        what = f"layer {quote(layer.name)}, {name}"
        reserved = sizes.pop()
        if element != FLOAT32:
            raise FormatError(f"{what}: elements of type {element}, expected {FLOAT32} (float32)")
        if not 1 <= rank <= MOST_DIMENSIONS or any(sizes[rank:]) or zero or any(reserved):
            raise FormatError(f"{what}: its shape or a reserved byte is not of this format")
        shape = tuple(sizes[:rank])
        if 4 * math.prod(shape) != count or not count:
            raise FormatError(f"{what}: {count} bytes for the shape {list(shape)}")
        if at % ALIGNMENT or at < self._at or count > len(self._data) or at > len(self._data):
            raise FormatError(f"{what}: an array cannot begin at byte {at}")
        if at + count > len(self._data):
            raise FormatError(f"{what} reaches beyond the end of the file")
        if name in layer.arrays:
            raise FormatError(f"{what} occurs twice")
        self._at = aligned(at + count)
        array = self._data[at : at + count].view("<f4").reshape(shape)
        layer.arrays[name] = array if array.dtype.isnative else array.astype(np.float32)


def _array_name(role: int, number: int, direction: int) -> str:
    stem = next((name for name, value in ROLES.items() if value == role), None)
    name = stem
    if ROLES["weight_ih"] <= role <= ROLES["weight_hr"]:
        name = f"{stem}_l{number}{'_reverse' * (direction == 1)}"
    if name is None or role_of(name) != (role, number, direction):
        raise FormatError(f"an array of role {role}, layer {number}, direction {direction}")
    return name


def _finish(layer: _Open) -> DescribedLayer:
    try:
        check_arrays(layer.kind, layer.options, {n: a.shape for n, a in layer.arrays.items()})
    except FormatError as error:
        raise FormatError(f"layer {quote(layer.name)} ({layer.kind}): {error}") from None
    options = torch_options(layer.kind, layer.options)
    return DescribedLayer(layer.name, layer.kind, options, layer.arrays)
