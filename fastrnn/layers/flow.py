# SPDX-License-Identifier: MIT
"""Where the rows and steps of a batch are, and how many steps each row has, between layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import check_lengths

Lengths = NDArray[np.intp]

# The axes of x that count rows (None: x is one row) and steps.
Axes = tuple[int | None, int]

# Where rows and steps may be, in the order in which layers are asked: (steps, batch, ...) as
# torch.nn's recurrent layers have them, batch first, Conv1d's, and one sequence without a batch.
ARRANGEMENTS: tuple[Axes, ...] = ((1, 0), (0, 1), (0, 2), (None, 0), (None, 1))


class Flow(NamedTuple):
    """What layers know about the array between them.

    If there are lengths, there are axes, and values beyond the lengths are zero.
    """

    lengths: Lengths | None = None
    axes: Axes | None = None
    first: NDArray[Any] | None = None  # the input of the model
    moved: bool = False  # steps are no longer where they were in x
    masked: Masked | None = None  # what the last Mask left out

    def with_first(self, first: NDArray[Any] | None) -> Flow:
        """The same flow in a model with another input; takes half the time of _replace."""
        return Flow(self.lengths, self.axes, first, self.moved, self.masked)

    def zeroed(self, x: NDArray[Any]) -> NDArray[Any]:
        """A copy of x with zeros beyond the lengths; x itself if there are none."""
        return x if self.lengths is None else np.where(self.valid(x), x, np.zeros((), x.dtype))

    def valid(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether a step is within its row's length, in a shape that broadcasts against x."""
        assert self.lengths is not None
        assert self.axes is not None
        rows, steps = self.axes
        within = np.arange(x.shape[steps]) < self.lengths[:, None]
        shape = [1] * x.ndim
        shape[steps] = x.shape[steps]
        if rows is not None:
            shape[rows] = x.shape[rows]
            within = within if rows < steps else within.T
        return within.reshape(shape)


class Masked(NamedTuple):
    """What a `Mask` left out."""

    kept: NDArray[np.bool_]  # (B, T): the steps of its x that it kept
    before: Flow  # into it


def entry_flow(layer: Any, x: NDArray[Any], lengths: Any) -> Flow:
    """The flow into a layer or a `Sequential` that is called with x and lengths."""
    if lengths is None and not layer._finds_lengths:
        return Flow(None, None, x)  # nothing will ask where the rows and steps are
    axes = next((axes for axes in ARRANGEMENTS if layer._takes(axes, x.ndim)), None)
    if lengths is None:
        return Flow(None, axes, x)
    if axes is None:
        raise ValueError(
            f"lengths: no arrangement of rows and steps in x of shape {x.shape} suits all layers, "
            "expected layers that agree on batch_first and an x with an axis of steps"
        )
    rows, steps = axes
    batch = 1 if rows is None else x.shape[rows]
    return Flow(check_lengths(lengths, batch, x.shape[steps]).astype(np.intp), axes, x)


def one_step(x: NDArray[Any]) -> Flow:
    """The flow of one step of a stream: layers see the axes that they see in a whole sequence."""
    return Flow(None, (1, 0), x[None])


def all_take(layers: Iterable[Any], axes: Axes, ndim: int) -> bool:
    """Whether layers that run one after another agree that rows and steps are on these axes."""
    now: Axes | None = axes
    for layer in layers:
        if now is None:
            return True
        if not layer._takes(now, ndim):
            return False
        now, ndim = layer._axes_after(now, ndim), layer._ndim_after(ndim)
    return True


def sequence_axes(ndim: int, batch_first: bool) -> Axes:
    """The axes of rows and steps in (steps, batch, size), batch first, or (steps, size)."""
    return (None, 0) if ndim == 2 else (0, 1) if batch_first else (1, 0)


def channel_axes(ndim: int) -> Axes:
    """The axes of rows and steps in (batch, channels, steps) or (channels, steps)."""
    return (0, 2) if ndim == 3 else (None, 1)
