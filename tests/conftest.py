# SPDX-License-Identifier: MIT
"""Options of the test run, in this process and in the workers of pytest-xdist.

Every test that takes `isa` runs once for each kernel table that this machine can run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_WORKERS = 8  # each takes about 1 GB for torch, Keras and ONNX Runtime

WORKER = "PYTEST_XDIST_WORKER" in os.environ
if WORKER:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's: the workers share the CPUs

# `python -m pytest` puts the checkout first on the path. If the checkout has no compiled core, the
# tests use the installed package.
if not any((ROOT / "fastrnn" / f"_core{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]

import fastrnn  # noqa: E402
from fastrnn.runtime.machine import cpu_count  # noqa: E402

if WORKER:
    fastrnn.get_num_threads()  # reads the environment, once: fastrnn keeps its usual number
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's

ISAS_RUN: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-long", action="store_true", help="also run the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; runs only with --run-long")


# --- Workers of pytest-xdist ---


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker for each CPU that this process may use; none for a single file or test."""
    count = min(cpu_count(), MOST_WORKERS)
    folders = all(Path(argument).is_dir() for argument in config.args)
    return count if folders and count > 1 else 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    if WORKER:
        session.config.workeroutput["isas_run"] = sorted(ISAS_RUN)  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    ISAS_RUN.update(getattr(node, "workeroutput", {}).get("isas_run", ()))


# --- Instruction sets ---


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = metafunc.definition.iter_markers("parametrize")
    chosen = any("isa" in mark.args[0] for mark in marks)  # by the test itself
    if "isa" in metafunc.fixturenames and not chosen:
        metafunc.parametrize("isa", fastrnn.isas())


def pytest_runtest_setup(item: pytest.Item) -> None:
    callspec = getattr(item, "callspec", None)
    if callspec and "isa" in callspec.params:
        ISAS_RUN.add(callspec.params["isa"])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    usable = fastrnn.isas()
    ran = [isa for isa in usable if isa in ISAS_RUN] or ["none"]
    terminalreporter.write_line(f"ISAs run: {' '.join(ran)} (usable here: {' '.join(usable)})")


# --- Skips ---
# If FASTRNN_MAY_SKIP is set, as on CI, a skip whose reason contains none of its words is a failure.
# Otherwise a test could stop running without anybody noticing.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long: needs --run-long"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    return _judge_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    return _judge_skip(report)


def _judge_skip(report: Any) -> Any:
    """Turn a skip that FASTRNN_MAY_SKIP does not allow into a failure."""
    allowed = os.environ.get("FASTRNN_MAY_SKIP")
    if allowed is None or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(word in reason for word in allowed.split()):
        report.outcome = "failed"
        report.longrepr = f"{reason} (only these may skip: FASTRNN_MAY_SKIP={allowed!r})"
    return report
