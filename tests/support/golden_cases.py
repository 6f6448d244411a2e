# SPDX-License-Identifier: MIT
"""Read the cases that golden/make_golden.py recorded from PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from configurations import Arrays, Configuration, Data

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class GoldenCase:
    """A configuration, its arrays, and (y, h_n[, c_n]) in float64 from PyTorch, time first."""

    name: str
    configuration: Configuration
    data: Data
    wanted: Arrays


def golden_cases() -> Iterator[GoldenCase]:
    for path in sorted(GOLDEN.glob("*.npz")):
        with np.load(path) as file:
            for variant in dict.fromkeys(name.split("/")[0] for name in file.files):
                yield read_case(f"{path.stem}-{variant}", variant, file)


def read_case(name: str, variant: str, file: np.lib.npyio.NpzFile) -> GoldenCase:
    arrays = {
        key.removeprefix(f"{variant}/"): file[key]
        for key in file.files
        if key.startswith(f"{variant}/")
    }
    options = json.loads(str(arrays["configuration"]))
    if options["lengths"] is not None:
        options["lengths"] = tuple(options["lengths"])

    def group(of: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(of): v for k, v in arrays.items() if k.startswith(of)}

    state = tuple(group("state/").values()) or None
    return GoldenCase(
        name,
        Configuration(**options),
        Data(group("weights/"), arrays["x"], state),
        (arrays["y"], *group("final/").values()),
    )
