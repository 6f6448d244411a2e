# SPDX-License-Identifier: MIT
"""Sizes, objects and arrays of numbers in a JSON text, checked."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from ..containers.elements import Array
from ..errors import FormatError

LARGEST_SIZE = 1 << 16
_MOST_DIMENSIONS = 8

Object = Mapping[str, object]


def nested(value: object, what: str) -> Array:
    """A float32 array from lists of lists of numbers, all of one length at each depth."""
    level = [value]
    shape: list[int] = []
    while level and isinstance(level[0], list):
        rows = [row for row in level if isinstance(row, list) and len(row) == len(level[0])]
        if len(rows) < len(level) or len(shape) == _MOST_DIMENSIONS:
            raise FormatError(f"{what}: its lists are not those of an array")
        shape.append(len(rows[0]))
        level = list(chain.from_iterable(rows))
    return floats(level, what).reshape(shape)


def floats(values: list[object], what: str) -> Array:
    """A float32 array of numbers, which must be finite in float32."""
    if any(type(value) is not float and type(value) is not int for value in values):
        raise FormatError(f"{what}: an element is not a number")
    with np.errstate(over="ignore"):  # parse_json has no number that float64 cannot hold
        array = np.array(values, np.float64).astype(np.float32)
    if not np.isfinite(array).all():
        raise FormatError(f"{what}: a number is too large")
    return array


def json_map(model: Object, key: str) -> Object:
    """The object at a key."""
    value = model[key]
    if not isinstance(value, dict):
        raise FormatError(f"{key} is not a JSON object")
    return value


def size(
    data: Object, key: str, default: int | None = None, most: int = LARGEST_SIZE, least: int = 1
) -> int:
    """The integer at a key, from `least` to `most`."""
    value = data.get(key, default)
    if type(value) is not int or not least <= value <= most:
        found = value if type(value) in (int, float) else type(value).__name__
        raise FormatError(f"{key} is {found}, expected an integer from {least} to {most}")
    return value


def shown(value: object) -> str:
    """A text as it is, the type of anything else."""
    return value if isinstance(value, str) else type(value).__name__
