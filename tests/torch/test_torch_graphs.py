# SPDX-License-Identifier: MIT
"""fastrnn.torch within torch.compile, torch.export and tracing: one operator for each layer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from limits import PARITY

torch = pytest.importorskip("torch")
pytest.importorskip("torch._dynamo")
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402
from torch_pairs import close, same_gradient  # noqa: E402

import fastrnn.torch  # noqa: E402
from fastrnn.torch import ops  # noqa: E402

torch.set_num_threads(1)

SPECS = {
    "lstm": ("lstm", 3, 5, 2, True, True, 0),
    "projected": ("lstm", 3, 5, 1, False, False, 2),
    "gru": ("gru", 3, 5, 1, True, False, 0),
    "rnn": ("rnn_relu", 3, 5, 1, False, True, 0),
}


@contextmanager
def deterministic() -> Iterator[None]:
    """Memory that nobody writes, such as what rounds a tape up, holds the same at every run."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def operands(name: str, layout: str) -> tuple[Any, ...]:
    """Arguments of the forward operator."""
    spec = ops.Spec(*SPECS[name])
    weights = [torch.randn(s).div_(2).requires_grad_() for s in spec.shapes().values()]
    rows, batch, sizes = spec.state_rows, 4, None
    x = {
        "time": torch.randn(6, 4, 3),
        "batch": torch.randn(4, 6, 3),
        "single": torch.randn(6, 3),
        "step": torch.randn(4, 3),
        "packed": torch.randn(9, 3),
    }[layout]
    if layout == "packed":
        sizes = torch.tensor([4, 3, 1, 1])
    shape = ops.state_shape(rows, batch, spec.output_size, layout)
    h0 = torch.randn(shape, requires_grad=True)
    return (x.requires_grad_(), h0, None, weights, sizes, None, *spec, layout, 0.0, 1, True)


CASES = [
    *(("lstm", layout) for layout in ("time", "batch", "single", "packed")),
    ("gru", "step"),
    ("projected", "batch"),
    ("rnn", "packed"),
]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_opcheck(name: str, layout: str) -> None:
    with deterministic():
        torch.library.opcheck(ops.forward_op, operands(name, layout))


def test_opcheck_of_backward() -> None:
    given = operands("gru", "time")
    with deterministic(), torch.no_grad():
        y, _, _, tape = ops.forward_op(*given)
        wanted = [True, False, False, True, True, False, True]
        more = (tape, torch.randn_like(y), None, None, wanted)
        tests = ("test_schema", "test_faketensor")
        torch.library.opcheck(ops.backward_op, (*given[:-1], *more), test_utils=tests)


