# SPDX-License-Identifier: MIT
"""The LSTM with coupled gates, f = 1 - i: specification, every kernel table, streams and files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn
from fastrnn import reference
from fastrnn.stack_spec import CELLS, Spec

SIZES = [
    {"input_size": 1, "hidden_size": 1},
    {"input_size": 3, "hidden_size": 7},
    {"input_size": 5, "hidden_size": 16, "bidirectional": True},
    {"input_size": 9, "hidden_size": 33, "num_layers": 2, "proj_size": 5},
    {"input_size": 130, "hidden_size": 65, "num_layers": 3, "bias": False},
]
STEPS, BATCH = 7, 5
LENGTHS = [7, 1, 4, 7, 2]


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer_of(sizes: dict[str, Any], isa: str | None = None) -> fastrnn.LSTM:
    return fastrnn.LSTM(**sizes, coupled=True, isa=isa, seed=3)


def spec_of(layer: fastrnn.LSTM) -> Spec:
    options = {name: getattr(layer, name) for name in ("input_size", "hidden_size", "num_layers")}
    options |= {name: getattr(layer, name) for name in ("bias", "bidirectional", "proj_size")}
    return Spec.of("LSTM", {**options, "coupled": layer.coupled})


def states_of(spec: Spec, seed: int) -> tuple[np.ndarray, ...]:
    sizes = enumerate(spec.state_sizes)
    return tuple(draw(seed + i, spec.state_rows, BATCH, size) for i, size in sizes)


def specified(layer: fastrnn.LSTM, x: np.ndarray, state: Any, lengths: Any) -> Any:
    spec = spec_of(layer)
    return reference.vjp(
        spec.cell,
        x,
        layer.state_dict(),
        state,
        num_layers=spec.num_layers,
        bidirectional=spec.bidirectional,
        lengths=lengths,
    )


def with_forget_gate(rows: np.ndarray) -> np.ndarray:
    """Rows i g o as i f g o: 1 - sigmoid(a) = sigmoid(-a)."""
    i, g, o = np.split(rows, 3)
    return np.concatenate([i, -i, g, o])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_is_an_lstm_with_the_input_gate_negated(sizes: dict[str, Any]) -> None:
    layer = layer_of(sizes)
    spec = spec_of(layer)
    assert spec.cell == "lstm_coupled"
    assert layer.state_dict()["weight_hh_l0"].shape[0] == 3 * layer.hidden_size
    x, state = draw(0, STEPS, BATCH, layer.input_size), states_of(spec, 1)
    weights = {
        name: value if name.startswith("weight_hr") else with_forget_gate(value)
        for name, value in layer.state_dict().items()
    }
    options = {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional}
    plain, final, _ = reference.vjp("lstm", x, weights, state, **options)
    y, own_final, _ = specified(layer, x, state, None)
    assert error(y, plain) <= 1e-12
    assert all(error(a, b) <= 1e-12 for a, b in zip(own_final, final, strict=True))


@pytest.mark.parametrize("sizes", SIZES[:4], ids=str)
def test_specified_gradients_are_differences(sizes: dict[str, Any]) -> None:
    layer = layer_of(sizes)
    spec = spec_of(layer)
    x, state = draw(0, STEPS, BATCH, layer.input_size).astype(np.float64), states_of(spec, 1)
    weights = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    options = {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional}
    dy = draw(9, STEPS, BATCH, spec.width).astype(np.float64)
    dstate = states_of(spec, 11)

    def value(x: np.ndarray, weights: dict[str, np.ndarray], state: Any) -> float:
        y, *final = reference.forward(spec.cell, x, weights, state, **options)
        pairs = zip(final, dstate, strict=True)
        return float((y * dy).sum() + sum((a * b).sum() for a, b in pairs))

    _, _, backward = reference.vjp(spec.cell, x, weights, state, **options)
    grads = backward(dy, dstate)
    rng, step = np.random.default_rng(5), 1e-6
    to_x = rng.standard_normal(x.shape)
    to_state = [rng.standard_normal(part.shape) for part in state]
    to_weights = {name: rng.standard_normal(part.shape) for name, part in weights.items()}

    def moved(sign: float) -> float:
        return value(
            x + sign * step * to_x,
            {name: part + sign * step * to_weights[name] for name, part in weights.items()},
            tuple(a + sign * step * b for a, b in zip(state, to_state, strict=True)),
        )

    slope = (moved(1) - moved(-1)) / (2 * step)
    expected = (grads.x * to_x).sum()
    expected += sum((a * b).sum() for a, b in zip(grads.state, to_state, strict=True))
    expected += sum((grads.weights[name] * to_weights[name]).sum() for name in weights)
    assert abs(slope - expected) <= 1e-6 * max(1, abs(expected))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_kernels_agree_with_the_specification(
    isa: str, sizes: dict[str, Any], lengths: Any
) -> None:
    layer = layer_of(sizes, isa)
    spec = spec_of(layer)
    x, state = draw(0, STEPS, BATCH, layer.input_size), states_of(spec, 1)
    wanted, wanted_final, wanted_backward = specified(layer, x, state, lengths)
    y, final, backward = layer.vjp(x, state, lengths=lengths)
    assert np.array_equal(y, layer(x, state, lengths=lengths)[0])
    assert error(y, wanted) <= PARITY
    assert all(error(a, b) <= PARITY for a, b in zip(final, wanted_final, strict=True))
    dy, dstate = draw(9, *y.shape), states_of(spec, 11)
    grads, expected = backward(dy, dstate), wanted_backward(dy, dstate)
    pairs = [(grads.x, expected.x), *zip(grads.state, expected.state, strict=True)]
    pairs += [(grads.weights[name], expected.weights[name]) for name in grads.weights]
    for found, right in pairs:
        assert np.abs(found - right).max() <= 2e-5 * max(1e-2, np.abs(right).max())


def test_steps_give_the_bits_of_the_sequence(isa: str) -> None:
    layer = layer_of({"input_size": 6, "hidden_size": 37, "num_layers": 2}, isa)
    x = draw(0, STEPS, BATCH, 6)
    y, (h, c) = layer(x)
    stream = layer.stream(BATCH)
    assert all(np.array_equal(stream.step(x[t]), y[t]) for t in range(STEPS))
    assert np.array_equal(stream.state[0], h)
    assert np.array_equal(stream.state[1], c)
    with fastrnn.num_threads(2):
        assert np.array_equal(layer(x)[0], y)


def test_extreme_values(isa: str) -> None:
    layer = layer_of({"input_size": 2, "hidden_size": 9}, isa)
    x = np.zeros((STEPS, 4, 2), np.float32)
    x[2, 1], x[3, 2], x[3, 3] = np.nan, 1e30, -1e30
    y, _, backward = layer.vjp(x)
    grads = backward(np.ones_like(y))
    for row in (0, 2, 3):
        assert np.isfinite(y[:, row]).all()
        assert np.isfinite(grads.x[:, row]).all()
    assert np.isnan(y[2:, 1]).all()


def test_files(tmp_path: Any) -> None:
    layer = layer_of({"input_size": 3, "hidden_size": 4, "proj_size": 2})
    x = draw(0, STEPS, BATCH, 3)
    fastrnn.save(layer, tmp_path / "m.frnn")
    loaded = fastrnn.load(tmp_path / "m.frnn", prefix="rnn")
    assert repr(loaded) == "LSTM(3, 4, proj_size=2, coupled=True)"
    assert np.array_equal(loaded(x)[0], layer(x)[0])
    fastrnn.load(tmp_path / "m.frnn", prefix="rnn", coupled=True)
    with pytest.raises(ValueError, match="coupled=False contradicts the file"):
        fastrnn.load(tmp_path / "m.frnn", prefix="rnn", coupled=False)
    arrays = {f"rnn.{name}": value for name, value in layer.state_dict().items()}
    np.savez(tmp_path / "m.npz", **arrays)
    for options in ({"coupled": True}, {}):  # no other cell of three gates has a projection
        loaded = fastrnn.load(tmp_path / "m.npz", **options)
        assert np.array_equal(loaded(x)[0], layer(x)[0])


def test_weights_of_three_gates_are_a_gru_unless_said_otherwise(tmp_path: Any) -> None:
    layer = layer_of({"input_size": 3, "hidden_size": 4})
    np.savez(tmp_path / "m.npz", **layer.state_dict())
    assert isinstance(fastrnn.load(tmp_path / "m.npz"), fastrnn.GRU)
    assert repr(fastrnn.load(tmp_path / "m.npz", coupled=True)) == "LSTM(3, 4, coupled=True)"


def test_other_values_of_the_option_are_refused() -> None:
    with pytest.raises(TypeError, match="coupled: expected"):
        fastrnn.LSTM(3, 4, coupled=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="proj_size"):
        fastrnn.LSTM(3, 4, coupled=True, proj_size=4)
    assert CELLS["lstm_coupled"].gates == "igo"
