# SPDX-License-Identifier: MIT
"""The same inputs give the same bits in any batch, in pieces, in a stream and on any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from configurations import Configuration, make_layer

import fastrnn

# Hidden sizes around the vector widths and the panels that a tile of one row takes.
HIDDENS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 48, 65, 128, 130)
KINDS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "LSTM"},
    "lstm_projected": {"cell": "LSTM", "proj_size": -1},
    "gru": {"cell": "GRU"},
    "gru_before": {"cell": "GRU"},
    "rnn_tanh": {"cell": "RNN"},
    "rnn_relu": {"cell": "RNN", "nonlinearity": "relu"},
}
BATCH = 19  # three AVX-512 tiles of rows and one row more
STEPS = 7

hiddens = pytest.mark.parametrize("hidden", HIDDENS)
kinds = pytest.mark.parametrize("kind", KINDS)
few_hiddens = pytest.mark.parametrize("hidden", [5, 17, 64])


class Case:
    """A layer of one kind on one ISA, with inputs and a state for it."""

    def __init__(self, isa: str, kind: str, hidden: int, **options: Any) -> None:
        proj_size = {"proj_size": (hidden + 1) // 2} if "proj_size" in KINDS[kind] else {}
        hidden = max(hidden, 1 + bool(proj_size))  # a projection is smaller than the hidden size
        sizes: dict[str, Any] = {"batch": BATCH, "steps": STEPS, "with_state": True, "seed": hidden}
        merged = KINDS[kind] | proj_size | sizes | options
        self.configuration = Configuration(
            **{"input_size": 10, "hidden_size": hidden, "num_layers": 2} | merged
        )
        changed = {"reset_after": False} if kind == "gru_before" else {}
        data = self.configuration.data()
        self.layer = make_layer(self.configuration, isa, data.weights, **changed)
        self.x, self.state = data.x, data.state

    def run(
        self, x: np.ndarray, state: tuple[np.ndarray, ...] | None, lengths: Any = None
    ) -> tuple[np.ndarray, ...]:
        """Return y and the parts of the final state."""
        if state is not None and self.configuration.cell != "LSTM":
            y, final = self.layer(x, state[0], lengths=lengths)
        else:
            y, final = self.layer(x, state, lengths=lengths)
        return (y, *final) if isinstance(final, tuple) else (y, final)

    def rows(self, which: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return x and state of some rows of the batch."""
        return self.x[:, which], tuple(part[:, which] for part in self.state)


