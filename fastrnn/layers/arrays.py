# SPDX-License-Identifier: MIT
"""Arrays as layers take them: floating point becomes float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

FLOAT32 = np.dtype(np.float32)
FLOATS = ("float16", "float32", "float64")  # names of the dtypes that weights may have
_FLOATS = (FLOAT32, np.dtype(np.float64), np.dtype(np.float16))


def float_array(value: ArrayLike, name: str) -> Array:
    """An aligned float32 array: `value` itself if it is one, cast from float16 or float64."""
    if type(value) is np.ndarray and value.dtype is FLOAT32 and value.flags.aligned:
        return value
    array = dense_array(value, name)
    if array.dtype not in _FLOATS:
        raise TypeError(f"{name}: expected float32, float16 or float64, got {array.dtype}")
    return np.require(array, FLOAT32, "A")


def copies(*arrays: Array | None) -> tuple[Array | None, ...]:
    """Aligned, contiguous copies, for C where it cannot read the arrays in place."""
    return tuple(None if array is None else array.copy() for array in arrays)


def dense_array(value: ArrayLike, name: str) -> NDArray[Any]:
    """A numpy array; TypeError for what has no single shape, as sequences of several lengths.

    TypeError for an array with a mask, too, which a layer would ignore.
    """
    if isinstance(value, np.ndarray) and hasattr(value, "mask"):
        raise TypeError(
            f"{name}: expected an array without a mask, got {type(value).__name__}; pass its data, "
            "and lengths= for steps that are padding"
        )
    hint = "; sequences of different lengths: pad them to one array and pass lengths="
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        ragged = hasattr(value, "batch_sizes") or isinstance(error, ValueError)
        raise TypeError(
            f"{name}: expected an array of numbers, got {type(value).__name__} "
            f"({error}){hint * ragged}"
        ) from error
    if array.dtype == object:
        raise TypeError(f"{name}: expected an array of numbers, got an array of objects{hint}")
    return array


def float_or_int_array(value: ArrayLike, name: str) -> NDArray[Any]:
    """An array of integers as it is, any other as `float_array` returns it."""
    if type(value) is np.ndarray and value.dtype is FLOAT32:
        return float_array(value, name)
    array = dense_array(value, name)
    return array if array.dtype.kind in "iu" else float_array(array, name)
