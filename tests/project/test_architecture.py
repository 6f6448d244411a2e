# SPDX-License-Identifier: MIT
"""The layering of the code: which part may include or import which, and what it may contain."""

from __future__ import annotations

import ast
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_builds import BUILT, EMBEDDED, make_embedded

ROOT = Path(__file__).resolve().parents[2]
C = ROOT / "src_c"
PACKAGE = ROOT / "fastrnn"
C_FILES = sorted([*C.rglob("*.h"), *C.rglob("*.c")])
PY_FILES = sorted(PACKAGE.rglob("*.py"))

# Folder of src_c -> what its files may include: a folder, a file, or a system header.
FREESTANDING = {"stddef.h", "stdint.h", "limits.h", "string.h", "float.h"}
C_LAYERS: dict[str, set[str]] = {
    "include": {"stddef.h", "stdint.h"},
    "core": FREESTANDING | {"stdatomic.h", "include", "core", "kernels/table.h"},
    "kernels": FREESTANDING | {"include", "kernels"},
    "simd": FREESTANDING | {"simd", "immintrin.h", "arm_neon.h"},
    "isa": FREESTANDING | {"include", "isa", "kernels", "simd", "cpuid.h"},
}
# The part of the library that platform, examples and benchmarks may use.
LIBRARY_LAYERS = {"include", "platform"}
PAUSE = {"simd/thread.h"}  # for the pool's spinning threads
USERS = {
    "platform": LIBRARY_LAYERS | PAUSE,
    "examples": {"include"},
    "bench": LIBRARY_LAYERS | {"bench"},
}

# Part of the package -> parts that it may import. A part is a folder or a module in fastrnn/;
# `fastrnn` is the package itself. READER_ROOMS divides the readers further.
READERS = {"readers", "stack_spec"}
LAYERS = {"_core", "layers", *READERS}
PY_LAYERS: dict[str, set[str]] = {
    "stack_spec": set(),
    "reference": set(),
    "demo_data": set(),
    "readers": READERS,
    "layers": LAYERS,
    "files": LAYERS,
    "runtime": LAYERS,
    "train": LAYERS,
    "torch": LAYERS | {"files", "runtime"},
    "demo": {"files", *READERS},
    "bench": LAYERS | {"reference", "runtime"},
    "cli": LAYERS | {"fastrnn", "bench", "cli_arrays", "cli_output", "demo", "files", "runtime"},
    "cli_arrays": {"fastrnn", "files"},
    "cli_output": set(),
    "__main__": {"cli"},
    "__init__": LAYERS | {"files", "runtime", "train"},
}
# Folder of fastrnn/readers -> folders there that it may import; "." means the files beside the
# folders, such as errors.py. These contain the entry points and may import every folder.
READER_ROOMS: dict[str, set[str]] = {
    "containers": {"."},
    "torch": {".", "containers"},
    "graph": {".", "containers"},
    "torchscript": {".", "containers", "graph", "torch"},
    "pt2": {".", "containers", "graph", "torch"},
    "onnx": {".", "containers", "graph"},
    "keras": {".", "containers"},
    "frnn": {".", "containers"},
}

EXTRAS = {"torch": "torch", "train": "rich"}  # optional packages that a part may import

INSTRUCTION_SETS = re.compile(r"avx|sse\d|neon|vnni|amx|sve|[xyz]mm\d", re.IGNORECASE)
X86 = platform.machine().lower() in ("x86_64", "amd64")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer(path: Path) -> str:
    return path.relative_to(C).parts[0]


