# SPDX-License-Identifier: MIT
"""Walking a graph node by node while its values become layers; what the operators' handlers ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..containers.elements import Array
from ..containers.source import Budget
from ..description import Layer, Obstacle
from ..errors import FormatError, quote
from .graph import CELLS, MOST_NODES, NO_LAYER, UNKNOWN, Graph, Input, Node, Ref, needed_nodes
from .graph_states import whole
from .graph_values import (
    POISON,
    Atom,
    Const,
    Data,
    Dims,
    Finals,
    ObstructionError,
    Poison,
    Step,
    Tensor,
    Value,
    dim,
)

Args = dict[str, Value]
Name = tuple[str, bool]  # of a layer, and whether it is that of a module

_MOST_SIZES = 64


class PoisonError(Exception):
    """A handler needs a value that is in the way; the obstacle is recorded where it arose."""


class Translation:
    """The values of a graph so far, and what is in the way."""

    def __init__(self, graph: Graph, handlers: Mapping[str, Handler], budget: Budget) -> None:
        self.graph = graph
        self.handlers = handlers
        self.budget = budget
        self.obstacles = list(graph.obstacles)
        self.values: dict[str, Value] = {
            name: POISON if array is None else Const(array, full)
            for name, (full, array) in graph.weights.items()
        }
        for name, given in graph.inputs.items():
            self.values[name] = _enter(name, given)

    def run(self) -> list[Value]:
        """Take all nodes that the outputs need; the values of the outputs."""
        nodes = needed_nodes(self.graph)
        if len(nodes) > MOST_NODES:
            raise FormatError(f"the graph has {len(nodes)} nodes, at most {MOST_NODES} are read")
        for node in nodes:
            self.visit(node)
        return [self.resolve(output, "the result") for output in self.graph.outputs]

    def visit(self, node: Node) -> None:
        """Take one node; an obstacle poisons its outputs."""
        reasons = list(node.refusals)
        results: tuple[Value, ...] = ()
        try:
            args = {name: self.resolve(value, node.label) for name, value in node.args.items()}
            foreign = node.op.startswith("onnx.") and not self.graph.is_onnx
            handler = None if foreign else self.handlers.get(node.op)
            if handler is None and not reasons:
                raise ObstructionError(NO_LAYER)
            if handler is None:
                raise PoisonError
            if node.op in CHECKED_FIRST or not any(map(_is_poisoned, args.values())):
                result = handler(self, node, args)
                results = result if isinstance(result, tuple) else (result,)
        except PoisonError:
            pass
        except ObstructionError as error:
            reasons.append(str(error))
        if reasons:
            results = ()
            why = "; ".join(dict.fromkeys(reasons))
            self.obstacles.append(Obstacle(node.label, node.kind or node.op, why))
        for at, name in enumerate(node.outputs):
            self.values[name] = results[at] if at < len(results) else POISON

    def resolve(self, value: object, what: str) -> Value:
        """An argument with values in place of their names."""
        if isinstance(value, list):
            return [self.resolve(item, what) for item in value]
        if isinstance(value, Ref):
            if value.name not in self.values:
                raise FormatError(
                    f"{quote(what)} takes {quote(value.name)}, which no node before it makes"
                )
            return self.values[value.name]
        return value

    @contextmanager
    def folding(self, node: Node, count: int = 0) -> Iterator[None]:
        """Compute with constants, which takes `count` bytes; what NumPy refuses is an obstacle."""
        self.budget.spend(256 + count, f"node {quote(node.label)}")
        try:
            with np.errstate(all="ignore"):
                yield
        except (ValueError, IndexError, TypeError, OverflowError):
            raise ObstructionError("its constants do not fit together") from None


Handler = Callable[[Translation, Node, Args], Value]

# Handlers that say what is wrong with their constants even where their data is not known.
CHECKED_FIRST = (*CELLS, "mul")


def _enter(name: str, given: Input) -> Value:
    """An input of the model: data with one atom for each axis."""
    if given.sizes is None:
        return POISON
    axes = tuple(
        (Atom(f"axis {at}", size, is_example=given.are_examples),)
        for at, size in enumerate(given.sizes)
    )
    return Data(Step(None, Layer(name, "Input"), axes, is_integer=given.is_integer), axes)


def _is_poisoned(value: Value) -> bool:
    return isinstance(value, Poison) or (
        isinstance(value, list) and any(isinstance(item, Poison) for item in value)
    )


# --- Arguments ---


def tensor(value: Value) -> Tensor:
    """A constant, data, or final states."""
    return value if isinstance(value, (Const, Data, Finals)) else whole(value)


def data_of(value: Value) -> Data:
    """Data with all its features; a final state becomes the y of a layer Last."""
    if isinstance(value, Poison):
        raise PoisonError
    return whole(value)


def weight_of(value: Value, what: str, rank: int) -> Const:
    """A constant that a layer can have as its weight."""
    if isinstance(value, Poison):
        raise PoisonError
    if not isinstance(value, Const):
        raise ObstructionError(f"its {what} is computed by the model, not a constant")
    array = value.array
    if array.ndim != rank or array.dtype.kind != "f" or not array.size or value.spread:
        shape = [size.number for size in value.dims]
        raise ObstructionError(
            f"its {what} has shape {shape} of {array.dtype}, expected {rank} axes of floats"
        )
    return value


def vector_of(value: Value, what: str, count: int) -> Array:
    """A weight of one number for each feature, from one that may be broadcast."""
    if not isinstance(value, Const) or value.spread:
        raise ObstructionError(f"its {what} is computed by the model, not a constant")
    array = value.array
    if array.size != 1 and (array.size != count or array.shape[-1] != count):
        raise ObstructionError(f"its {what} has shape {array.shape}, expected ({count},)")
    if array.dtype.kind != "f":
        raise ObstructionError(f"its {what} does not hold floating-point numbers")
    return np.broadcast_to(array.reshape(-1), (count,))


def options_of(args: Args, **defaults: object) -> dict[str, object]:
    """Literal arguments, with the defaults of the operator's schema."""
    found: dict[str, object] = {}
    for name, default in defaults.items():
        value = args.get(name, default)
        if value is UNKNOWN or type(value) is not type(default):
            if isinstance(default, float) and type(value) is int:
                value = float(value)
            else:
                raise ObstructionError(f"its {name} is not a constant of the graph")
        found[name] = value
    return found


