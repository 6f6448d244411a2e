# SPDX-License-Identifier: MIT
"""Gradient clipping, in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layers.checks import check_from_zero, check_number
from .blocks import blocks

Gradients = Mapping[str, NDArray[Any]]


def check_gradients(gradients: object) -> None:
    """TypeError unless these are something by name."""
    if not isinstance(gradients, Mapping):
        found = type(gradients).__name__
        raise TypeError(f"gradients: expected a mapping of names to arrays, got {found}")


def _arrays(gradients: Gradients) -> list[NDArray[Any]]:
    """The arrays of gradients by name; TypeError for anything else."""
    check_gradients(gradients)
    for name, array in gradients.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"gradients[{name!r}]: expected an array of floats, got {found}")
    return list(gradients.values())


def gradient_norm(gradients: Gradients, norm_type: float = 2.0) -> float:
    """The norm of all gradients together: 2, another p, or math.inf for the largest entry."""
    if not check_number("norm_type", norm_type) > 0:
        raise ValueError(f"norm_type: expected a number above 0, got {norm_type}")
    arrays = [array for array in _arrays(gradients) if array.size]
    if norm_type == math.inf:
        return float(np.max([np.abs(array).max() for array in arrays], initial=0.0))
    total = 0.0
    for array in arrays:
        for (block,) in blocks(array):
            wide = block.astype(np.float64)  # its squares neither overflow nor vanish
            total += float((wide * wide if norm_type == 2 else np.abs(wide) ** norm_type).sum())
    return float(total ** (1.0 / norm_type))


def clip_grad_norm(gradients: Gradients, max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients in place so that their norm is at most max_norm; return the norm before.

    One factor for all keeps their direction (Pascanu et al. 2013). gradients: as grads.weights. A
    norm that is not finite is returned, and the gradients are left as they are.

    >>> gradients = {"w": np.array([3.0, 4.0])}
    >>> clip_grad_norm(gradients, 1.0), gradients["w"].round(4)
    (5.0, array([0.6, 0.8]))
    """
    check_from_zero("max_norm", max_norm, math.inf)
    norm = gradient_norm(gradients, norm_type)
    if math.isfinite(norm) and norm > max_norm:
        for array in _arrays(gradients):
            array *= max_norm / norm
    return norm


def clip_grad_value(gradients: Gradients, clip_value: float) -> None:
    """Clip all entries of all gradients to -clip_value ... clip_value, in place.

    >>> gradients = {"w": np.array([3.0, -0.5])}
    >>> clip_grad_value(gradients, 1.0)
    >>> gradients["w"]
    array([ 1. , -0.5])
    """
    check_from_zero("clip_value", clip_value, math.inf)
    for array in _arrays(gradients):
        np.clip(array, -clip_value, clip_value, out=array)
