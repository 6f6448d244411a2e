# SPDX-License-Identifier: MIT
"""ONNX nodes as nodes of the common graph: operators of ATen where these compute the same.

What later operator sets take as inputs and earlier ones as attributes becomes one argument. An
argument that is an input of the node may be a constant or computed from sizes: the translator
finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...stack_spec import CELLS, Cell, cell_options, find_cell
from ..containers.elements import Entry, Unreadable
from ..description import Obstacle
from ..errors import FormatError, listing, quote
from ..graph.graph import NO_LAYER, Argument, Graph, Input, Node, Ref, needed
from .messages import Declared, OnnxGraph, OnnxNode
from .tensors import Tensors

_DOMAINS = ("", "ai.onnx")
_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip
# The gates of ONNX: those of a cell of fastrnn, in its order, are taken by their letters. With
# input_forget the rows of f have no meaning.
_GATES = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_NO_CLIP = 3e38  # some writers have the largest float
_ENDLESS = (1 << 31) - 1  # an end beyond every list
_LONGEST_NAME = 200
# Attributes that may stay unread: of training, of activations and types that are not supported.
_WITHOUT_EFFECT = ("seed", "saturate", "round_mode", "activation_alpha", "activation_beta")

Args = dict[str, Argument]


class _RefusalError(Exception):
    """Why a node has no counterpart in the common graph."""


def lower(source: OnnxGraph, tensors: Tensors, output: str | None) -> Graph:
    """The graph of a model, from its inputs to one output or to all of them."""
    names = [value.name for value in source.outputs]
    if not names:
        raise FormatError("the graph has no output")
    if output is not None and output not in names:
        raise FormatError(f"the model has no output {quote(output)}; it has {listing(names)}")
    return _Lowering(source, tensors).run([output] if output else names)


def lower_recurrent(
    node: OnnxNode, makers: list[OnnxNode], constants: Mapping[str, Entry], tensors: Tensors
) -> tuple[Graph, Node]:
    """A graph of the weights of a recurrent node, and the node in it; its data are not known."""
    lowering = _Lowering(OnnxGraph([*makers, node], {}, [], [], []), tensors)
    made = {name for maker in makers for name in maker.outputs}
    for name in (name for one in (*makers, node) for name in one.inputs if name not in made):
        if name in constants:
            lowering.weight(name, constants[name])
        else:
            lowering.graph.weights[name] = ("", None)
    for one in (*makers, node):
        start = len(lowering.graph.nodes)
        lowering.lower(one)
    lowered = lowering.graph.nodes[start:]
    return lowering.graph, next(one for one in lowered if one.op in CELLS or one.refusals)


class _Lowering:
    """The common graph while it grows."""

    def __init__(self, source: OnnxGraph, tensors: Tensors) -> None:
        self.source, self.tensors = source, tensors
        self.graph = Graph({}, {}, [], [], is_onnx=True)
        self.names = {name for node in source.nodes for name in (*node.inputs, *node.outputs)}

    def run(self, outputs: list[str]) -> Graph:
        """Lower the nodes that these outputs need."""
        self.check_names()
        initializers = self.source.initializers
        for declared in self.source.inputs:
            if declared.name not in initializers:
                self.graph.inputs[declared.name] = _input(declared)
        nodes = needed(self.source.nodes, outputs, lambda node: filter(None, node.inputs))
        for name in dict.fromkeys(name for node in nodes for name in node.inputs):
            if name in initializers:
                self.weight(name, self.tensors.read(initializers[name], f"tensor {quote(name)}"))
        for node in nodes:
            self.lower(node)
        self.graph.outputs = [Ref(name) for name in outputs]
        return self.graph

    def check_names(self) -> None:
        """No two values may have one name."""
        made = set(self.source.initializers)
        for node in self.source.nodes:
            for name in filter(None, node.outputs):
                if name in made:
                    raise FormatError(f"{node.what} returns {quote(name)}, which is there already")
                made.add(name)

    def weight(self, name: str, entry: Entry) -> None:
        """A constant; only a name that ends as torch's do tells the module that it belongs to."""
        full = name if name.endswith((".weight", ".bias")) else ""
        if isinstance(entry, Unreadable):
            self.graph.obstacles.append(Obstacle(name, "tensor", entry.why))
        self.graph.weights[name] = (full, None if isinstance(entry, Unreadable) else entry)

    def lower(self, node: OnnxNode) -> None:
        """Add what a node of the file becomes; what its rule did not look at is refused."""
        start = len(self.graph.nodes)
        try:
            if node.domain not in _DOMAINS or node.op_type not in _RULES:
                inside = ", which runs a graph of its own" if node.graphs else ""
                raise _RefusalError(NO_LAYER + inside)
            _RULES[node.op_type](self, node)
            left = [name for name in node.unread if name not in _WITHOUT_EFFECT]
            if left:
                raise _RefusalError(f"its {listing(left)} is not supported")
        except _RefusalError as reason:
            del self.graph.nodes[start:]
            inputs: Argument = [Ref(name) for name in node.inputs if name]
            self.emit(node, "", {"inputs": inputs}, node.outputs, str(reason))

    def emit(self, node: OnnxNode, op: str, args: Args, outputs: list[str], *refusals: str) -> Ref:
        """Add a node of the common graph; its first result."""
        kind = node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
        label = node.name or next(filter(None, node.outputs), "")
        owner, is_scoped = module_of(node)
        self.graph.nodes.append(
            Node(op, args, tuple(outputs), label, owner, "", kind, is_scoped, refusals)
        )
        return Ref(outputs[0])

    def fresh(self, base: str) -> str:
        """A name for a value that the file does not have."""
        name = f"{base}.{len(self.graph.nodes)}"
        while name in self.names:
            name += "'"
        self.names.add(name)
        return name


