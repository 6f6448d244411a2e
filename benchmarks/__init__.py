# SPDX-License-Identifier: MIT
"""Benchmarks of fastrnn: alone (pytest-benchmark) and beside other engines (benchmarks.compare)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _prefer_installed_package() -> None:
    """Import an installed fastrnn when the checkout's own package has no compiled core.

    Started from a checkout, ./fastrnn would shadow the installed wheel and fail to import.
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
        # Neither is usable: the next import is the checkout's own, whose error says what to do.
        for name in [name for name in sys.modules if name.split(".")[0] == "fastrnn"]:
            del sys.modules[name]
    finally:
        sys.path[:] = saved


_prefer_installed_package()
