# SPDX-License-Identifier: MIT
"""How a pass is cut over threads and time, in words."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from .. import _core
from ..layers.recurrent import GRU, LSTM, RNN
from .threads import get_num_threads

Layer = LSTM | GRU | RNN

_BOUNDS = ("the FMA units", "reading weights from L2", "reading weights from L3",
           "reading weights from memory")  # fmt: skip
_SPLITS = {
    "row_groups": "rows of the batch in {} groups",
    "direction_teams": "directions side by side",
    "layer_teams": "layers in a wavefront of {} teams",
    "unit_workers": "hidden units of a layer over {} threads, which meet after each step",
}


def plan(layer: Layer, steps: int, batch: int) -> dict[str, Any]:
    """Return how a call of `layer` with x of (steps, batch, input_size) would be run now.

    threads is the product of row_groups, direction_teams, layer_teams and unit_workers; block_rows
    rows go through all steps together, with the input product chunk_steps ahead; share is the
    predicted share of the FMA units' peak, bound what takes most of the time of the products,
    workspace and weights are bytes. The share counts no padding of weights to whole vectors.
    TypeError and ValueError for sizes that no array can have.

    >>> plan(GRU(8, 16), steps=1, batch=1)["threads"]
    1
    """
    _check_count("steps", steps)
    _check_count("batch", batch)
    model = layer._packed()
    found = model.plan(steps, batch)
    threads = 1
    for name in _SPLITS:
        threads *= found[name]
    return {
        "threads": threads,
        **{name: found[name] for name in (*_SPLITS, "block_rows", "chunk_steps")},
        "share": found["fma_cycles"] / found["cycles"],
        "bound": _BOUNDS[found["bound"]],
        "workspace": found["workspace"],
        "weights": model.nbytes,
        "isa": model.isa,
    }


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if not 1 <= value <= sys.maxsize:
        raise ValueError(f"{name}: expected 1 to {sys.maxsize}, got {value}")


def explain(layer: Layer, steps: int, batch: int) -> None:
    """Write the plan of a call to standard output, with the time that it should take.

    The time is the plan's share of the peak of this machine's FMA units, measured on the spot.

    >>> explain(LSTM(8, 16), steps=10, batch=4)  # doctest: +ELLIPSIS
    LSTM(8, 16), 10 steps, batch 4, ...
    """
    cut = plan(layer, steps, batch)
    splits = [words.format(cut[name]) for name, words in _SPLITS.items() if cut[name] > 1]
    seconds = _flops(layer, steps, batch) / cut["threads"] / _peak(cut["isa"]) / cut["share"]
    lines = [
        f"{layer!r}, {steps} steps, batch {batch}, {cut['isa']}",
        f"threads: {cut['threads']} of {get_num_threads()}" + "".join(f"; {s}" for s in splits),
        f"time: {cut['block_rows']} rows go through all steps together, the input product runs "
        f"{cut['chunk_steps']} steps ahead",
        f"memory: weights {_bytes(cut['weights'])}, workspace {_bytes(cut['workspace'])}",
        f"predicted: {seconds * 1e3:.3g} ms, {cut['share']:.0%} of the FMA peak of these threads; "
        f"most of it goes to {cut['bound']}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _flops(layer: Layer, steps: int, batch: int) -> float:
    """Floating-point operations of the products: two for each weight, row and step."""
    weights = sum(array.size for array in layer.state_dict().values() if array.ndim == 2)
    return 2.0 * weights * steps * batch


def _peak(isa: str) -> float:
    """Operations per second of one core's FMA units: the best of a few short runs."""
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        done = _core.probe_fma(isa, 50_000)
        best = max(best, done / (time.perf_counter() - start))
    return best


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
