# SPDX-License-Identifier: MIT
"""The CPUs and caches that a process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Text, not pathlib, whose import takes as long as that of all the rest of this package.
Path = str | os.PathLike[str]
CGROUPS = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"
CACHES = "/sys/devices/system/cpu/cpu0/cache"


def cpu_count(cgroups: Path = CGROUPS, own_cgroups: Path = OWN_CGROUPS) -> int:
    """The CPUs that this process may use: by its affinity and by its container's quota.

    A quota of one and a half CPUs counts as two.
    """
    quotas = [-(-quota // period) for quota, period in _quotas(cgroups, own_cgroups)]
    return max(1, min([_affinity(), *quotas]))


def _affinity() -> int:
    try:
        if hasattr(os, "process_cpu_count"):  # Python 3.13: the same, and its own option
            return os.process_cpu_count() or 1
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
    except OSError:
        pass
    return os.cpu_count() or 1


def _quotas(cgroups: Path, own_cgroups: Path) -> Iterator[tuple[int, int]]:
    """(microseconds of CPU, per microseconds) of each limited group around this process."""
    for line in _read(own_cgroups).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if not controllers:  # version 2
            for group in _groups(cgroups, own):
                yield from _quota(_read(group, "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for group in _groups(os.path.join(cgroups, controllers), own):
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                yield from _quota([_read(group, name).strip() for name in names])


def _groups(root: Path, own: str) -> Iterator[str]:
    """A process's group and those around it, up to the root.

    In a container the root often is the process's group, whatever the path says.
    """
    names = [name for name in own.split("/") if name not in ("", ".", "..")]
    for count in range(len(names), -1, -1):
        yield os.path.join(root, *names[:count])


def _quota(fields: list[str]) -> Iterator[tuple[int, int]]:
    """Nothing for "max", -1 and anything that is not a quota."""
    if len(fields) == 2 and all(field.isdecimal() and len(field) < 19 for field in fields):
        quota, period = (int(field) for field in fields)
        if quota > 0 and period > 0:
            yield quota, period


def cache_sizes(caches: Path = CACHES) -> tuple[int, int]:
    """Bytes of one core's L2 cache and of the shared L3 cache; 0 if unknown."""
    found = {2: 0, 3: 0}
    try:
        for index in sorted(os.listdir(caches)):
            level, kind, size = (
                _read(caches, index, name).strip() for name in ("level", "type", "size")
            )
            if level in ("2", "3") and kind in ("Unified", "Data"):
                found[int(level)] = _bytes(size)
    except OSError:
        pass
    # After the files: the C library computes shared caches, for some processors wrongly.
    return found[2] or _sysconf(2), found[3] or _sysconf(3)


def _bytes(size: str) -> int:
    """The bytes of a size such as 32768K; 0 if it is not one."""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
    digits = size.rstrip("KMG")
    return int(digits) * unit if digits.isdecimal() and len(digits) < 12 else 0


def _sysconf(level: int) -> int:
    try:
        return max(0, os.sysconf(f"SC_LEVEL{level}_CACHE_SIZE"))
    except (AttributeError, ValueError, OSError):  # a system without it
        return 0


def _read(*path: Path) -> str:
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return ""