def sizes_of(value: Value, what: str) -> Dims:
    """Sizes from a constant, or from a list of numbers and of constants of one element."""
    found: list[object] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Const):
            array = item.array
            alone = item is value and array.ndim <= 1
            if item.spread or array.dtype.kind not in "iuO" or not (alone or array.size == 1):
                raise ObstructionError(f"its {what} is not a list of whole numbers")
            found += array.reshape(-1).tolist()
        elif isinstance(value, list) or type(item) is int:
            found.append(item)
        else:
            raise ObstructionError(f"its {what} is not a list of whole numbers")
    if len(found) > _MOST_SIZES:
        raise ObstructionError(f"its {what} is a list of {len(found)}, at most {_MOST_SIZES}")
    return tuple(dim(size) for size in found)


def ints_of(value: Value, what: str) -> list[int] | None:
    """Whole numbers that are known; None if there is no such argument."""
    if value is None:
        return None
    found = [size.number for size in sizes_of(value, what)]
    if None in found:
        raise ObstructionError(f"its {what} is not a constant")
    return found  # type: ignore[return-value]


# --- Names ---


def name_of(node: Node, kind: str, *weights: Value) -> Name:
    """The name of a layer: of the module whose weights it has, or that calls it."""
    for weight in weights:
        path = weight.name.rpartition(".")[0] if isinstance(weight, Const) else ""
        if path not in ("", "CONSTANTS"):
            return path, True
    if weights:
        return node.owner or kind.lower(), node.is_scoped
    if node.module.startswith("torch.nn.modules."):
        return node.owner or kind.lower(), node.is_scoped
    return (not node.module and node.owner) or node.op, node.is_scoped
