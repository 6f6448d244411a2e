# SPDX-License-Identifier: MIT
"""Packed weights of a module, packed again when its tensors are replaced or their values change.

PyTorch counts the in-place changes of a tensor (`_version`), but not those made through `.data`, a
numpy view or another process's shared memory. So the values are compared, too: all of them before a
pass that is long enough to hide the time, else some of every tensor.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from .. import _core
from ..layers.checks import default_isa
from ..layers.packing import fill_stack, new_stack
from ..stack_spec import Shape, Spec

# Rows (steps times batch) from which comparing every weight costs less than 2 % of the pass: it
# reads 4 bytes for each weight, while the pass does two floating-point operations for each row.
_LONG = 256
_SAMPLE = 64  # values compared in each large tensor before a short pass
_SMALL = 4096  # values of a tensor that is always compared whole, as biases are
# Columns in which pairs of values are summed. A prime: it is noticed when rows, gates or units are
# swapped, unless they are a multiple of this many pairs apart.
_COLUMNS = 509

ALIGNMENT = 64  # of a tape's parts in the core, and of the memory of a new tensor

_Kind = tuple[Spec, bool, str]  # of a packed model: sizes, for training, instruction set


class PackedWeights:
    """The packed weights of one module; any number of threads may ask for them."""

    def __init__(self) -> None:
        self.handle = random.getrandbits(62)  # by which an operator finds this object
        self._found: _Contents | None = None
        self._stacks = _core.Spare()
        self._tapes = _core.Spare()
        _by_handle[self.handle] = self

    def model(
        self, spec: Spec, weights: Sequence[Tensor], training: bool, rows: int
    ) -> _core.Stack:
        """Return these weights as the kernels take them; `rows` is steps times batch."""
        found = self._found
        if found is None or not found.current(spec, weights, training, rows >= _LONG):
            kind = (spec, training, default_isa())
            self._found = found = None  # gives the memory back, unless another pass runs in it
            self._found = found = _Contents(kind, weights, self._stacks, rows >= _LONG)
        return found.model

    def tape(self, size: int) -> Tensor:
        """Memory of so many bytes for a pass, used again when no tensor has it any more."""
        return torch.frombuffer(_core.Lease(self._tapes, size), dtype=torch.uint8)

    def forget_tapes(self) -> None:
        """Free memory that passes without gradients do not need."""
        self._tapes = _core.Spare()

    def __reduce__(self) -> Any:
        return PackedWeights, ()  # a copy packs for itself


class _Contents:
    """A packed model and the tensors that it was packed from."""

    def __init__(
        self, kind: _Kind, weights: Sequence[Tensor], home: _core.Spare, thorough: bool
    ) -> None:
        arrays = [np.require(w.detach().contiguous().numpy(force=True), None, "A") for w in weights]
        self.model = _pack(kind, arrays, home)
        self.spec, self.training, _ = kind
        # Tensors that share memory with the weights: while they live, no other tensor gets it.
        self.aliases = [w.detach() for w in weights]
        self.marks = _marks(weights)
        self.in_place = all(alias.is_contiguous() for alias in self.aliases)
        self.flat = [_flat(alias) for alias in self.aliases]
        self.samples = [
            flat if flat.size <= _SMALL else flat[:: flat.size // _SAMPLE] for flat in self.flat
        ]
        self.sampled = [sample.tobytes() for sample in self.samples]
        self.sums = [_sums(flat) for flat in self.flat] if thorough else None

    def current(
        self, spec: Spec, weights: Sequence[Tensor], training: bool, thorough: bool
    ) -> bool:
        """Whether packing these weights again would change nothing."""
        if spec != self.spec or (training and not self.training) or not self.in_place:
            return False
        if _marks(weights) != self.marks:
            return False
        if not thorough:
            return [sample.tobytes() for sample in self.samples] == self.sampled
        return self.sums is not None and [_sums(flat) for flat in self.flat] == self.sums


def _marks(weights: Sequence[Tensor]) -> list[tuple[int, tuple[int, ...], int]]:
    """Where tensors lie, and how often they were changed in place as far as PyTorch counts."""
    try:
        return [(w.data_ptr(), w.stride(), w._version) for w in weights]
    except RuntimeError:  # inference tensors: nothing is counted
        return [(w.data_ptr(), w.stride(), 0) for w in weights]


def _flat(alias: Tensor) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the values of a tensor as integers, in its own memory if they are contiguous."""
    return alias.numpy(force=True).reshape(-1).view(np.uint32)


def _sums(flat: np.ndarray[Any, np.dtype[np.uint32]]) -> bytes:
    """Sum columns of values as 64-bit integers, modulo 2^64, so that NaN and -0 count, too."""
    whole = 0 if flat.size <= _SMALL else flat.size // (2 * _COLUMNS) * (2 * _COLUMNS)
    table = flat[:whole].view(np.uint64).reshape(-1, _COLUMNS)
    return table.sum(axis=0, dtype=np.uint64).tobytes() + flat[whole:].tobytes()


@cache
def _shapes(spec: Spec) -> tuple[tuple[str, Shape], ...]:
    return tuple(spec.shapes().items())


def _pack(kind: _Kind, arrays: Sequence[np.ndarray[Any, Any]], home: _core.Spare) -> _core.Stack:
    spec, training, isa = kind
    for (name, shape), array in zip(_shapes(spec), arrays, strict=True):
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(
                f"{name}: expected float32 of shape {shape}, got {array.dtype} {array.shape}"
            )
    model = new_stack(spec, isa, training, home)
    fill_stack(model, spec, arrays)
    return model


# --- Finding packed weights in an operator, whose arguments can only be numbers and tensors ---

_by_handle: WeakValueDictionary[int, PackedWeights] = WeakValueDictionary()
_strangers: OrderedDict[int, PackedWeights] = OrderedDict()
_MOST_STRANGERS = 16


def by_handle(handle: int) -> PackedWeights:
    """Return the packed weights of a module; new ones if it is not here (torch.export)."""
    found = _by_handle.get(handle)
    if found is None:
        found = _by_handle[handle] = _strangers[handle] = PackedWeights()
        while len(_strangers) > _MOST_STRANGERS:
            _strangers.popitem(last=False)
    return found
