# SPDX-License-Identifier: MIT
"""A computation graph, the common form of exported programs, TorchScript and ONNX models.

Operators have the names and arguments of ATen, PyTorch's library. What ONNX has beyond them keeps
its own name, as "onnx.Gather".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from ..containers.elements import Array
from ..description import Obstacle

MOST_NODES = 100_000

Sizes = tuple[int | None, ...]  # None: not known


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the graph, by its name."""

    name: str


class _Unknown:
    """A number that only a run of the model would tell, as a size."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = _Unknown()

Argument = object  # Ref, UNKNOWN, int, float, bool, str, None, or a list of those


class _HasOutputs(Protocol):
    @property
    def outputs(self) -> Sequence[str]: ...


AnyNode = TypeVar("AnyNode", bound=_HasOutputs)


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
    refusals: list[str] = field(default_factory=list)  # why it is no layer, whatever its inputs


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


# Positional arguments of the operators by name; the results that are tensors, by their number.
_RECURRENT = "hx params has_biases num_layers dropout train bidirectional batch_first"
_SCHEMAS = {
    "lstm": f"input {_RECURRENT}",
    "gru": f"input {_RECURRENT}",
    "rnn_tanh": f"input {_RECURRENT}",
    "rnn_relu": f"input {_RECURRENT}",
    "embedding": "weight indices padding_idx scale_grad_by_freq sparse",
    "linear": "input weight bias",
    "addmm": "self mat1 mat2 beta alpha",
    "mm": "self mat2",
    "matmul": "self other",
    "add": "self other alpha",
    "sub": "self other alpha",
    "mul": "self other",
    "div": "self other",
    "floor_divide": "self other",
    "pow": "self exponent",
    "sqrt": "self",
    "reciprocal": "self",
    "layer_norm": "input normalized_shape weight bias eps cudnn_enable",
    "native_layer_norm": "input normalized_shape weight bias eps",
    "conv1d": "input weight bias stride padding dilation groups",
    "convolution": "input weight bias stride padding dilation transposed output_padding groups",
    "_convolution": "input weight bias stride padding dilation transposed output_padding groups",
    "relu": "self",
    "tanh": "self",
    "sigmoid": "self",
    "softmax": "self dim dtype",
    "_softmax": "self dim half_to_float",
    "log_softmax": "self dim dtype",
    "_log_softmax": "self dim half_to_float",
    "dropout": "input p train",
    "native_dropout": "input p train",
    "clone": "self",
    "alias": "self",
    "detach": "self",
    "contiguous": "self",
    "lift_fresh_copy": "self",
    "to": "self",
    "_to_copy": "self",
    "select": "self dim index",
    "slice": "self dim start end step",
    "squeeze": "self dim",
    "unsqueeze": "self dim",
    "transpose": "self dim0 dim1",
    "permute": "self dims",
    "t": "self",
    "numpy_T": "self",
    "flip": "self dims",
    "view": "self size",
    "_unsafe_view": "self size",
    "reshape": "self shape",
    "flatten": "self start_dim end_dim",
    "unflatten": "self dim sizes",
    "cat": "tensors dim",
    "mean": "self dim keepdim dtype",
    "amax": "self dim keepdim",
    "max": "self dim keepdim",
    "adaptive_avg_pool1d": "self output_size",
    "adaptive_max_pool1d": "self output_size",
    "size": "self dim",
    "zeros": "size",
    "zeros_like": "self",
    "new_zeros": "self size",
    "full": "size fill_value",
    "full_like": "self fill_value",
    "expand": "self size",
}
SCHEMAS = {name: tuple(names.split()) for name, names in _SCHEMAS.items()}
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


def references(value: Argument) -> list[str]:
    """The names of the graph's values in an argument."""
    items = value if isinstance(value, list) else [value]
    return [item.name for item in items if isinstance(item, Ref)]


def needed(
    nodes: Sequence[AnyNode], names: Iterable[str], inputs: Callable[[AnyNode], Iterable[str]]
) -> list[AnyNode]:
    """The nodes that the values of these names depend on, in the order of the graph."""
    wanted = set(names)
    kept: list[AnyNode] = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(inputs(node))
    return kept[::-1]


def needed_nodes(graph: Graph) -> list[Node]:
    """The nodes that the outputs of a graph depend on."""

    def inputs(node: Node) -> Iterable[str]:
        return (name for value in node.args.values() for name in references(value))

    names = (name for output in graph.outputs for name in references(output))
    return needed(graph.nodes, names, inputs)
