# SPDX-License-Identifier: MIT
"""The source archive builds, the wheel contains only the package, and imports are light."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
import zlib
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import fastrnn

ROOT = Path(__file__).resolve().parents[2]
LARGEST_WHEEL = 2_000_000
FOLDERS = ("fastrnn", "src_c", "tests", "examples", "benchmarks")
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.so", "_core.c", "*.o")

# Modules that the interpreter or numpy may or may not have loaded, depending on their versions.
BEFORE = "import sys, dataclasses, numpy, numpy.typing; before = set(sys.modules); "


def run(*command: object, cwd: Path, **environment: object) -> str:
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(code: str, cwd: Path) -> list[str]:
    """The words that a new interpreter prints, in which only the installed package is visible."""
    return run(sys.executable, "-P", "-c", code, cwd=cwd).split()


# --- Archives, built from a copy so that the checkout is not changed ---


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("sdist")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=LEFTOVERS)
    build = "import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, out, cwd=copy)
    (archive,) = out.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler {compiler}")
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", out]
    # Not optimized: compilation would take most of the time of these tests.
    run(sys.executable, "-m", "pip", "wheel", *options, sdist, cwd=out, FASTRNN_CFLAGS="-O0")
    (archive,) = out.glob("*.whl")
    return archive


def test_sdist_holds_the_sources(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        path.relative_to(ROOT).as_posix()
        for folder in ("src_c", "fastrnn", "tests")
        for path in (ROOT / folder).rglob("*.[chp]*")
        if path.suffix in (".c", ".h", ".py", ".pyx", ".pxd", ".pyi")
    }
    wanted = sources | {"setup.py", "pyproject.toml", "README.md", "LICENSE"}
    assert wanted - names <= {"fastrnn/_core.c"}
    assert not [name for name in names if name.endswith((".so", ".pyc", "_core.c"))]


def test_wheel_holds_the_package_alone(wheel):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fastrnn").rglob("*")
        if path.suffix in (".py", ".pyi", ".typed", ".pt", ".npz", ".md")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    (core,) = [name for name in names if name.startswith("fastrnn/_core.") and name[-1] != "i"]
    assert set(names) == wanted | {core}
    assert {"fastrnn/py.typed", "fastrnn/demo_data/digits_lstm.pt"} < set(names)
    assert core.endswith((".so", ".pyd"))


def test_wheel_is_small(wheel):
    """Counted with the core that the tests use, which is optimized."""
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.infolist() if "/_core." not in member.filename]
    assert len(members) > 50
    core = zlib.compress(Path(fastrnn._core.__file__).read_bytes())
    assert sum(member.compress_size for member in members) + len(core) < LARGEST_WHEEL


def test_wheel_runs_the_demo(wheel, tmp_path):
    home = tmp_path / "site"
    install = ["install", "--no-deps", "--no-index", "--target", home, wheel]
    run(sys.executable, "-m", "pip", *install, cwd=tmp_path)
    code = "import fastrnn.cli as c; print(c.__file__); c.main(['demo', '--json'])"
    printed = run(sys.executable, "-P", "-c", code, cwd=tmp_path, PYTHONPATH=home)
    place, _, facts = printed.partition("\n")
    assert Path(place).is_relative_to(home)
    assert json.loads(facts)["accuracy"] > 0.95


# --- What is installed ---


def test_one_version():
    header = (ROOT / "src_c/include/fastrnn.h").read_text()
    (written,) = re.findall(r'#define FRNN_VERSION "(.*)"', header)
    assert version("fastrnn") == fastrnn.__version__ == written


def test_needs_numpy_alone():
    needed = [line for line in requires("fastrnn") if "extra ==" not in line]
    assert [re.match(r"[\w-]+", line).group() for line in needed] == ["numpy"]


def test_import_is_light(tmp_path):
    new = python(BEFORE + "import fastrnn; print(*set(sys.modules) - before)", tmp_path)
    foreign = {name for name in new if name.split(".")[0] != "fastrnn"}
    built_in = {"__future__", "errno"}  # errno is a part of the interpreter
    assert not {name for name in foreign if "cython" not in name} - built_in
    readers = {name for name in new if name.startswith("fastrnn.readers.")}
    light = ("errors", "places", "containers")
    within = (f"containers.{name}" for name in ("budget", "elements", "source"))
    assert readers <= {f"fastrnn.readers.{name}" for name in (*light, *within)}
    assert not {"fastrnn.cli", "fastrnn.demo", "fastrnn.reference"} & set(new)


def test_import_starts_no_threads(tmp_path):
    if not Path("/proc/self/task").is_dir():
        pytest.skip("no /proc to count threads in")
    count = "print(len(os.listdir('/proc/self/task'))); "
    before, after = python(f"import os, numpy; {count}import fastrnn; {count}", tmp_path)
    assert before == after


def test_sources_without_a_core_say_what_to_do(tmp_path):
    package = tmp_path / "fastrnn"
    shutil.copytree(Path(fastrnn.__file__).parent, package, ignore=LEFTOVERS)
    # -S: without site-packages, which contain another fastrnn.
    command = [sys.executable, "-S", "-c", "import fastrnn"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ImportError: {package} holds fastrnn's sources, but not its compiled" in done.stderr
    assert "pip install ." in done.stderr
