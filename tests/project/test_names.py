# SPDX-License-Identifier: MIT
"""Names in ARCHITECTURE.md and in comments exist: files, functions, classes, benchmark cases."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastrnn

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
FOLDERS = ("src_c", "fastrnn", "tests", "examples", "benchmarks", "docs")
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
FILES += [path for path in ROOT.iterdir() if path.is_file()]
FILES = [path for path in FILES if path.name != "_core.c"]  # which Cython writes
FILE = r"[\w*.-]+\.(?:c|h|py|pyx|pyi|pxd|pxi|md|toml|svg|sh)"


def without_comments(path: Path) -> str:
    """The code of a file, without comments and docstrings."""
    text = path.read_text()
    if path.suffix in (".c", ".h"):
        return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    text = re.sub(r'^\s*"""(?:[^\\]|\\.)*?"""', " ", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?:^|\s)#[^\n]*", " ", text)


@cache
def code() -> str:
    suffixes = (".c", ".h", ".py", ".pyx", ".pyi", ".pxd", ".pxi")
    sources = [path for path in FILES if path.suffix in suffixes or path.name == "Makefile"]
    return "\n".join(without_comments(path) for path in sources if path != Path(__file__))


@cache
def identifiers() -> frozenset[str]:
    return frozenset(re.findall(r"\w+", code()))


@cache
def modules() -> dict[str, ModuleType]:
    """The modules of the package by their full names and by the last part of these."""
    found = {"fastrnn": fastrnn}
    for module in pkgutil.walk_packages(fastrnn.__path__, "fastrnn."):
        if module.name != "fastrnn.__main__":
            found[module.name] = importlib.import_module(module.name)
    return found | {name.rpartition(".")[2]: module for name, module in found.items()}


@cache
def classes() -> dict[str, list[type]]:
    found: dict[str, list[type]] = {}
    for module in modules().values():
        for name, value in vars(module).items():
            if inspect.isclass(value):
                found.setdefault(name, []).append(value)
    return found


@cache
def defined() -> frozenset[str]:
    """The functions, classes, macros and types that C and Python code define."""
    patterns = (
        r"^ *(?:async )?(?:def|class) +(\w+)",
        r"^ *(?:cdef|cpdef) (?:[\w.*, \[\]]* )?\*?(\w+)[(:]",
        r"^(?:[\w*]+ )+\*?(\w+)\(",  # a C function, whose text begins the line
        r"#\s*define (\w+)",
        r"^\} (\w+);",
        r"^typedef [^;{]*\b(\w+);",
        r"^(?:typedef )?(?:struct|enum|union) (\w+)",
    )
    return frozenset(n for pattern in patterns for n in re.findall(pattern, code(), re.MULTILINE))


def resolves(dotted: str) -> bool:
    """Whether a name such as `_core.Stack` or `Stack.forward` leads to something."""
    first, *rest = dotted.split(".")
    starts: list[Any] = [modules()[first]] if first in modules() else []
    starts += classes().get(first, [])
    if first == "torch":
        starts.append(pytest.importorskip("torch"))
    return any(_attribute_exists(start, rest) for start in starts)


def _attribute_exists(value: Any, names: list[str]) -> bool:
    for name in names:
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


def file_exists(name: str) -> bool:
    """A path from the root, or the end of a file's path; * matches any part of a name."""
    if name.endswith("/"):
        return (ROOT / name).is_dir()
    if "/" in name and any(ROOT.glob(name)):
        return True
    return any(path.match(name) for path in FILES)


def why_unknown(name: str) -> str | None:
    """What is wrong with a name in backticks, if anything."""
    if re.fullmatch(FILE, name.rpartition("/")[2]) or re.fullmatch(r"\.?[\w.*-]+/[\w./*-]*", name):
        return None if file_exists(name) else "no such file"
    bare = name.removesuffix("()")
    if re.fullmatch(r"\w+(?:\.\w+)+", bare):
        return None if resolves(bare) else "leads nowhere"
    if re.fullmatch(r"\w+", bare):
        if bare not in identifiers():
            return "not in the code"
        named = name.endswith("()") or re.fullmatch(r"[A-Z]\w*[a-z]\w*", bare)
        return None if not named or bare in defined() else "not defined in the code"
    if re.fullmatch(r"\w+::\w+", name):
        return None if name in code() else "not in the code"
    return None  # an expression, a shape or a command


def test_dir_lists_the_interface() -> None:
    assert {name for name in dir(fastrnn) if not name.startswith("__")} <= {*fastrnn.__all__}
    assert {*fastrnn.__all__} <= {*dir(fastrnn)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_quoted_names_exist(document: Path) -> None:
    """Each name in backticks is a file, or something that the code defines."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    names = sorted(set(re.findall(r"`([^`\n]+)`", text)))
    unknown = {name: why for name in names if (why := why_unknown(name))}
    assert not unknown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_plain_names_exist(document: Path) -> None:
    """Also without backticks, as in pictures: files, and what has the prefix of the C library."""
    text = document.read_text()
    files = set(re.findall(rf"(?<![\w/.*-])(?:[\w.-]+/)*{FILE}(?![\w/])", text))
    prefixed = set(re.findall(r"\bfrnn_\w+", text))
    unknown = [name for name in files if not file_exists(name)]
    unknown += [name for name in prefixed if name not in identifiers()]
    assert not unknown


# A case has the form text_lstm_32, translate_lstm_1024 or speaker_bilstm_128x4; sizes alone, as
# in lstm_35_20_650_650, do not name one.
CASE = re.compile(
    r"\b(?:[a-z]+\d*_(?:bi)?(?:lstmp?|gru|rnn)(?:_relu)?_\d+(?:x\d+)?|(?:lstm|gru|rnn)(?:_\d+){2,})\b"
)


def comments(path: Path) -> str:
    """The comments and docstrings of a file."""
    text = path.read_text()
    if path.suffix in (".c", ".h"):
        return "\n".join(re.findall(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL))
    return "\n".join(re.findall(r'"""(?:[^\\]|\\.)*?"""|(?:^|\s)#[^\n]*', text, re.DOTALL))


def test_benchmark_cases_in_comments_exist() -> None:
    """A constant names the case it was measured on, so that it can be measured again."""
    tables = [ROOT / "benchmarks/measuring/cases.py", ROOT / "fastrnn/bench.py"]
    cases = {n for path in tables for n in re.findall(r'Case\(\s*"(\w+)"', path.read_text())}
    assert len(cases) > 30
    sources = [
        path
        for path in FILES
        if path.suffix in (".c", ".h", ".py", ".pyx", ".pxi")
        and path.relative_to(ROOT).parts[0] in ("src_c", "fastrnn")
    ]
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sources
        for name in CASE.findall(comments(path))
    }
    assert len(named) > 10
    assert not sorted((path, name) for path, name in named if name not in cases)
