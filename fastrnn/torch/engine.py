# SPDX-License-Identifier: MIT
"""Calls of the C core for the operators: a pass, its gradients, and the size of its tape."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..layers.arrays import Array, copies
from ..stack_spec import Spec

Bytes = NDArray[np.uint8]
Lengths = NDArray[np.uintp]


def record(
    model: _core.Stack,
    x: Array,
    y: Array,
    h0: Array | None,
    c0: Array | None,
    hn: Array | None,
    cn: Array | None,
    lengths: Lengths | None,
    tape: Bytes | None,
    dropout: float,
    seed: int,
) -> None:
    """Write y, hn and cn of a pass, and its tape if there is one; dropout needs a tape."""
    kept = None if tape is None else _core.Tape(model, dropout, seed, tape)
    if not model.forward(x, y, h0, c0, hn, cn, lengths, kept):
        h0, c0 = copies(h0, c0)
        model.forward(x.copy(), y, h0, c0, hn, cn, lengths, kept)


def gradients(
    model: _core.Stack,
    x: Array,
    lengths: Lengths | None,
    tape: Bytes,
    dropout: float,
    seed: int,
    dy: Array | None,
    dhn: Array | None,
    dcn: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dc0: Array | None,
    dweights: list[list[Array | None]],
) -> None:
    """Write the gradients that are not None of the pass on a tape.

    x, lengths, dropout and seed are those of the pass; dweights is as by_place() returns it.
    """
    kept = _core.Tape(model, dropout, seed, tape)
    if not kept.resume(x, lengths):
        kept.resume(x.copy(), lengths)
    if not kept.backward(dy, dhn, dcn, dx, dh0, dc0, dweights, False):
        dy, dhn, dcn = copies(dy, dhn, dcn)
        kept.backward(dy, dhn, dcn, dx, dh0, dc0, dweights, False)


_PADDING = 512  # bytes, enough to align each part of a tape


def tape_bytes(spec: Spec, steps: Any, batch: Any) -> Any:
    """Bytes that are enough for the tape of a pass; sizes may be symbols, as torch.compile has."""
    fixed, per_row, per_row_and_step = _tape_terms(spec._replace(input_size=1))
    return fixed + _PADDING + batch * (per_row + steps * per_row_and_step)


@lru_cache(maxsize=64)
def _tape_terms(spec: Spec) -> tuple[int, int, int]:
    """Bytes of a tape: fixed ones, those of a row, those of a row and step, as the core says.

    The sizes of three tapes tell them, because no part of these needs padding.
    """
    model = _core.Stack(
        spec.cell, spec.input_size, spec.hidden_size, spec.num_layers, spec.bidirectional,
        spec.proj_size, _core.isas()[0], True,
    )  # fmt: skip
    small, longer, wider = (
        _core.tape_bytes(model, steps, batch) for steps, batch in ((16, 16), (32, 16), (16, 32))
    )
    per_row_and_step = (longer - small) // (16 * 16)
    per_row = (wider - small) // 16 - 16 * per_row_and_step
    return small - 16 * (per_row + 16 * per_row_and_step), per_row, per_row_and_step
