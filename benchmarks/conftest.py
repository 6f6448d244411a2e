# SPDX-License-Identifier: MIT
"""Set-up of `pytest benchmarks`: skips what needs a library that is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The speed tests need pytest-benchmark and fastrnn's compiled core."""
    speed = collection_path.parent == HERE and collection_path.name.startswith("test_speed_")
    return True if speed and not _can_measure() else None


def pytest_report_header() -> str | None:
    if _can_measure():
        return None
    return "benchmarks: no speed tests: they need pytest-benchmark and fastrnn's compiled core"


@pytest.fixture(params=["one", "all"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run with one thread, then with all CPUs this process may use."""
    import fastrnn

    from .machine import available_cpus

    count = 1 if request.param == "one" else available_cpus()
    if request.param == "all" and count == 1:
        pytest.skip("one CPU")
    with fastrnn.num_threads(count):
        yield count


def _can_measure() -> bool:
    if importlib.util.find_spec("pytest_benchmark") is None:
        return False
    try:
        import fastrnn

        return hasattr(fastrnn, "LSTM")
    except ImportError:
        return False
