# SPDX-License-Identifier: MIT
"""Keras 3 files: whole models from `.keras`, weights from `.keras` and `.weights.h5`."""

from __future__ import annotations

from ..containers.elements import Entry
from ..containers.hdf5 import Hdf5File
from ..containers.json_text import LARGEST_TEXT, parse_json
from ..containers.source import Source
from ..containers.zip_archive import ZipArchive
from ..description import DescribedLayer, Description, Obstacle, unsupported
from ..errors import FormatError, UnsupportedModel, quote
from .keras_config import read_chain
from .keras_layers import Mapper
from .keras_weights import Options, read_weights

FORMAT = "keras"

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ADVICE = (
    "Take the weights alone with fastrnn.read_state_dict(path), or one recurrent layer with "
    "fastrnn.load(path, prefix=...)."
)


def describe_keras(archive: ZipArchive, source: Source) -> Description:
    """Describe the model of an open `.keras` archive as a chain of layers; Keras is not needed.

    Raises UnsupportedModel, with a list of everything that is unsupported, if the model is not a
    chain or has layers or options that are not supported.
    """
    _check_version(archive, source)
    config = parse_json(archive.read(_CONFIG, LARGEST_TEXT), _CONFIG, source.budget)
    chain, obstacles = read_chain(config)
    mapper = Mapper(_weights(archive, source))
    for layer in chain:
        mapper.add(layer)
    mapper.finish()
    obstacles += mapper.obstacles
    if obstacles:
        raise unsupported(_in_order(obstacles, [layer.name for layer in chain]), _ADVICE)
    if not mapper.layers:
        raise UnsupportedModel(f"the model has no layers that compute anything. {_ADVICE}")
    _check_unique(mapper.layers)
    return Description(FORMAT, tuple(mapper.layers))


def read_keras_archive(
    archive: ZipArchive, source: Source
) -> tuple[dict[str, Entry], dict[str, Options]]:
    """Read the weights of a `.keras` archive by PyTorch's names, whatever the architecture."""
    _check_version(archive, source)
    return read_weights(_weights(archive, source))


def read_keras_weights(source: Source) -> tuple[dict[str, Entry], dict[str, Options]]:
    """Read the weights of a `.weights.h5` file by PyTorch's names."""
    file = Hdf5File(source.read_array(0, source.size, "HDF5 data"), source.budget)
    if "model_weights" in file.nodes:
        raise FormatError(
            "this is a Keras 2 .h5 file: not supported; load it in Keras and save it as .keras"
        )
    return read_weights(file)


def _weights(archive: ZipArchive, source: Source) -> Hdf5File:
    if _WEIGHTS not in archive.members:
        raise FormatError(
            f"member {quote(_WEIGHTS)} is missing; weights in other forms (.npz, shards) are not "
            "supported"
        )
    return Hdf5File(archive.read_array(_WEIGHTS), source.budget)


def _check_version(archive: ZipArchive, source: Source) -> None:
    metadata = parse_json(archive.read(_METADATA, LARGEST_TEXT), _METADATA, source.budget)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or version.split(".")[0] != "3":
        raise FormatError(
            "expected a file of Keras 3, got one of version "
            f"{quote(version) if isinstance(version, str) else 'unknown'}; load it and save it "
            "again with Keras 3"
        )


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
