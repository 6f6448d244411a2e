# SPDX-License-Identifier: MIT
"""Names, shapes and gate order of recurrent weights, and finding them in a state dict.

The convention is PyTorch's: gates are stacked along the rows, LSTM i f g o, GRU r z n.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .readers import FormatError

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
SHOWN = 20  # the most tensors of a file that an error names
FLOATS = ("float16", "float32", "float64")

# A layer number has at most six digits: no name in a hostile file becomes a huge integer.
_LAYER = r"(?:weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(0|[1-9][0-9]{0,5})(?:_reverse)?"
_CELL = r"(?:weight|bias)_(?:ih|hh)"
LAYER_NAME = re.compile(_LAYER)
CELL_NAME = re.compile(_CELL)
NORM_NAME = re.compile(rf"(?:{_LAYER}|{_CELL})_[gv]|parametrizations\.(?:{_LAYER}|{_CELL})\..+")
RAW_NAME = re.compile(rf"(?:{_LAYER}|{_CELL})_raw")
RECURRENT_NAMES = (LAYER_NAME, CELL_NAME, NORM_NAME, RAW_NAME)

Shape = tuple[int, ...]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Stack:
    """A recurrent stack in a state dict; its tensors are named `prefix` + `weight_ih_l0` etc."""

    prefix: str  # ends with a dot, or is empty
    cell: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    bidirectional: bool
    proj_size: int
    is_cell: bool  # the names end without _l0, as torch.nn.LSTMCell writes them

    def options(self) -> dict[str, int | bool]:
        """The constructor arguments of the layer that these weights belong to."""
        options: dict[str, int | bool] = {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "bidirectional": self.bidirectional,
        }
        return options | ({"proj_size": self.proj_size} if self.cell == "LSTM" else {})

    def shapes(self) -> dict[str, Shape]:
        """The standard names of the stack's tensors and their shapes, in PyTorch's flat order."""
        return parameter_shapes(
            self.cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.bidirectional,
            self.proj_size,
        )

    def name_in_file(self, name: str) -> str:
        """The full name in the state dict of the tensor with this standard name."""
        return name_in_file(self.prefix, self.is_cell, name)

    def __str__(self) -> str:
        parts = [
            f"{self.cell}, input {self.input_size}, hidden {self.hidden_size}",
            f"{self.num_layers} layer{'s' * (self.num_layers > 1)}",
            f"projection {self.proj_size}" if self.proj_size else "",
            "bidirectional" if self.bidirectional else "",
            "" if self.bias else "no bias",
        ]
        return ", ".join(part for part in parts if part)


def parameter_names(num_layers: int, bidirectional: bool, bias: bool, proj_size: int) -> list[str]:
    """List the names of all weights of a stack in PyTorch's flat order."""
    kinds = ["weight_ih", "weight_hh"]
    kinds += ["bias_ih", "bias_hh"] if bias else []
    kinds += ["weight_hr"] if proj_size else []
    ways = ("", "_reverse") if bidirectional else ("",)
    return [f"{kind}_l{k}{way}" for k in range(num_layers) for way in ways for kind in kinds]


def parameter_shapes(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    bidirectional: bool,
    proj_size: int,
) -> dict[str, Shape]:
    """Map the name of each weight of a stack to its shape, in PyTorch's flat order."""
    rows, width = GATES[cell] * hidden_size, proj_size or hidden_size
    below = width * (2 if bidirectional else 1)

    def shape(name: str) -> Shape:
        kind, _, place = name.rpartition("_l")
        if kind == "weight_ih":
            return (rows, input_size if place in ("0", "0_reverse") else below)
        if kind == "weight_hh":
            return (rows, width)
        return (proj_size, hidden_size) if kind == "weight_hr" else (rows,)

    names = parameter_names(num_layers, bidirectional, bias, proj_size)
    return {name: shape(name) for name in names}


# --- Finding the stacks of a state dict ---


def find_stacks(arrays: Arrays) -> list[Stack]:
    """Find every sound recurrent stack of a state dict, in the order of the file."""
    return [found for found in scan_stacks(arrays).values() if isinstance(found, Stack)]


def scan_stacks(
    arrays: Arrays, unreadable: Mapping[str, str] | None = None
) -> dict[str, Stack | FormatError]:
    """Map each prefix that has recurrent weights to its stack, or to what is wrong with it.

    `unreadable` names the tensors that are in the file but not in `arrays`, and says why.
    """
    unreadable = unreadable or {}
    modules: dict[str, list[str]] = {}
    for name in [*arrays, *unreadable]:
        prefix, local = split_name(name)
        modules.setdefault(prefix, []).append(local)
    found: dict[str, Stack | FormatError] = {}
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


def take_stack(arrays: Arrays, stack: Stack) -> dict[str, NDArray[Any]]:
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
    """Refuse a module of which some tensors are in the file but could not be read."""
    for local in own:
        if prefix + local in unreadable:
            raise FormatError(unreadable[prefix + local])


def refuse_wrapped(prefix: str, own: Sequence[str], outer: Sequence[str]) -> None:
    """Refuse weights that a wrapper computes anew from other tensors before each call."""
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
                f"{local!r} beside {prefix!r} is the raw weight of a weight-drop wrapper "
                "(AWD-LSTM), expected a plain recurrent layer: copy it into "
                f"{local.removesuffix('_raw')!r} before saving"
            )


