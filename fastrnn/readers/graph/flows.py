# SPDX-License-Identifier: MIT
"""What runs through a chain of layers: its axes as it lies in memory and as the graph sees them.

A graph moves axes freely; layers stand in a row. So an axis has a label for its whole life, a
permutation only changes the view, and a Transpose, Flatten or Squeeze becomes a layer not before
one needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..containers.elements import Array
from ..description import Layer
from .graph import Sizes

View = tuple[tuple[int, ...], ...]  # the labels that make each axis; () is an axis of size one


class ObstructionError(Exception):
    """Why a node cannot become a layer; never leaves the readers."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A tensor on its way: behind how many layers, and its axes."""

    at: int
    axes: tuple[int, ...]  # as the description's layers see it
    view: View  # as the graph sees it
    source: str  # the input that it comes from

    def axis(self, dim: object) -> int:
        """A dimension of the view as a place from the front."""
        rank = len(self.view)
        if type(dim) is not int or not -rank <= dim < rank:
            raise ObstructionError(f"its dimension {dim!r} is not one of {rank}")
        return dim % rank


@dataclass(frozen=True, slots=True)
class Final:
    """Final states of a recurrent layer: some of its rows (layers and directions) in some shape."""

    sequence: Flow  # the layer's output
    time: int  # the label of its time axis
    part: str  # "h" or "c"
    layers: int
    directions: int
    rows: tuple[int, ...]
    shape: tuple[str, ...]  # R rows, B batch, H units, RH rows and units side by side, 1

    def axis(self, dim: object) -> int:
        """A dimension as a place from the front."""
        rank = len(self.shape)
        if type(dim) is not int or not -rank <= dim < rank:
            raise ObstructionError(f"its dimension {dim!r} is not one of {rank}")
        return dim % rank


