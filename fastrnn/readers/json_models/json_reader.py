# SPDX-License-Identifier: MIT
"""JSON texts that hold a model (GuitarML, NAM, RTNeural), a state dict, or an index of shards."""

from __future__ import annotations

from collections.abc import Iterator

from ..containers.budget import Budget
from ..containers.elements import Entry, Unreadable
from ..containers.json_text import LARGEST_TEXT, parse_json
from ..containers.source import Source
from ..description import Description, RecurrentOptions, flattened
from ..entry_names import check_name
from ..errors import FormatError, OnlyWeights, quote
from .audio_json import describe_guitarml, describe_nam
from .json_values import Object, nested
from .rtneural_json import describe_rtneural
from .safetensors_index import WEIGHT_MAP, read_shards

_WHAT = "the JSON text"
_PATH_BYTES = 128  # of a path as a Python object, beside its characters
_BYTES_OF_NUMBER = 32  # of an element of an array and of the lists on the way to it


def describe_json(source: Source) -> Description:
    """Describe the model of an open file; values are [batch][steps][channels].

    OnlyWeights if it is a state dict or an index of one, UnsupportedModel for another architecture
    (WaveNet, ConvNet), FormatError if the file is damaged or of another kind.
    """
    model = _parsed(source)
    description = _described(model)
    if description is None:
        if WEIGHT_MAP not in model:
            _state_dict(model, source)  # FormatError if it is none
        raise OnlyWeights(_WHAT)
    return description


def read_json(source: Source, folder: str | None) -> tuple[dict[str, Entry], RecurrentOptions]:
    """The arrays by name, and the options of recurrent layers, if the file has them.

    `folder` is that of the file, where the shards of an index are.
    """
    model = _parsed(source)
    description = _described(model)
    if description is not None:
        return flattened(description)
    is_index = WEIGHT_MAP in model
    return read_shards(model, source, folder) if is_index else _state_dict(model, source), {}


def _parsed(source: Source) -> Object:
    if source.size > LARGEST_TEXT:
        raise FormatError(f"{_WHAT} has {source.size} bytes, at most {LARGEST_TEXT} are read")
    model = parse_json(source.read(0, source.size, _WHAT), _WHAT, source.budget)
    return model if isinstance(model, dict) else {}


def _described(model: Object) -> Description | None:
    """The model, None if it is of no known kind."""
    if "model_data" in model and "state_dict" in model:
        return describe_guitarml(model)
    if "architecture" in model and "config" in model:
        return describe_nam(model)
    if "in_shape" in model and "layers" in model:
        return describe_rtneural(model)
    return None


def _state_dict(model: Object, source: Source) -> dict[str, Entry]:
    """The arrays of a state dict, as lists of numbers by name, also in objects of objects."""
    entries: dict[str, Entry] = {}
    for name, value in _leaves(model, source.budget):
        what = f"tensor {quote(check_name(name))}"
        try:
            array = nested(value, what)
            source.budget.spend(_BYTES_OF_NUMBER * array.size, what)
            entries[name] = array
        except FormatError as error:
            entries[name] = Unreadable(str(error))
    if not any("weight" in name.rpartition(".")[2] for name in entries):
        raise FormatError(
            "a JSON text that holds no known model (GuitarML, NAM, RTNeural) and no state dict"
        )
    return entries


def _leaves(model: Object, budget: Budget) -> Iterator[tuple[str, object]]:
    """What may be a tensor by its dotted name: a list with numbers in it, or a fraction."""
    pending: list[tuple[str, object]] = [("", model)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            # Each of them gets a path of its own, which the text does not hold.
            budget.spend(sum(len(path) + len(name) + _PATH_BYTES for name in value), _WHAT)
            below = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
            pending += reversed(below)
            continue
        inner = value
        while isinstance(inner, list) and inner:
            inner = inner[0]
        if type(inner) is float or (type(inner) is int and isinstance(value, list)):
            yield path, value
