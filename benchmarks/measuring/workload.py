# SPDX-License-Identifier: MIT
"""Workloads in files, for the processes of the engines."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastrnn.bench import Arrays, Case, Workload


def save_workload(workload: Workload, folder: Path) -> None:
    """Write a workload as .npy files and one JSON file."""
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


def output_gradient(workload: Workload) -> NDArray[np.float32]:
    """The gradient of y that a training step starts from; the same in every process."""
    case = workload.case
    rng = np.random.default_rng(zlib.crc32(f"dy of {case.name}".encode()))
    shape = (case.steps, case.batch, case.directions * case.outputs)
    return rng.standard_normal(shape, dtype=np.float32)
