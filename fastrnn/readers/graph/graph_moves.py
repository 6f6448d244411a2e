# SPDX-License-Identifier: MIT
"""Operators that only move, join or split whole axes, and those that change nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np

from .graph import Node
from .graph_axes import moved, reshaped, with_ones, without
from .graph_constants import repeated, reshaped_constant
from .graph_values import (
    Axes,
    Const,
    Data,
    Dim,
    Moment,
    ObstructionError,
    Tensor,
    Value,
    dim,
    dims_of,
    place_of,
    times,
)
from .translation import Args, Handler, Translation, ints_of, options_of, sizes_of, tensor

_INTEGERS = ("int", "uint")


def _same(self: Translation, node: Node, args: Args) -> Value:
    return args.get("self")


def _cast(self: Translation, node: Node, args: Args) -> Value:
    """torch's casts change nothing that matters; ONNX's name the type and may cast constants."""
    value, dtype = args.get("self"), args.get("dtype")
    if not self.graph.is_onnx or isinstance(value, Moment):
        return value
    if not isinstance(dtype, str):
        raise ObstructionError("it casts to a type that is not supported")
    if isinstance(value, Const):
        if value.array.dtype.kind == "O":
            return value
        if value.array.dtype.kind not in "fiub":
            raise ObstructionError("it casts from a type that is not supported")
        with self.folding(node, value.array.size * np.dtype(dtype).itemsize):
            return Const(value.array.astype(dtype), spread=value.spread)
    is_integer = isinstance(value, Data) and value.step.is_integer is True
    if dtype.startswith(_INTEGERS) != is_integer or dtype == "bool":
        raise ObstructionError("it casts between numbers of different kinds")
    return value


def _transpose(self: Translation, node: Node, args: Args) -> Value:
    value = tensor(args.get("self"))
    places = list(range(len(dims_of(value))))
    a, b = (place_of(args.get(name), len(places)) for name in ("dim0", "dim1"))
    places[a], places[b] = places[b], places[a]
    return moved(value, places)


def _permute(self: Translation, node: Node, args: Args) -> Value:
    """The axes in another order; t turns it round."""
    value = tensor(args.get("self"))
    rank = len(dims_of(value))
    dims = ints_of(args.get("dims"), "dims")
    if dims is None and node.op != "permute":
        dims = list(range(rank))[::-1]
    places = [place_of(at, rank) for at in dims or []]
    if sorted(places) != list(range(rank)):
        raise ObstructionError(f"its dims are not a permutation of {rank} axes")
    return moved(value, places)


def _squeeze(self: Translation, node: Node, args: Args) -> Value:
    """Of these axes, or of all, those of size 1 go; ONNX's that are named have to be such."""
    value = tensor(args.get("self"))
    rank, dims = len(dims_of(value)), ints_of(args.get("dim"), "dim")
    chosen = range(rank) if dims is None else [place_of(at, rank) for at in dims]
    gone = {at for at in chosen if _is_one(value, at)}
    if self.graph.is_onnx and dims is not None and len(gone) < len(set(chosen)):
        raise ObstructionError("it drops an axis that is not known to be of size 1")
    return without(value, gone)


def _is_one(value: Tensor, place: int) -> bool:
    """Whether an axis has size 1 in every call."""
    size = dims_of(value)[place].number
    if isinstance(value, Const) or not any(atom.is_example for atom in value.axes[place]):
        return size == 1
    if size in (1, None) and isinstance(value, Data):
        raise ObstructionError("whether it drops an axis depends on the size of the input")
    return False


def _unsqueeze(self: Translation, node: Node, args: Args) -> Value:
    value, dims = tensor(args.get("self")), ints_of(args.get("dim"), "dim") or []
    rank = len(dims_of(value)) + len(dims)
    places = {place_of(at, rank) for at in dims}
    if len(places) < len(dims):
        raise ObstructionError("it names an axis twice")
    return with_ones(value, places)


