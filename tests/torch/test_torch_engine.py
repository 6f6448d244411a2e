# SPDX-License-Identifier: MIT
"""Tapes in memory of others: how large, where, and for which passes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_pairs import compare, make_pair  # noqa: E402

import fastrnn  # noqa: E402
import fastrnn.torch  # noqa: E402
from fastrnn import _core  # noqa: E402
from fastrnn.stack_spec import CELLS, Spec  # noqa: E402
from fastrnn.torch import engine  # noqa: E402

torch.set_num_threads(1)

KINDS = [
    (cell.name, size) for cell in CELLS.values() for size in ((0, 1) if cell.projects else (0,))
]


def make_model(isa: str, cell: str, hidden: int, layers: int, both: bool, size: int) -> _core.Stack:
    return _core.Stack(cell, 3, hidden, layers, both, size, isa, True)


@pytest.mark.parametrize(("cell", "projected"), KINDS)
def test_formula_is_enough_for_every_tape(isa: str, cell: str, projected: int) -> None:
    for hidden, layers, both in product((2, 5, 15, 16, 17, 64, 250), (1, 3), (False, True)):
        size = projected * (hidden + 1) // 2
        model = make_model(isa, cell, hidden, layers, both, size)
        spec = Spec(cell, 3, hidden, layers, True, both, size)
        for steps, batch in product((1, 2, 50), (1, 3, 40)):
            found = engine.tape_bytes(spec, steps, batch)
            wanted = _core.tape_bytes(model, steps, batch)
            assert found >= wanted
            if hidden % 16 == 0:
                assert found - wanted <= engine._PADDING


def passes(model: _core.Stack, memory: Any, threads: tuple[int, int]) -> list[bytes]:
    """A recorded pass and its backward pass, each with a number of threads; y and all gradients."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((9, 40, n), np.float32) for n in (3, 34))
    lengths = np.array([1 + i % 9 for i in range(40)], np.uintp)
    y, hn = np.empty_like(dy), np.empty((4, 40, 17), np.float32)
    dx, dh0 = np.empty_like(x), np.empty_like(hn)
    weights = [
        [*(np.empty(s, np.float32) for s in ((51, width), (51, 17), 51, 51)), None]
        for width in (3, 3, 34, 34)
    ]
    with fastrnn.num_threads(threads[0]):
        engine.record(model, x, y, None, None, hn, None, lengths, memory, 0.3, 5)
    with fastrnn.num_threads(threads[1]):
        given = (model, x, lengths, memory, 0.3, 5, dy, hn, None, dx, dh0, None, weights)
        engine.gradients(*given)
    arrays = [y, hn, dx, dh0, *(a for place in weights for a in place if a is not None)]
    return [array.tobytes() for array in arrays]


def test_threads_and_places_of_a_tape_change_no_bit(isa: str) -> None:
    model = make_model(isa, "gru", 17, 2, True, 0)
    rng = np.random.default_rng(1)
    shapes = [(51, 3), (51, 17), (51,), (51,)]
    for place in range(4):
        drawn = [rng.standard_normal(s, np.float32) / 4 for s in shapes]
        drawn[0] = drawn[0] if place < 2 else rng.standard_normal((51, 34), np.float32) / 4
        model.set_weights(*divmod(place, 2), *drawn, None)
    needed = _core.tape_bytes(model, 9, 40)
    results = []
    for offset, threads in enumerate([(1, 1), (2, 2), (1, 3), (3, 1), (4, 2), (2, 4)]):
        memory = np.full(needed + offset, 255, np.uint8)[offset:]
        results.append(passes(model, memory, threads))
    assert all(found == results[0] for found in results)


def test_tapes_of_other_passes_are_refused(isa: str) -> None:
    model = make_model(isa, "lstm", 5, 1, False, 0)
    x, y = np.zeros((4, 2, 3), np.float32), np.zeros((4, 2, 5), np.float32)
    needed = _core.tape_bytes(model, 4, 2)
    memory = np.zeros(2 * needed, np.uint8)
    state: tuple[Any, ...] = (None, None, None, None)
    for short in (memory[: needed - 1], memory[:0]):
        with pytest.raises(ValueError, match=rf"memory: expected {needed} bytes, got"):
            engine.record(model, x, y, *state, None, short, 0.0, 0)
    engine.record(model, x, y, *state, None, memory, 0.0, 0)
    for other in (x.reshape(2, 4, 3), x[:3]):
        tape = _core.Tape(model, 0.0, 0, memory)
        assert tape.resume(other, None)
        with pytest.raises(ValueError, match="null or out of range"):
            tape.backward(None, None, None, np.empty_like(other), None, None, [], False)
    with pytest.raises(ValueError, match="sizes of the packed stack"):
        _core.Tape(model, 0.0, 0, memory).resume(x[..., :2], None)


def test_thread_number_may_change_before_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = fastrnn.torch.LSTM(8, 64), torch.randn(20, 32, 8)
    monkeypatch.setattr("fastrnn.runtime.threads._said", 0)
    found = []
    try:
        for forward, backward in ((1, 1), (1, 2), (2, 1)):
            torch.set_num_threads(forward)
            y, _ = layer(x)
            torch.set_num_threads(backward)
            gradients = torch.autograd.grad(y.sum(), layer.parameters())
            found.append([gradient.numpy().tobytes() for gradient in gradients])
    finally:
        torch.set_num_threads(1)
    assert found[0] == found[1] == found[2]


def test_tensors_between_floats() -> None:
    """Memory of files and messages, read where it lies, may begin anywhere."""
    numbers = torch.randn(5, 2, 3)
    message = bytearray(b" " + numbers.numpy().tobytes())
    x = torch.frombuffer(message, dtype=torch.float32, offset=1).view(5, 2, 3)
    assert x.data_ptr() % 4
    theirs, ours = make_pair("GRU", 3, 5)
    compare(theirs, ours, numbers)
    y, wanted = ours(x)[0], ours(numbers)[0]
    assert torch.equal(y, wanted)
    found = torch.autograd.grad(y.sum(), ours.weight_ih_l0)[0]
    assert torch.equal(found, torch.autograd.grad(wanted.sum(), ours.weight_ih_l0)[0])
