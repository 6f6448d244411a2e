# SPDX-License-Identifier: MIT
"""Operators that move, join or split whole axes, and those that compute with constants.

Constants are what writers leave of computations with weights, and sizes. What is done to data and
final states changes only how the graph sees their axes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np

from ..containers.elements import Array
from .graph_call import Handler, OperatorCall
from .graph_index import as_index, cast_index
from .graph_values import (
    NOT_FOLLOWED,
    Atom,
    Axes,
    Axis,
    Const,
    Data,
    Dim,
    Dims,
    Index,
    Moment,
    ObstructionError,
    RankError,
    Tensor,
    Value,
    dim,
    dim_of,
    floored,
    over,
    place_of,
    plus,
    scalar,
    solid,
    times,
)

_LARGEST_FILL = 1 << 16
_MIXES = "it splits or mixes axes, or reshapes axes whose size is not known to a fixed size"
_ON_SIZES: dict[str, Callable[[Dim, Dim], Dim]] = {
    "mul": times, "div": over, "floor_divide": floored, "add": plus,
    "sub": lambda a, b: plus(a, times(Dim(-1), b)),
}  # fmt: skip
_ON_ARRAYS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply,
}  # fmt: skip


# --- Constants ---


def sliced(call: OperatorCall, value: Const, place: int, taken: slice) -> Const:
    """A part of one axis."""
    spread = value.spread
    if spread is not None and value.array.shape[place] == 1:
        size = spread[place].number
        left = NOT_FOLLOWED if size is None else Dim(len(range(size)[taken]))
        return replace(value, spread=(*spread[:place], left, *spread[place + 1 :]))
    with call.folding():
        array = value.array[(slice(None),) * place + (taken,)]
    if spread is not None:
        spread = (*spread[:place], Dim(array.shape[place]), *spread[place + 1 :])
    return Const(array, spread=spread)


def picked(call: OperatorCall, value: Const, place: int, index: Array) -> Const:
    """One place of an axis, or several."""
    if value.spread is not None:
        if index.ndim:
            raise ObstructionError("it takes several places of a repeated constant")
        spread = value.spread[:place] + value.spread[place + 1 :]
        with call.folding():
            at = int(index) if value.array.shape[place] > 1 else 0
            return Const(np.take(value.array, at, place), spread=spread)
    with call.folding(index.size * (value.array.nbytes // max(value.array.shape[place], 1))):
        return Const(np.asarray(np.take(value.array, index, place)))


def joined(call: OperatorCall, parts: list[Const], place: int) -> Const:
    """Constants one after another."""
    rank = len(parts[0].dims)
    if any(part.spread is not None for part in parts):
        if not all(part.is_zero and len(part.dims) == rank for part in parts):
            raise ObstructionError("it joins repeated constants")
        return Const(np.zeros((1,) * rank, np.float32), spread=(NOT_FOLLOWED,) * rank)
    with call.folding(sum(part.array.nbytes for part in parts)):
        return Const(np.concatenate([part.array for part in parts], place))


def _repeated(value: Const, target: Dims) -> Const:
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


def arithmetic(call: OperatorCall, a: Const, b: Const) -> Const:
    """A sum, difference or product of constants, or what sizes are computed with."""
    kinds = {a.array.dtype.kind, b.array.dtype.kind}
    if a.spread is not None or b.spread is not None:
        raise ObstructionError("it computes with repeated constants")
    if "O" in kinds and kinds <= set("iuO") and call.op in _ON_SIZES:
        # ONNX divides whole numbers as such.
        op = "floor_divide" if call.op == "div" and call.is_onnx else call.op
        compute = np.frompyfunc(lambda x, y: _ON_SIZES[op](dim(x), dim(y)), 2, 1)
        with call.folding():
            found = compute(a.array.astype(object), b.array.astype(object))
        return Const(np.asarray(found, object))
    if call.op not in _ON_ARRAYS:
        raise ObstructionError("it computes with constants in a way that is not supported")
    if a.array.dtype != b.array.dtype or not kinds <= set("fiu"):
        raise ObstructionError("its constants are of different types")
    with call.folding():
        shape = np.broadcast_shapes(a.array.shape, b.array.shape)
    with call.folding(reduce(operator.mul, shape, 8)):
        return Const(np.asarray(_ON_ARRAYS[call.op](a.array, b.array)))


def _full(call: OperatorCall) -> Value:
    """Zeros, which are not made if they are many or their number is not known."""
    call.get("self")  # new_zeros takes no more than the element type of its tensor
    size = call.sizes("size") if call.get("size") is not None else call.tensor().dims
    if scalar(call.get("fill_value", 0)) != 0:
        raise ObstructionError("it makes a constant other than zero")
    return _repeated(Const(np.zeros((1,) * len(size), np.float32)), size)


def _size(call: OperatorCall) -> Value:
    """The size of one axis, or of all or some of them, as ONNX has it."""
    value = call.tensor()
    found: Array = np.empty(len(value.dims), object)
    found[:] = value.dims
    if call.get("dim") is not None:
        return Const(np.asarray(found[value.place(call.get("dim"))], object))
    return Const(found[call.integer("start", 0) : call.integer("end", len(found))])


def _gates(call: OperatorCall) -> Value:
    """Rows of one direction of an ONNX weight, its gates in PyTorch's order."""
    value, order, half = call.get("self"), call.ints("order") or [], call.ints("half")
    what, index, directions = (call.get(name) for name in ("what", "index", "directions"))
    assert isinstance(index, int)
    if not isinstance(value, Const) or value.spread is not None:
        raise ObstructionError(f"its {what} is not a constant")
    array = value.array
    if array.ndim != (2 if what == "B" else 3) or array.shape[0] != directions:
        shape = f"{what} has shape {array.shape}"
        raise ObstructionError(f"its {shape}, expected {directions} directions")
    with call.folding(array[index].nbytes):
        rows = array[index] if half is None else np.split(array[index], 2)[half[0]]
        blocks = np.split(rows, call.integer("gates", 1))
        return Const(np.concatenate([blocks[place] for place in order]))


