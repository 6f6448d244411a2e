# SPDX-License-Identifier: MIT
"""`OnIsa`: what layers that run on an instruction set share."""

from __future__ import annotations

from typing import Any

from .checks import check_isa, default_isa, usable_isas


class OnIsa:
    """Base of a layer whose kernels run on an instruction set."""

    _isa: str

    def _choose_isa(self, isa: str | None) -> None:
        """Take the instruction set of this name, or the best one; ValueError for another."""
        self._isa = default_isa() if isa is None else check_isa(isa, "isa")

    @property
    def isa(self) -> str:
        """The instruction set whose kernels run this layer."""
        return self._isa

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._isa not in usable_isas():  # pickled on a machine with other instruction sets
            self._choose_isa(None)
