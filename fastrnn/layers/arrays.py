# SPDX-License-Identifier: MIT
"""What the layers take as an array of floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

FLOAT32 = np.dtype(np.float32)
_FLOATS = (FLOAT32, np.dtype(np.float64), np.dtype(np.float16))


def float_array(value: ArrayLike, name: str) -> Array:
    """A float32 array: `value` itself where it is one, cast from float16 or float64."""
    if type(value) is np.ndarray and value.dtype is FLOAT32:
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        hint = "; pass the padded batch with lengths=" if hasattr(value, "batch_sizes") else ""
        raise TypeError(
            f"{name}: expected an array of floats, got {type(value).__name__} ({error}){hint}"
        ) from error
    if array.dtype not in _FLOATS:
        raise TypeError(f"{name}: expected float32, float16 or float64, got {array.dtype}")
    return array.astype(FLOAT32, copy=False)
