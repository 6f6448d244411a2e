# SPDX-License-Identifier: MIT
"""Losses and clipping: values and gradients are torch's, over valid steps only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from limits import LOSS, error

import fastrnn

RNG = np.random.default_rng(0)
LENGTHS = [7, 1, 4, 6]  # of T 7, B 4


def torch_loss(function, prediction, *arguments, **options):
    """Value and gradient by torch.autograd."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    x = torch.tensor(prediction, requires_grad=True)
    value = getattr(torch.nn.functional, function)(
        x, *(torch.as_tensor(a) for a in arguments), **options
    )
    value.backward()
    return value.item(), x.grad.numpy()


def check(found, wanted):
    assert isinstance(found[0], float)
    assert found[1].dtype == np.float32
    assert found[0] == pytest.approx(wanted[0], rel=LOSS, abs=LOSS)
    assert error(found[1], wanted[1]) < LOSS


def valid_steps(batch_first: bool) -> np.ndarray:
    running = np.arange(7)[:, None] < LENGTHS
    return running.T if batch_first else running


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_cross_entropy(smoothing, scale):
    logits = RNG.standard_normal((31, 9), np.float32) * np.float32(scale)
    targets = RNG.integers(0, 9, 31)
    found = fastrnn.cross_entropy(logits, targets, label_smoothing=smoothing)
    wanted = torch_loss("cross_entropy", logits, targets, label_smoothing=smoothing)
    assert found[0] == pytest.approx(wanted[0], rel=LOSS)
    assert error(found[1], wanted[1]) < LOSS


@pytest.mark.parametrize("batch_first", [False, True])
def test_cross_entropy_of_ragged_steps(batch_first):
    shape = (4, 7) if batch_first else (7, 4)
    logits = RNG.standard_normal((*shape, 5), np.float32)
    targets = RNG.integers(0, 5, shape)
    targets[2, 1] = 3
    ignored = np.where(valid_steps(batch_first) & (targets != 3), targets, -1)
    logits[~valid_steps(batch_first)] = np.nan
    found = fastrnn.cross_entropy(
        logits, targets, lengths=LENGTHS, batch_first=batch_first, ignore_index=3
    )
    flat = np.nan_to_num(logits).reshape(-1, 5)
    value, gradient = torch_loss("cross_entropy", flat, ignored.reshape(-1), ignore_index=-1)
    check(found, (value, gradient.reshape(logits.shape)))
    assert not found[1][~valid_steps(batch_first)].any()


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("extra", [(), (3,), (2, 3)])
def test_mse_and_bce_of_ragged_steps(batch_first, extra):
    shape = (*((4, 7) if batch_first else (7, 4)), *extra)
    valid = np.broadcast_to(valid_steps(batch_first).reshape(*shape[:2], *[1] * len(extra)), shape)
    x = RNG.standard_normal(shape, np.float32) * 20
    t = RNG.random(shape, np.float32)
    x[~valid] = np.nan
    for ours, theirs in [
        (fastrnn.mse, "mse_loss"),
        (fastrnn.bce_with_logits, "binary_cross_entropy_with_logits"),
    ]:
        value, part = torch_loss(theirs, x[valid], t[valid])
        gradient = np.zeros(shape, np.float32)
        gradient[valid] = part
        by_lengths = ours(x, t, lengths=LENGTHS, batch_first=batch_first)
        by_mask = ours(x, t, mask=valid_steps(batch_first))
        assert by_lengths[0] == pytest.approx(value, rel=LOSS)
        assert error(by_lengths[1], gradient) < LOSS
        assert by_mask[0] == by_lengths[0]
        np.testing.assert_array_equal(by_mask[1], by_lengths[1])


def test_bce_pos_weight_and_large_logits():
    x = np.array([-1e4, -90.0, -1.0, 0.0, 2.0, 90.0, 1e4], np.float32)
    t = np.array([1.0, 0.0, 1.0, 0.5, 0.0, 1.0, 0.0], np.float32)
    name = "binary_cross_entropy_with_logits"
    torch = pytest.importorskip("torch")
    wanted = torch_loss(name, x, t, pos_weight=torch.tensor(3.0))
    found = fastrnn.bce_with_logits(x, t, pos_weight=3.0)
    assert found[0] == pytest.approx(wanted[0], rel=LOSS)
    assert error(found[1], wanted[1]) < LOSS


def test_nothing_valid_is_a_loss_of_zero():
    x, labels = np.ones((3, 2, 4), np.float32), np.ones((3, 2), int)
    for value, gradient in [
        fastrnn.cross_entropy(x, labels, ignore_index=1),
        fastrnn.cross_entropy(x, labels, lengths=[0, 0]),
        fastrnn.cross_entropy(x[:, :0], labels[:, :0]),
        fastrnn.mse(x, x + 1, mask=np.zeros((3, 2), bool)),
        fastrnn.mse(x[:0], x[:0]),
        fastrnn.bce_with_logits(x, x, lengths=[0, 0]),
        fastrnn.bce_with_logits(x[:, :0], x[:, :0]),
    ]:
        assert value == 0.0
        assert not gradient.any()


