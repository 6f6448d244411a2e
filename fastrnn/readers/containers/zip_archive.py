# SPDX-License-Identifier: MIT
"""A strict ZIP reader that checks every size against the file.

The central directory defines the members, and each local header must agree with it. Archives that
two ZIP readers could understand differently raise FormatError: data before or after the archive,
comments, duplicates, overlaps, headers that disagree.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError, quote
from .source import Bytes, Source

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_DESCRIPTORS = (struct.Struct("<LLL"), struct.Struct("<LQQ"))

_STORED, _DEFLATED = 0, 8
_HAS_DESCRIPTOR = 0x0008
_KNOWN_FLAGS = 0x080E  # descriptor, UTF-8 names, the two deflate level bits
_UNKNOWN32, _UNKNOWN16 = 0xFFFFFFFF, 0xFFFF
_LONGEST_NAME = 4096
_MEMBER_BYTES = 1024  # upper bound of the memory of an entry as Python objects, beside its name
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the central directory."""

    name: str
    flags: int
    method: int
    crc: int
    stored: int  # bytes in the file
    size: int  # bytes of content
    header: int  # offset of the local header


class ZipArchive:
    """The members of a ZIP file by name, in the order of the central directory."""

    def __init__(self, source: Source, check_crc: bool = True) -> None:
        self._source = source
        self._check_crc = check_crc
        start, size, count = _find_directory(source)
        members = _read_directory(source, start, size, count)
        self._data = _locate_data(source, members, start)
        self.members = {m.name: m for m in members if not m.name.endswith("/")}

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a small member; FormatError if it has more than `limit` bytes."""
        if self.size(name) > limit:
            raise FormatError(
                f"member {quote(name)}: expected at most {limit} bytes, got {self.size(name)}"
            )
        content = self.read_array(name)
        self._source.budget.spend(content.size, f"member {quote(name)}")
        return content.tobytes()

    def read_array(self, name: str) -> Bytes:
        """Return the content of a member as a new array."""
        member, what = self._member(name), f"member {quote(name)}"
        data = self._source.read_array(self._data[name], member.stored, what)
        if member.method == _DEFLATED:
            self._source.budget.spend(member.size, what)
            data = _inflate(data, member.size, what)
        if self._check_crc and zlib.crc32(data.data) != member.crc:
            raise FormatError(
                f"{what} is damaged: its CRC-32 does not match (check_crc=False reads it)"
            )
        return data

    def size(self, name: str) -> int:
        """Return the length of a member's content in bytes."""
        return self._member(name).size

    def _member(self, name: str) -> Member:
        if name not in self.members:
            raise FormatError(f"member {quote(name)} is missing from the archive")
        return self.members[name]


