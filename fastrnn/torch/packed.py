# SPDX-License-Identifier: MIT
"""Packed weights of a module, made again when its tensors are others or hold other numbers.

PyTorch counts the in-place changes of a tensor (`_version`), but not those made through `.data`, a
numpy view or another process's shared memory. So the numbers are looked at, too: all of them where
the pass is long enough to hide it, else some of every tensor.
"""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from .. import _core
from ..layers.checks import default_isa
from ..stack_spec import parameter_names
from .spec import Spec, by_place, weight_shapes

# Rows (steps times batch) from which a look at every weight costs less than 2 % of the pass: it
# reads 4 bytes for each weight, where the pass does two floating-point operations for each row.
_LONG = 256
_SAMPLE = 64  # numbers looked at in each large tensor when the pass is short
_SMALL = 4096  # numbers of a tensor that is looked at whole, as biases are
# Columns in which pairs of numbers are summed. A prime: rows, gates or units that change places are
# seen, unless they move by a multiple of this many pairs.
_COLUMNS = 509

ALIGNMENT = 64  # of a tape's parts in the core, and of the memory of a new tensor
_MINE = 2  # what getrefcount says of what only a local variable and its own argument refer to

_Kind = tuple[Spec, bool, str]  # of a packed model: sizes, for training, instruction set


class PackedWeights:
    """The packed weights of one module; any number of threads may ask for them."""

    def __init__(self) -> None:
        self.handle = random.getrandbits(62)  # by which an operator finds it again
        self._found: _Contents | None = None
        # What was used before and may be used again once nobody else has it. Only pop() and
        # append(), which threads cannot interrupt.
        self._old_stacks: list[tuple[_Kind, _core.Stack]] = []
        self._old_tapes: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        _by_handle[self.handle] = self

    def model(
        self, spec: Spec, weights: Sequence[Tensor], training: bool, rows: int
    ) -> _core.Stack:
        """Return these weights as the kernels want them; `rows` is steps times batch."""
        found = self._found
        if found is None or not found.current(spec, weights, training, rows >= _LONG):
            kind = (spec, training, default_isa())
            self._found = None
            if found is not None:
                self._old_stacks.append((found.kind, found.model))
                del found
            self._found = found = _Contents(kind, weights, self._unused_stack(kind), rows >= _LONG)
        return found.model

    def _unused_stack(self, kind: _Kind) -> _core.Stack | None:
        """One of this kind, to be packed anew in its memory, while an optimizer changes weights."""
        while self._old_stacks:
            with suppress(IndexError):  # another thread has taken it
                old, stack = self._old_stacks.pop()
                if old == kind and sys.getrefcount(stack) == _MINE:
                    return stack
        return None

    def tape(self, size: int) -> Tensor:
        """Memory of so many bytes for a pass; that of an earlier one whose tensor is gone."""
        with suppress(IndexError):
            bytes_ = self._old_tapes.pop()
            if len(bytes_) >= size + ALIGNMENT and sys.getrefcount(bytes_) == _MINE:
                return self._tape_in(bytes_, size)
            del bytes_
        return self._tape_in(np.empty(size + ALIGNMENT, np.uint8), size)

    def _tape_in(self, bytes_: np.ndarray[Any, np.dtype[np.uint8]], size: int) -> Tensor:
        first = -bytes_.ctypes.data % ALIGNMENT
        tape = torch.from_numpy(bytes_[first : first + size])  # keeps bytes_
        self._old_tapes.append(bytes_)
        return tape

    def forget_tapes(self) -> None:
        """Give back memory that passes without gradients do not need."""
        self._old_tapes.clear()

    def __reduce__(self) -> Any:
        return PackedWeights, ()  # a copy packs for itself


class _Contents:
    """A packed model and what it was made from."""

    def __init__(
        self, kind: _Kind, weights: Sequence[Tensor], unused: _core.Stack | None, thorough: bool
    ) -> None:
        arrays = [w.detach().contiguous().numpy(force=True) for w in weights]
        self.model = _pack(kind, arrays, unused)
        self.kind = kind
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
        """Whether packing these weights again would give the same."""
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
    """Return the numbers of a tensor as integers, in its own memory where they are contiguous."""
    return alias.numpy(force=True).reshape(-1).view(np.uint32)


def _sums(flat: np.ndarray[Any, np.dtype[np.uint32]]) -> bytes:
    """Sum columns of numbers as 64-bit integers, modulo 2^64: NaN and -0 are nothing special."""
    whole = 0 if flat.size <= _SMALL else flat.size // (2 * _COLUMNS) * (2 * _COLUMNS)
    table = flat[:whole].view(np.uint64).reshape(-1, _COLUMNS)
    return table.sum(axis=0, dtype=np.uint64).tobytes() + flat[whole:].tobytes()


def _pack(
    kind: _Kind, arrays: Sequence[np.ndarray[Any, Any]], unused: _core.Stack | None
) -> _core.Stack:
    """Pack into a stack that nobody uses, where there is one."""
    spec, training, isa = kind
    shapes = weight_shapes(spec)
    for index, array in enumerate(arrays):
        if array.shape != shapes[index] or array.dtype != np.float32:
            name = parameter_names(spec.num_layers, spec.bidirectional, spec.bias, spec.proj_size)
            raise ValueError(
                f"{name[index]}: expected float32 of shape {shapes[index]}, "
                f"got {array.dtype} {array.shape}"
            )
    model = unused or _core.Stack(
        spec.cell,
        spec.input_size,
        spec.hidden_size,
        spec.num_layers,
        spec.bidirectional,
        spec.proj_size,
        isa,
        training,
    )
    for place, own in enumerate(by_place(spec, arrays)):
        model.set_weights(*divmod(place, spec.directions), *own)
    return model


# --- Finding packed weights from within an operator, whose arguments are numbers and tensors ---

_by_handle: WeakValueDictionary[int, PackedWeights] = WeakValueDictionary()
_strangers: OrderedDict[int, PackedWeights] = OrderedDict()
_MOST_STRANGERS = 16


def by_handle(handle: int) -> PackedWeights:
    """Return those of a module; of a module that is elsewhere (torch.export), new ones."""
    found = _by_handle.get(handle)
    if found is None:
        found = _by_handle[handle] = _strangers[handle] = PackedWeights()
        while len(_strangers) > _MOST_STRANGERS:
            _strangers.popitem(last=False)
    return found