def test_nan_is_reported_where_it_counts():
    x = np.ones((3, 4), np.float32)
    x[1, 2] = np.nan
    assert math.isnan(fastrnn.cross_entropy(x, [0, 1, 2])[0])
    assert math.isnan(fastrnn.mse(x, np.ones((3, 4)))[0])
    assert math.isnan(fastrnn.bce_with_logits(x, np.ones((3, 4)))[0])
    assert fastrnn.cross_entropy(x, [0, 9, 2], ignore_index=9)[0] == pytest.approx(math.log(4))


def test_inputs_are_left_as_they_are():
    x, t = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    for call in (fastrnn.mse, fastrnn.bce_with_logits):
        call(x, t)
    fastrnn.cross_entropy(x, [0, 1, 2])
    assert (x == 1).all()
    assert (t == 0).all()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: fastrnn.cross_entropy(np.ones((2, 3)), [0]), ValueError, r"targets: .*\(2,\)"),
        (lambda: fastrnn.cross_entropy(np.ones((2, 3)), [0, 3]), ValueError, "0 to 2, got 3"),
        (lambda: fastrnn.cross_entropy(np.ones((2, 3)), [0, -1]), ValueError, "got -1"),
        (lambda: fastrnn.cross_entropy(np.ones((2, 3)), [0.0, 1.0]), TypeError, "integers"),
        (lambda: fastrnn.cross_entropy(np.ones((2, 0)), [0, 0]), ValueError, "classes"),
        (lambda: fastrnn.cross_entropy([[1, 2]], [0]), TypeError, "logits: expected float32"),
        (lambda: fastrnn.cross_entropy(np.ones((1, 2)), [0], label_smoothing=2), ValueError, "0 t"),
        (lambda: fastrnn.mse(np.ones(3), np.ones(4)), ValueError, r"targets: expected shape \(3,"),
        (lambda: fastrnn.mse(np.ones(3), np.ones(3), lengths=[1]), ValueError, "several steps"),
        (lambda: fastrnn.mse(np.ones((3, 1)), np.ones((3, 1)), lengths=[4]), ValueError, "0 to 3"),
        (lambda: fastrnn.mse(np.ones((3, 1)), np.ones((3, 1)), lengths=[1, 2]), ValueError, "shap"),
        (lambda: fastrnn.mse(np.ones((3, 1)), np.ones((3, 1)), lengths=[1.0]), TypeError, "integ"),
        (lambda: fastrnn.mse(np.ones(3), np.ones(3), mask=[1, 0, 1]), ValueError, "mask: .*bools"),
    ],
)  # fmt: skip
def test_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_clip_grad_norm(norm_type, bound):
    torch = pytest.importorskip("torch")
    ours = {"a": RNG.standard_normal((300, 70), np.float32), "b": RNG.standard_normal(5)}
    theirs = [torch.nn.Parameter(torch.zeros(a.shape)) for a in ours.values()]
    for parameter, array in zip(theirs, ours.values(), strict=True):
        parameter.grad = torch.tensor(array, dtype=torch.float32)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, bound, norm_type).item()
    assert fastrnn.clip_grad_norm(ours, bound, norm_type) == pytest.approx(wanted, rel=1e-5)
    for parameter, array in zip(theirs, ours.values(), strict=True):
        # torch adds 1e-6 to the norm before it divides
        np.testing.assert_allclose(array, parameter.grad.numpy(), rtol=1e-5)


def test_clip_grad_norm_that_is_not_finite():
    gradients = {"a": np.array([1.0, np.inf]), "b": np.ones(2)}
    assert fastrnn.clip_grad_norm(gradients, 1.0) == math.inf
    assert gradients["b"].tolist() == [1, 1]
    assert math.isnan(fastrnn.clip_grad_norm({"a": np.array([np.nan])}, 1.0))
    assert fastrnn.clip_grad_norm({"a": np.full(4, 1e30, np.float32)}, 1.0) == pytest.approx(2e30)


def test_clip_grad_value():
    gradients = {"a": RNG.standard_normal((3, 4), np.float32)}
    wanted = gradients["a"].clip(-0.3, 0.3)
    fastrnn.clip_grad_value(gradients, 0.3)
    np.testing.assert_array_equal(gradients["a"], wanted)


def test_clipping_nothing():
    assert fastrnn.clip_grad_norm({}, 1.0) == 0
    assert fastrnn.clip_grad_norm({"a": np.zeros(3)}, 1.0, math.inf) == 0
    for call in (fastrnn.clip_grad_norm, fastrnn.clip_grad_value):
        with pytest.raises(ValueError, match="expected a number of at least 0"):
            call({}, -1.0)
