# SPDX-License-Identifier: MIT
"""Gradients that vanish or explode over many steps, and what cures them.

    python examples/long_memory.py [--steps N] [--plot FILE]

The first of T symbols is to be named after the last; all others are noise. A gradient has to come
back over T steps for that: in an RNN it is multiplied by U^T and by the slope of tanh each time and
vanishes, or with large U explodes (Bengio et al. 1994); an LSTM's and a GRU's cell hands it on
(Hochreiter & Schmidhuber 1997), the LSTM's if its forget gate starts open (Gers et al. 2000).
An explosion is cured by clipping the norm (Pascanu et al. 2013). The plot has norms by step.

SCORES
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastrnn

SYMBOLS, HIDDEN, BATCH, LENGTH = 4, 32, 64, 60
Named = dict[str, np.ndarray]


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (T, B) as one-hot vectors, of which the first is the answer."""
    symbols = rng.integers(0, SYMBOLS, (LENGTH, BATCH))
    symbols[1:] += SYMBOLS  # noise has symbols of its own
    return np.eye(2 * SYMBOLS, dtype=np.float32)[symbols], symbols[0]


def make(cell: str, seed: int) -> fastrnn.Sequential:
    layer = getattr(fastrnn, cell)(2 * SYMBOLS, HIDDEN, seed=seed)
    with layer.editing() as weights:
        if cell == "LSTM":
            weights["bias_ih_l0"][HIDDEN : 2 * HIDDEN] = 3.0  # gates are i, f, g, o
        if cell == "GRU":
            weights["bias_ih_l0"][HIDDEN : 2 * HIDDEN] = 3.0  # r, z, n; z keeps the state
    return fastrnn.Sequential(rnn=layer, last=fastrnn.Last(), head=fastrnn.Linear(HIDDEN, SYMBOLS))


def exploding(seed: int) -> fastrnn.Sequential:
    """A relu RNN whose recurrent weights are too large: norms grow by a factor at each step."""
    layer = fastrnn.RNN(2 * SYMBOLS, HIDDEN, nonlinearity="relu", seed=seed)
    with layer.editing() as weights:
        weights["weight_hh_l0"] *= 2.2
    return fastrnn.Sequential(rnn=layer, last=fastrnn.Last(), head=fastrnn.Linear(HIDDEN, SYMBOLS))
