# SPDX-License-Identifier: MIT
"""Walking a graph node by node while its values become a chain of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..containers.elements import Array
from ..description import Layer, Obstacle, unsupported
from ..errors import FormatError, quote
from .flows import Chain, Final, Flow, ObstructionError
from .graph import MOST_NODES, UNKNOWN, Graph, Node, Ref, needed_nodes


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter or constant, perhaps transposed."""

    name: str
    array: Array


class Zeros:
    """A tensor of zeros of any shape."""


class Poison:
    """The result of a node that is in the way: what follows is not judged by it."""


ZEROS, POISON = Zeros(), Poison()
Value = object  # Flow, Final, Weight, Zeros, Poison, or a plain argument
Args = dict[str, Value]


class Translation:
    """The values of a graph and the layers made so far."""

    def __init__(self, graph: Graph, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers
        self.graph = graph
        self.chain = Chain()
        self.values: dict[str, Value] = {
            name: POISON if array is None else Weight(full, array)
            for name, (full, array) in graph.weights.items()
        }
        for name in graph.inputs:
            self.values[name] = self.chain.enter(name, graph.sizes.get(name, ()))
        self.obstacles = list(graph.obstacles)

    def run(self, advice: str) -> list[Layer]:
        """The layers; UnsupportedModel lists every node that is in the way."""
        nodes = needed_nodes(self.graph)
        if len(nodes) > MOST_NODES:
            raise FormatError(f"the graph has {len(nodes)} nodes, at most {MOST_NODES} are read")
        for node in nodes:
            self.visit(node)
        self.finish()
        if self.obstacles:
            raise unsupported(self.obstacles, advice)
        return self.chain.layers

    def visit(self, node: Node) -> None:
        results: tuple[Value, ...] = ()
        try:
            args = {name: self.resolve(value) for name, value in node.args.items()}
            poisoned = any(_is_poisoned(value) for value in args.values())
            handler = self.handlers.get(node.op)
            if handler is None:
                raise ObstructionError("there is no layer for this operator")
            if not poisoned:
                result = handler(self, node, args)
                results = result if isinstance(result, tuple) else (result,)
        except ObstructionError as error:
            self.obstacles.append(Obstacle(node.label, node.op, str(error)))
        for i, name in enumerate(node.outputs):
            self.values[name] = results[i] if i < len(results) else POISON

    def resolve(self, value: object) -> Value:
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, Ref):
            if value.name not in self.values:
                raise FormatError(f"value {quote(value.name)} of the graph is used but not made")
            return self.values[value.name]
        return value

    def finish(self) -> None:
        """Require one result besides final states that the layers return anyway."""
        outputs = [self.resolve(output) for output in self.graph.outputs]
        states = [output for output in outputs if isinstance(output, Final)]
        rest = [output for output in outputs if not isinstance(output, Final)]
        try:
            if len(rest) > 1:
                raise ObstructionError(f"the model returns {len(rest)} tensors, expected one")
            main = rest[0] if rest else (states[0] if states else None)
            if rest:
                for state in states:
                    if len(state.rows) != state.layers * state.directions:
                        raise ObstructionError("the model also returns a part of a final state")
            elif len(states) > 1:
                raise ObstructionError("the model returns final states only, expected one tensor")
            if isinstance(main, Poison):
                return
            flow = self.flow(main)
            if not self.chain.is_tail(flow) or (not flow.at and self.chain.layers):
                raise ObstructionError("the model returns what an inner layer gives")
            self.chain.finish(flow)
        except ObstructionError as error:
            self.obstacles.append(Obstacle("output", "result", str(error)))
        if not self.chain.layers and not self.obstacles:
            self.obstacles.append(Obstacle("output", "result", "the model has no layer"))

    # arguments

    def flow(self, value: Value) -> Flow:
        """A value that runs through the chain; a final state becomes one by a layer."""
        if isinstance(value, Flow):
            return value
        if isinstance(value, Final):
            return self.last_state(value)
        kind = "a weight or constant" if isinstance(value, (Weight, Zeros)) else "no tensor"
        raise ObstructionError(f"its input is {kind}, not the output of a layer")

    def last_state(self, state: Final) -> Flow:
        """Take the final state h of the last layer off the layer's output."""
        ends = tuple(range((state.layers - 1) * state.directions, state.layers * state.directions))
        if state.part != "h":
            raise ObstructionError("it takes the final cell state c")
        if state.rows != ends or (len(ends) == 1) == ("RH" in state.shape):
            raise ObstructionError(
                f"it takes rows {list(state.rows)} of the final state as {'x'.join(state.shape)}, "
                f"expected the last layer's, {list(ends)}, side by side"
            )
        sequence = state.sequence
        time = sequence.view.index((state.time,))
        of: dict[str, object] = {"of": "state"} if len(ends) > 1 else {"of": "step"}
        flow = self.chain.reduce(sequence, time, "Last", "last", of, keep=False)
        batch, features = flow.view
        parts = {"B": batch, "H": features, "RH": features, "1": (), "R": ()}
        return replace(flow, view=tuple(parts[letter] for letter in state.shape))

    def weight(self, value: Value, what: str, rank: int) -> Weight:
        if not isinstance(value, Weight):
            raise ObstructionError(f"its {what} is computed by the model, not a parameter")
        if value.array.ndim != rank or value.array.dtype.kind != "f" or not value.array.size:
            raise FormatError(
                f"{quote(value.name)}: expected a {rank}-dimensional array of floating-point "
                f"numbers, got shape {value.array.shape} of {value.array.dtype}"
            )
        return value

    def optional(self, arrays: dict[str, Array], name: str, value: Value, size: int) -> None:
        """Put a weight of one dimension into `arrays`, if there is one."""
        if value is None:
            return
        weight = self.weight(value, name, 1)
        if weight.array.shape != (size,):
            raise FormatError(
                f"{quote(weight.name)}: expected shape ({size},), got {weight.array.shape}"
            )
        arrays[name] = weight.array

    def fits(self, label: int, size: int, name: str) -> None:
        """Note the size of an axis, or compare it with what is known."""
        known = self.chain.sizes[label]
        if known not in (None, size):
            raise FormatError(
                f"{quote(name)}: takes {size} features, the layer before gives {known}"
            )
        self.chain.sizes[label] = size
        self.chain.features.add(label)


def _is_poisoned(value: Value) -> bool:
    return isinstance(value, Poison) or (
        isinstance(value, list) and any(isinstance(item, Poison) for item in value)
    )


Handler = Callable[[Translation, Node, Args], Value]


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


def path_of(weight: Weight, node: Node) -> str:
    """The path of the module whose parameter a weight is."""
    path, _, _ = weight.name.rpartition(".")
    return node.owner if path in ("", "CONSTANTS") else path


def bare_path(node: Node) -> str:
    """A name for a layer without weights: its module if that is such a layer itself."""
    return node.owner if node.module.startswith("torch.nn.modules.") else node.op
