# SPDX-License-Identifier: MIT
"""The documents are true: snippets and commands run, names and links exist, no machine's paths."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn.cli import build_parser
from fastrnn.demo import DATA

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / "benchmarks/README.md"]
EVERY_DOCUMENT = [*DOCUMENTS, ROOT / "fastrnn/demo_data/README.md"]
MODULES = ["fastrnn"] + [
    found.name
    for found in pkgutil.walk_packages(fastrnn.__path__, "fastrnn.")
    if found.name not in ("fastrnn._core", "fastrnn.__main__")
]
SOURCES = [
    path
    for folder in ("src_c", "fastrnn", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".c", ".h", ".py", ".pyx")
]
MACHINE = re.compile(
    r"(?<![\w}])/(work|farm|root|home|tmp)/[\w.-]|pypi\.org|pythonhosted\.|download\.pytorch\."
)

name_of = {"ids": lambda path: path.relative_to(ROOT).as_posix()}
documents = pytest.mark.parametrize("document", DOCUMENTS, **name_of)
every_document = pytest.mark.parametrize("document", EVERY_DOCUMENT, **name_of)


def snippets(document: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE
    )


def python(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", *arguments], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path) -> Path:
    """What the snippets and commands read: a model and an input for it."""
    shutil.copy(DATA / "digits_lstm.pt", tmp_path / "model.pt")
    np.save(tmp_path / "X.npy", np.ones((20, 3, 8), np.float32))
    return tmp_path


@documents
def test_python_snippets_run(document, folder):
    for snippet in snippets(document, "python"):
        python("-c", snippet, cwd=folder)


def test_the_first_snippet_runs_as_pasted(tmp_path):
    python("-c", snippets(README, "python")[0], cwd=tmp_path)  # a folder without files


def test_readme_has_an_example_for_each_of_its_users():
    text = README.read_text()
    assert len(text.splitlines()) < 170
    python_code = "\n".join(snippets(README, "python"))
    for use in ("fastrnn.load(", ".stream()", "fastrnn.fit(", "fastrnn.torch.accelerate("):
        assert use in python_code
    assert snippets(README, "c")
    assert re.search(r"^    fastrnn run ", text, re.MULTILINE)
    for command in ("pip install . && fastrnn demo", "pip install '.[test]' && pytest"):
        assert f"\n    {command}\n" in text


def test_contents_list_every_page():
    contents = (ROOT / "docs/README.md").read_text()
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w.]+)\) \|", contents, re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in PAGES if page.name != "README.md")


@pytest.mark.parametrize("document", [README, ROOT / "docs/c.md"], **name_of)
def test_c_snippet_runs(document, tmp_path):
    """Compiled by the command in the same document."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler {compiler}")
    (snippet,) = snippets(document, "c")
    (tmp_path / "example.c").write_text(snippet)
    (tmp_path / "src_c").symlink_to(ROOT / "src_c")
    (command,) = re.findall(r"^    cc (.*example\.c.*)$", document.read_text(), re.M)
    # Unoptimised: that would take most of the time, and the point is that it builds.
    words = [compiler, *shlex.split(command), "-O0", "-Wall", "-Wextra"]
    words = [
        name
        for word in words
        for name in (sorted(map(str, tmp_path.glob(word))) if "*" in word else [word])
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "example.c" not in done.stderr  # no warnings
    ran = subprocess.run([tmp_path / "example"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"{fastrnn.isas()[0]}: no error\n")


def run_commands(lines: list[str], folder: Path) -> None:
    for line in lines:
        arguments = line.replace("MODEL", "model.pt").split()
        assert python("-m", "fastrnn", *arguments, cwd=folder)
    assert np.load(folder / "Y.npy").shape == (20, 3, 64)


def test_commands_run(folder):
    """The page's table lists every command that there is, and each of them runs."""
    table = re.findall(r"^\| `fastrnn (.+?)` \|", (ROOT / "docs/command_line.md").read_text(), re.M)
    (choices,) = [action.choices for action in build_parser()._actions if action.choices]
    assert sorted(line.split()[0] for line in table) == sorted(choices)
    run_commands(table, folder)


def test_commands_of_the_readme_run(folder):
    run_commands(re.findall(r"^    fastrnn (.+)$", README.read_text(), re.MULTILINE), folder)


def test_options_of_the_command_line_exist(folder):
    """Every option that the page's second table lists is one of `fastrnn run`."""
    page = (ROOT / "docs/command_line.md").read_text()
    rows = re.findall(r"^\| (`--.+?) \|", page, re.MULTILINE)
    options = [option for row in rows for option in re.findall(r"`(--[\w-]+)", row)]
    usage = python("-m", "fastrnn", "run", "--help", cwd=folder)
    assert len(options) > 5
    for option in options:
        assert option in usage


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@every_document
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def anchors(document: Path, level: str = "#+") -> list[str]:
    """The names that a document's headings have as targets of links, in order."""
    headings = re.findall(rf"^{level} (.+)$", document.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@every_document
def test_links_to_headings_lead_somewhere(document):
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", document.read_text()):
        assert anchor in anchors(document.parent / path if path else document), anchor


@documents
def test_contents_of_a_page_are_complete(document):
    """A page with a list of its sections lists all of them, in order."""
    listed = re.findall(r"^- \[[^\]]+\]\(#([^)]+)\)$", document.read_text(), re.MULTILINE)
    assert not listed or listed == anchors(document, "##")


@documents
def test_names_exist(document):
    """Files in backticks are there; so are functions, by `name()`, and tests, by `test_name`."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    quoted = set(re.findall(r"`([^`\n]+)`", text))
    code = "\n".join(path.read_text() for path in SOURCES)
    for name in quoted:
        if re.fullmatch(r"[\w./]+\.(c|h|py|pyx|pyi|toml)|\.?[\w.]+/[\w./]*", name):
            assert (ROOT / name).exists() or name in {path.name for path in SOURCES}, name
        elif match := re.fullmatch(r"(?:\w+\.)*(\w+)\(\)|(test_\w+)", name):
            assert re.search(rf"\b{match[1] or match[2]}\b", code), name


def test_nothing_points_to_a_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0 or not listed.stdout:
        pytest.skip("not a git checkout")
    for name in listed.stdout.rstrip("\0").split("\0"):
        path = ROOT / name
        if path.is_file() and path.suffix not in (".pt", ".npz", ".npy", ".frnn", ".safetensors"):
            found = MACHINE.search(path.read_text(errors="replace"))
            assert found is None, f"{name}: {found}"
