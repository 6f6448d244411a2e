# SPDX-License-Identifier: MIT
"""Compilers keep the sums of the inner loops in registers; otherwise these are much slower."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-Isrc_c/include"]
LONGEST_LOOP = 60  # instructions
FULL_TILE = 12  # fused multiply-adds, one for each accumulator that fits in the registers of AVX2

Instruction = tuple[int, str, str]  # address, name, operands


def instructions(compiler: str, folder: Path) -> list[Instruction]:
    """The instructions of the compiled AVX2 kernels."""
    built = folder / "avx2.o"
    command = [compiler, *FLAGS, "-c", "src_c/isa/avx2.c", "-o", built]
    subprocess.run(command, cwd=ROOT, check=True)
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", built], check=True, capture_output=True, text=True
    ).stdout
    lines = re.findall(r"^\s+([0-9a-f]+):\s+(\S+)\s*(.*)$", listing, re.MULTILINE)
    return [(int(address, 16), name, operands) for address, name, operands in lines]


def product_loops(code: list[Instruction]) -> list[list[Instruction]]:
    """The loops that broadcast values of rows, not constants, and multiply them.

    A loop ends with a short jump backwards.
    """
    place = {address: i for i, (address, _, _) in enumerate(code)}
    loops = []
    for i, (address, name, operands) in enumerate(code):
        target = re.match(r"[0-9a-f]+", operands)
        if not name.startswith("j") or name == "jmp" or not target:
            continue
        start = place.get(int(target[0], 16), i)
        body = code[start : i + 1]
        inner = int(target[0], 16) < address and i - start < LONGEST_LOOP
        rows = any(name == "vbroadcastss" and "rip" not in where for _, name, where in body)
        if inner and rows and any(name.startswith("vfmadd") for _, name, _ in body):
            loops.append(body)
    return loops


def multiplications(body: list[Instruction]) -> int:
    return sum(name.startswith("vfmadd") for _, name, _ in body)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="needs an x86-64 machine")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sums_stay_in_registers(compiler, tmp_path):
    if not shutil.which(compiler) or not shutil.which("objdump"):
        pytest.skip(f"needs {compiler} and objdump")
    loops = product_loops(instructions(compiler, tmp_path))
    full = [body for body in loops if multiplications(body) == FULL_TILE]
    assert len(full) >= 3  # of RNN, GRU and LSTM at least
    assert max(map(multiplications, loops)) == FULL_TILE
    for body in full:
        stores = [where for _, _, where in body if re.search(r"ymm\d+,.*\(", where)]
        assert len(stores) <= 1, f"sums go through memory: {body}"
