# SPDX-License-Identifier: MIT
"""A real model: Silero VAD finds speech in audio of 16 kHz, without PyTorch.

    python examples/silero_vad.py [FOLDER]

The whole network as a `fastrnn.Sequential` of its file: a spectrum as a convolution, four
convolutions, an LSTM over the chunks of 32 ms, the probability of speech. FOLDER holds the exported
model as .pt, .safetensors and TorchScript (.jit), and speech_19s.npz, which records, for 600 chunks
of speech, the features that enter the LSTM, the hidden states PyTorch computes and the
probabilities. Without FOLDER it is `silero_vad` in $FASTRNN_MODELS, else in `../shared/models`
beside the repository.
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
CHUNK = 512  # new samples of a chunk, 32 ms
CONTEXT = 64  # samples before it, which the network sees once more
HOP, WINDOW = 128, 256
ENCODER = [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]  # channels in, out, stride

# The layer that takes each weight of the file.
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
DECODER = 4  # the last layers, from the features on


def load_vad(path: Path, isa: str | None = None) -> fastrnn.Sequential:
    """The network: x (N, 576) are the chunks of one recording, y (N, 1) their probabilities.

    Its state is that of the LSTM: `y, state = model(chunk, state)` goes on with the next chunks.
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
            "features": fastrnn.Squeeze(2),  # what is left of a chunk's steps is one
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
    """Chunks (N, 576) of audio (samples,), each with the samples before it; a rest is left out."""
    count = len(audio) // CHUNK
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), audio[: count * CHUNK]])
    return np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + CHUNK)[::CHUNK]


def whole(model: fastrnn.Sequential, x: np.ndarray) -> np.ndarray:
    """y of all chunks in one call."""
    return model(x)[0]


def chunk_by_chunk(model: fastrnn.Sequential, x: np.ndarray) -> np.ndarray:
    """The same, one chunk after another, as a live detector would."""
    parts, state = [], None
    for i in range(len(x)):
        y, state = model(x[i : i + 1], state)
        parts.append(y)
    return np.concatenate(parts)


def sounds(count: int, seed: int = 0) -> np.ndarray:
    """Audio of so many chunks: bursts of voice-like sound, a buzz with two formants, in noise."""
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
    recorded = np.load(folder / "speech_19s.npz")
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
