# SPDX-License-Identifier: MIT
"""NumPy .npz archives. Arrays of numbers and text are read; object arrays are pickles."""

from __future__ import annotations

import re

import numpy as np

from ..entry_names import check_name
from ..errors import FormatError, quote
from .elements import Entry, Unreadable, check_shape, finish, finished_bytes
from .source import Bytes, Source
from .zip_archive import ZipArchive

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16
_HEADER_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_DESCR = re.compile(r"'descr': *'([<>|=]?)(b1|[iu][1248]|f[248]|c8|c16|[US][1-9][0-9]{0,7})'")
_ORDER = re.compile(r"'fortran_order': *(True|False)")
# Python objects, as a pickle; dates; records.
_OBJECTS = re.compile(r"'descr': *(?:'[|<>=]?[OMm]|\[)")
_NO_NUMBERS = "expected an array of numbers, got the header"
_SHAPE = re.compile(r"'shape': *\(([0-9L, ]*)\)")


def read_npz(archive: ZipArchive, source: Source) -> dict[str, Entry]:
    """Read all arrays of the archive by name, in its order."""
    arrays: dict[str, Entry] = {}
    for member in archive.members:
        name = check_name(member.removesuffix(".npy"))
        what = f"array {quote(name)}"
        source.budget.spend(finished_bytes(archive.size(member), ""), what)
        arrays[name] = _read_npy(archive.read_array(member), what)
    return arrays


def _read_npy(data: Bytes, what: str) -> Entry:
    header, begin = _split(data, what)
    if _OBJECTS.search(header):
        return Unreadable(f"{what}: {_NO_NUMBERS} {quote(header.strip())}", is_tensor=False)
    descr, order, shape_text = (_only(p, header, what) for p in (_DESCR, _ORDER, _SHAPE))
    dtype = np.dtype((descr[1] if descr[1] in "<>" else "<") + descr[2])
    shape, nbytes = check_shape(_sizes(shape_text[1], what), dtype.itemsize, what)
    if data.size - begin != nbytes:
        raise FormatError(f"{what} has {data.size - begin} bytes, its shape needs {nbytes}")
    fortran = order[1] == "True"
    array = np.ndarray(shape[::-1] if fortran else shape, dtype, data, begin)
    return finish(array.T if fortran else array, descr[2])


def _split(data: Bytes, what: str) -> tuple[str, int]:
    """Return the text of the .npy header and the offset of the elements."""
    head = data[:12].tobytes()
    version = head[6] if len(head) == 12 and head.startswith(_MAGIC) else 0
    if version not in _HEADER_LENGTH_BYTES:
        raise FormatError(f"{what} is not a .npy array of version 1, 2 or 3")
    text_at = 8 + _HEADER_LENGTH_BYTES[version]
    length = int.from_bytes(head[8:text_at], "little")
    if length > min(_LONGEST_HEADER, data.size - text_at):
        raise FormatError(f"{what}: the .npy header of {length} bytes is too long")
    return data[text_at : text_at + length].tobytes().decode("latin-1"), text_at + length


def _only(pattern: re.Pattern[str], header: str, what: str) -> re.Match[str]:
    """Return the match of a pattern that must occur exactly once in the header."""
    found = list(pattern.finditer(header))
    if len(found) != 1:
        raise FormatError(f"{what}: {_NO_NUMBERS} {quote(header)}")
    return found[0]


def _sizes(text: str, what: str) -> list[int]:
    """Parse a shape: "3, 4" or "3,", in files of Python 2 with an L after each number."""
    pieces = [piece.strip().removesuffix("L") for piece in text.split(",")]
    if not pieces[-1]:
        pieces.pop()
    if not all(piece.isdigit() and len(piece) < 20 for piece in pieces):
        raise FormatError(f"{what}: malformed shape ({quote(text)})")
    return [int(piece) for piece in pieces]
