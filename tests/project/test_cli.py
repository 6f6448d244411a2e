# SPDX-License-Identifier: MIT
"""The command line returns what the library does; errors print one line and set the status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from limits import PARITY, error

import fastrnn
from fastrnn.cli import main
from fastrnn.readers.formats import FORMATS

INPUT, HIDDEN, STEPS, BATCH = 5, 7, 9, 3
WITHOUT_DEPRECATIONS = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of small models and inputs, made the current one."""
    monkeypatch.chdir(tmp_path)
    for cell in (fastrnn.LSTM, fastrnn.GRU, fastrnn.RNN):
        weights = cell(INPUT, HIDDEN, seed=1).state_dict()
        np.savez(f"{cell.__name__}.npz", **{f"rnn.{name}": w for name, w in weights.items()})
    both = [fastrnn.GRU(INPUT, HIDDEN, 2, bidirectional=True, seed=2), fastrnn.LSTM(3, 4, seed=3)]
    arrays = [
        (f"{p}.{n}", w) for p, x in zip("ab", both, strict=True) for n, w in x.state_dict().items()
    ]
    np.savez("two.npz", **dict(arrays))
    np.savez("none.npz", weight=np.ones((2, 3), np.float16))
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.standard_normal((STEPS, BATCH, INPUT), np.float32))
    np.save("h0.npy", rng.standard_normal((1, BATCH, HIDDEN), np.float32))
    np.save("c0.npy", rng.standard_normal((1, BATCH, HIDDEN), np.float32))
    return tmp_path


def run_ok(capsys, *argv: str) -> str:
    assert main(argv) == 0, capsys.readouterr().err
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def run_fails(capsys, *argv: str) -> str:
    """The one line on stderr, without its `fastrnn: error: `."""
    assert main(argv) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fastrnn: error: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("fastrnn: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("cell", "flags", "options"),
    [
        ("LSTM", [], {}),
        ("GRU", [], {}),
        ("GRU", ["--reset-before"], {"reset_after": False}),
        ("RNN", [], {}),
        ("RNN", ["--nonlinearity", "relu"], {"nonlinearity": "relu"}),
        ("LSTM", ["--batch-first"], {"batch_first": True}),
        ("GRU", ["--coupled"], {"coupled": True}),
    ],
)
def test_run_equals_the_layer(folder, capsys, cell, flags, options):
    x = np.load("x.npy")
    expected, _ = fastrnn.load(f"{cell}.npz", **options)(x)
    out = run_ok(capsys, "run", f"{cell}.npz", "x.npy", "-o", "y.npy", *flags)
    y = np.load("y.npy")
    assert y.dtype == np.float32
    assert y.tobytes() == expected.tobytes()
    assert out.count("\n") == 1
    assert f"[{STEPS}, {BATCH}, {HIDDEN}]" in out
    assert "y.npy" in out


def test_run_prints_json(folder, capsys):
    facts = json.loads(run_ok(capsys, "run", "GRU.npz", "x.npy", "-o", "y.npy", "--json"))
    assert facts["output"] == "y.npy"
    assert facts["shape"] == [STEPS, BATCH, HIDDEN]
    assert facts["cell"] == "GRU"
    assert facts["isa"] in fastrnn.isas()
    assert facts["seconds"] > 0


@WITHOUT_DEPRECATIONS
def test_run_follows_the_recorded_batch_first(folder, capsys):
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(INPUT, HIDDEN, batch_first=True)
    torch.jit.script(module).save("scripted.pt")
    x = np.load("x.npy")
    run_ok(capsys, "run", "scripted.pt", "x.npy", "-o", "y.npy")
    recorded = module(torch.from_numpy(x))[0].detach().numpy()
    assert error(np.load("y.npy"), recorded) <= PARITY


