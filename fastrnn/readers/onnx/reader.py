# SPDX-License-Identifier: MIT
"""Opening an ONNX file: `read_onnx` for its arrays, `describe_onnx` for the model as layers."""

from __future__ import annotations

from ..containers.elements import Entry, Unreadable
from ..containers.source import Source
from ..description import Description, RecurrentOptions
from ..entry_names import check_name
from ..errors import quote
from ..graph.graph_describe import describe_graph
from .lowering import lower
from .messages import OnnxGraph, check_top_level, read_model
from .parts import read_parts
from .tensors import Tensors

_ADVICE = (
    "fastrnn.read_state_dict returns the file's weights by name, fastrnn.load(path, prefix=...) "
    "one recurrent layer by the scope or the name of its node; key= chooses another output of the "
    "model"
)


def read_onnx(source: Source, folder: str | None) -> tuple[dict[str, Entry], RecurrentOptions]:
    """All initializers by name, then the weights of recurrent nodes; what the nodes say."""
    graph, tensors = _open(source, folder)
    entries: dict[str, Entry] = {}
    for name, record in graph.initializers.items():
        entries[check_name(name)] = tensors.read(record, f"tensor {quote(name)}")
    for name in graph.sparse:
        entries[check_name(name)] = Unreadable(f"tensor {quote(name)} is sparse: not supported")
    known = {id(record): entries[name] for name, record in graph.initializers.items()}
    weights, recurrent = read_parts(graph, known, tensors)
    return {**entries, **{check_name(name): entry for name, entry in weights.items()}}, recurrent


def describe_onnx(source: Source, folder: str | None, output: str | None = None) -> Description:
    """The layers of the model in an open file in `folder`, up to `output` or the one result.

    Final states that a model also returns are those that the recurrent layers return. Raises
    FormatError if the file is damaged and UnsupportedModel, which lists everything that is
    unsupported, if a part of the model is not one of fastrnn's layers.
    """
    graph, tensors = _open(source, folder)
    return describe_graph(lower(graph, tensors, output), "onnx", _ADVICE, source.budget)


def _open(source: Source, folder: str | None) -> tuple[OnnxGraph, Tensors]:
    """The messages of a model file, and what reads the tensors that they hold or name."""
    data = memoryview(source.read(0, source.size, "the file"))
    check_top_level(data)
    return read_model(data, source.budget), Tensors(source.budget, folder)