def same(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> bool:
    """Whether the bits are equal, the sign of zero included."""
    return all(
        a.shape == b.shape and np.array_equal(a.view(np.int32), b.view(np.int32))
        for a, b in zip(contiguous(first), contiguous(second), strict=True)
    )


def contiguous(results: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return [np.ascontiguousarray(array) for array in results]


def pick(results: tuple[np.ndarray, ...], which: Any) -> tuple[np.ndarray, ...]:
    return tuple(array[:, which] for array in results)


@kinds
@hiddens
def test_batch_size(isa: str, kind: str, hidden: int) -> None:
    """A row's result depends neither on the number of rows nor on its place among them."""
    case = Case(isa, kind, hidden, bidirectional=hidden % 2 == 0)
    whole = case.run(case.x, case.state)
    for count in (1, 2, 3, 4, 5, 6, 7, 8, 12, 13):
        for start in (0, BATCH - count):
            which = slice(start, start + count)
            assert same(case.run(*case.rows(which)), pick(whole, which)), (count, start)


@kinds
@hiddens
def test_neighbours(isa: str, kind: str, hidden: int) -> None:
    case = Case(isa, kind, hidden)
    order = np.random.default_rng(hidden).permutation(BATCH)
    whole = case.run(case.x, case.state)
    assert same(case.run(*case.rows(order)), pick(whole, order))
    x = case.x * 3
    x[:, ::2] = case.x[:, ::2]
    assert same(pick(case.run(x, case.state), slice(0, None, 2)), pick(whole, slice(0, None, 2)))


@kinds
@hiddens
def test_cuts_in_time(isa: str, kind: str, hidden: int) -> None:
    """A sequence in pieces, the state carried, equals the sequence in one call."""
    case = Case(isa, kind, hidden)
    for batch in (1, 3, BATCH):
        x, state = case.rows(slice(0, batch))
        whole = case.run(x, state)
        for cuts in ([1], [3], [6], [1, 2, 3, 4, 5, 6], [2, 4]):
            pieces, carried = [], state
            for piece in np.split(x, cuts):
                y, *carried = case.run(piece, tuple(carried))
                pieces.append(y)
            assert same((np.concatenate(pieces), *carried), whole), (batch, cuts)


@kinds
@pytest.mark.parametrize("batch", [1, 6])
def test_cuts_of_a_long_sequence(isa: str, kind: str, batch: int) -> None:
    """Long enough to be projected in several chunks of steps."""
    case = Case(isa, kind, 24, steps=700, batch=batch)
    whole = case.run(case.x, case.state)
    for cut in (1, 333, 699):
        first, *middle = case.run(case.x[:cut], case.state)
        second, *final = case.run(case.x[cut:], tuple(middle))
        assert same((np.concatenate([first, second]), *final), whole), cut


@kinds
@hiddens
def test_stream(isa: str, kind: str, hidden: int) -> None:
    """Steps of a stream equal the sequence, with and without `out`."""
    case = Case(isa, kind, hidden)
    for batch in (1, 2, 7):
        x, state = case.rows(slice(0, batch))
        stream = case.layer.stream(batch_size=batch)
        stream.state = state if case.configuration.cell == "LSTM" else state[0]
        out = np.full((batch, case.configuration.output_size), np.nan, np.float32)
        ys = []
        for step, x_t in enumerate(x):
            y = stream.step(x_t, out=out) if step % 2 else stream.step(x_t)
            ys.append(y.copy())
        final = stream.state if case.configuration.cell == "LSTM" else (stream.state,)
        assert same((np.stack(ys), *final), case.run(x, state)), batch


@kinds
@few_hiddens
def test_stream_reset(isa: str, kind: str, hidden: int) -> None:
    """Rows that are reset start again, the others continue."""
    case = Case(isa, kind, hidden)
    stream = case.layer.stream(batch_size=3)
    x = case.x[:, :3]
    for x_t in x[:4]:
        stream.step(x_t)
    stream.reset(rows=[1])
    ys = np.stack([stream.step(x_t) for x_t in x[4:]])
    assert same((ys[:, [0, 2]],), (case.run(x, None)[0][4:, [0, 2]],))
    assert same((ys[:, 1],), (case.run(x[4:], None)[0][:, 1],))
    stream.reset()
    assert same((stream.step(x[0]),), (case.run(x[:1], None)[0][0],))


@kinds
@few_hiddens
@pytest.mark.parametrize("bidirectional", [False, True])
def test_ragged_rows_alone(isa: str, kind: str, hidden: int, bidirectional: bool) -> None:
    """A row of a ragged batch equals the row alone, shortened to its length."""
    case = Case(isa, kind, hidden, bidirectional=bidirectional)
    lengths = np.random.default_rng(hidden).integers(1, STEPS + 1, BATCH)
    y, *final = case.run(case.x, case.state, lengths)
    for row, length in enumerate(lengths):
        x, state = case.rows(slice(row, row + 1))
        alone, *wanted = case.run(x[:length], state)
        assert same((y[:length, row : row + 1], *pick(tuple(final), [row])), (alone, *wanted))
        assert not y[length:, row].any()


@kinds
@few_hiddens
def test_full_lengths_equal_none(isa: str, kind: str, hidden: int) -> None:
    case = Case(isa, kind, hidden, bidirectional=True)
    whole = case.run(case.x, case.state)
    assert same(case.run(case.x, case.state, [STEPS] * BATCH), whole)


@kinds
@hiddens
def test_zero_state_equals_none(isa: str, kind: str, hidden: int) -> None:
    case = Case(isa, kind, hidden, bidirectional=True)
    zeros = tuple(np.zeros_like(part) for part in case.state)
    assert same(case.run(case.x, zeros), case.run(case.x, None))


@kinds
@few_hiddens
def test_alignment(isa: str, kind: str, hidden: int) -> None:
    """The address of an array has no effect."""
    case = Case(isa, kind, hidden)
    whole = case.run(case.x, case.state)
    for offset in (1, 4, 12, 32):
        raw = np.zeros(case.x.nbytes + 64, np.uint8)
        moved = raw[offset : offset + case.x.nbytes].view(np.float32).reshape(case.x.shape)
        moved[:] = case.x
        assert same(case.run(moved, case.state), whole), offset


@kinds
@pytest.mark.parametrize("hidden", [*HIDDENS, 257])
def test_threads(isa: str, kind: str, hidden: int) -> None:
    case = Case(isa, kind, hidden, batch=64, bidirectional=hidden % 2 == 0)
    for batch in (1, 5, 64):
        x, state = case.rows(slice(0, batch))
        results = []
        for threads in (1, 2, 3):
            with fastrnn.num_threads(threads):
                results.append(case.run(x, state))
        assert same(results[1], results[0]), batch
        assert same(results[2], results[0]), batch


@kinds
def test_threads_ragged(isa: str, kind: str) -> None:
    case = Case(isa, kind, 65, bidirectional=True, batch=64)
    lengths = np.random.default_rng(3).integers(1, STEPS + 1, 64)
    results = []
    for threads in (1, 2):
        with fastrnn.num_threads(threads):
            results.append(case.run(case.x, case.state, lengths))
    assert same(*results)


@kinds
@hiddens
def test_repeated_runs(isa: str, kind: str, hidden: int) -> None:
    """No call leaves anything behind for the next one, or for other layers."""
    case = Case(isa, kind, hidden)
    whole = case.run(case.x, case.state)
    case.run(np.full_like(case.x, np.nan), case.state)
    case.run(case.x[:2, :3], None)
    assert same(case.run(case.x, case.state), whole)
    assert same(Case(isa, kind, hidden).run(case.x, case.state), whole)
