# SPDX-License-Identifier: MIT
"""Checks of arguments, and the errors of a layer inside another one."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core

MOST_NUMBER = 3.4e38  # the largest float32, nearly
MOST_SIZE = 2**24 - 1  # of a layer's sizes
_MOST_SEED = 2**64 - 1


@cache
def usable_isas() -> list[str]:
    """The instruction sets of this machine, best first; virtual ones take 0.2 ms to answer."""
    return _core.isas()


def default_isa() -> str:
    """The instruction set named by FASTRNN_ISA, else the best one this machine can run."""
    name = os.environ.get("FASTRNN_ISA")
    return check_isa(name, "FASTRNN_ISA") if name else usable_isas()[0]


def check_isa(name: str, argument: str) -> str:
    usable = usable_isas()
    if not isinstance(name, str) or name not in usable:
        raise ValueError(
            f"{argument}: expected one of {usable}, which this machine can run, got {name!r}"
        )
    return name


def check_int(
    name: str,
    value: Any,
    lowest: int | None = None,
    highest: int | None = None,
    expected: str | None = None,
) -> int:
    """Return an integer, numpy's own too, as an int; bounds are included.

    TypeError if it is none, ValueError if it is out of bounds; `expected` describes the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    too_low = lowest is not None and value < lowest
    if too_low or (highest is not None and value > highest):
        raise ValueError(f"{name}: expected {expected or f'{lowest} to {highest}'}, got {value}")
    return int(value)


def single(name: str, value: Any) -> Any:
    """The value of a tuple of one, as torch keeps sizes."""
    if isinstance(value, tuple | list):
        if len(value) != 1:
            raise ValueError(f"{name}: expected one number, got {value!r}")
        return value[0]
    return value


def check_ints(name: str, values: Any, lowest: int | None = None) -> tuple[int, ...]:
    """Return a sequence of integers, numpy's own too, as a tuple of ints."""
    if not isinstance(values, Sequence | np.ndarray) or np.ndim(values) != 1:
        raise TypeError(f"{name}: expected a sequence of ints, got {type(values).__name__}")
    return tuple(check_int(name, value, lowest, MOST_SIZE) for value in values)


def check_size(name: str, value: Any) -> int:
    """Return a size of a layer, an int of at least 1."""
    return check_int(name, value, 1, MOST_SIZE)


def check_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    return float(value)


def check_finite(name: str, value: Any) -> float:
    """Return a number that float32 holds."""
    number = check_number(name, value)
    if not abs(number) <= MOST_NUMBER:
        raise ValueError(f"{name}: expected a finite float32, got {value}")
    return number


def check_from_zero(name: str, value: Any, most: float = MOST_NUMBER) -> float:
    """Return a number of at least 0, which float32 holds, or at most `most`."""
    number = check_number(name, value)
    if not 0.0 <= number <= most:
        finite = "finite " * (most < math.inf)
        raise ValueError(f"{name}: expected a {finite}number of at least 0, got {value}")
    return number


def check_probability(name: str, value: Any) -> float:
    number = check_number(name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {value}")
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    if not isinstance(value, Hashable) or value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def checked_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_lengths(lengths: Sequence[int] | ArrayLike, batch: int, steps: int) -> NDArray[np.uintp]:
    array = np.asarray(lengths)
    if array.shape != (batch,):
        other = f"; x has {batch} rows of {steps} steps: is batch_first right?"
        raise ValueError(
            f"lengths: expected shape ({batch},), got {array.shape}"
            + other * (array.shape == (steps,))
        )
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
    return check_int("seed", seed, 0, _MOST_SEED, "0 to 2**64 - 1")


def source_of(seed: Any) -> np.random.Generator:
    """The source of random numbers of a `seed`: None, an int, or what default_rng takes."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed: expected None, an int from 0 or a numpy.random.Generator, got {seed!r}"
        ) from error


def raise_from_layer(name: str, error: Exception) -> NoReturn:
    """Raise a ValueError or TypeError again, with the name of the layer that it comes from.

    Errors of derived classes are raised as they are.
    """
    if type(error) in (ValueError, TypeError):
        raise type(error)(f"layer {name!r}: {error}") from error
    raise error
