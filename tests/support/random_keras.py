# SPDX-License-Identifier: MIT
"""Random models of Keras, sequential and functional, with and without masks, and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

STEPS = 6
WORDS = 9
_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "softmax")

Random = np.random.Generator


class RandomModels:
    """Draws models; `keras` is the module."""

    def __init__(self, keras: Any) -> None:
        self._keras = keras
        self._layers = keras.layers

    def draw(self, rng: Random) -> tuple[Any, np.ndarray]:
        """Return a model with random weights that Keras can run, and an input with masked steps."""
        while True:
            x = tokens_with_padding(rng) if rng.random() < 0.4 else floats_with_gaps(rng)
            try:
                model = self._model(rng, x)
                model(x)
                return model, x
            except (ValueError, RuntimeError):  # shapes that do not fit
                continue

    def _model(self, rng: Random, x: np.ndarray) -> Any:
        keras, tokens = self._keras, x.dtype.kind == "i"
        shape = (STEPS if rng.random() < 0.7 else None, *x.shape[2:])
        start = keras.Input(shape, dtype="int32" if tokens else "float32")
        layers = self._chain(rng, tokens)
        if rng.random() < 0.5:
            model = keras.Sequential([start, *layers])
        else:
            model = keras.Model(start, self._called(rng, start, layers))
        weights = [rng.normal(0, 0.5, w.shape).astype(w.dtype) for w in model.weights]
        positive = ["variance" in w.path for w in model.weights]
        model.set_weights([abs(w) if p else w for w, p in zip(weights, positive, strict=True)])
        return model

    def _called(self, rng: Random, x: Any, layers: list[Any]) -> Any:
        """The output of the layers one after another, or a step of it, with some sums."""
        before: list[Any] = []
        for layer in layers:
            if x.dtype == "float32":
                before.append(x)
            y = layer(x)
            x = y[0] if isinstance(y, (list, tuple)) else y
            if before and rng.random() < 0.3:
                x = self._sum(rng, x, before[-rng.integers(1, 4) % len(before)])
        if len(x.shape) == 3 and rng.random() < 0.3:
            x = x[:, -1] if rng.random() < 0.7 else x[:, 0, :]
        return x

    def _sum(self, rng: Random, x: Any, other: Any) -> Any:
        """A sum with a value from before, mostly of its shape."""
        make = self._layers
        if x.shape[-1] != other.shape[-1] and rng.random() < 0.9:
            x = make.Dense(other.shape[-1])(x)
        if len(x.shape) != len(other.shape):
            return x
        try:
            return x + other if rng.random() < 0.3 else make.Add()([other, x])
        except ValueError:  # other numbers of steps
            return x

    def _chain(self, rng: Random, tokens: bool) -> list[Any]:
        layers: list[Any] = []
        make = self._layers
        if tokens:
            layers.append(make.Embedding(WORDS, 4, mask_zero=rng.random() < 0.7))
        elif rng.random() < 0.5:
            layers.append(make.Masking(float(rng.choice([0.0, -1.0]))))
        for _ in range(rng.integers(0, 3)):
            layers.append(self._between(rng, steps=True))
        for last in [False] * rng.integers(0, 3) + [True]:
            sequences = not last or bool(rng.random() < 0.5)
            layers.append(self._recurrent(rng, sequences))
            for _ in range(rng.integers(0, 3)):
                if last or rng.random() < 0.5:
                    layers.append(self._between(rng, sequences))
        if sequences and rng.random() < 0.3:
            pools = make.GlobalAveragePooling1D, make.GlobalMaxPooling1D
            layers.append(pools[rng.integers(2)](keepdims=bool(rng.random() < 0.5)))
        return layers

    def _between(self, rng: Random, steps: bool) -> Any:
        """A layer for values with or without steps."""
        make, numbers = self._layers, [float(number) for number in rng.normal(size=3)]
        makers: list[Callable[[], Any]] = [
            lambda: make.Dense(3, activation=str(rng.choice(_ACTIVATIONS))),
            lambda: make.Dense(4, use_bias=False),
            lambda: make.Activation(str(rng.choice(_ACTIVATIONS))),
            lambda: make.LayerNormalization(),
            lambda: make.Dropout(0.3),
            lambda: make.GaussianNoise(0.1),
            lambda: make.ReLU(),
            lambda: make.BatchNormalization(),
            lambda: make.Normalization(),
            lambda: make.Normalization(mean=numbers[0], variance=0.7, invert=numbers[1] < 0),
            lambda: self._keras.Sequential([make.Dense(3), make.Rescaling(numbers, numbers[0])]),
        ]
        if steps and rng.random() < 0.3:
            makers = [
                lambda: make.Conv1D(3, 2, padding=str(rng.choice(["causal", "same"]))),
                lambda: make.MaxPooling1D(2, 1),
                lambda: make.AveragePooling1D(2, 1),
                lambda: make.AveragePooling1D(3, 1, padding="same"),
                lambda: make.PReLU(shared_axes=[1]),
                lambda: make.ZeroPadding1D(1),
            ]
        return makers[rng.integers(len(makers))]()

    def _recurrent(self, rng: Random, sequences: bool) -> Any:
        make = self._layers
        flags = {
            "return_sequences": sequences,
            "go_backwards": bool(rng.random() < 0.2),
            "zero_output_for_mask": bool(rng.random() < 0.3),
            "unroll": False,
        }
        cell = self._cell_options(rng)
        kind = rng.integers(6)
        if kind == 0:
            cells = [self._cell(rng) for _ in range(rng.integers(1, 4))]
            return make.RNN(cells if len(cells) > 1 else cells[0], **flags)
        layer = getattr(make, cell.pop("kind"))(**cell, **flags)
        if kind < 3:
            merge = str(rng.choice(["concat", "concat", "sum", "mul", "ave"]))
            layer.go_backwards = False
            return make.Bidirectional(layer, merge_mode=merge)
        return layer

    def _cell(self, rng: Random) -> Any:
        options = self._cell_options(rng)
        return getattr(self._layers, f"{options.pop('kind')}Cell")(**options)

    def _cell_options(self, rng: Random) -> dict[str, Any]:
        kind = str(rng.choice(["LSTM", "GRU", "SimpleRNN"]))
        options: dict[str, Any] = {
            "kind": kind,
            "units": int(rng.integers(1, 5)),
            "use_bias": bool(rng.random() < 0.8),
        }
        if rng.random() < 0.05:
            options["activation"] = str(rng.choice(["relu", "linear", "hard_sigmoid"]))
        if kind != "SimpleRNN" and rng.random() < 0.04:
            options["recurrent_activation"] = "hard_sigmoid"
        if kind == "GRU":
            options["reset_after"] = bool(rng.random() < 0.6)
        if kind == "LSTM":
            options["unit_forget_bias"] = bool(rng.random() < 0.5)
        return options


def tokens_with_padding(rng: Random) -> np.ndarray:
    """Rows with 0 at the end, at the start, and in between; the last row has no 0."""
    x = rng.integers(1, WORDS, (5, STEPS))
    x[0, 3:] = x[1, :2] = x[2, 2:4] = x[3, [0, 5]] = 0
    return x


def floats_with_gaps(rng: Random) -> np.ndarray:
    """Rows with steps of 0 or -1 at the end, at the start, and in between."""
    x = rng.standard_normal((5, STEPS, 3)).astype(np.float32)
    x[0, 3:] = x[1, :2] = x[2, 2:4] = 0.0
    x[3, [0, 5]] = x[1, 5] = x[4, 2:] = -1.0
    return x
