# SPDX-License-Identifier: MIT
"""Every example runs as its first lines say, in its own process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fastrnn.demo import DATA
from fastrnn.readers import read_state_dict

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN_HERE = {"silero_vad.py", "train_digits.py", "train_numpy.py", "train_torch.py"}

# Examples that learn a task: options for a short run, the printed score, and its bounds. A score
# after few steps depends on the rounding of the hardware, so the bounds are far from the score
# measured here, and from that of guessing.
TASKS = [
    ("classify_text.py", "--cell LSTM --epochs 2", r"LSTM: (\S+)%", 65, 100),  # a guess: 52
    ("classify_text.py", "--cell RNN --epochs 2", r"RNN: (\S+)%", 58, 100),
    ("tag_spaces.py", "--epochs 1", r"F1 (\S+) ", 0.7, 1),  # every letter an end: 0.33
    ("tag_spaces.py", "--epochs 1 --one-way", r"F1 (\S+) ", 0.4, 1),
    ("seq2seq.py", "--steps 150", r"characters right: (\S+)%", 60, 100),  # of most frequent: 50
    ("seq2seq_attention.py", "--steps 150", r"characters right: (\S+)%", 80, 100),
    ("spell_picture.py", "--epochs 12", r"spelled right: (\S+)%", 75, 100),  # a guess: 10
    ("time_series.py", "--epochs 2", r"one value: (\S+),", 0, 0.2),  # the last one again: 0.29
    ("time_series.py", "--epochs 2", r"many values: (\S+),", 0, 0.8),  # 1.51
    ("time_series.py", "--epochs 2", r"step by step: (\S+),", 0, 1.0),  # 1.51
    ("long_memory.py", "--steps 200", r" LSTM: (\S+)% right", 80, 100),  # a guess: 25
    ("long_memory.py", "--steps 200", r" GRU: (\S+)% right", 80, 100),
    ("long_memory.py", "--steps 200", r" RNN: (\S+)% right", 0, 50),  # it cannot
    ("long_memory.py", "--steps 200", r" RNN: gradient at .* (\S+) of the last", 0, 1e-6),
    ("long_memory.py", "--steps 200", r" LSTM: gradient at .* (\S+) of the last", 0.1, 10),
    ("char_model.py", "--epochs 2 --characters 100000", r"out: (\S+) bits", 1, 3.4),  # letters: 4.3
    ("audio_stream.py", "--steps 60", r"ESR (\S+),", 0, 0.3),  # silence: 1
]
PLOTS = {
    "seq2seq_attention.py",
    "spell_picture.py",
    "time_series.py",
    "long_memory.py",
    "audio_stream.py",
}

# The example's training for one epoch instead of a hundred.
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
    run_here = RUN_HERE | {name for name, *_ in TASKS}
    assert {path.name for path in EXAMPLES.glob("*.py")} == run_here


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Return what an example prints; it runs once for each of its options."""

    @cache
    def run(name: str, options: str) -> str:
        folder = tmp_path_factory.mktemp("task")
        plot = ["--plot", folder / "plot.png"] if name in PLOTS and find_spec("matplotlib") else []
        printed = python(EXAMPLES / name, *options.split(), *plot, cwd=folder)
        assert not plot or plot[1].stat().st_size > 5000
        return printed

    return run


@pytest.mark.parametrize(("name", "options", "score", "least", "most"), TASKS)
def test_tasks_are_learned(task, name, options, score, least, most):
    found = re.search(score, task(name, options))
    assert found, task(name, options)
    assert least <= float(found[1]) <= most


def test_clipping_cures_an_explosion(task):
    printed = task("long_memory.py", "--steps 200")
    assert "norm clipped to inf: nan% right" in printed
    assert int(re.search(r"norm clipped to 1.0: (\d+)% right", printed)[1]) > 50


def test_classify_text_reads_imdb(tmp_path):
    """A file with the same arrays; reviews that contain word 9 are positive."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        texts = [rng.integers(10, 9000, n).tolist() for n in rng.integers(5, 120, 600)]
        labels = rng.integers(0, 2, 600)
        for text, good in zip(texts, labels, strict=True):
            text[-1 - rng.integers(5)] = 9 if good else 8
        arrays |= {f"x_{part}": np.array(texts, object), f"y_{part}": labels}
    np.savez(tmp_path / "imdb.npz", **arrays)
    options = ["--imdb", tmp_path / "imdb.npz", "--epochs", 6]
    printed = python(EXAMPLES / "classify_text.py", *options, cwd=tmp_path)
    assert float(re.search(r"(\S+)% of 600 texts right", printed)[1]) > 80


def test_audio_stream_writes_what_it_plays(tmp_path):
    python(EXAMPLES / "audio_stream.py", "--steps", 1, "--wav", tmp_path / "a.wav", cwd=tmp_path)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (48000, 4 * 48000)


def test_silero_vad_says_what_is_missing(tmp_path):
    with pytest.raises(AssertionError, match=r"expected the exported Silero VAD, but speech_19s"):
        python(EXAMPLES / "silero_vad.py", tmp_path, cwd=tmp_path)


def test_plots_are_refused_before_training(tmp_path):
    """An example that has trained for minutes must not end for want of matplotlib."""
    names = [path.name for path in EXAMPLES.glob("*.py") if '"--plot"' in path.read_text()]
    assert len(names) > 4
    code = (
        "import runpy, sys; sys.modules['matplotlib'] = None\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r}); sys.argv = ['x', '--plot', 'p.png']\n"
        f"for name in {sorted(set(names) - {'train_torch.py'})}:\n"
        f"    try: runpy.run_path({str(EXAMPLES)!r} + '/' + name, run_name='__main__')\n"
        "    except SystemExit as stopped: print(stopped.code)\n"
    )
    assert python("-c", code, cwd=tmp_path).split() == ["2"] * (len(names) - 1)


def test_silero_vad(tmp_path):
    models = os.environ.get("FASTRNN_MODELS", EXAMPLES.parent.parent / "shared" / "models")
    if not Path(models, "silero_vad").is_dir():
        pytest.skip("the Silero VAD model is absent: set FASTRNN_MODELS to its parent folder")
    assert "speech in " in python(EXAMPLES / "silero_vad.py", cwd=tmp_path)


def test_train_digits_writes_what_the_demo_reads(tmp_path):
    """After one epoch the files have the names, shapes and images of those in the wheel."""
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
