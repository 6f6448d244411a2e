# SPDX-License-Identifier: MIT
"""The float64 specification computes what PyTorch and the formulas of the papers say.

test_parity.py compares it with torch.nn in every configuration.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from configurations import CONFIGURATIONS, KINDS, SIZES, Configuration, run_reference
from golden_cases import GoldenCase, golden_cases
from limits import REFERENCE, error

from fastrnn import reference


@pytest.mark.parametrize("case", [*golden_cases()], ids=lambda case: case.name)
def test_reference_equals_golden(case: GoldenCase) -> None:
    found = run_reference(case.configuration, case.data)
    assert all(error(a, b) <= REFERENCE for a, b in zip(found, case.wanted, strict=True))


def test_configurations_are_complete() -> None:
    assert len(CONFIGURATIONS) >= 600
    assert len(set(CONFIGURATIONS)) == len(CONFIGURATIONS)
    assert sum(c.work for c in CONFIGURATIONS) < 3e9  # seconds, not minutes
    for kind in KINDS:
        cell, _, variant = kind.partition("-")
        chosen = [
            c
            for c in CONFIGURATIONS
            if c.cell == cell
            and bool(c.proj_size) == (variant == "projected")
            and (c.nonlinearity == "relu") == (variant == "relu")
        ]
        for name, values in SIZES.items():
            least = 2 if variant == "projected" and name == "hidden_size" else 1
            assert {getattr(c, name) for c in chosen} >= {v for v in values if v >= least}
        for option in ("bias", "batch_first", "bidirectional", "with_state"):
            assert {getattr(c, option) for c in chosen} == {False, True}
        assert {c.num_layers for c in chosen} == {1, 2, 3}


def sigmoid(a: float) -> float:
    return 1.0 / (1.0 + math.exp(-a))


def dot(row: np.ndarray, vector: list[float]) -> float:
    return sum(float(a) * b for a, b in zip(row, vector, strict=True))


@pytest.mark.parametrize("hidden", [1, 3])
def test_reset_before_formula(hidden: int) -> None:
    """Computed unit by unit: r multiplies h before the recurrent weights of n do."""
    configuration = Configuration("GRU", 2, hidden, batch=1, steps=1, with_state=True, seed=5)
    data = configuration.data()
    (h,) = data.state
    x, h = data.x[0, 0].tolist(), h[0, 0].tolist()
    w_x, w_h, b_x, b_h = data.weights.values()

    def pre(row: int, hidden_input: list[float]) -> float:
        return dot(w_x[row], x) + float(b_x[row]) + dot(w_h[row], hidden_input) + float(b_h[row])

    r = [sigmoid(pre(k, h)) for k in range(hidden)]
    z = [sigmoid(pre(hidden + k, h)) for k in range(hidden)]
    r_h = [r[k] * h[k] for k in range(hidden)]
    n = [math.tanh(pre(2 * hidden + k, r_h)) for k in range(hidden)]
    wanted = np.array([(1.0 - z[k]) * n[k] + z[k] * h[k] for k in range(hidden)])

    y, _ = reference.forward("gru_reset_before", data.x, data.weights, data.state[0])
    assert error(y[0, 0], wanted) <= REFERENCE


@pytest.mark.parametrize("reset_after", [True, False])
def test_reset_equals_onnx(reset_after: bool) -> None:
    """ONNX Runtime has both GRUs, as linear_before_reset; its order of gates is z, r, h."""
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    configuration = Configuration("GRU", 4, 6, bidirectional=True, batch=3, steps=5, seed=6)
    data = configuration.data()

    def reordered(kind: str, way: str) -> np.ndarray:
        r, z, n = np.split(data.weights[f"{kind}_l0{way}"], 3)
        return np.concatenate([z, r, n])

    def both(kind: str) -> np.ndarray:
        return np.stack([reordered(kind, ""), reordered(kind, "_reverse")])

    biases = np.concatenate([both("bias_ih"), both("bias_hh")], axis=1)
    initial = {"W": both("weight_ih"), "R": both("weight_hh"), "B": biases}
    node = onnx.helper.make_node(
        "GRU",
        ["X", "W", "R", "B"],
        ["Y", "Y_h"],
        hidden_size=6,
        direction="bidirectional",
        linear_before_reset=int(reset_after),
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [value("X", onnx.TensorProto.FLOAT, data.x.shape)],
        [value("Y", onnx.TensorProto.FLOAT, None), value("Y_h", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in initial.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    model.ir_version = 8
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, h_n = session.run(None, {"X": data.x})

    cell = "gru" if reset_after else "gru_reset_before"
    found = reference.forward(cell, data.x, data.weights, bidirectional=True)
    # ONNX Runtime computes in float32
    assert error(found[0], y.transpose(0, 2, 1, 3).reshape(found[0].shape)) < 1e-6
    assert error(found[1], h_n) < 1e-6


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_ragged_rows_stand_alone(cell: str, bidirectional: bool) -> None:
    """Each row equals the row alone, shortened to its length; with length 0 the state is kept."""
    lengths = (2, 5, 0, 3)
    configuration = Configuration(
        cell,
        3,
        4,
        num_layers=2,
        bidirectional=bidirectional,
        batch=4,
        steps=5,
        with_state=True,
        seed=7,
    )
    data = configuration.data()
    options = {"num_layers": 2, "bidirectional": bidirectional}

    def run(rows: slice, steps: int, **more: object) -> tuple[np.ndarray, ...]:
        state = tuple(part[:, rows] for part in data.state)
        state = state if cell == "LSTM" else state[0]
        x = data.x[:steps, rows]
        return reference.forward(configuration.spec.cell, x, data.weights, state, **options, **more)

    together = run(slice(None), 5, lengths=lengths)
    for row, length in enumerate(lengths):
        alone = run(slice(row, row + 1), length)
        assert error(together[0][:length, row], alone[0][:, 0]) <= REFERENCE
        assert not together[0][length:, row].any()
        for final, wanted in zip(together[1:], alone[1:], strict=True):
            assert error(final[:, row], wanted[:, 0]) <= REFERENCE
    assert np.array_equal(together[1][:, 2], data.state[0][:, 2].astype(np.float64))


def test_masks_stand_between_layers() -> None:
    """A stack with masks equals its layers one by one; y and the states are not masked."""
    configuration = Configuration(
        "LSTM", 3, 4, num_layers=3, bidirectional=True, proj_size=2, batch=2, steps=5, seed=8
    )
    data = configuration.data()
    masks = (np.random.default_rng(8).random((2, 5, 2, 4)) < 0.7) / 0.7
    options = {"bidirectional": True, "lengths": (5, 2)}
    y, h_n, c_n = reference.forward(
        "lstm", data.x, data.weights, num_layers=3, masks=masks, **options
    )
    below = data.x
    for layer in range(3):
        alone = {
            name.replace(f"_l{layer}", "_l0"): value
            for name, value in data.weights.items()
            if f"_l{layer}" in name
        }
        above, *state = reference.forward("lstm", below, alone, **options)
        rows = slice(2 * layer, 2 * layer + 2)
        assert np.array_equal(state[0], h_n[rows])
        assert np.array_equal(state[1], c_n[rows])
        below = above * masks[layer] if layer < 2 else above
    assert np.array_equal(below, y)


def test_half_a_state_is_enough() -> None:
    """Either part of the LSTM's state may be None, which means zeros."""
    data = Configuration("LSTM", 3, 4, batch=2, steps=3, with_state=True, seed=9).data()
    h, c = data.state
    for given, same in (((h, None), (h, c * 0)), ((None, c), (h * 0, c)), (None, (h * 0, c * 0))):
        found = reference.forward("lstm", data.x, data.weights, given)
        wanted = reference.forward("lstm", data.x, data.weights, same)
        assert all(map(np.array_equal, found, wanted))


