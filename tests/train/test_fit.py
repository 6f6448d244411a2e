# SPDX-License-Identifier: MIT
"""`fit`: the same losses as torch's loop, early stop, ragged data, and what is refused."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from limits import TORCH_GRADIENT, error

import fastrnn
from fastrnn.train import Progress, ProgressBar

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 9, 3), np.float32)
Y = np.repeat(np.cumsum(X[:, :, :1], axis=1) * 0.2, 5, axis=2)


def layer(seed: int = 0, **options) -> fastrnn.GRU:
    return fastrnn.GRU(3, 5, batch_first=True, seed=seed, **options)


def learn(model=None, data=(X, Y), loss=fastrnn.mse, **options):
    model = layer() if model is None else model
    return fastrnn.fit(model, data, loss, fastrnn.Adam(model, lr=0.02), **options)


def test_as_torchs_loop():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    ours, theirs = layer(), torch.nn.GRU(3, 5, batch_first=True)
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict().items()})
    adam = torch.optim.Adam(theirs.parameters(), lr=0.02)
    wanted: dict[str, list[float]] = {"loss": [], "gradient_norm": []}
    for _ in range(3):
        sums = np.zeros(2)
        for first in range(0, 40, 16):
            x, y = torch.tensor(X[first : first + 16]), torch.tensor(Y[first : first + 16])
            loss = torch.nn.functional.mse_loss(theirs(x)[0], y)
            adam.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)
            adam.step()
            sums += np.array([loss.item(), norm.item()]) * len(x)
        for name, value in zip(wanted, sums / 40, strict=True):
            wanted[name].append(value)
    history = learn(ours, epochs=3, batch_size=16, shuffle=False, clip_norm=0.1)
    for name, values in wanted.items():
        assert history[name] == pytest.approx(values, rel=TORCH_GRADIENT)
    for name, tensor in theirs.state_dict().items():
        assert error(ours.state_dict()[name], tensor.numpy()) < TORCH_GRADIENT
    assert set(history) == {"loss", "gradient_norm", "seconds"}


def test_a_seed_repeats_it_dropout_too():
    with_dropout = [layer(num_layers=2, dropout=0.5) for _ in range(3)]
    first, second, third = (
        learn(model, epochs=2, seed=seed)["loss"]
        for model, seed in zip(with_dropout, (4, 4, 5), strict=True)
    )
    assert first == second != third


def test_time_major_and_ragged():
    """Batch axis 1 with lengths, and the same batches as a list, time-major or not."""
    lengths = RNG.integers(1, 10, 40)
    first = learn(
        data=(X, Y, lengths), loss=partial(fastrnn.mse, batch_first=True), epochs=2,
        batch_size=10, per_step=True, shuffle=False,
    )  # fmt: skip
    x, y = X.swapaxes(0, 1), Y.swapaxes(0, 1)
    major = fastrnn.GRU(3, 5, seed=0)
    second = learn(
        major, data=(x, y, lengths), epochs=2, batch_size=10, batch_axis=1, per_step=True,
        shuffle=False,
    )  # fmt: skip
    cut = [slice(n, n + 10) for n in range(0, 40, 10)]
    own = fastrnn.GRU(3, 5, seed=0)
    third = learn(
        own, data=[(x[:, c], y[:, c], lengths[c]) for c in cut], epochs=2, batch_axis=1,
        per_step=True,
    )  # fmt: skip
    assert first["loss"] == second["loss"] == third["loss"]


def test_validation_metrics_and_early_stop():
    """Targets of validation are opposite ones: the first epoch stays the best."""
    model, seen = layer(), []

    def worst(prediction, y):
        return np.abs(prediction - y).max()

    def look(now: Progress) -> None:
        if now.record is not None:
            seen.append(model.state_dict())

    history = learn(
        model, epochs=50, validation=(X, -Y), metrics={"worst": worst}, patience=3, seed=0,
        progress=look,
    )  # fmt: skip
    assert set(history) == {
        "loss", "worst", "gradient_norm", "validation_loss", "validation_worst", "seconds",
    }  # fmt: skip
    best = int(np.argmin(history["validation_loss"]))
    assert len(history["loss"]) == best + 4 < 50
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, seen[best][name])


def test_patience_without_validation_and_without_stop():
    history = learn(epochs=4, patience=3, seed=0)
    assert len(history["loss"]) == 4
    assert history["loss"][-1] < history["loss"][0]


def test_progress():
    seen: list[Progress] = []
    history = learn(epochs=2, batch_size=16, progress=seen.append)
    assert [(p.epoch, p.batch, p.batches, p.record is None) for p in seen] == [
        (epoch, *rest)
        for epoch in (1, 2)
        for rest in [(1, 3, True), (2, 3, True), (3, 3, True), (3, 3, False)]
    ]
    assert [p.loss for p in seen if p.record] == history["loss"]
    assert seen[-1].record == {name: values[-1] for name, values in history.items()}


def test_progress_bar():
    rich = pytest.importorskip("rich.console")
    console = rich.Console(record=True, width=100, file=io.StringIO())
    with ProgressBar(console) as bar:
        learn(epochs=2, progress=bar)
    assert "epoch 2: loss 0." in console.export_text()


def test_clip_value():
    model = layer()
    before = model.state_dict()
    fastrnn.fit(model, (X, Y * 100), fastrnn.mse, fastrnn.SGD(model, lr=1.0), clip_value=1e-3,
                batch_size=40)  # fmt: skip
    for name, array in model.state_dict().items():
        assert np.abs(array - before[name]).max() <= 1.001e-3


@pytest.mark.parametrize("clip", [None, 1.0])
def test_what_is_not_finite_is_reported(clip):
    model, before = layer(), layer().state_dict()
    y = Y.copy()
    y[20, 3, 0] = np.nan
    with pytest.raises(FloatingPointError, match="loss: expected a number, got nan in epoch 1, ba"):
        learn(model, data=(X, y), batch_size=40, clip_norm=clip)
    assert all((a == before[name]).all() for name, a in model.state_dict().items())

    def steep(prediction, y):
        return 1.0, np.full_like(prediction, np.inf)

    with pytest.raises(FloatingPointError, match="gradients: expected a finite norm, got"):
        learn(model, loss=steep, clip_norm=clip)
    assert all((a == before[name]).all() for name, a in model.state_dict().items())


def test_empty_batches_are_passed_over():
    batches = [(X[:0], Y[:0]), (X[:8], Y[:8]), (X[:0], Y[:0])]
    wanted = learn(data=[(X[:8], Y[:8])], epochs=2)
    assert learn(data=batches, epochs=2)["loss"] == wanted["loss"]


def test_no_epochs():
    assert learn(epochs=0) == {}


def test_lists_are_arrays():
    model, other = layer(), layer()
    wanted = learn(model, (X, Y), epochs=1, seed=0)["loss"]
    assert learn(other, (X.tolist(), Y.tolist()), epochs=1, seed=0)["loss"] == wanted
    lengths = [9] * 40
    assert learn(layer(), (X, Y.tolist(), lengths), epochs=1, seed=0)["loss"] == wanted
    assert learn(layer(), ((X[:20], Y[:20]), (X[20:], Y[20:])), epochs=1)["loss"]  # two batches


def test_names_are_no_functions():
    model = layer()
    adam = fastrnn.Adam(model)
    for arguments, words in (
        (("gru", (X, Y), fastrnn.mse, adam), "model: expected a layer or Sequential, got str"),
        ((model, (X, Y), "mse", adam), "loss: expected a function, as .*cross_entropy, got 'mse'"),
        ((model, (X, Y), fastrnn.mse, "adam"), r"optimizer: expected one as .*Adam.* got 'adam'"),
        ((model, "x.csv", fastrnn.mse, adam), r"data: expected arrays \(x, y\), got str"),
    ):
        with pytest.raises(TypeError, match=words):
            fastrnn.fit(*arguments)
    for options, words in (
        ({"metrics": {"accuracy": "accuracy"}}, r"metrics\['accuracy'\]: expected a function"),
        ({"metrics": ["accuracy"]}, "metrics: expected a dict of functions, got list"),
        ({"progress": "bar"}, "progress: expected a function, got 'bar'"),
        ({"data": ([[1.0], [2.0, 3.0]], [0, 1])}, "data: x: expected .*pad them to one array"),
    ):
        with pytest.raises(TypeError, match=words):
            learn(**options)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"data": (X[:0], Y[:0])}, ValueError, "data: expected at least one sample"),
        ({"data": [(X[:0], Y[:0])]}, ValueError, "data: expected at least one sample in epoch 1"),
        ({"data": []}, ValueError, "data: expected at least one sample"),
        ({"data": (X, Y[:3])}, ValueError, r"as many samples in each array, got \[40, 3\]"),
        ({"data": (X, Y), "batch_axis": (0, 3)}, ValueError, "expected axis 3"),
        ({"data": iter([(X, Y)])}, TypeError, "read once for each epoch, got list_iterator"),
        ({"data": (X,)}, TypeError, r"expected \(x, y\) or .*got tuple of 1"),
        ({"data": [X]}, TypeError, "got ndarray"),
        ({"validation": (X[:0], Y[:0])}, ValueError, "validation: expected at least one sample"),
        ({"validation": []}, ValueError, "validation: expected at least one sample"),
        ({"epochs": -1}, ValueError, "epochs: expected at least 0"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"patience": 0}, ValueError, "patience"),
    ],
)
def test_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        learn(**options)
