# SPDX-License-Identifier: MIT
"""TorchScript archives: scripted, traced and frozen modules give their weights and options."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from limits import PARITY, error
from reader_files import (
    Entry,
    dict_,
    global_,
    numbers,
    pickle,
    read_bytes,
    refuses,
    storage,
    tensor,
    tuple_,
    zip_file,
)

import fastrnn
from fastrnn.readers import FormatError, read_file, read_state_dict

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="module")
def net(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True, dropout=0.25)
            self.gru = torch.nn.GRU(8, 4, bias=False)
            self.plain = torch.nn.RNN(4, 4, nonlinearity="relu")
            self.cell = torch.nn.GRUCell(4, 5, bias=False)
            self.lin = torch.nn.Linear(5, 2)

        def forward(self, x):
            y, _ = self.plain(self.gru(self.rnn(x)[0])[0])
            return self.lin(self.cell(y[:, -1]))

    torch.manual_seed(0)
    return Net().eval()


def store(torch, module, tmp_path, how):
    if "trace" in how:
        module = torch.jit.trace(module, torch.zeros(2, 7, 3))
    else:
        module = torch.jit.script(module)
    if "frozen" in how:
        module = torch.jit.freeze(module)
    module.save(str(tmp_path / "net.pt"))
    return read_file(tmp_path / "net.pt")


def assert_weights(found, module, names=None):
    state = module.state_dict()
    for name in names or state:
        np.testing.assert_array_equal(found[name], state[name].numpy(), strict=True, err_msg=name)


EXPECTED = {
    "rnn": {"cell": "LSTM", "num_layers": 2, "bidirectional": True, "batch_first": True,
            "bias": True, "dropout": 0.25, "coupled": False},
    "gru": {"cell": "GRU", "num_layers": 1, "bidirectional": False, "batch_first": False,
            "bias": False, "dropout": 0.0, "reset_after": True},
    "plain": {"cell": "RNN", "nonlinearity": "relu", "num_layers": 1, "bidirectional": False,
              "batch_first": False, "bias": True, "dropout": 0.0},
}  # fmt: skip


def test_scripted(torch, net, tmp_path):
    found = store(torch, net, tmp_path, "script")
    assert found.format == "torchscript"
    assert list(found.arrays) == list(net.state_dict())
    assert_weights(found.arrays, net)
    sizes = {"rnn": (3, 4), "gru": (8, 4), "plain": (4, 4)}
    for name, (inputs, hidden) in sizes.items():
        more = {"input_size": inputs, "hidden_size": hidden, "proj_size": 0}
        assert found.recurrent[name] == EXPECTED[name] | more
    cell = {"cell": "GRU", "input_size": 4, "hidden_size": 5, "bias": False}
    assert found.recurrent["cell"] == cell


def test_traced(torch, net, tmp_path):
    found = store(torch, net, tmp_path, "trace")
    assert list(found.arrays) == list(net.state_dict())
    assert_weights(found.arrays, net)
    assert found.recurrent == EXPECTED


def test_frozen(torch, net, tmp_path):
    found = store(torch, net, tmp_path, "script frozen")
    names = [name for name in net.state_dict() if name.startswith(("rnn.", "gru."))]
    assert_weights(found.arrays, net, names)
    state = net.state_dict()
    np.testing.assert_array_equal(found.arrays["gru_1.weight_ih"], state["cell.weight_ih"])
    others = [array for name, array in found.arrays.items() if name.startswith("CONSTANTS.")]
    assert any(np.array_equal(array, state["lin.weight"].numpy()) for array in others)
    assert found.recurrent["rnn"] == EXPECTED["rnn"]
    assert found.recurrent["gru"] == EXPECTED["gru"] | {"path_is_lost": True}
    assert EXPECTED["plain"] in found.recurrent.values()


def test_frozen_trace(torch, net, tmp_path):
    found = store(torch, net, tmp_path, "trace frozen")
    names = [name for name in net.state_dict() if name.startswith(("rnn.", "gru.", "plain."))]
    assert_weights(found.arrays, net, names)
    assert found.recurrent == EXPECTED


def test_frozen_without_its_path(torch, tmp_path):
    """The only layer is that of any prefix, with a warning; of two layers neither is."""

    class Net(torch.nn.Module):
        def __init__(self, count):
            super().__init__()
            make = torch.nn.LSTM
            self.rnns = torch.nn.ModuleList(make(3, 3, bias=False) for _ in range(count))

        def forward(self, x):
            for rnn in self.rnns:
                x = rnn(x)[0]
            return x

    net, x = Net(1).eval(), torch.randn(4, 2, 3)
    store(torch, net, tmp_path, "script frozen")
    with pytest.warns(UserWarning, match="does not tell the path .* taken to be 'rnns.0'"):
        layer = fastrnn.load(tmp_path / "net.pt", prefix="rnns.0")
    assert error(layer(x.numpy())[0], net(x).detach().numpy()) <= PARITY
    store(torch, Net(2).eval(), tmp_path, "script frozen")
    with pytest.raises(FormatError, match="no recurrent weights under 'rnns"):
        fastrnn.load(tmp_path / "net.pt", prefix="rnns.0")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("two_way", [True, False])
def test_frozen_projection(torch, tmp_path, bias, two_way):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.LSTM(3, 5, 2, bias=bias, bidirectional=two_way, proj_size=2)

        def forward(self, x):
            return self.a(x)[0]

    net = Net().eval()
    found = store(torch, net, tmp_path, "script frozen")
    assert_weights(found.arrays, net)


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_top_level_layer(torch, tmp_path, how, kind):
    net = getattr(torch.nn, kind)(3, 4).eval()
    found = store(torch, net, tmp_path, how)
    assert list(found.arrays) == list(net.state_dict())
    assert found.recurrent[""]["cell"] == kind
    assert found.recurrent[""]["num_layers"] == 1


def test_key_selects_a_module(torch, net, tmp_path):
    store(torch, net, tmp_path, "script")
    found = read_file(tmp_path / "net.pt", key="rnn")
    assert_weights(found.arrays, net.rnn)
    assert found.recurrent[""]["num_layers"] == 2
    with pytest.raises(FormatError, match=r"no tensors below key 'lstm'; .* 'rnn', 'gru'"):
        read_file(tmp_path / "net.pt", key="lstm")


def test_shared_module(torch, tmp_path):
    layer = torch.nn.LSTM(2, 2)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = layer, layer

        def forward(self, x):
            return self.b(self.a(x)[0])[0]

    arrays = store(torch, Net(), tmp_path, "script").arrays
    assert "a.weight_ih_l0" in arrays
    assert all(name.startswith(("a.", "b.")) for name in arrays)


def test_packed_layers_are_refused(torch, tmp_path):
    net = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    with pytest.raises(FormatError, match=r"'0\._packed_params' has packed or quantized weights"):
        read_file(tmp_path / "net.pt")


# the real model


@pytest.fixture(scope="module")
def silero():
    default = Path(__file__).parents[2].parent / "shared" / "models"
    folder = Path(os.environ.get("FASTRNN_MODELS", default)) / "silero_vad"
    if not folder.is_dir():
        pytest.skip("the silero_vad model is not here")
    return folder


def test_silero_files_agree(silero):
    state = read_state_dict(silero / "silero_vad_16k.pt")
    flat = read_state_dict(silero / "silero_vad_16k.safetensors")
    script = read_file(silero / "silero_vad_16k.jit")
    branch = read_state_dict(silero / "silero_vad_16k.jit", key="_model")
    assert len(state) == 15
    for other in (flat, branch):
        assert set(other) == set(state)
        for name, array in state.items():
            np.testing.assert_array_equal(other[name], array, strict=True, err_msg=name)
    layer = {"cell": "LSTM", "input_size": 128, "hidden_size": 128, "bias": True}
    assert script.recurrent["_model.decoder.rnn"] == layer


def test_silero_speech(silero):
    arrays = read_state_dict(silero / "speech_19s.npz")
    with np.load(silero / "speech_19s.npz") as expected:
        assert set(arrays) == set(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(arrays[name], expected[name], strict=True)


# hand-made archives, which need no torch

CALL = """class Net(Module):
  def forward(self: __torch__.Net,
    x: Tensor) -> Tensor:
    w = [CONSTANTS.c0, CONSTANTS.c1]
    y, h = torch.rnn_tanh(torch.transpose(x, 0, 1), hx, w, {options})
    return y
