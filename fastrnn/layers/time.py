# SPDX-License-Identifier: MIT
"""Layers over the steps of sequences: `Last`, `Pool`, `Flip`, `Mask`, `Unmask`, `AddInput`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import FLOAT32, Array, float_or_int_array
from .checks import check_choice, check_number, check_size, checked_flag
from .flow import Axes, Flow, Lengths, Masked, sequence_axes
from .stateless import Back, Stateless


def time_major(x: Array, batch_first: bool) -> Array:
    """A view (steps, batch, features) of x (steps, batch, features), batch first, or (steps, f)."""
    if x.ndim not in (2, 3):
        axes = "(batch, steps" if batch_first else "(steps, batch"
        raise ValueError(f"x: expected {axes}, features) or (steps, features), got shape {x.shape}")
    rows = x[:, None] if x.ndim == 2 else x.swapaxes(0, 1) if batch_first else x
    if len(rows) == 0:
        raise ValueError("x: expected at least one step, got a sequence of length 0")
    return rows


class _Sequences(Stateless):
    """A layer of (steps, batch, features), (batch, steps, features) or (steps, features)."""

    batch_first: bool

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return axes == sequence_axes(ndim, self.batch_first)

    def _counts(self, rows: Array, flow: Flow) -> NDArray[np.intp]:
        """The valid steps of each row."""
        return np.full(rows.shape[1], len(rows)) if flow.lengths is None else flow.lengths


class _Ending(_Sequences):
    """A layer that makes one vector of each sequence: y is (batch, features) or (features,)."""

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> None:
        return None

    def _axes_after(self, axes: Axes, ndim: int) -> None:
        return None

    def _ndim_after(self, ndim: int) -> int:
        return ndim - 1

    def _why_not_causal(self) -> str:
        return "it needs the end of the sequence"


class Last(_Ending):
    """The last valid step of each row.

    x: (T, B, F), (B, T, F) with batch_first, or (T, F); y: (B, F) or (F,). of: "step"; or "state",
    for the y of a bidirectional layer: then the second half of the features, the reverse
    direction's, is taken from the first step, so that y is the layer's last state. A row of length
    0, as `Mask` may leave one, becomes zeros.

    >>> import numpy as np
    >>> x = np.arange(6.0).reshape(3, 2, 1)
    >>> Last()(x, lengths=[3, 1])[0].tolist()
    [[4.0], [1.0]]
    """

    def __init__(self, batch_first: bool = False, of: str = "step") -> None:
        super().__init__()
        self.batch_first = checked_flag("batch_first", batch_first)
        self.of = check_choice("of", of, ("step", "state"))

    def _options(self) -> dict[str, object]:
        return {"batch_first": self.batch_first, "of": self.of}

    def _places(self, x: Array, flow: Flow) -> tuple[Array, list[tuple[Any, ...]]]:
        """x by steps, and where in it the parts of y are, for the rows that have steps."""
        rows = time_major(x, self.batch_first)
        counts, width = self._counts(rows, flow), rows.shape[2]
        if self.of == "state" and width % 2:
            raise ValueError(f"x: expected features of two directions, an even number, got {width}")
        some = np.flatnonzero(counts > 0)
        half = width // 2 if self.of == "state" else width
        ahead = (counts[some] - 1, some, slice(0, half))
        return rows, [ahead, (np.zeros_like(some), some, slice(half, width))]

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        rows, places = self._places(x, flow)
        y = np.zeros(rows.shape[1:], FLOAT32)
        for place in places:
            y[place[1:]] = rows[place]
        return y[0] if x.ndim == 2 else y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx = np.zeros(x.shape, FLOAT32)
            drows, places = self._places(dx, flow)
            for place in places:
                drows[place] = dy.reshape(drows.shape[1:])[place[1:]]
            return dx, {}

        return self._forward(x, flow), back


class Pool(_Ending):
    """The mean, the maximum or the sum over the valid steps of each row.

    x: (T, B, F), (B, T, F) with batch_first, or (T, F); y: (B, F) or (F,). mode: "mean", "max"
    or "sum"; a maximum's gradient goes to the first step that holds it. A row of length 0, as
    `Mask` may leave one, becomes zeros. isa: instruction set of the mean and the sum, one of
    `fastrnn.isas()`.

    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0], [3.0, 0.0], [8.0, 9.0]])
    >>> Pool("mean")(x, lengths=[2])[0].tolist()
    [2.0, 1.0]
    """

    def __init__(self, mode: str, batch_first: bool = False, *, isa: str | None = None) -> None:
        super().__init__(isa)
        self.mode = check_choice("mode", mode, ("mean", "max", "sum"))
        self.batch_first = checked_flag("batch_first", batch_first)

    def _options(self) -> dict[str, object]:
        return {"mode": self.mode, "batch_first": self.batch_first}

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        rows = time_major(x, self.batch_first)
        y = np.empty(rows.shape[1:], FLOAT32)
        if y.size and self.mode != "max":
            counts = None if flow.lengths is None else flow.lengths.astype(np.uintp)
            rows = rows if rows.strides[2] == rows.itemsize else np.ascontiguousarray(rows)
            pool = _core.pool_mean if self.mode == "mean" else _core.pool_sum
            pool(self.isa, rows, counts, y)
        elif y.size:
            y[...] = np.where(self._inside(rows, flow), rows, np.float32(-np.inf)).max(0)
            y[self._counts(rows, flow) == 0] = 0
        return y[0] if x.ndim == 2 else y

    def _inside(self, rows: Array, flow: Flow) -> NDArray[np.bool_]:
        return (np.arange(len(rows))[:, None] < self._counts(rows, flow))[..., None]

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            rows, dx = time_major(x, self.batch_first), np.zeros(x.shape, FLOAT32)
            drows, inside = time_major(dx, self.batch_first), self._inside(rows, flow)
            dy = dy.reshape(rows.shape[1:])
            if self.mode == "sum":
                drows[...] = np.where(inside, dy, np.float32(0))
            elif self.mode == "mean":
                counts = np.maximum(self._counts(rows, flow), 1).astype(FLOAT32)
                drows[...] = np.where(inside, dy / counts[:, None], np.float32(0))
            else:
                best = np.where(inside, rows, np.float32(-np.inf)).argmax(0)[None]
                np.put_along_axis(drows, best, dy[None], 0)
            return dx, {}

        return self._forward(x, flow), back


class Flip(_Sequences):
    """Each row's valid steps in reverse order; what is beyond them stays at the end.

    x: (T, B, F), (B, T, F) with batch_first, or (T, F); y has its shape.

    >>> import numpy as np
    >>> Flip()(np.array([[1.0], [2.0], [3.0]]))[0].tolist()
    [[3.0], [2.0], [1.0]]
    """

    def __init__(self, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = checked_flag("batch_first", batch_first)

    def _options(self) -> dict[str, object]:
        return {"batch_first": self.batch_first}

    def _why_not_causal(self) -> str:
        return "it needs the end of the sequence"

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        rows, y = time_major(x, self.batch_first), np.zeros(x.shape, FLOAT32)
        steps = np.arange(len(rows))[:, None]
        source = self._counts(rows, flow) - 1 - steps
        source = np.where(source < 0, steps, source)
        time_major(y, self.batch_first)[...] = np.take_along_axis(rows, source[..., None], 0)
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        return self._forward(x, flow), lambda dy: (self._forward(dy, flow), {})


class Mask(Stateless):
    """Leaves out the steps that hold only one value; the rest of a row moves together.

    x: (B, T, F) of floats or (B, T) of floats or integers, batch first; y has its shape, zeros
    after the steps that are left. In a `Sequential` these are the lengths of the rows for the
    layers after it. If the model's y has steps, and no `Unmask` has put them back, only those at
    the end of a row may be left out: ValueError otherwise, as the steps of y would not be those of
    x.

    >>> import numpy as np
    >>> Mask(0)(np.array([[7, 0, 8], [0, 0, 9]]))[0].tolist()
    [[7, 8, 0], [9, 0, 0]]
    """

    _finds_lengths = True

    def __init__(self, value: float = 0.0) -> None:
        check_number("value", value)
        super().__init__()
        self.value = value

    def _options(self) -> dict[str, object]:
        return {"value": self.value}

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return float_or_int_array(x, "x")

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return axes == (0, 1)

    def _why_not_causal(self) -> str:
        return "it takes steps out of the sequence"

    def _kept(self, x: NDArray[Any], lengths: Lengths | None) -> NDArray[np.bool_]:
        if x.ndim not in (2, 3):
            raise ValueError(
                f"x: expected (batch, steps, features) or (batch, steps), got shape {x.shape}"
            )
        kept: Any = x != self.value
        kept = kept if x.ndim == 2 else kept.any(-1)
        if lengths is not None:
            kept = kept & (np.arange(x.shape[1]) < lengths[:, None])
        return np.asarray(kept, np.bool_)

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths:
        return np.asarray(self._kept(x, lengths).sum(1), np.intp)

    def _flow_after(self, flow: Flow, x: NDArray[Any]) -> Flow:
        kept = self._kept(x, flow.lengths)
        moved = flow.moved or bool((kept[:, 1:] > kept[:, :-1]).any())
        return flow._replace(lengths=kept.sum(1), moved=moved, masked=Masked(kept, flow))

    def _order(self, kept: NDArray[np.bool_], ndim: int) -> NDArray[np.intp]:
        """For each step of y its step of x: first those kept."""
        order = np.argsort(~kept, axis=1, kind="stable")
        return order if ndim == 2 else order[..., None]

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        kept = self._kept(x, flow.lengths)
        if flow.axes is None:
            raise ValueError("x: the layers after Mask do not take sequences with the batch first")
        y = np.take_along_axis(x, self._order(kept, x.ndim), 1)
        return Flow(kept.sum(1), (0, 1)).zeroed(y)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        kept = self._kept(x, flow.lengths)

        def back(dy: Array) -> tuple[Array | None, dict[str, Array]]:
            if x.dtype.kind in "iu":
                return None, {}
            dx = np.zeros(x.shape, FLOAT32)
            inside = Flow(kept.sum(1), (0, 1)).zeroed(dy)
            np.put_along_axis(dx, self._order(kept, x.ndim), inside, 1)
            return dx, {}

        return self._forward(x, flow), back


class Unmask(_Sequences):
    """Puts the steps that the last `Mask` left out back in their places.

    x: (B, T, F), batch first, of as many steps as the x of the `Mask` had; y has its shape. The
    steps that were left out become zeros. repeat: they become copies of the last step before them
    that was kept, as in Keras, or with backwards of the next one after them; zeros where there is
    none. In a `Sequential` each row then has the length that it had before `Mask`.

    >>> import numpy as np, fastrnn
    >>> model = fastrnn.Sequential(Mask(0), Unmask(repeat=True))
    >>> model(np.array([[[7.0], [0.0], [8.0]], [[0.0], [0.0], [9.0]]]))[0][..., 0].tolist()
    [[7.0, 7.0, 8.0], [0.0, 0.0, 9.0]]
    """

    batch_first = True

    def __init__(self, repeat: bool = False, backwards: bool = False) -> None:
        super().__init__()
        self.repeat = checked_flag("repeat", repeat)
        self.backwards = checked_flag("backwards", backwards)

    def _options(self) -> dict[str, object]:
        return {"repeat": self.repeat, "backwards": self.backwards}

    def _why_not_causal(self) -> str:
        return "it puts steps back into the sequence"

    def _masked(self, x: NDArray[Any], flow: Flow) -> Masked:
        if flow.masked is None:
            raise ValueError("x: expected a Mask in front of Unmask, in the same Sequential")
        if x.ndim != 3 or x.shape[:2] != flow.masked.kept.shape:
            raise ValueError(
                f"x: expected the (batch, steps) that Mask had, {flow.masked.kept.shape}, and "
                f"features, got shape {x.shape}"
            )
        return flow.masked

    def _flow_after(self, flow: Flow, x: NDArray[Any]) -> Flow:
        return self._masked(x, flow).before.with_first(flow.first)

    def _source(self, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
        """For each step of y its step of x; -1 for zeros."""
        count = kept.cumsum(1)
        last, following = count - 1, count - kept
        if not self.repeat:
            return np.where(kept, last, -1)
        return np.where(following < count[:, -1:], following, -1) if self.backwards else last

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        source = self._source(self._masked(x, flow).kept)[..., None]
        return np.where(source < 0, np.float32(0), np.take_along_axis(x, np.maximum(source, 0), 1))

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        source = self._source(self._masked(x, flow).kept)

        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx = np.zeros(x.shape, FLOAT32)
            rows, steps = np.nonzero(source >= 0)
            np.add.at(dx, (rows, source[rows, steps]), dy[rows, steps])
            return dx, {}

        return self._forward(x, flow), back


class AddInput(Stateless):
    """Adds the first features of the input of the `Sequential` that holds it: a skip connection.

    x: (..., features) of the same rows and steps as that input; y has its shape. By itself its own
    x is that input.

    >>> AddInput(2)([[1.0, 2.0]])[0].tolist()
    [[2.0, 4.0]]
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = check_size("features", features)

    def _options(self) -> dict[str, object]:
        return {"features": self.features}

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        return x + self.part(x.shape, x if flow.first is None else flow.first)

    def part(self, shape: tuple[int, ...], first: NDArray[Any]) -> Array:
        """The part of the model's input that is added to an x of this shape."""
        if first.dtype != FLOAT32:
            raise TypeError(f"x: expected floats for a model with AddInput, got {first.dtype}")
        part = first[..., : self.features]
        if part.shape != shape or part.shape[-1] != self.features:
            raise ValueError(
                f"x: expected as many rows and steps as the model's input of shape {first.shape}, "
                f"and {self.features} features, got shape {shape}"
            )
        return part

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        return self._forward(x, flow), lambda dy: (dy, {})

    def _to_first(self, dy: Array, first: Array) -> Array:
        dfirst = np.zeros(first.shape, FLOAT32)
        dfirst[..., : self.features] = dy
        return dfirst


