# SPDX-License-Identifier: MIT
"""Variables of Keras layers with PyTorch's names, layout and gate order.

Keras transposes the matrices, orders the gates of a GRU as z r n, and has one bias where PyTorch
has two; in a GRU with reset_after this bias has two rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...stack_spec import LAYERS, cell_options
from ..containers.elements import Array, Entry, Unreadable
from ..containers.hdf5 import Hdf5File
from ..entry_names import check_name
from ..errors import FormatError, UnsupportedError, quote

Arrays = dict[str, Array]
Options = dict[str, object]

# Keras's recurrent classes: the layer of fastrnn, and the gates in Keras's order.
RECURRENT: dict[str, tuple[str, str]] = {
    "LSTM": ("LSTM", "ifgo"),
    "GRU": ("GRU", "zrn"),
    "SimpleRNN": ("RNN", "h"),
}
_BY_GATES = {len(gates): (layer, gates) for layer, gates in RECURRENT.values()}
FLOATS = ("float16", "float32", "float64")
DIRECTIONS = ("forward_layer", "backward_layer")


@dataclass
class Owner:
    """A layer or cell that has variables."""

    arrays: list[str]  # where in the file its variables are, in order
    name: str = ""  # what its weights are called: the user's names of layers
    is_cell: bool = False  # of a recurrent layer of Keras


class Variables:
    """The variables of a file by the paths of their owners, as "layers/lstm/cell" in Keras 3."""

    def __init__(self, file: Hdf5File, owners: dict[str, Owner]) -> None:
        self._file = file
        self._read: dict[str, Array] = {}  # so that none takes memory twice
        self.owners = owners

    def of(self, path: str, most: int | None = None) -> list[Array]:
        """Return the first variables of a layer or cell, or all, in order; none if it has none."""
        arrays = [self._array(place) for place in self._places(path)[:most]]
        for array in arrays:
            if array.dtype.name not in FLOATS:
                raise UnsupportedError(
                    f"{quote(path)} has elements of type {array.dtype}: not supported"
                )
        return arrays

    def entries(self, path: str) -> dict[str, Entry]:
        """Return the variables of one owner by their numbers, whatever they hold."""
        found: dict[str, Entry] = {}
        for place in self._places(path):
            try:
                found[f"vars.{len(found)}"] = self._array(place)
            except UnsupportedError as error:
                found[f"vars.{len(found)}"] = Unreadable(str(error))
        return found

    def wrapped(self, path: str) -> str:
        """Return the path of the layer in a wrapper; Keras 2 does not tell the two apart."""
        return path if path in self.owners else f"{path}/layer"

    def _array(self, place: str) -> Array:
        if place not in self._read:
            self._read[place] = self._file.array(place)
        return self._read[place]

    def _places(self, path: str) -> list[str]:
        return self.owners[path].arrays if path in self.owners else []


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


def bidirectional(variables: Variables, path: str) -> tuple[Arrays, Options]:
    """Convert both cells of a Bidirectional layer."""
    cells: list[tuple[Arrays, Options]] = []
    for direction, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
        cell_path = f"{path}/{direction}/cell"
        cells.append(recurrent(variables.of(cell_path), cell_path, suffix))
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


# --- All weights of a file


_SIMPLE: dict[str, Callable[[Sequence[Array], str], Arrays]] = {
    "dense": dense, "conv1d": conv1d, "embedding": embedding, "layer_normalization": layer_norm,
}  # fmt: skip

# From the path of a recurrent layer and the number of its cell to what the file says of it.
Said = Callable[[str, int], Options | None]


def read_weights(variables: Variables, said: Said) -> tuple[dict[str, Entry], dict[str, Options]]:
    """Return all weights by name, and the options of the recurrent layers by prefix.

    Weights of recurrent, Dense, Conv1D, Embedding and LayerNormalization layers get PyTorch's names
    and layout, with the user's name of the layer as prefix. Others keep their path and layout.
    """
    entries: dict[str, Entry] = {}
    known: dict[str, Options] = {}
    cells: Counter[str] = Counter()
    for path, owner in variables.owners.items():
        layer, direction = _recurrent_layer(variables, path)
        if direction == DIRECTIONS[1]:
            continue  # read with the forward one
        prefix, found = owner.name, _simple(variables, path)
        if layer is not None:
            if direction:
                arrays, options = bidirectional(variables, layer)
            else:
                arrays, options = recurrent(variables.of(path), path)
            options |= {"num_layers": 1, "batch_first": True, "bidirectional": bool(direction)}
            known[prefix] = said(layer, cells[layer]) or options
            cells[layer] += 1
            found = dict(arrays)
        for name, entry in found.items():
            full = check_name(f"{prefix}.{name}" if prefix else name)
            if full in entries:
                raise FormatError(f"{quote(full)} occurs twice in the file")
            entries[full] = entry
    return entries, known


def _recurrent_layer(variables: Variables, path: str) -> tuple[str | None, str]:
    """Return the layer whose cell this is, and its direction if that has two."""
    if not variables.owners[path].is_cell:
        return None, ""
    layer = path.rpartition("/cell/cells/")[0]
    if layer:
        return layer, ""
    layer = path.removesuffix("/cell")
    outer, _, direction = layer.rpartition("/")
    both = [f"{outer}/{one}/cell" in variables.owners for one in DIRECTIONS]
    if direction in DIRECTIONS and all(both):
        return outer, direction
    return layer, ""


def _simple(variables: Variables, path: str) -> dict[str, Entry]:
    convert = _SIMPLE.get(base_name(path.rpartition("/")[2]))
    if convert is not None:
        try:
            return dict(convert(variables.of(path), path))
        except FormatError:
            pass  # a layer of another kind with this name: its arrays stay as they are
    return variables.entries(path)


def base_name(part: str) -> str:
    """Return the name of a group without its counter."""
    base, _, count = part.rpartition("_")
    counter = count.isascii() and count.isdigit() and len(count) < 7
    return base if base and counter else part
