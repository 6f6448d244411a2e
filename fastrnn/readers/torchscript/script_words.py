# SPDX-License-Identifier: MIT
"""The words of TorchScript code, found in time linear in its length."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..containers.budget import Budget
from ..errors import FormatError, quote

_SPACED = str.maketrans({mark: f" {mark} " for mark in "()[]{},=:"})
_WORD_BYTES = 192  # upper bound of the memory of a word and what is made of it
_LONGEST_LINE = 1 << 20
_LONGEST_NUMBER = 40


class LineError(FormatError):
    """A line of code that has no words."""


def scan(line: str, budget: Budget) -> list[str]:
    """The names, numbers, strings and marks of a line, which are charged."""
    if len(line) > _LONGEST_LINE:
        raise LineError(f"the code has a line of {len(line)} characters")
    words: list[str] = []
    at = 0
    while (begin := line.find('"', at)) >= 0:
        words += _split(line[at:begin])
        at = _string_end(line, begin)
        words.append(line[begin:at])
    words += _split(line[at:])
    budget.step(len(words), "the code")
    budget.spend(_WORD_BYTES * len(words), "the code")
    return words


def _split(text: str) -> Iterator[str]:
    """The words of a text without strings: `a.b` is three, `1.5e-05` and `->` are one."""
    for word in text.translate(_SPACED).split():
        if word[0] == "-" and word != "->":
            yield "-"
            word = word[1:]
        if word[:1].isdigit():
            yield word
        else:
            yield from word.replace(".", " . ").split()


def _string_end(line: str, begin: int) -> int:
    """The place behind the quote that ends a string; what follows a backslash does not."""
    at, end = begin + 1, line.find('"', begin + 1)
    while end >= 0:
        escape = line.find("\\", at, end)
        if escape < 0:
            return end + 1
        at = escape + 2
        if at > end:
            end = line.find('"', at)
    raise LineError(f"the code has a string without an end: {quote(line)}")


def read_number(text: str) -> int | float | None:
    """The finite number that a text is; None if it is none."""
    digits = text.removeprefix("-")
    if len(text) > _LONGEST_NUMBER or not text.isascii() or not digits[:1].isdigit():
        return None
    if digits.isdigit():
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def flat_weights_path(variable: str) -> str:
    """The path of a frozen layer, from the variable self_<path>__flat_weights of its weights."""
    stem = variable.rstrip("0123456789")
    inside = stem.startswith("self_") and stem.endswith("__flat_weights")
    return stem[len("self_") : -len("__flat_weights")] if inside else ""
