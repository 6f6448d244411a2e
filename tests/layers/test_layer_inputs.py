# SPDX-License-Identifier: MIT
"""What a layer accepts and refuses: shapes, dtypes, memory layouts, and extreme values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from configurations import Configuration, Data, make_layer, run_fastrnn, run_reference
from limits import PARITY, SATURATED, error

CELLS = ("LSTM", "GRU", "RNN")
PLAIN = {cell: Configuration(cell, 5, 9, batch=7, steps=4, seed=11) for cell in CELLS}
DEEP = {
    "LSTM": Configuration(
        "LSTM", 5, 18, 2, proj_size=7, bidirectional=True, batch=7, steps=4, seed=12
    ),
    "GRU": Configuration("GRU", 5, 18, 2, bidirectional=True, batch=7, steps=4, seed=13),
    "RNN": Configuration("RNN", 5, 18, 2, bidirectional=True, batch=7, steps=4, seed=14),
}
ALL = [*PLAIN.values(), *DEEP.values()]

pytestmark = pytest.mark.parametrize("configuration", ALL, ids=str)


def parts(state: Any) -> tuple[np.ndarray, ...]:
    return state if isinstance(state, tuple) else (state,)


def same(first: Any, second: Any) -> bool:
    """Whether two results (y, state) have the same bits."""
    pairs = zip((first[0], *parts(first[1])), (second[0], *parts(second[1])), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def random_state(configuration: Configuration, batch: int | None = None) -> Any:
    batch = configuration.batch if batch is None else batch
    rows = configuration.num_layers * configuration.directions
    rng = np.random.default_rng(5)
    h = rng.standard_normal((rows, batch, configuration.output_size)).astype(np.float32)
    c = rng.standard_normal((rows, batch, configuration.hidden_size)).astype(np.float32)
    return (h, c) if configuration.cell == "LSTM" else h


# --- Shapes ---


def test_unbatched(isa: str, configuration: Configuration) -> None:
    x, state = configuration.data().x, random_state(configuration)
    for batch_first in (False, True):
        layer = make_layer(configuration, isa, batch_first=batch_first)
        one = tuple(part[:, 2] for part in parts(state))
        y, final = layer(x[:, 2], one if configuration.cell == "LSTM" else one[0])
        wanted_y, wanted = make_layer(configuration, isa)(x, state)
        assert np.array_equal(y, wanted_y[:, 2])
        for part, whole in zip(parts(final), parts(wanted), strict=True):
            assert np.array_equal(part, whole[:, 2])


def test_batch_first(isa: str, configuration: Configuration) -> None:
    x, state = configuration.data().x, random_state(configuration)
    y, final = make_layer(configuration, isa, batch_first=True)(x.swapaxes(0, 1).copy(), state)
    assert same((y.swapaxes(0, 1), final), make_layer(configuration, isa)(x, state))


def test_empty_batch(isa: str, configuration: Configuration) -> None:
    x = np.zeros((4, 0, 5), np.float32)
    y, final = make_layer(configuration, isa)(x)
    assert y.shape == (4, 0, configuration.directions * configuration.output_size)
    rows = configuration.num_layers * configuration.directions
    widths = [configuration.output_size, configuration.hidden_size]
    for part, width in zip(parts(final), widths, strict=False):
        assert part.shape == (rows, 0, width)
    assert same((y, final), make_layer(configuration, isa)(x, final, lengths=np.zeros(0, np.int64)))


def test_final_state_continues(isa: str, configuration: Configuration) -> None:
    layer = make_layer(configuration, isa)
    x, given = configuration.data().x, random_state(configuration)
    before = tuple(part.copy() for part in parts(given))
    _, state = layer(x, given)
    assert all(np.array_equal(a, b) for a, b in zip(parts(given), before, strict=True))
    _, again = layer(x, state)
    assert all(
        part.dtype == np.float32 and part.shape == whole.shape
        for part, whole in zip(parts(again), before, strict=True)
    )


@pytest.mark.parametrize(
    "shape",
    [(0, 7, 5), (4, 7, 6), (4, 7, 4), (4, 7, 0), (5,), (), (1, 4, 7, 5), (0, 5)],
    ids=str,
)
def test_x_shape_refused(configuration: Configuration, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^x: expected .* got"):
        make_layer(configuration)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("change", [-1, 1])
def test_state_shape_refused(configuration: Configuration, axis: int, change: int) -> None:
    good = random_state(configuration)
    for index, part in enumerate(parts(good)):
        shape = list(part.shape)
        shape[axis] += change
        bad = [*parts(good)]
        bad[index] = np.zeros(shape, np.float32)
        with pytest.raises(ValueError, match=r"^state.*: expected .* got"):
            make_layer(configuration)(
                configuration.data().x, tuple(bad) if configuration.cell == "LSTM" else bad[0]
            )


def test_state_kind_refused(configuration: Configuration) -> None:
    layer, x, state = make_layer(configuration), configuration.data().x, random_state(configuration)
    wrong = parts(state)[0] if configuration.cell == "LSTM" else (state, state)
    with pytest.raises((ValueError, TypeError), match=r"^state.*: expected .* got"):
        layer(x, wrong)
    with pytest.raises((ValueError, TypeError), match=r"^state.*: expected .* got"):
        layer(x, tuple(part[:, 0] for part in parts(state)))


@pytest.mark.parametrize(
    "lengths",
    [[4] * 6, [4] * 8, [5] * 7, [-1] + [4] * 6, [0] + [4] * 6, [[4] * 7], 4, [], [2**40] * 7],
    ids=str,
)
def test_lengths_refused(configuration: Configuration, lengths: Any) -> None:
    with pytest.raises(ValueError, match=r"^lengths: expected .* got"):
        make_layer(configuration)(configuration.data().x, lengths=lengths)


def test_lengths_kind(configuration: Configuration) -> None:
    layer, x = make_layer(configuration), configuration.data().x
    lengths = [2, 4, 1, 3, 4, 4, 1]
    wanted = layer(x, lengths=lengths)
    for kind in (np.int64, np.int32, np.uint8):
        assert same(layer(x, lengths=np.array(lengths, kind)), wanted)
    assert same(layer(x, lengths=tuple(lengths)), wanted)
    for kind in (np.float32, bool, object):
        with pytest.raises(TypeError, match=r"^lengths: expected integers, got"):
            layer(x, lengths=np.array(lengths, kind))


# --- Dtypes and memory ---


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool, np.complex64, object, "U1"], ids=str)
def test_dtype_refused(configuration: Configuration, dtype: Any) -> None:
    layer, data = make_layer(configuration), configuration.data()
    with pytest.raises(TypeError, match=r"^x: expected .* got"):
        layer(np.zeros(data.x.shape, dtype))
    state = tuple(part.astype(dtype) for part in parts(random_state(configuration)))
    with pytest.raises(TypeError, match=r"^state.*: expected .* got"):
        layer(data.x, state if configuration.cell == "LSTM" else state[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float64], ids=str)
def test_dtype_cast(isa: str, configuration: Configuration, dtype: Any) -> None:
    layer = make_layer(configuration, isa)
    x = configuration.data().x.astype(dtype)
    state = tuple(part.astype(dtype) for part in parts(random_state(configuration)))
    as32 = tuple(part.astype(np.float32) for part in state)
    bare = configuration.cell != "LSTM"
    found = layer(x, state[0] if bare else state)
    assert found[0].dtype == np.float32
    assert same(found, layer(x.astype(np.float32), as32[0] if bare else as32))


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[:] = x
    return view


def gapped(x: np.ndarray) -> np.ndarray:
    wide = np.full((*x.shape[:-1], x.shape[-1] + 3), np.nan, x.dtype)
    wide[..., 1:-2] = x
    return wide[..., 1:-2]


def spread(x: np.ndarray) -> np.ndarray:
    wide = np.full((*x.shape, 2), np.nan, x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


def swapped(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(0, 1).copy().swapaxes(0, 1)


def flipped(x: np.ndarray) -> np.ndarray:
    return x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]


LAYOUTS = (read_only, unaligned, gapped, spread, swapped, flipped, np.asfortranarray)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_memory_layout(
    isa: str, configuration: Configuration, layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    layer, x, state = (
        make_layer(configuration, isa),
        configuration.data().x,
        random_state(configuration),
    )
    laid = tuple(layout(part) for part in parts(state))
    found = layer(layout(x), laid if configuration.cell == "LSTM" else laid[0])
    assert same(found, layer(x, state))


def test_repeated_row_has_stride_zero(isa: str, configuration: Configuration) -> None:
    layer, x = make_layer(configuration, isa), configuration.data().x
    row = np.broadcast_to(x[:, :1], x.shape)
    y, _ = layer(row)
    assert all(np.array_equal(y[:, k], y[:, 0]) for k in range(7))
    assert same(layer(row), layer(row.copy()))


def test_results_are_own_memory(configuration: Configuration) -> None:
    layer, x = make_layer(configuration), configuration.data().x
    first = layer(x)
    kept = (first[0].copy(), *(part.copy() for part in parts(first[1])))
    layer(np.ones_like(x))
    assert all(
        np.array_equal(a, b) for a, b in zip(kept, (first[0], *parts(first[1])), strict=True)
    )
    assert first[0].flags.writeable
    assert first[0].flags.c_contiguous


# --- Extreme values ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("where", ["x", "state"])
def test_bad_row_stays_alone(
    isa: str, configuration: Configuration, bad: float, where: str
) -> None:
    layer, x, state = (
        make_layer(configuration, isa),
        configuration.data().x,
        random_state(configuration),
    )
    wanted = layer(x, state)
    if where == "x":
        x[1, 3] = bad
    else:
        for part in parts(state):
            part[:, 3] = bad
    found = layer(x, state)
    others = np.arange(7) != 3
    assert np.array_equal(found[0][:, others], wanted[0][:, others])
    for part, clean in zip(parts(found[1]), parts(wanted[1]), strict=True):
        assert np.array_equal(part[:, others], clean[:, others])
    if np.isnan(bad):
        assert np.isnan(found[0][1:, 3]).all()
        if where == "x" and configuration.num_layers == 1:
            assert np.array_equal(found[0][0, 3], wanted[0][0, 3])


def test_padding_has_no_effect(isa: str, configuration: Configuration) -> None:
    layer, x = make_layer(configuration, isa), configuration.data().x
    lengths = np.array([4, 1, 3, 2, 4, 1, 2])
    beyond = np.arange(4)[:, None] >= lengths
    results = []
    for padding in (0.0, np.nan, np.inf, 1e30):
        x[beyond] = padding
        results.append(layer(x, random_state(configuration), lengths=lengths))
    assert not results[0][0][beyond].any()
    assert not np.isnan(results[1][0]).any()
    assert all(same(result, results[0]) for result in results)


def test_infinite_input_saturates(isa: str, configuration: Configuration) -> None:
    """Gates at +-inf take their limits: no NaN where the exact result has none."""
    data = configuration.data()
    for name in data.weights:
        data.weights[name][:] = 0.5 if name.startswith("weight") else 0.0
    data.x[:] = 1.0
    data.x[1] = np.inf
    found = run_fastrnn(configuration, isa, data)
    wanted = run_reference(configuration, data)
    for a, b in zip(found, wanted, strict=True):
        assert error(a, b) <= PARITY


def wide_weight(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of 0 and +-32, with one sign per row and one recurrent weight per row at most.

    So no sum cancels: a gate is shut, open, or given by a pre-activation that float32 holds.
    """
    weight = (
        32.0 * (rng.random(shape) < 0.5) * rng.choice([-1.0, 0.0, 1.0], (shape[0], 1)[: len(shape)])
    )
    if name.startswith("weight_hr"):
        weight /= 32.0
    if name.startswith("weight_hh"):
        weight *= np.arange(shape[1]) == rng.integers(0, shape[1], (shape[0], 1))
    return weight.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_wide_inputs(isa: str, configuration: Configuration, seed: int) -> None:
    """x and c_0 of 1e4 and weights of 32; step by step, as rounding would grow 32-fold per step."""
    rng = np.random.default_rng([seed, 99])
    one = replace(configuration, steps=1)
    weights = {name: wide_weight(rng, name, shape) for name, shape in one.shapes().items()}
    state = parts(random_state(one))
    if one.cell == "LSTM":
        state = (state[0], rng.choice([-1e4, 0.0, 1e4], state[1].shape).astype(np.float32))
    limit = PARITY if one.num_layers == 1 else SATURATED
    for _ in range(4):
        x = rng.choice([0.0, 1.0, 1e4], (1, one.batch, one.input_size), p=[0.6, 0.2, 0.2])
        data = Data(weights, x.astype(np.float32), state)
        found = run_fastrnn(one, isa, data)
        wanted = run_reference(one, data)
        for a, b in zip(found, wanted, strict=True):
            assert np.isfinite(a).all()
            assert error(a, b) <= limit
        state = found[1:]


@pytest.mark.parametrize("scale", [50.0, 1e4, 1e30])
def test_wide_weights_stay_in_range(isa: str, configuration: Configuration, scale: float) -> None:
    """Whatever the size of the weights, h is at most 1, projected at most the sum of |P|."""
    data = configuration.data()
    recurrent = {name: w for name, w in data.weights.items() if "weight_hr" not in name}
    for weight in recurrent.values():
        weight *= scale
    y, *final = run_fastrnn(configuration, isa, data)
    bound = 1.0
    if configuration.proj_size:
        bound = max(np.abs(w).sum(1).max() for n, w in data.weights.items() if "hr" in n)
    assert np.abs(y).max() <= bound * (1 + 1e-6)
    assert all(np.isfinite(part).all() for part in final)