def code(path: Path) -> str:
    """A C file without its comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)


# ---- C: the sources -----------------------------------------------------------------------------


def included(path: Path) -> Iterator[set[str]]:
    """Yield, for each include, the names by which C_LAYERS may allow it."""
    for kind, target in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', code(path), re.MULTILINE):
        if target == "fastrnn.h":
            yield {"include"}
        elif kind == '"':
            found = (path.parent / target).resolve()
            assert found.is_file(), f"{name(path)} includes {target}, which is not there"
            yield {layer(found), found.relative_to(C).as_posix()}
        else:
            yield {target, "system"}


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_includes(path: Path) -> None:
    if layer(path) == "tests":
        allowed = {"include", "tests", "kernels/table.h", "isa/cpu.h", "platform", "system"}
        allowed.add("core/pass/order.h")  # how evenly rows are distributed affects only the time
    elif layer(path) in USERS:
        allowed = USERS[layer(path)] | {"system"}
    else:
        assert layer(path) in C_LAYERS, f"src_c/{layer(path)}: say in C_LAYERS what it may include"
        allowed = C_LAYERS[layer(path)]
    for names in included(path):
        assert names & allowed, f"{name(path)} must not include {min(names)}"


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_instruction_sets_stay_in_their_layer(path: Path) -> None:
    if layer(path) in ("core", "kernels", "platform"):
        found = INSTRUCTION_SETS.search(code(path))
        assert not found, f"{name(path)} names an instruction set: {found}"
    if layer(path) in ("core", "kernels", "platform", "isa", "include"):
        found = re.search(r"\b_mm\w*|\b__m\d+\w*|immintrin|__builtin_ia32\w*", code(path))
        assert not found, f"{name(path)} holds intrinsics: {found}"


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_head_and_length(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "/* SPDX-License-Identifier: MIT */"
    intro = " ".join(line.strip("/* ") for line in lines[1:16])
    assert lines[1].startswith("/* "), f"{name(path)}: line 2 says what the file is"
    assert re.match(r"[^.:]+[.:]", intro), f"{name(path)}: line 2 says it in a sentence"
    assert len(lines) <= (200 if layer(path) == "simd" else 600)


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_c_functions_can_be_seen_whole(path: Path) -> None:
    for body in re.finditer(r"^\{\n.*?^\}$", path.read_text(), re.MULTILINE | re.DOTALL):
        lines = body[0].count("\n") + 1
        assert lines <= 60, f"{name(path)}: a function of {lines} lines: {body[0][:80]}"


def test_file_names_are_unique() -> None:
    names = [path.name for path in C_FILES if path.name != "immintrin.h"]
    assert len(names) == len(set(names)), "two files of src_c have one name"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.p[xy][xi]")), ids=name)
def test_cython_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 300


# ---- C: the compiled objects --------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects() -> dict[str, Path]:
    """core/ and isa/ compiled without position independence, so that constants are read-only."""
    for tool in ("nm", "objdump"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    sources = [
        path
        for path in [*sorted(C.glob("core/*/*.c")), *sorted(C.glob("isa/*.c"))]
        if X86 or not INSTRUCTION_SETS.search(path.name)
    ]
    found = {
        f"{path.parent.name}/{path.stem}": Path(
            "freestanding", path.relative_to(C).with_suffix(".o")
        )
        for path in sources
    }
    make_embedded(*map(str, found.values()))
    return {name: BUILT / EMBEDDED / path for name, path in found.items()}


def symbols(path: Path) -> list[tuple[str, str]]:
    """(kind, name) of an object's symbols, as nm prints them."""
    output = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
    return [(line[17], line[19:]) for line in output.splitlines()]


def test_no_mutable_globals(objects: dict[str, Path]) -> None:
    for source, path in objects.items():
        mutable = [symbol for kind, symbol in symbols(path) if kind in "dDbBcCsSgG"]
        assert not mutable, f"{source}.c has variables: {mutable}"


def test_core_and_kernels_need_no_system(objects: dict[str, Path]) -> None:
    own = {symbol for path in objects.values() for kind, symbol in symbols(path) if kind != "U"}
    for source, path in objects.items():
        needed = {symbol for kind, symbol in symbols(path) if kind == "U"}
        outside = needed - own
        allowed = {"memcpy", "memset", "memmove"}
        if source == "isa/select":
            allowed.add("strcmp")
        assert outside <= allowed, f"{source}.c needs {outside - allowed}"


def test_exported_names_have_the_prefix(objects: dict[str, Path]) -> None:
    for source, path in objects.items():
        exported = [symbol for kind, symbol in symbols(path) if kind.isupper() and kind != "U"]
        foreign = [symbol for symbol in exported if not symbol.startswith("frnn_")]
        assert not foreign, f"{source}.c: a program that links it cannot use the names {foreign}"


def test_kernels_of_an_isa_export_one_table(objects: dict[str, Path]) -> None:
    tables = [source for source in objects if source.split("/")[1] not in ("cpu", "select")]
    kernels: dict[str, set[str]] = {}
    for source in (source for source in tables if source.startswith("isa/")):
        isa = source.removeprefix("isa/")
        own = symbols(objects[source])
        exported = [symbol for kind, symbol in own if kind.isupper() and kind != "U"]
        assert exported == [f"frnn_isa_{isa}"]
        kernels[isa] = {symbol.split(".")[0] for kind, symbol in own if kind == "t"}
        named = [symbol for symbol in kernels[isa] if INSTRUCTION_SETS.search(symbol)]
        assert not named, f"{source}.c: functions named after an instruction set: {named}"