class MergeDirections(Stateless):
    """The sum, mean or product of the two directions of a bidirectional layer.

    x: (..., 2 F), the y of such a layer; y: (..., F). mode: "sum", "mean" or "mul".

    >>> MergeDirections("sum")([[1.0, 2.0, 10.0, 20.0]])[0].tolist()
    [[11.0, 22.0]]
    """

    def __init__(self, mode: str = "sum") -> None:
        super().__init__()
        self.mode = check_choice("mode", mode, ("sum", "mean", "mul"))

    def _options(self) -> dict[str, object]:
        return {"mode": self.mode}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return super()._takes(axes, ndim - 1)

    def _halves(self, x: Array) -> tuple[Array, Array]:
        width = x.shape[-1] if x.ndim else 1
        if width % 2:
            raise ValueError(f"x: expected features of two directions, an even number, got {width}")
        return x[..., : width // 2], x[..., width // 2 :]

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        a, b = self._halves(x)
        if self.mode == "mul":
            return a * b
        return a + b if self.mode == "sum" else (a + b) * np.float32(0.5)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        def back(dy: Array) -> tuple[Array, dict[str, Array]]:
            if self.mode == "mul":
                a, b = self._halves(x)
                return np.concatenate([dy * b, dy * a], -1), {}
            half = dy if self.mode == "sum" else dy * np.float32(0.5)
            return np.concatenate([half, half], -1), {}

        return self._forward(x, flow), back
