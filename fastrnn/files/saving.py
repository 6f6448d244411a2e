# SPDX-License-Identifier: MIT
"""From a model or a layer to a file: `fastrnn.save`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

from ..layers import Layer, Sequential

if TYPE_CHECKING:
    from ..readers.description import Description


def save(model: Layer, path: str | os.PathLike[str] | BinaryIO) -> None:
    """Write a `Sequential` or a single layer as a .frnn file, which `fastrnn.load` and C read.

    model: a `Sequential`, with its initial states, or any layer of fastrnn; weights are float32.
    path: a str or os.PathLike (a file of that name is replaced atomically), or a binary file.

    Raises FormatError, a ValueError, if the format has no such layer; TypeError if `model` is not a
    layer of fastrnn; OSError if the file cannot be written.

    >>> import tempfile, numpy as np, fastrnn
    >>> model = fastrnn.Sequential(fastrnn.GRU(3, 4, seed=0), fastrnn.Linear(4, 2, seed=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/model.frnn")
    ...     arrays = fastrnn.read_state_dict(f"{folder}/model.frnn")
    >>> list(arrays)[-1], np.array_equal(arrays["1.bias"], model.state_dict()["1.bias"])
    ('1.bias', True)
    """
    from .frnn_writer import write_model  # not before a file is written

    write_model(path, describe_model(model))


def describe_model(model: Any, name: str = "rnn") -> Description:
    """The description of a model for a file; `name` is for a layer without a `Sequential`."""
    if not isinstance(model, Layer):
        raise TypeError(
            f"model: expected a fastrnn.Sequential or a layer, got {type(model).__name__}"
        )
    from .build import container_kind, describe

    if isinstance(model, Sequential) and container_kind(model) is None:
        return describe(model)
    return describe(Sequential({name: model}))
