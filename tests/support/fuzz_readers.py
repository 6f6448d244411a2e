# SPDX-License-Identifier: MIT
"""Coverage-guided fuzzing of the readers: `make fuzz-readers`.

Files of a corpus are taken apart into what their format consists of (members of archives, opcodes
of pickles, values of JSON, fields of protobuf, lines of code, words of HDF5), changed there, and
put together again. A file that takes a new branch of a reader, from one line to another, is kept
and changed further.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from hostile_files import HOSTILE, varint
from reader_files import Entry, zip_file

import fastrnn
from fastrnn.readers import FormatError, describe_file, read_file

READERS = str(Path(fastrnn.readers.__file__).parent)
CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"
NUMBERS = [
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 63),
    (1 << 64) - 1,
]
TEXT = "x y self torch lstm gru cat ( ) [ ] . , = : if else: return CONSTANTS c0 0 -1 1e9 None"
WORDS = TEXT.split()


def check(path: Path) -> None:
    """Read a file in every way: only FormatError may come, and twice the same arrays."""
    try:
        first, second = (read_file(path, check_crc=False) for _ in range(2))
    except FormatError:
        pass
    else:
        assert first.arrays.keys() == second.arrays.keys()
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(array, second.arrays[name])
    try:
        for layer in describe_file(path, check_crc=False).layers:
            repr((layer.name, layer.kind, layer.options))
    except FormatError as error:
        str(error)


# --- Changing what a format consists of


def change_bytes(rng: random.Random, raw: bytes) -> bytes:
    """One to four places: other bytes, numbers, a piece twice or left out."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        number = rng.choice(NUMBERS)
        pick = rng.randrange(5)
        if pick == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif pick == 1:
            data[at : at + 4] = struct.pack("<L", number & 0xFFFFFFFF)
        elif pick == 2:
            data[at : at + 8] = struct.pack("<Q", number)
        elif pick == 3:
            del data[at : at + rng.randint(1, 16)]
        else:
            begin = rng.randrange(len(data) + 1)
            data[at:at] = data[begin : begin + rng.randint(1, 32)]
    return bytes(data)


def change_list(rng: random.Random, parts: list, spare: list) -> list:
    """A list with parts left out, twice, in other places, or from the spare ones."""
    parts = list(parts)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(parts) + 1)
        pick = rng.randrange(4)
        if pick == 0:
            del parts[at : at + rng.randint(1, 3)]
        elif pick == 1 and parts:
            parts.insert(at, rng.choice(parts))
        elif pick == 2 and spare:
            parts.insert(at, rng.choice(spare))
        elif parts:
            other = rng.randrange(len(parts))
            parts[other], parts[at % len(parts)] = parts[at % len(parts)], parts[other]
    return parts


OPCODES = [b"(", b")", b"]", b"}", b"N", b"\x88", b"K\1", b"q\0", b"h\0", b"h\1", b"t", b"\x85",
           b"R", b"b", b"\x81", b"Q", b"s", b"u", b"a", b"e", b"\x8a\1\xff", b"U\1w"]  # fmt: skip


def change_pickle(rng: random.Random, raw: bytes) -> bytes:
    """Opcodes, and what follows the last pickle as it is."""
    try:
        places = [at for _, _, at in pickletools.genops(raw)]
    except ValueError:
        return change_bytes(rng, raw)
    ends = [*places[1:], raw.find(b".", places[-1]) + 1]
    codes = [raw[a:b] for a, b in zip(places, ends, strict=True)]
    at = rng.randrange(len(codes))
    if rng.random() < 0.4:
        codes[at] = codes[at][:1] + change_bytes(rng, codes[at][1:])
    else:
        codes[1:-1] = change_list(rng, codes[1:-1], OPCODES)
    return b"".join(codes) + raw[ends[-1] :]


def change_json(rng: random.Random, raw: bytes) -> bytes:
    """One value anywhere in the tree."""
    try:
        tree = json.loads(raw)
    except ValueError:
        return change_bytes(rng, raw)
    places: list[tuple[object, object]] = []
    pending = [tree]
    while pending:
        value = pending.pop()
        keys: list = list(value) if isinstance(value, dict) else []
        keys = list(range(len(value))) if isinstance(value, list) else keys
        places += [(value, key) for key in keys]
        pending += [value[key] for key in keys]
    for _ in range(rng.randint(1, 3)):
        if not places:
            break
        owner, key = rng.choice(places)
        other, name = rng.choice(places)
        try:
            new = [None, True, -1, 1 << 40, 0.5, "", [], {}, other[name]][rng.randrange(9)]
            owner[key] = json.loads(json.dumps(new))
        except (KeyError, IndexError, ValueError, RecursionError):
            continue
        if isinstance(owner, dict) and rng.random() < 0.3:
            owner.pop(key, None)
    return json.dumps(tree).encode()


def change_text(rng: random.Random, raw: bytes) -> bytes:
    """Lines, or words of a line."""
    lines = raw.decode("utf-8", "replace").split("\n")
    if rng.random() < 0.4:
        lines = change_list(rng, lines, [])
    else:
        at = rng.randrange(len(lines))
        indent = len(lines[at]) - len(lines[at].lstrip())
        words = lines[at].replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()
        lines[at] = " " * indent + " ".join(change_list(rng, words, WORDS))
    return "\n".join(lines).encode("utf-8", "replace")


