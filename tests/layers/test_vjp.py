# SPDX-License-Identifier: MIT
"""layer.vjp: gradients equal the specification's and torch.autograd's on every kernel table."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from configurations import CONFIGURATIONS, Configuration, bare_state, make_layer, time_axis
from configurations import torch_module as make_module
from limits import GRADIENT, relative_error

import fastrnn
from fastrnn import reference

EVERYTHING = [(isa, c) for c in CONFIGURATIONS for isa in fastrnn.isas()]
Named = dict[str, np.ndarray]


def draw_gradients(configuration: Configuration) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """dy (T, B, D * R) and dstate, normal."""
    c, rng = configuration, np.random.default_rng(configuration.seed + 1000)
    rows = c.num_layers * c.directions
    sizes = [c.output_size] + [c.hidden_size] * (c.cell == "LSTM")
    dy = rng.standard_normal((c.steps, c.batch, c.directions * c.output_size), np.float32)
    return dy, tuple(rng.standard_normal((rows, c.batch, n), np.float32) for n in sizes)


def named(configuration: Configuration, grads: Any, x: np.ndarray) -> Named:
    states = grads.state if configuration.cell == "LSTM" else (grads.state,)
    return {"x": x, **grads.weights} | {
        f"{name}_0": part for name, part in zip("hc", states, strict=False)
    }


def found_gradients(configuration: Configuration, isa: str) -> Named:
    data = configuration.data()
    layer = make_layer(configuration, isa, data.weights)
    dy, dstate = draw_gradients(configuration)
    state = bare_state(configuration, data.state)
    x = time_axis(configuration, data.x)
    _, _, backward = layer.vjp(x, state, lengths=configuration.lengths)
    grads = backward(time_axis(configuration, dy), bare_state(configuration, dstate))
    return named(configuration, grads, time_axis(configuration, grads.x))


@lru_cache(maxsize=2)
def reference_gradients(configuration: Configuration) -> Named:
    data = configuration.data()
    dy, dstate = draw_gradients(configuration)
    _, _, backward = reference.vjp(
        configuration.spec.cell,
        data.x,
        data.weights,
        bare_state(configuration, data.state),
        num_layers=configuration.num_layers,
        bidirectional=configuration.bidirectional,
        lengths=configuration.lengths,
    )
    grads = backward(dy, bare_state(configuration, dstate))
    return named(configuration, grads, grads.x)


@lru_cache(maxsize=2)
def torch_gradients(configuration: Configuration) -> Named:
    """What torch.autograd says in float64; ragged batches go through packed sequences."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(1)
    c, data = configuration, configuration.data()
    module = make_module(c).double()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in data.weights.items()})
    x = torch.from_numpy(time_axis(c, data.x)).double().requires_grad_()
    dy, dstate = draw_gradients(c)
    given = data.state or tuple(np.zeros_like(part) for part in dstate)
    state = tuple(torch.from_numpy(part).double().requires_grad_() for part in given)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
        if c.lengths is None:
            y, final = module(x, bare_state(c, state))
        else:
            lengths = torch.tensor(c.lengths)
            order = {"batch_first": c.batch_first}
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False, **order)
            y, final = module(packed, bare_state(c, state))
            y, _ = pad_packed_sequence(y, total_length=c.steps, **order)
    outputs = [y, *(final if c.cell == "LSTM" else (final,))]
    wanted = [torch.from_numpy(time_axis(c, dy).copy()).double()]
    wanted += [torch.from_numpy(part).double() for part in dstate]
    names = [name for name, _ in module.named_parameters()]
    leaves = [x, *state, *module.parameters()]
    grads = torch.autograd.grad(outputs, leaves, wanted, materialize_grads=True)
    keys = ["x", *(f"{name}_0" for name, _ in zip("hc", state, strict=False)), *names]
    arrays = {key: gradient.numpy() for key, gradient in zip(keys, grads, strict=True)}
    return arrays | {"x": time_axis(c, arrays["x"])}


def check(found: Named, wanted: Named) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert gradient.dtype == np.float32
        assert relative_error(gradient, wanted[name]) <= GRADIENT, name


@pytest.mark.parametrize(("isa", "configuration"), EVERYTHING, ids=str)
def test_gradients(isa: str, configuration: Configuration) -> None:
    """They equal the specification's and torch.autograd's."""
    found = found_gradients(configuration, isa)
    check(found, reference_gradients(configuration))
    pytest.importorskip("torch")
    check(found, torch_gradients(configuration))


# --- What only this library has, and what the call promises ---

