# SPDX-License-Identifier: MIT
"""Element types of model files, checks of shapes, and the conversion of bytes to numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from .budget import ARRAY_OVERHEAD

Array = NDArray[Any]

BFLOAT16 = "bf16"  # every other element type is a numpy type code such as "f4"
_LARGEST = 1 << 62
_MOST_DIMENSIONS = 16


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry of an unsupported kind; `why` is the text of the error for whoever needs it."""

    why: str
    is_tensor: bool = True  # False: an object, which is not a weight


Entry = Array | Unreadable


def raw_dtype(code: str, big_endian: bool = False) -> np.dtype[Any]:
    """The numpy type of the elements as stored in the file; bfloat16 as 16-bit integers."""
    return np.dtype((">" if big_endian else "<") + ("u2" if code == BFLOAT16 else code))


def is_floating(code: str) -> bool:
    """Whether the elements are floating-point numbers, as weights are."""
    return code[0] in "fb" and code != "b1"


def check_shape(shape: object, itemsize: int, what: str) -> tuple[tuple[int, ...], int]:
    """Return the shape as a tuple of ints, and its size in bytes. `what` is named in errors."""
    if not isinstance(shape, (tuple, list)):
        raise FormatError(f"{what}: the shape is not a list of sizes")
    if len(shape) > _MOST_DIMENSIONS:
        raise FormatError(
            f"{what}: expected at most {_MOST_DIMENSIONS} dimensions, got {len(shape)}"
        )
    extent = itemsize  # without sizes of 0, as numpy multiplies the others even then
    for size in shape:
        if type(size) is not int or not 0 <= size < _LARGEST:
            raise FormatError(f"{what}: a size in the shape is not a count")
        extent *= max(size, 1)
        if extent >= _LARGEST:
            raise FormatError(f"{what}: the shape is too large")
    return tuple(shape), 0 if 0 in shape else extent


def finished_bytes(nbytes: int, code: str) -> int:
    """The memory of an array that `finish` makes of so many bytes of elements."""
    return nbytes * (2 if code == BFLOAT16 else 1) + ARRAY_OVERHEAD


def finish(array: Array, code: str) -> Array:
    """Return native, aligned, contiguous, writable elements; bfloat16 becomes float32."""
    if code == BFLOAT16:
        wide = array.astype(np.uint32, order="C")
        wide <<= 16
        return wide.view(np.float32).reshape(array.shape)
    if code == "b1":
        array = np.asarray(array.view(np.uint8) != 0)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return array if array.flags.carray else array.copy(order="C")
