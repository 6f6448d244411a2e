# SPDX-License-Identifier: MIT
"""Time series: predicts the next value of a window, the next 20 values, and step by step.

    python examples/time_series.py [--epochs N] [--plot FILE]

The series is that of Mackey and Glass (1977), a model of blood cells and a common benchmark. It is
chaotic, so errors grow with the number of steps ahead. They are measured on the last part of the
series in units of its standard deviation, and compared with repeating the last value.
  one value     a GRU reads a window of 50 values; its last step predicts the next one
  many values   the same, for the next 20 values at once
  step by step  a GRU predicts the next value at every step; then a stream reads its own
                predictions, for any number of steps

Result: one value 0.027 (repetition 0.29), many values 0.065, step by step 0.038 (1.51); 15 s.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

import numpy as np

import fastrnn

WINDOW, AHEAD, TESTED = 50, 20, 1000


def mackey_glass(count: int) -> np.ndarray:
    """x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x at every second t; mean 0, deviation 1."""
    per_unit = 10  # Euler's method, steps of 0.1
    x = np.full(17 * per_unit + (2 * count + 500) * per_unit, 1.2)
    for t in range(17 * per_unit, len(x) - 1):
        late = x[t - 17 * per_unit]
        x[t + 1] = x[t] + (0.2 * late / (1 + late**10) - 0.1 * x[t]) / per_unit
    x = x[-2 * count * per_unit :: 2 * per_unit]
    return ((x - x.mean()) / x.std()).astype(np.float32)


def windows(series: np.ndarray, length: int) -> np.ndarray:
    """Return all windows (N, length, 1) as views."""
    return np.lib.stride_tricks.sliding_window_view(series, length)[..., None]


def train(model: fastrnn.Sequential, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
    optimizer = fastrnn.Adam(model, lr=3e-3)

    def slower(now: object) -> None:
        optimizer.lr = 3e-3 * 0.5 ** (6 * (now.epoch - 1) // epochs)

    fastrnn.fit(
        model, (x, y), fastrnn.mse, optimizer, epochs=epochs, seed=0, clip_norm=1.0, progress=slower
    )  # fmt: skip


def by_window(series: np.ndarray, values: int, epochs: int) -> np.ndarray:
    """Return for every window of the test the predicted and the true values (N, 2, values)."""
    both = windows(series, WINDOW + values)
    x, y = both[:, :WINDOW], both[:, WINDOW:, 0]
    model = fastrnn.Sequential(
        gru=fastrnn.GRU(1, 48, batch_first=True, seed=0),
        last=fastrnn.Last(batch_first=True),
        head=fastrnn.Linear(48, values, seed=1),
    )
    train(model, x[: -TESTED - values], y[: -TESTED - values], epochs)
    return np.stack([model(x[-TESTED:])[0], y[-TESTED:]], axis=1)


def by_steps(series: np.ndarray, epochs: int) -> np.ndarray:
    """Return the same from a stream that predicts one step and reads its own predictions."""
    model = fastrnn.Sequential(
        gru=fastrnn.GRU(1, 48, batch_first=True, seed=0), head=fastrnn.Linear(48, 1, seed=1)
    )
    both = windows(series, WINDOW + 1)[: -TESTED - AHEAD]
    train(model, both[:, :-1], both[:, 1:], epochs)
    test = windows(series, WINDOW + AHEAD)[-TESTED:]
    stream = model.stream(batch_size=TESTED)
    for t in range(WINDOW):
        now = stream.step(test[:, t])
    found = [now]
    for _ in range(AHEAD - 1):
        found.append(stream.step(found[-1]))
    return np.stack([np.concatenate(found, axis=1), test[:, WINDOW:, 0]], axis=1)


def rmse(found: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found[:, 0] - found[:, 1]) ** 2)))


def draw(results: dict[str, np.ndarray], path: str) -> None:
    from matplotlib.figure import Figure

    axes = (figure := Figure()).subplots()
    for name, found in results.items():
        if found.shape[2] > 1:
            error = np.sqrt(np.mean((found[:, 0] - found[:, 1]) ** 2, axis=0))
            axes.plot(np.arange(1, AHEAD + 1), error, label=name)
    axes.set(xlabel="steps ahead", ylabel="error in standard deviations")
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    series, start = mackey_glass(4000), time.perf_counter()
    results = {
        "one value": by_window(series, 1, options.epochs),
        "many values": by_window(series, AHEAD, options.epochs),
        "step by step": by_steps(series, options.epochs),
    }
    last = windows(series, 1 + AHEAD)[-TESTED:, :, 0]
    repeated = np.stack([np.repeat(last[:, :1], AHEAD, axis=1), last[:, 1:]], axis=1)
    print(f"trained in {time.perf_counter() - start:.1f} s; errors, beside those of repetition:")
    for name, found in results.items():
        print(f"{name:>13}: {rmse(found):.4f}, {rmse(repeated[:, :, : found.shape[2]]):.4f}")
    if options.plot:
        draw({**results, "repetition": repeated}, options.plot)
