# SPDX-License-Identifier: MIT
"""Options of the test run: every test that takes `isa` runs for each kernel table usable here."""

from __future__ import annotations

from typing import Any

import pytest

import fastrnn

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