SMALL = {"input_size": 5, "hidden_size": 11, "num_layers": 2}


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("lengths", [None, [4, 6, 1]])
def test_gru_reset_before(isa: str, lengths: Any) -> None:
    layer = fastrnn.GRU(**SMALL, reset_after=False, bidirectional=True, isa=isa, seed=0)
    x, dy, dh = draw((6, 3, 5)), draw((6, 3, 22), 1), draw((4, 3, 11), 2)
    _, _, backward = layer.vjp(x, lengths=lengths)
    found = backward(dy, dh)
    _, _, wanted_backward = reference.vjp(
        "gru_reset_before", x, layer.state_dict(), num_layers=2, bidirectional=True,
        lengths=lengths,
    )  # fmt: skip
    wanted = wanted_backward(dy, dh)
    pairs = [(found.x, wanted.x), (found.state, wanted.state)]
    pairs += [(found.weights[name], wanted.weights[name]) for name in wanted.weights]
    for a, b in pairs:
        assert relative_error(a, b) <= GRADIENT


def test_same_outputs_as_a_call(isa: str) -> None:
    layer = fastrnn.LSTM(**SMALL, isa=isa, seed=0)
    x = draw((7, 4, 5))
    y, (h, c) = layer(x)
    y_vjp, (h_vjp, c_vjp), _ = layer.vjp(x)
    assert y.tobytes() == y_vjp.tobytes()
    assert h.tobytes() == h_vjp.tobytes()
    assert c.tobytes() == c_vjp.tobytes()


def test_backward_twice_and_absent_gradients(isa: str) -> None:
    layer = fastrnn.LSTM(**SMALL, isa=isa, seed=0)
    x, dy, dh = draw((7, 4, 5)), draw((7, 4, 11), 1), draw((2, 4, 11), 2)
    _, _, backward = layer.vjp(x)
    of_y, of_h = backward(dy), backward(None, (dh, None))
    both = backward(dy, (dh, np.zeros_like(dh)))
    again = backward(dy)
    for name, array in of_y.weights.items():
        assert array.tobytes() == again.weights[name].tobytes()
        assert relative_error(array + of_h.weights[name], both.weights[name]) <= GRADIENT
    nothing = backward(None)
    assert not nothing.x.any()
    assert not any(array.any() for array in nothing.weights.values())


def test_thread_count_changes_no_bit(isa: str) -> None:
    layer = fastrnn.GRU(**SMALL, bidirectional=True, isa=isa, seed=0)
    x, dy = draw((9, 40, 5)), draw((9, 40, 22), 1)
    results = []
    for threads in (1, 2, 3):
        with fastrnn.num_threads(threads):
            _, _, backward = layer.vjp(x, lengths=[1 + i % 9 for i in range(40)])
            grads = backward(dy)
        results.append([grads.x.tobytes()] + [a.tobytes() for a in grads.weights.values()])
    assert results[0] == results[1] == results[2]


def test_truncated_backpropagation_joins(isa: str) -> None:
    """Two passes, state carried on and dstate carried back, are one."""
    layer = fastrnn.LSTM(**SMALL, isa=isa, seed=0)
    x, dy = draw((8, 3, 5)), draw((8, 3, 11), 1)
    _, _, whole = layer.vjp(x)
    wanted = whole(dy)
    _, state, first = layer.vjp(x[:5])
    _, _, second = layer.vjp(x[5:], state)
    late = second(dy[5:])
    early = first(dy[:5], late.state)
    assert relative_error(np.concatenate([early.x, late.x]), wanted.x) <= GRADIENT
    for name, array in wanted.weights.items():
        assert relative_error(early.weights[name] + late.weights[name], array) <= GRADIENT


def test_gradients_add_up(isa: str) -> None:
    """add_to: the same arrays, with the sum over the pieces of a sequence."""
    layer = fastrnn.GRU(**SMALL, isa=isa, seed=0)
    x, dy = draw((8, 3, 5)), draw((8, 3, 11), 1)
    wanted = layer.vjp(x)[2](dy)
    _, state, first = layer.vjp(x[:5])
    late = layer.vjp(x[5:], state)[2](dy[5:])
    early = first(dy[:5], late.state, add_to=late)
    assert early.weights is late.weights
    for name, array in wanted.weights.items():
        assert relative_error(early.weights[name], array) <= GRADIENT
    before = {name: array.tobytes() for name, array in early.weights.items()}
    layer.vjp(x[:, :0])[2](dy[:, :0], add_to=early)
    assert before == {name: array.tobytes() for name, array in early.weights.items()}


def test_gradients_of_another_layer_are_not_added_to(isa: str) -> None:
    layer, other = fastrnn.GRU(**SMALL, isa=isa), fastrnn.GRU(5, 12, 2, isa=isa)
    x = draw((4, 3, 5))
    wrong = other.vjp(x)[2](None)
    _, _, backward = layer.vjp(x)
    with pytest.raises(ValueError, match=r"add_to.weights\['weight_ih_l0'\]: expected float32"):
        backward(None, add_to=wrong)
    with pytest.raises(TypeError, match=r"add_to: expected what backward\(\) returned, got GRU"):
        backward(None, add_to=layer)  # type: ignore[arg-type]
    grads = backward(None)
    grads.weights["bias_hh_l1"].flags.writeable = False
    with pytest.raises(ValueError, match=r"bias_hh_l1.*writable"):
        backward(None, add_to=grads)


