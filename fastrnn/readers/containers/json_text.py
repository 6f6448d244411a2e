# SPDX-License-Identifier: MIT
"""A strict JSON parser for untrusted text: no ambiguity, bounded size, depth and memory."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import NoReturn

from ..errors import FormatError, quote
from .source import Budget

LARGEST_TEXT = 64 << 20
_CONTAINER_BYTES = 240  # of a dict of a few items, which takes the most memory for its text
_STRING_BYTES = 64
_ITEM_BYTES = 40  # a number and its place in a list
_DEEPEST = 64
_LONGEST_NUMBER = 64
# Strings are skipped as one token; one without an end is the rest of the text.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json(raw: bytes, what: str, budget: Budget, most: int = LARGEST_TEXT) -> object:
    """Return the value of a JSON text. Raises FormatError, which begins with `what`.

    The memory is charged to the budget before parsing, from the number of items, containers and
    strings in the text.
    """
    if len(raw) > most:
        raise FormatError(f"{what}: expected at most {most} bytes, got {len(raw)}")
    containers = raw.count(b"{") + raw.count(b"[")
    unfolded = _CONTAINER_BYTES * containers + _STRING_BYTES * raw.count(b'"') // 2
    unfolded += _ITEM_BYTES * raw.count(b",") + len(raw) * (1 if raw.isascii() else 4)
    budget.spend(unfolded, what)
    try:
        text = raw.decode("utf-8")
        _check_depth(text)
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


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        depth += (first in "[{") - (first in "]}")
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
