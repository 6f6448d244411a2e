# SPDX-License-Identifier: MIT
"""The demo's trained classifier returns what was recorded from PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys

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
    assert len(calls) == 6  # the first one is not counted


def test_data_stays_small():
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 400_000


def test_demo_never_imports_torch(tmp_path):
    """In a new process, since another test may have imported torch in this one."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fastrnn.cli import main\n"
        "sys.exit(main(['demo', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.95