def test_shapes(isa: str) -> None:
    layer = fastrnn.LSTM(5, 11, 2, batch_first=True, proj_size=3, bidirectional=True, isa=isa)
    for shape in ((4, 7, 5), (7, 5), (0, 7, 5)):
        x = draw(shape)
        y, (h, c), backward = layer.vjp(x)
        grads = backward(np.ones_like(y), (h, c))
        assert grads.x.shape == x.shape
        assert [part.shape for part in grads.state] == [h.shape, c.shape]
        assert {k: a.shape for k, a in grads.weights.items()} == {
            k: a.shape for k, a in layer.state_dict().items()
        }
    assert not any(array.any() for array in grads.weights.values())


def test_memory_order_of_arguments_does_not_matter(isa: str) -> None:
    layer = fastrnn.GRU(5, 11, isa=isa, seed=0)
    x, dy = draw((7, 4, 5)), draw((7, 4, 11), 1)
    wanted = layer.vjp(x)[2](dy)
    found = layer.vjp(np.asfortranarray(x))[2](np.asfortranarray(dy).astype(np.float64))
    assert found.x.tobytes() == wanted.x.tobytes()


# --- Dropout ---


def ones_layer(isa: str, dropout: float) -> fastrnn.RNN:
    """Hands the dropout mask of the first layer's outputs, which are 1, on as y."""
    layer = fastrnn.RNN(1, 40, 2, nonlinearity="relu", dropout=dropout, isa=isa)
    weights = {name: np.zeros_like(a) for name, a in layer.state_dict().items()}
    weights["bias_ih_l0"][:] = 1.0
    weights["weight_ih_l1"][:] = np.eye(40)
    layer.load_state_dict(weights)
    return layer


def test_dropout_statistics(isa: str) -> None:
    y, _, _ = ones_layer(isa, 0.3).vjp(np.zeros((50, 50, 1), np.float32), seed=7)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    # 100 000 draws of probability 0.7: a standard deviation is 0.0015; of means over 2500, 0.009.
    assert abs(kept.mean() - 0.7) < 0.006
    for axes in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(kept.mean(axes) - 0.7).max() < 0.05
    for axis in range(3):  # neighbours do not know each other
        a = np.moveaxis(kept, axis, 0)
        assert abs((a[1:] & a[:-1]).mean() - 0.49) < 0.008


def test_dropout_seed(isa: str) -> None:
    layer = ones_layer(isa, 0.5)
    x = np.zeros((5, 6, 1), np.float32)
    same = [layer.vjp(x, seed=3)[0] for _ in range(2)]
    assert same[0].tobytes() == same[1].tobytes()
    assert layer.vjp(x, seed=4)[0].tobytes() != same[0].tobytes()
    assert layer.vjp(x)[0].tobytes() != layer.vjp(x)[0].tobytes()
    assert (layer(x)[0] == 1).all()  # inference has none
    assert not ones_layer(isa, 1.0).vjp(x)[0].any()


def test_dropout_gradients(isa: str) -> None:
    """Forward and backward have the same mask: the specification with that mask agrees."""
    mask, _, _ = ones_layer(isa, 0.4).vjp(np.zeros((6, 3, 1), np.float32), seed=11)
    layer = fastrnn.LSTM(5, 40, 2, dropout=0.4, isa=isa, seed=0)
    x, dy = draw((6, 3, 5)), draw((6, 3, 40), 1)
    y, _, backward = layer.vjp(x, seed=11)
    grads = backward(dy)
    wanted_y, _, wanted_backward = reference.vjp(
        "lstm", x, layer.state_dict(), num_layers=2, masks=[mask]
    )
    wanted = wanted_backward(dy)
    assert relative_error(y, wanted_y) <= GRADIENT
    assert relative_error(grads.x, wanted.x) <= GRADIENT
    for name, array in wanted.weights.items():
        assert relative_error(grads.weights[name], array) <= GRADIENT


# --- What is refused ---


def test_refused() -> None:
    layer = fastrnn.LSTM(5, 11, seed=0)
    x = draw((7, 4, 5))
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed: expected 0 to"):
            layer.vjp(x, seed=seed)
    with pytest.raises(TypeError, match="seed: expected an int, got float"):
        layer.vjp(x, seed=1.0)  # type: ignore[arg-type]
    _, (h, _), backward = layer.vjp(x)
    with pytest.raises(ValueError, match=r"dy: expected shape \(7, 4, 11\), got \(7, 4, 5\)"):
        backward(x)
    with pytest.raises(TypeError, match="dy: expected float32"):
        backward(np.ones((7, 4, 11), int))
    with pytest.raises(ValueError, match="dstate: expected a pair"):
        backward(None, h)
    with pytest.raises(ValueError, match=r"dstate\[1\] \(c\): expected shape"):
        backward(None, (h, h[0]))
