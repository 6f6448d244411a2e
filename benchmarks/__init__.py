# SPDX-License-Identifier: MIT
"""Benchmarks of fastrnn, alone (pytest-benchmark) and against other engines (compare)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _prefer_installed_package() -> None:
    """Import an installed fastrnn if the package in the checkout has no compiled core.

    In a checkout, ./fastrnn would shadow the installed wheel and could not be imported.
    """
    package = ROOT / "fastrnn"
    compiled = [*package.glob("_core*.so"), *package.glob("_core*.pyd")]
    if compiled or "fastrnn" in sys.modules:
        return
    saved = list(sys.path)
    sys.path[:] = [entry for entry in saved if Path(entry or ".").resolve() != ROOT]
    try:
        importlib.import_module("fastrnn")
    except ImportError:
        # Neither is usable. The next import is that of the checkout, whose error says what to do.
        for name in [name for name in sys.modules if name.split(".")[0] == "fastrnn"]:
            del sys.modules[name]
    finally:
        sys.path[:] = saved


_prefer_installed_package()
