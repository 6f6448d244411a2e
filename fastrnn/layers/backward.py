# SPDX-License-Identifier: MIT
"""Backward passes: what `layer.vjp` returns, from gradients of y and the state to all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _core
from ..stack_spec import Shape, Spec
from .arrays import FLOAT32, Array, copies, float_array


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of x, of the state (h or (h, c)) and of the weights, in their shapes.

    Those of x are None if x holds integers.
    """

    x: Any
    state: Any
    weights: dict[str, Array]

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {array.shape}" for name, array in self.weights.items())
        return f"Gradients(x: {_shapes(self.x)}, state: {_shapes(self.state)}, weights: {weights})"


def _shapes(value: Any) -> str:
    """The shapes of arrays in tuples and dicts."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shapes, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name!r}: {_shapes(own)}' for name, own in value.items())}}}"
    return str(getattr(value, "shape", value))


# From the gradients of y and of the last state to all others.
BackwardFunction = Callable[[Any, Any], Gradients]


class Backward:
    """`grads = backward(dy, dstate=None)`: from gradients of y and the last state to all others.

    dy: an array of y's shape, or None for zeros; dstate: in the form of the last state, any part of
    it None for zeros. May be called more than once.

    ValueError for shapes that do not fit, TypeError for a dtype that is not floating point.
    """

    def __init__(self, back: BackwardFunction) -> None:
        self._back = back

    def __call__(self, dy: ArrayLike | None, dstate: Any = None) -> Gradients:
        return self._back(dy, dstate)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: call it with dy, the gradient of y, for all others"


def checked_dy(dy: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """dy as an array of y's shape."""
    if dy is None:
        return np.zeros(shape, FLOAT32)
    array = float_array(dy, "dy")
    if array.shape != shape:
        raise ValueError(f"dy: expected shape {shape}, got {array.shape}")
    return array


class Recorded(NamedTuple):
    """The stack and the shapes of one pass of a recurrent layer, as its caller sees them."""

    spec: Spec
    sizes: tuple[int, ...]  # of the states
    weight_shapes: Mapping[str, Shape]
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    batch_first: bool
    batch: int

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
        return (self.spec.state_rows, *batch, size)


class RecurrentBackward(Backward):
    """`grads = backward(dy, dstate=None)` of a recurrent layer's pass.

    dy: an array of y's shape, or None for zeros; dstate: h, for an LSTM (h, c), of the state's
    shapes, any of them None for zeros. Beyond a row's length dy does not matter and grads.x is 0.
    May be called more than once; x and lengths must still hold what the pass read.
    add_to: gradients of an earlier pass of the layer, to whose weights these are added in place, as
    for a sequence in several pieces (truncated backpropagation through time, Werbos 1990) or a
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
        dy_rows = None if dy is None else recorded.time_major(checked_dy(dy, recorded.y_shape))
        given = self._checked_state(dstate)
        dx = np.empty(recorded.x_shape, FLOAT32)
        rows = recorded.spec.state_rows
        state = [np.empty((rows, recorded.batch, size), FLOAT32) for size in recorded.sizes]
        if add_to is None:
            make = np.zeros if self._tape is None else np.empty
            shapes = recorded.weight_shapes
            weights = {name: make(shape, FLOAT32) for name, shape in shapes.items()}
        else:
            weights = self._checked_weights(add_to)
        if self._tape is not None:
            h, c = (*given, None)[:2]
            dh0, dc0 = (*state, None)[:2]
            lists = recorded.spec.by_place([weights[name] for name in recorded.weight_shapes])
            dx_rows, adding = recorded.time_major(dx), add_to is not None
            if not self._tape.backward(dy_rows, h, c, dx_rows, dh0, dc0, lists, adding):
                dy_rows, h, c = copies(dy_rows, h, c)
                self._tape.backward(dy_rows, h, c, dx_rows, dh0, dc0, lists, adding)
        shaped = [a.reshape(recorded.state_shape(a.shape[2])) for a in state]
        return Gradients(dx, shaped[0] if len(shaped) == 1 else tuple(shaped), weights)

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
        shape = (self._recorded.spec.state_rows, self._recorded.batch, size)
        return np.ascontiguousarray(array).reshape(shape)
