# SPDX-License-Identifier: MIT
"""From the chain of steps to the final list of layers: checks, stacks of layers, unique names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..description import Layer
from .names import unique
from .values import CannotMap, Step

_RECURRENT = ("LSTM", "GRU", "RNN")
_WITHOUT_LENGTHS = ("Conv1d", "Pool", "Flatten", "Permute", "Transpose")
_OF_A_STACK = ("hidden_size", "bias", "batch_first", "bidirectional", "nonlinearity", "reset_after")


def check_chain(end: Step) -> list[Step]:
    """The steps from the first layer to the last; they must agree on lengths and states."""
    steps: list[Step] = []
    at: Step | None = end
    while at is not None and at.parent is not None:
        steps.insert(0, at)
        at = at.parent
    units = [step for step in steps if step.recurrence is not None and step.layer.kind != "Flip"]
    lengths = {step.lengths for step in units}
    if len(lengths) > 1:
        raise CannotMap("its recurrent layers do not all take the same sequence_lens")
    if lengths - {None}:
        inner = steps[:-1] if steps[-1].layer.kind == "Permute" else steps
        found = [step.layer.kind for step in inner if step.layer.kind in _WITHOUT_LENGTHS]
        if found:
            raise CannotMap(
                f"with sequence_lens, {found[0]} would see what lies beyond the lengths"
            )
    _check_states(units)
    return steps


def _check_states(units: list[Step]) -> None:
    """Of each graph input that holds initial states, the layers take the rows in their order."""
    for kind in range(2):
        ends: dict[str, int] = {}
        for step in units:
            states = step.recurrence.states if step.recurrence else ()
            given = states[kind] if kind < len(states) else None
            if given is None:
                continue
            if given.start != ends.get(given.name, 0):
                raise CannotMap("its recurrent layers take initial states in another order")
            ends[given.name] = given.stop or 0


def chain_layers(steps: list[Step]) -> tuple[Layer, ...]:
    """The layers, with consecutive recurrent ones of one module joined to a stack."""
    layers: list[Layer] = []
    last: Step | None = None
    for step in steps:
        if last is not None and step.parent is last and _same_stack(last, step):
            layers[-1] = _join(layers[-1], step.layer)
        else:
            layers.append(step.layer)
        last = step
    names = unique([layer.name for layer in layers])
    return tuple(replace(layer, name=name) for layer, name in zip(layers, names, strict=True))


def _same_stack(below: Step, above: Step) -> bool:
    a, b = below.layer, above.layer
    first, second = below.recurrence, above.recurrence
    if a.kind != b.kind or a.kind not in _RECURRENT or first is None or second is None:
        return False
    if below.scoped and above.scoped and a.name != b.name:
        return False
    if any(a.options.get(name) != b.options.get(name) for name in _OF_A_STACK):
        return False
    constant = [{"h_0", "c_0"} & layer.arrays.keys() for layer in (a, b)]
    given = [[state is None for state in states] for states in (first.states, second.states)]
    return constant[0] == constant[1] and given[0] == given[1]


def _join(stack: Layer, layer: Layer) -> Layer:
    """The stack with one more layer on top."""
    count = stack.options["num_layers"]
    assert isinstance(count, int)
    arrays = dict(stack.arrays)
    for name, array in layer.arrays.items():
        if name in ("h_0", "c_0"):
            arrays[name] = np.concatenate([arrays[name], array])
        else:
            arrays[name.replace("_l0", f"_l{count}")] = array
    return replace(stack, options=stack.options | {"num_layers": count + 1}, arrays=arrays)
