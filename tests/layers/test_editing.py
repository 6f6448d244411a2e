# SPDX-License-Identifier: MIT
"""Weights that change while a layer is used: what sees the new ones, what keeps the old ones."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import numpy as np
import pytest

import fastrnn


def make(seed: int = 0, bidirectional: bool = True) -> fastrnn.LSTM:
    return fastrnn.LSTM(5, 7, 2, bidirectional=bidirectional, seed=seed)


X = np.random.default_rng(0).standard_normal((6, 3, 5), np.float32)


def fresh(layer: fastrnn.LSTM) -> np.ndarray:
    """What a new layer with these weights makes of X."""
    other = fastrnn.LSTM(5, 7, 2, bidirectional=layer.bidirectional)
    other.load_state_dict(layer.state_dict())
    return other(X)[0]


def shift(layer: fastrnn.LSTM, by: float = 0.1) -> None:
    with layer.editing() as weights:
        for array in weights.values():
            array += np.float32(by)


def test_edited_weights_are_used():
    layer = make()
    before = layer(X)[0]
    for _ in range(4):
        shift(layer)
        np.testing.assert_array_equal(layer(X)[0], fresh(layer))
    assert not np.array_equal(before, layer(X)[0])


def test_assigned_arrays_are_taken():
    layer = make()
    with layer.editing() as weights:
        weights["bias_ih_l0"] = np.full(28, 2.0)
    assert (layer.state_dict()["bias_ih_l0"] == 2).all()
    np.testing.assert_array_equal(layer(X)[0], fresh(layer))


def test_editing_that_fails_midway():
    layer = make()
    layer(X)

    def edit() -> None:
        with layer.editing() as weights:
            weights["bias_ih_l0"] += 1.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit()
    np.testing.assert_array_equal(layer(X)[0], fresh(layer))


def test_memory_is_taken_again():
    """A backward pass that exists while the next step packs needs a second stack, no more."""
    layer, backward = make(), None
    for step in range(6):
        y, _, backward = layer.vjp(X)
        spare = layer._packing._spare.nbytes
        assert spare == (layer._packed().nbytes if step else 0)  # what the last step ran in
        backward(y)
        shift(layer)
        assert layer._packing._spare.nbytes == spare  # backward has the other one
        layer(X)  # evaluation in between
        shift(layer)


@pytest.mark.parametrize(
    ("layer", "x"),
    [(make(), X), (fastrnn.Linear(5, 7), X), (fastrnn.Conv1d(5, 7, 3), X.transpose(1, 2, 0))],
)
def test_load_state_dict_takes_the_memory_again(layer, x):
    def result() -> np.ndarray:
        y = layer(x)
        return y[0] if isinstance(y, tuple) else y

    before, weights, size = result(), layer.state_dict(), layer._packed().nbytes
    layer.load_state_dict({name: array * 0 for name, array in weights.items()})
    assert layer._packing._spare.nbytes == size
    assert not np.array_equal(result(), before)
    assert layer._packing._spare.nbytes == 0
    layer.load_state_dict(weights)
    np.testing.assert_array_equal(result(), before)


def test_streams_keep_their_weights():
    layer = make(bidirectional=False)
    x = np.ones((1, 5), np.float32)
    wanted = layer.stream().step(x)
    streams = []
    for _ in range(5):
        streams.append((layer.stream(), layer.stream().step(x)))
        shift(layer)
    np.testing.assert_array_equal(streams[0][1], wanted)
    for stream, first in streams:
        np.testing.assert_array_equal(stream.step(x), first)
    assert len({first.tobytes() for _, first in streams}) == 5


def test_a_way_back_keeps_its_weights():
    layer = make()
    y, _, backward = layer.vjp(X)
    wanted = backward(y).weights
    for _ in range(4):
        shift(layer)
        layer.vjp(X)
    found = backward(y).weights
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_copies_share_nothing(clone):
    layer = make()
    wanted = layer(X)[0]
    other = clone(layer)
    shift(layer)
    np.testing.assert_array_equal(other(X)[0], wanted)
    shift(other)
    np.testing.assert_array_equal(layer(X)[0], other(X)[0])


def test_threads_see_all_of_a_change_or_nothing():
    """All weights are k/100: so each output is one of those of the whole numbers k."""
    layer = make()
    zero = {name: np.zeros_like(a) for name, a in layer.state_dict().items()}

    def set_all(k: int) -> None:
        with layer.editing() as weights:
            for array in weights.values():
                array[...] = k / 100

    wanted = set()
    for k in range(10):
        layer.load_state_dict({name: a + np.float32(k / 100) for name, a in zero.items()})
        wanted.add(layer(X)[0].tobytes())
    done, strange = threading.Event(), []

    def call() -> None:
        while not done.is_set():
            found = layer(X)[0].tobytes()
            if found not in wanted:
                strange.append(found)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(600):
        set_all(step % 10)
        if step % 3 == 0:
            layer.vjp(X)
    done.set()
    for thread in threads:
        thread.join()
    assert not strange


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_while_weights_are_edited():
    layer = make()
    entered, leave = threading.Event(), threading.Event()

    def edit() -> None:
        with layer.editing():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=edit)
    thread.start()
    entered.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if layer(X)[0].shape == (6, 3, 14) else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_model_is_edited_as_one():
    """Nested, with weights that are packed and others; a stream keeps what is packed."""
    model = fastrnn.Sequential(
        rows=fastrnn.Sequential(fastrnn.Linear(5, 4, seed=0), fastrnn.GRU(4, 4, seed=1)),
        norm=fastrnn.LayerNorm(4),
        head=fastrnn.Linear(4, 2, seed=2),
    )
    before = model.state_dict()
    model(X)
    with model.editing() as weights:
        assert list(weights) == list(before)
        for array in weights.values():
            array += np.float32(0.1)
        weights["head.bias"] = np.array([7.0, 8.0])
    after = model.state_dict()
    np.testing.assert_array_equal(after["rows.0.weight"], before["rows.0.weight"] + np.float32(0.1))
    assert after["head.bias"].tolist() == [7, 8]
    other = copy.deepcopy(model)
    other.load_state_dict(after)
    np.testing.assert_array_equal(model(X)[0], other(X)[0])
