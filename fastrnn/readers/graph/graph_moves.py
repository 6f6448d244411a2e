# SPDX-License-Identifier: MIT
"""Operators that move axes or take something along the time axis."""

from __future__ import annotations

from dataclasses import replace

from .flows import Final, Flow, ObstructionError, reshaped, without
from .graph import UNKNOWN, Node
from .translation import ZEROS, Args, Handler, Translation, Value, Weight, Zeros, options_of

_FAR = 1 << 31  # an end of a slice beyond every axis


def _select(self: Translation, node: Node, args: Args) -> Value:
    value, index = args.get("self"), args.get("index")
    if isinstance(value, Final):
        axis = value.axis(args.get("dim"))
        if value.shape[axis] == "R" and type(index) is int:
            count = len(value.rows)
            if -count <= index < count:
                return replace(_drop(value, axis), rows=(value.rows[index],))
        raise ObstructionError(f"it takes part {index!r} of a final state")
    flow = self.flow(value)
    axis = flow.axis(args.get("dim"))
    if flow.view[axis] and index != -1:
        raise ObstructionError(f"it takes step {index!r} of the sequence, expected -1, the last")
    if not flow.view[axis] and index not in (0, -1):
        raise ObstructionError(f"it takes part {index!r} of an axis of size one")
    return self.chain.reduce(flow, axis, "Last", "last", {"of": "step"}, keep=False)


def _slice(self: Translation, node: Node, args: Args) -> Value:
    value, axis = args.get("self"), args.get("dim", 0)
    start, end, step = args.get("start"), args.get("end"), args.get("step", 1)
    whole_end = end is None or (type(end) is int and end >= _FAR)
    if start in (None, 0) and whole_end and step == 1 and not isinstance(value, (Weight, Zeros)):
        return value
    if isinstance(value, Final) and value.shape[value.axis(axis)] == "R":
        first = _bound(start)
        last, stride = _bound(end), _bound(step)
        if stride == 0:
            raise ObstructionError("its step is 0")
        return replace(value, rows=value.rows[first:last:stride])
    if isinstance(value, Zeros):
        return value
    flow = self.flow(value)
    at = flow.axis(axis)
    if (
        start in (None, 0)
        and step == 1
        and end is not None
        and end == self.chain.size(flow.view[at])
    ):
        return flow
    if start == -1 and whole_end and step == 1:
        return self.chain.reduce(flow, at, "Last", "last", {"of": "step"}, keep=True)
    raise ObstructionError(f"it takes steps {start!r} to {end!r}, expected the last or all")


def _bound(value: Value) -> int | None:
    if value is not None and type(value) is not int:
        raise ObstructionError("it takes a part that is not constant")
    return value


def _squeeze(self: Translation, node: Node, args: Args) -> Value:
    value, dim = args.get("self"), args.get("dim")
    dims = dim if isinstance(dim, list) else [dim]
    if isinstance(value, (Weight, Zeros)):
        return _of_constant(value)
    if isinstance(value, Final):
        chosen = range(len(value.shape)) if dim is None else [value.axis(d) for d in dims]
        for axis in sorted(set(chosen), reverse=True):
            if value.shape[axis] == "1" or (value.shape[axis] == "R" and len(value.rows) == 1):
                value = _drop(value, axis)
        return value
    flow = self.flow(value)
    chosen = range(len(flow.view)) if dim is None else [flow.axis(d) for d in dims]
    for axis in sorted(set(chosen), reverse=True):
        size = self.chain.size(flow.view[axis])
        varies = any(label not in self.chain.features for label in flow.view[axis])
        if flow.view[axis] and varies and (size in (1, None) or dim is not None):
            if size not in (1, None):
                continue
            raise ObstructionError("whether it drops an axis depends on the size of the input")
        if size == 1:
            flow = without(flow, axis)
    return flow


def _unsqueeze(self: Translation, node: Node, args: Args) -> Value:
    value, dim = args.get("self"), args.get("dim")
    if isinstance(value, (Weight, Zeros)):
        return _of_constant(value)
    size = len(value.shape if isinstance(value, Final) else self.flow(value).view) + 1
    if type(dim) is not int or not -size <= dim < size:
        raise ObstructionError(f"its dimension {dim!r} is not one of {size}")
    at = dim % size
    if isinstance(value, Final):
        return replace(value, shape=(*value.shape[:at], "1", *value.shape[at:]))
    flow = self.flow(value)
    return replace(flow, view=(*flow.view[:at], (), *flow.view[at:]))


def _transpose(self: Translation, node: Node, args: Args) -> Value:
    value = args.get("self")
    rank = _rank(value)
    places = list(range(rank))
    a, b = (_place(args.get(name), rank) for name in ("dim0", "dim1"))
    places[a], places[b] = places[b], places[a]
    return _moved(value, places)


def _permute(self: Translation, node: Node, args: Args) -> Value:
    value, dims = args.get("self"), args.get("dims")
    rank = _rank(value)
    places = [_place(dim, rank) for dim in dims] if isinstance(dims, list) else []
    if sorted(places) != list(range(rank)):
        raise ObstructionError(f"{dims!r} is not a permutation of {rank} axes")
    return _moved(value, places)


def _reverse_axes(self: Translation, node: Node, args: Args) -> Value:
    value = args.get("self")
    return _moved(value, list(range(_rank(value)))[::-1])


def _rank(value: Value) -> int:
    if isinstance(value, Flow):
        return len(value.view)
    if isinstance(value, Final):
        return len(value.shape)
    if isinstance(value, Weight):
        return value.array.ndim
    raise ObstructionError("it moves the axes of something else than a layer's output or a weight")


def _place(dim: Value, rank: int) -> int:
    if type(dim) is not int or not -rank <= dim < rank:
        raise ObstructionError(f"its dimension {dim!r} is not one of {rank}")
    return dim % rank


