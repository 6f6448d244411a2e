# SPDX-License-Identifier: MIT
"""Helpers that damage HDF5 files and JSON texts, and read the result."""

from __future__ import annotations

import numpy as np

from fastrnn.readers.containers.budget import Budget
from fastrnn.readers.containers.hdf5 import Hdf5File
from fastrnn.readers.keras.keras3_layout import keras3_variables
from fastrnn.readers.keras.keras_weights import read_weights


def decode(data: bytes) -> None:
    """Read all weights of an HDF5 file."""
    file = Hdf5File(np.frombuffer(data, np.uint8), Budget(len(data)))
    read_weights(keras3_variables(file), lambda path, number: None)


def at_random(data: bytes, rng: np.random.Generator) -> bytes:
    """Change one to three bytes, most of them near the start."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        end = len(data) if rng.random() < 0.5 else min(4096, len(data))
        damaged[rng.integers(end)] = rng.integers(256)
    return bytes(damaged)
