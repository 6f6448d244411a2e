# SPDX-License-Identifier: MIT
"""The arrays of a case, the same for every engine; weights have PyTorch's names."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cases import GATES, Case

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A case with its arrays. x: [steps][batch][inputs]; lengths: [batch] or None."""

    case: Case
    weights: Arrays
    x: np.ndarray
    lengths: np.ndarray | None

    @property
    def row_steps(self) -> int:
        """Steps that have to be computed, summed over the rows of the batch."""
        if self.lengths is None:
            return self.case.steps * self.case.batch
        return int(self.lengths.sum())


def make_workload(case: Case) -> Workload:
    """Draw the arrays of a case; the seed comes from its name, so they repeat exactly."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    weights = _draw_weights(case, rng)
    x = rng.standard_normal((case.steps, case.batch, case.inputs), dtype=np.float32)
    lengths = None
    if case.ragged:
        lengths = rng.integers(1, case.steps, case.batch, endpoint=True, dtype=np.int64)
        lengths[rng.integers(case.batch)] = case.steps
    return Workload(case, weights, x, lengths)


def _draw_weights(case: Case, rng: np.random.Generator) -> Arrays:
    """PyTorch's default initialisation: uniform in +-1/sqrt(hidden)."""
    bound = case.hidden**-0.5
    rows = GATES[case.cell] * case.hidden
    weights: Arrays = {}
    for layer in range(case.layers):
        for suffix in ("", "_reverse")[: case.directions]:
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, case.layer_inputs(layer)),
                "weight_hh": (rows, case.outputs),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            if case.proj:
                shapes["weight_hr"] = (case.proj, case.hidden)
            for name, shape in shapes.items():
                drawn = rng.uniform(-bound, bound, shape).astype(np.float32)
                weights[f"{name}_l{layer}{suffix}"] = drawn
    return weights


def save_workload(workload: Workload, folder: Path) -> None:
    """Write a workload as .npy files and one JSON file, for the engines' processes to read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").write_text(json.dumps(workload.case.to_json()), encoding="utf-8")
    save_arrays(workload.weights, folder / "weights")
    np.save(folder / "x.npy", workload.x)
    if workload.lengths is not None:
        np.save(folder / "lengths.npy", workload.lengths)


def load_workload(folder: Path) -> Workload:
    case = Case(**json.loads((folder / "case.json").read_text(encoding="utf-8")))
    lengths = np.load(folder / "lengths.npy") if case.ragged else None
    return Workload(case, load_arrays(folder / "weights"), np.load(folder / "x.npy"), lengths)


def save_arrays(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def load_arrays(folder: Path) -> Arrays:
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def difference(got: Arrays, expected: Arrays) -> float:
    """Largest |got - expected| / max(1, |expected|) over all outputs; inf if shapes differ."""
    worst = 0.0
    for name, want in expected.items():
        have = got.get(name)
        if have is None or have.shape != want.shape:
            return float("inf")
        error = np.abs(have.astype(np.float64) - want) / np.maximum(1.0, np.abs(want))
        # A nan compares false with everything, so it is looked for by name.
        if not np.isfinite(error).all():
            return float("inf")
        worst = max(worst, float(error.max(initial=0.0)))
    return worst
