# SPDX-License-Identifier: MIT
"""Descriptions of models and `Sequential`: there and back, against the float64 runner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from description_runner import KINDS as RUNNER_KINDS
from description_runner import run
from limits import PARITY, error
from sequential_models import LENGTHS, MODELS

import fastrnn
from fastrnn.files.build import KINDS, WITH_KERNELS, describe, from_description
from fastrnn.readers import UnsupportedModel
from fastrnn.readers.description import DescribedLayer, Description

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_kinds_are_those_of_the_runner() -> None:
    assert set(KINDS) == {*RUNNER_KINDS, "AddInput"}


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name: str, isa: str) -> None:
    layers = MODELS[name]()
    if name == "inner":  # the last one has an AddInput of its own
        layers = layers[:2]
    model, x = fastrnn.Sequential(*layers), floats(5, 9, 6)
    description = describe(model)
    again = from_description(description, isa)
    assert describe(again).format == "fastrnn"
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(layer.isa == isa for layer in again if type(layer) in WITH_KERNELS)
    y, _ = again(x)
    assert error(y, model(x)[0]) <= PARITY
    assert error(y, run(description, x)) <= PARITY


@pytest.mark.parametrize("name", ["dense", "bidirectional", "last", "state", "flipped", "skip"])
def test_lengths(name: str) -> None:
    model, x = fastrnn.Sequential(*MODELS[name]()), floats(5, 9, 6)
    y, _ = model(x, lengths=LENGTHS)
    wanted = run(describe(model), x, LENGTHS)  # compares inside of the lengths
    assert y.shape == wanted.shape


def test_layers_that_others_hold_are_all_needed() -> None:
    inner = DescribedLayer("a.0", "Linear", {"in_features": 3})
    outer = DescribedLayer("a", "Residual", {"layers": 1})
    with pytest.raises(UnsupportedModel, match=r"1 layers belong inside, 0 of them can be made"):
        from_description(Description("", (outer, inner)))


def test_options_of_files() -> None:
    """What importers write beside torch.nn's own arguments."""
    rnn = fastrnn.LSTM(3, 4, bidirectional=True)
    arrays: dict[str, Any] = rnn.state_dict()
    first = {"h_0": floats(2, 4), "c_0": floats(2, 4).astype(np.float64)}
    options = {"input_size": 3, "hidden_size": 4, "bidirectional": True, "proj_size": 0}
    table = floats(5, 3)
    described = Description(
        "onnx",
        (
            DescribedLayer("mask", "Mask", {"value": 0}),
            DescribedLayer(
                "a.embed", "Embedding", {"num_embeddings": 5, "embedding_dim": 3}, {"weight": table}
            ),
            DescribedLayer("turn", "Transpose", {"dim0": 0, "dim1": 1}),
            DescribedLayer("a.rnn", "LSTM", options | {"dropout": 0.3}, arrays | first),
            DescribedLayer("a.last", "Last", {"bidirectional": True}),
            DescribedLayer("drop", "Dropout", {}),
        ),
    )
    model = from_description(described)
    assert set(model.initial_state) == {"a.rnn"}
    assert model["a.last"].of == "state"
    x = np.array([[1, 2, 0, 4], [0, 3, 0, 0]])
    assert error(model(x)[0], run(described, x)) <= PARITY
    for ours, theirs in zip(describe(model).layers, described.layers, strict=True):
        assert ours.name == theirs.name
        assert ours.arrays.keys() == theirs.arrays.keys()
        for key, array in ours.arrays.items():
            assert np.array_equal(array, theirs.arrays[key].astype(np.float32))
    for kind in ("GRU", "RNN"):
        layer = DescribedLayer("r", kind, {"input_size": 3, "hidden_size": 4, "proj_size": 0}, {})
        weights = getattr(fastrnn, kind)(3, 4).state_dict()
        from_description(
            Description(
                "x", (DescribedLayer("r", kind, {**layer.options, "dropout": 0.0}, weights),)
            )
        )


def test_refused_with_every_layer() -> None:
    described = Description(
        "x",
        (
            DescribedLayer("a", "Linear", {"in_features": 2, "out_features": 3}, {}),
            DescribedLayer("b", "Conv3d"),
            DescribedLayer("c", "ReLU", {"slope": 1}),
            DescribedLayer("c", "ReLU"),
            DescribedLayer("d", "Linear", {"in_features": 2, "out_features": -1}),
            DescribedLayer("e", "Tanh"),
            DescribedLayer("e", "Tanh"),
        ),
    )
    with pytest.raises(UnsupportedModel) as refused:
        from_description(described)
    for words in (
        "'a' (Linear): state dict does not fit the layer: missing 'weight', 'bias'",
        "'b' (Conv3d): expected one of the kinds",
        "'c' (ReLU): ",
        "unexpected keyword argument 'slope'",
        "'d' (Linear): out_features: expected 1 to",
        "'e' (Tanh): two layers have this name",
        "read_state_dict",
    ):
        assert words in str(refused.value)
    inner = fastrnn.Sequential(a=fastrnn.Sequential(fastrnn.AddInput(2)))
    with pytest.raises(ValueError, match="layer 'a': its AddInput adds the input of this inner"):
        describe(inner)