# --- What changes nothing ---


_NARROW = ("float16", "bfloat16")


def _same(call: OperatorCall) -> Value:
    return call.get("self")


def _cast(call: OperatorCall) -> Value:
    """A cast between floats, which are all float32 here, or between whole numbers.

    A model whose weights are float16 computes in float16 from its cast to this type on. In another
    model such a cast rounds, which no layer does.
    """
    value, dtype = call.get("self"), call.get("dtype")
    if isinstance(value, Moment) or (dtype is None and not call.is_onnx):
        return value  # to another device
    if not isinstance(dtype, str):
        raise ObstructionError("it casts to a type that is not supported")
    if dtype in _NARROW and not call.has_weights_of(dtype):
        raise ObstructionError(f"it rounds to {dtype}")
    index = as_index(value)
    if index is not None and (isinstance(value, Index) or dtype.startswith("float")):
        return cast_index(index, dtype)
    if isinstance(value, Const):
        if value.array.dtype.kind == "O":
            return value
        if value.array.dtype.kind not in "fiub":
            raise ObstructionError("it casts from a type that is not supported")
        with call.folding(value.array.size * np.dtype(dtype).itemsize):
            return Const(value.array.astype(dtype), spread=value.spread)
    known = value.step.is_integer if isinstance(value, Data) and not value.step.parent else False
    to_integer = dtype.startswith(("int", "uint"))
    if not known and isinstance(value, Data) and not value.step.parent and to_integer:
        return replace(value, step=replace(value.step, is_integer=True))
    if to_integer != bool(known) or dtype == "bool":
        raise ObstructionError("it casts between numbers of different kinds")
    return value


def _expand(call: OperatorCall) -> Value:
    """A constant that is repeated; of data, only a shape that changes nothing."""
    value, target = call.tensor(), call.sizes("size")
    if isinstance(value, Const):
        return _repeated(value, target)
    own = value.dims
    behind = own[len(own) - len(target) :]
    if len(target) > len(own) or any(
        size not in (Dim(1), Dim(-1), old) for size, old in zip(target, behind, strict=True)
    ):
        raise ObstructionError("it repeats data")
    return value