def test_extreme_inputs_give_limits() -> None:
    """Gates saturate without a warning, and a NaN stays a NaN."""
    a = np.array([-np.inf, -1e4, 0.0, 1e4, np.inf, np.nan])
    with np.errstate(over="raise", invalid="raise"):
        assert np.array_equal(reference.sigmoid(a), [0, 0, 0.5, 1, 1, np.nan], equal_nan=True)
    assert np.array_equal(reference.relu(a), [0, 0, 0, 1e4, np.inf, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("old", "options", "name"),
    [
        ("LSTM", {}, "lstm"),
        ("GRU", {}, "gru"),
        ("GRU", {"reset_after": False}, "gru_reset_before"),
        ("RNN", {}, "rnn_tanh"),
        ("RNN", {"nonlinearity": "relu"}, "rnn_relu"),
    ],
)
def test_old_names_of_cells_warn(old: str, options: dict[str, object], name: str) -> None:
    """Before cells had names of their own, layer classes named them."""
    data = Configuration(old, 2, 3, batch=2, steps=4, seed=5).data()
    with pytest.warns(DeprecationWarning, match=f"cell: '{old}' is deprecated, use '{name}'"):
        found = reference.forward(old, data.x, data.weights, **options)
    wanted = reference.forward(name, data.x, data.weights)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