def _moved(value: Value, places: list[int]) -> Value:
    if isinstance(value, Flow):
        return replace(value, view=tuple(value.view[place] for place in places))
    if isinstance(value, Final):
        return replace(value, shape=tuple(value.shape[place] for place in places))
    assert isinstance(value, Weight)
    return replace(value, array=value.array.transpose(places))


def _reshape(self: Translation, node: Node, args: Args) -> Value:
    value, wanted = args.get("self"), args.get("shape", args.get("size"))
    if isinstance(value, (Weight, Zeros)):
        return _of_constant(value)
    if not isinstance(wanted, list):
        raise ObstructionError("its shape is not a list")
    known = self.graph.sizes.get(node.outputs[0]) if node.outputs else None
    if known is not None and len(known) == len(wanted):
        wanted = [size if size is not None else UNKNOWN for size in known]
    if isinstance(value, Final):
        return _state_reshaped(value, len(wanted))
    return reshaped(self.chain, self.flow(value), wanted)


def _flatten(self: Translation, node: Node, args: Args) -> Value:
    value = args.get("self")
    rank = _rank(value)
    bounds = options_of(args, start_dim=0, end_dim=-1)
    start, end = (_place(bounds[name], rank) for name in ("start_dim", "end_dim"))
    if isinstance(value, Final):
        if end != start + 1:
            raise ObstructionError("it regroups the axes of a final state")
        return _state_reshaped(value, 2)
    flow = self.flow(value)
    if start > end:
        raise ObstructionError("it flattens nothing")
    merged = tuple(label for axis in flow.view[start : end + 1] for label in axis)
    return replace(flow, view=(*flow.view[:start], merged, *flow.view[end + 1 :]))


def _state_reshaped(state: Final, rank: int) -> Final:
    """Rows and units of a final state side by side: B x R x H as B x (R H)."""
    if state.shape == ("B", "R", "H") and rank == 2 and len(state.rows) > 1:
        return replace(state, shape=("B", "RH"))
    if len(state.rows) == 1 and rank == 2:  # one row: nothing to put side by side
        return replace(state, shape=tuple(letter for letter in state.shape if letter not in "1R"))
    raise ObstructionError(f"it regroups the axes {'x'.join(state.shape)} of a final state")


def _cat(self: Translation, node: Node, args: Args) -> Value:
    """Parts of one final state side by side; anything else joins branches."""
    parts = args.get("tensors")
    if not isinstance(parts, list) or not parts:
        raise ObstructionError("its inputs are not a list of tensors")
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Zeros) and all(isinstance(part, Zeros) for part in parts):
        return ZEROS
    rows: tuple[int, ...] = ()
    for part in parts:
        alike = isinstance(first, Final) and isinstance(part, Final)
        if not alike or replace(part, rows=()) != replace(first, rows=()):
            raise ObstructionError("it joins several branches")
        rows += part.rows
    assert isinstance(first, Final)
    axis = first.axis(args.get("dim", 0))
    if first.shape[axis] == "R":
        return replace(first, rows=rows)
    if first.shape[axis] != "H" or len(first.rows) != 1:
        raise ObstructionError(f"it joins final states along axis {axis}, expected the units")
    shape = tuple({"H": "RH", "R": "1"}.get(letter, letter) for letter in first.shape)
    return replace(first, rows=rows, shape=shape)


def _drop(state: Final, axis: int) -> Final:
    return replace(state, shape=state.shape[:axis] + state.shape[axis + 1 :])


def _of_constant(value: Value) -> Value:
    """Zeros stay zeros in every shape; a weight in another shape is no layer's weight."""
    if isinstance(value, Zeros):
        return value
    raise ObstructionError("it changes the shape of a weight")


# --- along the time axis ---


def _pool(mode: str) -> Handler:
    def handle(self: Translation, node: Node, args: Args) -> Value:
        flow = self.flow(args.get("self"))
        keep = options_of(args, keepdim=False)["keepdim"] is True
        dims = args.get("dim")
        if dims is None or dims == []:
            raise ObstructionError("it takes one value of everything, expected of the time axis")
        axes = {flow.axis(dim) for dim in (dims if isinstance(dims, list) else [dims])}
        for axis in sorted(axes, reverse=True):
            name = "pool" if flow.view[axis] else ""
            flow = self.chain.reduce(flow, axis, "Pool", name, {"mode": mode}, keep)
        return flow, None

    return handle


def _adaptive_pool(mode: str) -> Handler:
    def handle(self: Translation, node: Node, args: Args) -> Value:
        size = args.get("output_size")
        if size not in (1, [1]):
            raise ObstructionError(f"it pools to {size!r} values, expected 1")
        flow = self.flow(args.get("self"))
        at = len(flow.view) - 1
        return self.chain.reduce(flow, at, "Pool", "pool", {"mode": mode}, keep=True), None

    return handle


def _expand(self: Translation, node: Node, args: Args) -> Value:
    if isinstance(args.get("self"), Zeros):
        return ZEROS
    raise ObstructionError("it repeats a tensor")


MOVES: dict[str, Handler] = {
    "select": _select,
    "slice": _slice,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "transpose": _transpose,
    "permute": _permute,
    "t": _reverse_axes,
    "numpy_T": _reverse_axes,
    "view": _reshape,
    "_unsafe_view": _reshape,
    "reshape": _reshape,
    "flatten": _flatten,
    "cat": _cat,
    "mean": _pool("mean"),
    "amax": _pool("max"),
    "max": _pool("max"),
    "adaptive_avg_pool1d": _adaptive_pool("mean"),
    "adaptive_max_pool1d": _adaptive_pool("max"),
    "expand": _expand,
}
