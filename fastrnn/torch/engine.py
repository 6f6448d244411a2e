# SPDX-License-Identifier: MIT
"""What operators ask of the C core: a pass, its gradients, and how large its tape is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..layers.arrays import Array
from .spec import Spec

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
    """Write y, hn and cn of a pass, and its tape where there is one; dropout takes a tape."""
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
    """Write the gradients that are asked for of the pass on a tape; dweights: as by_place() has it.

    x, lengths, dropout and seed are those of the pass.
    """
    kept = _core.Tape(model, dropout, seed, tape)
    if not kept.resume(x, lengths):
        kept.resume(x.copy(), lengths)
    if not kept.backward(dy, dhn, dcn, dx, dh0, dc0, dweights, False):
        assert dy is not None
        kept.backward(dy.copy(), dhn, dcn, dx, dh0, dc0, dweights, False)


_MOST_LANES = 16  # of an instruction set: units are rounded up to a multiple of its own
_SLOTS = {"lstm": 4, "gru": 4, "rnn_tanh": 0, "rnn_relu": 0}  # what a step keeps beside h and c
_ROUNDING = 512  # bytes in which parts of a tape are aligned


def tape_bytes(spec: Spec, steps: Any, batch: Any) -> Any:
    """Bytes that are enough for the tape of a pass on any machine; sizes may be symbols."""
    places, size = spec.num_layers * spec.directions, spec.output_size
    units = -(-spec.hidden_size // _MOST_LANES) * _MOST_LANES
    each_step = _SLOTS[spec.cell] * units + size
    before = size
    if spec.has_c:
        each_step, before = each_step + units, before + units
    return _ROUNDING + 4 * places * batch * (steps * each_step + before)
