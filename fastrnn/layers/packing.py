# SPDX-License-Identifier: MIT
"""The packed weights of a layer, and their memory, which new weights take again while training."""

from __future__ import annotations

import os
import sys
from _thread import RLock  # built in: importing threading takes time
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")

# Two, because the way back of the last step still holds one when the next step packs.
_MOST_SPARES = 2
_NOBODY_ELSE = 2  # what getrefcount says of an element of a list: the list's, its argument's


class Packing(Generic[T]):
    """The packed weights of one layer; any number of threads may ask for them.

    Passes, streams and ways back hold what they run, so it is filled again only when nothing
    outside of here refers to it. `lock` is held by whoever writes the layer's weights. `current` is
    packed for inference at least, or None.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.current: T | None = None
        self._spares: list[T] = []
        self._training = False  # once asked for, so that evaluation in between packs no second one
        _all.add(self)

    def get(
        self, make: Callable[[bool], T], fill: Callable[[T], None], training: bool = False
    ) -> T:
        """The weights as they are, packed where they are not yet: made for training, or not."""
        # The flag first: what is current after it was set is made for training.
        if self._training or not training:
            found = self.current
            if found is not None:
                return found
        with self.lock:
            if training and not self._training:
                self.current, self._spares = None, []
                self._training = True
            found = self.current
            if found is None:
                found = self._unshared_spare() or make(self._training)
                fill(found)
                self.current = found
        return found

    def changed(self) -> None:
        """Say that the weights are others, with the lock held."""
        if self.current is not None:
            self._spares = [*self._spares, self.current][-_MOST_SPARES:]
            self.current = None

    def _unshared_spare(self) -> T | None:
        spares = self._spares
        for index in range(len(spares)):
            if sys.getrefcount(spares[index]) == _NOBODY_ELSE:
                return spares.pop(index)
        return None

    def __reduce__(self) -> Any:
        return Packing, ()  # a copy of a layer packs for itself


_all: WeakSet[Packing[Any]] = WeakSet()


def _renew_locks() -> None:
    """In a forked child: a thread that held one is not there to release it."""
    for packing in _all:
        packing.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
