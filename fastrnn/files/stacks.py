# SPDX-License-Identifier: MIT
"""Find recurrent stacks among the arrays of a state dict, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ..layers.arrays import FLOATS
from ..readers import FormatError
from ..readers.errors import listing
from ..stack_spec import CELLS, LAYERS, Cell, Shape, Spec, parameter_names

# A layer number has at most six digits: no name in a hostile file becomes a huge integer.
_LAYER = r"(?:weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(0|[1-9][0-9]{0,5})(?:_reverse)?"
_CELL = r"(?:weight|bias)_(?:ih|hh)"
LAYER_NAME = re.compile(_LAYER)
CELL_NAME = re.compile(_CELL)
NORM_NAME = re.compile(rf"(?:{_LAYER}|{_CELL})_[gv]|parametrizations\.(?:{_LAYER}|{_CELL})\..+")
RAW_NAME = re.compile(rf"(?:{_LAYER}|{_CELL})_raw")
RECURRENT_NAMES = (LAYER_NAME, CELL_NAME, NORM_NAME, RAW_NAME)

Arrays = Mapping[str, NDArray[Any]]


_MOST_WRONG = 20  # misshapen tensors that an error lists


@dataclass(frozen=True)
class FoundStack:
    """A recurrent stack in a state dict; its tensors are named `prefix` + `weight_ih_l0` etc."""

    prefix: str  # ends with a dot, or is empty
    spec: Spec  # with the first cell that has weights of these shapes
    is_cell: bool  # the names end without _l0, as torch.nn.LSTMCell writes them

    @property
    def layers(self) -> list[str]:
        """The layer classes that have weights of these shapes, the usual one first."""
        rows = len(self.spec.declaration.gates)
        found = _cells_of(rows, self.spec.proj_size > 0)
        return list(dict.fromkeys(cell.layer for cell in found))

    def options(self) -> dict[str, int | bool]:
        """The constructor arguments that the weights tell."""
        options = self.spec._asdict()
        del options["cell"]
        if not self.spec.declaration.projects:
            del options["proj_size"]
        return options

    def shapes(self) -> dict[str, Shape]:
        """The standard names of the stack's tensors and their shapes, in PyTorch's flat order."""
        return self.spec.shapes()

    def name_in_file(self, name: str) -> str:
        """The full name in the state dict of the tensor with this standard name."""
        return name_in_file(self.prefix, self.is_cell, name)

    def __str__(self) -> str:
        spec = self.spec
        parts = [
            f"{self.layers[0]}, input {spec.input_size}, hidden {spec.hidden_size}",
            f"{spec.num_layers} layer{'s' * (spec.num_layers > 1)}",
            f"projection {spec.proj_size}" if spec.proj_size else "",
            "bidirectional" if spec.bidirectional else "",
            "" if spec.bias else "no bias",
        ]
        return ", ".join(part for part in parts if part)


# --- Finding the stacks of a state dict ---


def find_stacks(arrays: Arrays) -> list[FoundStack]:
    """Find every sound recurrent stack of a state dict, in the order of the file."""
    return [found for found in scan_stacks(arrays).values() if isinstance(found, FoundStack)]


def scan_stacks(
    arrays: Arrays, unreadable: Mapping[str, str] | None = None
) -> dict[str, FoundStack | FormatError]:
    """Map each prefix that has recurrent weights to its stack, or to what is wrong with it.

    `unreadable` names the tensors that are in the file but not in `arrays`, and says why.
    """
    unreadable = unreadable or {}
    modules: dict[str, list[str]] = {}
    for name in [*arrays, *unreadable]:
        prefix, local = split_name(name)
        modules.setdefault(prefix, []).append(local)
    found: dict[str, FoundStack | FormatError] = {}
    for prefix, own in modules.items():
        if any(pattern.fullmatch(local) for pattern in RECURRENT_NAMES for local in own):
            outer = modules.get(prefix.removesuffix("module."), [])
            try:
                refuse_unreadable(prefix, own, unreadable)
                refuse_wrapped(prefix, own, outer)
                found[prefix] = infer_stack(arrays, prefix, own)
            except FormatError as error:
                found[prefix] = error
    return found


def take_stack(arrays: Arrays, stack: FoundStack) -> dict[str, NDArray[Any]]:
    """Take a stack's tensors under their standard names, `weight_ih_l0` and so on."""
    return {name: arrays[stack.name_in_file(name)] for name in stack.shapes()}


