# SPDX-License-Identifier: MIT
"""`accelerate` swaps the recurrent layers of a model in place, and says what it left and why."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from limits import PARITY

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch_pairs import CELLS, LAYERS, close, compare, leaves, same_gradient  # noqa: E402

import fastrnn  # noqa: E402
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


class Packing(nn.LSTM):
    """A subclass as forecasting libraries have them: it prepares the input of super().forward."""

    def forward(self, x: Any, hx: Any = None, lengths: Any = None) -> Any:
        if lengths is not None:
            more = {"batch_first": self.batch_first, "enforce_sorted": False}
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, **more)
        return super().forward(x, hx)


class Dropped(nn.GRU):
    """A subclass that changes the weights of torch's forward, in a list of torch's."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        self._flat_weights[1] = self._flat_weights[1] * 0.5
        try:
            return super().forward(x, hx)
        finally:
            self._flat_weights[1] = self.weight_hh_l0


class Residual(nn.GRUCell):
    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(x, hx) + x


class Named(nn.RNN):
    """A subclass that happens to use a name of fastrnn's."""

    def _run(self) -> None:
        raise AssertionError


class Given(nn.RNN):
    """A subclass with weights of its own in torch's list."""

    _flat_weights: Any = property(lambda self: [], lambda self, value: None)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Packing(4, 6, batch_first=True), (torch.randn(3, 7, 4), None, torch.tensor([5, 7, 2]))),
        (Dropped(4, 6), (torch.randn(7, 3, 4),)),
        (Residual(6, 6), (torch.randn(3, 6),)),
    ],
)
def test_subclasses_that_call_super(model: nn.Module, inputs: tuple[Any, ...], monkeypatch) -> None:
    plain, kind, calls = copy.deepcopy(model), type(model), []
    report = accelerate(model).report
    assert report.swapped == {"": f"{plain!r}, where its forward calls super().forward"}
    assert isinstance(model, kind)
    assert isinstance(model, getattr(fastrnn.torch, kind.__base__.__name__))
    record = fastrnn.torch.ops.engine.record
    monkeypatch.setattr(
        fastrnn.torch.ops.engine, "record", lambda *given: (calls.append(1), record(*given))
    )
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        del calls[:]
        for one, other in zip(leaves(twin(*inputs)), leaves(plain(*inputs)), strict=True):
            close(one, other, PARITY)
        assert len(calls) == 1  # fastrnn ran it
        sum(leaf.sum() for leaf in leaves(twin(*inputs))).backward()
    plain.zero_grad()
    sum(leaf.sum() for leaf in leaves(plain(*inputs))).backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        same_gradient(one.grad, other.grad)
    assert type(fastrnn.torch.restore(model)) is kind


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_restore() -> None:
    model = nn.ModuleDict({"net": Net(), "mine": Packing(3, 5), "made": fastrnn.torch.GRU(3, 5)})
    plain, seen = copy.deepcopy(model), []
    plain["made"] = nn.GRU(3, 5)
    model["mine"].register_forward_hook(lambda *given: seen.append(1))
    parameters, modules = [*model.parameters()], [*model.modules()]
    accelerate(model)
    model["net"](torch.randn(2, 5, 4)).sum().backward()
    assert fastrnn.torch.restore(model) is model
    for one, other in zip(model.modules(), plain.modules(), strict=True):
        assert type(one) is type(other)
        assert vars(one).keys() == vars(other).keys()
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert [*model.state_dict()] == [*plain.state_dict()]
    x = torch.randn(3, 7, 4)
    assert torch.equal(model["net"](x), plain["net"](x))
    model["mine"](torch.zeros(2, 3))
    assert seen == [1]
    torch.jit.script(model["net"].parts["first"])
    assert b"fastrnn" not in pickle.dumps(model["net"])
    assert fastrnn.torch.restore(model) is model  # nothing to do


class Derived(fastrnn.torch.LSTM):
    pass


def test_restore_refuses_before_it_changes() -> None:
    model = nn.ModuleList([fastrnn.torch.GRU(3, 5), Derived(3, 5)])
    with pytest.raises(TypeError, match=r"1: expected a class that accelerate made, got .*Derived"):
        fastrnn.torch.restore(model)
    assert type(model[0]) is fastrnn.torch.GRU
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got list"):
        fastrnn.torch.restore([])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_saved_modules_load_as_weights_only(kind: str, tmp_path: Path) -> None:
    model, path = accelerate(getattr(nn, kind)(3, 5)).model, tmp_path / "model.pt"
    torch.save(model, path)
    back = torch.load(path, weights_only=True)
    assert type(back) is getattr(fastrnn.torch, kind)
    compare(model, back, torch.randn(4, 3))


def test_a_saved_subclass_loads_as_weights_only(tmp_path: Path) -> None:
    model, path = accelerate(Packing(3, 5)).model, tmp_path / "model.pt"
    torch.save(model, path)
    with pytest.raises(pickle.UnpicklingError, match="Packing"):
        torch.load(path, weights_only=True)
    with torch.serialization.safe_globals([Packing]):
        back = torch.load(path, weights_only=True)
    assert type(back) is type(model)
    with pytest.raises(TypeError, match=r"expected a class derived from torch\.nn's"):
        fastrnn.torch.swap.new_accelerated(dict)


@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx_export_writes_operators_of_onnx(dynamo: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = accelerate(nn.Sequential(nn.Linear(4, 3), nn.LSTM(3, 5))).model.eval()
    path, x = str(tmp_path / "model.onnx"), torch.randn(6, 1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), path, dynamo=dynamo, verbose=False)
    assert "LSTM" in {node.op_type for node in onnx.load(path).graph.node}
    y, _ = fastrnn.load(path)(x.numpy())
    close(torch.from_numpy(y), model(x)[0], PARITY)


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
            "named": Named(3, 5),
            "given": Given(3, 5),
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
        "named": "its class defines _run, which fastrnn.torch uses, too",
        "given": "its class defines _flat_weights, which fastrnn.torch uses, too",
        "normed": "its class is torch.nn.utils.parametrize.ParametrizedGRU, not torch.nn's own",
        "scripted.0": "it is compiled by TorchScript",
        "patched": "its forward is replaced",
        "quantizable": "its class is torch.ao.nn.quantizable.modules.rnn.LSTM, not torch.nn's own",
    }
    assert "named: left, its class defines" in str(report)
    assert type(model["named"]) is Named


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
