# SPDX-License-Identifier: MIT
"""Without memory, reading and saving raise MemoryError, whichever allocation fails."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fuzz_readers import CORPUS


def run(density: int) -> str:
    pytest.importorskip("_testcapi")
    program = str(CORPUS.parents[1] / "support" / "failing_allocations.py")
    paths = map(str, sorted(CORPUS.iterdir()))
    done = subprocess.run(
        [sys.executable, program, str(density), *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_allocation_that_fails():
    assert run(2) == ""


@pytest.mark.long
def test_allocations_that_fail():
    assert run(60) == ""
