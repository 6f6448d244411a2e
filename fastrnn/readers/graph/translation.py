# SPDX-License-Identifier: MIT
"""Walking a graph node by node while its values become layers."""

from __future__ import annotations

from collections.abc import Mapping

from ...stack_spec import CELLS
from ..containers.budget import Budget
from ..description import DescribedLayer, Obstacle
from ..errors import FormatError, quote
from .graph import MOST_NODES, NO_LAYER, Graph, Input, Node, Ref, needed_nodes, references
from .graph_call import Handler, OperatorCall, PoisonError
from .graph_values import POISON, Atom, Const, Data, ObstructionError, RankError, Step, Value

# Handlers that say what is wrong with their constants even where their data is not known.
_CHECKED_FIRST = tuple(CELLS)


class Translation:
    """The values of a graph so far, and the obstacles."""

    def __init__(self, graph: Graph, handlers: Mapping[str, Handler], budget: Budget) -> None:
        self.graph = graph
        self.handlers = handlers
        self.budget = budget
        self.obstacles = list(graph.obstacles)
        self.used: set[str] = set()  # the names of values that an argument or the result refers to
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
        arguments = [*self.graph.outputs, *(arg for node in nodes for arg in node.args.values())]
        self.used = {name for argument in arguments for name in references(argument)}
        for node in nodes:
            self.visit(node)
        return [self.resolve(output, "the result") for output in self.graph.outputs]

    def visit(self, node: Node) -> None:
        """Take one node; an obstacle poisons its outputs."""
        reasons, refuses_rank = list(node.refusals), False
        results: tuple[Value, ...] = ()
        try:
            result = self.call(node)
            results = result if isinstance(result, tuple) else (result,)
        except PoisonError:
            pass
        except ObstructionError as error:
            reasons.append(str(error))
            refuses_rank = isinstance(error, RankError)
        else:
            reasons += self.missing(node, results)
        if reasons:
            results = ()
            why = "; ".join(reasons)
            kind = node.kind or node.op
            self.obstacles.append(Obstacle(node.label, kind, why, refuses_rank))
        for at, name in enumerate(node.outputs):
            self.values[name] = results[at] if at < len(results) else POISON

    def missing(self, node: Node, results: tuple[Value, ...]) -> list[str]:
        """Why results of a node are not there that others take."""
        found = []
        for at, name in enumerate(node.outputs):
            result = results[at] if at < len(results) else None
            if name in self.used and (result is None or isinstance(result, ObstructionError)):
                found.append(str(result or f"its result {at} is not supported"))
        return found

    def call(self, node: Node) -> Value:
        """The results of a node; an argument that its handler does not read is an obstacle."""
        args = {name: self.resolve(value, node.label) for name, value in node.args.items()}
        is_foreign = node.op.startswith("onnx.") and not self.graph.is_onnx
        handler = None if is_foreign else self.handlers.get(node.op)
        if handler is None and not node.refusals:
            raise ObstructionError(NO_LAYER)
        call = OperatorCall(node, args, self.graph, self.budget)
        if handler is None or (call.has_poison and node.op not in _CHECKED_FIRST):
            raise PoisonError
        result = handler(call)
        call.check_all_read()
        return result

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


def _enter(name: str, given: Input) -> Value:
    """An input of the model: data with one atom for each axis."""
    if given.sizes is None:
        return POISON
    axes = tuple(
        (Atom(f"axis {at}", size, is_example=given.are_examples),)
        for at, size in enumerate(given.sizes)
    )
    return Data(Step(None, DescribedLayer(name, "Input"), axes, is_integer=given.is_integer), axes)
