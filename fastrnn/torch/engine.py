# SPDX-License-Identifier: MIT
"""Calls of the C core for the operators: a pass, its gradients, and the size of its tape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..layers.arrays import Array
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
        assert dy is not None
        kept.backward(dy.copy(), dhn, dcn, dx, dh0, dc0, dweights, False)


_MOST_LANES = 16  # of an instruction set: units are rounded up to a multiple of its own
_ROUNDING = 512  # bytes for the alignment of a tape's parts


def tape_bytes(spec: Spec, steps: Any, batch: Any) -> Any:
    """Bytes that are enough for the tape of a pass on any machine; sizes may be symbols."""
    units = -(-spec.hidden_size // _MOST_LANES) * _MOST_LANES
    states = spec.output_size + (units if spec.has_c else 0)
    each_step = spec.declaration.recorded * units + states
    return _ROUNDING + 4 * spec.state_rows * batch * (steps * each_step + states)
