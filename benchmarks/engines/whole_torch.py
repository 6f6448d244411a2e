# SPDX-License-Identifier: MIT
"""Whole models in PyTorch: a tagger, and Silero VAD as published."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from fastrnn.bench import Arrays, Workload

from .engines import Runner
from .torch_layers import make_layer, observed_path
from .whole_models import CHUNKS, TAGS, WORDS, silero_example, tagger_weights, tagger_words


class Tagger(torch.nn.Module):
    """Scores (T, B, tags) of words (T, B)."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        case = workload.case
        self.embedding = torch.nn.Embedding(WORDS, case.inputs)
        self.recurrent = make_layer(workload)
        self.linear = torch.nn.Linear(case.directions * case.outputs, TAGS)
        weights = tagger_weights(workload)
        self.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.linear(self.recurrent(self.embedding(words))[0])
        return scores


class Silero(torch.nn.Module):
    """The archive's network for one chunk (1, 576), with the state as inputs and outputs."""

    def __init__(self, example: Any) -> None:
        super().__init__()
        nn, spectrum = torch.nn, 2 * example.ENCODER[0][0]
        self.pad = nn.ReflectionPad1d((0, example.CONTEXT))
        self.stft = nn.Conv1d(1, spectrum, example.WINDOW, stride=example.HOP, bias=False)
        for i, (channels, outputs, stride) in enumerate(example.ENCODER):
            self.add_module(f"conv{i}", nn.Conv1d(channels, outputs, 3, stride, padding=1))
        self.convolutions = len(example.ENCODER)
        self.rnn = nn.LSTM(128, 128)
        self.out = nn.Linear(128, 1)
        own = example.load_vad(example.FOLDER / "silero_vad_16k.safetensors").state_dict()
        self.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})

    def forward(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        real, imaginary = self.stft(self.pad(x.unsqueeze(1))).chunk(2, 1)
        y = torch.sqrt(real**2 + imaginary**2)
        for i in range(self.convolutions):
            y = torch.relu(getattr(self, f"conv{i}")(y))
        y, (h, c) = self.rnn(y.permute(2, 0, 1), (h, c))
        return torch.sigmoid(self.out(torch.relu(y[0]))), h, c


def make_tagger(workload: Workload) -> Runner:
    model = Tagger(workload).eval()
    words = torch.from_numpy(tagger_words(workload.case))

    def call() -> torch.Tensor:
        scores: torch.Tensor = model(words)
        return scores

    return Runner(
        call, lambda: {"y": call().numpy()}, lambda: observed_path(call), torch.inference_mode
    )


def make_silero(workload: Workload) -> Runner:
    """The original archive, which stores the state and the samples before a chunk."""
    example = silero_example()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which reads it
        model = torch.jit.load(str(example.FOLDER / "silero_vad_16k.jit")).eval()
    audio = torch.from_numpy(example.sounds(CHUNKS))
    chunks = audio.reshape(CHUNKS, 1, example.CHUNK).unbind()
    place = 0

    def call() -> torch.Tensor:
        nonlocal place
        probability: torch.Tensor = model(chunks[place], 16000)
        place = (place + 1) % CHUNKS
        return probability

    def outputs() -> Arrays:
        nonlocal place
        model.reset_states()
        place = 0
        return {"y": np.concatenate([call().numpy().copy() for _ in range(CHUNKS)])}

    return Runner(call, outputs, lambda: "TorchScript", torch.inference_mode)
