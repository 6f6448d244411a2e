# SPDX-License-Identifier: MIT
"""`fastrnn.load` makes the right layer of a file, or says by name why it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configurations import Configuration, make_layer, torch_module

import fastrnn
from fastrnn.files.loading import choose_stack, file_options
from fastrnn.readers import ModelFile, read_file

SIZES: dict[str, Any] = {"input_size": 3, "hidden_size": 5, "batch": 2, "steps": 4}
SHAPES = (
    {"cell": "LSTM"},
    {"cell": "LSTM", "proj_size": 2, "num_layers": 2, "bidirectional": True},
    {"cell": "GRU", "bias": False, "num_layers": 3},
    {"cell": "RNN", "bidirectional": True},
)


@pytest.fixture(params=SHAPES, ids=lambda options: "-".join(map(str, options.values())))
def configuration(request: pytest.FixtureRequest) -> Configuration:
    return Configuration(**SIZES, **request.param)


def save(path: Path, *parts: tuple[str, Configuration], **more: np.ndarray) -> Path:
    """Write the weights of some stacks, each under its prefix, to an npz file."""
    arrays = dict(more)
    for prefix, configuration in parts:
        weights = configuration.data().weights
        arrays |= {prefix + name: array for name, array in weights.items()}
    np.savez(path, **arrays)
    return path


def same(layer: Any, configuration: Configuration) -> bool:
    """Whether a layer computes just what one built from the configuration does."""
    x = configuration.data().x
    return np.array_equal(layer(x)[0], make_layer(configuration)(x)[0])


# --- What is loaded ---


def test_only_stack(tmp_path: Path, configuration: Configuration) -> None:
    path = save(tmp_path / "m.npz", ("rnn.", configuration), **{"fc.weight": np.zeros((2, 2))})
    with pytest.warns(UserWarning, match="leaves out 'fc.weight'"):
        layer = fastrnn.load(path)
    assert type(layer).__name__ == configuration.cell
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (
        configuration.input_size,
        configuration.hidden_size,
        configuration.num_layers,
    )
    assert (layer.bias, layer.bidirectional) == (configuration.bias, configuration.bidirectional)
    assert same(layer, configuration)


@pytest.mark.parametrize("prefix", ["a.b", "a.b."])
def test_prefix_chooses(tmp_path: Path, configuration: Configuration, prefix: str) -> None:
    other = Configuration("GRU", 2, 2, num_layers=2)
    path = save(tmp_path / "m.npz", ("a.c.", other), ("a.b.", configuration))
    assert same(fastrnn.load(path, prefix), configuration)
    assert same(fastrnn.load(save(tmp_path / "top.npz", ("", other)), ""), other)


def test_cell_names(tmp_path: Path, configuration: Configuration) -> None:
    single = Configuration(configuration.cell, 3, 5, bias=configuration.bias, batch=2, steps=4)
    weights = single.data().weights
    np.savez(tmp_path / "m.npz", **{f"c.{k.removesuffix('_l0')}": w for k, w in weights.items()})
    assert same(fastrnn.load(tmp_path / "m.npz"), single)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(tmp_path: Path, dtype: type) -> None:
    configuration = Configuration("LSTM", **SIZES)
    weights = {k: w.astype(dtype) for k, w in configuration.data().weights.items()}
    np.savez(tmp_path / "m.npz", **weights)
    layer = fastrnn.load(tmp_path / "m.npz")
    for name, array in layer.state_dict().items():
        assert array.dtype == np.float32
        assert np.array_equal(array, weights[name].astype(np.float32))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "legacy"])
def test_files_of_torch(tmp_path: Path, configuration: Configuration, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    module = torch_module(configuration)
    tensors = {f"enc.{name}": tensor for name, tensor in module.state_dict().items()}
    path = tmp_path / f"m.{suffix}"
    if suffix == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=suffix == "pt")
    x = configuration.data().x
    with torch.inference_mode():
        wanted = module(torch.from_numpy(x))[0].numpy()
    assert np.abs(fastrnn.load(path)(x)[0] - wanted).max() < 1e-6


def cell_with_norm(torch: Any) -> Any:
    """A model of a cell with the names of torch.nn.LSTMCell, and norms of its own."""

    class Cell(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight_ih = torch.nn.Parameter(torch.randn(16, 3))
            self.weight_hh = torch.nn.Parameter(torch.randn(16, 4))
            self.norm = torch.nn.LayerNorm(16)

        def forward(self, x):
            i, f, g, o = self.norm(x @ self.weight_ih.T + self.weight_hh.sum(1)).chunk(4, 1)
            return o.sigmoid() * (i.sigmoid() * g.tanh() + f.sigmoid()).tanh()

    return torch.nn.Sequential(Cell()).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "npz", "script", "onnx"])
def test_cell_with_a_norm_is_no_plain_cell(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    model, path = cell_with_norm(torch), tmp_path / f"m.{suffix}"
    state = model.state_dict()
    if suffix == "pt":
        torch.save({"model": state}, path)
    elif suffix == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    elif suffix == "npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    elif suffix == "script":
        torch.jit.script(model).save(str(path))
    else:
        pytest.importorskip("onnx")
        from onnx_files import model as onnx_model
        from onnx_files import save as save_onnx
        from onnx_files import value

        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        save_onnx(tmp_path, onnx_model([], [value("x", [1])], ["x"], arrays))
    text = refusal(path, "0")
    assert "unexpected tensors below '0'" in text
    assert "'0.norm.weight'" in text
    with pytest.raises(fastrnn.FormatError):  # nor without the prefix
        fastrnn.load(path)


# --- Options ---


def test_options_complete(tmp_path: Path) -> None:
    relu = Configuration("RNN", **SIZES, nonlinearity="relu")
    gru = Configuration("GRU", **SIZES, num_layers=2)
    path = save(tmp_path / "m.npz", ("relu.", relu), ("gru.", gru))
    assert same(fastrnn.load(path, "relu", nonlinearity="relu"), relu)
    assert not same(fastrnn.load(path, "relu"), relu)
    assert not same(fastrnn.load(path, "gru", reset_after=False), gru)
    layer = fastrnn.load(path, "gru", batch_first=True, dropout=0.5, num_layers=2)
    x = gru.data().x
    assert np.array_equal(layer(x.swapaxes(0, 1))[0].swapaxes(0, 1), make_layer(gru)(x)[0])
    assert layer.batch_first is True
    assert layer.dropout == 0.5


def test_isa_is_passed(tmp_path: Path, isa: str) -> None:
    path = save(tmp_path / "m.npz", ("", Configuration("GRU", **SIZES)))
    assert fastrnn.load(path, isa=isa).isa == isa


@pytest.mark.parametrize(
    "options",
    [{"num_layers": 2}, {"bias": False}, {"bidirectional": True}, {"hidden_size": 6}],
)
def test_options_contradict(tmp_path: Path, options: dict[str, Any]) -> None:
    path = save(tmp_path / "m.npz", ("", Configuration("GRU", **SIZES)))
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.* contradicts"):
        fastrnn.load(path, **options)


@pytest.mark.parametrize("option", ["nonlinearity", "proj_size", "cell", "spam"])
def test_options_unknown(tmp_path: Path, option: str) -> None:
    path = save(tmp_path / "m.npz", ("", Configuration("GRU", **SIZES)))
    with pytest.raises(TypeError, match=f"'{option}'.*'reset_after'"):
        fastrnn.load(path, **{option: 1})


def scripted(path: Path, **options: Any) -> Any:
    """Write a TorchScript file, which tells the hyper-parameters of its module `rnn`."""
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.RNN(3, 5, nonlinearity="relu", batch_first=True, **options)

        def forward(self, x):
            return self.rnn(x)[0]

    model = Model().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.save(torch.jit.script(model), str(path))
    return model


def test_torchscript_tells_options(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    model = scripted(path, num_layers=2)
    layer = fastrnn.load(path)
    assert (layer.nonlinearity, layer.batch_first, layer.num_layers) == ("relu", True, 2)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(x)).numpy()
    assert np.abs(layer(x)[0] - wanted).max() < 1e-6
    for name, value in {"nonlinearity": "tanh", "batch_first": False}.items():
        with pytest.raises(ValueError, match=f"{name}=.* contradicts the file"):
            fastrnn.load(path, **{name: value})


class Cells:
    """Writes a traced or scripted model that calls two RNNCells, with a relu of its own between."""

    def __init__(self, torch: Any) -> None:
        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = torch.nn.RNNCell(3, 5, nonlinearity="relu")
                self.b = torch.nn.RNNCell(5, 5, bias=False)
                self.unused = torch.nn.RNNCell(3, 5)

            def forward(self, x):
                return self.b(torch.relu(self.a(x)))

        self.torch, self.model = torch, Model().eval()

    def save(self, path: Path, how: str) -> Path:
        jit = self.torch.jit
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated
            traced = how == "trace"
            x = self.torch.randn(2, 3)
            jit.save(jit.trace(self.model, x) if traced else jit.script(self.model), str(path))
        return path


@pytest.mark.parametrize("how", ["trace", "script"])
def test_torchscript_cells_tell_nonlinearity(tmp_path: Path, how: str) -> None:
    cells = Cells(pytest.importorskip("torch"))
    path = cells.save(tmp_path / "m.pt", how)
    x = np.random.default_rng(0).standard_normal((1, 2, 3)).astype(np.float32)
    with cells.torch.inference_mode():
        wanted = cells.model.a(cells.torch.from_numpy(x[0])).numpy()
    layer = fastrnn.load(path, "a")
    assert layer.nonlinearity == "relu"
    assert np.abs(layer(x)[0][0] - wanted).max() < 1e-6
    assert fastrnn.load(path, "b").nonlinearity == "tanh"
    with pytest.raises(ValueError, match="nonlinearity='tanh' contradicts the file"):
        fastrnn.load(path, "a", nonlinearity="tanh")


def test_torchscript_without_nonlinearity_is_refused(tmp_path: Path) -> None:
    path = Cells(pytest.importorskip("torch")).save(tmp_path / "m.pt", "trace")
    text = refusal(path, "unused")
    assert "'unused'" in text
    assert "nonlinearity='tanh' or nonlinearity='relu'" in text
    assert fastrnn.load(path, "unused", nonlinearity="relu").nonlinearity == "relu"


@pytest.mark.parametrize("said", [{"cell": "GRU"}, {"hidden_size": 6}, {"proj_size": 1}])
def test_file_contradicts_itself(said: dict[str, object]) -> None:
    weights = Configuration("LSTM", **SIZES).data().weights
    arrays = {f"a.rnn.{name}": array for name, array in weights.items()}
    file = ModelFile("m.pt", "torchscript", arrays, {"a.rnn": said})
    (name,) = said
    with pytest.raises(fastrnn.FormatError, match=f"^m.pt: the module 'a.rnn' says {name}"):
        file_options(file, choose_stack(file, "a.rnn"))


# --- What is left out, and assumed ---


def test_the_rest_of_a_state_dict_is_named(tmp_path: Path) -> None:
    head = {"emb.weight": np.zeros((4, 3)), "fc.weight": np.zeros((2, 5))}
    parts = ("rnn.", Configuration(**SIZES, cell="GRU"))
    path = save(tmp_path / "m.npz", parts, **head)
    with pytest.warns(UserWarning, match=r"m\.npz") as caught:
        assert fastrnn.load(path).batch_first is False
    (warning,) = caught
    for part in ("'rnn'", "leaves out 'emb.weight', 'fc.weight'", "assumes batch_first=False"):
        assert part in str(warning.message)
    assert warning.filename == __file__
    with pytest.warns(UserWarning, match=r"leaves out 'emb.weight', 'fc.weight'$"):
        fastrnn.load(path, batch_first=True)


def test_no_warning_if_all_is_clear(tmp_path: Path) -> None:
    """pytest makes an error of each."""
    parts = ("rnn.", Configuration(**SIZES, cell="GRU"))
    fastrnn.load(save(tmp_path / "alone.npz", parts))
    path = save(tmp_path / "m.npz", parts, **{"fc.weight": np.zeros((2, 5))})
    fastrnn.load(path, prefix="rnn")


# --- Refusals ---


def refusal(path: Path, prefix: str | None = None) -> str:
    with pytest.raises(fastrnn.FormatError) as caught:
        fastrnn.load(path, prefix)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_several_stacks_are_listed(tmp_path: Path) -> None:
    lstm, gru = (Configuration(cell, **SIZES) for cell in ("LSTM", "GRU"))
    path = save(tmp_path / "m.npz", ("enc.", lstm), ("dec.rnn.", gru))
    for text in (refusal(path), refusal(path, "dec"), refusal(path, "enc.weight")):
        assert "'enc' (LSTM, input 3, hidden 5, 1 layer)" in text
        assert "'dec.rnn' (GRU, input 3, hidden 5, 1 layer)" in text


def test_no_stack(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **{"fc.weight": np.zeros((2, 2)), "fc.bias": np.zeros(2)})
    assert "the file has 'fc.weight', 'fc.bias'" in refusal(tmp_path / "m.npz")
    np.savez(tmp_path / "m.npz", **{f"t{k}": np.zeros(1) for k in range(500)})
    text = refusal(tmp_path / "m.npz", "rnn")
    assert "under 'rnn'" in text
    assert "'t0'" in text
    assert "and 480 more" in text


@pytest.mark.parametrize("prefix", [None, "rnn"])
def test_broken_stack(tmp_path: Path, prefix: str | None) -> None:
    weights = Configuration("LSTM", **SIZES).data().weights
    arrays = {f"rnn.{name}": array for name, array in weights.items() if name != "bias_hh_l0"}
    np.savez(tmp_path / "m.npz", **arrays)
    assert "missing" in refusal(tmp_path / "m.npz", prefix)
    assert "'rnn.bias_hh_l0'" in refusal(tmp_path / "m.npz", prefix)


def test_broken_stack_is_listed(tmp_path: Path) -> None:
    configuration = Configuration("LSTM", **SIZES)
    path = save(
        tmp_path / "m.npz", ("a.", configuration), **{"b.weight_ih_l0": np.zeros((4, 2, 2))}
    )
    assert "'b' (broken: 'b.weight_ih_l0' has shape (4, 2, 2)" in refusal(path)
    assert same(fastrnn.load(path, "a"), configuration)


def holds(layer: Any, state: dict[str, Any], prefix: str = "") -> bool:
    """Whether a layer has just the weights of a torch state dict."""
    return all(np.array_equal(a, state[prefix + name]) for name, a in layer.state_dict().items())


def unreadable_tensors(torch: Any) -> dict[str, Any]:
    return {
        "float8": torch.zeros(3, dtype=torch.float8_e4m3fn),
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8),
        "conjugate": torch.zeros(3, dtype=torch.complex64).conj(),
        "meta": torch.zeros(3, device="meta"),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["pt", "legacy", "safetensors"])
def test_unreadable_tensors_elsewhere(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    module = torch_module(Configuration("LSTM", **SIZES))
    state = {f"rnn.{k}": v for k, v in module.state_dict().items()}
    others = unreadable_tensors(torch)
    path = tmp_path / "m"
    if suffix == "safetensors":
        others = {"float8": others["float8"]}
        pytest.importorskip("safetensors.torch").save_file({**others, **state}, path)
    else:
        torch.save({**others, **state}, path, _use_new_zipfile_serialization=suffix == "pt")
    assert list(read_file(path).unreadable) == list(others)
    for prefix in (None, "rnn"):
        assert holds(fastrnn.load(path, prefix), state, "rnn.")
    with pytest.raises(fastrnn.FormatError, match=rf"{path}: tensor 'float8' has elements of type"):
        fastrnn.read_state_dict(path)


@pytest.mark.filterwarnings("ignore")
def test_unreadable_tensor_in_a_stack(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = torch_module(Configuration("LSTM", **SIZES)).state_dict()
    bad = state | {"weight_hh_l0": state["weight_hh_l0"].to(torch.float8_e4m3fn)}
    both = {f"{p}.{k}": v for p, s in (("a", bad), ("b", state)) for k, v in s.items()}
    torch.save(both, tmp_path / "m.pt")
    why = "tensor 'a.weight_hh_l0' has elements of type 'torch.float8_e4m3fn': not supported"
    assert why in refusal(tmp_path / "m.pt", "a")
    assert f"'a' (broken: {why})" in refusal(tmp_path / "m.pt")
    assert holds(fastrnn.load(tmp_path / "m.pt", "b"), state)
    torch.save({"fc.weight": torch.zeros(2), "q": bad["weight_hh_l0"]}, tmp_path / "m.pt")
    assert "the file has 'fc.weight'; not readable: 'q'" in refusal(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["state dict", "script"])
def test_quantized_layer_elsewhere(tmp_path: Path, how: str) -> None:
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = torch.nn.Linear(3, 3)
            self.rnn = torch_module(Configuration("LSTM", **SIZES))

        def forward(self, x):
            return self.rnn(self.lin(x))[0]

    model = torch.ao.quantization.quantize_dynamic(Model().eval(), {torch.nn.Linear})
    path = tmp_path / "m.pt"
    if how == "script":
        torch.jit.script(model).save(str(path))
    else:
        torch.save(model.state_dict(), path)
    assert all(name.startswith("lin._packed_params") for name in read_file(path).unreadable)
    assert holds(fastrnn.load(path, "rnn"), model.state_dict(), "rnn.")
    if how == "script":  # which could hold a whole model, but this one is not taken in parts
        with pytest.raises(fastrnn.FormatError, match=r"linear_dynamic(.|\n)*prefixes: 'rnn'"):
            fastrnn.load(path)
    with pytest.raises(fastrnn.FormatError, match=r"'lin\._packed_params.*packed"):
        fastrnn.read_state_dict(path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"path": 3},
            "path: expected str, os.PathLike of str or a binary file that can seek, got int",
        ),
        ({"prefix": 3}, "prefix: expected str or None, got int"),
        ({"prefix": b"a"}, "prefix: expected str or None, got bytes"),
        ({"key": 0}, "key: expected str or None, got int"),
    ],
)
def test_argument_types(tmp_path: Path, arguments: dict[str, Any], text: str) -> None:
    path = save(tmp_path / "m.npz", ("", Configuration("GRU", **SIZES)))
    with pytest.raises(TypeError, match=f"^{text}$"):
        fastrnn.load(**{"path": path, **arguments})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fastrnn.load(tmp_path / "none.pt")
