# SPDX-License-Identifier: MIT
"""Hand-made model files for the reader tests: ZIP archives, pickles and headers."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from fastrnn.readers import FormatError, ModelFile, read_file
from fastrnn.readers.containers.budget import MEMORY_FLOOR, MEMORY_PER_BYTE

# ZIP


@dataclass
class Entry:
    """A ZIP member; `local` and `central` override single header fields."""

    name: str | bytes
    data: bytes
    method: int = 0
    flags: int = 0x0800
    local: dict[str, object] = field(default_factory=dict)
    central: dict[str, object] = field(default_factory=dict)
    extra: bytes = b""
    gap: bytes = b""  # bytes in front of the local header


def zip_file(entries: Sequence[Entry], *, zip64: bool = False, tail: bytes = b"", **end) -> bytes:
    """The bytes of an archive; `end` overrides fields of the end record."""
    out, directory = bytearray(), bytearray()
    for entry in entries:
        out += entry.gap
        at = len(out)
        body = entry.data
        if entry.method == 8:
            stream = zlib.compressobj(9, zlib.DEFLATED, -15)
            body = stream.compress(body) + stream.flush()
        name = entry.name if isinstance(entry.name, bytes) else entry.name.encode()
        fields = {
            "name": name, "flags": entry.flags, "method": entry.method, "offset": at, "disk": 0,
            "crc": zlib.crc32(entry.data), "stored": len(body), "size": len(entry.data),
        }  # fmt: skip
        near = fields | {"extra": entry.extra} | entry.local
        far = fields | {"extra": b""} | entry.central
        out += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, near["flags"], near["method"], 0, 0, near["crc"],
            near["stored"], near["size"], len(near["name"]), len(near["extra"]),
        )  # fmt: skip
        out += near["name"] + near["extra"] + body
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, far["flags"], far["method"], 0, 0, far["crc"],
            far["stored"], far["size"], len(far["name"]), len(far["extra"]), 0, far["disk"], 0, 0,
            far["offset"],
        )  # fmt: skip
        directory += far["name"] + far["extra"]
    start, count = len(out), len(entries)
    out += directory
    if zip64:
        at = len(out)
        out += struct.pack(
            "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start
        )
        out += struct.pack("<4sLQL", b"PK\6\7", 0, end.get("locate", at), end.get("disks", 1))
    values = {
        "disk": 0,
        "count": count,
        "size": len(directory),
        "start": start,
        "comment": b"",
    } | end
    out += struct.pack(
        "<4s4H2LH", b"PK\5\6", values["disk"], 0, values["count"], values["count"],
        values["size"], values["start"], len(values["comment"]),
    )  # fmt: skip
    return bytes(out) + values["comment"] + tail


# pickle


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<L", len(raw)) + raw


def integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def tuple_(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(values: Sequence[int]) -> bytes:
    return tuple_(*map(integer, values))


def dict_(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def list_(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def call(module: str, name: str, *args: bytes) -> bytes:
    return global_(module, name) + tuple_(*args) + b"R"


ORDERED_DICT = call("collections", "OrderedDict")


def storage(count: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    return (
        tuple_(text("storage"), global_("torch", kind), text(key), text("cpu"), integer(count))
        + b"Q"
    )


def tensor(
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
    *,
    offset: int = 0,
    source: bytes | None = None,
) -> bytes:
    """A float tensor in storage "0", all of it by default."""
    if strides is None:
        strides = [int(np.prod(shape[at + 1 :])) for at in range(len(shape))]
    if source is None:
        source = storage(int(np.prod(shape)))
    return call(
        "torch._utils", "_rebuild_tensor_v2",
        source, integer(offset), numbers(shape), numbers(strides), b"\x89", ORDERED_DICT,
    )  # fmt: skip


def pickle(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


FLOATS = np.arange(6, dtype="<f4")


def torch_file(body: bytes, data: bytes = FLOATS.tobytes(), **members: bytes) -> bytes:
    """A torch.save archive with the pickle `body` and the storage "0" `data`."""
    entries = [Entry("m/data.pkl", pickle(body)), Entry("m/data/0", data)]
    entries += [Entry(f"m/{name}", content) for name, content in members.items()]
    entries.append(Entry("m/version", b"3\n"))
    return zip_file(entries)


def state_file(**tensors: bytes) -> bytes:
    return torch_file(dict_(tensors))


SMALL = state_file(weight=tensor([2, 3]))
STATE = dict_({"weight": tensor([6])})
PAIR = [Entry("m/data.pkl", pickle(STATE)), Entry("m/data/0", FLOATS.tobytes())]


def variant(index: int = 1, **changes) -> bytes:
    """A small model with one member changed."""
    entries = [
        Entry("m/data.pkl", pickle(STATE)),
        Entry("m/data/0", FLOATS.tobytes()),
        Entry("m/byteorder", b"little"),
    ]
    for name, value in changes.items():
        setattr(entries[index], name, value)
    return zip_file(entries)


# other formats


def safetensors_file(header: object, data: bytes = FLOATS.tobytes()) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def legacy_file(body: bytes, keys: bytes, storages: bytes) -> bytes:
    system = dict_({"protocol_version": integer(1001), "little_endian": b"\x88"})
    magic = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
    parts = [magic, b"M\xe9\x03", system, body, keys]
    return b"".join(map(pickle, parts)) + storages


def npy(array: np.ndarray, header: str | None = None, version: int = 1) -> bytes:
    if header is None:
        order = array.flags.f_contiguous and not array.flags.c_contiguous
        fields = {"descr": array.dtype.str, "fortran_order": order, "shape": array.shape}
        header = f"{fields}\n"
    raw = header.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<L", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + array.tobytes("A")


# checks


def memory_promise(size: int) -> int:
    """What SECURITY.md promises of the memory that reading a file of this size takes."""
    return MEMORY_PER_BYTE * size + MEMORY_FLOOR


def read_bytes(folder: Path, content: bytes, **options) -> ModelFile:
    path = folder / "model.bin"
    path.write_bytes(content)
    return read_file(path, **options)


def refuses(folder: Path, content: bytes, match: str, **options) -> None:
    """Require a FormatError that names the file and gives a reason that matches `match`."""
    with pytest.raises(FormatError) as caught:
        read_bytes(folder, content, **options)
    name, _, reason = str(caught.value).partition("model.bin: ")
    assert name.startswith(str(folder))
    assert re.search(match, reason), reason


_READ = """
import sys
from pathlib import Path
from fastrnn.readers import FormatError, read_file

