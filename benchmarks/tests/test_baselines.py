# SPDX-License-Identifier: MIT
"""Saved baselines can be compared with, and contain no place, person or date."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from .. import ROOT

pytest.importorskip("pytest_benchmark")


def run_speed_tests(*options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "test_call and GRU"]
    short = ["--benchmark-max-time=0.01", "--benchmark-min-rounds=2"]
    done = subprocess.run(
        [*command, "benchmarks/suites/test_speed_calls.py", *short, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_baseline_without_places(tmp_path: Path) -> None:
    storage = f"--benchmark-storage=file://{tmp_path}"
    run_speed_tests(storage, "--benchmark-save=first")
    (path,) = tmp_path.rglob("0001_first.json")
    text = path.read_text()
    saved = json.loads(text)
    assert set(saved["machine_info"]) == {"cpu", "cpus", "caches", "system"}
    assert saved["commit_info"] == {}
    assert "datetime" not in saved
    assert str(ROOT) not in text
    assert f'"{platform.node()}"' not in text
    assert "(0001_first)" in run_speed_tests(storage, "--benchmark-compare")


def test_baselines_of_the_repository() -> None:
    for path in (ROOT / "benchmarks/baselines").rglob("*.json"):
        saved = json.loads(path.read_text())
        assert set(saved["machine_info"]) == {"cpu", "cpus", "caches", "system"}, path
        assert "datetime" not in saved, path
