# SPDX-License-Identifier: MIT
"""Gradients: what `layer.vjp` returns to take those of y and the state back to the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _core
from .arrays import FLOAT32, Array, float_array

_TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients with the shapes of what they are of: x, the state (h or (h, c)), the weights.

    Those of x are None where x holds integers.
    """

    x: Any
    state: Any
    weights: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Recorded:
    """The shapes of one pass of a layer, as its caller sees them."""

    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    batch_first: bool
    batch: int
    state_rows: int
    sizes: tuple[int, ...]  # of h, or of h and c
    weight_shapes: Mapping[str, tuple[int, ...]]

    @property
    def batched(self) -> bool:
        return len(self.x_shape) == 3

    def time_major(self, array: Array) -> Array:
        """A view (T, B, size)."""
        if not self.batched:
            return array[:, None]
        return array.swapaxes(0, 1) if self.batch_first else array

    def state_shape(self, size: int) -> tuple[int, ...]:
        batch = (self.batch,) if self.batched else ()
        return (self.state_rows, *batch, size)


class Backward:
    """`grads = backward(dy, dstate=None)`: from gradients of y and the last state to all others.

    dy: an array of y's shape, or None for zeros; dstate: h, for an LSTM (h, c), of the state's
    shapes, any of them None for zeros. Beyond a row's length dy does not matter and grads.x is 0.
    May be called more than once; x, and lengths, must then still hold what the pass read.
    add_to: gradients of an earlier pass of the layer, to whose weights these are added in place, as
    when a sequence is taken in pieces (truncated backpropagation through time, Werbos 1990) or a
    batch in parts; grads.weights are then its arrays.

    ValueError for shapes that do not fit, TypeError for a dtype that is not floating point or for
    an add_to that is no Gradients.
    """

    def __init__(self, tape: _core.Tape | None, recorded: Recorded) -> None:
        self._tape = tape
        self._recorded = recorded

    def __call__(
        self, dy: ArrayLike | None, dstate: Any = None, *, add_to: Gradients | None = None
    ) -> Gradients:
        recorded = self._recorded
        dy_rows = None if dy is None else self._checked_dy(dy)
        given = self._checked_state(dstate)
        dx = np.empty(recorded.x_shape, FLOAT32)
        state = [
            np.empty((recorded.state_rows, recorded.batch, size), FLOAT32)
            for size in recorded.sizes
        ]
        if add_to is None:
            make = np.zeros if self._tape is None else np.empty
            shapes = recorded.weight_shapes
            weights = {name: make(shape, FLOAT32) for name, shape in shapes.items()}
        else:
            weights = self._checked_weights(add_to)
        if self._tape is not None:
            h, c = (*given, None)[:2]
            dh0, dc0 = (*state, None)[:2]
            lists, adding = self._by_part(weights), add_to is not None
            rows = recorded.time_major(dx)
            if not self._tape.backward(dy_rows, h, c, rows, dh0, dc0, lists, adding):
                assert dy_rows is not None
                self._tape.backward(dy_rows.copy(), h, c, rows, dh0, dc0, lists, adding)
        shaped = [a.reshape(recorded.state_shape(a.shape[2])) for a in state]
        return Gradients(dx, shaped[0] if len(shaped) == 1 else tuple(shaped), weights)

    def _by_part(self, weights: Mapping[str, Array]) -> list[list[Array | None]]:
        places = [
            name.removeprefix("weight_ih") for name in weights if name.startswith("weight_ih")
        ]
        return [[weights.get(name + place) for name in _TENSORS] for place in places]

    def _checked_weights(self, gradients: Gradients) -> dict[str, Array]:
        if not isinstance(gradients, Gradients):
            kind = type(gradients).__name__
            raise TypeError(f"add_to: expected what backward() returned, got {kind}")
        weights, shapes = gradients.weights, self._recorded.weight_shapes
        for name, shape in shapes.items():
            array = weights.get(name)
            if not isinstance(array, np.ndarray) or array.dtype != FLOAT32 or array.shape != shape:
                found = array.shape if isinstance(array, np.ndarray) else type(array).__name__
                raise ValueError(f"add_to.weights[{name!r}]: expected float32 {shape}, got {found}")
            if not array.flags.c_contiguous or not array.flags.writeable:
                raise ValueError(f"add_to.weights[{name!r}]: expected writable, contiguous memory")
        return weights

    def _checked_dy(self, dy: ArrayLike) -> Array:
        array = float_array(dy, "dy")
        if array.shape != self._recorded.y_shape:
            raise ValueError(f"dy: expected shape {self._recorded.y_shape}, got {array.shape}")
        return self._recorded.time_major(array)

    def _checked_state(self, dstate: Any) -> list[Array | None]:
        sizes = self._recorded.sizes
        if dstate is None:
            return [None] * len(sizes)
        if len(sizes) == 1:
            return [self._checked_part(dstate, "dstate", sizes[0])]
        if not isinstance(dstate, tuple | list) or len(dstate) != 2:
            raise ValueError(f"dstate: expected a pair (h, c), got {type(dstate).__name__}")
        names = ("dstate[0] (h)", "dstate[1] (c)")
        return [
            None if part is None else self._checked_part(part, name, size)
            for part, name, size in zip(dstate, names, sizes, strict=True)
        ]

    def _checked_part(self, part: Any, name: str, size: int) -> Array:
        array = float_array(part, name)
        expected = self._recorded.state_shape(size)
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
        shape = (self._recorded.state_rows, self._recorded.batch, size)
        return np.ascontiguousarray(array).reshape(shape)
