# SPDX-License-Identifier: MIT
"""Write the model files of the newest .frnn version, with an input and the output in float64.

    python tests/golden/make_models.py [--force]

Files of a version stay as they are for ever: nothing that exists is written again without --force.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent / "support"), str(FOLDER.parent.parent)]

from description_runner import run  # noqa: E402
from model_files import make as layer  # noqa: E402

from fastrnn.files.frnn_writer import read_model, write_model  # noqa: E402
from fastrnn.readers.description import Description  # noqa: E402
from fastrnn.readers.frnn.frnn_reader import MAJOR, MINOR  # noqa: E402


def models() -> dict[str, tuple[Description, np.ndarray]]:
    """The models by name, each with an input in the layout that its first layer takes."""
    rng = np.random.default_rng(1)
    words = (
        layer("embedding", "Embedding", num_embeddings=11, embedding_dim=4, padding_idx=0),
        layer("rnn.lstm", "LSTM", input_size=4, hidden_size=6, num_layers=2, bidirectional=True),
        layer("norm", "LayerNorm", normalized_shape=(12,)),
        layer("dropout", "Dropout", p=0.25),
        layer("tags", "Linear", in_features=12, out_features=5),
        layer("log_softmax", "LogSoftmax", dim=-1),
    )
    sound = (
        layer(
            "conv.0", "Conv1d", in_channels=3, out_channels=4, kernel_size=3, stride=2, padding=1
        ),
        layer("conv.1", "ReLU"),
        layer("to_steps", "Transpose", dim0=1, dim1=2),
        layer("gru", "GRU", input_size=4, hidden_size=5, batch_first=True, reset_after=False),
        layer("pool", "Pool", mode="mean", batch_first=True),
        layer("out.0", "Linear", in_features=5, out_features=2, bias=False),
        layer("out.1", "Sigmoid"),
    )
    rnn = {"input_size": 2, "hidden_size": 3, "nonlinearity": "relu", "batch_first": True}
    series = (
        layer("rnn", "RNN", states=True, **rnn),
        layer("last", "Last", batch_first=True, of="step"),
        layer("head", "Linear", in_features=3, out_features=4),
        layer("softmax", "Softmax", dim=-1),
    )
    return {
        "words": (Description("golden", words), rng.integers(0, 11, (7, 2))),
        "sound": (Description("golden", sound), rng.standard_normal((2, 3, 9)).astype(np.float32)),
        "series": (Description("golden", series), rng.standard_normal((3, 6, 2)).astype("f4")),
    }


def main() -> None:
    for name, (description, x) in models().items():
        stem = FOLDER / f"v{MAJOR}_{MINOR}_{name}"
        if stem.with_suffix(".frnn").exists() and "--force" not in sys.argv:
            continue
        write_model(stem.with_suffix(".frnn"), description)
        y = run(read_model(stem.with_suffix(".frnn")), x)
        np.save(f"{stem}_x.npy", x)
        np.save(f"{stem}_y.npy", np.asarray(y, np.float64))


if __name__ == "__main__":
    main()