def split_name(name: str) -> tuple[str, str]:
    """Split a tensor's name into the prefix of its module, with the dot, and the name therein."""
    path, dot, local = name.rpartition(".")
    prefix, parametrized, inner = (path + dot).rpartition("parametrizations.")
    if parametrized:  # torch.nn.utils.parametrizations: prefix.parametrizations.weight.original0
        return prefix, parametrized + inner + local
    return path + dot, local


def name_in_file(prefix: str, is_cell: bool, name: str) -> str:
    """Put a standard name under its prefix; the names of a cell lack the layer number."""
    return prefix + (name.removesuffix("_l0") if is_cell else name)


def refuse_unreadable(prefix: str, own: Sequence[str], unreadable: Mapping[str, str]) -> None:
    """Refuse a module with tensors that are in the file but could not be read."""
    for local in own:
        if prefix + local in unreadable:
            raise FormatError(unreadable[prefix + local])


def refuse_wrapped(prefix: str, own: Sequence[str], outer: Sequence[str]) -> None:
    """Refuse weights that a wrapper computes from other tensors before each call."""
    for local in own:
        if NORM_NAME.fullmatch(local):
            raise FormatError(
                f"{prefix + local!r} is part of a weight-normalised tensor, expected the plain "
                "weight: undo it before saving (torch.nn.utils.remove_weight_norm, or "
                "torch.nn.utils.parametrize.remove_parametrizations)"
            )
    for local in (*own, *outer):  # the wrapper keeps it in itself or in the wrapped module
        if RAW_NAME.fullmatch(local):
            raise FormatError(
                f"{local!r} next to {prefix!r} is the raw weight of a weight-drop wrapper "
                "(AWD-LSTM), expected a plain recurrent layer: copy it into "
                f"{local.removesuffix('_raw')!r} before saving"
            )


def infer_stack(arrays: Arrays, prefix: str, own: Sequence[str]) -> FoundStack:
    """Infer a stack from the names and shapes of the tensors in its module."""
    names, is_cell = stack_names(prefix, own)
    in_file = partial(name_in_file, prefix, is_cell)
    for name in names:
        check_tensor(in_file(name), arrays[in_file(name)])
    num_layers = count_layers(prefix, names)
    bias = any(name.startswith("bias") for name in names)
    bidirectional = any(name.endswith("_reverse") for name in names)
    projected = any(name.startswith("weight_hr") for name in names)
    wanted = parameter_names(num_layers, bidirectional, bias, int(projected))
    shapes = {name: arrays[in_file(name)].shape for name in names}
    missing = [in_file(name) for name in wanted if name not in shapes]
    if missing:
        raise FormatError(f"missing tensors of a recurrent stack: {listing(missing)}")

    cell, hidden_size, proj_size = infer_sizes(prefix, shapes)
    input_size = shapes["weight_ih_l0"][1]
    spec = Spec(cell.name, input_size, hidden_size, num_layers, bias, bidirectional, proj_size)
    stack = FoundStack(prefix, spec, is_cell)
    wrong = [
        f"{in_file(name)!r} has shape {shapes[name]}, expected {shape}"
        for name, shape in stack.shapes().items()
        if shapes[name] != shape
    ]
    if wrong:
        raise FormatError(f"misshapen tensors for {stack}: {'; '.join(wrong[:_MOST_WRONG])}")
    return stack


