# SPDX-License-Identifier: MIT
"""The machine: its description, its peak rates, and the least time that a case needs on it."""

from __future__ import annotations

import bisect
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastrnn import _core
from fastrnn.bench import Case, fma_peak, rate_together
from fastrnn.layers.checks import default_isa
from fastrnn.runtime.machine import cache_sizes, cpu_count

READ_SECONDS = 0.06
READ_BYTES = 256 << 20  # read by one measurement, some milliseconds
SMALLEST = 16 << 10  # half of a small L1
LARGE_PAGE = 2 << 20
# Multiplications of a training step, relative to its forward pass: the gradients of a product's
# input take as many again, and so do those of its weights.
TRAINING_PRODUCTS = 3


@dataclass(frozen=True)
class Level:
    """A cache level: its size in bytes, and whether cores share it."""

    name: str
    size: int
    shared: bool


@dataclass(frozen=True)
class Limits:
    """The peak rates of a number of threads together, measured with all of them running."""

    threads: int
    isa: str
    flops: float  # per second, of all threads
    # Bytes that each thread reads repeatedly -> bytes/s of all threads.
    reads: tuple[tuple[int, float], ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        reads = tuple((int(size), float(speed)) for size, speed in data["reads"])
        return cls(data["threads"], data["isa"], data["flops"], reads)

    def bandwidth(self, size: float) -> float:
        """Bytes/s of all threads if each repeatedly reads its share of `size` bytes.

        Interpolated linearly over the logarithm of the size.
        """
        share = size / self.threads
        sizes = [measured for measured, _ in self.reads]
        place = bisect.bisect(sizes, share)
        if place in (0, len(sizes)):
            return self.reads[max(place - 1, 0)][1]
        (low, slow), (high, fast) = self.reads[place - 1 : place + 1]
        part = math.log(share / low) / math.log(high / low)
        return slow + part * (fast - slow)

    def level_bandwidth(self, level: Level) -> float:
        """Bytes/s from a cache level, at half of its size, which leaves room for other data."""
        return self.bandwidth(level.size / 2 * (1 if level.shared else self.threads))

    def memory_bandwidth(self) -> float:
        return self.reads[-1][1]

    def best_of(self, other: Limits) -> Limits:
        """The higher of two measurements of each limit, since another program may disturb one."""
        pairs = zip(self.reads, other.reads, strict=True)
        reads = tuple((size, max(one, two)) for (size, one), (_, two) in pairs)
        return Limits(self.threads, self.isa, max(self.flops, other.flops), reads)


def measure_limits(threads: int) -> Limits:
    """Measure with the probes of fastrnn's core, in that many threads at once."""
    isa = default_isa()
    levels = cache_levels()
    largest = max((level.size for level in levels), default=32 << 20)
    sizes = read_sizes(max(4 * largest // threads, 1 << 20))
    arrays = [_aligned_floats(sizes[-1]) for _ in range(threads)]
    reads = []
    for size in sizes:
        works = [_read_work(isa, array[: size // 4]) for array in arrays]
        reads.append((size, rate_together(works, READ_SECONDS)))
    return Limits(threads, isa, fma_peak(isa, threads), tuple(reads))


def read_sizes(largest: int) -> list[int]:
    """Working sets: two in each doubling, up to `largest` bytes."""
    sizes = [SMALLEST]
    while sizes[-1] < largest:
        last = sizes[-1]
        sizes.append(last * 3 // 2 if last & (last - 1) == 0 else last // 3 * 4)
    return sizes


def _read_work(isa: str, values: np.ndarray) -> Callable[[], float]:
    repeats = max(1, READ_BYTES // values.nbytes)

    def work() -> float:
        _core.probe_read(isa, values, repeats)
        return float(repeats * values.nbytes)

    return work


def _aligned_floats(size: int) -> np.ndarray:
    """`size` bytes of ones at the start of a large page, like packed weights."""
    raw = np.ones((size + LARGE_PAGE) // 4, np.float32)
    start = -raw.ctypes.data % LARGE_PAGE // 4
    return raw[start : start + size // 4]


def ideal_seconds(case: Case, row_steps: int, limits: Limits, *, training: bool = False) -> float:
    """The least time of a pass: that of all multiplications, or that of reading all weights.

    Recurrent weights are read once per step, because the next step cannot begin earlier, at the
    bandwidth of a working set of their size. Input weights are read once per call, at the bandwidth
    of all weights. Each thread reads its share. A training step multiplies three times as much,
    goes through the steps twice, and writes a gradient for each weight.
    """
    compute = case.flops(row_steps) / limits.flops
    recurrent = case.recurrent_bytes()
    all_recurrent = case.layers * case.directions * recurrent
    resident = recurrent if case.steps > 1 else case.weight_bytes()
    everything = case.weight_bytes() / limits.bandwidth(case.weight_bytes())
    reads = case.steps * all_recurrent / limits.bandwidth(resident)
    reads += everything * (1 - all_recurrent / case.weight_bytes())
    if training:
        return max(TRAINING_PRODUCTS * compute, 2 * reads + everything)
    return max(compute, reads)


def roofs(limits: Limits, levels: Sequence[Level]) -> dict[str, float]:
    """The bandwidth of each cache level and of memory, by name."""
    speeds = {"L1": limits.reads[0][1]}
    speeds |= {level.name: limits.level_bandwidth(level) for level in levels}
    return speeds | {"memory": limits.memory_bandwidth()}


def cache_levels() -> list[Level]:
    """The caches whose sizes the system reports, smallest first."""
    l2, l3 = cache_sizes()
    levels = [Level("L2", l2, shared=False), Level("L3", l3, shared=True)]
    return [level for level in levels if level.size]


def describe() -> dict[str, Any]:
    """Facts about the machine that a reader of old results needs."""
    return {
        "cpu": _cpu_model(),
        "cpus": cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "caches": [asdict(level) for level in cache_levels()],
    }


def resident_bytes() -> int | None:
    """The resident memory of this process; None if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
