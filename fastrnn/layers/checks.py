# SPDX-License-Identifier: MIT
"""Checks of the arguments that layers take."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


def default_isa() -> str:
    """The instruction set named by FASTRNN_ISA, else the best one this machine can run."""
    name = os.environ.get("FASTRNN_ISA")
    return check_isa(name, "FASTRNN_ISA") if name else _core.isas()[0]


def check_isa(name: str, argument: str) -> str:
    usable = _core.isas()
    if name not in usable:
        raise ValueError(
            f"{argument}: expected one of {usable}, which this machine can run, got {name!r}"
        )
    return name


def check_size(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if not 1 <= value < 2**24:
        raise ValueError(f"{name}: expected 1 to {2**24 - 1}, got {value}")


def checked_flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_lengths(lengths: Sequence[int] | ArrayLike, batch: int, steps: int) -> NDArray[np.uintp]:
    array = np.asarray(lengths)
    if array.shape != (batch,):
        raise ValueError(f"lengths: expected shape ({batch},), got {array.shape}")
    if batch == 0:
        return np.empty(0, np.uintp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {array.dtype}")
    if array.min() < 1 or array.max() > steps:
        outside = array[(array < 1) | (array > steps)][0]
        raise ValueError(f"lengths: expected 1 to {steps} steps, got {outside}")
    return array.astype(np.uintp)


def drawn_seed(seed: int | None) -> int:
    """The seed of a training pass: the caller's, or for None another each time."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an int, got {type(seed).__name__}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected 0 to 2**64 - 1, got {seed}")
    return int(seed)
