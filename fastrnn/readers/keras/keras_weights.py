# SPDX-License-Identifier: MIT
"""Variables of Keras layers with PyTorch's names, layout and gate order.

Keras transposes the matrices, orders the gates of a GRU as z r n, and has one bias where PyTorch
has two; in a GRU with reset_after this bias has two rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...stack_spec import LAYERS, cell_options
from ..containers.elements import Array, Entry, Unreadable
from ..containers.hdf5 import Hdf5File
from ..entry_names import check_name
from ..errors import FormatError, UnsupportedError, quote

Arrays = dict[str, Array]
Options = dict[str, object]

# Keras's recurrent classes: the layer of fastrnn, the gates in Keras's order, the group's name.
RECURRENT: dict[str, tuple[str, str, str]] = {
    "LSTM": ("LSTM", "ifgo", "lstm"),
    "GRU": ("GRU", "zrn", "gru"),
    "SimpleRNN": ("RNN", "h", "simple_rnn"),
}
_BY_GATES = {len(gates): (layer, gates) for layer, gates, _ in RECURRENT.values()}
FLOATS = ("float16", "float32", "float64")
_SKIPPED = ("optimizer", "seed_generator", "_metrics", "metrics")


def variables(file: Hdf5File, path: str) -> list[Array]:
    """Return the variables of one layer or cell, in order."""
    found: list[Array] = []
    while f"{path}/vars/{len(found)}" in file.nodes:
        found.append(_floats(file.array(f"{path}/vars/{len(found)}"), path))
    return found


def _floats(array: Array, path: str) -> Array:
    if array.dtype.name not in FLOATS:
        raise UnsupportedError(f"{quote(path)} has elements of type {array.dtype}: not supported")
    return array


def _expect(arrays: Sequence[Array], dimensions: Sequence[int], path: str) -> None:
    if [array.ndim for array in arrays] != list(dimensions):
        shapes = ", ".join(str(array.shape) for array in arrays) or "none"
        raise FormatError(
            f"{quote(path)}: expected arrays of {', '.join(map(str, dimensions))} dimensions, "
            f"got {shapes}"
        )


def _transposed(array: Array) -> Array:
    return np.ascontiguousarray(array.T)


def recurrent(arrays: Sequence[Array], path: str, suffix: str = "") -> tuple[Arrays, Options]:
    """Convert a cell's kernel, recurrent kernel and bias; return these and the layer's options."""
    if len(arrays) not in (2, 3) or [a.ndim for a in arrays[:2]] != [2, 2]:
        _expect(arrays, (2, 2, 1), path)
    kernel, recurrent_kernel, *bias = arrays
    hidden, columns = recurrent_kernel.shape
    layer, gates = _BY_GATES.get(columns // hidden if hidden else 0, ("", ""))
    fits = gates and columns == hidden * len(gates) == kernel.shape[1]
    if not fits or not kernel.shape[0]:
        raise FormatError(
            f"{quote(path)}: expected kernels of an LSTM, a GRU or a simple RNN, got shapes "
            f"{kernel.shape} and {recurrent_kernel.shape}"
        )
    options: Options = {
        "cell": layer, "input_size": kernel.shape[0], "hidden_size": hidden, "bias": bool(bias),
    }  # fmt: skip
    found = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T}
    if bias:
        two = bias[0].ndim == 2 and "reset_after" in cell_options(layer)
        if bias[0].shape != ((2, columns) if two else (columns,)):
            raise FormatError(
                f"{quote(path)}: bias: expected {columns} columns, got shape {bias[0].shape}"
            )
        found["bias_ih"] = bias[0][0] if two else bias[0]
        found["bias_hh"] = bias[0][1] if two else np.zeros_like(bias[0])
        if "reset_after" in cell_options(layer):
            options["reset_after"] = two
    order = [gates.index(gate) for gate in LAYERS[layer][0].gates]
    rows = np.arange(columns).reshape(-1, hidden)[order].ravel()
    named = {f"{name}_l0{suffix}": np.ascontiguousarray(a[rows]) for name, a in found.items()}
    return named, options


def bidirectional(file: Hdf5File, path: str) -> tuple[Arrays, Options]:
    """Convert both cells of a Bidirectional layer."""
    cells: list[tuple[Arrays, Options]] = []
    for direction, suffix in zip(_DIRECTIONS, ("", "_reverse"), strict=True):
        cell_path = f"{path}/{direction}/cell"
        cells.append(recurrent(variables(file, cell_path), cell_path, suffix))
    (forward, options), (backward, others) = cells
    if options != others:
        raise FormatError(f"{quote(path)}: the two directions differ: {options} and {others}")
    return forward | backward, options


def dense(arrays: Sequence[Array], path: str) -> Arrays:
    """Convert kernel and bias of a Dense layer."""
    _expect(arrays, (2, 1)[: max(1, len(arrays))], path)
    return _with_bias(_transposed(arrays[0]), arrays[1:], path)


def conv1d(arrays: Sequence[Array], path: str) -> Arrays:
    """Convert kernel [steps][in][out] and bias of a Conv1D layer."""
    _expect(arrays, (3, 1)[: max(1, len(arrays))], path)
    return _with_bias(_transposed(arrays[0]), arrays[1:], path)


def _with_bias(weight: Array, bias: Sequence[Array], path: str) -> Arrays:
    if bias and bias[0].shape != weight.shape[:1]:
        raise FormatError(
            f"{quote(path)}: bias: expected {weight.shape[0]} values, got {bias[0].size}"
        )
    return {"weight": weight} | ({"bias": bias[0]} if bias else {})


def embedding(arrays: Sequence[Array], path: str) -> Arrays:
    """Convert the table of an Embedding layer."""
    _expect(arrays, (2,), path)
    return {"weight": arrays[0]}


def layer_norm(arrays: Sequence[Array], path: str) -> Arrays:
    """Convert gamma and beta of a LayerNormalization that has both."""
    _expect(arrays, (1, 1), path)
    if arrays[0].shape != arrays[1].shape:
        raise FormatError(f"{quote(path)}: gamma and beta differ in length")
    return {"weight": arrays[0], "bias": arrays[1]}


# --- A file of weights alone


_SIMPLE: dict[str, Callable[[Sequence[Array], str], Arrays]] = {
    "dense": dense, "conv1d": conv1d, "embedding": embedding, "layer_normalization": layer_norm,
}  # fmt: skip
_GROUPS = [group for _, _, group in RECURRENT.values()]
_CELLS = [f"{group}_cell" for group in _GROUPS]
_DIRECTIONS = ("forward_layer", "backward_layer")


def read_weights(file: Hdf5File) -> tuple[dict[str, Entry], dict[str, Options]]:
    """Return all weights by name, and the options of the recurrent layers by prefix.

    Weights of recurrent, Dense, Conv1D, Embedding and LayerNormalization layers get PyTorch's names
    and layout, with the user's name of the layer as prefix. Others keep their path and layout.
    """
    owners = [path.removesuffix("/vars") for path in file.nodes if path.endswith("/vars")]
    owners = [path for path in owners if f"{path}/vars/0" in file.nodes]
    owners = [path for path in owners if path.split("/")[0] not in _SKIPPED]
    names = _display_names(file)
    entries: dict[str, Entry] = {}
    known: dict[str, Options] = {}
    for owner in sorted(owners, key=_natural):
        layer, direction = _recurrent_layer(file, owner)
        if direction == "backward_layer":
            continue  # read with the forward one
        if layer is not None:
            prefix = names(layer)
            if direction:
                arrays, options = bidirectional(file, layer)
            else:
                arrays, options = recurrent(variables(file, owner), owner)
            options |= {"num_layers": 1, "batch_first": True, "bidirectional": bool(direction)}
            known[prefix] = options
            found: dict[str, Entry] = dict(arrays)
        else:
            prefix, found = names(owner), _simple(file, owner)
        for name, entry in found.items():
            full = check_name(f"{prefix}.{name}" if prefix else name)
            if full in entries:
                raise FormatError(f"{quote(full)} occurs twice in the file")
            entries[full] = entry
    return entries, known


def _natural(path: str) -> list[tuple[str, int]]:
    """Return a sort key by the counters in names: "lstm_2" before "lstm_10"."""
    return [(_base(part), int(part[len(_base(part)) + 1 :] or 0)) for part in path.split("/")]


def _base(part: str) -> str:
    """Return the name of a group without its counter."""
    base, _, count = part.rpartition("_")
    counter = count.isascii() and count.isdigit() and len(count) < 7
    return base if base and counter else part


def _recurrent_layer(file: Hdf5File, owner: str) -> tuple[str | None, str]:
    """Return the layer whose cell this is, and its direction if the layer is Bidirectional."""
    parts = owner.split("/")
    if parts[-1] != "cell" or len(parts) < 2:
        return None, ""
    cell = file.nodes[f"{owner}/vars"].attributes.get("name", "")
    if parts[-2] in _DIRECTIONS:
        layer = "/".join(parts[:-2])
        if all(f"{layer}/{direction}/cell/vars/0" in file.nodes for direction in _DIRECTIONS):
            return layer, parts[-2]
    if _base(cell) in _CELLS or _base(parts[-2]) in _GROUPS:
        return "/".join(parts[:-1]), ""
    return None, ""


def _simple(file: Hdf5File, owner: str) -> dict[str, Entry]:
    convert = _SIMPLE.get(_base(owner.rpartition("/")[2]))
    if convert is not None:
        try:
            return dict(convert(variables(file, owner), owner))
        except FormatError:
            pass  # a layer of another kind with this name: its arrays stay as they are
    found: dict[str, Entry] = {}
    while (path := f"{owner}/vars/{len(found)}") in file.nodes:
        try:
            found[f"vars.{len(found)}"] = file.array(path)
        except UnsupportedError as error:
            found[f"vars.{len(found)}"] = Unreadable(str(error))
    return found


def _display_names(file: Hdf5File) -> Callable[[str], str]:
    """Return a function that names groups: by the user's layer names if unique, else by path."""

    def users(path: str) -> str:
        parts, shown = path.split("/"), []
        for at, part in enumerate(parts):
            here = file.nodes.get("/".join([*parts[: at + 1], "vars"]))
            if part != "layers" or here is not None:
                shown.append((here.attributes.get("name") if here else None) or part)
        return ".".join(shown)

    def plain(path: str) -> str:
        return ".".join(part for part in path.split("/") if part != "layers")

    groups = [path.removesuffix("/vars") for path in file.nodes if path.endswith("/vars")]
    unique = len({users(path) for path in groups}) == len(groups)
    return users if unique else plain
