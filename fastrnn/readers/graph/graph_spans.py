# SPDX-License-Identifier: MIT
"""Layers that hold others: what a graph computes from a value and from what layers make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..description import HOLDERS, MOST_DEPTH, DescribedLayer
from ..errors import quote
from .graph import BRANCHES
from .graph_call import OperatorCall
from .graph_steps import (
    NOT_TIME,
    after,
    exactly,
    features_last,
    may_be_time,
    same,
    with_time,
    without_ones,
)
from .graph_values import (
    Axis,
    Data,
    ObstructionError,
    Step,
    WeightedSteps,
    dim_of,
    solid,
)

# The options that say how many features a layer takes.
_TAKEN = ("input_size", "in_features", "in_channels", "num_features", "normalized_shape")

# --- A sum ---


def added(call: OperatorCall, a: Data, b: Data) -> Data:
    """A value and what layers make of it, added: these layers in a Residual."""
    for x, y in ((a, b), (b, a)):
        source = _source(call, y.step, x.step)
        if source is not None:
            return _residual(call, x, y, source)
    raise ObstructionError(BRANCHES)


def comes_from(call: OperatorCall, y: Data, x: Data) -> bool:
    """Whether a value is what layers make of another one."""
    return _source(call, y.step, x.step) is not None


def _before(step: Step) -> Step | None:
    """What a layer takes, with the layers that it holds."""
    return step.source or step.parent


def _source(call: OperatorCall, end: Step, wanted: Step) -> Step | None:
    """The step before `end` that is the wanted one; those that another layer holds do not count."""
    at = _before(end)
    while at is not None:
        call.budget.step(1, f"node {quote(call.node.label)}")
        if at is wanted or (at.layer.kind == wanted.layer.kind and same(at, wanted)):
            return at
        at = _before(at)
    return None


def _residual(call: OperatorCall, x: Data, y: Data, source: Step) -> Data:
    if source.is_integer is True:
        raise ObstructionError("its input holds whole numbers")
    if len(x.axes) != len(y.axes):
        raise ObstructionError(f"it adds values of {len(x.axes)} and {len(y.axes)} axes")
    changed = [
        (old, new) for old, new in zip(x.axes, y.axes, strict=True) if solid(old) != solid(new)
    ]
    for old, new in changed:
        _check_features(source, y.step, old, new)
    if len(changed) > 1:
        raise ObstructionError(BRANCHES)
    renamed = {solid(old): new for old, new in changed}
    layout = tuple(renamed.get(solid(axis), axis) for axis in source.layout)
    made = after(exactly(y.step, layout), "Residual", call.name("Residual"), layout=layout)
    return Data(replace(made, source=source), y.axes)


def _check_features(source: Step, end: Step, old: Axis, new: Axis) -> None:
    """Require that layers made as many new features as there were old ones."""
    count, known = dim_of(new).number, dim_of(old).number
    if known is None:  # of an input: the first layer that takes features knows their number
        inside = [step.layer.options for step in _between(source, end)]
        taken = [options[name] for options in inside for name in _TAKEN if name in options]
        first = taken[0] if taken else None
        known = first[0] if isinstance(first, list | tuple) and len(first) == 1 else first  # type: ignore[assignment]
    if not all(atom.is_feature for atom in new) or count is None or known != count:
        raise ObstructionError("it adds values of different sizes")


def _between(source: Step, end: Step) -> list[Step]:
    """The steps from one to another, in their order."""
    found = [end]
    while found[-1].parent is not None and found[-1].parent is not source:
        found.append(found[-1].parent)
    return found[::-1]


# --- Attention ---


def weighted(a: Data, b: Data) -> WeightedSteps:
    """A value whose steps are multiplied by weights of the same axes, but for the features."""
    for weights, data in ((_undropped(a), b), (_undropped(b), a)):
        time = _softmax_axis(weights)
        pairs = [*zip(weights.axes, data.axes, strict=False)]
        spread = [new for old, new in pairs if solid(old) != solid(new)]
        if time is None or len(weights.axes) != len(data.axes):
            continue
        if [solid(axis) for axis in spread] in ([], [solid(_features(weights, data, time))]):
            return WeightedSteps(data, weights, time)
    raise ObstructionError(BRANCHES)


def _undropped(weights: Data) -> Data:
    """The weights without a Dropout, which does nothing when a model runs."""
    step = weights.step
    while step.layer.kind == "Dropout" and step.parent is not None:
        step = step.parent
    return replace(weights, step=step)


def _softmax_axis(weights: Data) -> Axis | None:
    """The axis of a softmax, if the data is the result of one."""
    layer = weights.step.layer
    dim = layer.options.get("dim")
    if layer.kind != "Softmax" or not isinstance(dim, int):
        return None
    return weights.step.layout[dim]


def _features(weights: Data, data: Data, time: Axis) -> Axis:
    """The axis of the data over which there is one weight for all."""
    shared = {solid(axis) for axis in weights.axes if solid(axis)} | {solid(time)}
    own = [axis for axis in data.axes if solid(axis) not in shared]
    if len(own) > 1:  # a batch of size 1
        own = [axis for axis in own if any(atom.is_feature for atom in axis)]
    if len(own) != 1:
        raise ObstructionError(BRANCHES)
    return own[0]


def attended(call: OperatorCall, value: WeightedSteps) -> Data:
    """The sum over time of weighted steps: an AttentionPool with the layers of the scores."""
    data, time, scores = value.data, value.time, value.weights.step.parent
    features = _features(value.weights, data, time)
    of_scores = {solid(axis) for axis in value.weights.step.layout if solid(axis)}
    of_data = {solid(axis) for axis in data.axes if solid(axis)} - {solid(features)}
    if scores is None or of_scores != of_data:
        raise ObstructionError(BRANCHES)
    if scores.lengths is not None:
        raise ObstructionError("with sequence_lens, its weights are those of all steps")
    if not may_be_time(scores, time):
        raise ObstructionError(NOT_TIME)
    step, at = with_time(features_last(without_ones(data.step, data.axes), features), time)
    source = _source(call, scores, step)
    if source is None:
        raise ObstructionError(BRANCHES)
    end = exactly(scores, (*source.layout[:-1], ()))
    layout = (*source.layout[:at], *source.layout[at + 1 :])
    options: dict[str, object] = {"batch_first": at == 1}
    made = after(end, "AttentionPool", ("attention", False), options, layout=layout)
    made = replace(made, source=source, time=() if made.time else made.time)
    return Data(made, tuple(axis for axis in data.axes if solid(axis) != solid(time)))


def summed(call: OperatorCall, value: WeightedSteps, dims: list[int] | None, keep: bool) -> Data:
    """The sum of weighted data over its steps, which may stay as an axis of size 1."""
    place = value.data.place(dims[0]) if dims is not None and len(dims) == 1 else None
    if place is None or solid(value.data.axes[place]) != solid(value.time):
        raise ObstructionError("it sums over another axis than that of the softmax")
    pooled = attended(call, value)
    axes = (*pooled.axes[:place], *(((),) if keep else ()), *pooled.axes[place:])
    return replace(pooled, axes=axes)


def contracted(call: OperatorCall, a: Data, b: Data) -> Data:
    """A product of matrices of which one holds a weight for each step of the other."""
    if len(a.axes) != 3 or len(b.axes) != 3 or solid(a.axes[0]) != solid(b.axes[0]):
        raise ObstructionError(BRANCHES)
    inner = solid(a.axes[2])
    for given, data, row in ((a, b, a.axes[1]), (b, a, b.axes[2])):
        weights = _undropped(given)
        time = _softmax_axis(weights)
        if time is None or solid(row) or not inner == solid(b.axes[1]) == solid(time):
            continue
        pooled = attended(call, WeightedSteps(data, weights, time))
        batch, features = pooled.axes
        axes = (batch, (), features) if given is a else (batch, features, ())
        return replace(pooled, axes=axes)
    raise ObstructionError(BRANCHES)


# --- The layers as a description has them ---


@dataclass
class Branch:
    """A layer with those that it holds."""

    layer: DescribedLayer
    inside: list[Branch] = field(default_factory=list)


Joined = Callable[[Sequence[Step]], Sequence[DescribedLayer]]


def branches(steps: Sequence[Step], joined: Joined, depth: int = 0) -> list[Branch]:
    """The layers of steps that follow each other; `joined` makes those of a stretch of them."""
    if depth > MOST_DEPTH:
        raise ObstructionError(f"more than {MOST_DEPTH} layers of it hold each other")
    places = {id(step): at + 1 for at, step in enumerate(steps)}
    found: list[Branch] = []
    end = start = len(steps)
    while start > 0:
        step = steps[start - 1]
        start -= 1
        if step.source is None and start > 0:
            continue
        stretch = steps[start + (step.source is not None) : end]
        found += [Branch(layer) for layer in reversed(joined(stretch))]
        if step.source is not None:
            first = places.get(id(step.source), 0)  # 0: all of them
            found.append(Branch(step.layer, branches(steps[first:start], joined, depth + 1)))
            start = first
        end = start
    return found[::-1]


def flat(found: Sequence[Branch]) -> Iterator[DescribedLayer]:
    """The layers with those that they hold behind them."""
    for branch in found:
        yield branch.layer
        yield from flat(branch.inside)


def named(
    found: Sequence[Branch], names: Iterator[str], taken: set[str], prefix: str = ""
) -> Iterator[DescribedLayer]:
    """The same with these names, which begin with that of the layer that holds them.

    A layer that holds those of one module, and no other layers of it, has the module's name.
    """
    for branch in found:
        name = next(names)
        own = name if name.startswith(prefix) else prefix + name
        if not branch.inside:
            yield replace(branch.layer, name=own)
            continue
        inner = [next(names) for _ in flat(branch.inside)]
        path = _module(branch.inside, inner)
        if path.startswith(prefix) and path and path not in taken:
            own = path
        taken.add(own)
        options = {"layers": len(branch.inside), **branch.layer.options}
        yield replace(branch.layer, name=own, options=options)
        yield from named(branch.inside, iter(inner), taken, f"{own}.")


def _module(inside: Sequence[Branch], names: Sequence[str]) -> str:
    """The path of the module that all layers belong to; empty if there is none."""
    paths = [
        name.split(".")[:-1]
        for layer, name in zip(flat(inside), names, strict=True)
        if layer.kind not in HOLDERS
    ]
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
