# SPDX-License-Identifier: MIT
"""The machine: what it is, how fast it can multiply and read, and the least time a case needs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .workload import Workload

CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
PROBE_SECONDS = 0.2
FMA_ROUNDS = 200_000  # some milliseconds
MEMORY_PROBE_BYTES = 256 << 20


@dataclass(frozen=True)
class Level:
    """A cache level, or main memory: bytes it holds, bytes/s one thread reads from it."""

    name: str
    size: int
    shared: bool  # between cores
    bandwidth: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What one thread can reach, measured."""

    isa: str
    flops: float  # per second
    levels: tuple[Level, ...]  # smallest first, main memory last

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def bandwidth(self, size: int, threads: int) -> float:
        """Bytes/s from the smallest level that holds `size` bytes cut over `threads` cores.

        A shared level is taken to serve every core at one core's full speed: too optimistic, so
        a share of the limit is never flattered.
        """
        for level in self.levels:
            if size <= level.size * (1 if level.shared else threads):
                return level.bandwidth * threads
        return self.levels[-1].bandwidth * threads


def measure_limits() -> Limits | None:
    """Measure with the probes of fastrnn's core; None where it is not installed."""
    try:
        import fastrnn
        from fastrnn import _core
    except ImportError:
        return None
    isa = fastrnn.isas()[0]
    levels = []
    for level in cache_levels():
        # Half of a level: the other half is room for what else lives there.
        speed = _read_speed(_core.probe_read, isa, level.size // 2)
        levels.append(Level(level.name, level.size, level.shared, speed))
    speed = _read_speed(_core.probe_read, isa, MEMORY_PROBE_BYTES)
    levels.append(Level("memory", 1 << 62, True, speed))
    flops = _core.probe_fma(isa, FMA_ROUNDS) / _best_time(lambda: _core.probe_fma(isa, FMA_ROUNDS))
    return Limits(isa, flops, tuple(levels))


def _read_speed(probe: Callable[[str, Any, int], None], isa: str, size: int) -> float:
    """Bytes/s of reading `size` bytes again and again."""
    values = np.ones(size // 4, np.float32)
    repeats = max(1, 20_000_000 // size)
    return size * repeats / _best_time(lambda: probe(isa, values, repeats))


def _best_time(work: Callable[[], object]) -> float:
    """The least time of a piece of work, over PROBE_SECONDS of repeats."""
    best, end = float("inf"), time.perf_counter() + PROBE_SECONDS
    while (start := time.perf_counter()) < end:
        work()
        best = min(best, time.perf_counter() - start)
    return best


def ideal_seconds(workload: Workload, limits: Limits, threads: int) -> float:
    """The least time of a forward pass: all multiplications, or all weight reads.

    Each direction's recurrent weights are read once per step from the level that holds them
    (the next step cannot begin before), the input weights once per call from the level that
    holds all weights.
    """
    case = workload.case
    compute = case.flops(workload.row_steps) / (limits.flops * threads)
    recurrent = 4 * case.recurrent_weights()
    stacks = case.layers * case.directions
    resident = recurrent if case.steps > 1 else case.weight_bytes()
    reads = case.steps * stacks * recurrent / limits.bandwidth(resident, threads)
    once = case.weight_bytes() - stacks * recurrent
    reads += once / limits.bandwidth(case.weight_bytes(), threads)
    return max(compute, reads)


def cache_levels(folder: Path = CACHE_FOLDER) -> list[Level]:
    """Data caches of the first CPU, smallest first; empty where the system does not tell."""
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            kind = (index / "type").read_text().strip()
            number = int((index / "level").read_text())
            size = _parse_size((index / "size").read_text().strip())
            cpus = (index / "shared_cpu_list").read_text().strip()
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            found[number] = Level(f"L{number}", size, shared=number >= 3 or _two_cores(cpus))
    return [found[number] for number in sorted(found)]


def describe() -> dict[str, Any]:
    """What a reader of old results needs to know of the machine."""
    return {
        "cpu": _cpu_model(),
        "cpus": available_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "caches": {level.name: level.size for level in cache_levels()},
    }


def available_cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _parse_size(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)


def _two_cores(cpus: str) -> bool:
    """More than the two hardware threads that one core may have."""
    count = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count > 2
