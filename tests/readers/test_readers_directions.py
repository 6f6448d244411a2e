# SPDX-License-Identifier: MIT
"""One direction of a bidirectional layer, and both joined, in graphs of torch and ONNX."""

from __future__ import annotations

import numpy as np
import pytest
from limits import IMPORTED, error
from test_readers_residual import saved

import fastrnn

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")

H = 3  # hidden units


def parted(y):
    return y.view(y.size(0), y.size(1), 2, H)


def ends(y, forward, backward, swapped=False):
    """A step of each direction side by side."""
    both = [y[:, forward, :H], y[:, backward, H:]]
    return torch.cat(both[::-1] if swapped else both, 1)


# What is made of y (batch, steps, 2 H) and h (2 layers, batch, H) by a module with further layers,
# and the layers that it becomes behind the lower ones of the stack.
ONE_LAYER = {
    "forward": (lambda y, h, m: y[..., :H], "GRU"),
    "backward": (lambda y, h, m: y[..., H:], "Flip GRU Flip"),
    "backward by a view": (lambda y, h, m: parted(y)[:, :, 1], "Flip GRU Flip"),
    "forward by a chunk": (lambda y, h, m: y.chunk(2, -1)[0], "GRU"),
    "last forward": (lambda y, h, m: y[:, -1, :H], "GRU Last"),
    "first forward": (lambda y, h, m: y[:, 0, :H], "GRU Flip Last"),
    "last backward": (lambda y, h, m: y[..., H:][:, -1], "Flip GRU Flip Last"),
    "first backward": (lambda y, h, m: y[:, :1, H:], "Flip GRU Last Unsqueeze"),
    "state of a direction": (lambda y, h, m: h[-1], "Flip GRU Last"),
    "ends": (lambda y, h, m: ends(y, -1, 0), "GRU Last"),
    "other ends": (lambda y, h, m: ends(y, 0, -1), "GRU Flip Last"),
    "last of both": (lambda y, h, m: ends(y, -1, -1), "GRU Last"),
    "first of both": (lambda y, h, m: ends(y, 0, 0), "GRU Flip Last"),
    "ends swapped": (lambda y, h, m: ends(y, -1, 0, True), "Flip GRU Last"),
    "other ends swapped": (lambda y, h, m: ends(y, 0, -1, True), "Flip GRU Flip Last"),
    "last swapped": (lambda y, h, m: ends(y, -1, -1, True), "Flip GRU Flip Last"),
    "swapped": (lambda y, h, m: torch.cat([y[..., H:], y[..., :H]], -1), "Flip GRU Flip"),
    "states swapped": (lambda y, h, m: torch.cat([h[-1], h[-2]], 1), "Flip GRU Last"),
    "a state and an end": (lambda y, h, m: torch.cat([h[-2], y[:, 0, H:]], 1), "GRU Last"),
    "states added": (lambda y, h, m: h[-2] + h[-1], "GRU Last MergeDirections"),
    "ends added": (lambda y, h, m: y[:, -1, :H] + y[:, 0, H:], "GRU Last MergeDirections"),
    "other ends added": (
        lambda y, h, m: y[:, 0, :H] + y[:, -1, H:],
        "GRU Flip Last MergeDirections",
    ),
    "states in a list": (lambda y, h, m: torch.cat(h.unbind(0), 1), "GRU Last"),
    "ends by hstack": (lambda y, h, m: torch.hstack([y[:, -1, :H], h[-1]]), "GRU Last"),
    "last by unbind": (lambda y, h, m: y.unbind(1)[-1], "GRU Last"),
    "halves stacked": (
        lambda y, h, m: torch.stack([y[..., :H], y[..., H:]], 2).sum(2),
        "GRU MergeDirections",
    ),
    "states stacked": (lambda y, h, m: torch.stack([h[0], h[1]], 1).flatten(1), "GRU Last"),
    "sum of the states": (lambda y, h, m: h.sum(0), "GRU Last MergeDirections"),
    "dropped out": (lambda y, h, m: m.drop(torch.tanh(y))[:, -1, :H], "GRU Tanh Dropout Last"),
    "turned round": (lambda y, h, m: y.flip(1)[..., H:], "Flip GRU"),
    "used twice": (lambda y, h, m: (lambda z: z + m.fc(z))(y[..., :H]), "GRU Residual"),
    "into a layer": (lambda y, h, m: m.again(y[..., H:])[0], "Flip GRU Flip GRU"),
}
TWO_LAYERS = {
    "forward": (lambda y, h, m: y[..., :H], "GRU Dropout GRU"),
    "backward": (lambda y, h, m: y[..., H:], "GRU Dropout Flip GRU Flip"),
    "state of a direction": (lambda y, h, m: h[-2], "GRU Dropout GRU Last"),
    "state of the first layer": (lambda y, h, m: torch.cat([h[0], h[1]], 1), "GRU Last"),
    "backward state of the first layer": (lambda y, h, m: h[1], "Flip GRU Last"),
    "swapped": (lambda y, h, m: torch.cat([h[3], h[2]], 1), "GRU Dropout Flip GRU Last"),
}
CASES = [(1, name, *case) for name, case in ONE_LAYER.items()]
CASES += [(2, name, *case) for name, case in TWO_LAYERS.items()]


