# SPDX-License-Identifier: MIT
"""The C tests of src_c/tests, by the Makefile: gcc and clang, sanitizers, embedded, AVX-512."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(compiler: str, *arguments: str) -> str:
    """Run make; skip where a tool is missing. All that it prints."""
    for tool in ("make", compiler):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    done = subprocess.run(
        ["make", "-j2", f"CC={compiler}", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def has_header(name: str) -> bool:
    """Whether gcc finds a header."""
    command = ["gcc", "-E", "-", "-o", "/dev/null"]
    done = subprocess.run(command, input=f"#include <{name}>\n", text=True, capture_output=True)
    return done.returncode == 0


def test_with_gcc() -> None:
    assert "test_forward: ok" in make("gcc", "test", "STRIDE=5")


def test_with_clang() -> None:
    # Unoptimized: clang takes half a minute for these files otherwise.
    output = make("clang", "test", "OUT=build/c/clang-O0", "OPT=-O0", "STRIDE=20", "SAMPLE=49999")
    assert "test_forward: ok" in output


def test_with_sanitizers() -> None:
    assert "test_forward: ok" in make("gcc", "sanitize")


def test_threads_with_sanitizer() -> None:
    assert "test_plans: ok" in make("gcc", "threads")


def test_avx512_emulated() -> None:
    if shutil.which("gcc") and not has_header("simde/x86/avx512.h"):
        pytest.skip("AVX-512 emulation: libsimde-dev is not installed")
    output = make("gcc", "test-avx512", "STRIDE=7")
    assert "test_forward: ok" in output
    assert "avx512 tanh" in output


def test_embedded() -> None:
    output = make("gcc", "embedded", "OUT=build/c/gcc-embedded", "OPT=-O1")
    assert "no error; h after 20 steps: -0.0540 0.0605" in output


@pytest.mark.long
def test_with_thread_sanitizer() -> None:
    assert "test_forward: ok" in make("gcc", "tsan")


@pytest.mark.long
def test_all_floats() -> None:
    assert "test_activations: ok" in make("gcc", "ulp")
