# SPDX-License-Identifier: MIT
"""A computation graph, the common form of exported programs, TorchScript and ONNX models.

Operators have the names and arguments of ATen, PyTorch's library. What ONNX has beyond them keeps
its own name, as "onnx.Gather".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ...stack_spec import CELLS, parameter_names
from ..containers.elements import Array
from ..description import Obstacle

MOST_NODES = 100_000
MOST_PARTS = 16  # of a split in TorchScript, whose code does not tell how many there are
_MOST_LAYERS = 10_000
NO_LAYER = "there is no layer for this operator"
BRANCHES = "it joins two branches of the model"
_CHANGED = "it takes a tensor that another operator has changed in place"

Sizes = tuple[int | None, ...]  # None: not known


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the graph, by its name."""

    name: str


UNKNOWN: Final = object()  # a number that only a run of the model would tell, as a size
Argument = object  # Ref, UNKNOWN, int, float, bool, str, None, or a list of those


@dataclass(slots=True)
class Node:
    """One call of an operator."""

    op: str  # "lstm", without namespace and overload; whole for operators that are not ATen's
    args: dict[str, Argument]  # by the names of the operator's schema
    outputs: tuple[str, ...]  # "" for a result that nothing takes
    label: str  # what a message calls it
    owner: str = ""  # dotted path of the torch.nn module that calls it, if known
    module: str = ""  # the class of that module, if known
    kind: str = ""  # what a message calls the operator, if not op
    is_scoped: bool = True  # whether the owner is a module, not the node itself
    refusals: tuple[str, ...] = ()  # why it is no layer, whatever its inputs
    in_place: bool = False  # whether it writes its result into its first argument


@dataclass(frozen=True, slots=True)
class Input:
    """An input of the model."""

    sizes: Sizes | None  # None: not even the number of axes is known
    are_examples: bool = False  # the sizes are an example's: other inputs may have others
    is_integer: bool | None = None  # whether it holds whole numbers; None: not known


@dataclass(slots=True)
class Graph:
    """What a model computes: inputs and weights, calls in their order, results."""

    inputs: dict[str, Input]
    # Name in the graph -> name in the state dict, array; None: not readable, among the obstacles.
    weights: dict[str, tuple[str, Array | None]]
    nodes: list[Node]
    outputs: list[Argument]
    sizes: dict[str, Sizes] = field(default_factory=dict)  # of results, as far as the file says
    obstacles: list[Obstacle] = field(default_factory=list)  # beside the nodes
    # There are operators of ONNX, and each recurrent call is one layer of a stack.
    is_onnx: bool = False


# Arguments that may stay unread because they change no value: how memory is used, which device
# computes, what concerns training or transposed convolutions, which are refused, and element types,
# which all are float32. Casts do read theirs.
WITHOUT_EFFECT = (
    *("memory_format", "non_blocking", "copy", "device", "layout", "pin_memory", "requires_grad"),
    *("cudnn_enable", "cudnn_enabled", "allow_tf32", "benchmark", "deterministic", "implicit"),
    *("scale_grad_by_freq", "sparse", "output_padding", "momentum", "dtype", "half_to_float"),
)
# Positional arguments of the operators by name. Recurrent operators have the names of their cells.
_RECURRENT = "input hx params has_biases num_layers dropout train bidirectional batch_first"
_SCHEMAS = {
    " ".join(CELLS): _RECURRENT,
    "lt le gt ge": "self other",
    "logical_not": "self",
    "where": "condition self other",
    "embedding": "weight indices padding_idx scale_grad_by_freq sparse",
    "linear": "input weight bias",
    "addmm": "self mat1 mat2 beta alpha",
    "mm bmm": "self mat2",
    "matmul mul div floor_divide": "self other",
    "add sub rsub": "self other alpha",
    "elu": "self alpha scale input_scale",
    "celu": "self alpha",
    "leaky_relu": "self negative_slope",
    "gelu": "self approximate",
    "softplus": "self beta threshold",
    "hardtanh": "self min_val max_val",
    "clamp": "self min max",
    "clamp_min": "self min",
    "clamp_max": "self max",
    "pow": "self exponent",
    "layer_norm native_layer_norm": "input normalized_shape weight bias eps cudnn_enable",
    "conv1d conv2d": "input weight bias stride padding dilation groups",
    "convolution _convolution": (
        "input weight bias stride padding dilation transposed output_padding groups "
        "benchmark deterministic cudnn_enabled allow_tf32"
    ),
    "softmax log_softmax": "self dim dtype",
    "_softmax _log_softmax": "self dim half_to_float",
    "dropout native_dropout": "input p train",
    "select": "self dim index",
    "slice": "self dim start end step",
    "squeeze unsqueeze size": "self dim",
    "transpose": "self dim0 dim1",
    "permute flip": "self dims",
    "view _unsafe_view": "self size",
    "expand": "self size implicit",
    "reshape": "self shape",
    "flatten": "self start_dim end_dim",
    "unflatten": "self dim sizes",
    "cat stack": "tensors dim",
    "hstack": "tensors",
    "unbind": "self dim",
    "einsum": "equation tensors path",
    "chunk": "self chunks dim",
    "split": "self split_size dim",
    "split_with_sizes": "self split_sizes dim",
    "mean sum": "self dim keepdim dtype",
    "batch_norm": "input weight bias running_mean running_var training momentum eps cudnn_enabled",
    "_native_batch_norm_legit_no_training": (
        "input weight bias running_mean running_var momentum eps"
    ),
    "max_pool1d max_pool2d": "self kernel_size stride padding dilation ceil_mode",
    "avg_pool1d avg_pool2d": (
        "self kernel_size stride padding ceil_mode count_include_pad divisor_override"
    ),
    "prelu": "self weight",
    "amax max": "self dim keepdim",
    "adaptive_avg_pool1d adaptive_max_pool1d": "self output_size",
    "zeros": "size dtype layout device pin_memory",
    "new_zeros": "self size dtype layout device pin_memory",
    "zeros_like": "self dtype layout device pin_memory memory_format",
    "full": "size fill_value dtype layout device pin_memory",
    "full_like": "self fill_value dtype layout device pin_memory memory_format",
    "clone contiguous": "self memory_format",
    "relu relu6 tanh sigmoid silu selu hardsigmoid hardswish mish softsign log_sigmoid": "self",
    "erf abs log neg sqrt reciprocal": "self",
    "t numpy_T to _to_copy": "self",
    "alias detach lift_fresh_copy": "self",
}
SCHEMAS = {op: tuple(args.split()) for ops, args in _SCHEMAS.items() for op in ops.split()}
# Operators whose result may share memory with their first argument; so may that of unknown ones.
_VIEWS = (
    *("dropout", "select", "slice", "squeeze", "unsqueeze", "transpose", "permute", "t", "numpy_T"),
    *("view", "_unsafe_view", "expand", "reshape", "flatten", "unflatten"),
    *("unbind", "chunk", "split", "split_with_sizes"),
    *("to", "alias", "detach", "contiguous"),
)
_SAME = {
    "concat": "cat",
    "concatenate": "cat",
    "native_dropout": "dropout",
    "floordiv": "floor_divide",
    "swapaxes": "transpose",
}