def _inflate(data: Bytes, size: int, what: str) -> Bytes:
    """Inflate a raw deflate stream, which must yield `size` bytes and consume all of its input."""
    content = np.empty(size, np.uint8)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    at = 0
    try:
        for piece in _unfold(stream, data):
            if at + len(piece) <= size:
                content[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
            if at > size:
                break
    except zlib.error as error:
        raise FormatError(f"{what}: bad deflate stream ({error})") from None
    if at != size or not stream.eof or stream.unused_data:
        raise FormatError(f"{what}: the deflate stream does not yield the declared {size} bytes")
    return content


def _unfold(stream: zlib._Decompress, data: Bytes) -> Iterator[bytes]:
    """What a stream yields, by pieces: both its input and its output are never held twice."""
    for begin in range(0, data.size, _CHUNK):
        rest = data[begin : begin + _CHUNK].tobytes()
        piece = b"-"
        while piece or rest:
            piece = stream.decompress(rest, _CHUNK)
            rest = stream.unconsumed_tail
            yield piece


def _find_directory(source: Source) -> tuple[int, int, int]:
    """Return start, size and entry count of the central directory, from the end records."""
    if source.size < _END.size:
        raise FormatError(f"ZIP file: expected at least {_END.size} bytes, got {source.size}")
    end = source.size - _END.size
    sign, disk, first_disk, here, count, size, start, comment = _END.unpack(
        source.read(end, _END.size, "ZIP end record")
    )
    if sign != b"PK\5\6" or comment:
        raise FormatError(
            "the ZIP end record is not at the end of the file "
            "(truncated, or followed by other data or a comment)"
        )
    if disk or first_disk or here != count:
        raise FormatError("multi-disk ZIP archives are not supported")
    if end >= _LOCATOR.size + _END64.size:
        locator = source.read(end - _LOCATOR.size, _LOCATOR.size, "ZIP64 locator")
        if locator.startswith(b"PK\6\7"):
            end -= _LOCATOR.size + _END64.size
            size, start, count = _read_end64(source, end, locator, (size, start, count))
    if start + size != end:
        raise FormatError(
            f"the ZIP central directory ({size} bytes at byte {start}) does not end "
            f"where the end record begins (byte {end})"
        )
    return start, size, count


def _read_end64(
    source: Source, at: int, locator: bytes, short: tuple[int, int, int]
) -> tuple[int, int, int]:
    _, locator_disk, position, disks = _LOCATOR.unpack(locator)
    sign, length, _, _, disk, first_disk, here, count, size, start = _END64.unpack(
        source.read(at, _END64.size, "ZIP64 end record")
    )
    if sign != b"PK\6\6" or position != at or length != _END64.size - 12:
        raise FormatError(f"the ZIP64 locator does not point at the ZIP64 end record (byte {at})")
    if locator_disk or disk or first_disk or disks > 1 or here != count:
        raise FormatError("multi-disk ZIP archives are not supported")
    for value, value32, unknown in zip(
        (size, start, count), short, (_UNKNOWN32, _UNKNOWN32, _UNKNOWN16), strict=True
    ):
        if value32 not in (unknown, value):
            raise FormatError("the ZIP and ZIP64 end records disagree")
    return size, start, count


def _read_directory(source: Source, start: int, size: int, count: int) -> list[Member]:
    directory = source.read(start, size, "ZIP central directory")
    source.budget.spend(size + _MEMBER_BYTES * count, "ZIP central directory")
    members: list[Member] = []
    seen: set[str] = set()
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > size:
            raise FormatError(f"the ZIP central directory ends within entry {len(members)}")
        member, at = _read_entry(directory, at)
        if member.name in seen:
            raise FormatError(f"member {quote(member.name)} occurs twice in the archive")
        seen.add(member.name)
        members.append(member)
    if at != size:
        raise FormatError(f"the ZIP central directory has {size - at} bytes after its last entry")
    return members


def _read_entry(directory: bytes, at: int) -> tuple[Member, int]:
    (sign, _, _, flags, method, _, _, crc, stored, content, name_length, extra_length,
     comment_length, disk, _, _, header) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_length
    end = extra_at + extra_length + comment_length
    if sign != b"PK\1\2" or end > len(directory):
        raise FormatError(f"bad ZIP central directory entry (byte {at} of the directory)")
    name = _check_name(directory[name_at:extra_at])
    what = f"member {quote(name)}"
    extra = directory[extra_at : extra_at + extra_length]
    content, stored, header = _widen(extra, (content, stored, header), what)
    if disk:
        raise FormatError(f"{what} is on another disk")
    if flags & ~_KNOWN_FLAGS:
        raise FormatError(f"{what} is encrypted or has unknown flags ({flags:#06x})")
    if method not in (_STORED, _DEFLATED):
        raise FormatError(f"{what} uses compression method {method}, only 0 and 8 are supported")
    if method == _STORED and stored != content:
        raise FormatError(f"{what} is not compressed but its sizes differ ({stored}, {content})")
    if name.endswith("/") and content:
        raise FormatError(f"{what} is a folder with {content} bytes of content")
    return Member(name, flags, method, crc, stored, content, header), end


def _check_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"a ZIP member name is not UTF-8: {raw[:40]!r}") from None
    parts = name.removesuffix("/").split("/")
    if (
        len(raw) > _LONGEST_NAME
        or any(part in ("", ".", "..") for part in parts)
        or any(char < " " or char in "\\\x7f" for char in name)
        or ":" in parts[0]
    ):
        raise FormatError(f"unsafe ZIP member name {quote(name)}")
    return name


