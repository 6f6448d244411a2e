# SPDX-License-Identifier: MIT
"""The C tests of src_c/tests, by the Makefile: gcc and clang, sanitizers, embedded, AVX-512."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from c_builds import EMBEDDED, make, make_plain

import fastrnn


def has_header(name: str) -> bool:
    """Whether gcc finds a header."""
    command = ["gcc", "-E", "-", "-o", "/dev/null"]
    done = subprocess.run(command, input=f"#include <{name}>\n", text=True, capture_output=True)
    return done.returncode == 0


def test_with_sanitizers() -> None:
    fewer = ["SPARSE=61", "SPARSE_PLANS=151"]
    assert "test_forward: ok" in make("gcc", "gcc-sanitize", "sanitize", *fewer)


def test_threads_with_sanitizer() -> None:
    assert "test_plans: ok" in make("gcc", "gcc-tsan", "threads")


def test_with_gcc() -> None:
    assert "test_forward: ok" in make_plain("test", "STRIDE=5", "PLANS=11")


def test_with_clang() -> None:
    # Not optimized: at -O2 clang needs half a minute for these files.
    options = ["OPT=-O0", "STRIDE=31", "PLANS=101", "SAMPLE=49999"]
    assert "test_forward: ok" in make("clang", "clang-O0", "test", *options)


@pytest.mark.skipif("avx512" in fastrnn.isas(), reason="avx512 runs here without an emulation")
def test_avx512_emulated() -> None:
    """`.ci/run --long` runs it on every machine."""
    if shutil.which("gcc") and not has_header("simde/x86/avx512.h"):
        pytest.skip("AVX-512 emulation: libsimde-dev is not installed")
    output = make("gcc", "gcc-simde", "test-avx512", "STRIDE=7")
    assert "test_forward: ok" in output
    assert "avx512 tanh" in output


def test_embedded() -> None:
    output = make("gcc", EMBEDDED, "embedded", "OPT=-O1")
    assert "no error; h after 20 steps: -0.0540 0.0605" in output


@pytest.mark.long
def test_with_thread_sanitizer() -> None:
    assert "test_forward: ok" in make("gcc", "gcc-tsan", "tsan")


@pytest.mark.long
def test_all_floats() -> None:
    assert "test_activations: ok" in make("gcc", "gcc", "ulp")
