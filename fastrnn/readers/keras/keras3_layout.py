# SPDX-License-Identifier: MIT
"""Where a file of Keras 3 keeps the variables: the arrays `vars/0`, `vars/1` ... of each owner."""

from __future__ import annotations

from collections.abc import Callable

from ..containers.hdf5 import Hdf5File
from .keras_weights import Owner, Variables, base_name

_SKIPPED = ("optimizer", "seed_generator", "_metrics", "metrics")
_GROUPS = ("lstm", "gru", "simple_rnn")
_CELLS = ("lstm_cell", "gru_cell", "simple_rnn_cell")


def keras3_variables(file: Hdf5File) -> Variables:
    """Find the variables of all layers, in the order of their counters."""
    paths = [path.removesuffix("/vars") for path in file.nodes if path.endswith("/vars")]
    names = _display_names(file, paths)
    owners: dict[str, Owner] = {}
    for path in sorted(paths, key=_natural):
        arrays: list[str] = []
        while f"{path}/vars/{len(arrays)}" in file.nodes:
            arrays.append(f"{path}/vars/{len(arrays)}")
        if arrays and path.split("/")[0] not in _SKIPPED:
            is_cell = _is_cell(file, path)
            owners[path] = Owner(arrays, names(_named(path) if is_cell else path), is_cell)
    return Variables(file, owners)


def _natural(path: str) -> list[tuple[str, int]]:
    """Return a sort key by the counters in names: "lstm_2" before "lstm_10"."""
    parts = [(part, base_name(part)) for part in path.split("/")]
    return [(base, int(part[len(base) + 1 :] or 0)) for part, base in parts]


def _is_cell(file: Hdf5File, path: str) -> bool:
    """Whether a recurrent layer of Keras has this cell; its name is beside its variables."""
    *_, above, own = ["", *path.split("/")]
    label = file.text(f"{path}/vars", "name") or ""
    stacked = path.rpartition("/cell/cells/")[2] == own
    if own != "cell" and not stacked:
        return False
    return base_name(label) in _CELLS or base_name(above) in _GROUPS or base_name(own) in _CELLS


def _named(path: str) -> str:
    """The path whose name a cell's weights get: its layer's, or its own if it is one of several."""
    layer = path.removesuffix("/cell")
    outer, _, direction = layer.rpartition("/")
    return outer if direction in ("forward_layer", "backward_layer") else layer


def _display_names(file: Hdf5File, paths: list[str]) -> Callable[[str], str]:
    """Return a function that names groups: by the user's layer names if unique, else by path."""

    labels = {path: file.text(f"{path}/vars", "name") for path in paths}

    def users(path: str) -> str:
        parts, shown = path.split("/"), []
        for at, part in enumerate(parts):
            here = "/".join(parts[: at + 1])
            if part != "layers" or here in labels:
                shown.append(labels.get(here) or part)
        return ".".join(shown)

    def plain(path: str) -> str:
        return ".".join(part for part in path.split("/") if part != "layers")

    return users if len({users(path) for path in paths}) == len(paths) else plain
