# SPDX-License-Identifier: MIT
"""A program that reads or saves a file while allocations fail, one at a time.

    python failing_allocations.py DENSITY PATH ...

Prints a line for each outcome that is neither what happens with enough memory nor MemoryError.
"""

from __future__ import annotations

import _testcapi
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import fastrnn
from fastrnn.readers import describe_file, read_file

# The interpreter and numpy forget in places that it is memory that they lack.
OF_OTHERS = ("can't allocate", "error return without exception set", "without setting an exception")


MOST_ALLOCATIONS = 25_000  # more than any of the files takes


def outcome(act: Callable[[], object], failing: int | None = None) -> str:
    """What comes of an action, whose allocation of this number fails."""
    found = "done"
    if failing is not None:
        _testcapi.set_nomemory(failing, failing + 1)
    try:
        act()
    except BaseException as error:
        _testcapi.remove_mem_hooks()
        is_of_others = any(text in str(error) for text in OF_OTHERS)
        found = "MemoryError" if is_of_others else type(error).__name__
    _testcapi.remove_mem_hooks()
    return found


def unexpected(act: Callable[[], object], density: int) -> Iterator[str]:
    """Outcomes that are neither, for a series of allocations, denser at its beginning."""
    usual = outcome(act)  # imports what the action needs
    assert outcome(act) == usual
    failing = 1
    while failing < MOST_ALLOCATIONS:
        found = outcome(act, failing)
        if found not in (usual, "MemoryError"):
            yield f"allocation {failing}: {found}"
        failing += 1 + failing // density


def main(density: int, paths: list[str]) -> None:
    warnings.simplefilter("ignore")
    for path in paths:
        for reader in (read_file, describe_file, fastrnn.load):
            for found in unexpected(lambda reader=reader, path=path: reader(path), density):
                print(f"{Path(path).name}, {reader.__name__}: {found}")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "model.frnn")
        model = fastrnn.Sequential(fastrnn.LSTM(3, 5, seed=1), fastrnn.Linear(5, 2, seed=2))
        fastrnn.save(model, target)
        before = target.read_bytes()
        for found in unexpected(lambda: fastrnn.save(model, target), 4 * density):
            print(f"save: {found}")
        if list(Path(folder).iterdir()) != [target] or target.read_bytes() != before:
            print("save: the folder has changed")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