def _tile(call: OperatorCall) -> Value:
    """ONNX's Tile: only of zeros."""
    value, repeats = call.get("self"), call.sizes("repeats")
    if not isinstance(value, Const) or not value.is_zero or len(repeats) != len(value.dims):
        raise ObstructionError("it repeats data")
    zeros = Const(np.zeros((1,) * len(repeats), value.array.dtype))
    return _repeated(zeros, tuple(map(times, value.dims, repeats)))


# --- Axes in another order ---


def _permute(call: OperatorCall) -> Value:
    """The axes in another order; transpose swaps two, t turns them all round."""
    value = call.tensor()
    rank = len(value.dims)
    places = list(range(rank)) if call.op == "transpose" else list(range(rank))[::-1]
    if call.op == "transpose":
        a, b = (value.place(call.get(name)) for name in ("dim0", "dim1"))
        places[a], places[b] = places[b], places[a]
    elif call.op == "permute" or call.get("dims") is not None:
        places = [value.place(at) for at in call.ints("dims") or []]
    if sorted(places) != list(range(rank)) or (call.op == "t" and rank > 2):
        raise RankError(f"its dims are not a permutation of {rank} axes")
    if not isinstance(value, Const):
        return replace(value, axes=tuple(value.axes[place] for place in places))
    spread = None if value.spread is None else tuple(value.spread[place] for place in places)
    return Const(value.array.transpose(places), value.name, spread)


# --- Axes of size 1 ---


def _squeeze(call: OperatorCall) -> Value:
    """Of these axes, or of all, those of size 1 go; ONNX's that are named have to be such."""
    value, dims = call.tensor(), call.ints("dim")
    chosen = {value.place(at) for at in (range(len(value.dims)) if dims is None else dims)}
    unknown_may_be_one = call.is_onnx and dims is None  # torch.export has ruled that out
    gone = {at for at in chosen if _is_one(value, at, unknown_may_be_one)}
    if call.is_onnx and dims is not None and gone != chosen:
        raise ObstructionError("it drops an axis that is not known to be of size 1")
    if not isinstance(value, Const):
        return replace(value, axes=tuple(a for at, a in enumerate(value.axes) if at not in gone))
    spread = value.spread
    if spread is not None:
        spread = tuple(size for at, size in enumerate(spread) if at not in gone)
    return Const(np.squeeze(value.array, tuple(gone)), spread=spread)


def _is_one(value: Tensor, place: int, unknown_may_be_one: bool) -> bool:
    """Whether an axis has size 1 in every call."""
    size = value.dims[place].number
    if isinstance(value, Const):
        return size == 1
    is_example = any(atom.is_example for atom in value.axes[place])
    if not is_example and not (size is None and unknown_may_be_one):
        return size == 1
    if size in (1, None):
        raise ObstructionError("whether it drops an axis depends on the size of the input")
    return False


def _unsqueeze(call: OperatorCall) -> Value:
    value, dims = call.tensor(), call.ints("dim") or []
    rank = len(value.dims) + len(dims)
    places = {place_of(at, rank) for at in dims}
    if len(places) < len(dims):
        raise ObstructionError("it names an axis twice")
    if not isinstance(value, Const):
        old = iter(value.axes)
        return replace(value, axes=tuple(() if at in places else next(old) for at in range(rank)))
    spread = value.spread
    if spread is not None:
        sizes = iter(spread)
        spread = tuple(Dim(1) if at in places else next(sizes) for at in range(rank))
    return Const(np.expand_dims(value.array, tuple(places)), spread=spread)


# --- Axes in other groups ---


def _regrouped(call: OperatorCall, value: Tensor, target: Dims) -> Value:
    """The value in another shape."""
    if not isinstance(value, Const):
        return replace(value, axes=_reshaped(value.axes, target))
    if value.spread is not None:
        if not value.is_zero:
            raise ObstructionError("it reshapes a repeated constant")
        return Const(np.zeros((1,) * len(target), value.array.dtype), spread=target)
    sizes = [size.number for size in _completed(value.dims, target)]
    with call.folding(value.array.nbytes):
        return Const(value.array.reshape(sizes))  # type: ignore[arg-type]


