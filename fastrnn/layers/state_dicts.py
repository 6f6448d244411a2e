# SPDX-License-Identifier: MIT
"""Checks of a state dict for a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..readers.errors import listing
from ..stack_spec import Shape
from .arrays import FLOATS


def check_state_dict(
    arrays: Mapping[str, ArrayLike], prefix: str, expected_shapes: Mapping[str, Shape]
) -> dict[str, NDArray[Any]]:
    """Take the tensors under `prefix` by their standard names, if they are the expected ones.

    As strict as PyTorch: ValueError names every tensor that is missing, unexpected or misshapen,
    TypeError one that does not hold floats.
    """
    check_types(arrays, prefix)
    prefix = with_dot(prefix)
    found = {name.removeprefix(prefix) for name in arrays if name.startswith(prefix)}
    missing = [prefix + name for name in expected_shapes if name not in found]
    unexpected = [prefix + name for name in sorted(found) if name not in expected_shapes]
    taken = {
        name: as_array(prefix + name, arrays[prefix + name])
        for name in expected_shapes
        if name in found
    }
    wrong = [
        f"{prefix + name!r} has shape {array.shape}, expected {expected_shapes[name]}"
        for name, array in taken.items()
        if array.shape != expected_shapes[name]
    ]
    problems = [f"missing {listing(missing, len(missing))}"] if missing else []
    problems += [f"unexpected {listing(unexpected, len(unexpected))}"] if unexpected else []
    problems += wrong
    if problems:
        raise ValueError(f"state dict does not fit the layer: {'; '.join(problems)}")
    for name, array in taken.items():
        if array.dtype.name not in FLOATS:
            raise TypeError(
                f"{prefix + name!r} has dtype {array.dtype}, expected {' or '.join(FLOATS)}"
            )
    return taken


def check_types(arrays: object, prefix: object) -> None:
    """TypeError for arrays that are not a mapping of names, or a prefix that is not a name."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays: expected a mapping of names, got {type(arrays).__name__}")
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"arrays: expected names that are str, got {name!r}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected str, got {type(prefix).__name__}")


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Convert a tensor to an array; TypeError names one that numpy cannot take."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # what torch raises depends on why
        raise TypeError(
            f"{name!r}: expected an array, got {type(value).__name__} that numpy cannot convert "
            f"({error}); pass tensor.detach().float().cpu() for a torch tensor"
        ) from error


def with_dot(prefix: str) -> str:
    """Add the dot that separates a module's prefix from the names in the module."""
    return prefix if not prefix or prefix.endswith(".") else prefix + "."
