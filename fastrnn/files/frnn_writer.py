# SPDX-License-Identifier: MIT
"""Whole models in files: `write_model`, `read_model`, and the same bytes as a C array."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import RawIOBase
from typing import BinaryIO

import numpy as np

from ..readers import FormatError
from ..readers.containers.elements import Array
from ..readers.containers.source import Bytes, naming, open_source
from ..readers.description import DescribedLayer, Description
from ..readers.errors import quote
from ..readers.frnn.frnn_fields import pack, unpack
from ..readers.frnn.frnn_kinds import (
    KINDS,
    check_arrays,
    check_nesting,
    in_order,
    plain_options,
    role_of,
)
from ..readers.frnn.frnn_reader import (
    ALIGNMENT,
    ARRAY,
    ARRAY_OFFSET_AT,
    ARRAY_RECORD,
    CHECKSUM_AT,
    FLOAT32,
    HEADER,
    LAYER,
    LAYER_RECORD,
    LONGEST_NAME,
    MAGIC,
    MAJOR,
    MINOR,
    MOST_MODEL_LAYERS,
    aligned,
    checksum,
    read_frnn,
)  # fmt: skip
from .atomic import write_atomically

MOST_ARRAYS = 2**16 - 1  # of a layer
_BYTES_PER_LINE = 16


def write_model(target: str | os.PathLike[str] | BinaryIO, description: Description) -> None:
    """Write a model as a .frnn file: to a path, atomically, or to a binary file.

    Weights become float32. FormatError, a ValueError, names the layer that the format does not
    have; nothing is written then.
    """
    pieces = lay_out(description)

    def write(file: BinaryIO) -> None:
        for piece in pieces:
            _write_all(file, piece.data)

    _write(target, write)


def read_model(path: str | os.PathLike[str], check_crc: bool = True) -> Description:
    """Read a .frnn file; the arrays are read-only views of the mapped file.

    The file must not be changed in place or truncated while they are in use; write_model() replaces
    it, which leaves them as they are. check_crc=False skips the checksum: a damaged file may then
    have wrong values.
    """
    name = os.fspath(path)
    with naming(name), open_source(name) as source:
        return read_frnn(source, check_crc, mapped=True)


def write_c_array(
    target: str | os.PathLike[str] | BinaryIO, description: Description, name: str
) -> None:
    """Write the bytes of the model's .frnn file as a C header with the array `name`."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"name: expected a C identifier, got {name!r}")
    pieces = lay_out(description)
    size = sum(piece.size for piece in pieces)
    kinds = ", ".join(layer.kind for layer in description.layers)
    guard = f"{name.upper()}_FRNN"
    head = (
        f"/* A fastrnn model, version {MAJOR}.{MINOR} of the .frnn format: {kinds}. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n"
        f"#ifdef __cplusplus\nalignas({ALIGNMENT})\n#else\n_Alignas({ALIGNMENT})\n#endif\n"
        f"static const unsigned char {name}[{size}] = {{\n"
    )

    def write(file: BinaryIO) -> None:
        _write_all(file, head.encode())
        for line in _c_lines(pieces):
            _write_all(file, line)
        _write_all(file, b"};\n\n#endif\n")

    _write(target, write)


def _write(target: str | os.PathLike[str] | BinaryIO, write: Callable[[BinaryIO], None]) -> None:
    path = os.fspath(target) if isinstance(target, os.PathLike) else target
    if isinstance(path, str):
        write_atomically(path, write)
    elif hasattr(path, "write"):
        write(path)
    else:
        found = type(path).__name__
        raise TypeError(f"path: expected str, os.PathLike of str or a binary file, got {found}")


