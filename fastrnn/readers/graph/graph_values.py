# SPDX-License-Identifier: MIT
"""What a value of a graph can be while it is followed: constants, data of layers, final states.

A graph moves axes freely. So an axis keeps its identity for its whole life, an operator that moves
axes changes only how the graph sees them, and a layer that moves them is not made before one is
needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..containers.elements import Array
from ..description import DescribedLayer


class ObstructionError(Exception):
    """Why a node cannot become a layer; never leaves the readers."""


class RankError(ObstructionError):
    """The framework would refuse the node too: an argument has another number of axes."""


# --- Axes and sizes ---


@dataclass(frozen=True, eq=False, slots=True)
class Atom:
    """An axis that keeps its identity through transpositions and reshapes."""

    label: str
    size: int | None  # None: not known before the model runs
    is_example: bool = False  # an input of the model, whose size another call may change
    is_feature: bool = False  # made by a layer as features, so neither time nor batch
    is_direction: bool = False  # counts the directions of a recurrent layer

    @property
    def is_one(self) -> bool:
        """Whether its size is always 1."""
        return self.size == 1 and not self.is_example


Axis = tuple[Atom, ...]  # the joint axis of these, the first one slowest; () has size 1
Axes = tuple[Axis, ...]


def solid(axis: Axis) -> Axis:
    """The atoms that are not of size 1."""
    return tuple(atom for atom in axis if not atom.is_one)


@dataclass(frozen=True, slots=True)
class Dim:
    """A size: a number times the sizes of atoms; the number is None if it is not followed."""

    count: int | None
    atoms: tuple[Atom, ...] = ()

    @property
    def number(self) -> int | None:
        """The size, if it is known."""
        return None if self.atoms else self.count


Dims = tuple[Dim, ...]
NOT_FOLLOWED = Dim(None)
_LARGEST = 1 << 63


def dim(size: object) -> Dim:
    """A size in the graph, a number or a Dim already."""
    if isinstance(size, Dim):
        return size
    return Dim(size) if type(size) is int else NOT_FOLLOWED


def dim_of(axis: Axis) -> Dim:
    """The size of an axis."""
    count = 1
    for atom in axis:
        count *= 1 if atom.size is None else atom.size
    return Dim(count, tuple(sorted((a for a in axis if a.size is None), key=id)))


def fixed_size(axis: Axis) -> int | None:
    """The size of an axis that it has in every call, if that is known."""
    return None if any(atom.is_example for atom in axis) else dim_of(axis).number


def times(a: Dim, b: Dim) -> Dim:
    """The product of two sizes."""
    if a.count is None or b.count is None or abs(a.count * b.count) > _LARGEST:
        return NOT_FOLLOWED
    return Dim(a.count * b.count, tuple(sorted(a.atoms + b.atoms, key=id)))


def over(a: Dim, b: Dim) -> Dim:
    """The quotient of two sizes, if it is exact."""
    if a.count is None or not b.count or a.count % b.count:
        return NOT_FOLLOWED
    rest = list(a.atoms)
    for atom in b.atoms:
        if atom not in rest:
            return NOT_FOLLOWED
        rest.remove(atom)
    return Dim(a.count // b.count, tuple(rest))


def floored(a: Dim, b: Dim) -> Dim:
    """The quotient of two sizes, rounded down if they are known."""
    if a.number is None or not b.number or min(a.number, b.number) < 0:
        return over(a, b)
    return Dim(a.number // b.number)


def plus(a: Dim, b: Dim) -> Dim:
    """The sum of two sizes that are known."""
    return NOT_FOLLOWED if a.number is None or b.number is None else Dim(a.number + b.number)


# --- The layers so far ---


State = tuple[str, range]  # an initial state that the caller passes: rows of an input


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What joining recurrent layers and taking their states needs to know."""

    direction: Atom  # of size 1 or 2
    hidden: Atom
    rows: int  # of the final states: layers times directions
    states: tuple[State | None, ...]  # h, or h and c
    # What has been made of some of its layers and directions: see `directed`.
    parts: dict[tuple[int, tuple[int, ...]], Step] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A layer and those before it; the layout is the order of axes in which its y comes."""

    parent: Step | None  # None: an input of the model
    layer: DescribedLayer
    layout: Axes
    time: Axis | None = None  # None: not known; (): taken away
    recurrence: Recurrence | None = None
    is_scoped: bool = False  # the layer's name is that of a module
    is_integer: bool | None = None  # of an input: whether it holds whole numbers
    lengths: str | None = None  # the input of the graph that holds those of the rows
    source: Step | None = None  # of a layer that holds those since this step: what they take


# --- Values ---


def place_of(axis: object, rank: int) -> int:
    """An axis counted from the front."""
    if type(axis) is not int or not -rank <= axis < rank:
        shown = axis if type(axis) is int else ""
        raise RankError(f"its dimension {shown} is not one of {rank}")
    return axis % rank


class Shaped:
    """What has axes."""

    __slots__ = ()
    axes: Axes  # of all but constants

    @property
    def dims(self) -> Dims:
        """The shape."""
        return tuple(dim_of(axis) for axis in self.axes)

    def place(self, axis: object) -> int:
        """One of its axes counted from the front."""
        return place_of(axis, len(self.dims))


@dataclass(frozen=True, eq=False, slots=True)
class Const(Shaped):
    """A known array, perhaps repeated along axes where it has size 1.

    An array of objects holds sizes, each a number or a Dim.
    """

    array: Array
    name: str = ""  # in the state dict, of a weight as it is in the file
    spread: Dims | None = None  # the shape, if the array is repeated

    @property
    def dims(self) -> Dims:
        """The shape."""
        return self.spread or tuple(Dim(size) for size in self.array.shape)

    @property
    def is_zero(self) -> bool:
        """Whether it holds nothing but zeros."""
        return self.array.dtype.kind in "fiub" and not self.array.any()


@dataclass(frozen=True, eq=False, slots=True)
class Data(Shaped):
    """The y of a step, with its axes in this order.

    `part` is the one direction of its features that was taken; `instant` the one place of the
    axis `time`, -1 the last, 0 the first. Which layers these are depends on what they are joined
    with. Of an input, `rows` of its first axis may have been taken, as of a state.
    """

    step: Step
    axes: Axes
    part: int | None = None
    instant: int | None = None
    time: Axis = ()
    rows: range | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The final state of one direction of a recurrent layer."""

    step: Step
    index: int
    kind: str  # "h" or "c"


