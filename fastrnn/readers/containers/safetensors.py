# SPDX-License-Identifier: MIT
"""The safetensors format: a JSON header with type, shape and offsets, then the elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..entry_names import check_name
from ..errors import FormatError, quote
from .budget import Budget
from .elements import Array, Entry, Unreadable, check_shape, finish, finished_bytes, raw_dtype
from .json_text import parse_json
from .source import Source

_HEADER = "safetensors header"
_LARGEST_HEADER = 100_000_000
_CODES = {
    "BOOL": "b1", "U8": "u1", "I8": "i1", "U16": "u2", "I16": "i2", "U32": "u4", "I32": "i4",
    "U64": "u8", "I64": "i8", "F16": "f2", "BF16": "bf16", "F32": "f4", "F64": "f8", "C64": "c8",
}  # fmt: skip
_BITS_OF_OTHERS = {  # unsupported; only their offsets are checked
    "F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Span:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(source: Source) -> dict[str, Entry]:
    """Read all tensors of the file by name, in the order of the header."""
    length = int.from_bytes(source.read(0, 8, "header length"), "little")
    if length > _LARGEST_HEADER:
        raise FormatError(f"{_HEADER}: expected at most {_LARGEST_HEADER} bytes, got {length}")
    header = _parse(source.read(8, length, _HEADER), source.budget)
    entries = [_entry(name, item) for name, item in header.items() if name != "__metadata__"]
    _check_cover(entries, source.size - 8 - length)
    return {entry.name: _load(source, 8 + length, entry) for entry in entries}


def _load(source: Source, base: int, entry: _Span) -> Entry:
    what = f"tensor {quote(entry.name)}"
    if entry.dtype not in _CODES:
        return Unreadable(f"{what} has elements of type {quote(entry.dtype)}: not supported")
    code = _CODES[entry.dtype]
    source.budget.spend(finished_bytes(entry.end - entry.begin, code), what)
    data = source.read_array(base + entry.begin, entry.end - entry.begin, what)
    array: Array = np.ndarray(entry.shape, raw_dtype(code), data)
    return finish(array, code)


def _parse(raw: bytes, budget: Budget) -> dict[str, object]:
    header = parse_json(raw, _HEADER, budget, _LARGEST_HEADER)
    if not isinstance(header, dict):
        raise FormatError(f"{_HEADER} is not a JSON object")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{_HEADER}: __metadata__ is not a map of strings")
    return header


def _entry(name: str, item: object) -> _Span:
    what = f"tensor {quote(check_name(name))}"
    if not isinstance(item, dict) or item.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{what}: expected exactly dtype, shape and data_offsets")
    dtype, offsets = item["dtype"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _CODES.keys() | _BITS_OF_OTHERS:
        kind = quote(dtype) if isinstance(dtype, str) else type(dtype).__name__
        raise FormatError(f"{what} has elements of type {kind}: not supported")
    if not isinstance(item["shape"], list):
        raise FormatError(f"{what}: the shape is not a list")
    bits = 8 * raw_dtype(_CODES[dtype]).itemsize if dtype in _CODES else _BITS_OF_OTHERS[dtype]
    shape, nbits = check_shape(item["shape"], bits, what)
    is_pair = isinstance(offsets, list) and list(map(type, offsets)) == [int, int]
    if not is_pair or min(offsets) < 0:
        raise FormatError(f"{what}: data_offsets are not two positions")
    begin, end = offsets
    if 8 * (end - begin) != nbits:
        raise FormatError(f"{what} takes {end - begin} bytes, its shape needs {nbits / 8:g}")
    return _Span(name, dtype, shape, begin, end)


def _check_cover(entries: list[_Span], size: int) -> None:
    """Check that the tensors fill the data to the end of the file, without gaps or overlaps."""
    at = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != at:
            kind = "overlaps the tensor before it" if entry.begin < at else "leaves a gap before it"
            raise FormatError(f"tensor {quote(entry.name)} {kind} (byte {entry.begin} of the data)")
        at = entry.end
    if at != size:
        raise FormatError(f"the tensors take {at} bytes, the file has {size} bytes of data")
