# SPDX-License-Identifier: MIT
"""`accelerate` swaps the recurrent layers of a model in place, and says what it left and why."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from limits import PARITY

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch_pairs import CELLS, LAYERS, close, compare  # noqa: E402

import fastrnn.torch  # noqa: E402
from fastrnn.torch import accelerate  # noqa: E402

torch.set_num_threads(1)


class Net(nn.Module):
    """Layers at several depths, one of them under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {
                "first": nn.LSTM(4, 6, proj_size=3, batch_first=True),
                "rest": nn.ModuleList([nn.GRU(3, 5, bidirectional=True, batch_first=True)]),
            }
        )
        self.cell = nn.LSTMCell(10, 4)
        self.alias = self.parts["first"]
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        y, _ = self.parts["first"](x)
        y, _ = self.parts["rest"][0](y)
        h, _ = self.cell(y[:, -1])
        return self.head(h) + self.alias(x)[0].sum()


def test_nested_model() -> None:
    model = Net()
    before, plain = dict(model.named_parameters()), copy.deepcopy(model)
    modules = [*model.modules()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    same, report = accelerate(model)
    assert same is model
    assert report.swapped == {
        "parts.first": "LSTM(4, 6, proj_size=3, batch_first=True)",
        "parts.rest.0": "GRU(3, 5, batch_first=True, bidirectional=True)",
        "cell": "LSTMCell(10, 4)",
    }
    assert not report.left
    assert str(report).splitlines()[2] == "cell: LSTMCell(10, 4)"
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert model.alias is model.parts["first"]
    assert type(model.cell) is fastrnn.torch.LSTMCell
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is p for name, p in before.items())
    x = torch.randn(3, 7, 4, requires_grad=True)
    compare(plain, model, x)
    optimizer.step()
    plain.load_state_dict(model.state_dict())
    compare(plain, model, x)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_a_layer_itself(kind: str) -> None:
    model = getattr(nn, kind)(3, 5)
    plain, text = copy.deepcopy(model), repr(model)
    found = accelerate(model)
    assert found.model is model
    assert found.report.swapped == {"": text}
    assert str(found.report) == f"(the model): {text}"
    compare(plain, model, torch.randn(4, 3))
    again = accelerate(model).report
    assert again.swapped == {}
    assert again.left == {"": "it is fastrnn's already"}
    back = pickle.loads(pickle.dumps(model))
    assert type(back) is getattr(fastrnn.torch, kind)
    compare(model, back, torch.randn(4, 3))


def test_hooks_and_mode_stay() -> None:
    model, seen = nn.Sequential(nn.GRU(3, 5)).eval(), []
    model[0].register_forward_hook(lambda *given: seen.append(1))
    accelerate(model)
    model(torch.zeros(2, 3))
    assert seen == [1]
    assert not model[0].training


class Peephole(nn.LSTM):
    """A subclass whose code may be anything."""


def scripted() -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *arguments, **options: None)
        return torch.jit.script(nn.Sequential(nn.GRU(3, 5)))


def test_what_is_left_alone() -> None:
    patched = nn.RNN(3, 5)
    patched.forward = lambda x: x
    model = nn.ModuleDict(
        {
            "of_double": nn.LSTM(3, 5, dtype=torch.float64),
            "elsewhere": nn.GRU(3, 5, device="meta"),
            "subclass": Peephole(3, 5),
            "normed": nn.utils.parametrizations.weight_norm(nn.GRU(3, 5), "weight_hh_l0"),
            "scripted": scripted(),
            "patched": patched,
            "quantizable": torch.ao.nn.quantizable.LSTM(3, 5),
            "fine": nn.LSTM(3, 5),
        }
    )
    report = accelerate(model).report
    assert report.swapped == {"fine": "LSTM(3, 5)"}
    assert {name: why for name, why in report.left.items() if "layer_fw" not in name} == {
        "of_double": "weight_ih_l0 is torch.float64 on cpu, not float32 on the CPU",
        "elsewhere": "weight_ih_l0 is torch.float32 on meta, not float32 on the CPU",
        "subclass": f"its class is {__name__}.Peephole, not torch.nn's own",
        "normed": "its class is torch.nn.utils.parametrize.ParametrizedGRU, not torch.nn's own",
        "scripted.0": "it is compiled by TorchScript",
        "patched": "its forward is replaced",
        "quantizable": "its class is torch.ao.nn.quantizable.modules.rnn.LSTM, not torch.nn's own",
    }
    assert "subclass: left, its class is" in str(report)
    assert type(model["subclass"]) is Peephole


def test_models_without_recurrent_layers() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    kinds = [type(module) for module in model.modules()]
    report = accelerate(model).report
    assert (report.swapped, report.left, str(report)) == ({}, {}, "no recurrent layers")
    assert [type(module) for module in model.modules()] == kinds
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got dict"):
        accelerate({})  # type: ignore[arg-type]


def test_weight_norm_of_the_older_kind() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *arguments, **options: None)
        model = nn.utils.weight_norm(nn.LSTM(3, 5), "weight_hh_l0")
    x = torch.randn(4, 2, 3)
    wanted = model(x)[0]
    accelerate(model)
    close(model(x)[0], wanted, PARITY)
    model(x)[0].sum().backward()
    assert model.weight_hh_l0_g.grad is not None
