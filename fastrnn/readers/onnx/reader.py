# SPDX-License-Identifier: MIT
"""Opening an ONNX file: `read_onnx` for its arrays, `describe` for the model as layers."""

from __future__ import annotations

import os

from ..containers.elements import Entry, Unreadable
from ..containers.source import Source, open_source
from ..description import Description
from ..entry_names import check_name
from ..errors import FormatError, quote
from .messages import Model, check_top_level, read_model
from .tensors import Tensors

FORMAT = "onnx"


def read_onnx(source: Source, folder: str) -> dict[str, Entry]:
    """All initializers by name, in the order of the file."""
    model, tensors = open_model(source, folder)
    entries: dict[str, Entry] = {}
    for name, record in model.graph.initializers.items():
        entries[check_name(name)] = tensors.read(record, f"tensor {quote(name)}")
    for name in model.graph.sparse:
        entries[check_name(name)] = Unreadable(f"tensor {quote(name)} is sparse: not supported")
    return entries


def describe(path: str | os.PathLike[str], *, output: str | None = None) -> Description:
    """The layers of an ONNX model, from its input to `output` (by default the one result).

    Final states that a model also gives are what the recurrent layers return beside y. Raises
    FormatError if the file is damaged and UnsupportedModel, which lists everything that is in
    the way, if a part of the model is not one of fastrnn's layers.
    """
    name = os.fspath(path)
    try:
        with open_source(name) as source:
            return describe_onnx(source, os.path.dirname(name), output)
    except FormatError as error:
        error.args = (f"{name}: {error}",)
        raise
    except MemoryError:
        raise FormatError(f"{name}: not enough memory to read this file") from None


def describe_onnx(source: Source, folder: str, output: str | None = None) -> Description:
    """The layers of the model in an open file in `folder`."""
    from .graph import describe_model

    model, tensors = open_model(source, folder)
    return Description(FORMAT, describe_model(model, tensors, output))


def open_model(source: Source, folder: str) -> tuple[Model, Tensors]:
    """The messages of a model file."""
    source.budget.spend(source.size, "the file")
    data = memoryview(source.read(0, source.size, "the file"))
    check_top_level(data)
    return read_model(data, source.budget), Tensors(source.budget, folder)
