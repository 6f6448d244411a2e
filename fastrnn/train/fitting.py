# SPDX-License-Identifier: MIT
"""`fit`: epochs over data, with validation, clipping, early stop and a history."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers.arrays import Array
from ..layers.checks import check_int, source_of
from .clipping import clip_grad_norm, clip_grad_value, gradient_norm
from .data import Batches, Data
from .optimizers import Optimizer

Loss = Callable[..., tuple[float, Array]]
Metric = Callable[[Array, Any], float]


@dataclass(frozen=True)
class Progress:
    """How far a training is: after each batch, and with `record` after each epoch."""

    epoch: int  # from 1
    epochs: int
    batch: int  # of this epoch, from 1
    batches: int  # 0 if that is not known
    loss: float  # the mean of this epoch so far
    record: Mapping[str, float] | None  # the epoch's values in the history, at its end


def fit(
    model: Any,
    data: Data,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    batch_axis: int | tuple[int, int] = 0,
    per_step: bool = False,
    shuffle: bool = True,
    seed: int | None = None,
    validation: Data | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> dict[str, list[float]]:
    """Train a model and return the history: "loss", "gradient_norm", "seconds" etc. per epoch.

    model: a layer or Sequential, made batch_first if batch_axis is 0. data: arrays (x, y) or (x, y,
    lengths), split into batches in an order drawn by `seed`, or an iterable of such batches.
    batch_axis: of the samples in x and y, or a pair of these. lengths go to the model, with
    per_step to the loss, too. loss: called as `loss(prediction, y)`, returns its value and the
    gradient of the prediction, as `fastrnn.cross_entropy` does.
    validation: data that is not trained on, for "validation_loss" etc. in the history. metrics: by
    name, functions of (prediction, y). Means are over samples.
    patience: stop when the loss (of validation, if any) has not improved for so many epochs, and go
    back to the weights of the best one. clip_norm, clip_value: bounds of the gradients. progress:
    called with a `Progress` after each batch and each epoch.

    FloatingPointError names the batch whose loss or gradient is not finite; the weights are then
    those of before it.

    >>> import fastrnn
    >>> x = np.random.default_rng(0).standard_normal((64, 9, 1), np.float32)
    >>> layer = fastrnn.RNN(1, 8, batch_first=True, seed=0)
    >>> y = np.repeat(np.tanh(x), 8, axis=2)
    >>> history = fit(layer, (x, y), fastrnn.mse, fastrnn.Adam(layer, lr=0.01), epochs=20, seed=0)
    >>> history["loss"][-1] < history["loss"][0] / 2
    True
    """
    _check_counts(epochs, batch_size, patience)
    _check_functions(model, loss, optimizer, metrics, progress)
    axes = batch_axis if isinstance(batch_axis, tuple) else (batch_axis, batch_axis)
    run = _Run(model, loss, optimizer, per_step, metrics or {}, clip_norm, clip_value)
    batches = Batches(data, "data", batch_size, axes)
    held_out = None if validation is None else Batches(validation, "validation", batch_size, axes)
    rng = source_of(seed)
    history: dict[str, list[float]] = {}
    best = _Best(patience, "loss" if held_out is None else "validation_loss")
    for epoch in range(1, epochs + 1):
        record = run.epoch(batches, held_out, rng, shuffle, (epoch, epochs), progress)
        for name, value in record.items():
            history.setdefault(name, []).append(value)
        if best.stop(model, record):
            break
    best.restore(model)
    return history


def _check_counts(epochs: int, batch_size: int, patience: int | None) -> None:
    check_int("epochs", epochs, 0, expected="at least 0")
    check_int("batch_size", batch_size, 1, expected="at least 1")
    if patience is not None:
        check_int("patience", patience, 1, expected="at least 1")


def _check_functions(model: Any, loss: Any, optimizer: Any, metrics: Any, progress: Any) -> None:
    """TypeError for what cannot be called, such as the names that other libraries take."""
    if not hasattr(model, "vjp"):
        raise TypeError(f"model: expected a layer or Sequential, got {type(model).__name__}")
    if not hasattr(optimizer, "step"):
        raise TypeError(f"optimizer: expected one as fastrnn.Adam(model), got {optimizer!r}")
    if not (metrics is None or isinstance(metrics, Mapping)):
        raise TypeError(f"metrics: expected a dict of functions, got {type(metrics).__name__}")
    functions = {f"metrics[{name!r}]": metric for name, metric in (metrics or {}).items()}
    if progress is not None:
        functions["progress"] = progress
    for name, given in {"loss": loss, **functions}.items():
        if not callable(given):
            example = ", as fastrnn.cross_entropy" if name == "loss" else ""
            raise TypeError(f"{name}: expected a function{example}, got {given!r}")


class _Means:
    """Means over samples, by name."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.samples = 0

    def add(self, values: Mapping[str, float], samples: int) -> None:
        self.samples += samples
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + value * samples

    def result(self) -> dict[str, float]:
        return {name: total / self.samples for name, total in self.totals.items()}


