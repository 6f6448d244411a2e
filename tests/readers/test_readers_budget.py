# SPDX-License-Identifier: MIT
"""Files made to cost much: readers do work in proportion to the file, within what is promised."""

from __future__ import annotations

import ast
import math
import re
import sys
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hostile_files import HOSTILE
from reader_files import (
    dict_,
    memory_promise,
    refused_in_new_process,
    safetensors_file,
    storage,
    tensor,
    torch_file,
)

import fastrnn
from fastrnn.readers import FormatError, describe_file, read_file
from fastrnn.readers.containers import budget
from fastrnn.readers.containers.budget import (
    MEMORY_FLOOR,
    MEMORY_PER_BYTE,
    WORK_FLOOR,
    WORK_PER_BYTE,
    Budget,
)
from fastrnn.readers.containers.source import naming

READ = (read_file, describe_file, fastrnn.load)
LINES_PER_STEP = 16  # of Python, for a unit of work: measured up to 12
ROOT = Path(__file__).parents[2]
READERS = Path(fastrnn.readers.__file__).parent
# The header of an .npy array is at most 64 KiB long, and each pattern begins with fixed text.
BOUNDED = {READERS / "containers" / "npz.py"}


def lines_run(path: Path) -> int:
    """How many lines of Python reading a file in every way takes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()  # that of a coverage run
    for reader in READ:
        sys.settrace(trace)
        try:
            reader(path)
        except FormatError:
            pass
        finally:
            sys.settrace(before)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_work_is_linear(tmp_path, monkeypatch, name):
    monkeypatch.setattr(budget, "WORK_FLOOR", 1 << 14)  # reached sooner
    lines = []
    for size in (2, 200, 400):  # the first one imports the reader
        content = HOSTILE[name](size)
        (tmp_path / "m").write_bytes(content)
        lines.append(lines_run(tmp_path / "m"))
        promised = WORK_PER_BYTE * len(content) + budget.WORK_FLOOR
        assert lines[-1] < len(READ) * LINES_PER_STEP * promised
    assert lines[2] < 2.2 * lines[1]


@pytest.mark.parametrize(
    "name", ["pickle: strings", "pickle: dicts", "safetensors: lists", "json: paths"]
)
def test_memory_is_within_the_promise(tmp_path, name):
    content = HOSTILE[name](100_000 if name == "json: paths" else 2_000_000)
    (tmp_path / "m").write_bytes(content)
    peak, _ = refused_in_new_process(tmp_path / "m")
    assert peak < memory_promise(len(content))


@contextmanager
def traced():
    """Trace memory; a function that returns the most bytes there were at a time."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HIDDEN, LAYERS = 256, 2
WEIGHTS = {
    f"{name}_l{layer}": (4 * HIDDEN, HIDDEN)
    for layer in range(LAYERS)
    for name in ("weight_ih", "weight_hh")
}


def plain(**shapes: tuple[int, ...]) -> bytes:
    """A file of bfloat16 tensors of zeros."""
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    return safetensors_file(header, bytes(at))


def weight_normed() -> bytes:
    norms = {f"{name}_g": (rows, 1) for name, (rows, _) in WEIGHTS.items()}
    return plain(**norms, **{f"{name}_v": shape for name, shape in WEIGHTS.items()})


def tied(most: int) -> bytes:
    """Layers whose weights are all the same float16 numbers."""
    count = 4 * HIDDEN * HIDDEN
    shared = tensor([4 * HIDDEN, HIDDEN], source=storage(count, kind="HalfStorage"))
    names = [f"{name}_l{layer}" for layer in range(most) for name in ("weight_ih", "weight_hh")]
    return torch_file(dict_(dict.fromkeys(names, shared)), bytes(2 * count))


@pytest.mark.parametrize("content", [plain(**WEIGHTS), weight_normed()], ids=["plain", "computed"])
def test_loading_is_within_the_promise(tmp_path, monkeypatch, content):
    """A valid file is loaded, however large: its arrays, what is computed and float32 weights."""
    monkeypatch.setattr(budget, "MEMORY_FLOOR", 1 << 20)
    (tmp_path / "m").write_bytes(content)
    with traced() as peak:
        layer = fastrnn.load(tmp_path / "m")
        most = peak()
    assert layer.num_layers == LAYERS
    assert most < MEMORY_PER_BYTE * len(content) + (1 << 20)


def test_layers_that_share_their_weights(tmp_path, monkeypatch):
    """The file holds them once, each layer has its own: 40 times as much."""
    monkeypatch.setattr(budget, "MEMORY_FLOOR", 1 << 20)
    content = tied(20)
    (tmp_path / "m").write_bytes(content)
    with traced() as peak:
        with pytest.raises(FormatError, match="the layers of the model: the file expands"):
            fastrnn.load(tmp_path / "m")
        most = peak()
    assert most < MEMORY_PER_BYTE * len(content) + (1 << 20)


def test_making_layers_is_work(tmp_path, monkeypatch):
    """A small file may describe many layers; each takes more than its description."""
    monkeypatch.setattr(budget, "WORK_FLOOR", 1 << 15)
    (tmp_path / "m").write_bytes(HOSTILE["keras: layers"](2000))
    assert len(describe_file(tmp_path / "m").layers) == 2000
    with pytest.raises(FormatError, match="the layers of the model: the file takes more work"):
        fastrnn.load(tmp_path / "m")


def test_messages_have_a_bound(tmp_path):
    """Whatever the names of a file are, and however many reasons it is refused for."""
    weights = {f"{'n' * 100}{k}.weight_ih_l0": np.zeros((4, 1)) for k in range(50)}
    np.savez(tmp_path / "m.npz", **weights)
    with pytest.raises(FormatError, match=r"50 recurrent stacks.* and 30 more$") as caught:
        fastrnn.load(tmp_path / "m.npz")
    assert len(str(caught.value)) < 20 * 400
    with pytest.raises(FormatError, match=r"^m: x+ \.\.\. and 34464 characters more$"), naming("m"):
        raise FormatError("x" * 100_000)


def test_what_is_left(tmp_path):
    left = Budget(1000)
    left.step(2000 + WORK_FLOOR, "x")
    with pytest.raises(FormatError, match=r"^x: the file takes more work than 2 steps for each"):
        left.step(1, "x")
    left.admit(1)
    left.spend(memory_promise(1001), "x")
    with pytest.raises(FormatError, match=r"^x: the file expands to more than 4 times its size"):
        left.spend(1, "x")


def test_security_page():
    """SECURITY.md promises the numbers that these tests use, beside tests that there are."""
    page = (ROOT / "SECURITY.md").read_text()
    assert f"{MEMORY_PER_BYTE} times the file's size plus {MEMORY_FLOOR >> 20} MiB" in page
    assert f"{WORK_PER_BYTE} steps for each byte of the file plus {WORK_FLOOR:,}" in page
    assert f"{LINES_PER_STEP} lines of Python" in page
    defined = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for name in re.findall(r"`(test_\w+)`", page) if f"def {name}(" not in defined]
    assert not missing


def test_no_regular_expressions():
    """Patterns backtrack: text of a file is scanned by functions that are linear."""
    found = set()
    for path in READERS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) and any(alias.name == "re" for alias in node.names):
                found.add(path)
    assert found <= BOUNDED
