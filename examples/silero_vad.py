# SPDX-License-Identifier: MIT
"""A real model: the LSTM of Silero VAD finds speech in 19 s of audio, without PyTorch.

    python examples/silero_vad.py [FOLDER]

FOLDER holds the exported model as .pt, .safetensors and TorchScript (.jit), and speech_19s.npz,
which records, for 600 chunks of speech, the features that enter the LSTM cell, the hidden states
PyTorch computes and the speech probabilities. Without FOLDER it is `silero_vad` in $FASTRNN_MODELS,
else in `../shared/models` beside the repository.
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


def load_vad(path: Path, isa: str | None = None) -> tuple[fastrnn.LSTM, np.ndarray, np.ndarray]:
    """The LSTM and the weight [128] and bias of the 1x1 convolution on top of it."""
    branch = BRANCHES[path.name]
    lstm = fastrnn.load(path, f"{branch}decoder.rnn", isa=isa)
    tensors = fastrnn.read_state_dict(path)
    weight = tensors[f"{branch}decoder.decoder.2.weight"].reshape(-1)
    return lstm, weight, tensors[f"{branch}decoder.decoder.2.bias"]


def whole(lstm: fastrnn.LSTM, features: np.ndarray) -> np.ndarray:
    """Hidden states [600, 1, 128] of all chunks in one call."""
    hidden, _ = lstm(features)
    return hidden


def streamed(lstm: fastrnn.LSTM, features: np.ndarray) -> np.ndarray:
    """Hidden states [600, 1, 128], one chunk at a time, as a live detector would."""
    stream = lstm.stream()
    return np.stack([stream.step(chunk).copy() for chunk in features])


def speech_probability(hidden: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    logits = np.maximum(hidden[:, 0], 0) @ weight + bias
    return 1 / (1 + np.exp(-logits))


def main(folder: Path) -> None:
    recorded = np.load(folder / "speech_19s.npz")
    print("largest difference from PyTorch        hidden state  probability")
    for name in BRANCHES:
        lstm, weight, bias = load_vad(folder / name)
        for run in (whole, streamed):
            hidden = run(lstm, recorded["features"])
            probability = speech_probability(hidden, weight, bias)
            differences = (
                np.abs(hidden - recorded["h"]).max(),
                np.abs(probability - recorded["probability"]).max(),
            )
            print(f"{name:27} {run.__name__:10}", *(f"{d:12.1e}" for d in differences))
    print(f"speech in {(probability > 0.5).sum()} of {len(probability)} chunks")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
