# SPDX-License-Identifier: MIT
"""Every example runs as its first lines say, as a program of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fastrnn.demo import DATA
from fastrnn.readers import read_state_dict

EXAMPLES = Path(__file__).parent.parent / "examples"
RUN_HERE = {"silero_vad.py", "train_digits.py", "train_numpy.py", "train_torch.py"}

# Training as the example does it, but for one epoch instead of a hundred.
TRAIN_BRIEFLY = """
import sys
from importlib.util import find_spec
from pathlib import Path

import train_digits

full = train_digits.train
train_digits.train = lambda *arguments: full(*arguments, epochs=1)
train_digits.main(Path(sys.argv[1]))
"""


def python(*arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == RUN_HERE


def test_silero_vad(tmp_path):
    models = os.environ.get("FASTRNN_MODELS", EXAMPLES.parent.parent / "shared" / "models")
    if not Path(models, "silero_vad").is_dir():
        pytest.skip("the Silero VAD model is absent: set FASTRNN_MODELS to its parent folder")
    assert "speech in " in python(EXAMPLES / "silero_vad.py", cwd=tmp_path)


def test_train_digits_writes_what_the_demo_reads(tmp_path):
    """One epoch gives files of the same names, shapes and images as those in the wheel."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    assert "held out: 450 images" in python("-c", TRAIN_BRIEFLY, tmp_path, cwd=EXAMPLES)
    for name in ("digits_lstm.pt", "digits_heldout.npz"):
        written, shipped = read_state_dict(tmp_path / name), read_state_dict(DATA / name)
        assert {k: (v.shape, v.dtype) for k, v in written.items()} == {
            k: (v.shape, v.dtype) for k, v in shipped.items()
        }
    np.testing.assert_array_equal(written["inputs"], shipped["inputs"])
    np.testing.assert_array_equal(written["labels"], shipped["labels"])


def test_train_torch_gives_the_same_losses(tmp_path):
    pytest.importorskip("torch")
    plot = ["--plot", tmp_path / "losses.png"] if find_spec("matplotlib") else []
    options = ["--steps", 4, "--hidden", 8, *plot]
    printed = python(EXAMPLES / "train_torch.py", *options, cwd=tmp_path)
    losses = re.findall(r"^ *\d+ +(\S+) +(\S+)$", printed, re.MULTILINE)
    assert len(losses) == 4
    for wanted, found in losses:
        assert float(found) == pytest.approx(float(wanted), abs=2e-5)
    assert "speed-up" in printed
    assert not plot or plot[1].stat().st_size > 5000


def test_train_numpy_learns(tmp_path):
    printed = python(EXAMPLES / "train_numpy.py", 8, cwd=tmp_path)
    assert int(re.search(r"recognised: (\d+)%", printed)[1]) > 80
