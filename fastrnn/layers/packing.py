# SPDX-License-Identifier: MIT
"""The packed weights of a layer, and the reuse of their memory while the weights are trained."""

from __future__ import annotations

import os
from _thread import RLock  # built in: importing threading takes time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from .. import _core
from ..stack_spec import Spec

T = TypeVar("T")


class Packing(Generic[T]):
    """The packed weights of one layer; any number of threads may ask for them.

    Weights that changed are packed into a new object. Passes, streams and pending backward passes
    hold what they run. The last of them to let go of an old object puts its memory into `_spare`,
    from which the next object takes it: reuse saves the allocation and the first access to its
    pages, a third of the time to pack. `lock` is held by whoever writes the layer's weights.
    `current` is packed for inference at least, or None.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.current: T | None = None
        self._spare = _core.Spare()
        self._training = False  # once asked for, so that evaluation in between packs no second one
        _all.add(self)

    def get(
        self,
        make: Callable[[bool, _core.Spare], T],
        fill: Callable[[T], None],
        training: bool = False,
    ) -> T:
        """The weights as they are, packed for training or not; packed now if they are not yet.

        make(training, home): a new object without weights.
        """
        # The flag first: what is current after it was set is made for training.
        if self._training or not training:
            found = self.current
            if found is not None:
                return found
        with self.lock:
            if training and not self._training:
                self.current = None
                self._training = True
            found = self.current
            if found is None:
                found = make(self._training, self._spare)
                fill(found)
                self.current = found
        return found

    def changed(self) -> None:
        """Report new weights, with the lock held."""
        self.current = None

    def __reduce__(self) -> Any:
        return Packing, ()  # a copy of a layer packs for itself


_all: WeakSet[Packing[Any]] = WeakSet()


def _renew_locks() -> None:
    """In a forked child: the thread that held a lock does not exist there."""
    for packing in _all:
        packing.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


# --- Recurrent stacks ---


def new_stack(spec: Spec, isa: str, training: bool, home: _core.Spare) -> _core.Stack:
    """A stack without weights, in the memory of `home`, which it returns at its end."""
    return _core.Stack(
        spec.cell,
        spec.input_size,
        spec.hidden_size,
        spec.num_layers,
        spec.bidirectional,
        spec.proj_size,
        isa,
        training,
        home=home,
    )


def fill_stack(stack: _core.Stack, spec: Spec, weights: Sequence[Any]) -> None:
    """Pack float32 arrays in PyTorch's flat order."""
    for place, own in enumerate(spec.by_place(weights)):
        stack.set_weights(*divmod(place, spec.directions), *own)
