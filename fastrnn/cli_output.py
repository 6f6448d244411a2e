# SPDX-License-Identifier: MIT
"""What the command line prints: JSON, tables and lines, with a bound on all but JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

MOST_ROWS = 1000  # of a table
_LONGEST_CELL = 200
_LONGEST_LINE = 2000


def print_json(facts: dict[str, Any]) -> None:
    """Print all of it: programs read it."""
    print(json.dumps(facts, indent=2))


def print_table(head: list[str], rows: Iterable[list[str]]) -> None:
    """Print the first rows, in columns, and how many more there are."""
    rows = iter(rows)
    table = [[_cell(text, _LONGEST_CELL) for text in row] for row in [head, *_first(rows)]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    _print_more(rows)


def print_lines(lines: Iterable[str]) -> None:
    """Print the first lines, and how many more there are."""
    lines = iter(lines)
    for line in _first(lines):
        print(_cell(line, _LONGEST_LINE))
    _print_more(lines)


def _first(rows: Iterable[Any]) -> Iterable[Any]:
    return islice(rows, MOST_ROWS)


def _print_more(rows: Iterable[Any]) -> None:
    more = sum(1 for _ in rows)
    if more:
        print(f"... and {more} more; --json prints all")


def _cell(text: str, longest: int) -> str:
    """Printable text with a bound."""
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def printable(text: str) -> str:
    """Text without control characters: names from a file must not control the terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]
