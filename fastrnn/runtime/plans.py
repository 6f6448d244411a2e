# SPDX-License-Identifier: MIT
"""How a pass is divided over threads and time, as numbers and as text."""

from __future__ import annotations

import sys
import time
from typing import Any

from .. import _core
from ..layers.checks import check_int
from ..layers.recurrent import Recurrent
from ..layers.sequential import Sequential
from .threads import get_num_threads

_BOUNDS = ("the FMA units", "reading weights from L2", "reading weights from L3",
           "reading weights from memory")  # fmt: skip
_SPLITS = {
    "row_groups": "rows of the batch in {} groups",
    "direction_teams": "directions in parallel",
    "layer_teams": "layers in a wavefront of {} teams",
    "unit_workers": "hidden units of a layer over {} threads, which meet after each step",
}


def plan(layer: Recurrent | Sequential, steps: int, batch: int) -> dict[str, Any]:
    """Return how a call of `layer` with x of (steps, batch, input_size) would be run now.

    For a Sequential: a dict of the plans of its recurrent layers, by name, each for an x of `steps`
    steps of its own.

    threads is the product of row_groups, direction_teams, layer_teams and unit_workers; block_rows
    rows go through all steps together, with the input product chunk_steps ahead; share is the
    predicted share of the FMA units' peak, bound what takes most of the time of the products,
    workspace and weights are bytes. The share counts no padding of weights to whole vectors.
    TypeError for a layer that is not recurrent or has none inside, TypeError and ValueError for
    sizes that no array can have.

    >>> import fastrnn
    >>> plan(fastrnn.GRU(8, 16), steps=1, batch=1)["threads"]
    1
    """
    if isinstance(layer, Sequential):
        return {name: plan(inner, steps, batch) for name, inner in _recurrent(layer)}
    if not isinstance(layer, Recurrent):
        raise TypeError(f"layer: expected an LSTM, GRU or RNN, got {type(layer).__name__}")
    check_int("steps", steps, 1, sys.maxsize)
    check_int("batch", batch, 1, sys.maxsize)
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


def _recurrent(model: Sequential) -> list[tuple[str, Recurrent]]:
    """The recurrent layers of a model by their paths."""
    found = [(name, inner) for name, inner in model.named_layers() if isinstance(inner, Recurrent)]
    if not found:
        raise TypeError("layer: expected an LSTM, GRU or RNN, got a Sequential without one")
    return found


def explain(layer: Recurrent | Sequential, steps: int, batch: int) -> None:
    """Write the plan of a call to standard output, with the time that it should take.

    For a Sequential, layer by layer as `plan` does. The time is the plan's share of the peak of
    this machine's FMA units, measured on the spot.

    >>> import fastrnn
    >>> explain(fastrnn.LSTM(8, 16), steps=10, batch=4)  # doctest: +ELLIPSIS
    LSTM(8, 16), 10 steps, batch 4, ...
    """
    if isinstance(layer, Sequential):
        for name, inner in _recurrent(layer):
            sys.stdout.write(f"{name}: ")
            explain(inner, steps, batch)
        return
    found = plan(layer, steps, batch)
    splits = [text.format(found[name]) for name, text in _SPLITS.items() if found[name] > 1]
    seconds = _flops(layer, steps, batch) / found["threads"] / _peak(found["isa"]) / found["share"]
    lines = [
        f"{layer!r}, {steps} steps, batch {batch}, {found['isa']}",
        f"threads: {found['threads']} of {get_num_threads()}" + "".join(f"; {s}" for s in splits),
        f"time: {found['block_rows']} rows go through all steps together, the input product runs "
        f"{found['chunk_steps']} steps ahead",
        f"memory: weights {_bytes(found['weights'])}, workspace {_bytes(found['workspace'])}",
        f"predicted: {seconds * 1e3:.3g} ms, {found['share']:.0%} of the FMA peak of these "
        f"threads; most of it goes to {found['bound']}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _flops(layer: Recurrent, steps: int, batch: int) -> float:
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
