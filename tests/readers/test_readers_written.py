# SPDX-License-Identifier: MIT
"""Functions and scales that people write in single operations, as files have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from limits import IMPORTED, error

import fastrnn

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore")

WIDTH = 5
f = torch.nn.functional
vector = torch.linspace(0.5, 2.0, WIDTH)
root = math.sqrt(2 / math.pi)

# What is written, and the kinds of layers that it is.
WRITTEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "gelu": (lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))), "GELU"),
    "gelu last half": (lambda x: 0.5 * (x * (torch.erf(x * 0.70710678) + 1)), "GELU"),
    "gelu half inside": (lambda x: x * (0.5 + 0.5 * torch.erf(x / 1.41421356)), "GELU"),
    "gelu of a half": (lambda x: x * (1 + torch.erf(x / 2 / math.sqrt(2))), "Scale GELU Scale"),
    "new gelu": (
        lambda x: 0.5 * x * (1.0 + torch.tanh(root * (x + 0.044715 * torch.pow(x, 3.0)))), "GELU",
    ),
    "fast gelu": (
        lambda x: 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))), "GELU",
    ),
    "cube by products": (
        lambda x: 0.5 * (x * (1 + torch.tanh(root * (x + 0.044715 * (x * x * x))))), "GELU",
    ),
    "new gelu of twice x": (lambda x: f.gelu(2 * x, approximate="tanh"), "Scale GELU"),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), "Scale SiLU Scale"),
    "silu": (lambda x: torch.sigmoid(x) * x, "SiLU"),
    "mish": (lambda x: x * torch.tanh(f.softplus(x)), "Mish"),
    "mish itself": (f.mish, "Mish"),
    "hardswish": (lambda x: x * f.hardsigmoid(x), "Hardswish"),
    "hardswish itself": (f.hardswish, "Hardswish"),
    "hardswish by bounds": (lambda x: x * f.relu6(x + 3) / 6, "Hardswish"),
    "softsign": (f.softsign, "Softsign"),
    "softsign of twice x": (lambda x: 2 * x / (1 + torch.abs(2 * x)), "Scale Softsign"),
    "celu": (lambda x: f.celu(x, 0.5), "Scale ELU Scale"),
    "log softmax": (lambda x: torch.log(torch.softmax(x, -1)), "LogSoftmax"),
    "log sigmoid": (f.logsigmoid, "Scale Softplus Scale"),
    "scales and shifts": (lambda x: x * vector + vector, "ScaleFeatures"),
    "normalised": (lambda x: (x - vector) / vector, "ScaleFeatures ScaleFeatures"),
    "vector minus x": (lambda x: vector - x, "ScaleFeatures"),
    "wide constants": (lambda x: x * vector.reshape(1, 1, WIDTH), "ScaleFeatures"),
    "channels": (
        lambda x: (x.transpose(1, 2) * vector[:, None]).transpose(1, 2), "ScaleFeatures",
    ),
}  # fmt: skip


class Written(torch.nn.Module):
    """A layer, and a function that is written behind it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.linear, self.function = torch.nn.Linear(3, WIDTH), function

    def forward(self, x: Any) -> Any:
        return self.function(self.linear(x))


def save_traced(model: Any, x: Any, path: Any) -> None:
    torch.jit.trace(model, x).save(str(path))


def save_onnx(model: Any, x: Any, path: Any) -> None:
    axes = {"x": {0: "batch", 1: "time"}}
    torch.onnx.export(model, (x,), str(path), input_names=["x"], dynamic_axes=axes, dynamo=False)


def save_exported(model: Any, x: Any, path: Any) -> None:
    torch.export.save(torch.export.export(model, (x,)), path)


CASES = [(name, save) for name in WRITTEN for save in (save_traced, save_onnx)]
CASES += [(name, save_exported) for name in ("new gelu", "softsign", "normalised")]


@pytest.mark.parametrize(("name", "save"), CASES)
def test_written(tmp_path, name, save):
    function, kinds = WRITTEN[name]
    torch.manual_seed(0)
    model, x = Written(function).eval(), 2 * torch.randn(2, 7, 3)
    try:
        save(model, x, tmp_path / "m.bin")
    except torch.onnx.errors.UnsupportedOperatorError:
        pytest.skip("the exporter does not have the operator")
    loaded = fastrnn.load(tmp_path / "m.bin")
    assert error(loaded(x.numpy())[0], model(x).detach().numpy()) <= IMPORTED
    found = [type(layer).__name__ for layer in loaded]
    assert found[1:] == kinds.split()