Rule = Callable[[_Lowering, OnnxNode], object]


def _input_of(node: OnnxNode, position: int) -> Ref | None:
    """An input; None if it is left out."""
    name = node.input(position)
    return Ref(name) if name else None


# --- Recurrent nodes ---


def _recurrent(self: _Lowering, node: OnnxNode) -> None:
    """A call of a layer in PyTorch's form, and what ONNX makes of its results."""
    direction = node.text_of("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    batch_first = node.int_of("layout") == 1
    x, w, r, b, lengths, *states = (_input_of(node, at) for at in range(6))
    options, refusals = _attributes(node, direction, directions)
    declared = find_cell(node.op_type, options)
    states += [_input_of(node, 6)] if declared.has_c else []
    args: Args = {
        "input": x,
        "hx": [_swapped(self, node, state, batch_first) if state else None for state in states],
        "params": _parameters(self, node, declared, {"W": w, "R": r, "B": b}, directions),
        "has_biases": b is not None,
        "bidirectional": directions == 2,
        "batch_first": batch_first,
        "lengths": lengths,
        "reverse": direction == "reverse",
        "peepholes": _input_of(node, 7) if declared.has_c else None,
    }
    if "hidden_size" in node.attributes:
        args["hidden_size"] = node.int_of("hidden_size")
    y, *finals = (self.fresh(name) for name in ("y", "h", "c"))
    self.emit(node, declared.name, args, [y, *finals], *refusals)
    for result, name in zip(finals, node.outputs[1:], strict=False):
        _swapped(self, node, Ref(result), batch_first, name)
    parts = self.fresh("y")
    split: Args = {"self": Ref(y), "dim": 2, "sizes": [directions, -1]}
    self.emit(node, "unflatten", split, [parts])
    order = [0, 1, 2, 3] if batch_first else [0, 2, 1, 3]
    self.emit(node, "permute", {"self": Ref(parts), "dims": order}, node.outputs[:1])


def _swapped(self: _Lowering, node: OnnxNode, state: Ref, batch_first: bool, name: str = "") -> Ref:
    """A state, whose batch comes before its directions with layout 1, but never in PyTorch."""
    args: Args = {"self": state, "dims": [1, 0, 2] if batch_first else [0, 1, 2]}
    return self.emit(node, "permute", args, [name or self.fresh("state")])


def _parameters(
    self: _Lowering, node: OnnxNode, cell: Cell, given: dict[str, Ref | None], directions: int
) -> list[Argument]:
    """The weights in PyTorch's order and with its gates, taken out of W, R and B."""
    parts: list[tuple[str, int | None]] = [("W", None), ("R", None)]
    parts += [("B", 0), ("B", 1)] if given["B"] is not None else []
    params: list[Argument] = []
    for index in range(directions):
        for what, half in parts:
            args: Args = {"self": given[what], "what": what, "index": index, "half": half}
            gates = _GATES[node.op_type]
            order: Argument = [gates.index(letter) for letter in cell.gates]
            args |= {"directions": directions, "gates": len(gates), "order": order}
            params.append(self.emit(node, "onnx.Gates", args, [self.fresh(what)]))
    return params


def _attributes(node: OnnxNode, direction: str, directions: int) -> tuple[Args, list[str]]:
    """The options that choose a cell, and all that no cell of fastrnn has."""
    layout = node.int_of("layout")
    refusals = [] if direction in _DIRECTIONS else [f"its direction is {direction[:20]!r}"]
    refusals += [] if layout in (0, 1) else [f"its layout is {layout}"]
    if "clip" in node.attributes and abs(node.float_of("clip")) < _NO_CLIP:
        refusals.append("it clips what goes into the activations")
    named = node.texts_of("activations")
    expected = _ACTIVATIONS[node.op_type] * directions
    found = expected if named is None else [name.lower() for name in named]
    options: Args = {
        "coupled": node.int_of("input_forget") != 0,
        "reset_after": node.int_of("linear_before_reset") != 0,
        "nonlinearity": "tanh",
    }
    if "nonlinearity" in cell_options(node.op_type) and found == ["relu"] * directions:
        return options | {"nonlinearity": "relu"}, refusals
    if found != expected:
        shown = ", ".join(name[:20] for name in (named or [])[:6])
        refusals.append(f"its activations are {shown}, expected {', '.join(expected)}")
    return options, refusals


# --- Other operators ---


def _operator(op: str, names: str, attributes: Callable[[OnnxNode], Args] = lambda _: {}) -> Rule:
    """One operator of the common graph: the arguments that are the node's inputs, and others."""

    def lowered(self: _Lowering, node: OnnxNode) -> None:
        args: Args = {name: _input_of(node, at) for at, name in enumerate(names.split())}
        self.emit(node, op, args | attributes(node), node.outputs)

    return lowered


def _ints(node: OnnxNode, name: str, position: int, since: int) -> Argument:
    """A list of whole numbers: an attribute in old operator sets, an input in later ones."""
    return _input_of(node, position) if node.opset >= since else node.ints_of(name)


def _axes(since: int) -> Callable[[OnnxNode], Args]:
    return lambda node: {"dim": _ints(node, "axes", 1, since)}


def _reduce(since: int) -> Callable[[OnnxNode], Args]:
    """The axes are an input since that version of the operators."""

    def read(node: OnnxNode) -> Args:
        args = _axes(since)(node)
        if node.int_of("noop_with_empty_axes") and args["dim"] is None:
            raise _RefusalError("it reduces no axis (noop_with_empty_axes)")
        return {**args, "keepdim": node.int_of("keepdims", 1) != 0}

    return read


def _conv(node: OnnxNode) -> Args:
    rule, pads = node.text_of("auto_pad", "NOTSET"), node.ints_of("pads") or 0
    return {
        "padding": {"NOTSET": pads, "VALID": 0}.get(rule, rule),
        "stride": node.ints_of("strides") or 1,
        "dilation": node.ints_of("dilations") or 1,
        "groups": node.int_of("group", 1),
        "kernel_shape": node.ints_of("kernel_shape"),
    }


def _gemm(node: OnnxNode) -> Args:
    if node.int_of("transA"):
        raise _RefusalError("it transposes its input")
    alpha, beta = node.float_of("alpha", 1.0), node.float_of("beta", 1.0)
    return {"alpha": alpha, "beta": beta, "transposed": node.int_of("transB") != 0}


def _norm(node: OnnxNode) -> Args:
    if node.int_of("stash_type", 1) != 1:
        raise _RefusalError("it computes in another type than float32 (stash_type)")
    return {"axis": node.int_of("axis", -1), "eps": node.float_of("epsilon", 1e-5)}


def _softmax(node: OnnxNode) -> Args:
    to_the_end = node.opset < 13
    return {"dim": node.int_of("axis", 1 if to_the_end else -1), "to_the_end": to_the_end}


def _batch_norm(node: OnnxNode) -> Args:
    """Old operator sets tell training mode by the number of outputs."""
    training = node.int_of("training_mode") != 0
    if node.opset < 14:
        training = len([name for name in node.outputs if name]) > 1
    return {"eps": node.float_of("epsilon", 1e-5), "training": training}


def _pool(node: OnnxNode) -> Args:
    rule = node.text_of("auto_pad", "NOTSET")
    if rule not in ("NOTSET", "VALID") or node.int_of("storage_order"):
        raise _RefusalError(f"its auto_pad is {rule!r}, expected 'NOTSET' or 'VALID'")
    return {
        "kernel_size": node.ints_of("kernel_shape"),
        "stride": node.ints_of("strides") or 1,
        "padding": (node.ints_of("pads") if rule == "NOTSET" else None) or 0,
        "dilation": node.ints_of("dilations") or 1,
        "ceil_mode": node.int_of("ceil_mode") != 0,
    }


def _avg_pool(node: OnnxNode) -> Args:
    return {**_pool(node), "count_include_pad": node.int_of("count_include_pad") != 0}


def _line(node: OnnxNode) -> Args:
    return {"alpha": node.float_of("alpha", 0.2), "beta": node.float_of("beta", 0.5)}


def _clip(node: OnnxNode) -> Args:
    if node.opset >= 11:
        return {"min": _input_of(node, 1), "max": _input_of(node, 2)}
    return {name: node.float_of(name) for name in ("min", "max") if name in node.attributes}


def _dropout(node: OnnxNode) -> Args:
    ratio = _input_of(node, 1) if node.opset >= 12 else node.float_of("ratio", 0.5)
    return {"p": 0.5 if ratio is None else ratio}


def _slice(node: OnnxNode) -> Args:
    names = ("starts", "ends", "axes", "steps")
    return {name: _ints(node, name, at, 10) for at, name in enumerate(names, 1)}


def _split(node: OnnxNode) -> Args:
    count, lengths = node.int_of("num_outputs", len(node.outputs)), _ints(node, "split", 1, 13)
    return {"split": lengths, "count": count, "dim": node.int_of("axis")}


def _inputs(node: OnnxNode) -> Args:
    return {"tensors": [_input_of(node, at) for at in range(len(node.inputs))]}


def _concat(node: OnnxNode) -> Args:
    return {**_inputs(node), "dim": node.int_of("axis")}


def _einsum(node: OnnxNode) -> Args:
    return {**_inputs(node), "equation": node.text_of("equation", "")}


def _sum(self: _Lowering, node: OnnxNode) -> None:
    """Any number of terms, added one after another."""
    total: Argument = _input_of(node, 0)
    for at in range(1, len(node.inputs)):
        name = node.outputs[0] if at == len(node.inputs) - 1 else self.fresh("sum")
        total = self.emit(node, "add", {"self": total, "other": _input_of(node, at)}, [name])
    if len(node.inputs) == 1:
        self.emit(node, "alias", {"self": total}, node.outputs)


def _fill(self: _Lowering, node: OnnxNode) -> None:
    """ConstantOfShape, with the number that it repeats."""
    data = node.tensor_of("value")
    entry = np.zeros(1) if data is None else self.tensors.read_message(data, node.what)
    if isinstance(entry, Unreadable) or entry.size != 1:
        raise _RefusalError("it makes something else than zeros")
    fill = float(entry.reshape(-1)[0])
    self.emit(node, "full", {"size": _input_of(node, 0), "fill_value": fill}, node.outputs)


def _constant(self: _Lowering, node: OnnxNode) -> None:
    data, name = node.tensor_of("value"), node.outputs[0]
    if data is not None:
        self.weight(name, self.tensors.read_message(data, node.what))
        return
    for attribute, (read, dtype) in _PLAIN_CONSTANTS.items():
        if attribute in node.attributes:
            self.weight(name, np.array(read(node, attribute), dtype))
            return
    raise _RefusalError("its value is not an array of numbers")


_PLAIN_CONSTANTS: dict[str, tuple[Callable[[OnnxNode, str], object], str]] = {
    "value_int": (OnnxNode.int_of, "int64"),
    "value_ints": (OnnxNode.ints_of, "int64"),
    "value_float": (OnnxNode.float_of, "float32"),
    "value_floats": (OnnxNode.floats_of, "float32"),
}
_UNARY = (
    *("Relu", "Tanh", "Sigmoid", "Softplus", "Selu", "Mish", "Softsign", "HardSwish"),
    *("Neg", "Sqrt", "Reciprocal", "Erf", "Log", "Abs"),
)
_BINARY = ("MatMul", "Add", "Sub", "Mul", "Div")
_COMPARISONS = {"Less": "lt", "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge"}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_GATES, _recurrent),
    "Constant": _constant,
    "ConstantOfShape": _fill,
    **{kind: _operator(kind.lower(), "self") for kind in _UNARY},
    **{kind: _operator(kind.lower(), "self other") for kind in _BINARY},
    **{kind: _operator(op, "self other") for kind, op in _COMPARISONS.items()},
    "Sum": _sum,
    "Einsum": _operator("einsum", "", _einsum),
    "Not": _operator("logical_not", "self"),
    "Where": _operator("where", "condition self other"),
    "Elu": _operator("elu", "self", lambda n: {"alpha": n.float_of("alpha", 1.0)}),
    "LeakyRelu": _operator(
        "leaky_relu", "self", lambda n: {"negative_slope": n.float_of("alpha", 0.01)}
    ),
    "Gelu": _operator("gelu", "self", lambda n: {"approximate": n.text_of("approximate", "none")}),
    "BatchNormalization": _operator(
        "batch_norm", "input weight bias running_mean running_var", _batch_norm
    ),
    "MaxPool": _operator("max_pool1d", "self", _pool),
    "AveragePool": _operator("avg_pool1d", "self", _avg_pool),
    "PRelu": _operator("prelu", "self weight"),
    "ReduceSum": _operator("sum", "self", _reduce(13)),
    "Celu": _operator("celu", "self", lambda n: {"alpha": n.float_of("alpha", 1.0)}),
    "HardSigmoid": _operator("onnx.HardSigmoid", "self", _line),
    "Clip": _operator("clamp", "self", _clip),
    "Identity": _operator("alias", "self"),
    "Softmax": _operator("softmax", "self", _softmax),
    "LogSoftmax": _operator("log_softmax", "self", _softmax),
    "Gemm": _operator("addmm", "mat1 mat2 self", _gemm),
    "Conv": _operator("conv1d", "input weight bias", _conv),
    "LayerNormalization": _operator("layer_norm", "input weight bias", _norm),
    "Pow": _operator("pow", "self exponent"),
    "Dropout": _operator("dropout", "input p train", _dropout),
    "ReduceMean": _operator("mean", "self", _reduce(18)),
    "ReduceMax": _operator("amax", "self", _reduce(18)),
    "GlobalAveragePool": _operator("adaptive_avg_pool1d", "self", lambda _: {"output_size": 1}),
    "GlobalMaxPool": _operator("adaptive_max_pool1d", "self", lambda _: {"output_size": 1}),
    "Gather": _operator("onnx.Gather", "self index", lambda n: {"dim": n.int_of("axis")}),
    "Slice": _operator("onnx.Slice", "self", _slice),
    "Split": _operator("onnx.Split", "self", _split),
    "Concat": _operator("cat", "", _concat),
    "Transpose": _operator("onnx.Transpose", "self", lambda n: {"dims": n.ints_of("perm")}),
    "Reshape": _operator("onnx.Reshape", "self size", lambda n: {"zero": n.int_of("allowzero")}),
    "Flatten": _operator("onnx.Flatten", "self", lambda n: {"axis": n.int_of("axis", 1)}),
    "Squeeze": _operator("squeeze", "self", _axes(13)),
    "Unsqueeze": _operator("unsqueeze", "self", _axes(13)),
    "Expand": _operator("expand", "self size"),
    "Tile": _operator("onnx.Tile", "self repeats"),
    "Cast": _operator("to", "self", lambda n: {"dtype": _TYPES.get(n.int_of("to"))}),
    "Shape": _operator(
        "size", "self", lambda n: {"start": n.int_of("start"), "end": n.int_of("end", _ENDLESS)}
    ),
}


# --- Parts of the file ---


def _input(declared: Declared) -> Input:
    """A graph input."""
    sizes = [size if isinstance(size, int) else None for size in declared.shape or ()]
    is_integer = _TYPES.get(declared.elem_type, "").startswith(("int", "uint"))
    return Input(None if declared.shape is None else tuple(sizes), is_integer=is_integer)


def module_of(node: OnnxNode) -> tuple[str, bool]:
    """The dotted path of the module a node comes from, and whether it is really that."""
    modules = [scope for scope in node.scopes[:-1] if scope]  # the last one is the operation's
    if modules:
        return _clean(modules[-1], node), True
    scopes = [part for part in node.name.split("/") if part]
    if len(scopes) > 1:
        return _clean(".".join(scopes[:-1]), node), True
    return _clean(node.name or node.op_type.lower(), node), False


def _clean(name: str, node: OnnxNode) -> str:
    plain = "".join(c if c.isalnum() or c in "_.-" else " " for c in name[:_LONGEST_NAME])
    name = "_".join(filter(None, plain.split(" ")))
    name = ".".join(filter(None, name.split("."))).strip("._")
    return name or node.op_type.lower()
