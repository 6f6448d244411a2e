# SPDX-License-Identifier: MIT
"""The reader of .frnn files in C and the one in Python accept the same files.

Valid files are changed where the format has numbers; their checksums are not looked at.
"""

from __future__ import annotations

import ctypes
import random
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from model_files import EVERY_KIND, NESTED, make, sample, written

from fastrnn.readers import FormatError
from fastrnn.readers.containers.budget import Budget
from fastrnn.readers.description import Description
from fastrnn.readers.frnn.frnn_kinds import KINDS
from fastrnn.readers.frnn.frnn_reader import _check_head, _Reader

ROOT = Path(__file__).resolve().parents[2]
OK, TOO_LARGE, UNSUPPORTED = 0, -3, -7  # of frnn_status
SMALL = [*range(9), 255, 256, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
LARGE = [*SMALL, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 2, 64, 1024, 1025]
NAME_BYTES = b"\x00\x01a\x80\x9f\xa0\xc2\xe0\xed\xf0\xf4\xff"
NUMBERS = [0.0, -0.0, 0.5, 1.0, 2.0, -1.0, float("nan"), float("inf"), 1e-300]


@pytest.fixture(scope="module")
def c_status(tmp_path_factory):
    """The status of frnn_model_size, which checks a whole file."""
    library = tmp_path_factory.mktemp("agree") / "library.so"
    sources = [*sorted(ROOT.glob("src_c/core/*/*.c")), ROOT / "src_c/isa/scalar.c"]
    flags = ["-std=c11", "-O0", "-shared", "-fPIC", f"-I{ROOT / 'src_c/include'}"]
    subprocess.run(["cc", *flags, *map(str, sources), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    isa = ctypes.byref(ctypes.c_char.in_dll(loaded, "frnn_isa_scalar"))

    def status(data: bytes) -> int:
        memory = np.frombuffer(data, np.uint8).copy()
        file, needed = ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t()
        found = loaded.frnn_model_size(file, ctypes.c_size_t(len(data)), isa, ctypes.byref(needed))
        return int(found)

    return status


class _InMemory:
    def __init__(self, size: int) -> None:
        self.budget = Budget(size)


def refusal_in_python(data: bytes) -> str:
    """Why Python refuses a file, or nothing."""
    try:
        _check_head(data[:64], len(data))
        _Reader(np.frombuffer(data, np.uint8), _InMemory(len(data)), False).read()
    except FormatError as error:
        return str(error)
    return ""


def changed(data: bytearray, rng: random.Random) -> bytes:
    """The file with another bit, number, record or byte of a name."""
    records, names = struct.unpack_from("<II", data, 24)
    records = max(1, min(records, len(data) // 64 - 1))
    at, other = (64 * rng.randrange(1, records + 1) for _ in range(2))
    kind = rng.randrange(8)
    if kind == 0:
        data[rng.randrange(64 * (records + 1))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        struct.pack_into("<H", data, at + 2 * rng.randrange(32), rng.choice(SMALL))
    elif kind == 2:
        struct.pack_into("<I", data, at + 4 * rng.randrange(16), rng.choice(LARGE))
    elif kind == 3:
        struct.pack_into("<d", data, at + 48 + 8 * rng.randrange(2), rng.choice(NUMBERS))
    elif kind == 4:
        data[at : at + 64], data[other : other + 64] = data[other : other + 64], data[at : at + 64]
    elif kind == 5:
        data[at + 4 : at + 12] = data[other + 4 : other + 12]  # the name of a layer
    elif kind == 6:
        place = 64 * (records + 1) + rng.randrange(max(min(names, len(data)), 1))
        data[min(place, len(data) - 1)] = rng.choice(
            b"\x00\x01a\x80\x9f\xa0\xc2\xe0\xed\xf0\xf4\xff"
        )
    else:
        struct.pack_into("<H", data, at, rng.choice([0, 1, 2, 3, 0x8000, 0xFFFF]))
    return bytes(data)


def compare(c_status, count: int, seed: int) -> tuple[int, int]:
    """The files that both accept and refuse."""
    rng, accepted, refused = random.Random(seed), 0, 0
    files = [written(Description("", (layer,))) for layer in EVERY_KIND]
    several = tuple(EVERY_KIND[i] for i in range(0, len(EVERY_KIND), 4))
    files += [written(Description("", layers)) for layers in (sample().layers, several, NESTED)] * 8
    for _ in range(count):
        data = bytes(rng.choice(files))
        for _ in range(rng.choice([1, 1, 2, 3])):
            data = changed(bytearray(data), rng)
        why, status = refusal_in_python(data), c_status(data)
        if status == TOO_LARGE:  # for C alone
            continue
        assert (why == "") == (status in (OK, UNSUPPORTED)), (why, status, data.hex())
        accepted, refused = accepted + (why == ""), refused + (why != "")
    return accepted, refused


def test_both_readers_accept_the_same(c_status) -> None:
    accepted, refused = compare(c_status, 3000, seed=0)
    assert accepted > 200
    assert refused > 1000


@pytest.mark.long
def test_both_readers_accept_the_same_of_many(c_status) -> None:
    compare(c_status, 300_000, seed=1)


def test_names(c_status) -> None:
    """Every sequence of up to three bytes around the borders of UTF-8."""
    borders = bytes([1, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
                     0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF])  # fmt: skip
    data = bytearray(written(Description("", (EVERY_KIND[-1],))))
    start, length = 128, struct.unpack_from("<I", data, 64 + 8)[0]
    for first in borders:
        for second in borders:
            for third in borders:
                data[start : start + 4] = bytes([first, second, third, 0x80])
                data[start + 4 : start + length] = b"a" * (length - 4)
                accepted = c_status(bytes(data)) in (OK, UNSUPPORTED)
                assert (refusal_in_python(bytes(data)) == "") == accepted


def test_layers_that_hold_layers(c_status) -> None:
    """Residuals at any places, holding numbers of layers that fit or do not, some too deep."""
    rng, count, accepted = random.Random(2), 12, 0
    flat = bytearray(written(Description("", tuple(make(f"t{i}", "Tanh") for i in range(count)))))
    for _ in range(2000):
        data, often = bytearray(flat), rng.random()
        for at in range(64, 64 * (1 + count), 64):
            if rng.random() < often:
                struct.pack_into("<H", data, at + 2, KINDS["Residual"].number)
                struct.pack_into("<i", data, at + 16, rng.choice([1, 1, 1, 2, 3, -1, 2**31 - 1]))
        why, status = refusal_in_python(bytes(data)), c_status(bytes(data))
        assert (why == "") == (status in (OK, UNSUPPORTED)), (why, status, data.hex())
        accepted += why == ""
    assert 100 < accepted < 1900