@pytest.mark.skipif(not X86, reason="AVX registers: not an x86 machine")
def test_registers(objects: dict[str, Path]) -> None:
    allowed = {"isa/avx512": {"xmm", "ymm", "zmm"}, "isa/avx2": {"xmm", "ymm"}}
    for source, path in objects.items():
        command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = set(re.findall(r"%([xyz]mm)\d", listing))
        assert used <= allowed.get(source, {"xmm"}), f"{source}.c uses {used}"
        if source in allowed:
            assert max(used) == max(allowed[source]), f"{source}.c has no wide code"


# ---- Python -------------------------------------------------------------------------------------


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PY_FILES
}


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of each module that a file imports or imports names from."""
    package = ("fastrnn", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join(start + ([node.module] if node.module else []))
            for alias in node.names:
                is_module = f"{base}.{alias.name}" in MODULES or alias.name == "_core"
                yield f"{base}.{alias.name}" if is_module else base


def room(module: str) -> str:
    """The part of fastrnn that a module belongs to: `layers` for fastrnn.layers.dense."""
    return module.split(".")[1] if "." in module else "fastrnn"


def reader_room(module: str) -> str:
    """The folder of fastrnn.readers that a module is in; "." for a file beside the folders."""
    parts = module.split(".")[2:]
    return parts[0] if parts and parts[0] in READER_ROOMS else "."


@pytest.mark.parametrize("module", MODULES)
def test_imports(module: str) -> None:
    own = "__init__" if module == "fastrnn" else room(module)
    assert own in PY_LAYERS, f"{module}: say in PY_LAYERS what it may import"
    for target in imported(MODULES[module]):
        if target.split(".")[0] == "fastrnn":
            allowed = PY_LAYERS[own] | {own}
            assert room(target) in allowed, f"{module} must not import {target}"
        elif target.split(".")[0] not in sys.stdlib_module_names:
            needed = {"numpy", EXTRAS.get(own, "numpy")}
            assert target.split(".")[0] in needed, f"{module} must not import {target}"


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) == "readers"])
def test_imports_of_readers(module: str) -> None:
    own = reader_room(module)
    if own == ".":
        return
    for target in imported(MODULES[module]):
        if room(target) == "readers" and target.startswith("fastrnn."):
            allowed = READER_ROOMS[own] | {own}
            assert reader_room(target) in allowed, f"{module} must not import {target}"


def test_no_circle_of_imports() -> None:
    """Imports within functions count, too."""
    edges = {
        module: {target for target in imported(path) if target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    ready: set[str] = set()
    while waiting := {module for module in edges if module not in ready}:
        free = {module for module in waiting if edges[module] <= ready}
        assert free, f"modules that import each other, or something that does: {sorted(waiting)}"
        ready |= free


@pytest.mark.parametrize("path", PY_FILES, ids=name)
def test_functions_can_be_seen_whole(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 60, f"{name(path)}: {node.name} has {lines} lines"


def test_python_file_names_are_unique() -> None:
    """Over package, tests and benchmarks, so that a file is found by its name."""
    found = [
        path
        for folder in ("fastrnn", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    names = [path.name for path in found if path.name not in ("__init__.py", "conftest.py")]
    assert sorted(names) == sorted(set(names))


def test_class_names_are_unique() -> None:
    """A name stands for one class; the drop-in alone has the names of torch.nn's layers again."""
    names = [
        node.name
        for path in PY_FILES
        if path.is_relative_to(ROOT / "fastrnn") and path != ROOT / "fastrnn/torch/drop_in.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", PY_FILES, ids=name)
def test_python_head_and_length(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: MIT"
    assert lines[1].startswith('"""')
    assert len(lines) < 600


def test_cython_file_includes_only_the_public_header_and_platform() -> None:
    text = (PACKAGE / "_core.pyx").read_text()
    for header in re.findall(r'cdef extern from "([^"]+)"', text):
        assert header == "fastrnn.h" or header.startswith("../src_c/platform/"), header
