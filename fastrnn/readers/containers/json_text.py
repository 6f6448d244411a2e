# SPDX-License-Identifier: MIT
"""A strict JSON parser for untrusted text: no ambiguity, bounded size, depth and memory."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import NoReturn

from ..errors import FormatError, quote
from .budget import Budget

LARGEST_TEXT = 64 << 20
# What a byte of the text makes at most: a list or dict, a number with its place in a list, an entry
# of a dict and the pair that it comes from, half a string without its characters.
_MEMORY = {b"[": 80, b"{": 80, b",": 40, b":": 170, b'"': 32}
_DEEPEST = 64
_LONGEST_NUMBER = 64
_MARKS = b'[]{}"'
_NO_MARKS = bytes(set(range(256)) - set(_MARKS))


def parse_json(raw: bytes, what: str, budget: Budget, most: int = LARGEST_TEXT) -> object:
    """Return the value of a JSON text. Raises FormatError, which begins with `what`.

    Memory and work are charged before parsing, from the brackets, commas, colons and quotes of the
    text.
    """
    if len(raw) > most:
        raise FormatError(f"{what}: expected at most {most} bytes, got {len(raw)}")
    counts = {mark: raw.count(mark) for mark in _MEMORY}
    objects = sum(count * _MEMORY[mark] for mark, count in counts.items())
    characters = len(raw) * (2 if raw.isascii() else 8)  # the text, and its strings
    budget.spend(objects + characters, what)
    budget.step(sum(counts.values()), what)
    try:
        _check_depth(raw)
        text = raw.decode("utf-8")
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse,
        )
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not valid JSON ({error})") from None
    return value


def _check_depth(raw: bytes) -> None:
    """Follow the brackets outside of strings, where no quote is behind a backslash."""
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth, inside = 0, False
    for mark in bare.translate(None, _NO_MARKS).decode():
        if mark == '"':
            inside = not inside
        elif not inside:
            depth += 1 if mark in "[{" else -1
            if depth > _DEEPEST:
                raise FormatError(f"lists and objects are nested more than {_DEEPEST} deep")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise FormatError(f"{quote(twice)} occurs twice in an object")
    return result


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        _refuse(text)
    return int(text)


def _number(text: str) -> float:
    value = float(text) if len(text) <= _LONGEST_NUMBER else math.inf
    if not math.isfinite(value):
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    raise FormatError(f"the number {quote(text)} is not finite or too long")