def split_fields(raw: bytes) -> list[tuple[int, int, bytes]] | None:
    """Number, wire type and content of protobuf fields; None if they are none."""
    found, at = [], 0
    try:
        while at < len(raw):
            tag, at = read_varint(raw, at)
            begin, kind = at, tag & 7
            if kind == 0:
                _, at = read_varint(raw, at)
            elif kind == 2:
                size, begin = read_varint(raw, at)
                at = begin + size
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return None
            if at > len(raw) or not 0 < tag >> 3 < 100:
                return None
            found.append((tag >> 3, kind, raw[begin:at]))
    except IndexError:
        return None
    return found


def read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (raw[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if raw[at - 1] < 128:
            return value, at


def change_protobuf(rng: random.Random, raw: bytes) -> bytes:
    """Fields of the message or of one inside it."""
    parts = split_fields(raw)
    if not parts or rng.random() < 0.05:
        return change_bytes(rng, raw)
    at = rng.randrange(len(parts))
    number, kind, content = parts[at]
    if rng.random() < 0.7:
        if kind == 2:
            content = change_protobuf(rng, content)
        elif kind == 0:
            content = varint(rng.choice(NUMBERS))
        parts[at] = (number if rng.random() < 0.9 else rng.randrange(1, 30), kind, content)
    else:
        parts = change_list(rng, parts, [])
    sized = [(varint(len(body)) if kind == 2 else b"") + body for _, kind, body in parts]
    return b"".join(
        varint(number << 3 | kind) + body
        for (number, kind, _), body in zip(parts, sized, strict=True)
    )


def change_words(rng: random.Random, raw: bytes) -> bytes:
    """Aligned words of 2 or 8 bytes, as of HDF5: from another place, or a number."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        size = rng.choice((2, 8))
        at, other = (rng.randrange(max(1, len(data) // size)) * size for _ in range(2))
        word = (rng.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, "little")
        data[at : at + size] = bytes(data[other : other + size]) if rng.random() < 0.6 else word
    return bytes(data)


def change_zip(rng: random.Random, raw: bytes) -> bytes:
    """Members and their content; the archive itself stays valid."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            entries = [Entry(i.filename, file.read(i), i.compress_type) for i in file.infolist()]
    except Exception:  # of zipfile, which raises many
        return change_bytes(rng, raw)
    if rng.random() < 0.1:
        entries = change_list(rng, entries, [])
    elif entries:
        entry = rng.choice(entries)
        entry.data = change(rng, entry.data, str(entry.name))
    return zip_file(entries)


def change_safetensors(rng: random.Random, raw: bytes) -> bytes:
    length = int.from_bytes(raw[:8], "little")
    header = change_json(rng, raw[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + raw[8 + length :]


def change(rng: random.Random, raw: bytes, name: str = "") -> bytes:
    """A file or member changed by what it is."""
    if rng.random() < 0.1:
        return change_bytes(rng, raw)
    if raw.startswith(b"PK\3\4"):
        return change_zip(rng, raw)
    if raw.startswith(b"\x80\x02"):
        return change_pickle(rng, raw)
    if raw.startswith(b"\x89HDF"):
        return change_words(rng, raw)
    if raw[:1] in (b"{", b"["):
        return change_json(rng, raw)
    if raw[8:9] == b"{":
        return change_safetensors(rng, raw)
    if name.endswith(".py"):
        return change_text(rng, raw)
    return change_protobuf(rng, raw) if raw[:1] == b"\x08" else change_bytes(rng, raw)


# --- The loop


def seeds() -> list[bytes]:
    """The files to begin with."""
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())] + [
        make(3) for make in HOSTILE.values()
    ]


def branches_of(path: Path) -> set[tuple[object, int, int]]:
    """The pairs of lines of the readers that run one after the other in a function."""
    found: set[tuple[object, int, int]] = set()

    def enter(frame, event, argument):
        if not frame.f_code.co_filename.startswith(READERS):
            return None
        last = 0

        def trace(frame, event, argument):
            nonlocal last
            found.add((frame.f_code, last, frame.f_lineno))
            last = frame.f_lineno
            return trace

        return trace

    sys.settrace(enter)
    try:
        check(path)
    finally:
        sys.settrace(None)
    return found


def fuzz(seconds: float, seed: int, out: Path) -> None:
    """Change files for so long; those with findings are written to `out`."""
    rng = random.Random(seed)
    path = Path(tempfile.mkdtemp()) / "m"
    shutil.copytree(CORPUS, path.parent, dirs_exist_ok=True)  # with the shards of the index
    corpus, seen = [], set()
    runs = findings = 0
    pending = seeds()
    end, shown = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < end:
        content = pending.pop() if pending else change(rng, rng.choice(corpus))
        if not pending and rng.random() < 0.3:
            content = change(rng, content)
        path.write_bytes(content)
        runs += 1
        begin = time.process_time()
        try:
            branches = branches_of(path)
        except Exception as error:
            findings += 1
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{type(error).__name__}_{seed}_{runs}").write_bytes(content)
            print(f"{type(error).__name__}: {error!s:.200}", flush=True)
            continue
        if time.process_time() - begin > 30:
            print(
                f"{time.process_time() - begin:.0f} s of CPU for {len(content)} bytes", flush=True
            )
            (out / f"slow_{seed}_{runs}").write_bytes(content)
        if branches - seen or len(corpus) < len(HOSTILE):
            seen |= branches
            corpus.append(content)
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(
                f"{runs} files, {len(corpus)} kept, {len(seen)} branches, {findings} findings",
                flush=True,
            )
    print(f"{runs} files, {len(corpus)} kept, {len(seen)} branches, {findings} findings")


if __name__ == "__main__":
    fuzz(float(sys.argv[1]), int(sys.argv[2]), Path("build/fuzz"))
