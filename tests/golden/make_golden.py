# SPDX-License-Identifier: MIT
"""Record what PyTorch computes, in float64, so that the tests need no PyTorch: run with torch.

python tests/golden/make_golden.py
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent.parent)]

from configurations import Configuration, run_torch  # noqa: E402

KINDS = {
    "lstm": {"cell": "LSTM"},
    "lstm_projected": {"cell": "LSTM", "proj_size": 3},
    "gru": {"cell": "GRU"},
    "rnn_tanh": {"cell": "RNN"},
    "rnn_relu": {"cell": "RNN", "nonlinearity": "relu"},
}
VARIANTS = {
    "plain": {"input_size": 5, "hidden_size": 9, "batch": 4, "steps": 6},
    "wide": {"input_size": 3, "hidden_size": 17, "batch": 1, "steps": 3, "bias": False},
    "ragged": {
        "input_size": 2,
        "hidden_size": 5,
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": True,
        "batch": 5,
        "steps": 7,
        "lengths": (3, 7, 1, 7, 4),
        "with_state": True,
    },
}


def record(configuration: Configuration) -> dict[str, np.ndarray]:
    """Return the arrays of one case: its data and PyTorch's outputs."""
    data = configuration.data()
    y, *final = run_torch(configuration, data, "float64")
    return {
        "configuration": np.array(json.dumps(asdict(configuration))),
        "x": data.x,
        "y": y,
        **{f"weights/{name}": array for name, array in data.weights.items()},
        **{f"state/{k}": part for k, part in enumerate(data.state or ())},
        **{f"final/{k}": part for k, part in enumerate(final)},
    }


def main() -> None:
    seed = 0
    for kind, cell in KINDS.items():
        arrays = {}
        for variant, sizes in VARIANTS.items():
            seed += 1
            case = record(Configuration(**cell, **sizes, seed=seed))
            arrays |= {f"{variant}/{name}": array for name, array in case.items()}
        np.savez_compressed(HERE / f"{kind}.npz", **arrays)


if __name__ == "__main__":
    main()
