# SPDX-License-Identifier: MIT
"""From a graph of operators to the description of a model: its result, stacks and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ... import stack_spec
from ..containers.budget import Budget
from ..description import (
    PYTORCH_MODULES,
    DescribedLayer,
    Description,
    Obstacle,
    unsupported,
)
from ..errors import UnsupportedModel
from .graph import Graph, Node, needed_nodes, refuse_changed
from .graph_call import OperatorCall, PoisonError
from .graph_channels import CHANNELS
from .graph_directions import final_data, weights_of, whole
from .graph_einsum import EINSUM
from .graph_functions import FUNCTIONS
from .graph_index import INDICES
from .graph_layers import LAYERS
from .graph_moves import MOVES
from .graph_recurrent import RECURRENT, options_of, parameters
from .graph_select import SELECTIONS
from .graph_spans import Branch, branches, flat, named
from .graph_steps import exactly
from .graph_values import Data, Finals, ObstructionError, Poison, Step, Value
from .graph_written import WRITTEN
from .translation import Translation

_TAKES_PACKED = (
    "it takes a packed sequence: save a module that takes the padded batch and call the model with "
    "lengths=, or convert it by fastrnn.torch.from_module(module, (x, lengths))"
)
_HANDLERS = {
    **MOVES, **SELECTIONS, **FUNCTIONS, **WRITTEN, **INDICES, **LAYERS, **EINSUM, **CHANNELS,
    **RECURRENT,
}  # fmt: skip
_MODULES = {f"{PYTORCH_MODULES}rnn.{cell}" for cell in stack_spec.LAYERS}
_ENDINGS = ("Last", "Pool")  # take the time axis away
_ZERO_TO_ZERO = (
    *("Linear", "LayerNorm", "ReLU", "Tanh", "Dropout", "Flip", "MergeDirections", "Residual"),
    *("ELU", "LeakyReLU", "SiLU", "GELU", "PReLU", "Hardswish", "Mish", "Softsign"),
    *("Flatten", "Unflatten", "Transpose", "Permute", "Squeeze", "Unsqueeze"),
)
_OF_TIME = (  # see all steps, or move them
    *("Conv1d", "MaxPool1d", "AvgPool1d", "ZeroPad1d", "Pool", "Flatten", "Permute", "Transpose"),
)
_STACKED = (
    *("hidden_size", "bias", "batch_first", "bidirectional"),
    *(name for layer in stack_spec.LAYERS for name in stack_spec.cell_options(layer)),
)


def describe_graph(graph: Graph, format_name: str, advice: str, budget: Budget) -> Description:
    """The layers of a graph; UnsupportedModel lists every unsupported node."""
    refuse_changed(graph)
    translation = Translation(_folded(graph), _HANDLERS, budget)
    values = translation.run()
    obstacles = translation.obstacles
    found: list[Branch] = []
    try:
        if not any(isinstance(value, Poison) for value in values):
            steps = _chain(_result(values))
            _check_returned(values, steps)
            if graph.is_onnx:
                _check_states(steps)
            found = branches(steps, _stacks if graph.is_onnx else _as_they_are)
    except ObstructionError as error:
        obstacles.append(Obstacle("output", "result", str(error)))
    if not found and not obstacles:
        why = "it is not computed from the model's input by layers"
        obstacles.append(Obstacle("output", "result", why))
    if obstacles:
        raise unsupported(_merged(obstacles), advice)
    names = _unique([layer.name for layer in flat(found)])
    return Description(format_name, tuple(named(found, iter(names), set(names))))


def describe_node(graph: Graph, node: Node, budget: Budget) -> DescribedLayer:
    """A recurrent node by itself, whose weights the graph makes; UnsupportedModel if it cannot."""
    names = ("params", "has_biases", "num_layers", "bidirectional", "peepholes", "hidden_size")
    given = {name: node.args[name] for name in names if name in node.args}
    graph.outputs = list(given.values())
    translation = Translation(graph, _HANDLERS, budget)
    translation.run()
    obstacles = translation.obstacles
    try:
        args = {name: translation.resolve(value, node.label) for name, value in given.items()}
        call = OperatorCall(node, args, graph, budget)
        spec, arrays = parameters(call)
        return DescribedLayer(node.label, spec.declaration.layer, options_of(call, spec), arrays)
    except ObstructionError as error:
        obstacles.append(Obstacle(node.label, node.kind, str(error)))
    except PoisonError:
        pass
    why = "; ".join(obstacle.why for obstacle in obstacles)
    raise UnsupportedModel(why or "its weights are not constants")


def _merged(obstacles: list[Obstacle]) -> list[Obstacle]:
    """One obstacle for each node, with all its reasons."""
    reasons: dict[tuple[str, str], list[Obstacle]] = {}
    for found in obstacles:
        reasons.setdefault((found.name, found.type), []).append(found)
    merged = []
    for key, alike in reasons.items():
        why = "; ".join(dict.fromkeys(one.why for one in alike))
        merged.append(Obstacle(*key, why, any(one.refuses_rank for one in alike)))
    return merged


def _folded(graph: Graph) -> Graph:
    """The graph with each recurrent layer that was unrolled into its steps as one obstacle."""
    nodes = needed_nodes(graph)
    called = {node.owner for node in nodes if node.op in RECURRENT}
    steps = [node for node in nodes if node.module in _MODULES and node.owner not in called]
    counts = Counter((node.owner, node.module) for node in steps)
    obstacles = list(graph.obstacles)
    over_packed = {node.owner for node in steps if node.op.removesuffix(".data") in RECURRENT}
    for (owner, module), count in counts.items():
        why = f"torch unrolled it into {count} operators, as run_decompositions() does"
        if owner in over_packed:
            why = _TAKES_PACKED
        obstacles.append(Obstacle(owner or module.rpartition(".")[2].lower(), module, why))
    lost = {name: (name, None) for node in steps for name in node.outputs}
    inside = {id(node) for node in steps}
    rest: list[Node] = [node for node in nodes if id(node) not in inside]
    weights = {**graph.weights, **lost}
    return replace(graph, weights=weights, nodes=rest, obstacles=obstacles)


# --- The result ---


def _result(values: list[Value]) -> Step:
    """The step whose y is the model's result, in the order of axes that the model returns.

    Final states that a model also returns are what the layers return anyway.
    """
    states = [value for value in values if isinstance(value, Finals)]
    others = [value for value in values if not isinstance(value, Finals)]
    results = [whole(value) for value in others]
    if not results:
        results = [_state_result(states)]
    first = results[0]
    if any(other.step is not first.step for other in results):
        raise ObstructionError(
            f"the model has {len(results)} results beside final states, expected one"
        )
    end = exactly(first.step, first.axes)
    if end.parent is None:
        raise ObstructionError("the model has no layer")
    return end


def _check_returned(values: list[Value], steps: list[Step]) -> None:
    """Require that the layers and directions whose final states the model returns are there."""
    there = {id(array) for step in steps for array in step.layer.arrays.values()}
    for row in (row for value in values if isinstance(value, Finals) for row in value.rows):
        if not there.issuperset(map(id, weights_of(row))):
            raise ObstructionError(
                "it returns final states of layers that its result does not need"
            )


def _state_result(states: list[Finals]) -> Data:
    """Of a model that returns final states only, the first that is an h, of the highest layer."""
    reason: ObstructionError | None = None
    first = states[0].rows[0].step if states else None
    for finals in sorted(
        states, key=lambda one: (one.rows[0].step is not first, -one.rows[-1].index)
    ):
        try:
            return final_data(finals)
        except ObstructionError as why:
            reason = reason or why
    raise reason or ObstructionError("the model returns no tensor")


# --- The chain of layers ---


def _chain(end: Step) -> list[Step]:
    """The steps from the first layer to the last; they must agree on lengths and states."""
    steps: list[Step] = []
    at: Step | None = end
    while at is not None and at.parent is not None:
        steps.append(at)
        at = at.parent
    steps.reverse()
    units = [step for step in steps if step.recurrence is not None and step.layer.kind != "Flip"]
    lengths = {step.lengths for step in units}
    if len(lengths) > 1:
        raise ObstructionError("its recurrent layers do not all take the same sequence_lens")
    if lengths - {None}:
        inner = steps[:-1] if steps[-1].layer.kind in ("Permute", "Transpose") else steps
        found = [step.layer.kind for step in inner if _sees_all_steps(step.layer)]
        found += [step.layer.kind for step in _not_zero_beyond(steps)]
        found += [step.layer.kind for step in steps if not _keeps_zeros(step.source)]
        if found:
            raise ObstructionError(
                f"with sequence_lens, {found[0]} would see what lies beyond the lengths"
            )
    return steps


def _keeps_zeros(source: Step | None) -> bool:
    """Whether what a layer adds is zero beyond the lengths, or it adds nothing."""
    if source is None:
        return True
    return source.lengths is not None and not any(_not_zero_beyond(_chain(source)))


def _not_zero_beyond(steps: list[Step]) -> Iterator[Step]:
    """Layers behind the last recurrent one that make something of the zeros beyond the lengths."""
    for step in reversed(steps):
        if step.recurrence is not None or step.layer.kind in _ENDINGS:
            return
        has_bias = "bias" in step.layer.arrays
        if step.layer.kind not in _ZERO_TO_ZERO or has_bias:
            yield step


def _sees_all_steps(layer: DescribedLayer) -> bool:
    across = layer.kind in ("Softmax", "LogSoftmax") and layer.options["dim"] != -1
    return across or layer.kind in _OF_TIME


# --- Stacks of ONNX, whose nodes are single layers ---


def _check_states(steps: list[Step]) -> None:
    """Of each input that holds initial states, the layers take the rows in their order."""
    ends: dict[tuple[int, str], int] = {}
    for step in steps:
        if step.recurrence is None or step.layer.kind == "Flip":
            continue
        for part, given in enumerate(step.recurrence.states):
            name, rows = given or ("", range(0))
            if given and rows.start != ends.get((part, name), 0):
                raise ObstructionError("its recurrent layers take initial states in another order")
            ends[part, name] = rows.stop


def _as_they_are(steps: Sequence[Step]) -> Sequence[DescribedLayer]:
    return [step.layer for step in steps]


def _stacks(steps: Sequence[Step]) -> Sequence[DescribedLayer]:
    """The layers, with consecutive recurrent ones of one module joined to a stack."""
    layers: list[DescribedLayer] = []
    last: Step | None = None
    for step in steps:
        if last is not None and _are_one_stack(last, step):
            layers[-1] = _on_top(layers[-1], step.layer)
        else:
            layers.append(step.layer)
        last = step
    return layers


def _are_one_stack(below: Step, above: Step) -> bool:
    a, b = below.layer, above.layer
    first, second = below.recurrence, above.recurrence
    if a.kind != b.kind or a.kind == "Flip" or first is None or second is None:
        return False
    if below.is_scoped and above.is_scoped and a.name != b.name:
        return False
    if any(a.options.get(name) != b.options.get(name) for name in _STACKED):
        return False
    constant = [{"h_0", "c_0"} & layer.arrays.keys() for layer in (a, b)]
    given = [[state is None for state in states] for states in (first.states, second.states)]
    return constant[0] == constant[1] and given[0] == given[1]


def _on_top(stack: DescribedLayer, layer: DescribedLayer) -> DescribedLayer:
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


def _unique(names: list[str]) -> list[str]:
    """The names with a number behind those that occur more than once."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    result = []
    for name in names:
        candidate = name
        while candidate in taken:
            counts[name] = counts.get(name, 1) + 1
            candidate = f"{name}_{counts[name]}"
        taken.add(candidate)
        result.append(candidate)
    return result