def test_run_carries_state_between_calls(folder, capsys):
    """Two halves of a sequence, with the state in a file, give the same bits as the whole."""
    x = np.load("x.npy")
    np.save("head.npy", x[:4])
    np.save("tail.npy", x[4:])
    state = ["--state-in", "h0.npy", "--cell-state", "c0.npy"]
    run_ok(capsys, "run", "LSTM.npz", "x.npy", "-o", "y.npy", *state, "--state-out", "end.npz")
    run_ok(capsys, "run", "LSTM.npz", "head.npy", "-o", "1.npy", *state, "--state-out", "mid.npz")
    run_ok(
        capsys, "run", "LSTM.npz", "tail.npy", "-o", "2.npy",
        "--state-in", "mid.npz", "--state-out", "last.npz",
    )  # fmt: skip
    parts = np.concatenate([np.load("1.npy"), np.load("2.npy")])
    assert parts.tobytes() == np.load("y.npy").tobytes()
    for name in "hc":
        np.testing.assert_array_equal(np.load("end.npz")[name], np.load("last.npz")[name])


def test_run_takes_a_hidden_state_alone(folder, capsys):
    run_ok(
        capsys,
        "run",
        "GRU.npz",
        "x.npy",
        "-o",
        "y.npy",
        "--state-in",
        "h0.npy",
        "--state-out",
        "s.npz",
    )
    y, h = fastrnn.load("GRU.npz")(np.load("x.npy"), np.load("h0.npy"))
    np.testing.assert_array_equal(np.load("y.npy"), y)
    saved = np.load("s.npz")
    assert list(saved) == ["h"]
    np.testing.assert_array_equal(saved["h"], h)


def test_run_takes_lengths_in_both_forms(folder, capsys):
    np.save("lengths.npy", np.array([2, STEPS, 5], np.int32))
    expected, _ = fastrnn.load("LSTM.npz")(np.load("x.npy"), lengths=[2, STEPS, 5])
    for lengths in ("lengths.npy", f"2,{STEPS},5"):
        run_ok(capsys, "run", "LSTM.npz", "x.npy", "-o", "y.npy", "--lengths", lengths)
        np.testing.assert_array_equal(np.load("y.npy"), expected)


def test_run_chooses_prefix_isa_and_threads(folder, capsys):
    before = fastrnn.get_num_threads()
    for isa in fastrnn.isas():
        flags = ["--prefix", "a", "--isa", isa, "--threads", "1", "--json"]
        facts = json.loads(run_ok(capsys, "run", "two.npz", "x.npy", "-o", "y.npy", *flags))
        assert facts["isa"] == isa
        assert facts["threads"] == 1
        assert facts["shape"] == [STEPS, BATCH, 2 * HIDDEN]
    assert fastrnn.get_num_threads() == before


def test_run_chooses_the_state_dict_of_a_checkpoint(folder, capsys):
    torch = pytest.importorskip("torch")
    model, average = torch.nn.GRU(INPUT, HIDDEN), torch.nn.GRU(INPUT, HIDDEN)
    torch.save({"model": model.state_dict(), "ema": average.state_dict()}, "checkpoint.pt")
    x = np.load("x.npy")
    for key, module in (("model", model), ("ema", average)):
        run_ok(capsys, "run", "checkpoint.pt", "x.npy", "-o", "y.npy", "--key", key)
        expected = module(torch.from_numpy(x))[0].detach().numpy()
        assert error(np.load("y.npy"), expected) <= PARITY


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_run_takes_other_floats_and_orders(folder, capsys, dtype):
    x = np.load("x.npy").astype(np.float16)
    np.save("x2.npy", np.asfortranarray(x.astype(dtype)))
    run_ok(capsys, "run", "LSTM.npz", "x2.npy", "-o", "y.npy")
    expected, _ = fastrnn.load("LSTM.npz")(x.astype(np.float32))
    np.testing.assert_array_equal(np.load("y.npy"), expected)


def test_run_takes_an_unbatched_sequence(folder, capsys):
    np.save("x1.npy", np.load("x.npy")[:, 1])
    run_ok(capsys, "run", "LSTM.npz", "x1.npy", "-o", "y.npy")
    assert np.load("y.npy").shape == (STEPS, HIDDEN)