def stack_names(prefix: str, own: Sequence[str]) -> tuple[list[str], bool]:
    """Return the standard names of a module's weights and whether the module is a single cell."""
    layered = [local for local in own if LAYER_NAME.fullmatch(local)]
    plain = [local for local in own if CELL_NAME.fullmatch(local)]
    if layered and plain:
        raise FormatError(
            f"ambiguous tensors under {prefix!r}: {listing(plain)} as of a cell, and "
            f"{listing(layered)} as of a layer"
        )
    known = {*layered, *plain}
    alike = [local for local in own if local.startswith(("weight_", "bias_"))]
    extra = [prefix + local for local in alike if local not in known]
    if extra:
        raise FormatError(f"unexpected tensors in a recurrent stack: {listing(extra)}")
    return layered or [local + "_l0" for local in plain], not layered


def check_tensor(name: str, array: NDArray[Any]) -> None:
    """Refuse a weight that is not a matrix, a bias that is not a vector, and other dtypes."""
    dimensions = 1 if name.rpartition(".")[2].startswith("bias") else 2
    if array.ndim != dimensions or 0 in array.shape:
        raise FormatError(
            f"{name!r} has shape {array.shape}, expected {dimensions} dimension"
            f"{'s' * (dimensions > 1)}, none of size 0"
        )
    if array.dtype.name not in FLOATS:
        raise FormatError(f"{name!r} has dtype {array.dtype}, expected {' or '.join(FLOATS)}")


def count_layers(prefix: str, names: Iterable[str]) -> int:
    """Count the layers, which must be numbered from 0 without a gap."""
    matches = [LAYER_NAME.fullmatch(name) for name in names]
    layers = {int(match[1]) for match in matches if match}
    gap = next(k for k in range(len(layers) + 1) if k not in layers)
    if gap < len(layers):
        raise FormatError(
            f"missing tensors of a recurrent stack: {prefix + f'weight_ih_l{gap}'!r} "
            f"(layers up to {max(layers)} are there)"
        )
    return len(layers)


def infer_sizes(prefix: str, shapes: Mapping[str, Shape]) -> tuple[Cell, int, int]:
    """Tell the cell, hidden size and projection size (0: none) from the first layer's shapes."""
    rows, width = shapes["weight_hh_l0"]
    found = f"{prefix + 'weight_hh_l0'!r} has shape {(rows, width)}, expected"
    if "weight_hr_l0" not in shapes:
        for cell in _cells_of(rows / width, projected=False):
            return cell, width, 0
        raise FormatError(f"{found} rows that are {_usual_rows()} times the {width} columns")
    proj_size, hidden_size = shapes["weight_hr_l0"]
    projection = f"{prefix + 'weight_hr_l0'!r} has shape {(proj_size, hidden_size)}"
    if proj_size >= hidden_size:
        raise FormatError(f"{projection}, expected fewer rows (projection) than columns (hidden)")
    for cell in _cells_of(rows / hidden_size, projected=True):
        return cell, hidden_size, proj_size
    projecting = [cell for cell in CELLS.values() if cell.projects]
    layers = " or ".join(dict.fromkeys(f"an {cell.layer}" for cell in projecting))
    expected = " or ".join(str((len(c.gates) * hidden_size, proj_size)) for c in projecting)
    raise FormatError(f"{found} {expected}: only {layers} has a projection, and {projection}")


def _cells_of(gates: float, projected: bool) -> list[Cell]:
    """The cells that may have weights of so many gates, with a projection or without."""
    return [
        cell
        for cell in CELLS.values()
        if len(cell.gates) == gates and (cell.projects or not projected)
    ]


def _usual_rows() -> str:
    """The gates of each layer class, as "1 (RNN), 3 (GRU) or 4 (LSTM)"."""
    gates = sorted((len(cells[0].gates), layer) for layer, cells in LAYERS.items())
    *most, last = [f"{count} ({layer})" for count, layer in gates]
    return f"{', '.join(most)} or {last}"
