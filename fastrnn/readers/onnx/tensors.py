# SPDX-License-Identifier: MIT
"""Tensors of an ONNX file as arrays: raw, typed, or in a file beside the model."""

from __future__ import annotations

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
from ..containers.source import open_beside
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
    folder: str | None
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
        with open_beside(self.folder, location, what) as source:
            if location not in self.beside:
                self.beside.add(location)
                self.budget.admit(source.size)
            self.budget.spend(finished_bytes(length, code), what)
            return source.read_array(offset, length, what)


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
