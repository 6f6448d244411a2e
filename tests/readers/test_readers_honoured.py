# SPDX-License-Identifier: MIT
"""Whatever a graph says of a node is honoured or refused: nothing is passed over."""

from __future__ import annotations

import pytest
from limits import error

import fastrnn
from fastrnn.readers import FormatError, UnsupportedModel, describe_file
from fastrnn.readers.containers.budget import Budget
from fastrnn.readers.graph.graph import WITHOUT_EFFECT, Graph, Input, Node, Ref
from fastrnn.readers.graph.graph_describe import describe_graph

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


# --- Arguments, attributes, inputs and results of nodes ---


def describe(op, taken="y", outputs=("y",), **args):
    x = Input((None, None, 3), is_integer=False)
    node = Node(op, {"self": Ref("x"), **args}, outputs, "node")
    return describe_graph(Graph({"x": x}, {}, [node], [Ref(taken)]), "test", "", Budget(1 << 20))


def test_arguments_that_no_handler_reads():
    assert [layer.kind for layer in describe("relu").layers] == ["ReLU"]
    with pytest.raises(UnsupportedModel, match=r"'node' \(relu\): its argument 'threshold' is not"):
        describe("relu", threshold=0.5)
    assert describe("relu", threshold=None, **dict.fromkeys(WITHOUT_EFFECT, 1)).layers


def test_results_that_no_handler_makes():
    assert describe("max", dim=1, outputs=("y", "places")).layers
    with pytest.raises(UnsupportedModel, match="its result 1 is not supported"):
        describe("max", dim=1, outputs=("y", "places"), taken="places")


@pytest.mark.parametrize(
    ("equation", "why"),
    [
        ("btd,btd", "not two terms"),
        ("btd->bt", "not two terms"),
        ("btd,bbd->bt", "not two terms"),
        ("btd,btd->bz", "not two terms"),
        ("...d,btd->bt", "not two terms"),
        ("bt,btd->bd", "its input has 3 axes, expected 2"),
        ("btd,bse->bt", "no layer for this operator"),
        ("btd,btd->b", "no layer for this operator"),
        ("btd,btd->bt", "joins two branches"),
    ],
)
def test_einstein_sums_that_are_no_layer(equation, why):
    with pytest.raises(FormatError, match=why):
        describe("einsum", equation=equation, tensors=[Ref("x"), Ref("x")])


def test_attributes_and_inputs_of_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx_files import model, save, value

    from fastrnn.readers.onnx.lowering import _RULES

    for kind in _RULES.keys() - {"Constant"}:
        takes_any = kind in ("Concat", "Sum", "Einsum")
        inputs = ["x"] * (2 if takes_any else 9)
        node = onnx.helper.make_node(kind, inputs, ["out"], "node", surprise=1)
        path = save(tmp_path, model([node], [value("x", [None, None, 3])], ["out"]))
        others = "" if takes_any else ".*'input 8'"
        with pytest.raises(UnsupportedModel, match=f"its 'surprise'{others}.* is not supported"):
            describe_file(path)


def test_weights_of_another_class(torch, tmp_path):
    class OtherGates(torch.nn.Module):  # an LSTM by its names, with the gates o i f g
        def __init__(self):
            super().__init__()
            self.weight_ih = torch.nn.Parameter(torch.randn(16, 3))
            self.weight_hh = torch.nn.Parameter(torch.randn(16, 4))

        def forward(self, x):
            o, i, f, g = (x @ self.weight_ih.T + self.weight_hh.sum(1)).chunk(4, 1)
            return o.sigmoid() * (i.sigmoid() * g.tanh() + f.sigmoid()).tanh()

    class Backwards(torch.nn.LSTM):
        def forward(self, x):
            return super().forward(x.flip(0))

    x = torch.zeros(5, 3)
    for path in archives(torch, torch.nn.Sequential(OtherGates()), x, tmp_path):
        with pytest.raises(
            UnsupportedModel, match=r"no prefix= can be loaded: '0' \(broken: '0' is .*OtherGates"
        ):
            fastrnn.load(path)
        for options in ({"prefix": "0"}, {"batch_first": True}):
            with pytest.raises(FormatError, match=r"'0' is a .*OtherGates, not one of PyTorch's"):
                fastrnn.load(path, **options)
    path = tmp_path / "m.pt"
    torch.jit.trace(Backwards(3, 4), x[None]).save(str(path))  # its code calls torch.lstm
    assert repr(fastrnn.load(path, "")) == "LSTM(3, 4)"


