# SPDX-License-Identifier: MIT
"""What a value of the graph can be while it is followed: data, constants, shapes, states."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..containers.elements import Array
from ..description import Layer


class CannotMap(Exception):  # noqa: N818
    """Why a node is none of fastrnn's layers; becomes an entry of UnsupportedModel."""


# --- Sizes and axes ---


@dataclass(frozen=True, eq=False, slots=True)
class Atom:
    """A dimension that keeps its identity through transpositions and reshapes."""

    label: str
    size: int | None  # None: not known before the model runs


Axis = tuple[Atom, ...]  # the joint axis of these, the first one slowest; () has size 1
Axes = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Dim:
    """A size: a number times atoms of unknown size."""

    count: int
    atoms: tuple[Atom, ...] = ()

    @property
    def number(self) -> int | None:
        """The size, if it is known."""
        return None if self.atoms else self.count


Dims = tuple[Dim | None, ...]  # None: a size that is not followed


def solid(axis: Axis) -> Axis:
    """The atoms that are not of size 1."""
    return tuple(atom for atom in axis if atom.size != 1)


def dim_of(axis: Axis) -> Dim:
    """The size of an axis."""
    count = 1
    for atom in axis:
        count *= 1 if atom.size is None else atom.size
    return Dim(count, tuple(sorted((a for a in axis if a.size is None), key=id)))


def times(a: Dim | None, b: Dim | None) -> Dim | None:
    """The product of two sizes."""
    if a is None or b is None:
        return None
    return Dim(a.count * b.count, tuple(sorted(a.atoms + b.atoms, key=id)))


def over(a: Dim | None, b: Dim | None) -> Dim | None:
    """The quotient of two sizes; None unless it is exact."""
    if a is None or b is None or b.count == 0 or a.count % b.count:
        return None
    rest = list(a.atoms)
    for atom in b.atoms:
        if atom not in rest:
            return None
        rest.remove(atom)
    return Dim(a.count // b.count, tuple(rest))


# --- The layers so far ---


@dataclass(frozen=True, slots=True)
class Given:
    """Rows of a graph input that the caller gives: an initial state."""

    name: str
    start: int
    stop: int | None
    shape: Dims = ()


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What joining recurrent layers and taking their states needs to know."""

    direction: Atom  # of size 1 or 2
    hidden: Atom
    states: tuple[Given | None, ...]  # h, or h and c
    reverse: bool = False  # one direction, between two layers that reverse time


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A layer and those before it; the layout is the order of axes in which its y comes."""

    parent: Step | None
    layer: Layer
    layout: Axes
    time: Axis | None = None
    recurrence: Recurrence | None = None
    scoped: bool = False  # the layer's name is that of a module
    integer: bool = False
    lengths: str | None = None  # the graph input that holds those of the rows


# --- Values ---


@dataclass(frozen=True, eq=False, slots=True)
class Const:
    """A known array; the name is that of the initializer."""

    array: Array
    name: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Sizes:
    """A vector of sizes, or one (rank 0), that comes from the shape of something."""

    dims: Dims
    rank: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class Zeros:
    """Zeros of any shape, such as an initial state; the shape is None if it is not followed."""

    shape: Dims | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Spread:
    """A constant broadcast along axes where it has size 1."""

    array: Array
    shape: Dims


@dataclass(frozen=True, eq=False, slots=True)
class Data:
    """The y of a step, with its axes in this order.

    `part` is the one direction of its features that was taken, `instant` the one place of time:
    -1 the last, 0 the first. What that is depends on which comes with it: see `states.settle`.
    """

    step: Step
    axes: Axes
    part: int | None = None
    instant: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The final state of one direction of a recurrent layer."""

    step: Step
    direction: int
    kind: str  # "h" or "c"


@dataclass(frozen=True, eq=False, slots=True)
class Finals:
    """Final states; `row` is the atom that counts them, `hidden` that of their features."""

    rows: tuple[Row, ...]
    row: Atom
    hidden: Atom
    axes: Axes


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """A stage of a layer normalisation that is written out in single operations."""

    stage: str
    data: Data
    epsilon: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class Unknown:
    """What cannot be followed; the obstacle has been recorded where it arose."""


Value = Const | Sizes | Zeros | Spread | Given | Data | Finals | Moment | Unknown


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a node by position; those not there are None."""

    values: list[Value | None] = field(default_factory=list)

    def get(self, index: int) -> Value | None:
        """The input at a position, None if there is none."""
        return self.values[index] if index < len(self.values) else None

    def const(self, index: int, what: str) -> Array:
        """A constant that must be there."""
        value = self.get(index)
        if not isinstance(value, Const):
            raise CannotMap(f"its {what} is not a constant")
        return value.array

    def ints(self, index: int, what: str) -> list[int] | None:
        """Whole numbers that are constant, None if there is no such input."""
        value = self.get(index)
        if value is None:
            return None
        if isinstance(value, Sizes) and all(d is not None and not d.atoms for d in value.dims):
            return [d.count for d in value.dims if d is not None]
        array = self.const(index, what)
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
            raise CannotMap(f"its {what} is not a short list of whole numbers")
        return [int(number) for number in array.reshape(-1)]
