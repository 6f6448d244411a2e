# SPDX-License-Identifier: MIT
"""Tensors of an ONNX file as arrays: raw, typed, or in a file beside the model."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..containers.budget import Budget
from ..containers.elements import (
    BFLOAT16,
    Array,
    Entry,
    Unreadable,
    check_shape,
    finish,
    finished_bytes,
    raw_dtype,
)
from ..containers.source import Source
from ..errors import FormatError, quote
from .messages import TENSOR, Record
from .wire import Field, View, WireKind, decode, fixed, varints

_CODES = {
    1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "b1", 10: "f2", 11: "f8",
    12: "u4", 13: "u8", 14: "c8", 15: "c16", 16: BFLOAT16,
}  # fmt: skip
_OTHERS = {
    8: "strings", 17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "uint4", 22: "int4",
    23: "float4", 24: "float8", 25: "uint2", 26: "int2",
}  # fmt: skip
_FLOAT_DATA = ("f4", "c8")
_DOUBLE_DATA = ("f8", "c16")
_UINT64_DATA = ("u4", "u8")
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_EXTERNAL = 1
_ENTRY = {1: Field("key", WireKind.TEXT), 2: Field("value", WireKind.TEXT)}


@dataclass(frozen=True, slots=True)
class Tensors:
    """Reads tensors of one model file and of the files in its folder."""

    budget: Budget
    folder: str
    beside: set[str] = field(default_factory=set)  # files that count towards the budget

    def read_message(self, data: View, what: str) -> Entry:
        """A tensor in an attribute."""
        return self.read(decode(data, TENSOR, what, self.budget), what)

    def read(self, record: Record, what: str) -> Entry:
        """A decoded tensor; Unreadable if its elements are of a kind that is not read."""
        number = record.get("data_type", 0)
        if number in _OTHERS:
            return Unreadable(f"{what} has elements of type {_OTHERS[number]}: not supported")
        if number not in _CODES:
            raise FormatError(f"{what} has elements of the unknown type {number}")
        code = _CODES[number]
        if "segment" in record:
            raise FormatError(f"{what} is a segment of a tensor: not supported")
        dims = [int(size) for size in varints(record.get("dims", b""), what)]
        shape, nbytes = check_shape(dims, raw_dtype(code).itemsize, what)
        elements = self._elements(record, code, nbytes, what)
        return finish(np.ndarray(shape, raw_dtype(code), elements), code)

    def _elements(self, record: Record, code: str, nbytes: int, what: str) -> Array:
        """The bytes of the elements, in a fresh array."""
        typed = [name for name in _TYPED if len(record.get(name, b""))]
        external = record.get("data_location", 0)
        if external not in (0, _EXTERNAL):
            raise FormatError(f"{what}: data_location is {external}, expected 0 or 1")
        places = len(typed) + ("raw_data" in record) + external
        if places > 1 and not (external and not typed and not record["raw_data"]):
            raise FormatError(f"{what} has its elements in {places} places")
        if external:
            return self._external(record.get("external_data", []), code, nbytes, what)
        self.budget.spend(finished_bytes(nbytes, code), what)
        if "external_data" in record:
            raise FormatError(f"{what} names a file for its elements, but holds them itself")
        data: Array
        if typed:
            data = _typed(record, typed[0], code, what).view(np.uint8)
        else:
            data = np.frombuffer(record.get("raw_data", b""), np.uint8).copy()
        if data.size != nbytes:
            raise FormatError(f"{what} has {data.size} bytes of data, its shape needs {nbytes}")
        return data

    def _external(self, entries: list[View], code: str, nbytes: int, what: str) -> Array:
        said: dict[str, str] = {}
        for item in entries:
            pair = decode(item, _ENTRY, f"{what}: external_data", self.budget)
            said[pair.get("key", "")] = pair.get("value", "")
        offset = _count(said.get("offset", "0"), f"{what}: offset")
        length = _count(said.get("length", str(nbytes)), f"{what}: length")
        if length != nbytes:
            raise FormatError(f"{what} has {length} bytes of data, its shape needs {nbytes}")
        location = said.get("location", "")
        what = f"{what} in file {quote(location)}"

        def admit(size: int) -> None:
            if location not in self.beside:
                self.beside.add(location)
                self.budget.admit(size)
            self.budget.spend(finished_bytes(length, code), what)

        return read_beside(self.folder, location, offset, length, admit, what)


def _typed(record: Record, slot: str, code: str, what: str) -> Array:
    """The elements of a field of numbers, in the element type; the slot must fit it."""
    right = (
        "float_data" if code in _FLOAT_DATA else
        "double_data" if code in _DOUBLE_DATA else
        "uint64_data" if code in _UINT64_DATA else
        "int64_data" if code == "i8" else "int32_data"
    )  # fmt: skip
    if slot != right:
        raise FormatError(f"{what}: elements of type {code} in {slot}, expected {right}")
    if slot == "float_data":
        return fixed(record[slot], "<f4", what).copy()
    if slot == "double_data":
        return fixed(record[slot], "<f8", what).copy()
    numbers = varints(record[slot], what)
    if code in ("i8", "u8"):
        return numbers.astype("<i8")
    if code == "u4":
        return numbers.astype("<u4")  # wraps, like protobuf
    bits = {"f2": "<u2", BFLOAT16: "<u2", "b1": "<u1"}.get(code, f"<{code}")
    return numbers.astype(bits)


def _count(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise FormatError(f"{what} {quote(text)} is not a count")
    return int(text)


# --- Files beside the model ---


def read_beside(
    folder: str, location: str, offset: int, count: int, admit: Callable[[int], None], what: str
) -> Array:
    """Bytes of a regular file in the model's folder or below it; `admit` is told its size first.

    Each step of the path is opened from the directory before it and none may be a link, so that
    no file outside of the folder can be reached, not even while it is being changed.
    """
    steps = location.split("/")
    if not location or location != location.strip() or "\\" in location or "\0" in location:
        raise FormatError(f"{what}: not a relative path")
    if any(step in ("", ".", "..") for step in steps) or ":" in steps[0]:
        raise FormatError(f"{what}: not a plain path inside the model's folder")
    handles: list[int] = []
    try:
        handles.append(os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY))
        for step in steps[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            handles.append(os.open(step, flags, dir_fd=handles[-1]))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block
        handles.append(os.open(steps[-1], flags, dir_fd=handles[-1]))
        status = os.fstat(handles[-1])
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{what}: not a regular file")
        if status.st_nlink != 1:
            raise FormatError(f"{what}: the file has {status.st_nlink} names (hard links)")
        with open(handles[-1], "rb", closefd=False) as file:
            admit(status.st_size)
            return Source(file, status.st_size).read_array(offset, count, what)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FormatError(f"{what}: cannot be opened without following links ({reason})") from None
    except ValueError as error:  # a name that the file system cannot have
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{what}: not the name of a file") from None
    finally:
        for handle in handles:
            os.close(handle)
