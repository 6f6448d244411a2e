# SPDX-License-Identifier: MIT
"""Find recurrent stacks among the arrays of a state dict, by their names and shapes.

The modules of PyTorch that run a recurrent stack have no tensors but its own. So whatever else is
below the path of a stack (a norm inside the cells, peepholes, an adapter) makes it another layer,
which is refused by the name of that tensor.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile
from typing import Any

from numpy.typing import NDArray

from ..layers.arrays import FLOATS
from ..readers import FormatError, ModelFile
from ..readers.containers.budget import Budget
from ..readers.containers.elements import Unreadable
from ..readers.description import INITIAL_STATES, STATES
from ..readers.errors import listing, quote
from ..readers.reparametrized import plain_tensors, split_part
from ..stack_spec import CELLS, LAYERS, MOST_LAYERS, Cell, Shape, Spec, parameter_names

# A layer number has at most six digits: no name in a hostile file becomes a huge integer.
_LAYER = r"(?:weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(0|[1-9][0-9]{0,5})(?:_reverse)?"
_CELL = r"(?:weight|bias)_(?:ih|hh)"
LAYER_NAME = re.compile(_LAYER)
CELL_NAME = re.compile(_CELL)

_MOST_WRONG = 20  # tensors that an error lists

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class FoundStack:
    """A recurrent stack in a state dict; its tensors are named `prefix` + `weight_ih_l0` etc."""

    prefix: str  # ends with a dot, or is empty
    spec: Spec  # with the first cell that has weights of these shapes
    is_cell: bool  # the names end without _l0, as torch.nn.LSTMCell writes them
    tensors: Arrays = field(compare=False, repr=False)  # by their standard names

    @property
    def cells(self) -> list[Cell]:
        """The cells that have weights of these shapes, the usual one first."""
        return _cells_of(len(self.spec.declaration.gates), self.spec.proj_size > 0)

    @property
    def layers(self) -> list[str]:
        """The layer classes that have weights of these shapes, the usual one first."""
        return list(dict.fromkeys(cell.layer for cell in self.cells))

    def options(self, layer: str) -> dict[str, Any]:
        """The constructor arguments of a layer class in `layers` that the weights tell."""
        options: dict[str, Any] = self.spec._asdict()
        del options["cell"]
        if not self.spec.declaration.projects:
            del options["proj_size"]
        first, *others = [cell.options for cell in self.cells if cell.layer == layer]
        return options | {n: v for n, v in first.items() if all(o[n] == v for o in others)}

    def shapes(self) -> dict[str, Shape]:
        """The standard names of the stack's tensors and their shapes, in PyTorch's flat order."""
        return self.spec.shapes()

    def weights(self) -> dict[str, NDArray[Any]]:
        """The stack's tensors by their standard names, in PyTorch's flat order."""
        return {name: self.tensors[name] for name in self.shapes()}

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


def scan_file(file: ModelFile) -> dict[str, FoundStack | FormatError]:
    """Map each prefix that has recurrent weights to its stack, or to what is wrong with it.

    Initial states that the file has for a stack are no tensors of it.
    """
    initial = {
        f"{module}.{state}"
        for module, said in file.recurrent.items()
        if said.get(INITIAL_STATES)
        for state in STATES
    }
    arrays = {name: array for name, array in file.arrays.items() if name not in initial}
    return scan_stacks(arrays, file.unreadable, file.budget)


def scan_stacks(
    arrays: Arrays,
    unreadable: Mapping[str, Unreadable] | None = None,
    budget: Budget | None = None,
) -> dict[str, FoundStack | FormatError]:
    """As `scan_file`, of a state dict.

    `unreadable` holds the entries of the file that are not in `arrays`. Weights that are computed
    are charged to `budget`.
    """
    unreadable = unreadable or {}
    tensors = [name for name, array in arrays.items() if array.dtype.kind in "biufc"]
    tensors += [name for name, entry in unreadable.items() if entry.is_tensor]
    in_order = sorted(tensors)
    found: dict[str, FoundStack | FormatError] = {}
    for prefix, own in recurrent_modules([*arrays, *unreadable]).items():
        try:
            refuse_others(prefix, list(own.values()), in_order, unreadable)
            found[prefix] = infer_stack(prefix, plain_tensors(prefix, own, arrays, budget))
        except FormatError as error:
            found[prefix] = error
    return found


def recurrent_modules(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The modules with recurrent weights by prefix: their names of these, and the file's.

    A weight-drop wrapper (AWD-LSTM) keeps the weights of the module in it, as
    "rnn.weight_hh_l0_raw" of "rnn.module.weight_hh_l0"; they are counted among that module's.
    """
    modules: dict[str, dict[str, str]] = {}
    for name in names:
        prefix, local = split_name(name)
        if is_recurrent(split_part(local)[0]):
            modules.setdefault(prefix, {})[local] = name
    for prefix in list(modules):
        inner = modules.get(f"{prefix}module.")
        if inner is not None and all(local.endswith("_raw") for local in modules[prefix]):
            inner |= modules.pop(prefix)
    return modules


def split_name(name: str) -> tuple[str, str]:
    """Split a tensor's name into the prefix of its module, with the dot, and the name therein."""
    path, dot, local = name.rpartition(".")
    prefix, parametrized, inner = (path + dot).rpartition("parametrizations.")
    if parametrized:  # torch.nn.utils.parametrizations: prefix.parametrizations.weight.original0
        return prefix, parametrized + inner + local
    return path + dot, local


