# SPDX-License-Identifier: MIT
"""ZIP archives that lie: every disagreement within the archive is found and named."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from reader_files import (
    FLOATS,
    PAIR,
    Entry,
    global_,
    pickle,
    refuses,
    survives,
    variant,
    zip_file,
)

from fastrnn.readers import FormatError
from fastrnn.readers.containers.source import source_of_open
from fastrnn.readers.containers.zip_archive import ZipArchive


def both(**values) -> dict[str, dict[str, object]]:
    return {"local": values, "central": values}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"central": {"name": b"m/data/1"}}, "another name in its local header"),
        ({"local": {"name": b"m/data/12"}}, "another name|no local header|differ"),
        ({"central": {"crc": 1}}, "CRC or size differ"),
        ({"local": {"size": 23}}, "CRC or size differ"),
        ({"local": {"method": 8}}, "flags or method differ"),
        ({"local": {"flags": 0}}, "flags or method differ"),
        (both(crc=1), "CRC-32 does not match"),
        (both(flags=0x801), "encrypted or has unknown flags"),
        (both(flags=0x840), "encrypted or has unknown flags"),
        (both(method=12), "compression method 12"),
        (both(method=8), "deflate"),
        (both(stored=23), "its sizes differ"),
        (both(stored=30, size=30), "overlaps|no local header"),
        (both(stored=1 << 31, size=1 << 31), "overlaps|central directory"),
        (both(stored=0xFFFFFFFF, size=0xFFFFFFFF), "ZIP64 extra field is missing"),
        (both(flags=0x808), "data descriptor differs"),
        ({"index": 2, **both(flags=0x808)}, "data descriptor differs"),
        ({"index": 2, **both(stored=7, size=7)}, "reaches into the central directory"),
        ({"index": 2, "name": ""}, "unsafe"),
        ({"central": {"disk": 1}}, "another disk"),
        ({"central": {"offset": 0}}, "another name|overlaps"),
        ({"central": {"offset": 7}}, "overlaps|no local header"),
        ({"central": {"offset": 1 << 31}}, "beyond the end|no local header"),
        ({"name": "m/data.pkl"}, "occurs twice"),
        ({"name": "../evil"}, "unsafe"),
        ({"name": "m/../../evil"}, "unsafe"),
        ({"name": "/m/evil"}, "unsafe"),
        ({"name": "C:/evil"}, "unsafe"),
        ({"name": "m\\evil"}, "unsafe"),
        ({"name": "m/e\0vil"}, "unsafe"),
        ({"name": "m//evil"}, "unsafe"),
        ({"name": ""}, "unsafe"),
        ({"name": "m/" + "x" * 4095}, "unsafe"),
        ({"name": "m/\x7f"}, "unsafe"),
        ({"name": b"m/\xff" + b"x" * 50}, r"not UTF-8: b'm/\\xffx{37}'$"),
        ({"index": 0, **both(method=8, size=(64 << 20) + 1)}, "at most 67108864 bytes, got"),
        ({"name": "m/data/"}, "folder with 24 bytes"),
        ({"name": "m/DATA/0"}, "'m/data/0' is missing"),
        ({"name": "m/data/1"}, "'m/data/0' is missing"),
        ({"data": FLOATS.tobytes()[:-4]}, "has 20 bytes, the pickle says 24"),
        ({"data": FLOATS.tobytes() + b"1234"}, "has 28 bytes, the pickle says 24"),
        ({"index": 0, "gap": b"#!/bin/sh"}, "not a model file"),
        ({"index": 0, "data": pickle(b"}") + b"x"}, "1 bytes after the end of the pickle"),
        ({"index": 2, "data": b"middle"}, "unknown byte order"),
        ({"index": 2, "data": b"l" * 100}, "at most 64 bytes, got 100"),
        ({"index": 2, "name": "m/version", "data": b"999999"}, "unknown archive version"),
        ({"index": 2, "name": "m/version", "data": b"x"}, "unknown archive version"),
        ({"index": 2, "name": "m/version", "data": b"\xc2\xb2"}, "unknown archive version"),
    ],
)  # fmt: skip
def test_bad_zip_members(tmp_path, changes, match):
    refuses(tmp_path, variant(**changes), match)


@pytest.mark.parametrize(
    ("end", "match"),
    [
        ({"disk": 1}, "multi-disk"),
        ({"count": 1}, "after its last entry"),
        ({"count": 3}, "ends within entry 2"),
        ({"count": 65535}, "ends within entry 2"),
        ({"start": 0}, "does not end where"),
        ({"start": 0xFFFFFFFF, "size": 0xFFFFFFFF}, "does not end where"),
        ({"size": 1}, "does not end where"),
        ({"comment": b"hello"}, "not at the end"),
        ({"comment": b"PK\5\6" + bytes(18)}, "does not end where"),
        ({"tail": b"x"}, "not at the end"),
        ({"zip64": True, "locate": 1}, "locator does not point"),
        ({"zip64": True, "count": 1}, "disagree"),
        ({"zip64": True, "disks": 2}, "multi-disk"),
        ({"zip64": True, "start": 0xFFFFFFFF, "size": 1}, "disagree"),
    ],
)
def test_bad_zip_ends(tmp_path, end, match):
    entries = list(PAIR)
    refuses(tmp_path, zip_file(entries, **end), match)


def test_harmless_zip_variants(tmp_path):
    """What other ZIP tools change without changing the meaning."""
    assert survives(tmp_path, variant(method=8))
    assert survives(tmp_path, variant(gap=bytes(64)))
    assert survives(tmp_path, variant(extra=b"FB\4\0ZZZZ"))
    assert survives(tmp_path, variant(extra=bytes(3)))  # less than a field, as zipalign adds
    assert survives(tmp_path, variant(index=2, name="m/data/", data=b""))
    assert survives(tmp_path, variant(index=2, name="m/.data/serialization_id"))
    wide = struct.pack("<HHQQ", 1, 16, 24, 24)
    assert survives(tmp_path, variant(extra=wide, local={"stored": 0xFFFFFFFF, "size": 0xFFFFFFFF}))


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (struct.pack("<HHQQ", 1, 16, 24, 25), "CRC or size differ"),
        (struct.pack("<HHQ", 1, 8, 24), "of 16 bytes, got 8"),
        (struct.pack("<HHQQ", 1, 99, 24, 24), "longer than its header says"),
        (b"", "missing"),
        (struct.pack("<HHQQHHQQ", 1, 16, 24, 24, 1, 16, 24, 24), "ZIP64 extra field occurs twice"),
        (struct.pack("<HHQQHH", 1, 16, 24, 24, 2, 1), "longer than its header says"),
    ],
)
def test_lying_zip64_extra(tmp_path, extra, match):
    local = {"stored": 0xFFFFFFFF, "size": 0xFFFFFFFF}
    refuses(tmp_path, variant(extra=extra, local=local), match)


def test_overlapping_members(tmp_path):
    """Two names for one local record, as in a quoted-overlap bomb."""
    entries = [
        Entry("m/data.pkl", pickle(b"}")),
        Entry("m/data/0", b"x" * 50),
        Entry("m/data/1", b"x" * 50, central={"offset": 70}),
    ]
    refuses(tmp_path, zip_file(entries), "overlaps|no local header")


def test_deflate_bomb_in_code(tmp_path):
    entries = [
        Entry("m/data.pkl", pickle(global_("__torch__", "N") + b")\x81}b")),
        Entry("m/constants.pkl", pickle(b")")),
        Entry("m/code/a.py", b" " * (17 << 20), 8),
    ]
    refuses(tmp_path, zip_file(entries), "expected at most")
    small = [Entry(f"m/code/a{at}.py", b" " * (1 << 20), 8) for at in range(70)]
    refuses(tmp_path, zip_file(entries[:2] + small), "expands")


def test_lying_deflate_stream(tmp_path):
    for size in (1, 5, 7, 60):
        lying = variant(index=2, method=8, **both(size=size))
        refuses(tmp_path, lying, f"declared {size} bytes")
    refuses(tmp_path, variant(data=b"\xff" * 24, **both(method=8)), "bad deflate stream")


def test_many_members(tmp_path):
    entries = list(PAIR)
    entries += [Entry(f"m/data/{at}", b"") for at in range(1, 20000)]
    assert survives(tmp_path, zip_file(entries))


def opened(content: bytes) -> ZipArchive:
    return ZipArchive(source_of_open(io.BytesIO(content)))


def test_signatures_and_lengths_of_headers():
    content = zip_file(PAIR)
    first, second = content.index(b"PK\1\2"), content.rindex(b"PK\1\2")
    local = content.rindex(b"PK\3\4")
    for at, match in (
        (first, r"bad ZIP central directory entry \(byte 0 "),
        (second, rf"bad ZIP central directory entry \(byte {second - first} "),
        (second + 29, r"bad ZIP central directory entry"),  # a name of more than 256 bytes
        (local, f"no local header at byte {local}"),
    ):
        damaged = bytearray(content)
        damaged[at] += 1
        with pytest.raises(FormatError, match=match):
            opened(bytes(damaged))
    with pytest.raises(FormatError, match=r"^1 bytes of other data precede"):
        opened(zip_file([Entry("m/a", b"", gap=b"x")]))


def test_every_byte_of_the_end_records_counts():
    content = zip_file(PAIR, zip64=True)
    assert list(opened(content).members) == ["m/data.pkl", "m/data/0"]
    versions = range(12, 16)  # of the ZIP64 record, which say nothing of the content
    for at in set(range(56 + 20 + 22)) - set(versions):
        damaged = bytearray(content)
        damaged[at - 98] ^= 2
        with pytest.raises(FormatError):
            opened(bytes(damaged))


def test_zip64_end_records():
    unknown = {"count": 0xFFFF, "size": 0xFFFFFFFF, "start": 0xFFFFFFFF}
    for end in ({}, unknown, *({key: value} for key, value in unknown.items())):
        assert len(opened(zip_file(PAIR, zip64=True, **end)).members) == 2
    for key, value in unknown.items():
        with pytest.raises(FormatError, match="disagree"):
            opened(zip_file(PAIR, zip64=True, **{key: value - 1}))
    assert opened(zip_file([])).members == opened(zip_file([], zip64=True)).members == {}
    with pytest.raises(FormatError, match="at least 22 bytes, got 21"):
        opened(zip_file([])[1:])


def test_names_that_are_safe():
    for name in ("m/a b", "m/a:b", "m/...", "m/" + "x" * 4094, "\u00e9"):
        (member,) = opened(zip_file([Entry(name, b"")])).members
        assert member == name


def test_sizes_after_the_data():
    """A writer that cannot seek puts 0 into the local header and the true sizes after the data."""
    crc = zlib.crc32(FLOATS.tobytes())
    forms = [sign + struct.pack(f"<L{kind}{kind}", crc, 24, 24)
             for sign in (b"PK\7\x08", b"") for kind in "LQ"]  # fmt: skip

    def file(behind: bytes, method: int = 0, flags: int = 0x808, **local) -> bytes:
        late = {"crc": 0, "stored": 0, "size": 0} | local
        return zip_file([
            Entry("m/a", FLOATS.tobytes(), method, flags, local=late), Entry("m/b", b"", gap=behind)
        ])  # fmt: skip

    for behind in forms:
        archive = opened(file(behind))
        assert archive.read("m/a", 24) == FLOATS.tobytes()
        for at in range(len(behind)):
            damaged = bytearray(behind)
            damaged[at] ^= 1
            with pytest.raises(FormatError, match="'m/a': the data descriptor differs"):
                opened(file(bytes(damaged)))
    for other in ({"crc": 1}, {"stored": 1}, {"size": 1}):
        with pytest.raises(FormatError, match="CRC or size differ"):
            opened(file(forms[0], **other))
    with pytest.raises(FormatError, match="CRC or size differ"):
        opened(file(forms[0], flags=0x800))


def test_sizes_after_the_data_of_a_large_member():
    body = zlib.compress(b"", wbits=-15)
    late = {"crc": 0, "stored": 0, "size": 0}
    for size, form in (((1 << 32) - 1, "<LLL"), (1 << 32, "<LQQ")):
        wide = {"size": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, size)}
        large = Entry("m/a", b"", 8, 0x808, local=late, central=wide)
        behind = Entry("m/b", b"", gap=struct.pack(form, 0, len(body), size))
        assert opened(zip_file([large, behind])).size("m/a") == size


def test_zip64_extra_of_the_directory():
    """The ZIP64 field of the central directory holds those values alone that do not fit."""
    content = FLOATS.tobytes()
    for missing in (("size",), ("stored",), ("offset",), ("size", "stored", "offset")):
        values = {"size": 24, "stored": 24, "offset": 0}
        extra = struct.pack("<HH", 1, 8 * len(missing))
        extra += b"".join(struct.pack("<Q", values[name]) for name in missing)
        central = dict.fromkeys(missing, 0xFFFFFFFF) | {"extra": b"\2\0\0\0" + extra}
        archive = opened(zip_file([Entry("m/a", content, central=central)]))
        assert archive.read("m/a", 24) == content


def test_deflated_data_of_whole_chunks():
    chunk = 1 << 18  # zlib keeps a few bytes of output back that need no more input
    for size in (0, 1, chunk - 1, chunk, chunk + 1, chunk + 21):
        content = bytes(size)
        archive = opened(zip_file([Entry("m/a", content, 8)]))
        assert archive.read("m/a", size) == content
    late_end = b"\0\1\0\xfe\xffx" + b"\0\0\0\xff\xff" * (chunk // 4) + b"\1\0\0\xff\xff"
    crc = zlib.crc32(b"x")  # one byte, and empty blocks behind it
    entry = Entry("m/a", late_end, **both(method=8, size=1, crc=crc))
    assert opened(zip_file([entry])).read("m/a", 1) == b"x"
    with pytest.raises(FormatError, match="expected at most 0 bytes, got 1"):
        opened(zip_file([Entry("m/a", b"x")])).read("m/a", 0)


def test_memory_of_an_archive():
    content = zip_file(PAIR)
    directory = len(content) - content.index(b"PK\1\2") - 22
    headers = sum(30 + len(entry.name) for entry in PAIR)
    source = source_of_open(io.BytesIO(content))
    archive = ZipArchive(source)
    read = 22 + 20 + directory + headers
    opening = read + directory + 2 * 1024  # the members as objects
    assert source.budget.in_use == opening
    archive.read("m/data/0", 24)
    assert source.budget.in_use == opening + 24 + 24  # the array and the bytes of it
    deflated = source_of_open(io.BytesIO(zip_file([Entry("m/a", bytes(5000), 8)])))
    archive = ZipArchive(deflated)
    before = deflated.budget.in_use
    archive.read_array("m/a")
    assert deflated.budget.in_use - before > 5000  # what it becomes, beside what it was