def _widen(extra: bytes, fields: tuple[int, ...], what: str) -> tuple[int, ...]:
    """Replace 32-bit fields that refer to the ZIP64 extra field by the values in it."""
    missing = sum(field == _UNKNOWN32 for field in fields)
    wide: list[int] = []
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if at + length > len(extra):
            raise FormatError(f"{what}: an extra field is longer than its header says")
        if kind == 1 and missing:
            if wide:
                raise FormatError(f"{what}: the ZIP64 extra field occurs twice")
            if length != 8 * missing:
                raise FormatError(
                    f"{what}: expected a ZIP64 extra field of {8 * missing} bytes, got {length}"
                )
            wide = list(struct.unpack_from(f"<{missing}Q", extra, at))
        at += length
    if len(wide) != missing:
        raise FormatError(f"{what}: the ZIP64 extra field is missing")
    values = iter(wide)
    return tuple(next(values) if field == _UNKNOWN32 else field for field in fields)


def _locate_data(source: Source, members: list[Member], directory: int) -> dict[str, int]:
    """Return the offset of each member's data, after checking all local headers for overlaps."""
    located: dict[str, int] = {}
    end, previous = 0, ""
    for member in sorted(members, key=lambda member: member.header):
        what = f"member {quote(member.name)}"
        if not previous and member.header:
            raise FormatError(f"{member.header} bytes of other data precede the ZIP archive")
        if member.header < end:
            raise FormatError(f"{what} overlaps member {quote(previous)}")
        begin = _check_local(source, member, what)
        end = begin + member.stored
        if end <= directory and member.flags & _HAS_DESCRIPTOR:
            end += _check_descriptor(source, member, end, what)
        if end > directory:
            raise FormatError(f"{what} ({member.stored} bytes) reaches into the central directory")
        located[member.name] = begin
        previous = member.name
    return located


def _check_local(source: Source, member: Member, what: str) -> int:
    """Compare the local header with the central entry; return the offset of the data."""
    at = member.header
    (sign, _, flags, method, _, _, crc, stored, content, name_length, extra_length) = _LOCAL.unpack(
        source.read(at, _LOCAL.size, what)
    )
    if sign != b"PK\3\4":
        raise FormatError(f"{what}: no local header at byte {at}")
    tail = source.read(at + _LOCAL.size, name_length + extra_length, what)
    if tail[:name_length] != member.name.encode():
        raise FormatError(f"{what} has another name in its local header")
    content, stored = _widen(tail[name_length:], (content, stored), what)
    if (flags, method) != (member.flags, member.method):
        raise FormatError(f"{what}: flags or method differ between local and central header")
    local = (crc, stored, content)
    central = (member.crc, member.stored, member.size)
    deferred = flags & _HAS_DESCRIPTOR
    if local != central and not (deferred and local == (0, 0, 0)):
        raise FormatError(f"{what}: CRC or size differ between local and central header")
    return at + _LOCAL.size + len(tail)


def _check_descriptor(source: Source, member: Member, at: int, what: str) -> int:
    """Return the length of the data descriptor, which must repeat the central entry."""
    found = source.read(at, min(24, source.size - at), what)
    values = (member.crc, member.stored, member.size)
    for signature in (b"PK\7\x08", b""):
        for layout in _DESCRIPTORS:
            if layout.size == 12 and max(values) > _UNKNOWN32:
                continue
            expected = signature + layout.pack(*values)
            if found.startswith(expected):
                return len(expected)
    raise FormatError(f"{what}: the data descriptor differs from the central directory")
