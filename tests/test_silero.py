# SPDX-License-Identifier: MIT
"""A real speech model in three file formats gives PyTorch's recorded hidden states and answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn

EXAMPLE = Path(__file__).parent.parent / "examples" / "silero_vad.py"
spec = importlib.util.spec_from_file_location("silero_vad_example", EXAMPLE)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

pytestmark = pytest.mark.skipif(
    not example.FOLDER.is_dir(),
    reason="the Silero VAD model is absent: set FASTRNN_MODELS to the folder of silero_vad",
)


@pytest.fixture(scope="module")
def speech():
    with np.load(example.FOLDER / "speech_19s.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", example.BRANCHES)
@pytest.mark.parametrize("run", [example.whole, example.streamed])
def test_reproduces_recorded_speech(isa, name, run, speech):
    lstm, weight, bias = example.load_vad(example.FOLDER / name, isa)
    hidden = run(lstm, speech["features"])
    assert error(hidden, speech["h"]) <= PARITY
    probability = example.speech_probability(hidden, weight, bias)
    assert error(probability, speech["probability"]) <= PARITY
    assert 0 < (probability > 0.5).sum() < len(probability)  # both speech and silence were met


def test_streaming_gives_the_same_bits(isa, speech):
    lstm, _, _ = example.load_vad(example.FOLDER / "silero_vad_16k.pt", isa)
    whole, streamed = (run(lstm, speech["features"]) for run in (example.whole, example.streamed))
    assert whole.tobytes() == streamed.tobytes()


def test_all_formats_hold_the_same_layer():
    layers = [example.load_vad(example.FOLDER / name)[0] for name in example.BRANCHES]
    first = layers[0].state_dict()
    for layer in layers:
        assert (layer.input_size, layer.hidden_size, layer.num_layers) == (128, 128, 1)
        for name, weight in layer.state_dict().items():
            np.testing.assert_array_equal(weight, first[name])


def test_two_recurrent_layers_ask_for_a_prefix():
    with pytest.raises(fastrnn.FormatError, match=r"_model_8k\.decoder\.rnn"):
        fastrnn.load(example.FOLDER / "silero_vad_16k.jit")


def test_example_prints_every_file(capsys):
    example.main(example.FOLDER)
    printed = capsys.readouterr().out
    assert all(printed.count(name) == 2 for name in example.BRANCHES)
