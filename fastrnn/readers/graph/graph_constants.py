# SPDX-License-Identifier: MIT
"""Constants: what writers leave of computations with weights, and computations with sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..containers.elements import Array
from .graph import Node
from .graph_axes import completed
from .graph_values import (
    NOT_FOLLOWED,
    Const,
    Dim,
    Dims,
    ObstructionError,
    Value,
    dim,
    dims_of,
    over,
    place_of,
    scalar,
    times,
)
from .translation import Args, Handler, Translation, ints_of, sizes_of, tensor

_LARGEST_FILL = 1 << 16


# --- Parts of constants ---


def sliced(self: Translation, node: Node, value: Const, place: int, taken: slice) -> Const:
    """A part of one axis."""
    if value.spread is not None and value.array.shape[place] == 1:
        size = value.spread[place].number
        left = NOT_FOLLOWED if size is None else Dim(len(range(size)[taken]))
        return replace(value, spread=(*value.spread[:place], left, *value.spread[place + 1 :]))
    with self.folding(node):
        array = value.array[(slice(None),) * place + (taken,)]
    spread = value.spread
    if spread is not None:
        spread = (*spread[:place], Dim(array.shape[place]), *spread[place + 1 :])
    return Const(array, spread=spread)


def picked(self: Translation, node: Node, value: Const, place: int, index: Array) -> Const:
    """One place of an axis, or several."""
    if value.spread is not None:
        if index.ndim:
            raise ObstructionError("it takes several places of a repeated constant")
        spread = value.spread[:place] + value.spread[place + 1 :]
        with self.folding(node):
            at = int(index) if value.array.shape[place] > 1 else 0
            return Const(np.take(value.array, at, place), spread=spread)
    count = index.size * (value.array.nbytes // max(value.array.shape[place], 1))
    with self.folding(node, count):
        return Const(np.asarray(np.take(value.array, index, place)))


def joined(self: Translation, node: Node, parts: list[Const], axis: Value) -> Const:
    """Constants one after another."""
    place = place_of(axis, len(parts[0].dims))
    if any(part.spread is not None for part in parts):
        if not all(part.is_zero and len(part.dims) == len(parts[0].dims) for part in parts):
            raise ObstructionError("it joins repeated constants")
        zeros = Const(np.zeros((1,) * len(parts[0].dims), np.float32))
        return replace(zeros, spread=tuple(NOT_FOLLOWED for _ in parts[0].dims))
    with self.folding(node, sum(part.array.nbytes for part in parts)):
        return Const(np.concatenate([part.array for part in parts], place))


def reshaped_constant(self: Translation, node: Node, value: Const, target: Dims) -> Const:
    """A constant in another shape."""
    if value.spread is not None:
        if not value.is_zero:
            raise ObstructionError("it reshapes a repeated constant")
        return Const(np.zeros((1,) * len(target), value.array.dtype), spread=target)
    sizes = [size.number for size in completed(value.dims, target)]
    with self.folding(node, value.array.nbytes):
        return Const(value.array.reshape(sizes))  # type: ignore[arg-type]


def repeated(value: Const, target: Dims) -> Const:
    """A constant broadcast to a shape: an array if that is small, whatever it is made of."""
    own = value.dims
    rank = max(len(own), len(target))
    left, right = ((Dim(1),) * (rank - len(dims)) + dims for dims in (own, target))
    spread = tuple(a if b in (Dim(1), Dim(-1)) else b for a, b in zip(left, right, strict=True))
    array = value.array.reshape((1,) * (rank - value.array.ndim) + value.array.shape)
    numbers = [size.number for size in spread]
    if any(size not in (1, wide) for size, wide in zip(array.shape, numbers, strict=True)):
        raise ObstructionError("it repeats a constant in a shape that does not fit")
    count = 1
    for number in numbers:
        count *= _LARGEST_FILL if number is None or number < 0 else max(number, 1)
    if count < _LARGEST_FILL:
        return Const(np.broadcast_to(array, numbers))  # type: ignore[arg-type]
    return Const(array, spread=spread)


# --- Arithmetic ---

_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
}


def arithmetic(self: Translation, node: Node, a: Const, b: Const) -> Const:
    """A sum, difference or product of constants, or what sizes are computed with."""
    kinds = {a.array.dtype.kind, b.array.dtype.kind}
    if a.spread is not None or b.spread is not None:
        raise ObstructionError("it computes with repeated constants")
    if "O" in kinds and kinds <= set("iuO"):
        with self.folding(node):
            found = np.frompyfunc(lambda x, y: _compute(node.op, dim(x), dim(y)), 2, 1)(
                a.array.astype(object), b.array.astype(object)
            )
        return Const(np.asarray(found, object))
    if node.op not in _ARITHMETIC:
        raise ObstructionError("it computes with constants in a way that is not supported")
    if a.array.dtype != b.array.dtype or not kinds <= set("fiu"):
        raise ObstructionError("its constants are of different types")
    with self.folding(node):
        count = 8
        for size in np.broadcast_shapes(a.array.shape, b.array.shape):
            count *= size
        self.budget.spend(count, f"node {node.label}")
        return Const(np.asarray(_ARITHMETIC[node.op](a.array, b.array)))


def _compute(op: str, a: Dim, b: Dim) -> Dim:
    if op == "mul":
        return times(a, b)
    if op in ("div", "floor_divide"):
        return over(a, b)
    if op not in ("add", "sub") or a.number is None or b.number is None:
        return NOT_FOLLOWED
    return Dim(a.number + b.number if op == "add" else a.number - b.number)


# --- Operators that make constants ---


def _full(self: Translation, node: Node, args: Args) -> Value:
    """An array of one number, which is not made if it is large or its size not known."""
    if args.get("self") is not None and "size" not in args:
        size = dims_of(tensor(args["self"]))
    else:
        size = sizes_of(args.get("size"), "size")
    if scalar(args.get("fill_value", 0)) != 0:
        raise ObstructionError("it makes a constant other than zero")
    return repeated(Const(np.zeros((1,) * len(size), np.float32)), size)


def _size(self: Translation, node: Node, args: Args) -> Value:
    """The sizes of a value, of some of its axes (ONNX), or of one."""
    dims = dims_of(tensor(args.get("self")))
    found: Array = np.empty(len(dims), object)
    found[:] = dims
    if args.get("dim") is not None:
        return Const(np.asarray(found[place_of(args["dim"], len(dims))], object))
    start, end = ints_of([args.get("start", 0), args.get("end", len(dims))], "bounds") or (0, 0)
    return Const(found[start:end])


def _gates(self: Translation, node: Node, args: Args) -> Value:
    """Rows of one direction of an ONNX weight, its gates in PyTorch's order."""
    what, value, order = args["what"], args["self"], args["order"]
    directions, index, half = (args[name] for name in ("directions", "index", "half"))
    assert isinstance(index, int)
    assert isinstance(half, int | None)
    assert isinstance(order, list)
    if not isinstance(value, Const) or value.spread is not None:
        raise ObstructionError(f"its {what} is not a constant")
    array = value.array
    if array.ndim != (2 if what == "B" else 3) or array.shape[0] != directions:
        raise ObstructionError(
            f"its {what} has shape {array.shape}, expected {directions} directions"
        )
    with self.folding(node, array[index].nbytes):
        rows = array[index] if half is None else np.split(array[index], 2)[half]
        blocks = np.split(rows, len(order))
        return Const(np.concatenate([blocks[place] for place in order]))


CONSTANTS: dict[str, Handler] = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "full", "full_like"), _full),
    "size": _size,
    "onnx.Gates": _gates,
}