def _write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all bytes: a file without buffer may take a part of them at a time."""
    left = memoryview(data)
    while left:
        count = file.write(left)
        if not isinstance(file, RawIOBase):
            return
        if count is None:
            raise BlockingIOError(errno.EAGAIN, "the file does not take more without waiting")
        left = left[count:]


def _c_lines(pieces: list[Bytes]) -> Iterator[bytes]:
    """The lines of an initializer; pieces are whole multiples of a line."""
    texts = [b"%d," % value for value in range(256)]
    for piece in pieces:
        for at in range(0, piece.size, _BYTES_PER_LINE):
            yield b"".join(texts[value] for value in piece[at : at + _BYTES_PER_LINE]) + b"\n"


@dataclass
class _Layout:
    """Records, names and arrays of a file that is being laid out."""

    records: list[bytearray] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # record and bytes of each array
    names: bytearray = field(default_factory=bytearray)
    arrays: list[Bytes] = field(default_factory=list)


def lay_out(description: Description) -> list[Bytes]:
    """The bytes of the file in pieces, each a multiple of 64."""
    if not 1 <= len(description.layers) <= MOST_MODEL_LAYERS:
        raise FormatError(
            f"expected a model with at least one layer and at most {MOST_MODEL_LAYERS}, "
            f"got {len(description.layers)}"
        )
    layout = _Layout()
    seen: set[str] = set()
    for layer in description.layers:
        try:
            if layer.name in seen:
                raise FormatError("two layers have this name")
            seen.add(layer.name)
            _add(layer, layout)
        except FormatError as error:
            raise FormatError(
                f"layer {quote(layer.name)} ({quote(layer.kind)[1:-1]}): {error}"
            ) from None
    check_nesting(description.layers)
    at = aligned(ALIGNMENT * (1 + len(layout.records)) + len(layout.names))
    for number, count in layout.places:
        struct.pack_into("<Q", layout.records[number], ARRAY_OFFSET_AT, at)
        at += aligned(count)
    body = b"".join(layout.records) + layout.names
    head = HEADER.pack(
        MAGIC, MAJOR, MINOR, 0, at, len(layout.records), len(layout.names), bytes(32)
    )
    front = np.zeros(aligned(len(head) + len(body)), np.uint8)
    front[: len(head) + len(body)] = np.frombuffer(head + body, np.uint8)
    pieces = [front, *layout.arrays]
    crc = checksum(pieces)
    front[CHECKSUM_AT : CHECKSUM_AT + 4] = np.frombuffer(crc.to_bytes(4, "little"), np.uint8)
    return pieces


def _add(layer: DescribedLayer, layout: _Layout) -> None:
    if layer.kind not in KINDS:
        raise FormatError(f"expected one of the kinds {', '.join(KINDS)}")
    kind = KINDS[layer.kind]
    record = pack(kind.fields, plain_options(layer.kind, layer.options))
    options = unpack(kind.fields, record)
    kind.check(options)
    arrays = in_order(layer.kind, options, layer.arrays)
    check_arrays(layer.kind, options, {name: array.shape for name, array in arrays.items()})
    if len(arrays) > MOST_ARRAYS:
        raise FormatError(f"{len(arrays)} arrays, at most {MOST_ARRAYS} fit in the file")
    name = layer.name.encode("utf-8", "strict") if layer.name.isprintable() else b""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise FormatError(f"name: expected 1 to {LONGEST_NAME} bytes of printable text")
    layout.records.append(
        bytearray(
            LAYER_RECORD.pack(
                LAYER, kind.number, len(layout.names), len(name), len(arrays), record.flags,
                *record.integers, *record.floats,
            )
        )
    )  # fmt: skip
    layout.names += name + b"\0"
    for key, array in arrays.items():
        values = _raw(key, array)
        sizes = [*array.shape, 0, 0, 0, 0][:4]
        layout.places.append((len(layout.records), values.size))
        layout.records.append(
            bytearray(
                ARRAY_RECORD.pack(
                    ARRAY, *role_of(key), FLOAT32, array.ndim, 0, 0, values.size, *sizes, bytes(16)
                )
            )
        )
        layout.arrays.append(values)
        if values.size % ALIGNMENT:
            layout.arrays.append(np.zeros(-values.size % ALIGNMENT, np.uint8))


def _raw(name: str, array: Array) -> Bytes:
    """The elements as little-endian float32 bytes; a view if they are that already."""
    if array.dtype.kind != "f":
        raise FormatError(f"{name}: expected floating-point elements, got {array.dtype}")
    with np.errstate(over="ignore"):  # beyond float32 is infinity, as everywhere in fastrnn
        return np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8)
