# SPDX-License-Identifier: MIT
"""ZIP archives that lie: every disagreement within the archive is found and named."""

from __future__ import annotations

import struct

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
        ({"name": "m/" + "x" * 5000}, "unsafe"),
        ({"name": b"m/\xff"}, "not UTF-8"),
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
