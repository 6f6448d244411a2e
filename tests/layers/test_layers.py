# SPDX-License-Identifier: MIT
"""The layers as Python objects: construction, weights, copies, streams, threads."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

import fastrnn
from fastrnn.layers import dense

CELLS = {"LSTM": fastrnn.LSTM, "GRU": fastrnn.GRU, "RNN": fastrnn.RNN}
cells = pytest.mark.parametrize("cell", CELLS)


def batch(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "word"),
    [
        ((0, 3), {}, ValueError, "input_size"),
        ((3, 0), {}, ValueError, "hidden_size"),
        ((3, -1), {}, ValueError, "hidden_size"),
        ((3, 4, 0), {}, ValueError, "num_layers"),
        ((3, 4.0), {}, TypeError, "hidden_size"),
        ((True, 4), {}, TypeError, "input_size"),
        ((3, 4), {"proj_size": 4}, ValueError, "proj_size"),
        ((3, 4), {"proj_size": -1}, ValueError, "proj_size"),
        ((3, 4), {"dropout": 1.5}, ValueError, "dropout"),
        ((3, 4), {"dropout": "no"}, TypeError, "dropout"),
        ((3, 4), {"isa": "mmx"}, ValueError, "isa"),
        ((3, 4), {"bias": "no"}, TypeError, "bias"),
    ],
)
def test_construction_refuses(arguments, options, error, word):
    with pytest.raises(error, match=word):
        fastrnn.LSTM(*arguments, **options)


def test_only_an_lstm_has_a_projection():
    with pytest.raises(TypeError, match="proj_size"):
        fastrnn.GRU(3, 4, proj_size=2)


def test_an_unknown_nonlinearity_is_refused():
    with pytest.raises(ValueError, match="nonlinearity"):
        fastrnn.RNN(3, 4, nonlinearity="sine")


def test_the_environment_chooses_the_isa(monkeypatch):
    monkeypatch.setenv("FASTRNN_ISA", "scalar")
    assert fastrnn.GRU(3, 4).isa == "scalar"
    monkeypatch.setenv("FASTRNN_ISA", "mmx")
    with pytest.raises(ValueError, match="FASTRNN_ISA"):
        fastrnn.GRU(3, 4)


@cells
def test_state_dict_goes_round(cell, isa):
    one = CELLS[cell](5, 9, 2, bidirectional=True, seed=1, isa=isa)
    other = CELLS[cell](5, 9, 2, bidirectional=True, seed=2, isa=isa)
    x = batch(6, 3, 5)
    before, _ = other(x)
    other.load_state_dict({f"rnn.{name}": a for name, a in one.state_dict().items()}, "rnn.")
    assert other(x)[0].tobytes() == one(x)[0].tobytes() != before.tobytes()


@cells
def test_weights_are_the_layers_own(cell):
    layer = CELLS[cell](5, 9, seed=1)
    given = layer.state_dict()
    layer.load_state_dict(given)
    wanted, _ = layer(batch(6, 3, 5))
    for array in (*given.values(), *layer.state_dict().values()):
        array[...] = 0
    assert pickle.loads(pickle.dumps(layer))(batch(6, 3, 5))[0].tobytes() == wanted.tobytes()


@cells
def test_a_bad_state_dict_changes_nothing(cell):
    layer = CELLS[cell](5, 9, seed=1)
    before, _ = layer(batch(6, 3, 5))
    arrays = layer.state_dict()
    arrays["weight_hh_l0"] = arrays["weight_hh_l0"][:, :-1]
    arrays["weight_ih_l0"] *= 2
    with pytest.raises(ValueError, match="weight_hh_l0"):
        layer.load_state_dict(arrays)
    assert layer(batch(6, 3, 5))[0].tobytes() == before.tobytes()


@cells
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "clone", [copy.deepcopy, copy.copy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_copies_compute_the_same(cell, used, clone, isa):
    layer = CELLS[cell](5, 9, 2, batch_first=True, isa=isa)
    x = batch(3, 6, 5)
    if used:
        layer(x)
    twin = clone(layer)
    assert repr(twin) == repr(layer)
    assert twin(x)[0].tobytes() == layer(x)[0].tobytes()


def test_a_pickle_holds_the_weights_only():
    layer = fastrnn.LSTM(64, 64)
    layer(batch(2, 1, 64))
    weights = sum(array.nbytes for array in layer.state_dict().values())
    assert len(pickle.dumps(layer)) < weights + 2000


def test_repr_names_what_is_not_default():
    layer = fastrnn.LSTM(3, 8, num_layers=2, bidirectional=True, proj_size=4)
    assert repr(layer) == "LSTM(3, 8, num_layers=2, bidirectional=True, proj_size=4)"


@cells
def test_a_stream_takes_any_rows(cell, isa):
    """Whatever the dtype, strides and alignment of x, and wherever out lies: the same bits."""
    layer = CELLS[cell](3, 5, seed=1, isa=isa)
    x = batch(2, 3).astype(np.float16).astype(np.float32)
    wanted = layer.stream(2).step(x)
    unaligned = np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3)
    unaligned[...] = x
    wide = np.zeros((2, 6), np.float32)
    wide[:, ::2] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (
        unaligned,
        wide[:, ::2],
        read_only,
        np.asfortranarray(x),
        x.astype(np.float64),
        x.astype(np.float16),
        x.tolist(),
        x[::-1][::-1],
    ):
        assert layer.stream(2).step(same).tobytes() == wanted.tobytes()
    out = np.zeros((2, 8), np.float32)
    assert layer.stream(2).step(x, out[:, 1:6]).tobytes() == wanted.tobytes()
    assert not out[:, 0].any()
    assert not out[:, 6:].any()


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((2, 4), np.float32), ValueError),
        (np.zeros(3, np.float32), ValueError),
        (np.zeros((1, 3), np.float32), ValueError),
        (np.zeros((2, 3), np.int64), TypeError),
        (np.zeros((2, 3), complex), TypeError),
        (None, TypeError),
        ("text", TypeError),
    ],
)
def test_a_step_refuses(x, error):
    stream = fastrnn.GRU(3, 5).stream(2)
    with pytest.raises(error, match="x"):
        stream.step(x)
    assert not stream.state.any()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, 4), np.float32),
        np.zeros((2, 5), np.float64),
        np.zeros((2, 10), np.float32)[:, ::2],
        np.frombuffer(bytes(40), np.float32).reshape(2, 5),
        np.zeros(41, np.uint8)[1:].view(np.float32).reshape(2, 5),
        "text",
    ],
)
def test_a_step_refuses_out(out):
    stream = fastrnn.GRU(3, 5).stream(2)
    with pytest.raises(ValueError, match="out"):
        stream.step(np.ones((2, 3), np.float32), out)
    assert not stream.state.any()


@cells
def test_the_state_of_a_stream(cell, isa):
    layer = CELLS[cell](3, 5, 2, seed=1, isa=isa)
    x = batch(4, 2, 3)
    y, state = layer(x)
    stream = layer.stream(2)
    for step in x:
        last = stream.step(step)
    assert last.tobytes() == y[-1].tobytes()
    kept = stream.state
    for found, wanted in zip(np.atleast_1d(kept), np.atleast_1d(state), strict=True):
        assert found.tobytes() == wanted.tobytes()
    again = layer.stream(2)
    again.state = kept
    assert again.step(x[0]).tobytes() == stream.step(x[0]).tobytes()
    stream.reset(rows=[1])
    fresh = layer.stream(1)
    assert stream.step(x[1])[1].tobytes() == fresh.step(x[1][1:]).tobytes()
    stream.reset()
    assert stream.step(x[0]).tobytes() == y[0].tobytes()


def test_a_bad_state_is_refused():
    stream = fastrnn.LSTM(3, 5).stream(2)
    h, c = stream.state
    for bad in (h, (h, c, c), (h, c[:, :1]), (h[0], c)):
        with pytest.raises(ValueError, match="state"):
            stream.state = bad


def test_the_two_states_swap():
    stream = fastrnn.LSTM(3, 5, seed=1).stream(2)
    stream.step(batch(2, 3))
    h, c = stream.state
    stream.state = (c, h)
    found_h, found_c = stream.state
    assert found_h.tobytes() == c.tobytes()
    assert found_c.tobytes() == h.tobytes()


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([2], ValueError),
        ([-3], ValueError),
        ([0.5], TypeError),
        ("a", TypeError),
        ([True], TypeError),
        ([True, False, True], TypeError),
    ],
)
def test_a_reset_refuses(rows, error):
    stream = fastrnn.GRU(3, 5).stream(2)
    stream.step(batch(2, 3))
    with pytest.raises(error, match="rows: expected"):
        stream.reset(rows)
    assert stream.state.any(axis=2).all()


def test_a_reset_takes_what_numpy_takes():
    stream = fastrnn.GRU(3, 5).stream(3)
    for rows, left in (([], [1, 1, 1]), (np.array([False, True, False]), [True, False, True])):
        stream.step(batch(3, 3))
        stream.reset(rows)
        assert stream.state.any(axis=2)[0].tolist() == left


def test_a_step_may_write_over_x_but_not_over_a_part_of_it(isa):
    stream = fastrnn.RNN(4, 4, seed=1, isa=isa).stream(300)
    rows = batch(301, 4)
    wanted = stream.step(rows[:-1])
    stream.reset()
    with pytest.raises(ValueError, match="out: expected separate memory"):
        stream.step(rows[:-1], rows[1:])
    assert stream.step(rows[:-1], rows[:-1]).tobytes() == wanted.tobytes()


def test_a_stream_is_stepped_by_one_thread_at_a_time():
    stream = fastrnn.LSTM(256, 256, seed=1).stream(32)
    x = batch(32, 256)

    def steps(_: int) -> int:
        refused = 0
        for _ in range(50):
            try:
                stream.step(x)
            except RuntimeError:
                refused += 1
        return refused

    with ThreadPoolExecutor(4) as pool:
        refused = sum(pool.map(steps, range(4)))
    assert np.isfinite(stream.state[0]).all()
    assert refused < 200


def test_weights_loaded_during_a_first_call_win():
    zeros = {name: a * 0 for name, a in fastrnn.LSTM(64, 300).state_dict().items()}
    x = batch(1, 1, 64)
    for seed in range(10):
        layer = fastrnn.LSTM(64, 300, seed=seed)
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(layer, x)
            layer.load_state_dict(zeros)
            pending.result()
        assert not layer(x)[0].any()


@cells
def test_zero_weights_give_positive_zeros(cell, isa):
    layer = CELLS[cell](3, 9, isa=isa)
    layer.load_state_dict({name: a * 0 for name, a in layer.state_dict().items()})
    y, _ = layer(np.abs(batch(3, 2, 3)))
    assert not y.any()
    assert not np.signbit(y).any()


def test_a_stream_is_not_pickled():
    with pytest.raises(TypeError, match="copy its state"):
        pickle.dumps(fastrnn.GRU(3, 5).stream())


def test_two_directions_do_not_stream():
    with pytest.raises(ValueError, match="bidirectional"):
        fastrnn.LSTM(3, 5, bidirectional=True).stream()


def test_threads_are_counted_truthfully():
    before = fastrnn.get_num_threads()
    with fastrnn.num_threads(1):
        assert fastrnn.get_num_threads() == 1
    assert fastrnn.get_num_threads() == before
    for bad, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n: expected"):
            fastrnn.set_num_threads(bad)


class Counted(np.ndarray):
    """An array that notes the multiply-adds of each of its products."""

    counts: ClassVar[list[int]] = []

    def __matmul__(self, other):
        self.counts.append(self.size * other.shape[-1])
        return np.asarray(self) @ np.asarray(other)


@pytest.mark.parametrize("shape", [(90, 5, 6), (5, 90, 6), (5, 6, 90), (9, 9, 9), (1, 1, 700)])
def test_long_products_are_parts(monkeypatch, shape):
    """So that Ctrl-C is answered; whole numbers have the same sums in any order."""
    monkeypatch.setattr(dense, "LONG_PRODUCT", 400)
    monkeypatch.setattr(Counted, "counts", [])
    rng = np.random.default_rng(sum(shape))
    a, b = (rng.integers(-9, 9, (2, *s)).astype(np.float32) for s in (shape[:2], shape[1:]))
    assert np.array_equal(dense.product(a.view(Counted), b), a @ b)
    assert len(Counted.counts) > 1
    assert max(Counted.counts) <= 400


def at_odd_addresses(x: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


@pytest.mark.parametrize(
    "layer",
    [
        fastrnn.LSTM(6, 4, seed=1), fastrnn.Linear(6, 4, seed=1), fastrnn.Conv1d(4, 2, 3, seed=1),
        fastrnn.LayerNorm(6), fastrnn.BatchNorm1d(4), fastrnn.Softmax(-1), fastrnn.ReLU(),
        fastrnn.GELU(), fastrnn.Pool("mean"), fastrnn.MaxPool1d(2), fastrnn.Flatten(),
        fastrnn.AttentionPool(fastrnn.Linear(6, 1, seed=1)),
        fastrnn.Residual(fastrnn.Linear(6, 6, seed=1)),
        fastrnn.Sequential(fastrnn.GELU(), fastrnn.GRU(6, 4, seed=1)),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_arrays_at_odd_addresses(layer):
    """As numpy.frombuffer makes them: a layer takes them like any others."""
    x = batch(5, 4, 6)
    y, _, back = layer.vjp(x)
    y_odd, _, back_odd = layer.vjp(at_odd_addresses(x))
    assert y_odd.tobytes() == y.tobytes() == layer(at_odd_addresses(x))[0].tobytes()
    dy = batch(*y.shape)
    assert back_odd(at_odd_addresses(dy)).x.tobytes() == back(dy).x.tobytes()
