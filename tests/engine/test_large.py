# SPDX-License-Identifier: MIT
"""Sizes past 16 and 32 bits: long sequences, and outputs of more than 2**31 values."""

from __future__ import annotations

import os

import limits
import numpy as np
import pytest

import fastrnn
from fastrnn import reference
from fastrnn.stack_spec import find_cell

CELLS = {"LSTM": fastrnn.LSTM, "GRU": fastrnn.GRU, "RNN": fastrnn.RNN}
ENOUGH_MEMORY = 14 << 30


def available_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("cell", CELLS)
def test_more_steps_than_16_bits_count(cell, isa):
    layer = CELLS[cell](1, 5, seed=3, isa=isa)
    x = np.random.default_rng(0).standard_normal((66_000, 1, 1)).astype(np.float32)
    y, _ = layer(x)
    _, state = layer(x[:65_536])
    assert layer(x[65_536:], state)[0].tobytes() == y[65_536:].tobytes()
    before, weights = 65_000, layer.state_dict()  # all steps would take the specification seconds
    _, state = layer(x[:before])
    expected = reference.forward(find_cell(cell, {}).name, x[before:], weights, state)[0]
    assert limits.error(y[before:], expected) <= limits.PARITY


@pytest.mark.long
@pytest.mark.skipif(available_memory() < ENOUGH_MEMORY, reason="long: needs 14 GiB of memory")
def test_more_outputs_than_31_bits_count(isa):
    steps, batch, hidden = (1 << 15) + 3, 1 << 13, 8
    layer = fastrnn.RNN(1, hidden, seed=3, isa=isa)
    rows = np.linspace(-2, 2, batch, dtype=np.float32)[None, :, None]
    x = np.broadcast_to(rows, (steps, batch, 1))
    y, h = layer(x)
    assert y.size > 1 << 31
    assert h[0].tobytes() == y[-1].tobytes()
    assert layer(x[-3:], y[-4][None])[0].tobytes() == y[-3:].tobytes()
    assert layer(x[:, -1:])[0].tobytes() == np.ascontiguousarray(y[:, -1:]).tobytes()
