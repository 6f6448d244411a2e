# SPDX-License-Identifier: MIT
"""Options of the test run: every test that takes `isa` runs for each kernel table usable here."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

# `python -m pytest` puts the checkout first on the path. Without a compiled core in it, the
# installed package is meant.
if not any((ROOT / "fastrnn" / f"_core{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]

import fastrnn  # noqa: E402

ISAS_RUN: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-long", action="store_true", help="run the tests marked long, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; runs with --run-long only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long: needs --run-long"))


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
# Where FASTRNN_MAY_SKIP is set, as on CI, every skip fails whose reason holds none of its words:
# a test that quietly stopped running is no test.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    return _judge_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    return _judge_skip(report)


def _judge_skip(report: Any) -> Any:
    allowed = os.environ.get("FASTRNN_MAY_SKIP")
    if allowed is None or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(word in reason for word in allowed.split()):
        report.outcome = "failed"
        report.longrepr = f"{reason} (only these may skip: FASTRNN_MAY_SKIP={allowed!r})"
    return report