def peak():
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return 1024 * int(line.split()[1])

before = peak()
try:
    read_file(sys.argv[1])
except FormatError as error:
    print(peak() - before, error)
"""


def refused_in_new_process(path: Path) -> tuple[int, str]:
    """Bytes of memory that reading a bad file takes, and why it is refused.

    tracemalloc would make millions of small objects ten times slower.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", _READ, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "the file was read"
    peak, _, reason = done.stdout.partition(" ")
    return int(peak), reason


def survives(folder: Path, content: bytes) -> bool:
    """Whether the file is read; anything but success or FormatError fails the test."""
    path = folder / "model.bin"
    path.write_bytes(content)
    return _is_read(path)


def survivors_of_flips(folder: Path, content: bytes, flips: Iterable[tuple[int, int]]) -> int:
    """Change one byte at a time by a bit mask; return how many of the files are still read."""
    path = folder / "flipped.bin"
    path.write_bytes(content)
    count = 0
    with open(path, "r+b", buffering=0) as file:
        for at, mask in flips:
            for byte in (content[at] ^ mask, content[at]):
                file.seek(at)
                file.write(bytes([byte]))
                count += byte != content[at] and _is_read(path)
    return count


def _is_read(path: Path) -> bool:
    try:
        read_file(path)
    except FormatError:
        return False
    return True