def test_run_writes_through_a_link_and_keeps_permissions(folder, capsys):
    expected, _ = fastrnn.load("LSTM.npz")(np.load("x.npy"))
    Path("old.npy").write_bytes(b"old")
    Path("old.npy").chmod(0o640)
    os.symlink("old.npy", "link.npy")
    run_ok(capsys, "run", "LSTM.npz", "x.npy", "-o", "link.npy")
    np.testing.assert_array_equal(np.load("old.npy"), expected)
    assert Path("link.npy").is_symlink()
    if os.name != "nt":
        assert Path("old.npy").stat().st_mode & 0o777 == 0o640
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_run_replaces_a_state_by_its_successor(folder, capsys):
    run_ok(capsys, "run", "GRU.npz", "x.npy", "-o", "y.npy", "--state-out", "s.npz")
    _, h = fastrnn.load("GRU.npz")(np.load("x.npy"), np.load("s.npz")["h"])
    state = ["--state-in", "s.npz", "--state-out", "s.npz"]
    run_ok(capsys, "run", "GRU.npz", "x.npy", "-o", "y.npy", *state)
    np.testing.assert_array_equal(np.load("s.npz")["h"], h)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["-o", "y.npy", "--state-out", "./y.npy"], "--output"),
        (["-o", "link.npy"], "INPUT.npy"),
        (["-o", "LSTM.npz"], "MODEL"),
        (["-o", "h0.npy", "--state-in", "h0.npy"], "--state-in"),
        (["-o", "y.npy", "--state-out", "x.npy"], "INPUT.npy"),
        (["-o", "n.npy", "--lengths", "n.npy"], "--lengths"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_run_refuses_to_replace_its_own_files(folder, capsys, flags, named):
    os.symlink("x.npy", "link.npy")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    with pytest.raises(SystemExit) as exit_:
        main(["run", "LSTM.npz", "x.npy", *flags])
    assert exit_.value.code == 2
    assert f"expected another file than {named}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "layout"),
    [(["x.npy"], "steps first"), (["x.npy", "--batch-first"], "batch first"),
     (["x1.npy"], "one sequence")],
)  # fmt: skip
def test_run_says_the_layout(folder, capsys, flags, layout):
    np.save("x1.npy", np.load("x.npy")[:, 1])
    assert f", {layout}, " in run_ok(capsys, "run", "LSTM.npz", *flags, "-o", "y.npy")


