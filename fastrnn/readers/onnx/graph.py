# SPDX-License-Identifier: MIT
"""Following a graph from its input to its output, and the list of layers that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..description import Layer, Obstacle, unsupported
from ..errors import FormatError, listing, quote
from . import dense, select
from .axes import arrange, exactly
from .constants import fold
from .messages import Declared, Graph, Model, Node, has_graph, tensor_attribute
from .moves import MOVES, move
from .recurrent import recurrent
from .sizes import expand, fill, run_given, run_sizes, run_zeros, shape_of
from .stacks import chain_layers, check_chain
from .states import final_data, whole
from .tensors import Tensors
from .values import (
    Atom,
    CannotMap,
    Const,
    Data,
    Finals,
    Given,
    Inputs,
    Moment,
    Sizes,
    Spread,
    Step,
    Unknown,
    Value,
    Zeros,
    dim_of,
    solid,
)

ADVICE = (
    "fastrnn.read_state_dict gives the file's weights by name; key= chooses another output of "
    "the model"
)
_RECURRENT = ("LSTM", "GRU", "RNN")
_DOMAINS = ("", "ai.onnx")
_INTEGERS = (2, 3, 4, 5, 6, 7, 12, 13)
_MOST_OBSTACLES = 100

Rule = Callable[[Node, Inputs, int], list[Value]]

_RULES: dict[str, Rule] = {
    "MatMul": lambda node, inputs, _: dense.matmul(node, inputs),
    "Gemm": lambda node, inputs, _: dense.gemm(node, inputs),
    "Conv": lambda node, inputs, _: dense.convolution(node, inputs),
    "LayerNormalization": lambda node, inputs, _: dense.layer_norm(node, inputs),
    "Dropout": dense.dropout,
    "Softmax": dense.softmax,
    "LogSoftmax": dense.softmax,
    "Gather": lambda node, inputs, _: select.gather(node, inputs),
    "Slice": select.slice_,
    "Split": select.split,
    "Concat": lambda node, inputs, _: select.concat(node, inputs),
    "ReduceMean": select.reduce,
    "ReduceMax": select.reduce,
    "GlobalAveragePool": lambda node, inputs, _: select.global_pool(node, inputs),
    "GlobalMaxPool": lambda node, inputs, _: select.global_pool(node, inputs),
    "Add": lambda node, inputs, _: dense.scale_or_shift(node, inputs),
    "Mul": lambda node, inputs, _: dense.scale_or_shift(node, inputs),
} | dict.fromkeys(dense.POINTWISE, lambda node, inputs, _: dense.pointwise(node, inputs))

_MOMENTS = ("Sub", "Pow", "Sqrt", "Div", "Reciprocal")
_SIZES = ("Constant", "Shape", "ConstantOfShape", "Tile")
SUPPORTED = {*_RULES, *MOVES, *_MOMENTS, *_SIZES, *_RECURRENT}


@dataclass
class Tracer:
    """The values of the graph so far, and what is in the way."""

    graph: Graph
    opset: int
    tensors: Tensors
    values: dict[str, Value] = field(default_factory=dict)
    obstacles: list[Obstacle] = field(default_factory=list)

    def value(self, name: str, node: Node) -> Value | None:
        """The value of a name; an initializer is read when it is first used."""
        if not name:
            return None
        if name not in self.values:
            record = self.graph.initializers.get(name)
            if record is None:
                raise FormatError(f"{node.what} takes {quote(name)}, which no node before it gives")
            entry = self.tensors.read(record, f"tensor {quote(name)}")
            if not isinstance(entry, np.ndarray):
                raise CannotMap(entry.why)
            self.values[name] = Const(entry, name)
        return self.values[name]

    def run(self, node: Node) -> None:
        """Take one node; an obstacle makes its outputs unknown."""
        try:
            results = self._outputs(node)
        except CannotMap as reason:
            self.obstacles.append(
                Obstacle(node.name or _first(node.outputs), _kind(node), str(reason))
            )
            results = []
        for index, name in enumerate(node.outputs):
            if name:
                self.values[name] = results[index] if index < len(results) else Unknown()

    def _outputs(self, node: Node) -> list[Value]:
        if node.domain not in _DOMAINS or node.op_type not in SUPPORTED:
            inside = " and runs a graph of its own" if has_graph(node) else ""
            raise CannotMap(f"this operation is not supported{inside}")
        inputs = Inputs([self.value(name, node) for name in node.inputs])
        if node.op_type in _RECURRENT:
            return recurrent(node, inputs)
        if any(isinstance(value, Unknown) for value in inputs.values):
            return []
        return dispatch(node, inputs, self.opset, self.tensors)


def dispatch(node: Node, inputs: Inputs, opset: int, tensors: Tensors) -> list[Value]:
    """The outputs of a node, by what kinds of values it gets."""
    kind, first = node.op_type, inputs.get(0)
    there = [value for value in inputs.values if value is not None]
    if kind == "Constant":
        return [_constant(node, tensors)]
    if kind == "Shape":
        return shape_of(node, inputs)
    if kind == "ConstantOfShape":
        return fill(node, inputs, tensors)
    if any(isinstance(value, Moment) for value in there):
        return (
            select.reduce(node, inputs, opset)
            if kind == "ReduceMean"
            else select.moment(node, inputs)
        )
    given = _given(first, kind)
    if given is not None:
        taken = run_given(node, Inputs([given, *inputs.values[1:]]), opset)
        if taken is not None:
            return taken
        if isinstance(first, Given):
            raise CannotMap("it computes with an initial state")
    if any(isinstance(value, (Data, Finals)) for value in there):
        return _run_data(node, inputs, opset)
    if kind == "Expand":
        return expand(inputs)
    if any(isinstance(value, (Zeros, Spread)) for value in there):
        return run_zeros(node, inputs, opset)
    if any(isinstance(value, Sizes) for value in there):
        return run_sizes(node, inputs, opset)
    return fold(node, inputs, opset, tensors.budget)


def _run_data(node: Node, inputs: Inputs, opset: int) -> list[Value]:
    kind, first = node.op_type, inputs.get(0)
    if kind == "Gather" and isinstance(first, Const):
        return dense.embedding(node, inputs.const(0, "table"), whole(inputs.get(1)), inputs)
    if kind in MOVES and isinstance(first, (Data, Finals)):
        return move(node, first, inputs, opset)
    rule = _RULES.get(kind)
    if rule is None or (
        kind in ("Gather", "Slice", "Split") and not isinstance(first, (Data, Finals))
    ):
        raise CannotMap("this operation on data is not supported")
    return rule(node, inputs, opset)


def _given(value: Value | None, kind: str) -> Given | None:
    """A graph input from which rows are taken, seen as an initial state."""
    if isinstance(value, Given):
        return value
    if kind not in ("Gather", "Slice", "Split") or not isinstance(value, Data):
        return None
    if value.step.parent is not None or value.step.integer or not value.axes:
        return None
    dims = tuple(dim_of(axis) for axis in value.axes)
    return Given(value.step.layer.name, 0, dims[0].number, dims)


def _constant(node: Node, tensors: Tensors) -> Const:
    from .messages import float_attribute, floats_attribute, int_attribute, ints_attribute

    data = tensor_attribute(node, "value")
    if data is not None:
        entry = tensors.read_message(data, node.what)
        if not isinstance(entry, np.ndarray):
            raise CannotMap(entry.why)
        return Const(entry)
    if "value_int" in node.attributes:
        return Const(np.array(int_attribute(node, "value_int", 0), np.int64))
    if "value_ints" in node.attributes:
        return Const(np.array(ints_attribute(node, "value_ints"), np.int64))
    if "value_float" in node.attributes:
        return Const(np.array(float_attribute(node, "value_float", 0.0), np.float32))
    if "value_floats" in node.attributes:
        return Const(np.array(floats_attribute(node, "value_floats"), np.float32))
    raise CannotMap("its value is not an array of numbers")


def _first(names: list[str]) -> str:
    return next(filter(None, names), "")


def _kind(node: Node) -> str:
    return node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"


# --- The whole graph ---


def describe_model(model: Model, tensors: Tensors, output: str | None) -> tuple[Layer, ...]:
    """The layers from the model's input to its output."""
    graph = model.graph
    names = [value.name for value in graph.outputs]
    if not names:
        raise FormatError("the graph has no output")
    if output is not None and output not in names:
        raise FormatError(f"the model has no output {quote(output)}; it has {listing(names)}")
    tracer = Tracer(graph, model.opset, tensors)
    for declared in graph.inputs:
        if declared.name not in graph.initializers:
            tracer.values[declared.name] = _input(declared)
    for node in needed(graph, [output] if output else names):
        tracer.run(node)
    if tracer.obstacles:
        shown = tracer.obstacles[:_MOST_OBSTACLES]
        more = len(tracer.obstacles) - len(shown)
        rest = [Obstacle("...", "more", f"{more} further nodes")] if more else []
        raise unsupported([*shown, *rest], ADVICE)
    try:
        end = _result(tracer, [output] if output else names)
        steps = check_chain(end)
    except CannotMap as reason:
        raise unsupported([Obstacle(output or names[0], "output", str(reason))], ADVICE) from None
    return chain_layers(steps)


