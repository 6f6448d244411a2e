# SPDX-License-Identifier: MIT
"""`fastrnn.save` and back by `fastrnn.load`: the same model, to the bit."""

from __future__ import annotations

import os
import sys
from io import BytesIO, RawIOBase

import numpy as np
import pytest

import fastrnn
from fastrnn.files import atomic
from fastrnn.files.frnn_writer import read_model


def test_sequential_round_trip(tmp_path):
    model = fastrnn.Sequential(
        {
            "embedding": fastrnn.Embedding(9, 4, padding_idx=0, seed=1),
            "encoder": fastrnn.Sequential(
                {
                    "rnn": fastrnn.LSTM(4, 5, bidirectional=True, batch_first=True, seed=2),
                    "norm": fastrnn.LayerNorm(10),
                }
            ),
            "pool": fastrnn.Pool("max", batch_first=True),
            "head": fastrnn.Linear(10, 3, seed=3),
        }
    )
    fastrnn.save(model, tmp_path / "model.frnn")
    names = [layer.name for layer in read_model(tmp_path / "model.frnn").layers]
    assert names == ["embedding", "encoder.rnn", "encoder.norm", "pool", "head"]
    loaded = fastrnn.load(tmp_path / "model.frnn")
    assert isinstance(loaded, fastrnn.Sequential)
    x = np.random.default_rng(0).integers(0, 9, (3, 7))
    for lengths in (None, [7, 2, 5]):
        assert loaded(x, lengths=lengths)[0].tobytes() == model(x, lengths=lengths)[0].tobytes()
    found, wanted = loaded.state_dict(), model.state_dict()
    assert list(found) == list(wanted)
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_initial_states_are_kept(tmp_path):
    model = fastrnn.Sequential(
        {"rnn": fastrnn.GRU(2, 3, seed=1), "out": fastrnn.Linear(3, 1, seed=2)}
    )
    model.initial_state = {"rnn": np.full((1, 3), 0.5, np.float32)}
    fastrnn.save(model, tmp_path / "model.frnn")
    loaded = fastrnn.load(tmp_path / "model.frnn")
    x = np.ones((4, 2, 2), np.float32)
    assert loaded(x)[0].tobytes() == model(x)[0].tobytes()


@pytest.mark.parametrize(
    "layer",
    [
        fastrnn.LSTM(3, 4, 2, proj_size=2, dropout=0.5, seed=1),
        fastrnn.GRU(3, 4, reset_after=False, bias=False, batch_first=True, seed=1),
        fastrnn.RNN(3, 4, nonlinearity="relu", bidirectional=True, seed=1),
    ],
    ids=repr,
)
def test_one_layer_stays_one(tmp_path, layer):
    fastrnn.save(layer, tmp_path / "layer.frnn")
    loaded = fastrnn.load(tmp_path / "layer.frnn")
    assert repr(loaded) == repr(layer)
    x = np.ones((5, 2, 3), np.float32)
    assert loaded(x)[0].tobytes() == layer(x)[0].tobytes()
    assert repr(fastrnn.load(tmp_path / "layer.frnn", prefix="rnn")) == repr(layer)


class Reluctant(RawIOBase):
    """A file without buffer that takes seven bytes at a time, and `most` in all."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, b""

    def writable(self) -> bool:
        return True

    def write(self, data):
        if len(self.taken) >= self.most:
            return None
        self.taken += bytes(data[:7])
        return len(data[:7])


def test_a_file_without_buffer_gets_all_bytes():
    layer, whole, file = fastrnn.GRU(1, 1, seed=0), BytesIO(), Reluctant(1 << 20)
    fastrnn.save(layer, whole)
    fastrnn.save(layer, file)
    assert file.taken == whole.getvalue()
    with pytest.raises(BlockingIOError):
        fastrnn.save(layer, Reluctant(100))


@pytest.mark.parametrize("name", ["", "new/", "new/.", ".", "loop"])
def test_paths_that_are_no_files(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    with pytest.raises(OSError, match=r"directory|symbolic links"):
        fastrnn.save(fastrnn.ReLU(), name)
    assert os.listdir() == ["loop"]
    assert os.path.islink("loop")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the signal before `with` has the file
def test_a_signal_at_any_time_leaves_nothing_behind(tmp_path):
    layer, path = fastrnn.ReLU(), tmp_path / "m.frnn"
    fastrnn.save(layer, path)
    before, wanted = path.read_bytes(), 0

    def trace(frame, event, argument):
        nonlocal passed
        frame.f_trace_opcodes = True
        if frame.f_code.co_filename != atomic.__file__:
            return None
        passed += event == "opcode"
        if passed == wanted:
            raise KeyboardInterrupt
        return trace

    earlier = sys.gettrace()
    for wanted in range(1, 1000):
        passed = 0
        sys.settrace(trace)
        try:
            fastrnn.save(layer, path)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(earlier)
        assert os.listdir(tmp_path) == ["m.frnn"]
        assert path.read_bytes() == before
        if passed < wanted:
            break
    assert 100 < wanted < 999


def test_what_is_not_a_model():
    with pytest.raises(
        TypeError, match=r"model: expected a fastrnn\.Sequential or a layer, got dict"
    ):
        fastrnn.save({}, BytesIO())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_written_and_stays(tmp_path):
    layer, pipe = fastrnn.GRU(1, 1), tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer does not wait
    try:
        fastrnn.save(layer, pipe)
        found = os.read(reader, 1 << 16)
    finally:
        os.close(reader)
    file = BytesIO()
    fastrnn.save(layer, file)
    assert found == file.getvalue()
    assert pipe.is_fifo()


def test_errors_without_a_number_stay(tmp_path):
    def fail(file):
        raise OSError("no number")

    with pytest.raises(OSError, match=r"^no number$"):
        atomic.write_atomically(str(tmp_path / "m.frnn"), fail)
    assert list(tmp_path.iterdir()) == []
