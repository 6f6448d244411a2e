# SPDX-License-Identifier: MIT
"""Weights and inputs of whole models, the same in every process; and the models in fastrnn."""

from __future__ import annotations

import importlib.util
import zlib
from typing import Any

import numpy as np

import fastrnn
from fastrnn.bench import Arrays, Case, Workload
from fastrnn.layers.checks import default_isa

from .. import ROOT
from .engines import Runner, UnsupportedError

WORDS, TAGS = 10_000, 20
CHUNKS = 64  # of audio, two seconds; even, because two buffers of states alternate


def tagger_weights(workload: Workload) -> Arrays:
    """The weights by the names of a model with `embedding`, `recurrent` and `linear`."""
    case, rng = workload.case, _generator(workload.case)
    features = case.directions * case.outputs
    bound = np.float32(features**-0.5)
    return {
        "embedding.weight": rng.standard_normal((WORDS, case.inputs), np.float32),
        **{f"recurrent.{name}": array for name, array in workload.weights.items()},
        "linear.weight": rng.uniform(-bound, bound, (TAGS, features)).astype(np.float32),
        "linear.bias": rng.uniform(-bound, bound, TAGS).astype(np.float32),
    }


def tagger_words(case: Case) -> np.ndarray:
    """Words as integers (T, B)."""
    return _generator(case).integers(0, WORDS, (case.steps, case.batch))


def silero_example() -> Any:
    """The module examples/silero_vad.py; UnsupportedError if its model is absent."""
    path = ROOT / "examples" / "silero_vad.py"
    spec = importlib.util.spec_from_file_location("silero_vad_example", path)
    if spec is None or spec.loader is None:
        raise UnsupportedError(f"no example {path.name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.FOLDER.is_dir():
        raise UnsupportedError("the Silero VAD model is absent: set FASTRNN_MODELS")
    return module


def make_tagger(workload: Workload) -> Runner:
    case = workload.case
    model = fastrnn.Sequential(
        embedding=fastrnn.Embedding(WORDS, case.inputs),
        recurrent=fastrnn.LSTM(
            case.inputs, case.hidden, case.layers, bidirectional=case.bidirectional
        ),
        linear=fastrnn.Linear(case.directions * case.outputs, TAGS),
    )
    model.load_state_dict(tagger_weights(workload))
    words = tagger_words(case)
    return Runner(lambda: model(words), lambda: {"y": model(words)[0]}, default_isa)


def make_silero(workload: Workload) -> Runner:
    """One chunk after another, each call with the state of the previous one."""
    example = silero_example()
    model = example.load_vad(example.FOLDER / "silero_vad_16k.safetensors")
    chunks = list(np.ascontiguousarray(example.cut(example.sounds(CHUNKS)))[:, None])
    state: Any = None
    place = 0

    def call() -> np.ndarray:
        nonlocal state, place
        y, state = model(chunks[place], state)
        place = (place + 1) % CHUNKS
        return y  # type: ignore[no-any-return]

    def outputs() -> Arrays:
        nonlocal state, place
        state, place = None, 0
        return {"y": np.concatenate([call() for _ in range(CHUNKS)])}

    return Runner(call, outputs, default_isa)


def _generator(case: Case) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"whole {case.name}".encode()))
