# SPDX-License-Identifier: MIT
"""Small models that Keras writes with its torch backend, for the reader tests."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from description_runner import run
from limits import IMPORTED, error

from fastrnn.readers import describe_file
from fastrnn.readers.containers.source import open_source
from fastrnn.readers.containers.zip_archive import ZipArchive
from fastrnn.readers.keras.keras_archive import read_keras_archive, read_keras_h5


def import_keras() -> Any:
    """Import Keras with its torch backend; skip the test module if either is missing."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras", minversion="3.0")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend", allow_module_level=True)
    return keras


def shuffle(model: Any, seed: int = 0) -> Any:
    """Set all weights to random values: Keras initializes biases to 0 or 1."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = [rng.normal(0, 0.5, w.shape).astype(w.dtype) for w in model.get_weights()]
        variances = ["variance" in w.path for w in model.weights]
        model.set_weights([abs(w) if v else w for w, v in zip(drawn, variances, strict=True)])
    return model


def sequential(
    keras: Any, layers: Sequence[Any], features: int | None = 3, steps: int | None = None
) -> Any:
    """A model for [batch][steps][features], or for tokens if `features` is None."""
    shape, dtype = ((steps,), "int32") if features is None else ((steps, features), "float32")
    return shuffle(keras.Sequential([keras.layers.Input(shape, dtype=dtype), *layers]))


def functional(keras: Any, build: Callable[[Any], Any], features: int | None = 3) -> Any:
    shape, dtype = ((None,), "int32") if features is None else ((None, features), "float32")
    start = keras.layers.Input(shape, dtype=dtype)
    return shuffle(keras.Model(start, build(start)))


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.name.endswith(".weights.h5"):
            model.save_weights(path)
        else:
            model.save(path)
    return path


def output(model: Any, x: np.ndarray) -> np.ndarray:
    """The output that Keras computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = model(x, training=False)
    return (y[0] if isinstance(y, (list, tuple)) else y).detach().numpy()


def saved_agrees(path: Path, model: Any, x: np.ndarray) -> Any:
    """Save a model; require that the file's description computes what Keras does; return it."""
    described = describe_file(save(model, path))
    assert error(run(described, x), output(model, x)) <= IMPORTED
    return described


def weights_of(path: Path):
    """The weights of a file by name, and the options of its recurrent layers."""
    with open_source(str(path)) as source:
        if path.name.endswith(".h5"):
            return read_keras_h5(source)
        return read_keras_archive(ZipArchive(source), source)


def floats(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Tokens; 0 is padding: at the end, at the start, in the middle, everywhere but in one place.
TOKENS = np.array(
    [
        [3, 1, 4, 1, 5, 9],
        [2, 6, 5, 0, 0, 0],
        [0, 0, 0, 5, 8, 9],
        [0, 7, 0, 9, 0, 3],
        [0, 0, 0, 0, 0, 2],
    ]
)
