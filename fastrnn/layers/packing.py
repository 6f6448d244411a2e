# SPDX-License-Identifier: MIT
"""The packed weights of a layer, and the reuse of their memory while the weights are trained."""

from __future__ import annotations

import os
import sys
from _thread import RLock  # built in: importing threading takes time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from .. import _core
from ..stack_spec import Spec

T = TypeVar("T")

# Two, because the backward pass of the last step still holds one when the next step packs.
_MOST_SPARES = 2
_NOBODY_ELSE = 2  # what getrefcount says of an element of a tuple: the tuple's, its argument's


class Spares(Generic[T]):
    """Objects for reuse once nothing else refers to them.

    Any number of threads may add and take: each operation on the list is one that threads cannot
    interrupt.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[Hashable, T]] = []

    def add(self, kind: Hashable, item: T) -> None:
        """Keep an object, and of all those kept the last `most`."""
        self._kept.append((kind, item))
        del self._kept[: -self._most]

    def take(self, fits: Callable[[Any], bool]) -> T | None:
        """Remove and return an object whose kind fits and that nothing else refers to, or None.

        Objects of a kind that does not fit are dropped.
        """
        in_use = []
        found = None
        while found is None:
            try:
                entry = self._kept.pop()
            except IndexError:
                break
            if fits(entry[0]):
                if sys.getrefcount(entry[1]) == _NOBODY_ELSE:
                    found = entry[1]
                else:
                    in_use.append(entry)
        self._kept.extend(reversed(in_use))
        return found

    def clear(self) -> None:
        self._kept.clear()


class Packing(Generic[T]):
    """The packed weights of one layer; any number of threads may ask for them.

    Passes, streams and pending backward passes hold what they run, so packed weights are filled
    again only if nothing else refers to them. `lock` is held by whoever writes the layer's weights.
    `current` is packed for inference at least, or None.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.current: T | None = None
        self._spares: Spares[T] = Spares(_MOST_SPARES)
        self._training = False  # once asked for, so that evaluation in between packs no second one
        _all.add(self)

    def get(
        self, make: Callable[[bool], T], fill: Callable[[T], None], training: bool = False
    ) -> T:
        """The weights as they are, packed for training or not; packed now if they are not yet."""
        # The flag first: what is current after it was set is made for training.
        if self._training or not training:
            found = self.current
            if found is not None:
                return found
        with self.lock:
            if training and not self._training:
                self.current = None
                self._spares.clear()
                self._training = True
            found = self.current
            if found is None:
                found = self._spares.take(lambda kind: True) or make(self._training)
                fill(found)
                self.current = found
        return found

    def changed(self) -> None:
        """Report new weights, with the lock held."""
        current, self.current = self.current, None
        if current is not None:
            self._spares.add(None, current)

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


def new_stack(spec: Spec, isa: str, training: bool) -> _core.Stack:
    """A stack without weights."""
    return _core.Stack(
        spec.cell,
        spec.input_size,
        spec.hidden_size,
        spec.num_layers,
        spec.bidirectional,
        spec.proj_size,
        isa,
        training,
    )


def fill_stack(stack: _core.Stack, spec: Spec, weights: Sequence[Any]) -> None:
    """Pack float32 arrays in PyTorch's flat order."""
    for place, own in enumerate(spec.by_place(weights)):
        stack.set_weights(*divmod(place, spec.directions), *own)
