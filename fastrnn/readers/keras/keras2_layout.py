# SPDX-License-Identifier: MIT
"""Where an .h5 file of Keras, in the form of Keras 1 and 2, keeps the variables.

Each layer of the outermost model has a group, whose attribute weight_names lists its arrays: paths
as "lstm_1/lstm_cell/kernel:0" below that group. The layers of an inner model share its group.
Attributes that are too long for HDF5 are in parts: weight_names0, weight_names1 ...
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from ..containers.hdf5 import Hdf5File
from ..entry_names import check_name
from ..errors import FormatError, quote
from .keras_config import KerasLayer
from .keras_recurrent import stacked_paths
from .keras_weights import DIRECTIONS, Owner, Variables

_WEIGHTS = "model_weights"  # the group of the weights in the file of a whole model
_OF_CELLS = "recurrent_kernel"  # an array that only the cells of recurrent layers have

# The folder of some arrays of a group, and these: the name of each, and where it is in the file.
Folders = dict[str, list[tuple[str, str]]]


def keras2_version(file: Hdf5File) -> str:
    """Return the version of Keras that wrote a file of this form; "" if it has another form."""
    root = _root(file)
    if _listed(file, root, "layer_names") is None:
        return ""
    return file.text(root, "keras_version") or "1"


def keras2_variables(file: Hdf5File, layers: Sequence[KerasLayer] = ()) -> Variables:
    """Find the variables of all layers; `layers` tells those of an inner model apart."""
    root = _root(file)
    owners: dict[str, Owner] = {}
    by_group: dict[str, list[KerasLayer]] = {}
    for layer in layers:
        by_group.setdefault(layer.group, []).append(layer)
    for group in _listed(file, root, "layer_names") or []:
        folders = _folders(file, f"{root}/{group}" if root else group)
        own = by_group.get(group, [])
        if any(layer.name != group for layer in own):
            _place_inner(owners, own, folders)
        elif folders:
            _place(owners, own[0] if own else _nameless(group), folders)
    return Variables(file, owners)


def _root(file: Hdf5File) -> str:
    """The group of the weights."""
    return _WEIGHTS if _WEIGHTS in file.nodes else ""


def _nameless(group: str) -> KerasLayer:
    """The layer of a group in a file of weights alone."""
    return KerasLayer(check_name(group), "", group, {}, group, group)


def _listed(file: Hdf5File, path: str, name: str) -> list[str] | None:
    """The texts of an attribute that may be in parts; None if there is none."""
    if path not in file.nodes:
        return None
    whole = file.texts(path, name)
    if whole is not None:
        return whole
    found: list[str] = []
    for number in count():
        part = file.texts(path, f"{name}{number}")
        if part is None:
            return found if number else None
        found += part
    return found


def _folders(file: Hdf5File, group: str) -> Folders:
    """The arrays of a group by the folders that they are in, both in order."""
    if group not in file.nodes:
        raise FormatError(f"group {quote(group)} is missing")
    folders: Folders = {}
    for name in _listed(file, group, "weight_names") or []:
        path = f"{group}/{name}"
        if path not in file.nodes:
            raise FormatError(f"array {quote(path)} is missing")
        folder, _, last = name.rpartition("/")
        folders.setdefault(folder, []).append((last.partition(":")[0], path))
    return folders


def _place(owners: dict[str, Owner], layer: KerasLayer, folders: Folders) -> None:
    """Add the owners of a layer's variables, by the paths that Keras 3 gives them."""
    cells = [any(name == _OF_CELLS for name, _ in arrays) for arrays in folders.values()]
    paths = _cell_paths(layer, folders) if all(cells) else [layer.path] * (len(folders) == 1)
    for number, (folder, arrays) in enumerate(folders.items()):
        path, name = layer.path, layer.name
        if len(paths) == len(folders):
            path = paths[number]
            name = f"{name}.{number}" if "/cell/cells/" in path else name
        else:  # an inner model or a wrapper, of which only the weights are known
            inner = folder.split(f"{layer.group}/", 1)[-1]
            path = f"{path}/{inner}{'/cell' if cells[number] else ''}"
            name = check_name(f"{name}.{inner.replace('/', '.')}")
        if path in owners:
            raise FormatError(f"the weights of {quote(name)} occur twice in the file")
        owners[path] = Owner([place for _, place in arrays], name, cells[number])


def _cell_paths(layer: KerasLayer, folders: Folders) -> list[str]:
    """The paths of the cells of a recurrent layer."""
    if len(folders) == 1:
        return [f"{layer.path}/cell"]
    if len(folders) == 2 and (layer.type == "Bidirectional" or "/backward_" in list(folders)[1]):
        return [f"{layer.path}/{direction}/cell" for direction in DIRECTIONS]
    return stacked_paths(layer) or [f"{layer.path}/cell/cells/{n}" for n in range(len(folders))]


def _place_inner(owners: dict[str, Owner], layers: Sequence[KerasLayer], folders: Folders) -> None:
    """Distribute the arrays of an inner model over its layers, whose names are in the folders."""
    names = {layer.own: layer for layer in layers}
    found: dict[str, Folders] = {}
    for folder, arrays in folders.items():
        own = [name for name in folder.split("/") if name in names]
        if len(own) != 1 or len(names) != len(layers):
            raise FormatError(f"{quote(folder)}: it is not clear which layer has these weights")
        found.setdefault(own[0], {})[folder] = arrays
    for name, own_folders in found.items():
        _place(owners, names[name], own_folders)