def test_parts_of_an_axis(torch, tmp_path):
    class Parts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(3, 4, bidirectional=True)

        def forward(self, x):
            y, _ = self.rnn(x)
            a, b = y.chunk(2, -1)
            c, d = torch.split(torch.cat([a, b], 2), 4, dim=2)
            e, f = torch.cat([c, d], 2).split([4, 4], 2)
            return e + f

    class Others(Parts):
        def forward(self, x):
            a, b, c = self.rnn(x)[0].chunk(3, -1)
            return torch.cat([a, b, c], 2)

    x = torch.randn(5, 2, 3)
    for path in archives(torch, Parts(), x, tmp_path):
        model = fastrnn.load(path)
        assert [type(layer).__name__ for layer in model] == ["GRU", "MergeDirections"]
    y, _ = model(x.numpy())
    assert error(y, torch.export.load(path).module()(x).detach().numpy()) < 1e-5
    for path in archives(torch, Others(), x, tmp_path):  # parts that are no directions
        with pytest.raises(UnsupportedModel, match="chunk"):
            fastrnn.load(path)


# --- What a program changes while it runs ---


def archives(torch, module, x, folder):
    """The files of a module in each format of torch."""
    module.eval()
    torch.jit.script(module).save(str(folder / "scripted.pt"))
    torch.jit.trace(module, x).save(str(folder / "traced.pt"))
    torch.export.save(torch.export.export(module, (x,)), folder / "exported.pt2")
    return [folder / name for name in ("scripted.pt", "traced.pt", "exported.pt2")]


def test_tensors_changed_in_place(torch, tmp_path):
    class View(torch.nn.Module):
        def forward(self, x):
            y = torch.tanh(x)
            y[:, :, :1].mul_(2.0)
            return torch.relu(y)

    for path in archives(torch, View(), torch.zeros(2, 5, 3), tmp_path):
        with pytest.raises(UnsupportedModel, match="changed in place"):
            describe_file(path)

    class Whole(torch.nn.Module):
        def forward(self, x):
            return torch.tanh(x).relu_()

    for path in archives(torch, Whole(), torch.zeros(2, 5, 3), tmp_path):
        assert [layer.kind for layer in describe_file(path).layers] == ["Tanh", "ReLU"]


def test_lists_that_grow(torch, tmp_path):
    class Net(torch.nn.Module):
        def forward(self, x):
            parts = [x]
            parts.append(torch.tanh(x))
            return torch.cat(parts, -1)

    torch.jit.script(Net()).save(str(tmp_path / "m.pt"))
    with pytest.raises(UnsupportedModel, match="it changes a list"):
        describe_file(tmp_path / "m.pt")


def test_casts(torch, tmp_path):
    class Truncated(torch.nn.Module):
        def forward(self, x):
            return torch.tanh(x).long().float()

    for path in archives(torch, Truncated(), torch.zeros(2, 5, 3), tmp_path):
        with pytest.raises(UnsupportedModel, match="numbers of different kinds"):
            describe_file(path)

    class Wide(torch.nn.Module):
        def forward(self, x):
            return torch.tanh(x.to(torch.float64)).to("cpu").float()

    for path in archives(torch, Wide(), torch.zeros(2, 5, 3), tmp_path):
        assert [layer.kind for layer in describe_file(path).layers] == ["Tanh"]


def test_casts_that_round(torch, tmp_path):
    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 4)

        def forward(self, x):
            return self.layer(x.half().to(self.layer.weight)).float()

    x = torch.randn(2, 5, 3)
    archive = str(tmp_path / "m.pt")
    torch.jit.trace(Half(), x).save(archive)  # the weights are float32
    with pytest.raises(UnsupportedModel, match="it rounds to float16"):
        describe_file(archive)
    half = Half().half()
    exported = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(half, (x,)), exported)
    y, _ = fastrnn.load(exported)(x.numpy())
    assert error(y, half(x).detach().numpy()) < 2e-3  # float16 has eleven bits


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "mean", "sum"])
def test_types_to_compute_in(torch, tmp_path, op):
    class Model(torch.nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.layer, self.dtype = torch.nn.GRU(3, 4, bidirectional=True), dtype

        def forward(self, x):
            y = self.layer(x)[0]
            if op == "sum":  # of the directions
                return y.reshape(x.shape[0], x.shape[1], 2, 4).sum(2, dtype=self.dtype).float()
            place = 0 if op == "mean" else 2
            return getattr(torch, op)(y, place, dtype=self.dtype).float()

    x, path = torch.randn(7, 2, 3), tmp_path / "m"
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float64, None)):
        model = Model(dtype).eval()
        for write in (
            lambda m: torch.jit.trace(m, x).save(str(path)),
            lambda m: torch.export.save(torch.export.export(m, (x,)), path),
        ):
            write(model)
            if name is not None:
                with pytest.raises(UnsupportedModel, match=f"it computes in {name}"):
                    describe_file(path)
            else:
                describe_file(path)


