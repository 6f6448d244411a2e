# SPDX-License-Identifier: MIT
"""make for the tests: one at a time in each folder, since test processes run in parallel."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/c"

# A plain build. -O2 takes twice the time: `.ci/run --long` uses it, and the package has -O3.
PLAIN = "gcc-O1"

# The output of `make embedded`: the core without position independence or operating system.
EMBEDDED = "gcc-embedded"


def make(compiler: str, folder: str, *arguments: str) -> str:
    """Run make with build/c/`folder` for its output and return what it prints.

    Skips the test if make or the compiler is missing.
    """
    for tool in ("make", compiler):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    command = ["make", "-j2", f"CC={compiler}", f"OUT=build/c/{folder}", *arguments]
    with locked(folder):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def make_plain(*targets: str) -> str:
    """Make targets in build/c/gcc-O1 and return what make prints."""
    return make("gcc", PLAIN, "OPT=-O1", *targets)


def make_embedded(*targets: str) -> None:
    """Make targets in build/c/gcc-embedded, with the same flags for all tests."""
    make("gcc", EMBEDDED, "OPT=-O1", *(f"build/c/{EMBEDDED}/{target}" for target in targets))


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Wait until no other process is in a block of this name."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with open(BUILT / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
