# SPDX-License-Identifier: MIT
"""Optimizers: twenty steps of every option give torch.optim's weights, on arrays and on layers."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from limits import OPTIMIZER, error

import fastrnn

SHAPES = {"matrix": (130, 140), "row": (7,), "number": ()}  # the first is more than a block
STEPS = 20

SGD = [
    {"momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product((0.0, 0.9), (0.0, 0.3), (0.0, 0.1), (False, True))
    if not n or (m > 0 and d == 0)
]
ADAM = [
    {"weight_decay": w, "amsgrad": a, **more}
    for w, a, more in itertools.product(
        (0.0, 0.1), (False, True), ({}, {"betas": (0.5, 0.7), "eps": 1e-3})
    )
]
EVERY = [("SGD", o) for o in SGD] + [(kind, o) for kind in ("Adam", "AdamW") for o in ADAM]


def draw(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: np.array(rng.normal(size=s), np.float32) for name, s in SHAPES.items()}


def gradients(step: int) -> dict[str, np.ndarray]:
    """`row` has none in some steps."""
    found = draw(100 + step)
    if step % 3 == 1:
        del found["row"]
    return found


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_as_torch(kind, options):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    ours = draw(0)
    theirs = {name: torch.nn.Parameter(torch.tensor(a)) for name, a in ours.items()}
    optimizer = getattr(fastrnn, kind)(ours, lr=0.03, **options)
    wanted = getattr(torch.optim, kind)(theirs.values(), lr=0.03, **options)
    for step in range(STEPS):
        optimizer.lr = wanted.param_groups[0]["lr"] = 0.03 / (1 + step / 10)
        found = gradients(step)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(found[name]) if name in found else None
        optimizer.step(found)
        wanted.step()
    for name, parameter in theirs.items():
        assert error(ours[name], parameter.detach().numpy()) < OPTIMIZER, name


def test_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    parameter = [torch.nn.Parameter(torch.ones(1))]
    for kind in ("SGD", "Adam", "AdamW"):
        ours = getattr(fastrnn, kind)({"w": np.ones(1, np.float32)})
        theirs = getattr(torch.optim, kind)(parameter).defaults
        assert {name: getattr(ours, name) for name in ours._rates} == {
            name: theirs[name] for name in ours._rates
        }


@pytest.mark.parametrize(("kind", "options"), EVERY[::3])
def test_on_a_layer(kind, options):
    """The same steps on the layer's own memory as on arrays, and the layer runs with the result."""
    layer = fastrnn.LSTM(6, 9, 2, bidirectional=True, seed=0)
    arrays = layer.state_dict()
    both = [getattr(fastrnn, kind)(target, lr=0.05, **options) for target in (layer, arrays)]
    x = np.random.default_rng(0).standard_normal((5, 3, 6), np.float32)
    own = {name: id(a) for name, a in layer._weights.items()}
    for _ in range(5):
        y, _, backward = layer.vjp(x)
        found = backward(y).weights
        for optimizer in both:
            optimizer.step(found)
    assert own == {name: id(a) for name, a in layer._weights.items()}
    other = fastrnn.LSTM(6, 9, 2, bidirectional=True)
    other.load_state_dict(arrays)
    np.testing.assert_array_equal(layer(x)[0], other(x)[0])


def test_several_layers_and_arrays():
    layer, head = fastrnn.GRU(3, 4, seed=0), np.ones((2, 4))
    optimizer = fastrnn.SGD({"rnn": layer, "head": head}, lr=1.0)
    before = layer.state_dict()["bias_ih_l0"]
    optimizer.step({"head": np.ones((2, 4), np.float32), "rnn.bias_ih_l0": np.ones(12)})
    assert not head.any()
    np.testing.assert_array_equal(layer.state_dict()["bias_ih_l0"], before - 1)


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_state_goes_through_a_file(kind, options):
    weights = draw(0)
    optimizer = getattr(fastrnn, kind)(weights, lr=0.03, **options)
    for step in range(4):
        optimizer.step(gradients(step))
    file = io.BytesIO()
    np.savez(file, **optimizer.state_dict())
    file.seek(0)
    copies = {name: a.copy() for name, a in weights.items()}
    resumed = getattr(fastrnn, kind)(copies, lr=9.0)
    with np.load(file, allow_pickle=False) as arrays:
        resumed.load_state_dict(arrays)
    assert repr(resumed) == repr(optimizer)
    for step in range(4, 8):
        optimizer.step(gradients(step))
        resumed.step(gradients(step))
    for name in weights:
        np.testing.assert_array_equal(copies[name], weights[name])


def test_state_dict_is_a_copy():
    optimizer = fastrnn.Adam(draw(0))
    optimizer.step(gradients(0))
    kept = optimizer.state_dict()
    kept["matrix/mean"][...] = 7
    assert not (optimizer.state_dict()["matrix/mean"] == 7).any()


def test_double_weights_and_strided_gradients():
    weights = {"w": np.ones((40, 30))}
    gradient = np.random.default_rng(0).standard_normal((30, 40)).T
    fastrnn.SGD(weights, lr=0.5, momentum=0.9).step({"w": gradient})
    np.testing.assert_allclose(weights["w"], 1 - 0.5 * gradient)
    assert weights["w"].dtype == np.float64


def test_refused_steps_change_nothing():
    layer = fastrnn.GRU(3, 4, seed=0)
    before = layer.state_dict()
    optimizer = fastrnn.Adam(layer)
    good = np.ones(12, np.float32)
    for bad, words in [
        ({"weight": good}, "'weight' is not a weight"),
        ({"bias_hh_l0": good[:3]}, r"gradients\['bias_hh_l0'\]: expected floats of shape \(12,\)"),
        ({"bias_hh_l0": np.ones(12, int)}, "got int64"),
    ]:
        with pytest.raises(ValueError, match=words):
            optimizer.step({"bias_ih_l0": good, **bad})
    optimizer.step({})
    assert all((before[name] == a).all() for name, a in layer.state_dict().items())


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda w: fastrnn.SGD(w, lr=-1), ValueError, "lr: expected a finite number of at least 0"),
        (lambda w: fastrnn.SGD(w, nesterov=True), ValueError, "nesterov: expected momentum"),
        (lambda w: fastrnn.Adam(w, betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda w: fastrnn.Adam(w, eps=float("nan")), ValueError, "eps"),
        (lambda w: fastrnn.SGD({"w": [1.0]}), TypeError, "w: expected a layer or .* got list"),
        (lambda w: fastrnn.SGD({"w": np.ones(2, int)}), TypeError, "got int64 array"),
        (lambda w: fastrnn.SGD({"w": np.ones((2, 3)).T}), TypeError, "contiguous"),
        (lambda w: fastrnn.Adam(3), TypeError, "target: expected a layer"),
        (lambda w: fastrnn.SGD({"a": w["w"], "b": w["w"][1:]}), ValueError, "'a' and 'b' as one"),
        (lambda w: fastrnn.Adam(w).load_state_dict(None), TypeError, "arrays: expected a mapping"),
        (lambda w: fastrnn.Adam(w).load_state_dict({"rho": 1.0}), ValueError, "'rho': expected"),
        (lambda w: fastrnn.Adam(w).load_state_dict({"z/mean": 1.0}), ValueError, "'z/mean'"),
        (lambda w: fastrnn.Adam(w).load_state_dict({"w/mean": 1.0}), ValueError, r"shape \(2,\)"),
        (lambda w: fastrnn.Adam(w).load_state_dict({"w/mean": w["w"]}), ValueError, "lacks"),
    ],
)
def test_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call({"w": np.ones(2, np.float32)})