def _reshape(self: Translation, node: Node, args: Args) -> Value:
    """A new shape; the file may say what it is for an example."""
    value = tensor(args.get("self"))
    target = sizes_of(args.get("shape", args.get("size")), "shape")
    known = self.graph.sizes.get(node.outputs[0])
    if known is not None and len(known) == len(target):
        target = tuple(dim(size) for size in known)
    if node.op == "onnx.Reshape" and args["zero"] == 0:
        own = dims_of(value)
        if any(size == Dim(0) and at >= len(own) for at, size in enumerate(target)):
            raise ObstructionError("a 0 in its shape means an axis that is not there")
        target = tuple(own[at] if size == Dim(0) else size for at, size in enumerate(target))
    if isinstance(value, Const):
        return reshaped_constant(self, node, value, target)
    return replace(value, axes=reshaped(value.axes, target))


def _flatten(self: Translation, node: Node, args: Args) -> Value:
    value = tensor(args.get("self"))
    rank = len(dims_of(value))
    bounds = options_of(args, start_dim=0, end_dim=-1)
    start, end = (place_of(bounds[name], rank) for name in ("start_dim", "end_dim"))
    if start > end:
        raise ObstructionError("it flattens nothing")
    return _grouped(self, node, value, [*range(start + 1), *range(end + 1, rank + 1)])


def _as_matrix(self: Translation, node: Node, args: Args) -> Value:
    """ONNX's Flatten: the axes before one and those from it on become an axis each."""
    value, at = tensor(args.get("self")), args["axis"]
    rank = len(dims_of(value))
    return _grouped(self, node, value, [0, at if at == rank else place_of(at, rank), rank])


def _grouped(self: Translation, node: Node, value: Tensor, points: list[int]) -> Value:
    """The value with the axes between two of these places as one."""
    parts = list(pairwise(points))
    if isinstance(value, Const):
        sizes = tuple(reduce(times, value.dims[a:b], Dim(1)) for a, b in parts)
        return reshaped_constant(self, node, value, sizes)
    axes: Axes = tuple(sum(value.axes[a:b], ()) for a, b in parts)
    return replace(value, axes=axes)


def _unflatten(self: Translation, node: Node, args: Args) -> Value:
    value, sizes = tensor(args.get("self")), sizes_of(args.get("sizes"), "sizes")
    own = dims_of(value)
    at = place_of(args.get("dim"), len(own))
    if isinstance(value, Const):
        return reshaped_constant(self, node, value, (*own[:at], *sizes, *own[at + 1 :]))
    parts = reshaped(value.axes[at : at + 1], sizes)
    return replace(value, axes=(*value.axes[:at], *parts, *value.axes[at + 1 :]))


def _expand(self: Translation, node: Node, args: Args) -> Value:
    """A constant that is repeated; of data, only a shape that changes nothing."""
    value, target = tensor(args.get("self")), sizes_of(args.get("size"), "size")
    if isinstance(value, Const):
        return repeated(value, target)
    own = dims_of(value)
    behind = own[len(own) - len(target) :]
    if len(target) > len(own) or any(
        size not in (Dim(1), Dim(-1), old) for size, old in zip(target, behind, strict=True)
    ):
        raise ObstructionError("it repeats data")
    return value


def _repeat(self: Translation, node: Node, args: Args) -> Value:
    """ONNX's Tile: only of zeros."""
    value = args.get("self")
    if not isinstance(value, Const) or not value.is_zero:
        raise ObstructionError("it repeats data")
    repeats = sizes_of(args.get("repeats"), "repeats")
    if len(repeats) != len(value.dims):
        raise ObstructionError("it repeats along other axes than there are")
    zeros = Const(np.zeros((1,) * len(repeats), value.array.dtype))
    return repeated(zeros, tuple(map(times, value.dims, repeats)))


MOVES: dict[str, Handler] = {
    **dict.fromkeys(("clone", "alias", "detach", "contiguous", "lift_fresh_copy"), _same),
    **dict.fromkeys(("to", "_to_copy"), _cast),
    "transpose": _transpose,
    **dict.fromkeys(("permute", "t", "numpy_T", "onnx.Transpose"), _permute),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "onnx.Reshape"), _reshape),
    "flatten": _flatten,
    "unflatten": _unflatten,
    "expand": _expand,
    "onnx.Flatten": _as_matrix,
    "onnx.Tile": _repeat,
}
