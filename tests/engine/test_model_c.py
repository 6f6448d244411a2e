# SPDX-License-Identifier: MIT
"""Whole models in C return the bits of fastrnn.Sequential, on every ISA and in pieces."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_builds import BUILT, EMBEDDED, PLAIN, ROOT, make_embedded, make_plain
from limits import PARITY, error
from model_files import make

import fastrnn
from fastrnn.cli import main
from fastrnn.files.build import from_description
from fastrnn.files.frnn_writer import read_model, write_model
from fastrnn.readers.description import DescribedLayer, Description

GOLDEN = ROOT / "tests/golden"
Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def program() -> Path:
    """src_c/tests/run_file.c, compiled."""
    make_plain(f"build/c/{PLAIN}/run_file")
    return BUILT / PLAIN / "run_file"


@pytest.fixture
def in_c(program: Path, tmp_path: Path) -> Run:
    """Run a model by the C core over x [steps, batch, ...]; y [steps, batch, features]."""

    def run(model, x, isa, lengths=None, cut=None):
        write_model(tmp_path / "model.frnn", model)
        values = x.astype(np.int64 if x.dtype.kind in "iu" else np.float32)
        values.tofile(tmp_path / "x.bin")
        sizes = [*x.shape[:2], cut or len(x), *(lengths if lengths is not None else [])]
        files = [tmp_path / name for name in ("model.frnn", "x.bin", "y.bin")]
        done = subprocess.run(
            [program, isa, *files, *map(str, sizes)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        shape = tuple(map(int, done.stdout.split()))
        return np.fromfile(tmp_path / "y.bin", np.float32).reshape(shape)

    return run


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


WORDS = np.random.default_rng(5).integers(0, 50, (4, 9))
SMALL_RNN = {"input_size": 6, "hidden_size": 6}
TAGGER = (
    make("embedding", "Embedding", num_embeddings=50, embedding_dim=10),
    make("lstm", "LSTM", input_size=10, hidden_size=13, num_layers=2, bidirectional=True,
         batch_first=True),
    make("tags", "Linear", in_features=26, out_features=7),
)  # fmt: skip
CLASSIFIER = (
    make("gru", "GRU", input_size=5, hidden_size=18),
    make("last", "Last"),
    make("fc", "Linear", in_features=18, out_features=3),
    make("softmax", "Softmax", dim=-1),
)
SOUND = (
    make("conv.0", "Conv1d", in_channels=3, out_channels=20, kernel_size=5, stride=2, padding=2),
    make("relu", "ReLU"),
    make("conv.1", "Conv1d", in_channels=20, out_channels=8, kernel_size=3, groups=2,
         padding="same"),
    make("transpose", "Transpose", dim0=1, dim1=2),
    make("lstm", "LSTM", input_size=8, hidden_size=17, batch_first=True, proj_size=5),
    make("norm", "LayerNorm", normalized_shape=(5,)),
    make("sigmoid", "Sigmoid"),
)  # fmt: skip
FUNCTIONS = (
    make("gru", "GRU", input_size=6, hidden_size=17),
    make("scale", "Scale", factor=4.0, offset=-0.3),
    make("elu", "ELU", alpha=1.5),
    make("leaky_relu", "LeakyReLU", negative_slope=0.2),
    make("silu", "SiLU"),
    make("gelu", "GELU"),
    make("gelu.tanh", "GELU", approximate="tanh"),
    make("hardtanh", "Hardtanh", min_val=-1.0, max_val=2.0),
    make("softplus", "Softplus", beta=2.0, threshold=1.0),
    make("hardsigmoid", "Hardsigmoid"),
    make("scales", "ScaleFeatures", num_features=17),
    make("hardswish", "Hardswish"),
    make("mish", "Mish"),
    make("softsign", "Softsign"),
)
CHANNELS = (
    make("norm", "BatchNorm1d", num_features=3),
    make("conv", "Conv1d", in_channels=3, out_channels=5, kernel_size=3, padding=1),
    make("slopes", "PReLU", num_parameters=5),
    make("pool", "MaxPool1d", kernel_size=3, stride=2, padding=1, ceil_mode=True),
    make("mean", "AvgPool1d", kernel_size=3, stride=2, padding=1, count_include_pad=False),
    make("norm.1", "BatchNorm1d", num_features=5, affine=False),
    make("mean.1", "AvgPool1d", kernel_size=2, stride=1, padding=1, ceil_mode=True),
    make("permute", "Permute", dims=(2, 0, 1)),
    make("lstm", "LSTM", input_size=5, hidden_size=9, bidirectional=True),
    make("merge", "MergeDirections", mode="mean"),
    make("slope", "PReLU"),
)
RESIDUAL = (
    make("lstm", "LSTM", True, **SMALL_RNN),
    make("add", "AddInput", features=6),
    make("flip", "Flip"),
    make("tanh", "Tanh"),
    make("dropout", "Dropout", p=0.5),
)
BLOCKS = (
    make("linear", "Linear", in_features=6, out_features=5),
    make("outer", "Residual", layers=3),
    make("tanh", "Tanh"),
    make("inner", "Residual", layers=2),
    make("lstm", "LSTM", True, input_size=5, hidden_size=3, bidirectional=True),
    make("fc", "Linear", in_features=6, out_features=5),
    make("relu", "ReLU"),
    make("twice", "Residual", layers=1),
    make("dropout", "Dropout", p=0.5),
    make("gru", "GRU", input_size=5, hidden_size=4),
)
CAUSAL = (
    make("block", "Residual", layers=4),
    make("pad.0", "ZeroPad1d", padding=(2, 0)),
    make("conv.0", "Conv1d", in_channels=5, out_channels=5, kernel_size=3),
    make("pad.1", "ZeroPad1d", padding=(4, 0)),
    make("conv.1", "Conv1d", in_channels=5, out_channels=5, kernel_size=3, dilation=2),
    make("block.2", "Residual", layers=2),
    make("conv.2", "Conv1d", in_channels=5, out_channels=5, kernel_size=3, padding=1),
    make("last", "Residual", layers=1),
    make("sigmoid", "Sigmoid"),
)
ATTENTION = (
    make("gru", "GRU", input_size=6, hidden_size=19),
    make("pool", "AttentionPool", layers=3),
    make("deep", "Residual", layers=1),
    make("rnn", "RNN", input_size=19, hidden_size=19),
    make("tanh", "Tanh"),
    make("score", "Linear", in_features=19, out_features=1),
    make("fc", "Linear", in_features=19, out_features=3),
)
RAW_ATTENTION = (
    make("pool", "AttentionPool", layers=1, batch_first=True),
    make("score", "Linear", in_features=6, out_features=1),
)
SAMPLES = (
    make("unsqueeze", "Unsqueeze", dim=1),
    make("pad", "ZeroPad1d", padding=(2, 1)),
    make("conv", "Conv1d", in_channels=1, out_channels=4, kernel_size=4),
    make("permute", "Permute", dims=(0, 2, 1)),
    make("rnn", "RNN", True, input_size=4, hidden_size=3, batch_first=True, nonlinearity="relu"),
    make("linear", "Linear", in_features=3, out_features=1),
    make("squeeze", "Squeeze", dim=-1),
)
STEP = (
    make("linear", "Linear", in_features=4, out_features=6),
    make("unsqueeze", "Unsqueeze", dim=1),
    make("gru", "GRU", True, input_size=6, hidden_size=4, batch_first=True, reset_after=False),
    make("lstm", "LSTM", True, input_size=4, hidden_size=4, batch_first=True, coupled=True),
    make("flatten", "Flatten", start_dim=1),
    make("log_softmax", "LogSoftmax", dim=1),
)
MANY_STACKS = tuple(make(f"rnn{i}", "RNN", True, **SMALL_RNN) for i in range(11))
FINAL_STATE = (
    make("lstm", "LSTM", **SMALL_RNN, bidirectional=True),
    make("state", "Last", of="state"),
)
DECODER = (
    make("encoder", "GRU", **SMALL_RNN, batch_first=True),
    make("last", "Last", batch_first=True),
    make("repeat", "RepeatVector", n=4),
    make("decoder", "LSTM", **SMALL_RNN, batch_first=True),
)
RESHAPED = (
    make("fc", "Linear", in_features=4, out_features=10),
    make("unflatten", "Unflatten", dim=1, unflattened_size=(5, 2)),
    make("gru", "GRU", input_size=2, hidden_size=3, batch_first=True),
)
MEAN = (make("gru", "GRU", **SMALL_RNN), make("pool", "Pool", mode="mean"))
SUM = (make("gru", "GRU", **SMALL_RNN), make("pool", "Pool", mode="sum"))
LARGEST = (make("gru", "GRU", **SMALL_RNN), make("pool", "Pool", mode="max"))

# layers, x, the axes of x and of y, lengths to try
MODELS = {
    "tagger": (TAGGER, WORDS, "BT", "BTF", [9, 3, 1, 6]),
    "classifier": (CLASSIFIER, floats(11, 3, 5), "TBF", "BF", [2, 11, 5]),
    "sound": (SOUND, floats(3, 3, 21), "BFT", "BTF", [21, 5, 13]),
    "functions": (FUNCTIONS, floats(7, 3, 6), "TBF", "TBF", [3, 7, 5]),
    "channels": (CHANNELS, floats(3, 3, 21), "BFT", "TBF", [21, 5, 13]),
    "residual": (RESIDUAL, floats(7, 2, 6), "TBF", "TBF", [3, 7]),
    "blocks": (BLOCKS, floats(7, 3, 6), "TBF", "TBF", [3, 7, 5]),
    "attention": (ATTENTION, floats(7, 3, 6), "TBF", "BF", [3, 7, 5]),
    "attention to x": (RAW_ATTENTION, floats(3, 70, 6), "BTF", "BF", [33, 1, 70]),
    "causal": (CAUSAL, floats(3, 5, 9), "BFT", "BFT", [9, 3, 1]),
    "samples": (SAMPLES, floats(2, 12), "BT", "BT", [12, 4]),
    "many stacks": (MANY_STACKS, floats(5, 3, 6), "TBF", "TBF", [5, 2, 4]),
    "one step": (STEP, floats(3, 4), "BF", "BF", None),
    "final state": (FINAL_STATE, floats(5, 3, 6), "TBF", "BF", [5, 2, 4]),
    "decoder": (DECODER, floats(3, 5, 6), "BTF", "BTF", [5, 2, 4]),
    "reshaped": (RESHAPED, floats(3, 4), "BF", "BTF", None),
    "sum": (SUM, floats(5, 3, 6), "TBF", "BF", [5, 2, 4]),
    "mean": (MEAN, floats(5, 3, 6), "TBF", "BF", [5, 2, 4]),
    "largest": (LARGEST, floats(5, 3, 6), "TBF", "BF", [5, 2, 4]),
}


def in_c_order(array: np.ndarray, axes: str) -> np.ndarray:
    """[steps, batch, features] of an array with these axes."""
    for missing in (letter for letter in "FT" if letter not in axes):
        array, axes = array[..., None], axes + missing
    return np.ascontiguousarray(array.transpose([axes.index(letter) for letter in "TBF"]))


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", MODELS)
def test_same_bits(in_c, name, ragged, isa):
    layers, x, axes, y_axes, lengths = MODELS[name]
    if ragged and lengths is None:
        return
    lengths = lengths if ragged else None
    model = Description("", layers)
    wanted, _ = from_description(model, isa=isa)(x, lengths=lengths)
    if ragged and x.dtype.kind == "i":  # tokens past the lengths are not read
        x = np.where(np.arange(x.shape[1]) < np.array(lengths)[:, None], x, -9)
    found = in_c(model, in_c_order(x, axes), isa, lengths)
    assert found.tobytes() == in_c_order(wanted, y_axes).tobytes()


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_same_bits_in_cuts(in_c, cut):
    layers = (
        make("rnn", "LSTM", True, input_size=3, hidden_size=9, num_layers=2),
        make("gru", "GRU", input_size=9, hidden_size=5),
        make("block", "Residual", layers=2),
        make("deep", "GRU", input_size=5, hidden_size=5),
        make("out", "Linear", in_features=5, out_features=5),
        make("tanh", "Tanh"),
    )
    model, x = Description("", layers), floats(10, 2, 3)
    isa = fastrnn.isas()[0]
    wanted, _ = from_description(model, isa=isa)(x)
    assert in_c(model, x, isa, cut=cut).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("stem", ["v1_0_words", "v1_0_sound", "v1_0_series"])
def test_golden_files(program, tmp_path, stem):
    x, y = np.load(GOLDEN / f"{stem}_x.npy"), np.load(GOLDEN / f"{stem}_y.npy")
    axes = {"words": ("TB", "TBF"), "sound": ("BFT", "BF"), "series": ("BTF", "BF")}[stem[5:]]
    values = in_c_order(x, axes[0])
    values.astype(np.int64 if "F" not in axes[0] else np.float32).tofile(tmp_path / "x.bin")
    files = [GOLDEN / f"{stem}.frnn", tmp_path / "x.bin", tmp_path / "y.bin"]
    sizes = [*values.shape[:2], values.shape[0]]
    subprocess.run([program, fastrnn.isas()[0], *files, *map(str, sizes)], check=True)
    found = np.fromfile(tmp_path / "y.bin", np.float32)
    assert error(found, in_c_order(y, axes[1]).reshape(-1)) <= PARITY


LSTM = make("lstm", "LSTM", input_size=3, hidden_size=3)


@pytest.mark.parametrize(
    "layers",
    [
        (make("mask", "Mask", value=0.0), LSTM),
        (make("tanh", "Tanh"),),  # how many features?
        (LSTM, make("gru", "GRU", input_size=3, hidden_size=3, batch_first=True)),
        (LSTM, make("linear", "Linear", in_features=4, out_features=3)),
        (LSTM, make("softmax", "Softmax", dim=0)),
        (LSTM, make("norm", "LayerNorm", normalized_shape=(2, 3))),
        (LSTM, make("flatten", "Flatten")),
        (LSTM, make("squeeze", "Squeeze", dim=1)),
        (LSTM, make("unflatten", "Unflatten", dim=-1, unflattened_size=(1, 3))),
        (LSTM, make("embedding", "Embedding", num_embeddings=3, embedding_dim=2)),
        (LSTM, make("conv", "Conv1d", in_channels=3, out_channels=3, kernel_size=1)),
        (LSTM, make("add", "AddInput", features=4)),
        (make("add", "Residual", layers=1), make("l", "LSTM", input_size=3, hidden_size=4)),
        (LSTM, make("add", "Residual", layers=1), make("last", "Last")),
        (LSTM, make("pool", "AttentionPool", layers=1), make("heads", "Tanh")),
        (
            LSTM,
            make("pool", "AttentionPool", layers=1, batch_first=True),
            make("score", "Linear", in_features=3, out_features=1),
        ),
        (LSTM, make("add", "Residual", layers=1), make("t", "Transpose", dim0=0, dim1=1)),
    ],
    ids=lambda layers: layers[-1].name,
)
def test_what_c_does_not_run(program, tmp_path, layers: tuple[DescribedLayer, ...]):
    write_model(tmp_path / "model.frnn", Description("", layers))
    files = [tmp_path / "model.frnn", tmp_path / "model.frnn", tmp_path / "y.bin"]
    done = subprocess.run([program, "scalar", *files, *"111"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not run in C" in done.stderr


SENSOR = (0.25 * (np.arange(12) % 5 - 2)).astype(np.float32).reshape(1, 6, 2)


@pytest.mark.parametrize("takes", ["values", "tokens"])
def test_example(tmp_path, takes):
    """src_c/examples/run_model.c with the core and one ISA, without an operating system."""
    make_embedded("freestanding/scalar.o")
    core = BUILT / EMBEDDED / "freestanding/scalar.o"
    header, model, x = tmp_path / "model.h", GOLDEN / "v1_0_series.frnn", SENSOR
    if takes == "tokens":
        embedding = make("embedding", "Embedding", num_embeddings=50, embedding_dim=8)
        layers = embedding, make("gru", "GRU", input_size=8, hidden_size=16), make("last", "Last")
        model, x = tmp_path / "tokens.frnn", np.array([[0], [1]] * 3)
        write_model(model, Description("", layers))
    assert main(["convert", str(model), str(header), "--c-array", "model"]) == 0
    command = ["gcc", "-std=c11", "-no-pie", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    command += [f"-I{tmp_path}"]
    source = ROOT / "src_c/examples/run_model.c"
    assert len(source.read_text().splitlines()) < 40
    command += [f"-I{ROOT}/src_c/include", str(source), str(core), "-o", str(tmp_path / "run")]
    subprocess.run(command, check=True)
    printed = subprocess.run([tmp_path / "run"], check=True, capture_output=True, text=True).stdout
    *numbers, first, second = printed.split()
    assert (first, second) == ("no", "error")
    wanted = from_description(read_model(model), isa="scalar")(x)[0][0]
    assert numbers == [f"{value:.6f}" for value in wanted]


@pytest.mark.parametrize("isa", fastrnn.isas())
@pytest.mark.parametrize("kind", ["ReLU", "Tanh", "Sigmoid"])
def test_signs_of_zero_and_what_is_no_number(in_c, kind, isa):
    special = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-3, -1e-3], np.float32)
    table = np.tile(special, 5)[: 2 * 17].reshape(2, 17)  # more than a vector of every table
    options: dict[str, object] = {"num_embeddings": 2, "embedding_dim": 17}
    embedding = DescribedLayer("embedding", "Embedding", options, {"weight": table})
    model, x = (
        Description("", (embedding, make("flip", "Flip"), make("f", kind))),
        np.array([[0], [1]]),
    )
    wanted, _ = from_description(model, isa=isa)(x)
    assert in_c(model, in_c_order(x, "TB"), isa).tobytes() == wanted.tobytes()
