# SPDX-License-Identifier: MIT
"""Element types of model files, checked sizes, and the step from raw elements to numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError

Array = NDArray[Any]

BFLOAT16 = "bf16"  # every other element type is a numpy type code such as "f4"
_LARGEST = 1 << 62
_MOST_DIMENSIONS = 16


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for an entry of a kind that is not read."""

    why: str


Entry = Array | Unreadable


def raw_dtype(code: str, big_endian: bool = False) -> np.dtype[Any]:
    """The numpy type of the elements as they stand in the file."""
    return np.dtype((">" if big_endian else "<") + ("u2" if code == BFLOAT16 else code))


def is_floating(code: str) -> bool:
    """Whether the elements are floating-point numbers, as weights are."""
    return code[0] in "fb" and code != "b1"


def check_shape(shape: object, itemsize: int, what: str) -> tuple[tuple[int, ...], int]:
    """The shape as a tuple of plain ints, and its size in bytes."""
    if not isinstance(shape, (tuple, list)):
        raise FormatError(f"{what}: the shape is not a list of sizes")
    if len(shape) > _MOST_DIMENSIONS:
        raise FormatError(f"{what}: {len(shape)} dimensions, at most {_MOST_DIMENSIONS} are read")
    extent = itemsize  # zero sizes left out: numpy multiplies the others
    for size in shape:
        if type(size) is not int or not 0 <= size < _LARGEST:
            raise FormatError(f"{what}: a size in the shape is not a count")
        extent *= max(size, 1)
        if extent >= _LARGEST:
            raise FormatError(f"{what}: the shape is too large")
    return tuple(shape), 0 if 0 in shape else extent


def finish(array: Array, code: str) -> Array:
    """Native, aligned, contiguous, writable elements; bfloat16 widened to float32."""
    if code == BFLOAT16:
        return (array.astype(np.uint32, order="C") << 16).view(np.float32).reshape(array.shape)
    if code == "b1":
        array = np.asarray(array.view(np.uint8) != 0)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return array if array.flags.carray else array.copy(order="C")
