# SPDX-License-Identifier: MIT
"""The demo's trained classifier answers as PyTorch recorded it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from limits import PARITY, error

from fastrnn.demo import DATA, median_us, run_demo
from fastrnn.readers import read_state_dict


@pytest.fixture(scope="module")
def result():
    return run_demo()


def test_agrees_with_pytorch(result):
    assert result.largest_difference <= PARITY


def test_accuracy_is_pytorchs(result):
    held_out = read_state_dict(DATA / "digits_heldout.npz")
    pytorch = (held_out["logits"].argmax(1) == held_out["labels"]).mean()
    assert result.accuracy == pytorch > 0.95


def test_times_are_plausible(result):
    assert 0 < result.us_per_sequence < 1e5
    assert 0 < result.us_per_step < 1e5


def test_recorded_outputs_lead_to_the_recorded_logits():
    weights = read_state_dict(DATA / "digits_lstm.pt")
    held_out = read_state_dict(DATA / "digits_heldout.npz")
    last = held_out["outputs"][:, -1]
    logits = last @ weights["head.weight"].T + weights["head.bias"]
    assert error(logits, held_out["logits"][: len(last)]) <= PARITY


def test_median_ignores_a_slow_call():
    calls = []

    def run():
        calls.append(sum(range(1_000_000)) if len(calls) == 3 else 0)

    assert median_us(run, repeats=5) < 1000
    assert len(calls) == 6  # one to warm up


def test_data_stays_small():
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 400_000


def test_demo_never_imports_torch():
    """Run apart, where a torch that some other test imported cannot hide an import."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fastrnn.cli import main\n"
        "sys.exit(main(['demo', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.95


def test_training_script_exports_the_same_shapes(tmp_path):
    """One epoch of the training script still writes the files the demo reads."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    folder = Path(__file__).parent.parent / "examples"
    script = (
        "import sys; from pathlib import Path; import train_digits as t\n"
        "full = t.train\n"
        "t.train = lambda *arguments: full(*arguments, epochs=1)\n"
        "t.main(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in ("digits_lstm.pt", "digits_heldout.npz"):
        written, shipped = read_state_dict(tmp_path / name), read_state_dict(DATA / name)
        assert {k: (v.shape, v.dtype) for k, v in written.items()} == {
            k: (v.shape, v.dtype) for k, v in shipped.items()
        }
    np.testing.assert_array_equal(written["inputs"], shipped["inputs"])
    np.testing.assert_array_equal(written["labels"], shipped["labels"])
