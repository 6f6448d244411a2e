# SPDX-License-Identifier: MIT
"""Layers that move axes: `Flatten`, `Unflatten`, `Transpose`, `Permute`, `Squeeze`, `Unsqueeze`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Array, float_or_int_array
from .checks import check_int, check_ints, check_size
from .flow import Axes, Flow
from .stateless import Back, Stateless, checked_dim


class _Moves(Stateless):
    """A layer whose y has the values of x, floats or integers, in another shape."""

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return float_or_int_array(x, "x")

    def _why_not_causal(self) -> str:
        return "it moves the axes of whole sequences"

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        def back(dy: Array) -> tuple[Array | None, dict[str, Array]]:
            return (None if x.dtype.kind in "iu" else self._moved_back(dy, x)), {}

        return self._forward(x, flow), back

    def _moved_back(self, dy: Array, x: Array) -> Array:
        return dy.reshape(x.shape)


class Flatten(_Moves):
    """Makes one axis of the axes from start_dim to end_dim, as torch.nn.Flatten.

    With lengths: steps that are merged with another axis are no longer steps for what follows.

    >>> import numpy as np
    >>> Flatten()(np.ones((2, 3, 4)))[0].shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = check_int("start_dim", start_dim)
        self.end_dim = check_int("end_dim", end_dim)

    def _options(self) -> dict[str, object]:
        return {"start_dim": self.start_dim, "end_dim": self.end_dim}

    def _range(self, ndim: int) -> tuple[int, int]:
        start, end = checked_dim(self.start_dim, ndim), checked_dim(self.end_dim, ndim)
        if start > end:
            raise ValueError(f"start_dim: expected at most end_dim {end}, got {start}")
        return start, end

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        start, end = self._range(x.ndim)
        size = math.prod(x.shape[start : end + 1])
        return x.reshape(*x.shape[:start], size, *x.shape[end + 1 :])

    def _axes_after(self, axes: Axes, ndim: int) -> Axes | None:
        start, end = self._range(ndim)
        if start == end:
            return axes
        if any(axis is not None and start <= axis <= end for axis in axes):
            return None
        rows, steps = (a if a is None or a < start else a - (end - start) for a in axes)
        assert steps is not None
        return rows, steps

    def _ndim_after(self, ndim: int) -> int:
        start, end = self._range(ndim)
        return ndim - (end - start)


class Unflatten(_Moves):
    """Makes axes of these sizes of one axis, as torch.nn.Unflatten.

    >>> import numpy as np
    >>> Unflatten(1, (2, 3))(np.ones((4, 6)))[0].shape
    (4, 2, 3)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = check_int("dim", dim)
        self.unflattened_size = check_ints("unflattened_size", unflattened_size, 1)

    def _options(self) -> dict[str, object]:
        return {"dim": self.dim, "unflattened_size": self.unflattened_size}

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        dim = checked_dim(self.dim, x.ndim)
        size = math.prod(self.unflattened_size)
        if x.shape[dim] != size:
            raise ValueError(f"x: expected an axis {dim} of length {size}, got shape {x.shape}")
        return x.reshape(*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :])

    def _axes_after(self, axes: Axes, ndim: int) -> Axes | None:
        dim, (rows, steps) = checked_dim(self.dim, ndim), axes
        more = len(self.unflattened_size) - 1
        if dim == steps:
            return None
        rows = None if rows is None or rows == dim else rows + more * (rows > dim)
        return rows, steps + more * (steps > dim)

    def _ndim_after(self, ndim: int) -> int:
        return ndim + len(self.unflattened_size) - 1


class RepeatVector(Stateless):
    """n steps that are all x, as Keras's layer of this name: what a decoder reads.

    x: (B, F); y: (B, n, F), float32.

    >>> RepeatVector(2)([[1.0, 3.0]])[0].tolist()
    [[[1.0, 3.0], [1.0, 3.0]]]
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = check_size("n", n)

    def _options(self) -> dict[str, object]:
        return {"n": self.n}

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return False  # x has no steps

    def _ndim_after(self, ndim: int) -> int:
        return ndim + 1

    def _why_not_causal(self) -> str:
        return "it makes several steps of one"

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        if x.ndim != 2:
            raise ValueError(f"x: expected (batch, features), got shape {x.shape}")
        return np.repeat(x[:, None], self.n, 1)

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        return self._forward(x, flow), lambda dy: (dy.sum(1), {})


