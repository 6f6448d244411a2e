# SPDX-License-Identifier: MIT
"""CPUs and caches: affinity, container quotas of both versions, missing files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastrnn.runtime import machine
from fastrnn.runtime.machine import cache_sizes, cpu_count


@pytest.fixture(autouse=True)
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the process may run on 16 CPUs."""
    monkeypatch.setattr(machine, "_affinity", lambda: 16)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def count(root: Path, files: dict[str, str]) -> int:
    write(root, files)
    return cpu_count(root / "cgroup", root / "self")


QUOTAS = {
    "max 100000\n": 16,
    "100000 100000\n": 1,
    "150000 100000\n": 2,
    "400000 100000\n": 4,
    "50000 100000\n": 1,
    "1000 100000\n": 1,
    "25000 10000\n": 3,
    "9900000 100000\n": 16,
    "": 16,
    "max": 16,
    "0 100000": 16,
    "100000 0": 16,
    "-1 100000": 16,
    "1e5 100000": 16,
    "100000 100000 100000": 16,
    "9" * 5000 + " 1": 16,
    "\ufeff\x00 \x00": 16,
}


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda text: repr(text[:20]))
def test_quota(tmp_path: Path, quota: str) -> None:
    assert count(tmp_path, {"self": "0::/\n", "cgroup/cpu.max": quota}) == QUOTAS[quota]


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    files = {
        "self": "0::/system.slice/a:b.service\n",
        "cgroup/system.slice/a:b.service/cpu.max": "800000 100000\n",
        "cgroup/system.slice/cpu.max": "300000 100000\n",
        "cgroup/other/cpu.max": "100000 100000\n",
    }
    assert count(tmp_path, files) == 3
    assert count(tmp_path, {"cgroup/system.slice/a:b.service/cpu.max": "200000 100000\n"}) == 2


@pytest.mark.parametrize("own", ["/docker/0123", "/../0123", "", "/", "/a/../../../../b"])
def test_path_of_outside_the_container(tmp_path: Path, own: str) -> None:
    files = {"self": f"0::{own}\n", "cgroup/cpu.max": "200000 100000\n", "cpu.max": "1 1\n"}
    assert count(tmp_path, files) == 2


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
def test_version_1(tmp_path: Path, controllers: str) -> None:
    files = {
        "self": f"12:memory:/m\n5:cpuset:/s\n4:{controllers}:/user/me\n1:name=systemd:/x\n0::/y\n",
        f"cgroup/{controllers}/user/me/cpu.cfs_quota_us": "-1\n",
        f"cgroup/{controllers}/user/me/cpu.cfs_period_us": "100000\n",
        "cgroup/cpuset/s/cpu.cfs_quota_us": "100000\n",
        "cgroup/cpuset/s/cpu.cfs_period_us": "100000\n",
    }
    assert count(tmp_path, files) == 16
    files = {
        f"cgroup/{controllers}/user/cpu.cfs_quota_us": "450000\n",
        f"cgroup/{controllers}/user/cpu.cfs_period_us": "100000\n",
    }
    assert count(tmp_path, files) == 5


@pytest.mark.parametrize(
    "text", ["", "\n", "nonsense", ":::", "4:cpu", "0::/\x00", "0::" + "/a" * 99]
)
def test_strange_cgroups(tmp_path: Path, text: str) -> None:
    assert count(tmp_path, {"self": text}) == 16


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert cpu_count(tmp_path / "none", tmp_path / "no file") == 16
    assert cpu_count(tmp_path, tmp_path) == 16


def test_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
    l2, l3 = cache_sizes()
    assert l2 >= 0
    assert l3 >= 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity: not on this system")
def test_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpu_count() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_without_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    for name in ("process_cpu_count", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    for known, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda known=known: known)
        assert cpu_count(tmp_path, tmp_path) == expected


def test_affinity_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.undo()
    monkeypatch.setattr(os, "process_cpu_count", refuse, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu_count(tmp_path, tmp_path) == 6


# ---- Caches -------------------------------------------------------------------------------------


def cache(root: Path, index: int, level: str, kind: str, size: str) -> None:
    folder = f"index{index}"
    write(root, {f"{folder}/level": level, f"{folder}/type": kind, f"{folder}/size": size})


def test_caches(tmp_path: Path) -> None:
    cache(tmp_path, 0, "1\n", "Data\n", "48K\n")
    cache(tmp_path, 1, "1\n", "Instruction\n", "32K\n")
    cache(tmp_path, 2, "2\n", "Unified\n", "1280K\n")
    cache(tmp_path, 3, "3\n", "Unified\n", "48M\n")
    cache(tmp_path, 4, "4\n", "Unified\n", "1G\n")
    cache(tmp_path, 5, "2\n", "Instruction\n", "64K\n")
    assert cache_sizes(tmp_path) == (1280 << 10, 48 << 20)


@pytest.mark.parametrize(("known", "expected"), [(12345, 12345), (0, 0), (-1, 0)])
def test_caches_by_the_c_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: known, raising=False)
    assert cache_sizes(tmp_path) == (expected, expected)
    cache(tmp_path, 2, "2", "Unified", "512K")
    assert cache_sizes(tmp_path) == (512 << 10, expected)


@pytest.mark.parametrize("size", ["", "K", "big", "-4K", "1.5M", "9" * 5000, "4T"])
def test_unknown_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: str) -> None:
    monkeypatch.delattr(os, "sysconf", raising=False)
    cache(tmp_path, 2, "2", "Unified", size)
    (tmp_path / "index3").mkdir()
    assert cache_sizes(tmp_path) == (0, 0)
    assert cache_sizes(tmp_path / "none") == (0, 0)
