# SPDX-License-Identifier: MIT
"""Keras files: `.keras` of Keras 3, and HDF5 of every version, with a whole model or weights."""

from __future__ import annotations

from ..containers.elements import Entry
from ..containers.hdf5 import Hdf5File
from ..containers.json_text import LARGEST_TEXT, parse_json
from ..containers.source import Source
from ..containers.zip_archive import ZipArchive
from ..description import DescribedLayer, Description, Obstacle, unsupported
from ..errors import FormatError, OnlyWeights, UnsupportedModel, quote
from .keras2_layout import keras2_variables, keras2_version
from .keras3_layout import keras3_variables
from .keras_config import Chain, KerasLayer, read_chain, read_object
from .keras_layers import translate
from .keras_recurrent import CLASSES, read_alone
from .keras_weights import Options, Said, Variables, read_weights

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_SIGMOID_SINCE = (2, 3)  # the version whose LSTM and GRU got recurrent_activation "sigmoid"
_ADVICE = (
    "fastrnn.read_state_dict(path) returns all weights by name, fastrnn.load(path, prefix=...) one "
    "recurrent layer"
)


def describe_keras(archive: ZipArchive, source: Source) -> Description:
    """Describe the model of an open `.keras` archive as a chain of layers; Keras is not needed.

    Raises UnsupportedModel, with a list of everything that is unsupported, if the model is not a
    chain or has layers or options that are not supported.
    """
    return _described("keras", *_opened(archive, source))


def read_keras_archive(
    archive: ZipArchive, source: Source
) -> tuple[dict[str, Entry], dict[str, Options]]:
    """Read the weights of a `.keras` archive by PyTorch's names, whatever the architecture."""
    chain, variables = _opened(archive, source)
    return read_weights(variables, _said(chain, variables))


def describe_keras_h5(source: Source) -> Description:
    """Describe the model of an `.h5` file; OnlyWeights if it holds none."""
    chain, variables = _opened_h5(_open_h5(source), source)
    if chain is None:
        raise OnlyWeights
    return _described("keras h5", chain, variables)


def read_keras_h5(source: Source) -> tuple[dict[str, Entry], dict[str, Options]]:
    """Read the weights of an HDF5 file of any version of Keras by PyTorch's names."""
    file = _open_h5(source)
    chain, variables = _opened_h5(file, source)
    if chain is None:
        return read_weights(variables, _said_by_version(keras2_version(file)))
    return read_weights(variables, _said(chain, variables))


def _described(format: str, chain: Chain, variables: Variables) -> Description:
    layers, found = translate(chain, variables)
    obstacles = chain.obstacles + found
    if obstacles:
        raise unsupported(_in_order(obstacles, [layer.name for layer in chain.layers]), _ADVICE)
    if not layers:
        raise UnsupportedModel(f"the model has no layers that compute anything; {_ADVICE}")
    _check_unique(layers)
    return Description(format, tuple(layers))


def _said(chain: Chain, variables: Variables) -> Said:
    """What the config says of a recurrent layer at a path, as a layer by itself."""
    layers = {layer.path: layer for layer in chain.layers}
    for layer in chain.layers:
        if layer.type == "TimeDistributed":
            kind, config = read_object(layer.config.get("layer"), quote(layer.name))
            path = variables.wrapped(layer.path)
            layers[path] = KerasLayer(layer.name, kind, path, config)

    read: dict[str, list[Options]] = {}

    def said(path: str, number: int) -> Options | None:
        if path not in layers:
            return None
        layer = layers[path]
        if layer.type not in CLASSES:
            return {"unsupported": f"{quote(layer.name)}: its class is {quote(layer.type)}"}
        if path not in read:
            read[path] = read_alone(layer, variables)
        return read[path][min(number, len(read[path]) - 1)]

    return said


def _said_by_version(version: str) -> Said:
    """What is known of a recurrent layer in an HDF5 file of weights alone: only its version."""
    numbers = _numbers(version)
    if numbers is None or numbers >= _SIGMOID_SINCE:
        return lambda path, number: None
    why = (
        f"the file does not tell its recurrent_activation, in Keras {quote(version)[1:-1]} by "
        "default 'hard_sigmoid', which is not supported; if it is 'sigmoid', take the weights "
        "with fastrnn.read_state_dict(path) and load_state_dict()"
    )
    return lambda path, number: {"unsupported": f"{quote(path)}: {why}"}


def _numbers(version: str) -> tuple[int, int] | None:
    """The first two numbers of a version; None if it does not begin with two."""
    words = version.split(".", 2)[:2]
    if len(words) < 2 or not all(word.isdecimal() and len(word) < 5 for word in words):
        return None
    return int(words[0]), int(words[1])


# --- Opening files


def _opened(archive: ZipArchive, source: Source) -> tuple[Chain, Variables]:
    metadata = parse_json(archive.read(_METADATA, LARGEST_TEXT), _METADATA, source.budget)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or version.split(".")[0] != "3":
        raise FormatError(
            "expected a file of Keras 3, got one of version "
            f"{quote(version) if isinstance(version, str) else 'unknown'}; load it and save it "
            "again with Keras 3"
        )
    chain = read_chain(parse_json(archive.read(_CONFIG, LARGEST_TEXT), _CONFIG, source.budget))
    if _WEIGHTS not in archive.members:
        raise FormatError(
            f"member {quote(_WEIGHTS)} is missing; weights in other forms (.npz, shards) are not "
            "supported"
        )
    file = Hdf5File(archive.read_array(_WEIGHTS), source.budget)
    return chain, keras3_variables(file)


def _open_h5(source: Source) -> Hdf5File:
    return Hdf5File(source.read_array(0, source.size, "HDF5 data"), source.budget)


def _opened_h5(file: Hdf5File, source: Source) -> tuple[Chain | None, Variables]:
    version = keras2_version(file)
    if not version:
        return None, keras3_variables(file)
    if version.startswith("1"):
        raise FormatError(
            "a file of Keras 1 is not supported; load it in Keras 2 and save it again"
        )
    config = file.text("", "model_config")
    if config is None:
        return None, keras2_variables(file)
    chain = read_chain(parse_json(config.encode(), "model_config", source.budget))
    numbers = _numbers(version)
    if numbers is None:
        raise FormatError(f"the version of Keras is {quote(version)}")
    chain.version = numbers
    return chain, keras2_variables(file, chain.layers)


def _in_order(obstacles: list[Obstacle], names: list[str]) -> list[Obstacle]:
    """Sort by the order of the model; what belongs to no layer comes first."""
    places = {name: place for place, name in enumerate(names)}
    return sorted(obstacles, key=lambda obstacle: places.get(obstacle.name, -1))


def _check_unique(layers: list[DescribedLayer]) -> None:
    seen: set[str] = set()
    for layer in layers:
        if layer.name in seen:
            raise FormatError(f"layer {quote(layer.name)} occurs twice in the model")
        seen.add(layer.name)