def is_recurrent(name: str) -> bool:
    """Whether a name within a module is that of a recurrent weight or bias."""
    return bool(LAYER_NAME.fullmatch(name) or CELL_NAME.fullmatch(name))


def refuse_others(
    prefix: str, own: list[str], in_order: list[str], unreadable: Mapping[str, Unreadable]
) -> None:
    """Refuse a stack with tensors below its path that are not its own, or cannot be read.

    `in_order` holds the names of all tensors, sorted.
    """
    for name in own:
        if name in unreadable:
            raise FormatError(unreadable[name].why)
    known = set(own)
    behind = (in_order[at] for at in range(bisect_left(in_order, prefix), len(in_order)))
    inside = takewhile(lambda name: name.startswith(prefix), behind)
    others = list(islice((name for name in inside if name not in known), _MOST_WRONG))
    if others:
        raise FormatError(
            f"unexpected tensors below {quote(prefix.removesuffix('.'))}, which a recurrent stack "
            f"does not have: {listing(others)}; if they are not part of its computation, take the "
            "stack's own from fastrnn.read_state_dict, name them weight_ih_l0 and so on, and pass "
            "them to load_state_dict of a layer"
        )


def infer_stack(prefix: str, tensors: Arrays) -> FoundStack:
    """Infer a stack from the names and shapes of the tensors in its module."""
    is_cell = are_of_cell(prefix, tensors)
    standard = {name + "_l0" * is_cell: array for name, array in tensors.items()}
    in_file = partial(name_in_file, prefix, is_cell)
    for name, array in standard.items():
        check_tensor(in_file(name), array)
    num_layers = count_layers(prefix, standard)
    bias = any(name.startswith("bias") for name in standard)
    bidirectional = any(name.endswith("_reverse") for name in standard)
    projected = any(name.startswith("weight_hr") for name in standard)
    wanted = parameter_names(num_layers, bidirectional, bias, int(projected))
    missing = [in_file(name) for name in wanted if name not in standard]
    if missing:
        raise FormatError(f"missing tensors of a recurrent stack: {listing(missing)}")

    shapes = {name: array.shape for name, array in standard.items()}
    cell, hidden_size, proj_size = infer_sizes(prefix, shapes)
    input_size = shapes["weight_ih_l0"][1]
    spec = Spec(cell.name, input_size, hidden_size, num_layers, bias, bidirectional, proj_size)
    stack = FoundStack(prefix, spec, is_cell, standard)
    wrong = [
        f"{quote(in_file(name))} has shape {shapes[name]}, expected {shape}"
        for name, shape in stack.shapes().items()
        if shapes[name] != shape
    ]
    if wrong:
        raise FormatError(f"misshapen tensors for {stack}: {'; '.join(wrong[:_MOST_WRONG])}")
    return stack


def name_in_file(prefix: str, is_cell: bool, name: str) -> str:
    """Put a standard name under its prefix; the names of a cell lack the layer number."""
    return prefix + (name.removesuffix("_l0") if is_cell else name)


def are_of_cell(prefix: str, names: Iterable[str]) -> bool:
    """Whether the names are those of a single cell; FormatError if of a cell and of a layer."""
    layered = [name for name in names if LAYER_NAME.fullmatch(name)]
    plain = [name for name in names if CELL_NAME.fullmatch(name)]
    if layered and plain:
        raise FormatError(
            f"ambiguous tensors under {quote(prefix)}: {listing(plain)} as of a cell, and "
            f"{listing(layered)} as of a layer"
        )
    return not layered


def check_tensor(name: str, array: NDArray[Any]) -> None:
    """Refuse a weight that is not a matrix, a bias that is not a vector, and other dtypes."""
    dimensions = 1 if name.rpartition(".")[2].startswith("bias") else 2
    if array.ndim != dimensions or 0 in array.shape:
        raise FormatError(
            f"{quote(name)} has shape {array.shape}, expected {dimensions} dimension"
            f"{'s' * (dimensions > 1)}, none of size 0"
        )
    if array.dtype.name not in FLOATS:
        raise FormatError(f"{quote(name)} has dtype {array.dtype}, expected {' or '.join(FLOATS)}")


def count_layers(prefix: str, names: Iterable[str]) -> int:
    """Count the layers, which must be numbered from 0 without a gap."""
    matches = [LAYER_NAME.fullmatch(name) for name in names]
    layers = {int(match[1]) for match in matches if match}
    gap = next(k for k in range(len(layers) + 1) if k not in layers)
    if gap < len(layers):
        raise FormatError(
            f"missing tensors of a recurrent stack: {quote(f'{prefix}weight_ih_l{gap}')} "
            f"(layers up to {max(layers)} are there)"
        )
    if len(layers) > MOST_LAYERS:
        raise FormatError(f"expected at most {MOST_LAYERS} layers, got {len(layers)}")
    return len(layers)


def infer_sizes(prefix: str, shapes: Mapping[str, Shape]) -> tuple[Cell, int, int]:
    """Tell the cell, hidden size and projection size (0: none) from the first layer's shapes."""
    rows, width = shapes["weight_hh_l0"]
    found = f"{quote(f'{prefix}weight_hh_l0')} has shape {(rows, width)}, expected"
    if "weight_hr_l0" not in shapes:
        for cell in _cells_of(rows / width, projected=False):
            return cell, width, 0
        raise FormatError(f"{found} rows that are {_usual_rows()} times the {width} columns")
    proj_size, hidden_size = shapes["weight_hr_l0"]
    projection = f"{quote(f'{prefix}weight_hr_l0')} has shape {(proj_size, hidden_size)}"
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
