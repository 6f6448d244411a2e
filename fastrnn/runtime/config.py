# SPDX-License-Identifier: MIT
"""The configuration of this installation and process."""

from __future__ import annotations

import platform
import sys
from typing import Any

import numpy as np

from .. import _core
from ..layers.checks import default_isa
from .machine import cache_sizes, cpu_count
from .threads import get_num_threads


def config() -> dict[str, Any]:
    """Version, instruction sets (all usable, and the default), threads, CPUs that this process may
    use, caches (L2 of a core, L3, in bytes; 0: unknown), compiler, Python, numpy."""
    return {
        "version": _core.VERSION,
        "isas": _core.isas(),
        "isa": default_isa(),
        "threads": get_num_threads(),
        "cpus": cpu_count(),
        "caches": list(cache_sizes()),
        "compiler": _core.COMPILER,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def show_config() -> None:
    """Write config() to standard output, one entry per line."""
    for name, value in config().items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        sys.stdout.write(f"{name}: {shown}\n")