def test_indices_that_a_layer_makes(torch, tmp_path):
    class Words(torch.nn.Module):
        def __init__(self, change):
            super().__init__()
            self.words = torch.nn.Embedding(9, 4)
            self.is_flipped = change

        def forward(self, x):
            return self.words(x.flip(1) if self.is_flipped else x.clamp(max=5))

    for change in (True, False):
        path = str(tmp_path / "m.pt")
        torch.jit.trace(Words(change), torch.ones(2, 5, dtype=torch.long)).save(path)
        with pytest.raises(UnsupportedModel, match="its indices are not the model's input"):
            describe_file(path)


def test_training_mode(torch, tmp_path):
    """A fixed flag makes results random; that of a module is a state, as after eval()."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(3, 4, 2, dropout=0.5)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.rnn(x)[0])

    net, x = Net().train(), torch.zeros(2, 5, 3)
    torch.jit.trace(net, x, check_trace=False).save(str(tmp_path / "traced.pt"))
    with pytest.raises(UnsupportedModel, match=r"'rnn' .* in training mode"):
        describe_file(tmp_path / "traced.pt")
    torch.jit.trace(net.drop, x, check_trace=False).save(str(tmp_path / "traced.pt"))
    with pytest.raises(UnsupportedModel, match="in training mode"):
        describe_file(tmp_path / "traced.pt")
    torch.jit.script(net).save(str(tmp_path / "scripted.pt"))
    assert [layer.kind for layer in describe_file(tmp_path / "scripted.pt").layers] == [
        "LSTM",
        "Dropout",
    ]


# --- Axes ---


def test_number_of_axes_of_a_scripted_input(torch, tmp_path):
    """Another one is never taken because fastrnn has no layer for the file's."""

    class Squeezed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = torch.nn.GRU(3, 4, batch_first=True), torch.nn.Linear(4, 1)

        def forward(self, x):
            _, h = self.rnn(x)
            return self.head(h[-1]).squeeze()

    torch.jit.script(Squeezed()).save(str(tmp_path / "m.pt"))
    with pytest.raises(UnsupportedModel, match="depends on the size of the input"):
        describe_file(tmp_path / "m.pt")

    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.rnn = torch.nn.Embedding(9, 3), torch.nn.GRU(3, 1, batch_first=True)

        def forward(self, x):
            batch, steps = x.shape
            return self.rnn(self.words(x))[0].view(batch, steps)

    torch.jit.script(Words()).save(str(tmp_path / "m.pt"))
    embedding, gru, _ = describe_file(tmp_path / "m.pt").layers
    assert embedding.kind == "Embedding"
    assert gru.options["batch_first"] is True


def test_sequence_lens_of_some_layers(tmp_path):
    """A layer that takes them, on one that does not, both in reverse."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper
    from onnx_files import ints, model, save, tensor, value, weights

    nodes = [
        helper.make_node("GRU", ["x", "W", "R"], ["Y"], direction="reverse", hidden_size=3),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
        helper.make_node(
            "GRU", ["y", "W", "R", "", "lens"], ["", "h"], direction="reverse", hidden_size=3
        ),
    ]
    arrays = [tensor(array, name) for name, array in weights("GRU", 3, 3, bias=False).items()]
    inputs = [value("x", [None, None, 3]), value("lens", [None], TensorProto.INT32)]
    path = save(tmp_path, model(nodes, inputs, ["h"], [*arrays, ints("one", 1)]))
    with pytest.raises(UnsupportedModel, match="do not all take the same sequence_lens"):
        describe_file(path)


def test_values_beyond_sequence_lens(tmp_path):
    """They are 0 after a recurrent node, but not after a layer that adds to them."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper
    from onnx_files import ints, model, save, tensor, value, weights

    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "lens"], ["Y"], hidden_size=3),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
        helper.make_node("Sigmoid", ["y"], ["out"]),
    ]
    arrays = [tensor(array, name) for name, array in weights("GRU", 3, 3, bias=False).items()]
    inputs = [value("x", [None, None, 3]), value("lens", [None], TensorProto.INT32)]
    path = save(tmp_path, model(nodes, inputs, ["out"], [*arrays, ints("one", 1)]))
    with pytest.raises(UnsupportedModel, match="with sequence_lens, Sigmoid would see"):
        describe_file(path)