def needed(graph: Graph, outputs: list[str]) -> list[Node]:
    """The nodes that the outputs depend on, in the order of the file."""
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in filter(None, node.outputs):
            if name in makers or name in graph.initializers:
                raise FormatError(f"{node.what} gives {quote(name)}, which is there already")
            makers[name] = index
    found: set[int] = set()
    pending = list(outputs)
    while pending:
        name = pending.pop()
        index = makers.get(name, -1)
        if index >= 0 and index not in found:
            found.add(index)
            pending += graph.nodes[index].inputs
    return [graph.nodes[index] for index in sorted(found)]


def _input(declared: Declared) -> Value:
    """A graph input: data with one atom for each axis."""
    if declared.shape is None or not declared.name:
        return Unknown()
    axes = tuple(
        (Atom(str(size or f"axis {index}"), size if isinstance(size, int) else None),)
        for index, size in enumerate(declared.shape)
    )
    integer = declared.elem_type in _INTEGERS
    return Data(Step(None, Layer(declared.name, "Input"), axes, integer=integer), axes)


def _result(tracer: Tracer, names: list[str]) -> Step:
    """The step whose y is the model's result, in the order of axes that the model gives."""
    values = [tracer.values.get(name) for name in names]
    results = [whole(value) for value in values if isinstance(value, Data)]
    states = [value for value in values if isinstance(value, Finals)]
    if len(results) + len(states) < len(values):
        raise CannotMap("an output is not computed from the model's input by layers")
    if not results:
        results = [_state_result(states)]
    first = results[0]
    if any(other.step is not first.step for other in results):
        raise CannotMap(f"the model has {len(results)} results beside final states; choose one")
    if first.step.parent is None:
        raise CannotMap("the model has no layers")
    return _in_order(first)


def _state_result(states: list[Finals]) -> Data:
    """Of a model that gives final states only, the first that is the h of one whole layer."""
    reason: CannotMap | None = None
    for finals in states:
        try:
            return final_data(finals, loose=True)
        except CannotMap as why:
            reason = reason or why
    raise reason or CannotMap("the model has no output")


def _in_order(data: Data) -> Step:
    """The step with its axes as the output has them.

    Only a recurrent node's own Y is not given as it is, with its directions as an axis of their
    own: they go to the features, where fastrnn's layers have them.
    """
    axes = [axis for axis in data.axes if solid(axis)]
    recurrence = data.step.recurrence
    if recurrence is None or (recurrence.direction,) not in data.axes:
        return exactly(data.step, data.axes)
    if (recurrence.direction,) in axes:
        axes.remove((recurrence.direction,))
        features = (recurrence.direction, recurrence.hidden)
        axes = [features if axis == (recurrence.hidden,) else axis for axis in axes]
    return arrange(data.step, axes)