def infer_stack(arrays: Arrays, prefix: str, own: Sequence[str]) -> Stack:
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
    stack = Stack(
        prefix, cell, input_size, hidden_size, num_layers, bias, bidirectional, proj_size, is_cell
    )
    wrong = [
        f"{in_file(name)!r} has shape {shapes[name]}, expected {shape}"
        for name, shape in stack.shapes().items()
        if shapes[name] != shape
    ]
    if wrong:
        raise FormatError(f"misshapen tensors for {stack}: {'; '.join(wrong[:SHOWN])}")
    return stack


def stack_names(prefix: str, own: Sequence[str]) -> tuple[list[str], bool]:
    """Return the standard names of a module's weights and whether the module is a single cell."""
    layered = [local for local in own if LAYER_NAME.fullmatch(local)]
    plain = [local for local in own if CELL_NAME.fullmatch(local)]
    if layered and plain:
        raise FormatError(
            f"ambiguous tensors under {prefix!r}: {listing(plain)} as of a cell beside "
            f"{listing(layered)} as of a layer"
        )
    known = {*layered, *plain}
    alike = [local for local in own if local.startswith(("weight_", "bias_"))]
    extra = [prefix + local for local in alike if local not in known]
    if extra:
        raise FormatError(f"unexpected tensors beside a recurrent stack: {listing(extra)}")
    return layered or [local + "_l0" for local in plain], not layered


def check_tensor(name: str, array: NDArray[Any]) -> None:
    """Refuse a weight that is no matrix, a bias that is no vector, and what is not real floats."""
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


def infer_sizes(prefix: str, shapes: Mapping[str, Shape]) -> tuple[str, int, int]:
    """Tell the cell, hidden size and projection size (0: none) from the first layer's shapes."""
    rows, width = shapes["weight_hh_l0"]
    if "weight_hr_l0" in shapes:
        proj_size, hidden_size = shapes["weight_hr_l0"]
        if rows != GATES["LSTM"] * hidden_size:
            raise FormatError(
                f"{prefix + 'weight_hh_l0'!r} has shape {(rows, width)}, expected "
                f"{(GATES['LSTM'] * hidden_size, proj_size)}: only an LSTM has a projection, "
                f"and {prefix + 'weight_hr_l0'!r} has shape {(proj_size, hidden_size)}"
            )
        if proj_size >= hidden_size:
            raise FormatError(
                f"{prefix + 'weight_hr_l0'!r} has shape {(proj_size, hidden_size)}, expected "
                "fewer rows (projection) than columns (hidden)"
            )
        return "LSTM", hidden_size, proj_size
    for cell, gates in GATES.items():
        if rows == gates * width:
            return cell, width, 0
    raise FormatError(
        f"{prefix + 'weight_hh_l0'!r} has shape {(rows, width)}, expected rows that are 1 (RNN), "
        f"3 (GRU) or 4 (LSTM) times the {width} columns"
    )


# --- Checking a state dict for a given layer ---


def check_state_dict(
    arrays: Mapping[str, ArrayLike], prefix: str, expected_shapes: Mapping[str, Shape]
) -> dict[str, NDArray[Any]]:
    """Take the tensors under `prefix` under their standard names, if they are what is expected.

    As strict as PyTorch: ValueError names every tensor that is missing, unexpected or misshapen,
    TypeError one that does not hold floats.
    """
    check_types(arrays, prefix)
    prefix = with_dot(prefix)
    found = {name.removeprefix(prefix) for name in arrays if name.startswith(prefix)}
    missing = [prefix + name for name in expected_shapes if name not in found]
    unexpected = [prefix + name for name in sorted(found) if name not in expected_shapes]
    taken = {
        name: as_array(prefix + name, arrays[prefix + name])
        for name in expected_shapes
        if name in found
    }
    wrong = [
        f"{prefix + name!r} has shape {array.shape}, expected {expected_shapes[name]}"
        for name, array in taken.items()
        if array.shape != expected_shapes[name]
    ]
    problems = [f"missing {listing(missing, len(missing))}"] if missing else []
    problems += [f"unexpected {listing(unexpected, len(unexpected))}"] if unexpected else []
    problems += wrong
    if problems:
        raise ValueError(f"state dict does not fit the layer: {'; '.join(problems)}")
    for name, array in taken.items():
        if array.dtype.name not in FLOATS:
            raise TypeError(
                f"{prefix + name!r} has dtype {array.dtype}, expected {' or '.join(FLOATS)}"
            )
    return taken


def check_types(arrays: object, prefix: object) -> None:
    """Refuse arguments that are no mapping of names and no name."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays: expected a mapping of names, got {type(arrays).__name__}")
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"arrays: expected names that are str, got {name!r}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected str, got {type(prefix).__name__}")


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Convert a tensor to an array; TypeError names one that numpy cannot take."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # what torch raises depends on why
        raise TypeError(
            f"{name!r}: expected an array, got {type(value).__name__} that numpy cannot convert "
            f"({error}); of a torch tensor give tensor.detach().float().cpu()"
        ) from error


def with_dot(prefix: str) -> str:
    """Give a module's prefix the dot that separates it from the names in the module."""
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


def listing(names: Iterable[str], limit: int = SHOWN) -> str:
    """Quote some names, the first `limit` of them and each cut to a readable length."""
    names = list(names)
    shown = [repr(name if len(name) <= 100 else name[:97] + "...") for name in names[:limit]]
    rest = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join(shown + rest)