class Permute(_Moves):
    """y has axis dims[i] of x as its axis i, as torch.permute.

    >>> import numpy as np
    >>> Permute((1, 2, 0))(np.ones((2, 3, 4)))[0].shape
    (3, 4, 2)
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = check_ints("dims", dims)

    def _options(self) -> dict[str, object]:
        return {"dims": self.dims}

    def _order(self, ndim: int) -> tuple[int, ...]:
        order = tuple(dim + ndim if dim < 0 else dim for dim in self.dims)
        if sorted(order) != list(range(ndim)):
            raise ValueError(f"dims: expected each of the {ndim} axes of x once, got {self.dims}")
        return order

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        return x.transpose(self._order(x.ndim))

    def _moved_back(self, dy: Array, x: Array) -> Array:
        return dy.transpose(np.argsort(self._order(x.ndim)))

    def _axes_after(self, axes: Axes, ndim: int) -> Axes:
        order, (rows, steps) = self._order(ndim), axes
        return None if rows is None else order.index(rows), order.index(steps)


class Transpose(_Moves):
    """Swaps two axes, as torch.transpose.

    >>> import numpy as np
    >>> Transpose(0, 1)(np.ones((2, 3, 4)))[0].shape
    (3, 2, 4)
    """

    def __init__(self, dim0: int, dim1: int) -> None:
        super().__init__()
        self.dim0, self.dim1 = check_int("dim0", dim0), check_int("dim1", dim1)

    def _options(self) -> dict[str, object]:
        return {"dim0": self.dim0, "dim1": self.dim1}

    def _pair(self, ndim: int) -> tuple[int, int]:
        return checked_dim(self.dim0, ndim), checked_dim(self.dim1, ndim)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        return x.swapaxes(*self._pair(x.ndim))

    def _moved_back(self, dy: Array, x: Array) -> Array:
        return dy.swapaxes(*self._pair(x.ndim))

    def _axes_after(self, axes: Axes, ndim: int) -> Axes:
        first, second = self._pair(ndim)
        there = {first: second, second: first}
        rows, steps = axes
        return None if rows is None else there.get(rows, rows), there.get(steps, steps)


class Squeeze(_Moves):
    """Takes out an axis of length 1, as torch.squeeze; another length is an error.

    >>> import numpy as np
    >>> Squeeze(1)(np.ones((2, 1, 4)))[0].shape
    (2, 4)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_int("dim", dim)

    def _options(self) -> dict[str, object]:
        return {"dim": self.dim}

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        dim = checked_dim(self.dim, x.ndim)
        if x.shape[dim] != 1:
            raise ValueError(f"x: expected an axis {dim} of length 1, got shape {x.shape}")
        return x.squeeze(dim)

    def _axes_after(self, axes: Axes, ndim: int) -> Axes | None:
        dim, (rows, steps) = checked_dim(self.dim, ndim), axes
        if dim == steps:
            return None
        rows = None if rows is None or rows == dim else rows - (rows > dim)
        return rows, steps - (steps > dim)

    def _ndim_after(self, ndim: int) -> int:
        return ndim - 1


class Unsqueeze(_Moves):
    """Puts in an axis of length 1, as torch.unsqueeze.

    >>> import numpy as np
    >>> Unsqueeze(0)(np.ones((2, 4)))[0].shape
    (1, 2, 4)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_int("dim", dim)

    def _options(self) -> dict[str, object]:
        return {"dim": self.dim}

    def _place(self, ndim: int) -> int:
        if not -ndim - 1 <= self.dim <= ndim:
            raise ValueError(f"dim: expected an axis for an x with {ndim} axes, got {self.dim}")
        return self.dim % (ndim + 1)

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        return x[(slice(None),) * self._place(x.ndim) + (None,)]

    def _axes_after(self, axes: Axes, ndim: int) -> Axes:
        dim, (rows, steps) = self._place(ndim), axes
        rows = None if rows is None else rows + (rows >= dim)
        return rows, steps + (steps >= dim)

    def _ndim_after(self, ndim: int) -> int:
        return ndim + 1