class Directions(nn.Module):
    def __init__(self, layers, form) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, H, layers, bidirectional=True, batch_first=True, dropout=0.1)
        self.again, self.fc = nn.GRU(H, 2, batch_first=True), nn.Linear(H, H)
        self.drop, self.form = nn.Dropout(0.2), form

    def forward(self, x):
        return self.form(*self.rnn(x), self)


def kinds(model):
    return [type(layer).__name__ for layer in (model if hasattr(model, "items") else [model])]


@pytest.mark.parametrize("writer", ["traced", "exported", "onnx"])
def test_directions(tmp_path, writer):
    torch.manual_seed(2)
    x, other = torch.randn(2, 4, 2), torch.randn(1, 1, 2)
    some = {"traced": 1, "exported": 9, "onnx": 4}[writer]
    for layers, name, form, wanted in CASES[::some]:
        module = Directions(layers, form).eval()
        if writer == "onnx":  # which has no dropout
            wanted = wanted.replace("Dropout ", "")
        model = fastrnn.load(saved(module, x, writer, tmp_path))
        assert kinds(model) == wanted.split(), name
        with torch.no_grad():
            for given in (x, other):
                assert error(model(given.numpy())[0], module(given).numpy()) <= IMPORTED, name


def test_hidden_size_of_one(tmp_path):
    """A direction is then one feature."""
    for form in (lambda y: y[..., 1], lambda y: torch.cat([y[:, -1:, 0], y[:, :1, 1]], 1)):

        class Net(nn.Module):
            def __init__(self, form=form) -> None:
                super().__init__()
                self.rnn, self.form = nn.LSTM(2, 1, bidirectional=True, batch_first=True), form

            def forward(self, x):
                return self.form(self.rnn(x)[0])

        module, x = Net().eval(), torch.randn(2, 4, 2)
        model = fastrnn.load(saved(module, x, "traced", tmp_path))
        with torch.no_grad():
            assert error(model(x.numpy())[0], module(x).numpy()) <= IMPORTED


REFUSED = {
    "one direction twice": (
        lambda y, h, m: torch.cat([y[..., :H], y[..., :H]], -1),
        "expected both",
    ),
    "a stack of constants": (
        lambda y, h, m: torch.stack([y[:, -1, :H], m.fc.weight[:2]]),
        "joins two branches",
    ),
    "all steps in a list": (lambda y, h, m: torch.stack(y.unbind(1), 1), "step 1 of the sequence"),
    "no state": (lambda y, h, m: h[4:], "no final state at all"),
    "a state and a middle": (lambda y, h, m: torch.cat([h[-2], y[:, 0, :H]], 1), "two branches"),
    "of several layers": (lambda y, h, m: torch.cat([h[0], h[3]], 1), "directions of one layer"),
    "of what mixes both": (lambda y, h, m: torch.softmax(y, -1)[..., :H], "make of both"),
    "a step and all": (
        lambda y, h, m: torch.cat([y[:, -1, :H], y[..., H:].mean(1)], 1),
        "joins two branches",
    ),
    "with the states of both": (lambda y, h, m: (y[..., :H], h), "its result does not need"),
    "two axes": (lambda y, h, m: torch.cat([y[..., :H], y[..., H:]], 1), "than the features"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_parts_are_refused(tmp_path, case):
    form, why = REFUSED[case]
    path = saved(Directions(2, form).eval(), torch.randn(2, 4, 2), "traced", tmp_path)
    with pytest.raises(fastrnn.FormatError, match=why):
        fastrnn.load(path)


def test_initial_states(tmp_path):
    """Those of the file go to the layers that are left; a caller's would have no layer."""

    class Started(Directions):
        def __init__(self, passes) -> None:
            super().__init__(2, lambda y, h, m: y[..., H:])
            self.start, self.passes = nn.Parameter(torch.randn(4, 1, H)), passes

        def forward(self, x, h):
            start = h if self.passes else self.start.expand(4, x.size(0), H)
            return self.form(*self.rnn(x, start), self)

    for passes in (False, True):
        module, x, h = Started(passes).eval(), torch.randn(2, 4, 2), torch.zeros(4, 2, H)
        path = tmp_path / "m.pt"
        torch.jit.trace(module, (x, h)).save(str(path))
        if passes:
            with pytest.raises(fastrnn.FormatError, match="a layer that takes initial states"):
                fastrnn.load(path)
        else:
            with torch.no_grad():
                y = fastrnn.load(path)(x.numpy())[0]
                assert error(y, np.asarray(module(x, h))) <= IMPORTED