def _reshaped(axes: Axes, target: Dims) -> Axes:
    """The axes in a new shape, if each new one is made of whole old ones in their order."""
    atoms = [atom for axis in axes for atom in axis]
    result: list[Axis] = []
    for size in _completed(tuple(dim_of(axis) for axis in axes), target):
        taken: list[Atom] = []
        if size == Dim(1):
            if atoms and atoms[0].size == 1:
                taken.append(atoms.pop(0))
        else:
            while dim_of(tuple(taken)) != size:
                if not atoms:
                    raise ObstructionError(_MIXES)
                taken.append(atoms.pop(0))
        result.append(tuple(taken))
    if solid(tuple(atoms)):
        raise ObstructionError(_MIXES)
    if result:
        result[-1] = (*result[-1], *atoms)
    return tuple(result)


def _completed(own: Dims, target: Dims) -> Dims:
    """The new sizes with the one that is left open, if any."""
    total = reduce(times, own, Dim(1))
    open_ones = [at for at, size in enumerate(target) if size in (NOT_FOLLOWED, Dim(-1))]
    for at, size in enumerate(target):
        if at not in open_ones:
            if size.count is None or size.count < 0:
                raise ObstructionError("a size of its shape is negative")
            total = over(total, size) if open_ones else total
    if len(open_ones) > 1 or total == NOT_FOLLOWED:
        raise ObstructionError("its shape does not follow from that of its input")
    return tuple(total if at in open_ones else size for at, size in enumerate(target))


def _reshape(call: OperatorCall) -> Value:
    """A new shape; the file may say what it is for an example."""
    value, target = call.tensor(), call.sizes("size" if call.op != "reshape" else "shape")
    known = call.known_sizes
    if known is not None and len(known) == len(target):
        target = tuple(dim(size) for size in known)
    if call.op == "onnx.Reshape" and call.get("zero") == 0:
        own = value.dims
        if any(size == Dim(0) and at >= len(own) for at, size in enumerate(target)):
            raise ObstructionError("a 0 in its shape means an axis that is not there")
        target = tuple(own[at] if size == Dim(0) else size for at, size in enumerate(target))
    return _regrouped(call, value, target)


def _flatten(call: OperatorCall) -> Value:
    value = call.tensor()
    rank = len(value.dims)
    start = value.place(call.literal("start_dim", 0))
    end = value.place(call.literal("end_dim", -1))
    if start > end:
        raise ObstructionError("it flattens nothing")
    return _grouped(call, value, [*range(start + 1), *range(end + 1, rank + 1)])


def _as_matrix(call: OperatorCall) -> Value:
    """ONNX's Flatten: the axes before one and those from it on become an axis each."""
    value, at = call.tensor(), call.integer("axis", 1)
    rank = len(value.dims)
    return _grouped(call, value, [0, at if at == rank else value.place(at), rank])


def _grouped(call: OperatorCall, value: Tensor, points: list[int]) -> Value:
    """The value with the axes between two of these places as one."""
    parts = list(pairwise(points))
    if isinstance(value, Const):
        sizes = tuple(reduce(times, value.dims[a:b], Dim(1)) for a, b in parts)
        return _regrouped(call, value, sizes)
    axes: Axes = tuple(sum(value.axes[a:b], ()) for a, b in parts)
    return replace(value, axes=axes)


def _unflatten(call: OperatorCall) -> Value:
    value, sizes = call.tensor(), call.sizes("sizes")
    own, at = value.dims, value.place(call.get("dim"))
    if isinstance(value, Const):
        return _regrouped(call, value, (*own[:at], *sizes, *own[at + 1 :]))
    parts = _reshaped(value.axes[at : at + 1], sizes)
    return replace(value, axes=(*value.axes[:at], *parts, *value.axes[at + 1 :]))


MOVES: dict[str, Handler] = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "full", "full_like"), _full),
    "size": _size,
    "onnx.Gates": _gates,
    **dict.fromkeys(("clone", "alias", "detach", "contiguous", "lift_fresh_copy"), _same),
    **dict.fromkeys(("to", "_to_copy"), _cast),
    "expand": _expand,
    "onnx.Tile": _tile,
    **dict.fromkeys(("transpose", "permute", "t", "numpy_T", "onnx.Transpose"), _permute),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "onnx.Reshape"), _reshape),
    "flatten": _flatten,
    "onnx.Flatten": _as_matrix,
    "unflatten": _unflatten,
}