class Model(nn.Module):
    """A model with a layer of each cell and a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(4, 6)
        self.lstm = fastrnn.torch.LSTM(6, 7, 2, batch_first=True)
        self.gru = fastrnn.torch.GRU(7, 5, batch_first=True)
        self.cell = fastrnn.torch.RNNCell(5, 5)

    def forward(self, x: Any) -> Any:
        y, (h, _) = self.lstm(self.embedding(x))
        _, h = self.gru(y)
        return self.cell(h[0])


def gradients(model: nn.Module, x: Any, result: Any) -> list[Any]:
    model.zero_grad()
    result.pow(2).sum().backward()
    return [p.grad for p in model.parameters()]


def check_compiled(model: nn.Module, compiled: Any, *shapes: tuple[int, ...]) -> None:
    for shape in shapes:
        x = torch.randn(shape)
        found, wanted = compiled(x), model(x)
        close(found, wanted, PARITY)
        for one, other in zip(gradients(model, x, found), gradients(model, x, wanted), strict=True):
            same_gradient(one, other)
        with torch.no_grad():
            close(compiled(x), wanted, PARITY)


def operators(graph: Any) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if "fastrnn" in str(node.target)]


def test_compile_sees_one_operator_for_each_layer() -> None:
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        model = Model()
        torch.compile(model, backend=backend, fullgraph=True)(torch.randn(3, 5, 4))
    assert [operators(graph) for graph in graphs] == [["fastrnn.forward.default"] * 3]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_model(backend: str) -> None:
    if backend == "inductor":
        pytest.importorskip("torch._inductor")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Model()
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        check_compiled(model, compiled, (3, 5, 4), (4, 7, 4), (5, 9, 4))


def test_compiled_by_default() -> None:
    """Without allow_rnn, PyTorch compiles what is around recurrent layers."""
    torch._dynamo.reset()
    model = Model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of gradients it asks for on its way
        check_compiled(model, torch.compile(model, backend="aot_eager"), (3, 5, 4))
    torch._dynamo.reset()
    with pytest.raises(Exception, match="allow_rnn"):
        torch.compile(model, backend="aot_eager", fullgraph=True)(torch.randn(3, 5, 4))


def test_compiled_packed_sequences_and_dropout() -> None:
    torch._dynamo.reset()
    layer = fastrnn.torch.LSTM(3, 5, 2, dropout=0.5)
    compiled = torch.compile(layer, backend="aot_eager")
    x = pack_sequence([torch.randn(n, 3) for n in (5, 4, 2)])
    for run in (layer, compiled):
        torch.manual_seed(1)
        y, (h, _) = run(x)
        gradient = torch.autograd.grad(y.data.sum() + h.sum(), layer.weight_hh_l0)[0]
        if run is layer:
            wanted = y.data, gradient
    assert torch.equal(y.data, wanted[0])
    assert torch.equal(gradient, wanted[1])


@torch._dynamo.config.patch(allow_rnn=True)
def test_compiled_under_autocast() -> None:
    torch._dynamo.reset()
    layer, x = fastrnn.torch.LSTM(3, 5), torch.randn(4, 2, 3)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(compiled(x)[0], layer(x)[0])
        assert compiled(x)[0].dtype is torch.bfloat16


def test_export() -> None:
    model, x = Model().eval(), torch.randn(3, 5, 4)
    batch, steps = (
        torch.export.Dim("batch", min=2, max=99),
        torch.export.Dim("steps", min=2, max=99),
    )
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: batch, 1: steps}})
    assert operators(program) == ["fastrnn.forward.default"] * 3
    other = torch.randn(7, 11, 4)
    found = program.module()
    close(found(other), model(other), PARITY)
    del model.lstm._packed  # as where the program is loaded, no module of it is there
    close(found(other), found(other), PARITY)
    weights = copy.deepcopy(found.state_dict())
    for value in weights.values():
        value.mul_(0.5)
    before = found(other)
    found.load_state_dict(weights)
    assert not torch.allclose(found(other), before)


def test_trace() -> None:
    model, x = Model(), torch.randn(3, 5, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, (x,))
    other = torch.randn(7, 5, 4)
    close(traced(other), model(other), PARITY)


class Steps(nn.Module):
    """Cells, layers and what is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.cell = fastrnn.torch.LSTM(3, 5), fastrnn.torch.GRUCell(5, 4)
        self.last = fastrnn.torch.LSTMCell(4, 4)

    def forward(self, x: Any, state: Any) -> Any:
        y, (h, _) = self.layer(x)
        return y + self.last(self.cell(h[0], state))[0].sum()


def test_symbolic_trace() -> None:
    """torch.fx keeps layers whole, as it does torch.nn's."""
    model, x, state = Steps(), torch.randn(4, 2, 3), torch.randn(2, 4)
    graph = torch.fx.symbolic_trace(model)
    called = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    assert called == ["layer", "cell", "last"]
    assert torch.equal(graph(x, state), model(x, state))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_script_is_refused() -> None:
    for module in (Model(), fastrnn.torch.GRUCell(3, 5)):
        with pytest.raises(NotImplementedError, match=r"expected torch\.jit\.trace or torch"):
            torch.jit.script(module)


def test_double_backward_of_the_operator() -> None:
    given = operands("gru", "time")
    y = ops.forward_op(*given)[0]
    (gradient,) = torch.autograd.grad(y.sum(), given[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="expected a first derivative"):
        gradient.sum().backward()