@pytest.mark.skipif(os.name == "nt", reason="needs device files and named pipes")
def test_run_writes_into_devices_and_pipes(folder, capsys):
    os.mkfifo("pipe")
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE)
    argv = ["run", "LSTM.npz", "x.npy", "-o", "pipe", "--state-out", os.devnull]
    run_ok(capsys, *argv)
    received, _ = reader.communicate(timeout=60)
    expected, _ = fastrnn.load("LSTM.npz")(np.load("x.npy"))
    np.testing.assert_array_equal(np.load(BytesIO(received)), expected)
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["missing.pt", "x.npy"], "missing.pt"),
        (["LSTM.npz", "missing.npy"], "missing.npy"),
        (["LSTM.npz", "."], "directory"),
        (["LSTM.npz", "rank4.npy"], "(1, 9, 3, 5)"),
        (["LSTM.npz", "wide.npy"], str(INPUT)),
        (["LSTM.npz", "integer.npy"], "int"),
        (["LSTM.npz", "object.npy"], "object.npy"),
        (["LSTM.npz", "short.npy"], "short.npy"),
        (["LSTM.npz", "huge.npy"], "huge.npy"),
        (["LSTM.npz", "empty.npy"], "empty.npy"),
        (["LSTM.npz", "GRU.npz"], "not a readable .npy array"),
        (["short.pt", "x.npy"], "short.pt"),
        (["empty.npy", "x.npy"], "empty.npy"),
        (["none.npz", "x.npy"], "none.npz"),
        (["two.npz", "x.npy"], "choose by --prefix from 'a'"),
        (["two.npz", "x.npy", "--prefix", "nowhere"], "nowhere"),
        (["LSTM.npz", "x.npy", "--lengths", "1,2"], "lengths"),
        (["LSTM.npz", "x.npy", "--lengths", "1,2,99"], "99"),
        (["LSTM.npz", "x.npy", "--lengths", "1,0,-2"], "lengths"),
        (["LSTM.npz", "x.npy", "--lengths", "x.npy"], "lengths"),
        (["LSTM.npz", "x.npy", "--cell-state", "c0.npy"], "--state-in"),
        (["LSTM.npz", "x.npy", "--state-in", "h0.npy"], "h and c"),
        (["LSTM.npz", "x.npy", "--state-in", "none.npz"], "h and c"),
        (["GRU.npz", "x.npy", "--state-in", "h0.npy", "--cell-state", "c0.npy"], "expected h"),
        (["GRU.npz", "x.npy", "--state-in", "x.npy"], "state"),
        (
            ["LSTM.npz", "x.npy", "--nonlinearity", "relu"],
            "--nonlinearity: only an RNN has it, this is an LSTM",
        ),
        (
            ["RNN.npz", "x.npy", "--reset-before"],
            "--reset-before: only a GRU has it, this is an RNN",
        ),
        (["RNN.npz", "x.npy", "--coupled"], "--coupled: only an LSTM has it, this is an RNN"),
        (["GRU.npz", "x.npy", "--key", "ema"], "ema"),
        (["new\nline.pt", "x.npy"], "line.pt"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_run_refuses(folder, capsys, flags, expected):
    x = np.load("x.npy")
    np.save("rank4.npy", x[None])
    np.save("wide.npy", x[..., :-1])
    np.save("integer.npy", x.astype(np.int32))
    np.save("object.npy", np.array([{}, print], object), allow_pickle=True)
    data = Path("x.npy").read_bytes()
    Path("short.npy").write_bytes(data[:-1])
    Path("huge.npy").write_bytes(
        data.replace(f"({STEPS}, ".encode(), b"(9" + b"9" * 12 + b", ")[: len(data)]
    )
    Path("empty.npy").write_bytes(b"")
    Path("short.pt").write_bytes(Path("LSTM.npz").read_bytes()[:100])
    assert expected in run_fails(capsys, "run", *flags, "-o", "y.npy")
    assert not Path("y.npy").exists()
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def npy_file(header: str, data: bytes = bytes(40)) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "contents",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00aa",
        b"\x93NUMPY\x03\x00\xff\xff\xff\xff{",
        npy_file("{"),
        npy_file("(" * 3000 + ")" * 3000),
        npy_file("__import__('os')"),
        *(
            npy_file(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")
            for shape in ("(99,)", "(-1,)", "(True,)", "(1.5,)", f"({10**20},)", f"({2**62}, 8)")
        ),
        npy_file("{'descr': 'x9', 'fortran_order': False, 'shape': (2,)}"),
        npy_file("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"),
        npy_file("{'descr': '<f4', 'shape': (2,)}"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_run_refuses_a_broken_npy(folder, capsys, contents):
    Path("broken.npy").write_bytes(contents)
    message = run_fails(capsys, "run", "LSTM.npz", "broken.npy", "-o", "y.npy")
    assert message.startswith("broken.npy: not a readable .npy array: ")


def test_messages_show_no_bytes_of_other_files(folder, capsys):
    Path("secret").write_bytes(b"hunter2!" * 9)
    for arguments in (("LSTM.npz", "secret"), ("secret", "x.npy")):
        assert "hunter" not in run_fails(capsys, "run", *arguments, "-o", "y.npy")


def test_failed_write_keeps_the_old_file(folder, capsys, monkeypatch):
    Path("y.npy").write_bytes(b"old")

    def save(file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", save)
    assert "No space left" in run_fails(capsys, "run", "LSTM.npz", "x.npy", "-o", "y.npy")
    assert Path("y.npy").read_bytes() == b"old"
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_output_in_a_missing_folder(folder, capsys):
    message = run_fails(capsys, "run", "LSTM.npz", "x.npy", "-o", "nowhere/y.npy")
    assert message == "nowhere/y.npy: No such file or directory"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "LSTM.npz", "x.npy"],
        *(
            ["run", "LSTM.npz", "x.npy", "-o", "y.npy", "--threads", threads]
            for threads in ("two", "0", "-3")
        ),
        ["run", "RNN.npz", "x.npy", "-o", "y.npy", "--nonlinearity", "sine"],
        ["run", "LSTM.npz", "x.npy", "-o", "y.npy", "--isa", "mmx"],
        *(
            ["run", "LSTM.npz", "x.npy", "-o", "y.npy", "--lengths", lengths]
            for lengths in ("1,two,3", f"1,2,{10**30}", "")
        ),
        ["inspect"],
        ["config", "--fast"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(folder, capsys, argv):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "usage: fastrnn" in capsys.readouterr().err


def test_no_command_lists_all(capsys):
    with pytest.raises(SystemExit):
        main([])
    listed = capsys.readouterr().err
    for command in ("run", "inspect", "convert", "config", "demo", "bench"):
        assert f"\n    {command} " in listed


@pytest.mark.parametrize("command", ["run", "inspect", "convert"])
def test_help_names_the_formats(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out.lower()
    for known in FORMATS:
        assert known.name.split()[0] in text


@pytest.fixture(params=[True, False], ids=["batch first", "steps first"])
def whole(folder, request):
    """A file with a model of several layers, and whether it takes batches first."""
    first = request.param
    model = fastrnn.Sequential(
        a=fastrnn.Linear(INPUT, INPUT, seed=0), b=fastrnn.GRU(INPUT, HIDDEN, batch_first=first)
    )
    fastrnn.save(model, "whole.frnn")
    return model, first


def test_batch_first_of_a_whole_model(whole, capsys):
    model, first = whole
    flags = ["whole.frnn", "x.npy", "-o", "y.npy"]
    if not first:
        for more in (["run", *flags], ["convert", "whole.frnn", "out.frnn"]):
            text = run_fails(capsys, *more, "--batch-first")
            assert text.startswith("--batch-first: expected a model of [batch, steps, features]")
        return
    assert "2 layers" in run_ok(capsys, "run", *flags, "--batch-first")
    np.testing.assert_array_equal(np.load("y.npy"), model(np.load("x.npy"))[0])
    run_ok(capsys, "convert", "whole.frnn", "out.frnn", "--batch-first")
    assert Path("out.frnn").read_bytes() == Path("whole.frnn").read_bytes()
    assert "GRU" in run_ok(capsys, "run", *flags, "--batch-first", "--prefix", "b")


def test_options_of_a_cell_need_a_layer(whole, capsys):
    text = run_fails(capsys, "run", "whole.frnn", "x.npy", "-o", "y.npy", "--reset-before")
    assert text.startswith("--reset-before: expected one recurrent layer, got a whole model; ")


def test_inspect_lists_tensors_and_layers(folder, capsys):
    out = run_ok(capsys, "inspect", "two.npz")
    assert "a.weight_ih_l1_reverse" in out
    assert "[21, 14]" in out
    assert "float32" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["a", "GRU", str(INPUT), str(HIDDEN), "2", "2", "yes", "-"] in rows
    assert ["b", "LSTM", "3", "4", "1", "1", "yes", "-"] in rows


def test_inspect_prints_json(folder, capsys):
    facts = json.loads(run_ok(capsys, "inspect", "two.npz", "--json"))
    assert facts["format"] == "npz"
    assert {"name": "b.bias_hh_l0", "shape": [16], "dtype": "float32"} in facts["tensors"]
    gru, lstm = facts["stacks"]
    assert gru == {
        "prefix": "a", "cell": "GRU", "input_size": INPUT, "hidden_size": HIDDEN, "num_layers": 2,
        "bidirectional": True, "bias": True, "proj_size": 0, "is_cell": False,
    }  # fmt: skip
    assert lstm["prefix"] == "b"


def test_inspect_names_the_cell_that_a_file_names(folder, capsys):
    fastrnn.save(fastrnn.LSTM(3, 4, coupled=True), "coupled.frnn")
    (stack,) = json.loads(run_ok(capsys, "inspect", "coupled.frnn", "--json"))["stacks"]
    assert (stack["cell"], stack["coupled"]) == ("LSTM", True)
    assert "coupled=True" in run_ok(capsys, "inspect", "coupled.frnn")


def test_inspect_without_layers(folder, capsys):
    out = run_ok(capsys, "inspect", "none.npz")
    assert "float16" in out
    assert "no recurrent layers" in out
    assert json.loads(run_ok(capsys, "inspect", "none.npz", "--json"))["stacks"] == []


def test_inspect_says_what_is_wrong_with_a_layer(folder, capsys):
    weights = dict(np.load("GRU.npz")) | {"weight_ih_l0": np.ones((8, 2), np.float32)}
    np.savez("broken.npz", **weights)
    out = run_ok(capsys, "inspect", "broken.npz")
    assert "not usable: (top level): " in out
    assert "weight_hh_l0" in out
    facts = json.loads(run_ok(capsys, "inspect", "broken.npz", "--json"))
    assert [stack["prefix"] for stack in facts["stacks"]] == ["rnn"]
    assert "weight_hh_l0" in facts["broken"][""]


def test_inspect_escapes_names(folder, capsys):
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    head = json.dumps({"\x1b[31mred\n": tensor}).encode()
    Path("red.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
    out = run_ok(capsys, "inspect", "red.safetensors")
    assert "\x1b" not in out
    assert r"\x1b[31mred\n" in out


def test_inspect_prints_no_more_than_can_be_read(folder, capsys):
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    head = json.dumps({f"{'n' * 500}{k}.weight_hh_l0": tensor for k in range(1002)}).encode()
    Path("many.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    out = run_ok(capsys, "inspect", "many.safetensors")
    assert out.count("... and 2 more; --json prints all\n") == 2  # tensors, layers not usable
    assert out.count("\n") < 2100
    assert max(map(len, out.splitlines())) < 1000
    facts = json.loads(run_ok(capsys, "inspect", "many.safetensors", "--json"))
    assert len(facts["tensors"]) == len(facts["broken"]) == 1002


@WITHOUT_DEPRECATIONS
def test_inspect_names_what_a_torchscript_file_records(folder, capsys):
    torch = pytest.importorskip("torch")
    module = torch.nn.RNN(INPUT, HIDDEN, nonlinearity="relu", batch_first=True)
    torch.jit.script(module).save("scripted.pt")
    facts = json.loads(run_ok(capsys, "inspect", "scripted.pt", "--json"))
    assert facts["format"] == "torchscript"
    (stack,) = facts["stacks"]
    assert stack["prefix"] == ""
    assert stack["cell"] == "RNN"
    assert stack["nonlinearity"] == "relu"
    assert stack["batch_first"] is True
    assert stack["dropout"] == 0
    out = run_ok(capsys, "inspect", "scripted.pt")
    assert "batch_first=True, dropout=0.0, nonlinearity=relu" in out


def test_inspect_lists_unreadable_tensors(folder, capsys):
    torch = pytest.importorskip("torch")
    weights = {f"rnn.{k}": v for k, v in torch.nn.GRU(INPUT, HIDDEN).state_dict().items()}
    torch.save({**weights, "mask": torch.eye(3).to_sparse()}, "sparse.pt")
    out = run_ok(capsys, "inspect", "sparse.pt")
    assert "not readable: mask: " in out
    assert "GRU" in out
    facts = json.loads(run_ok(capsys, "inspect", "sparse.pt", "--json"))
    assert list(facts["unreadable"]) == ["mask"]


@WITHOUT_DEPRECATIONS
def test_run_names_a_contradicted_option(folder, capsys):
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.LSTM(INPUT, HIDDEN)).save("scripted.pt")
    flags = ["scripted.pt", "x.npy", "-o", "y.npy", "--batch-first"]
    assert "--batch-first contradicts the file" in run_fails(capsys, "run", *flags)


def test_run_asks_for_a_key(folder, capsys):
    torch = pytest.importorskip("torch")
    weights = torch.nn.GRU(INPUT, HIDDEN).state_dict()
    torch.save({"model": weights, "ema": dict(weights)}, "checkpoint.pt")
    for argv in (["inspect", "checkpoint.pt"], ["run", "checkpoint.pt", "x.npy", "-o", "y.npy"]):
        assert "choose one with --key: " in run_fails(capsys, *argv)


@pytest.mark.parametrize("name", ["missing.pt", "x.npy", "."])
def test_inspect_refuses(folder, capsys, name):
    assert name in run_fails(capsys, "inspect", name)


def test_config(capsys):
    out = run_ok(capsys, "config")
    facts = json.loads(run_ok(capsys, "config", "--json"))
    assert fastrnn.__version__ in out
    assert fastrnn.__version__ in facts.values()
    assert fastrnn.isas()[0] in out


def test_demo(capsys):
    out = run_ok(capsys, "demo")
    assert "accuracy" in out
    assert "PyTorch" in out
    assert out.count(" us") == 2
    facts = json.loads(run_ok(capsys, "demo", "--json"))
    assert facts["accuracy"] > 0.95
    assert facts["largest_difference"] <= PARITY


def test_bench_says_that_the_machine_is_busy(capsys, monkeypatch):
    monkeypatch.setattr("fastrnn.bench.PEAK_SECONDS", 0.001)
    for load in (9.5, 0.5):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
        out = run_ok(capsys, "bench", "vad")
        assert ("machine was busy, with a load of 9.5 on 4 CPUs" in out) == (load > 1)


def test_bench(capsys, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr("fastrnn.bench.PEAK_SECONDS", 0.001)
    before = fastrnn.get_num_threads()
    out = run_ok(capsys, "bench", "vad", "amp_lstm", "--threads", "1")
    head, columns, *rows = out.splitlines()
    assert fastrnn.__version__ in head
    assert " 1 thread, " in head
    assert columns.split()[:2] == ["case", "shape"]
    assert [row.split()[0] for row in rows] == ["amp_lstm_40", "vad_lstm_128"]
    assert all(row.endswith("%") for row in rows)
    facts = json.loads(run_ok(capsys, "bench", "vad", "--json"))
    assert facts["threads"] == fastrnn.get_num_threads() == before
    assert facts["cases"][0]["shape"] == "LSTM T1 B1 I128 H128"


def test_bench_refuses_an_unknown_case(capsys):
    for argv in (["bench", "none_such"], ["bench", "--threads", "0"]):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 2
    assert "expected a positive integer" in capsys.readouterr().err


def test_bench_tells_a_terminal_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["bench", "vad"]) == 0
    printed = capsys.readouterr()
    assert "vad_lstm_128: check" in printed.err
    assert printed.err.endswith("\x1b[K")
    assert "\x1b" not in printed.out


def fastrnn_process(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastrnn", *argv], capture_output=True, text=True, **options
    )


def test_process_exit_codes(folder):
    done = fastrnn_process("run", "LSTM.npz", "x.npy", "-o", "y.npy")
    assert (done.returncode, done.stderr) == (0, "")
    done = fastrnn_process("run", "missing.pt", "x.npy", "-o", "y.npy")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert fastrnn_process("run").returncode == 2
    done = fastrnn_process("--version")
    assert done.stdout == f"fastrnn {fastrnn.__version__}\n"
    assert done.returncode == 0
    assert "inspect" in fastrnn_process("--help").stdout


def test_process_refuses_an_unknown_isa_from_the_environment(folder):
    environment = os.environ | {"FASTRNN_ISA": "mmx"}
    done = fastrnn_process("run", "LSTM.npz", "x.npy", "-o", "y.npy", env=environment)
    assert done.returncode == 1
    assert "mmx" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently")
def test_a_reader_that_leaves_causes_no_traceback(folder):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "fastrnn", "inspect", "two.npz"],
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""
