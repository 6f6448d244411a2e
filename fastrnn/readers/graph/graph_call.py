# SPDX-License-Identifier: MIT
"""One call of an operator while it is translated: its arguments, read as its handler needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from ..containers.budget import Budget
from ..containers.elements import Array
from ..description import PYTORCH_MODULES
from ..errors import listing, quote
from .graph import UNKNOWN, WITHOUT_EFFECT, Graph, Node
from .graph_directions import whole
from .graph_steps import Name
from .graph_values import (
    POISON,
    Const,
    Data,
    Dims,
    Finals,
    ObstructionError,
    Poison,
    Tensor,
    Value,
    dim,
)

_MOST_SIZES = 64
_Literal = TypeVar("_Literal", bool, int, float)


class PoisonError(Exception):
    """A handler needs a value that is not known; the obstacle is recorded where it arose."""


class OperatorCall:
    """A node with the values of its arguments; what does not fit raises ObstructionError."""

    def __init__(self, node: Node, args: dict[str, Value], graph: Graph, budget: Budget) -> None:
        self.node, self.op = node, node.op
        self.is_onnx, self.budget = graph.is_onnx, budget
        self._weights = graph.weights
        self.known_sizes = graph.sizes.get(node.outputs[0])  # of the result, if the file says
        self._args = args
        self._read: set[str] = set()

    @property
    def has_poison(self) -> bool:
        """Whether an argument is the result of an unsupported node."""
        lists = [value if isinstance(value, list) else [value] for value in self._args.values()]
        return any(POISON in values for values in lists)

    def check_dtype(self) -> None:
        """Refuse to compute in another type than float32 or float64, unless the weights have it."""
        dtype = self.get("dtype")
        if dtype in (None, "float32", "float64"):
            return
        if not isinstance(dtype, str):
            raise ObstructionError("the type in which it computes is not a constant")
        if not self.has_weights_of(dtype):
            raise ObstructionError(f"it computes in {dtype}, expected float32")

    def get(self, name: str, default: Value = None) -> Value:
        """An argument as it is; a default if there is no such argument."""
        self._read.add(name)
        return self._args.get(name, default)

    def check_all_read(self) -> None:
        """Refuse a call with an argument that its handler did not look at."""
        left = [
            name
            for name, value in self._args.items()
            if not (value is None or name in self._read or name in WITHOUT_EFFECT)
        ]
        if left:
            raise ObstructionError(f"its argument {listing(left)} is not supported")

    def has_weights_of(self, dtype: str) -> bool:
        """Whether the model has weights of this type."""
        self.budget.step(len(self._weights), "the types of the weights")
        arrays = (array for _, array in self._weights.values())
        return any(array is not None and array.dtype.name == dtype for array in arrays)

    def tensor(self, name: str = "self") -> Tensor:
        """A constant, data, or final states."""
        value = self.get(name)
        return value if isinstance(value, (Const, Data, Finals)) else whole(value)

    def data(self, name: str = "self") -> Data:
        """Data with all its features; a final state becomes the y of a layer Last."""
        value = self.get(name)
        if isinstance(value, Poison):
            raise PoisonError
        return whole(value)

    def weight(self, name: str, rank: int) -> Const:
        """A constant that a layer can have as its weight."""
        return weight_of(self.get(name), name, rank)

    def vector(self, name: str, count: int) -> Array:
        """A constant with one value for each feature, from one that may be broadcast."""
        value = self.get(name)
        if not isinstance(value, Const) or value.spread:
            raise ObstructionError(f"its {name} is computed by the model, not a constant")
        array = value.array
        if array.size != 1 and (array.size != count or array.shape[-1] != count):
            raise ObstructionError(f"its {name} has shape {array.shape}, expected ({count},)")
        if array.dtype.kind != "f":
            raise ObstructionError(f"its {name} does not hold floats")
        return np.broadcast_to(array.reshape(-1), (count,))

    def literal(self, name: str, default: _Literal) -> _Literal:
        """A plain argument of the kind of its default."""
        value = self.get(name, default)
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if value is UNKNOWN or type(value) is not type(default):
            raise ObstructionError(f"its {name} is not a constant of the graph")
        return value

    def sizes(self, name: str) -> Dims:
        """Sizes from a constant, or from a list of numbers and of constants of one element."""
        value = self.get(name)
        found: list[object] = []
        for item in value if isinstance(value, list) else [value]:
            array = item.array if isinstance(item, Const) and not item.spread else np.zeros(0)
            is_vector = array.size == 1 or (item is value and array.ndim == 1)
            if isinstance(item, Const) and is_vector and array.dtype.kind in "iuO":
                found += array.reshape(-1).tolist()
            elif isinstance(item, Const) or not (isinstance(value, list) or type(item) is int):
                raise ObstructionError(f"its {name} is not a list of whole numbers")
            else:
                found.append(item)
        if len(found) > _MOST_SIZES:
            raise ObstructionError(f"its {name} has {len(found)} items, at most {_MOST_SIZES}")
        return tuple(dim(size) for size in found)

    def ints(self, name: str) -> list[int] | None:
        """Whole numbers that are known; None if there is no such argument."""
        if self.get(name) is None:
            return None
        found = [size.number for size in self.sizes(name)]
        if None in found:
            raise ObstructionError(f"its {name} is not a constant")
        return found  # type: ignore[return-value]

    def integer(self, name: str, default: int) -> int:
        """One whole number."""
        found = self.ints(name)
        if found is not None and len(found) != 1:
            raise ObstructionError(f"its {name} is not one number")
        return default if found is None else found[0]

    def name(self, kind: str, *weights: str) -> Name:
        """The name of a layer: of the module whose weights it has, or that calls it."""
        node = self.node
        for weight in weights:
            value = self.get(weight)
            value = value[0] if isinstance(value, list) and value else value
            path = value.name.rpartition(".")[0] if isinstance(value, Const) else ""
            if path not in ("", "CONSTANTS"):
                return path, True
        if weights or node.module.startswith(PYTORCH_MODULES):
            return node.owner or kind.lower(), node.is_scoped
        return (not node.module and node.owner) or node.op, node.is_scoped

    @contextmanager
    def folding(self, count: int = 0) -> Iterator[None]:
        """Compute with constants, which takes `count` bytes; what NumPy refuses is an obstacle."""
        self.budget.spend(256 + count, f"node {quote(self.node.label)}")
        try:
            with np.errstate(all="ignore"):
                yield
        except (ValueError, IndexError, TypeError, OverflowError):
            raise ObstructionError("its constants do not fit together") from None


Handler = Callable[[OperatorCall], Value]


def weight_of(value: Value, what: str, rank: int) -> Const:
    """A constant of floats with so many axes."""
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
