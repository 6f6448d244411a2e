# SPDX-License-Identifier: MIT
"""Branches of C code that tests have taken, from gcov: `make coverage`.

    python branch_coverage.py src_c/core build/c/coverage/core/*/*.gcda

prints each line with a branch that was never taken, and then the share of each file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

Branch = tuple[str, int, int]  # file, line, number in the line


def taken_branches(counts: list[str]) -> Counter[Branch]:
    """How often each branch was taken. A header counts once, whichever file includes it."""
    taken: Counter[Branch] = Counter()
    for path in counts:
        output = subprocess.run(["gcov", "-btj", path], check=True, capture_output=True).stdout
        for file in json.loads(output)["files"]:
            name = str(Path(file["file"]).resolve())
            for line in file["lines"]:
                for number, branch in enumerate(line["branches"]):
                    taken[name, line["line_number"], number] += branch["count"]
    return taken


def main(folder: str, *counts: str) -> None:
    root = Path(folder).resolve()
    taken = {b: n for b, n in taken_branches(list(counts)).items() if root in Path(b[0]).parents}
    all_of = Counter(file for file, _, _ in taken)
    missed = Counter(file for (file, _, _), count in taken.items() if count == 0)
    for file, number in sorted({b[:2] for b, count in taken.items() if count == 0}):
        text = Path(file).read_text().splitlines()[number - 1].strip()
        print(f"{Path(file).relative_to(root)}:{number}: {text}")
    print()
    for file, count in sorted(all_of.items()):
        share = 100 * (1 - missed[file] / count)
        print(f"{share:6.1f} % of {count:4}  {Path(file).relative_to(root)}")
    share = 100 * (1 - missed.total() / all_of.total())
    print(f"{share:6.1f} % of {all_of.total():4}  all branches; {missed.total()} never taken")


if __name__ == "__main__":
    main(*sys.argv[1:])