class Chain:
    """The layers found so far."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.sizes: dict[int, int | None] = {}  # by label
        self.features: set[int] = set()
        self.batches: set[int] = set()
        self._names: set[str] = set()
        self._source = ""

    def label(self, size: int | None) -> int:
        """A new axis."""
        self.sizes[len(self.sizes)] = size
        return len(self.sizes) - 1

    def enter(self, name: str, sizes: Sizes) -> Flow:
        """An input of the model."""
        axes = tuple(self.label(size) for size in sizes)
        return Flow(0, axes, tuple((axis,) for axis in axes), name)

    def is_tail(self, flow: Flow) -> bool:
        """Whether nothing has been done behind this value."""
        return flow.at == len(self.layers) and self._source in ("", flow.source)

    def append(
        self,
        flow: Flow,
        kind: str,
        name: str,
        options: dict[str, object] | None = None,
        arrays: dict[str, Array] | None = None,
    ) -> Flow:
        """Add a layer that keeps the axes."""
        if not self.is_tail(flow):
            raise ObstructionError(
                "its input is not what the layer before gives: a branch, not a chain of layers"
            )
        self._source = flow.source
        self.layers.append(
            Layer(self._unique(name or kind.lower()), kind, options or {}, arrays or {})
        )
        return replace(flow, at=len(self.layers))

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique

    def order(self, flow: Flow, wanted: Sequence[int]) -> Flow:
        """Bring the axes into an order; axes of size one that it leaves out are squeezed."""
        axes = flow.axes
        for label in [label for label in axes if label not in wanted]:
            dim = axes.index(label)
            flow = self.append(flow, "Squeeze", "squeeze", {"dim": dim - len(axes)})
            axes = tuple(other for other in axes if other != label)
        places = [axes.index(label) for label in wanted]
        moved = [i for i, place in enumerate(places) if place != i]
        if len(moved) == 2:
            dims: dict[str, object] = {"dim0": moved[0], "dim1": moved[1]}
            flow = self.append(flow, "Transpose", "transpose", dims)
        elif moved:
            flow = self.append(flow, "Permute", "permute", {"dims": places})
        return replace(flow, axes=tuple(wanted))

    def settle(self, flow: Flow) -> Flow:
        """Make the layers' axes those of the view."""
        return self.order(flow, [label for axis in flow.view for label in axis])

    def feature(self, flow: Flow) -> tuple[Flow, int]:
        """Make the last axis of the view a single one, last also for the layers."""
        if not flow.view:
            raise ObstructionError("its input has no axis")
        last = flow.view[-1]
        if len(last) == 1 and flow.axes[-1] == last[0]:
            return flow, last[0]
        flow = self.settle(flow)
        if not last:
            label = self.label(1)
            flow = self.append(flow, "Unsqueeze", "unsqueeze", {"dim": -1})
            flow = replace(flow, axes=(*flow.axes, label), view=(*flow.view[:-1], (label,)))
            return flow, label
        if len(last) > 1:
            label = self.label(self.size(last))
            options: dict[str, object] = {"start_dim": len(flow.axes) - len(last), "end_dim": -1}
            flow = self.append(flow, "Flatten", "flatten", options)
            axes = (*flow.axes[: -len(last)], label)
            return replace(flow, axes=axes, view=(*flow.view[:-1], (label,))), label
        return flow, last[0]

    def with_feature(self, flow: Flow, size: int) -> Flow:
        """Replace the last axis by a new one."""
        label = self.label(size)
        self.features.add(label)
        return replace(flow, axes=(*flow.axes[:-1], label), view=(*flow.view[:-1], (label,)))

    def size(self, axis: Sequence[int]) -> int | None:
        """The size of an axis of a view, if all its parts are known."""
        product = 1
        for label in axis:
            size = self.sizes[label]
            if size is None:
                return None
            product *= size
        return product

    def reduce(
        self, flow: Flow, axis: int, kind: str, name: str, options: dict[str, object], keep: bool
    ) -> Flow:
        """Add a layer that takes one value along the time axis `axis` of the view."""
        if not flow.view[axis]:
            return flow if keep else without(flow, axis)
        rest = [label for i, part in enumerate(flow.view) if i != axis for label in part]
        time = flow.view[axis][0]
        if len(flow.view[axis]) > 1 or time in self.features or time in self.batches:
            raise ObstructionError("it does not go along the time axis")
        if not 1 <= len(rest) <= 2:
            raise ObstructionError(
                f"its input has {len(rest) + 1} axes, expected time and features"
            )
        if flow.axes[-1] != rest[-1] or len(flow.axes) != len(rest) + 1:
            flow = self.order(flow, [*rest[:-1], time, rest[-1]])
        batch_first = flow.axes.index(time) == 1
        flow = self.append(flow, kind, name, {**options, "batch_first": batch_first})
        axes = tuple(label for label in flow.axes if label != time)
        view = (*flow.view[:axis], *([()] if keep else []), *flow.view[axis + 1 :])
        return replace(flow, axes=axes, view=view)

    def finish(self, flow: Flow) -> None:
        """Give the last value the axes that the model returns."""
        flow = self.settle(flow)
        for at in range(len(flow.view) - 1, -1, -1):  # from the back: earlier places stay right
            parts = flow.view[at]
            if len(parts) > 1:
                start = sum(len(axis) for axis in flow.view[:at])
                options: dict[str, object] = {"start_dim": start, "end_dim": start + len(parts) - 1}
                flow = self.append(flow, "Flatten", "flatten", options)
        for at, parts in enumerate(flow.view):
            if not parts:
                flow = self.append(flow, "Unsqueeze", "unsqueeze", {"dim": at})


def without(flow: Flow, axis: int) -> Flow:
    """The view without an axis of size one."""
    return replace(flow, view=flow.view[:axis] + flow.view[axis + 1 :])


def reshaped(chain: Chain, flow: Flow, wanted: Sequence[object]) -> Flow:
    """The view in other groups of the same axes; a size that is not an int is not known."""
    labels = [label for axis in flow.view for label in axis]
    view: list[tuple[int, ...]] = []
    for at, size in enumerate(wanted):
        if size == 1 and not (labels and chain.sizes[labels[0]] == 1):
            view.append(())
            continue
        later = sum(other != 1 for other in wanted[at + 1 :])
        count = _count(chain, labels, size, later)
        view.append(tuple(labels[:count]))
        labels = labels[count:]
    if labels or len(wanted) > 64:
        raise ObstructionError("it splits or regroups axes")
    return replace(flow, view=tuple(view))


def _count(chain: Chain, labels: list[int], size: object, later: int) -> int:
    """How many of the next axes make one of a size, when `later` more have to follow."""
    if size == -1:
        return max(len(labels) - later, 0)
    count = 1
    while type(size) is int and count <= len(labels):
        found = chain.size(labels[:count])
        if found is None:
            raise ObstructionError("it gives a fixed size to an axis of unknown size")
        if found == size:
            break
        count += 1
    if count > len(labels):
        raise ObstructionError("it splits or regroups axes")
    return count