@dataclass(frozen=True, eq=False, slots=True)
class Finals(Shaped):
    """Final states; `row` is the atom that counts them, `hidden` that of their features."""

    rows: tuple[Row, ...]
    row: Atom
    hidden: Atom
    axes: Axes


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """A stage of a layer normalization that is written out in single operations."""

    stage: str
    data: Data
    epsilon: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class Index(Shaped):
    """Numbers computed from an input i of whole numbers: scale i + offset for all i >= 0."""

    data: Data
    scale: int
    offset: int
    is_float: bool = False

    @property
    def axes(self) -> Axes:  # type: ignore[override]
        """Those of the input."""
        return self.data.axes


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """A factor times a power or function of x, in a function that is written out.

    x is the data times `inner`.
    """

    name: str
    data: Data
    factor: float
    inner: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class WeightedSteps:
    """Data whose steps are multiplied by the softmax over time of their scores."""

    data: Data
    weights: Data
    time: Axis


class Poison:
    """The result of an unsupported node: what follows is not judged by it."""


POISON = Poison()
Tensor = Const | Data | Finals
Value = object  # a Tensor, Moment, Poison, or a plain argument


def scalar(value: object) -> float:
    """The one number of a constant, or a plain number."""
    if isinstance(value, (int, float)):
        return value
    array = value.array if isinstance(value, Const) else np.zeros(0)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise ObstructionError("it takes something else than a constant number")
    return float(array.reshape(-1)[0])


def check_features(features: Axis, count: int) -> None:
    """Require an axis of so many features, as far as its size is known."""
    known = dim_of(features).number
    if known not in (None, count):
        raise ObstructionError(
            f"its weight takes {count} features, the layer before returns {known}"
        )


def features_of(data: Data, count: int, place: int = -1) -> Axis:
    """An axis of data that has so many features, as far as is known."""
    features = data.axes[data.place(place)]
    check_features(features, count)
    return features


def made_features(size: int) -> Axis:
    """A new axis of features."""
    return (Atom("features", size, is_feature=True),)
