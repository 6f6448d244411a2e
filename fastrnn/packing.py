# SPDX-License-Identifier: MIT
"""The packed weights of a layer, and their memory, which new weights take again while training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any
from weakref import WeakSet

from . import _core

# Two, because the way back of the last step still holds one when the next step packs.
_MOST_SPARES = 2
_NOBODY_ELSE = 2  # what getrefcount says of an element of a list: the list's, its argument's


class Packing:
    """The packed weights of one layer; any number of threads may ask for them.

    Passes, streams and ways back hold the stack that they run, so one is filled again only when
    nothing outside of here refers to it. `lock` is held by whoever writes the layer's weights.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self._current: _core.Stack | None = None
        self._spares: list[_core.Stack] = []
        self._training = False  # was asked for: then evaluation in between needs no second stack
        _all.add(self)

    def stack(
        self,
        training: bool,
        make: Callable[[bool], _core.Stack],
        fill: Callable[[_core.Stack], None],
    ) -> _core.Stack:
        """The weights as they are, packed where they are not yet."""
        found = self._current
        if found is not None and (found.training or not training):
            return found
        with self.lock:
            found = self._current
            if found is None or (training and not found.training):
                self._training |= training
                found = self._unshared_spare() or make(self._training)
                fill(found)
                self._current = found
        return found

    def changed(self) -> None:
        """Say that the weights are others, with the lock held."""
        if self._current is not None:
            kept = [*self._spares, self._current]
            self._current = None
            self._spares = [s for s in kept if s.training == self._training][-_MOST_SPARES:]

    def _unshared_spare(self) -> _core.Stack | None:
        spares = self._spares
        for index in range(len(spares)):
            if sys.getrefcount(spares[index]) == _NOBODY_ELSE:
                found = spares.pop(index)
                return found if found.training == self._training else None
        return None

    def __reduce__(self) -> Any:
        return Packing, ()  # a copy of a layer packs for itself


_all: WeakSet[Packing] = WeakSet()


def _renew_locks() -> None:
    """In a forked child: a thread that held one is not there to release it."""
    for packing in _all:
        packing.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
