# SPDX-License-Identifier: MIT
"""A real pretrained model: Silero VAD detects speech in 16 kHz audio, without PyTorch.

    python examples/silero_vad.py [FOLDER]

The whole network is a `fastrnn.Sequential`: a spectrum computed by a convolution, four
convolutions, an LSTM over chunks of 32 ms and the probability of speech. FOLDER contains the
exported model as .pt, .safetensors and TorchScript (.jit), and speech_19s.npz, a record of 600
chunks of speech: the inputs of the LSTM, PyTorch's hidden states and the probabilities. The default
FOLDER is `silero_vad` in $FASTRNN_MODELS, otherwise in `../shared/models` beside the repository.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import fastrnn

BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "models"
FOLDER = Path(os.environ.get("FASTRNN_MODELS", BESIDE)) / "silero_vad"

# The TorchScript archive holds a second model for 8 kHz, so the 16 kHz branch is named.
BRANCHES = {
    "silero_vad_16k.pt": "",
    "silero_vad_16k.safetensors": "",
    "silero_vad_16k.jit": "_model.",
}
RECORD = "speech_19s.npz"
CHUNK = 512  # new samples of a chunk, 32 ms
CONTEXT = 64  # samples before the chunk, which the network reads again
HOP, WINDOW = 128, 256
ENCODER = [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]  # channels in, out, stride

# Names of the model's weights -> names in the file.
PLACES = {
    "stft.weight": "stft.forward_basis_buffer",
    **{
        f"conv{i}.{part}": f"encoder.{i}.reparam_conv.{part}"
        for i in range(len(ENCODER))
        for part in ("weight", "bias")
    },
    **{
        f"rnn.{part}_l0": f"decoder.rnn.{part}"
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "out.weight": "decoder.decoder.2.weight",
    "out.bias": "decoder.decoder.2.bias",
}
DECODER = 4  # the number of layers from the LSTM to the end


def load_vad(path: Path, isa: str | None = None) -> fastrnn.Sequential:
    """Load the network: x (N, 576) are chunks of one recording, y (N, 1) their probabilities.

    The state is that of the LSTM: `y, state = model(chunk, state)` continues with later chunks.
    """
    encoder: dict[str, object] = {}
    for i, (channels, outputs, stride) in enumerate(ENCODER):
        encoder[f"conv{i}"] = fastrnn.Conv1d(channels, outputs, 3, stride, padding=1, isa=isa)
        encoder[f"relu{i}"] = fastrnn.ReLU()
    spectrum = 2 * ENCODER[0][0]
    model = fastrnn.Sequential(
        {
            "channel": fastrnn.Unsqueeze(1),
            "pad": fastrnn.ReflectionPad1d((0, CONTEXT)),
            "stft": fastrnn.Conv1d(1, spectrum, WINDOW, stride=HOP, bias=False, isa=isa),
            "magnitude": fastrnn.Magnitude(),
            **encoder,
            "features": fastrnn.Squeeze(2),  # a single step is left of each chunk
            "rnn": fastrnn.LSTM(128, 128, isa=isa),
            "relu": fastrnn.ReLU(),
            "out": fastrnn.Linear(128, 1, isa=isa),
            "probability": fastrnn.Sigmoid(isa=isa),
        }
    )
    tensors, branch = fastrnn.read_state_dict(path), BRANCHES[path.name]
    weights = {own: tensors[branch + name] for own, name in PLACES.items()}
    weights["out.weight"] = weights["out.weight"][..., 0]  # a convolution over one step
    model.load_state_dict(weights)
    return model


def cut(audio: np.ndarray) -> np.ndarray:
    """Split audio (samples,) into chunks (N, 576) with their context; drops a partial chunk."""
    count = len(audio) // CHUNK
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), audio[: count * CHUNK]])
    return np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + CHUNK)[::CHUNK]


def whole(model: fastrnn.Sequential, x: np.ndarray) -> np.ndarray:
    """Return y of all chunks, computed in one call."""
    return model(x)[0]


def chunk_by_chunk(model: fastrnn.Sequential, x: np.ndarray) -> np.ndarray:
    """Return the same, computed one chunk at a time, as a live detector would."""
    parts, state = [], None
    for i in range(len(x)):
        y, state = model(x[i : i + 1], state)
        parts.append(y)
    return np.concatenate(parts)


def sounds(count: int, seed: int = 0) -> np.ndarray:
    """Make `count` chunks of audio: bursts of voice-like sound with two formants, and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(count * CHUNK) / 16000
    pitch = 110 + 25 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    syllables = np.maximum(np.sin(2 * np.pi * 3.1 * time), 0) * (
        np.sin(2 * np.pi * 0.23 * time) > 0
    )
    formants = (
        600 + 200 * np.sin(2 * np.pi * 1.3 * time),
        1500 + 500 * np.sin(2 * np.pi * 0.9 * time),
    )
    voice = np.zeros_like(time)
    for k in range(1, 30):
        strength = sum(np.exp(-(((k * pitch - f) / 180) ** 2)) for f in formants) + 0.3 / k
        voice += strength * np.sin(k * phase)
    noise = rng.standard_normal(len(time))
    return (0.12 * syllables * voice + 0.004 * noise).astype(np.float32)


def main(folder: Path) -> None:
    missing = [name for name in (RECORD, *BRANCHES) if not (folder / name).is_file()]
    if missing:
        raise SystemExit(
            f"{folder}: expected the exported Silero VAD, but {', '.join(missing)} is not there; "
            "name its folder as the argument, or the one above it in $FASTRNN_MODELS"
        )
    recorded = np.load(folder / RECORD)
    features = recorded["features"][:, 0]
    print("largest difference from PyTorch        hidden state  probability")
    for name in BRANCHES:
        model = load_vad(folder / name)
        decoder = model[-DECODER:]
        for run in (whole, chunk_by_chunk):
            differences = (
                np.abs(run(model[-DECODER : 1 - DECODER], features) - recorded["h"][:, 0]).max(),
                np.abs(run(decoder, features)[:, 0] - recorded["probability"]).max(),
            )
            print(f"{name:27} {run.__name__:14}", *(f"{d:12.1e}" for d in differences))
    speech = (whole(decoder, features) > 0.5).sum()
    print(f"speech in {speech} of {len(features)} chunks")
    heard = whole(model, cut(sounds(len(features))))
    print(f"in made-up sounds: speech in {(heard > 0.5).sum()} of {len(heard)} chunks")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
