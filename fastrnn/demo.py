# SPDX-License-Identifier: MIT
"""The demo: a digit classifier exported from PyTorch, run on held-out images and timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from fastrnn.files.loading import load
from fastrnn.readers import read_state_dict

DATA = Path(__file__).parent / "demo_data"
PIXEL_MAX = 16  # pixels are 0..16; the classifier was trained on 0..1


@dataclass(frozen=True)
class DemoResult:
    """The result of one run of the demo; times are medians in microseconds."""

    sequences: int
    steps: int
    accuracy: float
    largest_difference: float  # from PyTorch's outputs and logits, whole sequences and streamed
    us_per_sequence: float  # all held-out images as one batch
    us_per_step: float  # one image at a time, one row at a time
    isa: str


def median_us(run: Callable[[], object], repeats: int = 25) -> float:
    """Return the median time of a call in microseconds, after a warm-up call."""
    run()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return median(times) * 1e6


def run_demo() -> DemoResult:
    """Load the exported classifier without PyTorch, compare it with PyTorch and time it."""
    lstm = load(DATA / "digits_lstm.pt", "lstm", batch_first=True)
    weights = read_state_dict(DATA / "digits_lstm.pt")
    held_out = read_state_dict(DATA / "digits_heldout.npz")
    x = held_out["inputs"].astype(np.float32) / PIXEL_MAX
    recorded = held_out["outputs"]

    y, _ = lstm(x)
    logits = y[:, -1] @ weights["head.weight"].T + weights["head.bias"]

    stream = lstm.stream()
    images = x[: len(recorded), :, None]  # [images][rows][batch 1][pixels]
    streamed = np.empty((*recorded.shape[:2], 1, recorded.shape[2]), np.float32)
    steps = [list(zip(*pair, strict=True)) for pair in zip(images, streamed, strict=True)]

    def stream_images() -> None:
        for image in steps:
            stream.reset()
            for row, output in image:
                stream.step(row, out=output)

    us_per_stream = median_us(stream_images)
    return DemoResult(
        sequences=len(x),
        steps=x.shape[1],
        accuracy=float((logits.argmax(1) == held_out["labels"]).mean()),
        largest_difference=max(
            _largest_difference(y[: len(recorded)], recorded),
            _largest_difference(streamed[:, :, 0], recorded),
            _largest_difference(logits, held_out["logits"]),
        ),
        us_per_sequence=median_us(lambda: lstm(x)) / len(x),
        us_per_step=us_per_stream / (images.shape[0] * images.shape[1]),
        isa=lstm.isa,
    )


def _largest_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max())
