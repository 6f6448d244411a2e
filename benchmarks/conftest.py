# SPDX-License-Identifier: MIT
"""Set-up of `pytest benchmarks`: what may be skipped, thread counts, baselines without places."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrnn.runtime.machine import cpu_count

from .measuring import machine_limits as machine

HERE = Path(__file__).parent
BASELINES = HERE / "baselines"
HAS_PLUGIN = importlib.util.find_spec("pytest_benchmark") is not None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The speed tests need pytest-benchmark."""
    speed = collection_path.parent.name == "suites" and collection_path.name.startswith(
        "test_speed_"
    )
    return True if speed and not HAS_PLUGIN else None


def pytest_report_header() -> str | None:
    return None if HAS_PLUGIN else "benchmarks: no speed tests: they need pytest-benchmark"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """None: two tests at a time would disturb each other's times."""
    return 0


@pytest.fixture(params=["one", "all"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run with one thread, then with all CPUs this process may use."""
    import fastrnn

    count = 1 if request.param == "one" else cpu_count()
    if request.param == "all" and count == 1:
        pytest.skip("one CPU")
    with fastrnn.num_threads(count):
        yield count


# --- Baselines: `--benchmark-save` and `--benchmark-compare` mean the folder baselines ---


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest-benchmark looks at its options."""
    if getattr(config.option, "benchmark_storage", None) == "file://./.benchmarks":
        config.option.benchmark_storage = f"file://{BASELINES}"


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Only what a speed depends on: no host, no paths."""
    facts = machine.describe()
    machine_info.clear()
    machine_info.update({name: facts[name] for name in ("cpu", "cpus", "caches", "system")})


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """A baseline is known by its name; git knows when it came."""
    output_json["commit_info"] = {}
    output_json.pop("datetime", None)
    for benchmark in output_json["benchmarks"]:
        # The name says it all, without Python objects.
        benchmark.pop("params", None)
        benchmark.pop("options", None)
