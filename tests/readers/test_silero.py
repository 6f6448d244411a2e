# SPDX-License-Identifier: MIT
"""A real speech model, whole, from three file formats: the original's and the recorded answers."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn

EXAMPLE = Path(__file__).parents[2] / "examples" / "silero_vad.py"
spec = importlib.util.spec_from_file_location("silero_vad_example", EXAMPLE)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

CHUNKS = 600

pytestmark = pytest.mark.skipif(
    not example.FOLDER.is_dir(),
    reason="the Silero VAD model is absent: set FASTRNN_MODELS to the folder of silero_vad",
)


@pytest.fixture(scope="module")
def speech():
    with np.load(example.FOLDER / "speech_19s.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def audio():
    return example.sounds(CHUNKS)


@pytest.fixture(scope="module")
def original(audio):
    """The probabilities of the original archive, which carries its state and context itself."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is old, and so is the file
        model = torch.jit.load(str(example.FOLDER / "silero_vad_16k.jit")).eval()
    with torch.no_grad():
        chunks = torch.from_numpy(audio).reshape(CHUNKS, 1, example.CHUNK)
        return np.array([model(chunk, 16000).item() for chunk in chunks], np.float32)


@pytest.mark.parametrize("name", example.BRANCHES)
def test_whole_model_gives_the_originals_probabilities(isa, name, audio, original):
    model = example.load_vad(example.FOLDER / name, isa)
    found = example.whole(model, example.cut(audio))
    assert found.shape == (CHUNKS, 1)
    assert error(found[:, 0], original) <= PARITY
    assert CHUNKS / 10 < (original > 0.5).sum() < CHUNKS * 9 / 10  # both voice and noise were met


def test_chunk_by_chunk_gives_the_same_bits(isa, audio):
    model = example.load_vad(example.FOLDER / "silero_vad_16k.safetensors", isa)
    x = example.cut(audio)
    whole = example.whole(model, x)
    assert example.chunk_by_chunk(model, x).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", example.BRANCHES)
@pytest.mark.parametrize("run", [example.whole, example.chunk_by_chunk])
def test_reproduces_recorded_speech(isa, name, run, speech):
    decoder = example.load_vad(example.FOLDER / name, isa)[-example.DECODER :]
    features = speech["features"][:, 0]
    assert error(run(decoder[:1], features), speech["h"][:, 0]) <= PARITY
    probability = run(decoder, features)[:, 0]
    assert error(probability, speech["probability"]) <= PARITY
    assert 0 < (probability > 0.5).sum() < len(probability)  # both speech and silence were met


def test_a_stream_gives_the_same_bits(isa, speech):
    decoder = example.load_vad(example.FOLDER / "silero_vad_16k.pt", isa)[-example.DECODER :]
    stream, whole = decoder.stream(), example.whole(decoder, speech["features"][:, 0])
    streamed = np.concatenate([stream.step(chunk) for chunk in speech["features"]])
    assert streamed.tobytes() == whole.tobytes()


def test_all_formats_hold_the_same_model():
    models = [example.load_vad(example.FOLDER / name) for name in example.BRANCHES]
    first = models[0].state_dict()
    assert set(first) == set(example.PLACES)
    for model in models:
        for name, weight in model.state_dict().items():
            np.testing.assert_array_equal(weight, first[name])


def test_chunks_begin_with_the_samples_before_them(audio):
    x = example.cut(audio[:-1])
    assert x.shape == (CHUNKS - 1, example.CONTEXT + example.CHUNK)
    assert not x[0, : example.CONTEXT].any()
    np.testing.assert_array_equal(x[1:, : example.CONTEXT], x[:-1, -example.CONTEXT :])
    np.testing.assert_array_equal(x[:, example.CONTEXT :].ravel(), audio[: -example.CHUNK])


def test_the_lstm_alone_by_its_prefix(speech):
    lstm = fastrnn.load(example.FOLDER / "silero_vad_16k.pt", "decoder.rnn")
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers) == (128, 128, 1)
    assert error(lstm(speech["features"])[0], speech["h"]) <= PARITY


def test_two_recurrent_layers_ask_for_a_prefix():
    with pytest.raises(fastrnn.FormatError, match=r"_model_8k\.decoder\.rnn"):
        fastrnn.load(example.FOLDER / "silero_vad_16k.jit")


def test_example_prints_every_file(capsys):
    example.main(example.FOLDER)
    printed = capsys.readouterr().out
    assert all(printed.count(name) == 2 for name in example.BRANCHES)
    assert printed.count("speech in ") == 2