@dataclass
class _Run:
    """What all batches of a training share."""

    model: Any
    loss: Loss
    optimizer: Optimizer
    per_step: bool
    metrics: Mapping[str, Metric]
    clip_norm: float | None
    clip_value: float | None
    batches: int = 0  # of the last epoch

    def epoch(
        self,
        batches: Batches,
        held_out: Batches | None,
        rng: np.random.Generator,
        shuffle: bool,
        place: tuple[int, int],
        progress: Callable[[Progress], object] | None,
    ) -> dict[str, float]:
        """Train for an epoch, `place` of all, and test; returns its line of the history."""
        start = time.perf_counter()
        record = self.train(batches, rng, shuffle, place, progress)
        if held_out is not None:
            record |= {f"validation_{name}": mean for name, mean in self.test(held_out).items()}
        record["seconds"] = time.perf_counter() - start
        if progress is not None:
            progress(Progress(*place, self.batches, self.batches, record["loss"], record))
        return record

    def train(
        self,
        batches: Batches,
        rng: np.random.Generator,
        shuffle: bool,
        place: tuple[int, int],
        progress: Callable[[Progress], object] | None,
    ) -> dict[str, float]:
        """Train for an epoch; returns its means."""
        means, epoch, self.batches = _Means(), place[0], 0
        seeded = "seed" in inspect.signature(self.model.vjp).parameters
        for x, y, lengths in batches.epoch(rng if shuffle else None):
            self.batches += 1
            where = f"in epoch {epoch}, batch {self.batches}"
            seed = {"seed": int(rng.integers(2**63))} if seeded else {}
            prediction, _, backward = self.model.vjp(x, lengths=lengths, **seed)
            values, gradient = self._judge(prediction, y, lengths)
            if not math.isfinite(values["loss"]):
                raise FloatingPointError(f"loss: expected a number, got {values['loss']} {where}")
            values["gradient_norm"] = self._descend(backward(gradient).weights, where)
            means.add(values, batches.samples(x))
            if progress is not None:
                mean = means.totals["loss"] / means.samples
                progress(Progress(*place, self.batches, len(batches), mean, None))
        if not means.samples:
            raise ValueError(f"data: expected at least one sample in epoch {epoch}, got none")
        return means.result()

    def test(self, batches: Batches) -> dict[str, float]:
        means = _Means()
        for x, y, lengths in batches.epoch():
            prediction, _ = self.model(x, lengths=lengths)
            means.add(self._judge(prediction, y, lengths)[0], batches.samples(x))
        if not means.samples:
            raise ValueError("validation: expected at least one sample, got none")
        return means.result()

    def _judge(self, prediction: Array, y: Any, lengths: Any) -> tuple[dict[str, float], Array]:
        options = {"lengths": lengths} if self.per_step and lengths is not None else {}
        value, gradient = self.loss(prediction, y, **options)
        own = {name: float(metric(prediction, y)) for name, metric in self.metrics.items()}
        return {"loss": float(value), **own}, gradient

    def _descend(self, gradients: Mapping[str, Array], where: str) -> float:
        if self.clip_norm is None:
            norm = gradient_norm(gradients)
        else:
            norm = clip_grad_norm(gradients, self.clip_norm)
        if not math.isfinite(norm):
            raise FloatingPointError(f"gradients: expected a finite norm, got {norm} {where}")
        if self.clip_value is not None:
            clip_grad_value(gradients, self.clip_value)
        self.optimizer.step(gradients)
        return norm


class _Best:
    """The best weights so far, and how many epochs ago that was."""

    def __init__(self, patience: int | None, name: str) -> None:
        self.patience, self.name = patience, name
        self.value, self.since, self.weights = math.inf, 0, None

    def stop(self, model: Any, record: Mapping[str, float]) -> bool:
        if self.patience is None:
            return False
        self.since += 1
        if record[self.name] < self.value:
            self.value, self.since, self.weights = record[self.name], 0, model.state_dict()
        return self.since >= self.patience

    def restore(self, model: Any) -> None:
        if self.weights is not None and self.since:
            model.load_state_dict(self.weights)