def plain_name(op: str) -> str:
    """One name for operators that compute the same: without the underscore of in-place forms."""
    bare = op.removesuffix("_") if op.removesuffix("_") in SCHEMAS else op
    return _SAME.get(bare, bare)


def writes_in_place(op: str, args: Iterable[str]) -> bool:
    """Whether an operator of ATen changes a tensor: its name ends in one underscore, or out=."""
    return (op.endswith("_") and not op.endswith("__")) or "out" in args


def references(value: Argument) -> list[str]:
    """The names of the graph's values in an argument."""
    items = value if isinstance(value, list) else [value]
    return [item.name for item in items if isinstance(item, Ref)]


def needed(
    nodes: Sequence[Any], names: Iterable[str], inputs: Callable[[Any], Iterable[str]]
) -> list[Any]:
    """The nodes, which have `outputs`, that values of these names need, in their order."""
    wanted = set(names)
    kept: list[Any] = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(inputs(node))
    return kept[::-1]


def needed_nodes(graph: Graph) -> list[Node]:
    """The nodes that the outputs of a graph need."""

    def inputs(node: Node) -> Iterable[str]:
        return (name for value in node.args.values() for name in references(value))

    names = (name for output in graph.outputs for name in references(output))
    return needed(graph.nodes, names, inputs)


def refuse_changed(graph: Graph) -> None:
    """Refuse what takes a value that an operator changed in place since, by itself or by a view."""
    shared: dict[str, list[str]] = {}  # the names of values in one memory, by each of them
    changed: set[str] = set()
    for node in graph.nodes:
        taken = [name for value in node.args.values() for name in references(value)]
        if changed.intersection(taken):
            node.refusals += (_CHANGED,)
        alike: list[str] = []
        if taken and (node.in_place or node.op in _VIEWS or node.op not in SCHEMAS):
            alike = shared.setdefault(taken[0], [taken[0]])
        if node.in_place:
            changed.update(alike)
            alike.clear()
        alike += node.outputs
        shared |= dict.fromkeys(node.outputs, alike)
    results = [name for output in graph.outputs for name in references(output)]
    if changed.intersection(results):
        graph.obstacles.append(Obstacle("output", "result", _CHANGED))


def flat_names(count: int, layers: int, bias: bool, bidirectional: bool) -> list[str]:
    """PyTorch's names of the weights that a recurrent call lists; none if their number is wrong."""
    groups = layers * (2 if bidirectional else 1)
    least = 4 if bias else 2
    for projection in (0, 1):
        if 0 < layers <= _MOST_LAYERS and count == groups * (least + projection):
            return parameter_names(layers, bidirectional, bias, projection)
    return []