"""


def module(state: bytes, name: str = "Net") -> bytes:
    return global_("__torch__", name) + b")\x81" + state + b"b"


def script_file(root: bytes, constants: bytes = b")", code: str = "", method: int = 8) -> bytes:
    floats = np.arange(4, dtype="<f4").tobytes()
    return zip_file(
        [
            Entry("m/data.pkl", pickle(root)),
            Entry("m/data/0", floats),
            Entry("m/constants.pkl", pickle(constants)),
            Entry("m/constants/0", floats),
            Entry("m/code/__torch__.py", code.encode(), method),
            Entry("m/version", b"3\n"),
        ]
    )


def test_hand_made_module(tmp_path):
    child = module(dict_({"weight": tensor([4]), "training": b"\x89", "n": numbers([1])}))
    code = "class Net(Module):\n  input_size : Final[int] = 3\n  hidden_size : Final[int] = 0x\n"
    found = read_bytes(tmp_path, script_file(module(dict_({"a": child})), code=code))
    assert list(found.arrays) == ["a.weight"]
    assert found.recurrent == {}


FROZEN = tuple_(tensor([2, 2], source=storage(4)), tensor([2, 2], [1, 2], source=storage(4)))


def test_hand_made_frozen_module(tmp_path):
    code = CALL.format(options="False, 1, 0., False, False, True")
    found = read_bytes(tmp_path, script_file(module(b"}"), FROZEN, code))
    assert found.recurrent == {
        "rnn": {"cell": "RNN", "nonlinearity": "tanh", "bias": False, "num_layers": 1,
                "dropout": 0.0, "bidirectional": False, "batch_first": True, "path_is_lost": True},
    }  # fmt: skip
    np.testing.assert_array_equal(found.arrays["rnn.weight_ih_l0"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(found.arrays["rnn.weight_hh_l0"], [[0, 2], [1, 3]])
    with pytest.warns(UserWarning, match="only recurrent layer, which is taken to be 'encoder'"):
        layer = fastrnn.load(found.path, "encoder")
    np.testing.assert_array_equal(layer.state_dict()["weight_ih_l0"], [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("options", "constants", "match"),
    [
        ("True, 1, 0., False, False, True", FROZEN, "2 weights do not fit 1 layers, bias=True"),
        ("False, 3, 0., False, False, True", FROZEN, "do not fit 3 layers"),
        ("False, 999999999999999, 0., False, True, True", FROZEN, "do not fit"),
        ("False, -1, 0., False, False, True", FROZEN, "do not fit -1 layers"),
        ("b, 1, 0., False, False, True", FROZEN, "not literals"),
        ("False, 1, 0., False, False, True", tuple_(tensor([4])), "CONSTANTS.c1 is not in"),
        ("False, 1, 0., False, False, True", b"]", "does not hold a tuple"),
        ("False, 1, 0., False, False, True", numbers([1, 2]), "CONSTANTS.c0 is not in"),
    ],
)
def test_bad_frozen_modules(tmp_path, options, constants, match):
    refuses(tmp_path, script_file(module(b"}"), constants, CALL.format(options=options)), match)


@pytest.mark.parametrize(
    ("root", "match"),
    [
        (dict_({"weight": tensor([4])}), "does not hold a TorchScript module"),
        (global_("__torch__", "Net"), "does not hold a TorchScript module"),
        (module(b")"), "state of its own kind"),
        (module(b"}(K\1K\2u"), "not strings"),
        (module(dict_({"p": module(b"}", "torch.classes.quantized.LinearPackedParamsBase")})),
         "packed or quantized"),
        (module(b"}") + b"q\0}(X\1\0\0\0ah\0ub", "nest too deep"),
    ],
)  # fmt: skip
def test_bad_modules(tmp_path, root, match):
    refuses(tmp_path, script_file(root), match)


def test_code_that_is_not_text(tmp_path):
    odd = zip_file(
        [
            Entry("m/data.pkl", pickle(module(b"}"))),
            Entry("m/constants.pkl", pickle(b")")),
            Entry("m/code/a.py", b"\xff\xfe"),
        ]
    )
    refuses(tmp_path, odd, "'code/a.py' is not UTF-8")


def test_module_without_state(tmp_path):
    bare = global_("__torch__", "Net") + b")\x81"
    found = read_bytes(tmp_path, script_file(module(dict_({"a": bare, "w": tensor([4])}))))
    assert list(found.arrays) == ["w"]


def test_too_many_calls(tmp_path):
    line = "    y, h = torch.gru(x, hx, [self.w, self.v], True, 1, 0., t, False, False)\n"
    code = "class Net(Module):\n" + line * 100_001
    refuses(tmp_path, script_file(module(b"}"), code=code), "more work|expands to more")


def test_odd_code_is_ignored(tmp_path):
    lines = [
        "torch.lstm(", "torch.lstm(((((", "torch.gru(a, b, [], True, 1, 0., False, False, False)",
        "    a = b.c", "    b = a.c",
        "    y, h = torch.gru(x, hx, a, True, 1, 0., t, False, False)",
        "    y, h = torch.gru(x, hx, [self.a.w, self.b.w], True, 1, 0., t, False, False)",
        "class", "  def f(", "  n : Final[int] = 99999999999999999999999", "\x00", "[" * 5000,
        "torch.lstm_cell(x, [h, c], self.p, self.q)", "torch.rnn_relu_cell(a)",
    ]  # fmt: skip
    found = read_bytes(tmp_path, script_file(module(b"}"), code="\n".join(lines) + "\n"))
    assert found.recurrent == {}
    assert found.arrays == {}


def weights_alone(torch, module, names):
    """A module without code that has the weights, as C++ programs save one."""
    parts = torch.nn.Module()
    for name, parameter in module.named_parameters():
        parts.register_parameter(names(name), parameter)
    return parts


@pytest.mark.parametrize("how", ["libtorch", "tch"])
def test_archives_of_other_languages(torch, tmp_path, how):
    """C++ modules have no code; VarStore of tch-rs writes bars for the dots of names."""
    rnn = torch.nn.GRU(3, 4, 2, bidirectional=True)
    if how == "tch":
        model = weights_alone(torch, rnn, lambda name: f"enc|rnn|{name}")
    else:
        model = torch.nn.Module()
        model.enc = torch.nn.Module()
        model.enc.rnn = weights_alone(torch, rnn, str)
    torch.jit.script(model).save(str(tmp_path / "m.pt"))
    state = read_state_dict(tmp_path / "m.pt")
    assert list(state) == [f"enc.rnn.{name}" for name in rnn.state_dict()]
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    with torch.inference_mode():
        wanted = rnn(torch.from_numpy(x).transpose(0, 1))[0].transpose(0, 1).numpy()
    for arguments in ({}, {"prefix": "enc.rnn"}):
        layer = fastrnn.load(tmp_path / "m.pt", batch_first=True, **arguments)
        assert np.abs(layer(x)[0] - wanted).max() < PARITY
    assert isinstance(fastrnn.load(tmp_path / "m.pt"), fastrnn.GRU)


def test_two_tensors_of_one_name(torch, tmp_path):
    model = torch.nn.Module()
    model.rnn = weights_alone(torch, torch.nn.GRU(3, 4), str)
    model.register_buffer("rnn|weight_ih_l0", torch.zeros(12, 3))
    torch.jit.script(model).save(str(tmp_path / "m.pt"))
    with pytest.raises(FormatError, match=r"'rnn\.weight_ih_l0' occurs twice"):
        read_state_dict(tmp_path / "m.pt")
