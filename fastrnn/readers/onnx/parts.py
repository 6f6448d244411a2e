# SPDX-License-Identifier: MIT
"""Recurrent nodes of an ONNX file, wherever they are, as layers with PyTorch's names of weights.

So one can be loaded by the scope or the name of its node, even if the model as a whole cannot.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ...stack_spec import CELLS
from ..containers.budget import Budget
from ..containers.elements import Entry, Unreadable
from ..description import DescribedLayer, RecurrentOptions
from ..errors import UnsupportedModel, quote
from ..graph.graph_describe import describe_node
from .lowering import lower_recurrent, module_of
from .messages import OnnxGraph, OnnxNode, Record, read_graph
from .tensors import Tensors
from .wire import varints

RECURRENT = ("LSTM", "GRU", "RNN")
_DEEPEST = 8  # graphs in graphs
_WORK_PER_NODE = 16  # to lower and translate a node, and for each of its inputs
# They move values; a state or an input that only passed through such nodes is what it was.
_MOVES = (
    *("Identity", "Cast", "Dropout", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten"),
    *("Slice", "Gather", "Expand", "Tile"),
)


class _Scope(NamedTuple):
    """What the nodes of a graph can name: values of it and of the graphs around it."""

    makers: ChainMap[str, OnnxNode]
    initializers: ChainMap[str, Record]

    def inside(self, graph: OnnxGraph) -> _Scope:
        makers = {name: node for node in graph.nodes for name in node.outputs if name}
        return _Scope(
            self.makers.new_child(makers), self.initializers.new_child(graph.initializers)
        )


@dataclass
class _Part:
    """Recurrent nodes that follow each other as the layers of one module."""

    nodes: list[OnnxNode]
    layers: list[DescribedLayer] = field(default_factory=list)
    options: dict[str, object] = field(default_factory=dict)
    unsupported: str = ""


def read_parts(
    graph: OnnxGraph, read: dict[int, Entry], tensors: Tensors
) -> tuple[dict[str, Entry], RecurrentOptions]:
    """The weights of all recurrent nodes by name, and their options.

    `read` holds the tensors that are read already, by the identity of their records.
    """
    parts: dict[str, _Part] = {}
    used: Counter[str] = Counter()
    for scope, node in _recurrent_nodes(graph, _Scope(ChainMap(), ChainMap()), tensors.budget, 0):
        found = _read(node, scope, read, tensors)
        path, is_scoped = module_of(node)
        below = parts.get(path)
        if is_scoped and below and _is_on_top(below, found, scope, tensors.budget):
            below.nodes += found.nodes
            below.layers += found.layers
        else:
            parts[_unused(path, parts, used)] = found
    entries: dict[str, Entry] = {}
    options: RecurrentOptions = {}
    for path, part in parts.items():
        options[path] = {**part.options, "nodes": [_name(node) for node in part.nodes]}
        if part.unsupported:
            options[path]["unsupported"] = part.unsupported
        for at, layer in enumerate(part.layers):
            for name, array in layer.arrays.items():
                entries[f"{path}.{name.replace('_l0', f'_l{at}')}"] = array
    return entries, options


def _recurrent_nodes(
    graph: OnnxGraph, outer: _Scope, budget: Budget, depth: int
) -> Iterator[tuple[_Scope, OnnxNode]]:
    """All recurrent nodes in the order of the file, also those in graphs of other nodes."""
    scope = outer.inside(graph)
    for node in graph.nodes:
        is_recurrent = node.domain in ("", "ai.onnx") and node.op_type in RECURRENT
        if is_recurrent and node.outputs:
            yield scope, node
        for inner in node.graphs if depth < _DEEPEST else []:
            yield from _recurrent_nodes(
                read_graph(inner, node.opset, budget), scope, budget, depth + 1
            )


def _read(node: OnnxNode, scope: _Scope, read: dict[int, Entry], tensors: Tensors) -> _Part:
    """A recurrent node by itself."""
    part = _Part([node])
    makers = _makers_of([*node.inputs[1:4], *node.inputs[7:8]], scope, tensors.budget)
    constants: dict[str, Entry] = {}
    for name in (name for maker in (*makers, node) for name in maker.inputs):
        record = scope.initializers.get(name)
        if record is not None and name not in constants:
            if id(record) not in read:
                read[id(record)] = tensors.read(record, f"tensor {quote(name)}")
            constants[name] = read[id(record)]
    graph, lowered = lower_recurrent(node, makers, constants, tensors)
    reasons = list(lowered.refusals)
    try:
        layer = describe_node(graph, lowered, tensors.budget)
        part.layers.append(layer)
        part.options = {"cell": layer.kind, **CELLS[lowered.op].options}
    except UnsupportedModel as error:
        reasons.append(str(error))
    if lowered.args.get("batch_first"):
        part.options["batch_first"] = True
    if lowered.args.get("reverse"):
        reasons.append("it runs in reverse, which no layer of fastrnn does by itself")
    for place, what in ((4, "sequence_lens"), (5, "initial_h"), (6, "initial_c")):
        name = node.inputs[place] if place < len(node.inputs) else ""
        if name and _is_fixed(name, scope, tensors):
            reasons.append(f"its {what} is a constant")
    hidden = part.layers[0].options["hidden_size"] if part.layers else None
    for name in filter(scope.initializers.get, node.inputs[5:7]):
        shape = scope.initializers[name].get("dims", b"")
        if list(varints(shape, quote(name)))[2:] != [hidden]:
            why = f"its initial state {quote(name)} does not have {hidden} features"
            reasons.append(f"{why}; so torch writes proj_size, without most of the weights")
    if reasons:
        part.unsupported = f"node {quote(_name(node))} ({node.op_type}): {'; '.join(reasons)}"
    return part


def _makers_of(names: list[str], scope: _Scope, budget: Budget) -> list[OnnxNode]:
    """The nodes that these values need, each after those that it needs itself."""
    found: dict[int, OnnxNode] = {}
    pending = [(name, False) for name in names]
    seen: set[str] = set()
    while pending:
        name, is_done = pending.pop()
        node = scope.makers.get(name)
        if node is None:
            continue
        if is_done:
            found.setdefault(id(node), node)
        elif name not in seen:
            seen.add(name)
            # What many recurrent nodes need is lowered again for each of them.
            budget.step(_WORK_PER_NODE * (1 + len(node.inputs)), f"node {quote(node.name)}")
            pending.append((name, True))
            pending += [(given, False) for given in node.inputs]
    return list(found.values())


def _moved_from(name: str, scope: _Scope, budget: Budget) -> tuple[str, OnnxNode | None]:
    """The value that a value was before nodes that only move it, and the node that makes it."""
    while True:
        node = scope.makers.get(name)
        if node is None or node.op_type not in _MOVES or not node.inputs:
            return name, node
        budget.step(1, f"node {quote(node.name)}")
        name = node.inputs[0]


def _is_fixed(name: str, scope: _Scope, tensors: Tensors) -> bool:
    """Whether a value is a constant of the file other than zero."""
    origin, node = _moved_from(name, scope, tensors.budget)
    if node is None and origin in scope.initializers:
        entry = tensors.read(scope.initializers[origin], f"tensor {quote(origin)}")
    elif node is not None and node.op_type in ("Constant", "ConstantOfShape"):
        data = node.tensor_of("value")
        if data is None:
            return node.op_type == "Constant"
        entry = tensors.read_message(data, node.what)
    elif node is not None and node.op_type == "Concat":
        return any(_is_fixed(part, scope, tensors) for part in node.inputs)
    else:
        return False
    return isinstance(entry, Unreadable) or bool(entry.any())


def _is_on_top(below: _Part, above: _Part, scope: _Scope, budget: Budget) -> bool:
    """Whether a node is the next layer of the same module as others."""
    if below.unsupported or above.unsupported or below.options != above.options:
        return False
    (layer,), last = above.layers, below.layers[-1]
    alike = ("hidden_size", "bias", "bidirectional")
    if any(layer.options[name] != last.options[name] for name in alike):
        return False
    _, node = _moved_from(above.nodes[0].inputs[0], scope, budget)
    return node is below.nodes[-1]


def _unused(path: str, taken: Mapping[str, object], used: Counter[str]) -> str:
    """The path, or with the next number behind it if there is such a module already."""
    free = path
    while free in taken:
        used[path] += 1
        free = f"{path}_{used[path] + 1}"
    return free


def _name(node: OnnxNode) -> str:
    return node.name or next(filter(None, node.outputs), "")
