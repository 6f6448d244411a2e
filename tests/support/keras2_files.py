# SPDX-License-Identifier: MIT
"""Writes .h5 files as Keras 1 and 2 did: their groups, attributes and configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Weights = Mapping[str, Mapping[str, np.ndarray]]  # of each layer by their paths


def write(
    path: Path, layers: Weights, config: object = None, version: str = "2.15.0", most: int = 64512
) -> Path:
    """Write weights, or a whole model if there is a config; `most` bytes fit into an attribute."""
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if config is not None else file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        for at in dict.fromkeys((file, root)):
            at.attrs["keras_version"] = version.encode()
            at.attrs["backend"] = b"tensorflow"
        _put_names(root, "layer_names", list(layers), most)
        for name, arrays in layers.items():
            group = root.create_group(name)
            _put_names(group, "weight_names", list(arrays), most)
            for inner, array in arrays.items():
                group.create_dataset(inner, data=array)
    return path


def _put_names(group: Any, attribute: str, names: list[str], most: int) -> None:
    """Write names as texts of one length, in parts if they are too long."""
    array = np.array([name.encode() for name in names])
    count = 1
    while max(part.nbytes for part in np.array_split(array, count)) > most:
        count += 1
    parts = np.array_split(array, count)
    for number, part in enumerate(parts):
        group.attrs[attribute if len(parts) == 1 else f"{attribute}{number}"] = part


def keras2_layer(kind: str, name: str, source: str = "", **config: object) -> dict[str, object]:
    """A layer in the config of Keras 2, called on the output of `source` in a functional model."""
    shape = {} if source else {"batch_input_shape": [None, None, 3]}
    item: dict[str, object] = {
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32"} | shape | config,
    }
    if source:
        item |= {"name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}
    return item


LSTM = {
    "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
    "return_sequences": True, "return_state": False, "go_backwards": False, "stateful": False,
    "unroll": False, "time_major": False, "implementation": 2, "unit_forget_bias": True,
    "kernel_initializer": {"class_name": "VarianceScaling", "config": {"seed": None}},
    "kernel_regularizer": None, "dropout": 0.1, "recurrent_dropout": 0.0,
}  # fmt: skip
DENSE = {"units": 2, "activation": "relu", "use_bias": True, "bias_constraint": None}
