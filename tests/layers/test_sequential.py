# SPDX-License-Identifier: MIT
"""`Sequential`: as a collection, against torch, with rows of any length, step by step."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from limits import DIFFERENCES, PARITY, TORCH_GRADIENT, error, relative_error
from sequential_models import CORNERS, ENDINGS, LENGTHS, MODELS

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    RNN,
    AddInput,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    Flip,
    Last,
    LayerNorm,
    Linear,
    LogSoftmax,
    Mask,
    Pool,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    Transpose,
    Unmask,
)  # fmt: skip

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Each test draws the same numbers, whichever tests ran before it in this process."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_what_they_are_alone(name: str) -> None:
    model, x = Sequential(*MODELS[name]()), floats(5, 9, 6)
    noisy = x.copy()
    for row, length in enumerate(LENGTHS):
        noisy[row, length:] = np.nan
    y, state = model(noisy, lengths=LENGTHS)
    assert np.isfinite(y).all()
    for row, length in enumerate(LENGTHS):
        if name == "convolution" and length < 4:  # than the second kernel
            with pytest.raises(ValueError, match="layer '3': x: expected at least 4 steps"):
                model(x[row : row + 1, :length])
            assert not y[row].any()
            continue
        alone, own = model(x[row : row + 1, :length])
        if name in ENDINGS:
            assert y[row].tobytes() == alone[0].tobytes()
            continue
        whole, alone = (y[:, row], alone[:, 0]) if name == "padded" else (y[row], alone[0])
        assert whole[: len(alone)].tobytes() == alone.tobytes()
        assert not whole[len(alone) :].any()
        for ours, alones in zip(flat(state), flat(own), strict=True):
            assert ours[:, row].tobytes() == alones[:, 0].tobytes()


def flat(state: Any) -> list[np.ndarray]:
    if state is None:
        return []
    if isinstance(state, dict):
        return [part for own in state.values() for part in flat(own)]
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", [name for name in MODELS if name not in CORNERS])
def test_gradients_by_differences(name: str, ragged: bool) -> None:
    model, x = Sequential(*MODELS[name]()), floats(5, 9, 6)
    model.load_state_dict(
        {n: floats(*a.shape) / 2 if "var" not in n else a for n, a in model.state_dict().items()}
    )
    lengths = LENGTHS if ragged else None
    y, state, backward = model.vjp(x, lengths=lengths)
    same, last = model(x, lengths=lengths)
    assert np.array_equal(y, same)
    assert all(np.array_equal(a, b) for a, b in zip(flat(state), flat(last), strict=True))
    dy = floats(*y.shape)
    grads = backward(dy)
    if ragged:
        for row, length in enumerate(LENGTHS):
            assert not grads.x[row, length:].any()
    weights = model.state_dict()
    assert list(grads.weights) == list(weights)

    def value(given: np.ndarray, arrays: dict[str, np.ndarray]) -> float:
        model.load_state_dict(arrays)
        return float((model(given, lengths=lengths)[0].astype(np.float64) * dy).sum())

    # Where ReLU or a maximum has corners, steps must be small.
    step = 1e-3 if name in ("max", "bidirectional", "padded") else 1e-2

    def check(array: np.ndarray, found: np.ndarray, run: Any) -> None:
        """The slope in a random direction, by four points."""
        towards = (floats(*array.shape) / np.sqrt(array.size)).astype(np.float32)
        v = {s: run(array + np.float32(s * step) * towards) for s in (-2, -1, 1, 2)}
        slope = (8 * (v[1] - v[-1]) - (v[2] - v[-2])) / (12 * step)
        difference = abs((found * towards).sum(dtype=np.float64) - slope)
        assert difference <= DIFFERENCES * max(1.0, abs(slope))

    check(x, grads.x, lambda moved: value(moved, weights))
    for key, array in weights.items():
        check(array, grads.weights[key], lambda moved, k=key: value(x, weights | {k: moved}))


class Tagger(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(20, 6, padding_idx=0)
        self.rnn = torch.nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Sequential(torch.nn.Linear(10, 7), torch.nn.ReLU())
        self.out = torch.nn.Linear(7, 3)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            self.embed(x), lengths, batch_first=True, enforce_sorted=False
        )
        y, (h, c) = self.rnn(packed)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        return self.out(self.head(y)), h, c


def test_a_tagger_against_torch() -> None:
    module = Tagger()
    model = Sequential(
        embed=Embedding(20, 6, padding_idx=0),
        rnn=LSTM(6, 5, 2, bidirectional=True, batch_first=True),
        head=Sequential(Linear(10, 7), ReLU()),
        out=Linear(7, 3),
    )
    arrays = {name: array.numpy() for name, array in module.state_dict().items()}
    model.load_state_dict({f"net.{name}": array for name, array in arrays.items()}, prefix="net")
    assert list(model.state_dict()) == list(arrays)
    x = RNG.integers(0, 20, (5, 9))
    wanted, h, c = module(torch.from_numpy(x), LENGTHS)
    y, state, backward = model.vjp(x, lengths=LENGTHS)
    valid = np.arange(9) < np.array(LENGTHS)[:, None]
    assert list(state) == ["rnn"]
    assert error(y[valid], wanted.detach().numpy()[valid]) <= PARITY
    for ours, theirs in zip(state["rnn"], (h, c), strict=True):
        assert error(ours, theirs.detach().numpy()) <= PARITY
    dy, dh, dc = floats(*y.shape), floats(*h.shape), floats(*c.shape)
    mask = torch.from_numpy(valid)[..., None]
    loss = (wanted * torch.from_numpy(dy) * mask).sum()
    (loss + (h * torch.from_numpy(dh)).sum() + (c * torch.from_numpy(dc)).sum()).backward()
    grads = backward(dy, {"rnn": (dh, dc)})
    assert grads.x is None
    assert list(grads.state) == ["rnn"]
    for name, parameter in module.named_parameters():
        assert relative_error(grads.weights[name], parameter.grad.numpy()) <= TORCH_GRADIENT


@pytest.mark.parametrize("ends", [False, True])
def test_mask_leaves_steps_out(ends: bool) -> None:
    x = floats(4, 6, 3)
    gone = [1, 4] if ends else [4, 5]  # where y has steps, they are to be those of x
    x[0, gone] = -1.0
    x[1, :] = -1.0  # nothing left
    x[2, 2:] = -1.0
    left = [[step for step in range(6) if step not in gone], [], [0, 1], list(range(6))]
    rnn = LSTM(3, 4, batch_first=True)
    model = Sequential(mask=Mask(-1.0), rnn=rnn, **({"last": Last(True)} if ends else {}))
    h0, c0 = floats(1, 4, 4), floats(1, 4, 4)
    y, state, backward = model.vjp(x, {"rnn": (h0, c0)})
    dy = floats(*y.shape)
    dstate = (floats(1, 4, 4), floats(1, 4, 4))
    grads = backward(dy, {"rnn": dstate})
    dx = np.zeros_like(x)
    weights = {name: np.zeros_like(a) for name, a in rnn.state_dict().items()}
    for row, steps in enumerate(left):
        first = (h0[:, row : row + 1], c0[:, row : row + 1])
        last = tuple(part[:, row : row + 1] for part in dstate)
        if not steps:
            assert not y[row].any()
            for part, own, d, g in zip(state["rnn"], first, last, grads.state["rnn"], strict=True):
                assert np.array_equal(part[:, [row]], own)
                assert np.array_equal(g[:, [row]], d)
            continue
        alone, own, back = rnn.vjp(x[row : row + 1, steps], first)
        drow = np.zeros_like(alone)
        if ends:
            assert y[row].tobytes() == alone[0, -1].tobytes()
            drow[0, -1] = dy[row]
        else:
            assert y[row, : len(steps)].tobytes() == alone[0].tobytes()
            assert not y[row, len(steps) :].any()
            drow[0] = dy[row, : len(steps)]
        inner = back(drow, last)
        dx[row, steps] = inner.x[0]
        for name, total in weights.items():
            total += inner.weights[name]
    assert error(grads.x, dx) <= PARITY
    for name, total in weights.items():
        assert relative_error(grads.weights[f"rnn.{name}"], total) <= TORCH_GRADIENT


@pytest.mark.parametrize("lengths", [None, [6, 4, 2, 1]], ids=["whole", "lengths"])
@pytest.mark.parametrize("options", [{}, {"repeat": True}, {"repeat": True, "backwards": True}])
def test_unmask(options: dict[str, bool], lengths: list[int] | None) -> None:
    x = floats(4, 6, 3)
    x[0, [0, 2, 3, 5]] = x[1, :] = x[2, 1] = 0.0
    model = Sequential(Mask(0.0), Unmask(**options))
    y, _, backward = model.vjp(x, lengths=lengths)
    steps = [range(6 if lengths is None else lengths[row]) for row in range(4)]
    expected = np.zeros_like(x)
    for row, own in enumerate(steps):
        for step in own:
            ahead = [s for s in own if x[row, s].any() and s >= step]
            behind = [s for s in own if x[row, s].any() and s <= step]
            if x[row, step].any():
                expected[row, step] = x[row, step]
            elif "backwards" in options and ahead:
                expected[row, step] = x[row, ahead[0]]
            elif options == {"repeat": True} and behind:
                expected[row, step] = x[row, behind[-1]]
    assert np.array_equal(y, expected)
    assert np.array_equal(model(x, lengths=lengths)[0], expected)
    dy = floats(*y.shape)  # y is linear in x where x is not 0
    assert float((backward(dy).x * x).sum()) == pytest.approx(float((dy * y).sum()), rel=1e-5)


def test_unmask_needs_its_mask() -> None:
    with pytest.raises(ValueError, match="expected a Mask in front of Unmask"):
        Unmask()(floats(2, 5, 3))
    halved = [Transpose(1, 2), Conv1d(3, 3, 2, stride=2), Transpose(1, 2)]
    with pytest.raises(
        ValueError, match=r"Mask had, \(2, 6\), and features, got shape \(2, 3, 3\)"
    ):
        Sequential(Mask(0.0), *halved, Unmask())(floats(2, 6, 3))


def test_mask_before_embedding() -> None:
    model = Sequential(
        Mask(0), Embedding(9, 4), GRU(4, 3, batch_first=True), Pool("mean", batch_first=True)
    )
    y, _, backward = model.vjp(np.array([[0, 5, 0, 7], [1, 2, 3, 4]]))
    assert y[0].tobytes() == model(np.array([[5, 7]]))[0][0].tobytes()
    grads = backward(np.ones_like(y))
    assert grads.x is None
    assert not grads.weights["1.weight"][0].any()


# ---- A collection -------------------------------------------------------------------------------


def nested() -> Sequential:
    return Sequential(
        {"encoder": Sequential(Linear(3, 4), GRU(4, 5)), "drop": Dropout(), "head": Linear(5, 2)}
    )


def test_names_and_slices() -> None:
    model = nested()
    assert len(model) == 3
    assert [name for name, _ in model.items()] == ["encoder", "drop", "head"]
    assert list(model) == list(model.layers)
    assert model["encoder.1"] is model["encoder"][1] is model[0]["1"]
    assert model[-1] is model["head"]
    assert [name for name, _ in model[1:].items()] == ["drop", "head"]
    assert model[1:]["head"] is model["head"]
    keys = ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight_ih_l0"]
    assert list(model.state_dict())[:3] == keys
    with pytest.raises(KeyError, match=r"no layer 'encoder\.7'.*'0', '1'|no layer"):
        model["encoder.7"]
    with pytest.raises(IndexError, match="one of 3, got 3"):
        model[3]
    text = repr(model)
    assert "(encoder): Sequential(\n    (0): Linear(" in text
    assert repr(Sequential()) == "Sequential()"
    assert np.array_equal(Sequential()(np.ones(3))[0], np.ones(3))


def test_layers_are_attributes() -> None:
    model = nested()
    assert model.encoder is model["encoder"]
    assert {"encoder", "drop", "head", "state_dict"} <= set(dir(model))
    with pytest.raises(AttributeError, match=r"no attribute or layer 'decoder'; .*'encoder', 'dr"):
        model.decoder  # noqa: B018
    names = [name for name, _ in model.named_layers()]
    assert names == ["encoder.0", "encoder.1", "drop", "head"]
    assert pickle.loads(pickle.dumps(model)).head.out_features == model.head.out_features


def test_numbers_of_parameters() -> None:
    model = nested()
    assert model.num_parameters == sum(a.size for a in model.state_dict().values())
    assert (model.drop.num_parameters, model.head.num_parameters) == (0, 12)
    rows = [line.split() for line in model.summary().splitlines()]
    assert [row[0] for row in rows] == [*(name for name, _ in model.named_layers()), "total"]
    assert sum(int(row[-1]) for row in rows[:-1]) == int(rows[-1][-1]) == model.num_parameters


def test_texts_of_what_layers_return() -> None:
    model, x = nested(), floats(7, 2, 3)
    assert repr(model.encoder[1].stream(2)) == "Stream(batch_size=2, x: (2, 4), y: (2, 5))"
    assert repr(model.head.stream()).startswith("LayerStream(Linear(in_features=5, ")
    text = "SequentialStream(batch_size=3, layers: encoder, drop, head)"
    assert repr(model.stream(3)) == text
    y, _, backward = model.vjp(x)
    assert repr(backward).startswith("Backward: call it with dy")
    wanted = "Gradients(x: (7, 2, 3), state: {'encoder': {'1': (1, 2, 5)}}, weights: encoder.0."
    assert repr(backward(y)).startswith(wanted)
    y, _, backward = LSTM(3, 4).vjp(x)
    assert "state: ((1, 2, 4), (1, 2, 4)), weights: weight_ih_l0 (16, 3)" in repr(backward(y))


RAGGED = ([[1, 2], [3]], np.array([[1, 2], [3]], object), [np.ones((2, 3)), np.ones((1, 3))])


@pytest.mark.parametrize("x", RAGGED)
@pytest.mark.parametrize("layer", [GRU(3, 4), Linear(3, 4), Embedding(9, 3), nested()])
def test_sequences_of_several_lengths_have_to_be_padded(layer: Any, x: Any) -> None:
    with pytest.raises(TypeError, match=r"x: expected an array of numbers, .*pad them .* lengths="):
        layer(x)


def test_lengths_of_the_other_axis() -> None:
    message = r"lengths: expected shape \(5,\), got \(2,\); x has 5 rows of 2 steps: is batch_first"
    with pytest.raises(ValueError, match=message):
        GRU(3, 4)(floats(2, 5, 3), lengths=[2, 1])
    with pytest.raises(ValueError, match=r"got \(3,\)$"):
        GRU(3, 4)(floats(2, 5, 3), lengths=[2, 1, 1])


def test_copies() -> None:
    model, x = nested(), floats(7, 2, 3)
    y, _ = model(x)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(other(x)[0], y)


def test_load_state_dict_changes_all_or_nothing() -> None:
    model = nested()
    before = model.state_dict()
    arrays = {name: array + 1 for name, array in before.items()}
    with pytest.raises(ValueError, match=r"missing 'head.bias'; unexpected 'tail'.*shape \(9,\)"):
        model.load_state_dict(
            {n: a for n, a in arrays.items() if n != "head.bias"}
            | {"tail": np.zeros(1), "encoder.0.bias": np.zeros(9)}
        )
    for name, array in model.state_dict().items():
        assert np.array_equal(array, before[name])
    model.load_state_dict(arrays)
    assert np.array_equal(model["head"].state_dict()["bias"], arrays["head.bias"])


def test_states() -> None:
    model, x = nested(), floats(7, 2, 3)
    whole, last = model(x)
    assert list(last) == ["encoder"]
    assert list(last["encoder"]) == ["1"]
    state = None
    parts = []
    for cut in (slice(0, 3), slice(3, 7)):
        y, state = model(x[cut], state)
        parts.append(y)
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert np.array_equal(model(x, {"encoder": None})[0], whole)
    with pytest.raises(TypeError, match="state: expected a dict of states by layer, got ndarray"):
        model(x, floats(1, 2, 5))
    with pytest.raises(ValueError, match=r"\['encoder'\], got 'head'"):
        model(x, {"head": floats(1)})
    with pytest.raises(ValueError, match="'encoder': layer '1': state: expected shape"):
        model(x, {"encoder": {"1": floats(1, 3, 5)}})
    assert Sequential(Linear(3, 2))(x)[1] is None


def test_initial_state() -> None:
    model, x = (
        Sequential(a=LSTM(3, 4, batch_first=True), b=GRU(4, 2, batch_first=True)),
        floats(5, 7, 3),
    )
    h, c = floats(1, 4), floats(1, 4)
    model.initial_state = {"a": (h, c)}
    y, _ = model(x)
    wide = tuple(np.repeat(part[:, None], 5, 1) for part in (h, c))
    bare = Sequential(dict(model.items()))
    assert np.array_equal(y, bare(x, {"a": wide})[0])
    assert np.array_equal(model(x[0])[0], y[0])
    stream = model[:1].stream(5)
    first, _ = model[:1](x)
    for t in range(7):
        if t == 3:
            stream.state = {"a": tuple(part.copy() for part in stream.state["a"])}
        assert stream.step(x[:, t]).tobytes() == first[:, t].tobytes()
    stream.reset([1])
    assert np.array_equal(stream.state["a"][0][:, 1], h)
    with pytest.raises(ValueError, match=r"initial_state\['a'\]: expected shape \(1, 4\)"):
        model.initial_state = {"a": (h, c[:, :3])}
    with pytest.raises(ValueError, match="names of recurrent layers, got 'x'"):
        model.initial_state = {"x": h}


def test_seeds() -> None:
    model, x = Sequential(Dropout(0.5), Sequential(Dropout(0.5)), Dropout(0.5)), np.ones((64, 64))
    y, _, backward = model.vjp(x, seed=3)
    assert np.array_equal(y, model.vjp(x, seed=3)[0])
    assert np.array_equal(backward(np.ones_like(y)).x, y)
    # Three independent draws: an eighth is left, with a standard deviation of 0.005.
    assert abs((y > 0).mean() - 0.125) < 0.025
    assert np.array_equal(model(x)[0], x)


def test_refused() -> None:
    with pytest.raises(TypeError, match="expected layers of fastrnn, got int as '0'"):
        Sequential(3)
    with pytest.raises(TypeError, match="got both"):
        Sequential(ReLU(), a=ReLU())
    with pytest.raises(TypeError, match="names that are str"):
        Sequential({1: ReLU()})
    with pytest.raises(ValueError, match=r"two of \['a.b.weight'\]"):
        Sequential({"a.b": Linear(1, 1, False), "a": Sequential(b=Linear(1, 1, False))})
    model = Sequential(GRU(3, 4), GRU(4, 5, batch_first=True))
    with pytest.raises(ValueError, match=r"lengths: no arrangement.*agree on batch_first"):
        model(floats(4, 4, 3), lengths=[1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"layer '1': x: expected \(batch, steps, 4\)"):
        Sequential(Linear(3, 5), GRU(4, 5, batch_first=True))(floats(4, 4, 3))
    with pytest.raises(TypeError, match="x: expected integers"):
        Sequential(Sequential(Embedding(3, 4)), ReLU())(floats(2))
    with pytest.raises(ValueError, match="layer '0': x: the layers after Mask do not"):
        Sequential(Mask(0), GRU(3, 4))(floats(2, 5, 3))


# ---- Step by step -------------------------------------------------------------------------------


def test_stream_gives_the_bits_of_the_whole(isa: str) -> None:
    model = Sequential(
        first=Linear(6, 5, isa=isa),
        inner=Sequential(LSTM(5, 6, 2, isa=isa), LayerNorm(6, isa=isa)),
        skip=AddInput(6),
        relu=ReLU(),
        drop=Dropout(),
        rnn=GRU(6, 4, isa=isa),
        softmax=Softmax(-1, isa=isa),
        out=Sigmoid(isa=isa),
    )
    x = floats(9, 3, 6)
    whole, last = model(x)
    stream = model.stream(3)
    out = np.empty((3, 4), np.float32)
    for t, x_t in enumerate(x):
        if t == 5:
            kept, stream = stream.state, model.stream(3)
            stream.state = kept
        y = stream.step(x_t, out) if t % 2 else stream.step(x_t)
        assert (y is out) == bool(t % 2)
        assert y.tobytes() == whole[t].tobytes()
    for ours, theirs in zip(flat(stream.state), flat(last), strict=True):
        assert np.array_equal(ours, theirs)
    stream.reset([0, 2])
    again = stream.step(x[0])
    assert np.array_equal(again[[0, 2]], whole[0][[0, 2]])
    assert not np.array_equal(again[1], whole[0][1])
    stream.reset()
    assert np.array_equal(stream.step(x[0]), whole[0])


def test_stream_of_symbols() -> None:
    model = Sequential(Embedding(9, 4), RNN(4, 3), Linear(3, 9), LogSoftmax(-1))
    x = RNG.integers(0, 9, (6, 2))
    whole, _ = model(x)
    stream = model.stream(2)
    for t in range(6):
        assert stream.step(x[t]).tobytes() == whole[t].tobytes()


def test_stream_refuses() -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the words follow)
        Sequential(
            conv=Conv1d(3, 3, 3), rnn=GRU(3, 3, bidirectional=True), a=Sequential(Last(), Tanh())
        ).stream()
    for words in ("'conv' (Conv1d): ", "'rnn' (GRU): it has two directions", "'a.0' (Last): "):
        assert words in str(refused.value)
    for layer in (Flip(), Mask(), Unmask(), Pool("max"), Flatten(), LayerNorm((2, 3)), Softmax(0)):
        with pytest.raises(ValueError, match="cannot run step by step"):
            layer.stream()
    stream = Sequential(Linear(3, 2), GRU(2, 2)).stream(4)
    with pytest.raises(ValueError, match="layer '0': x: expected 4 rows, got shape"):
        stream.step(floats(3, 3))
    with pytest.raises(ValueError, match="out: expected a writable float32 array of shape"):
        stream.step(floats(4, 3), np.empty((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"names of layers \['0', '1'\], got \['2'\]"):
        stream.state = {"2": floats(1, 4, 2)}
    before = stream.state
    with pytest.raises(ValueError, match="expected shape"):
        stream.state = {"1": floats(1, 3, 2)}
    assert np.array_equal(stream.state["1"], before["1"])
    with pytest.raises(TypeError, match="not copied or pickled"):
        copy.deepcopy(stream)


def test_top_level_names() -> None:
    for name in fastrnn.layers.__all__:
        assert name == "Layer" or getattr(fastrnn, name) is getattr(fastrnn.layers, name)


def test_masks_are_refused():
    x = np.ma.masked_array(np.ones((5, 2, 3), np.float32), mask=True)
    tokens = np.ma.masked_array(np.ones((5, 2), int), mask=True)
    layers = (fastrnn.GRU(3, 4), x), (fastrnn.Linear(3, 4), x), (fastrnn.Embedding(3, 4), tokens)
    for layer, masked in (*layers, (fastrnn.Flatten(), x)):
        with pytest.raises(TypeError, match="without a mask"):
            layer(masked)


def test_initial_state_that_is_no_mapping():
    with pytest.raises(TypeError, match="initial_state: expected a dict"):
        fastrnn.Sequential(a=fastrnn.GRU(3, 4)).initial_state = 3
