# SPDX-License-Identifier: MIT
"""The .frnn format: what is written is read, old files stay readable, the document is true."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
import subprocess
import threading
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from description_runner import run
from limits import REFERENCE, error
from model_files import EVERY_KIND, NESTED, make, patched, sample, written

import fastrnn
from fastrnn.files.frnn_writer import read_model, write_c_array, write_model
from fastrnn.readers import FormatError
from fastrnn.readers.description import DescribedLayer, Description
from fastrnn.readers.frnn import frnn_reader
from fastrnn.readers.frnn.frnn_fields import REQUIRED, Choice, Flag, Integer, Integers, Number, Word
from fastrnn.readers.frnn.frnn_kinds import KINDS, MOST_LAYERS, check_arrays

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted((ROOT / "tests/golden").glob("*.frnn"))
DOCUMENT = (ROOT / "docs/file_format.md").read_text()


def replace(layer: DescribedLayer, **options: object) -> DescribedLayer:
    return dataclasses.replace(layer, options={**layer.options, **options})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.frnn"


# What is written is read


def test_every_kind_is_tried():
    assert {layer.kind for layer in (*EVERY_KIND, *NESTED)} == set(KINDS)


@pytest.mark.parametrize(
    "layers", [*((layer,) for layer in EVERY_KIND), NESTED], ids=lambda layers: layers[0].name
)
def test_round_trip(path, layers):
    write_model(path, Description("", layers))
    found = read_model(path).layers
    for read, layer in zip(found, layers, strict=True):
        assert (read.name, read.kind) == (layer.name, layer.kind)
        assert read.options.items() >= layer.options.items()
        assert list(read.arrays) == list(layer.arrays)
        for name, array in layer.arrays.items():
            assert read.arrays[name].tobytes() == array.tobytes()
            assert read.arrays[name].shape == array.shape
    again = BytesIO()
    write_model(again, Description("", found))
    assert again.getvalue() == path.read_bytes()


def deep(depth: int) -> tuple[DescribedLayer, ...]:
    """A Tanh in so many layers that hold each other."""
    names = (f"residual{at}" for at in range(depth))
    return *(make(name, "Residual", layers=1) for name in names), make("tanh", "Tanh")


def test_layers_that_hold_layers(path):
    write_model(path, Description("", deep(8)))
    assert len(read_model(path).layers) == 9
    with pytest.raises(FormatError, match="more than 8 layers hold each other"):
        write_model(path, Description("", deep(9)))
    with pytest.raises(FormatError, match="the last 1 layers that another one holds are missing"):
        write_model(path, Description("", (make("tanh", "Tanh"), make("a", "Residual", layers=1))))
    refused(path, patched(written(Description("", deep(1))), 64 + 16, "<i", 2), "the last 1 layers")


@pytest.mark.parametrize(
    ("kind", "given", "found"),
    [
        ("Last", {"bidirectional": True}, {"batch_first": False, "of": "state"}),
        ("Last", {}, {"batch_first": False, "of": "step"}),
        ("ZeroPad1d", {"padding": 3}, {"padding": (3, 3)}),
        ("Flatten", {}, {"start_dim": 1, "end_dim": -1}),
        ("LayerNorm", {"normalized_shape": 4, "elementwise_affine": False},
         {"normalized_shape": (4,), "eps": 1e-5, "elementwise_affine": False, "bias": True}),
        ("Permute", {"dims": [-1, 0, 1]}, {"dims": (-1, 0, 1)}),
        ("AvgPool1d", {"kernel_size": 3, "stride": None},
         {"kernel_size": 3, "stride": 3, "padding": 0, "ceil_mode": False,
          "count_include_pad": True}),
    ],
)  # fmt: skip
def test_options_get_one_form(path, kind, given, found):
    write_model(path, Description("", (DescribedLayer("a", kind, given),)))
    assert read_model(path).layers[0].options == found


def test_options_of_layers_with_weights_get_one_form(path):
    embedding = make("a", "Embedding", num_embeddings=3, embedding_dim=2)
    write_model(path, Description("", (replace(embedding, padding_idx=-1),)))
    assert read_model(path).layers[0].options["padding_idx"] == 2
    gru = make("a", "GRU", input_size=1, hidden_size=2)
    assert written(Description("", (replace(gru, proj_size=0),))) == written(
        Description("", (gru,))
    )


def test_sizes_of_one_axis_as_torch_keeps_them(path):
    options = {"in_channels": 2, "out_channels": 2, "kernel_size": (3,), "padding": "valid"}
    arrays = {"bias": np.ones(2), "weight": np.ones((2, 2, 3))}
    write_model(path, Description("", (DescribedLayer("a", "Conv1d", options, arrays),)))
    (found,) = read_model(path).layers
    assert (found.options["kernel_size"], found.options["padding"]) == (3, 0)
    assert list(found.arrays) == ["weight", "bias"]


def test_other_floats_become_float32(path):
    weight = np.array([[1 / 3, 1e-50, 1e50]])
    options = {"in_features": 3, "out_features": 1, "bias": False}
    for dtype in (np.float64, np.float16):
        with np.errstate(over="ignore"):
            given = weight.astype(dtype)
            wanted = given.astype(np.float32)
        write_model(
            path, Description("", (DescribedLayer("a", "Linear", options, {"weight": given}),))
        )
        found = read_model(path).layers[0].arrays["weight"]
        assert found.dtype == np.float32
        assert found.tobytes() == wanted.tobytes()


def test_arrays_are_views_of_the_file(path):
    write_model(path, sample())
    for layer in read_model(path).layers:
        for array in layer.arrays.values():
            assert not array.flags.writeable
            assert not array.flags.owndata
            assert array.ctypes.data % 64 == 0


def test_file_is_replaced_at_once(path):
    write_model(path, sample())
    before = read_model(path)
    content = path.read_bytes()
    without_arrays = DescribedLayer("a", "ReLU"), DescribedLayer("b", "Linear", SIZES)
    with pytest.raises(FormatError, match=r"'b' \(Linear\): the array weight is missing"):
        write_model(path, Description("", without_arrays))
    assert path.read_bytes() == content
    weight = np.ones((1, 1))
    options = {"in_features": 1, "out_features": 1, "bias": False}
    write_model(
        path, Description("", (DescribedLayer("a", "Linear", options, {"weight": weight}),))
    )
    assert len(read_model(path).layers) == 1
    written_before = BytesIO()
    write_model(written_before, before)  # still the old file's numbers
    assert written_before.getvalue() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_saving_meets_nobody(path):
    """Threads that save to one path, names as long as the system permits, what was left behind."""
    layer, seen = fastrnn.GRU(8, 64, seed=0), []
    wanted = BytesIO()
    fastrnn.save(layer, wanted)
    long = path.with_name("a" * 250 + ".frnn")
    path.with_name(f".{path.name}.{os.getpid()}.tmp").touch()

    def work():
        for _ in range(20):
            fastrnn.save(layer, long)
            seen.append(long.read_bytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    assert {*seen} == {wanted.getvalue()}
    assert len(list(path.parent.iterdir())) == 2


def test_what_a_replaced_file_keeps(path, tmp_path):
    path.touch(0o640)
    link = tmp_path / "link"
    link.symlink_to(path.name)
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    fastrnn.save(fastrnn.GRU(1, 1), link)
    after = path.stat()
    assert link.is_symlink()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid, before.st_gid, before.st_mode,
    )  # fmt: skip


def test_group_that_cannot_be_kept_loses_its_permissions(path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError

    path.touch()
    path.chmod(0o664)
    monkeypatch.setattr(os, "fchown", refuse)
    fastrnn.save(fastrnn.GRU(1, 1), path)
    assert path.stat().st_mode & 0o777 == 0o644


def test_errors_of_saving_name_the_file(tmp_path):
    missing = tmp_path / "none" / "m.frnn"
    with pytest.raises(FileNotFoundError) as caught:
        fastrnn.save(fastrnn.GRU(1, 1), missing)
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{missing}'"
    for bad in (None, b"m.frnn", 3):
        with pytest.raises(TypeError, match="path: expected str"):
            fastrnn.save(fastrnn.GRU(1, 1), bad)


def test_memory_errors_stay(path, monkeypatch):
    write_model(path, sample())

    def refuse(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(fastrnn.readers.containers.source.Source, "read", refuse)
    for read in (fastrnn.load, fastrnn.read_state_dict):
        with pytest.raises(MemoryError):
            read(path)


def test_messages_hold_no_bytes_of_other_files(path):
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as letters:
        letters.writestr("hunter2.txt", "hunter2")
    contents = (b"hunter2!", archive.getvalue(), b'{"password": "hunter2"}', b"\x80\x04hunter2.")
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            fastrnn.load(path)
        assert "hunter2" not in str(caught.value)


def test_wrong_arguments_do_not_blame_the_file(path):
    fastrnn.save(fastrnn.GRU(1, 1), path)
    with pytest.raises(ValueError, match="isa: expected one of") as caught:
        fastrnn.load(path, isa="avx1024")
    assert type(caught.value) is ValueError
    with pytest.raises(TypeError, match="hidden_size: expected a number"):
        fastrnn.load(path, hidden_size=np.array([1, 2]))


def test_other_functions_read_it(path):
    write_model(path, sample())
    arrays = fastrnn.read_state_dict(path)
    assert "rnn.weight_hh_l1_reverse" in arrays
    layer = fastrnn.load(path, prefix="rnn")
    assert (layer.num_layers, layer.bidirectional, layer.batch_first) == (2, True, True)
    assert layer.state_dict()["bias_ih_l0"].tobytes() == arrays["rnn.bias_ih_l0"].tobytes()


# Golden files


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.stem)
def test_golden_files(golden):
    description = read_model(golden)
    x = np.load(golden.with_name(f"{golden.stem}_x.npy"))
    y = np.load(golden.with_name(f"{golden.stem}_y.npy"))
    assert error(np.asarray(run(description, x)), y) <= REFERENCE


def test_golden_files_are_written_the_same():
    assert len(GOLDEN) >= 3
    for golden in GOLDEN:
        assert written(read_model(golden)) == golden.read_bytes()


# What is refused

STATE = {"weight": np.ones((2, 3)), "bias": np.ones(2)}
SIZES = {"in_features": 3, "out_features": 2}


@pytest.mark.parametrize(
    ("kind", "options", "arrays", "match"),
    [
        ("Gelu", {}, {}, "'a' .Gelu.: expected one of the kinds LSTM, GRU"),
        ("Linear", {"in_features": 3}, STATE, "option 'out_features' is missing"),
        ("Linear", SIZES | {"out_features": 0}, STATE, "out_features: expected an integer from 1"),
        ("Linear", SIZES | {"out_features": 2.0}, STATE, "out_features: expected an integer, got"),
        ("Linear", SIZES | {"bias": "no"}, STATE, "bias: expected True or False, got 'no'"),
        ("Linear", SIZES | {"lora": 3}, STATE, "option 'lora' is not part of the format"),
        ("Linear", SIZES | {"out_features": 2**31}, STATE, "from 1 to 2147483647, got 2147483648"),
        ("Linear", SIZES, {"weight": STATE["weight"]}, "the array bias is missing"),
        ("Linear", SIZES, STATE | {"scale": np.ones(1)}, "'scale' is no array of a Linear"),
        ("Linear", SIZES | {"in_features": 4}, STATE, r"expected the shape \[2, 4\], got \[2, 3\]"),
        ("Linear", SIZES, STATE | {"bias": np.ones(2, int)}, "expected floating-point elements"),
        ("Pool", {"mode": "min"}, {}, "mode: expected 'mean' or 'max' or 'sum', got 'min'"),
        ("Dropout", {"p": 1.5}, {}, "p: expected a number from 0 to 1, got 1.5"),
        ("Dropout", {"p": None}, {}, "p: expected a number, got None"),
        ("Mask", {"value": np.nan}, {}, "value: expected a number"),
        ("Hardtanh", {"min_val": 1, "max_val": 1}, {}, "min_val: expected less than max_val"),
        ("MergeDirections", {"mode": "max"}, {}, "mode: expected one of 'sum', 'mean', 'mul', got"),
        ("Permute", {"dims": (0, 1, 1)}, {}, "dims: expected a permutation"),
        ("Permute", {"dims": tuple(range(9))}, {}, "dims: expected 1 to 7 integers, got 9"),
        ("ZeroPad1d", {"padding": (1, 2, 3)}, {}, "padding: expected 2 integers, got 3"),
        ("LSTM", {"input_size": 1, "hidden_size": 2, "proj_size": 2}, {}, "less than hidden_size"),
        ("GRU", {"input_size": 1, "hidden_size": 2, "num_layers": 9}, {}, "9 layers, but 0 arrays"),
        ("Embedding", {"num_embeddings": 2, "embedding_dim": 1, "padding_idx": 2}, {},
         "padding_idx: expected below num_embeddings"),
        ("Conv1d", {"in_channels": 4, "out_channels": 3, "kernel_size": 1, "groups": 2}, {},
         "groups: expected a divisor of out_channels"),
        ("Conv1d", {"in_channels": 1, "out_channels": 1, "kernel_size": 2, "stride": 2,
                    "padding": "same"}, {}, "stride: expected 1 with padding 'same'"),
    ],
)  # fmt: skip
def test_layers_without_a_place(kind, options, arrays, match):
    with pytest.raises(FormatError, match=match):
        write_model(BytesIO(), Description("", (DescribedLayer("a", kind, options, arrays),)))


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 1025, "\ud800"])
def test_names_without_a_place(name):
    with pytest.raises(FormatError, match="name: expected 1 to 1024 bytes"):
        write_model(BytesIO(), Description("", (DescribedLayer(name, "ReLU"),)))


def test_models_without_a_place():
    with pytest.raises(FormatError, match="at least one layer"):
        write_model(BytesIO(), Description("", ()))
    with pytest.raises(FormatError, match="two layers have this name"):
        write_model(
            BytesIO(), Description("", (DescribedLayer("a", "ReLU"), DescribedLayer("a", "Tanh")))
        )
    sizes = {"input_size": 1, "hidden_size": 1, "num_layers": MOST_LAYERS + 1}
    with pytest.raises(FormatError, match=f"num_layers: at most {MOST_LAYERS}"):
        write_model(BytesIO(), Description("", (DescribedLayer("a", "GRU", sizes),)))


def refused(path: Path, content: bytes, match: str, **options: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match=match):
        read_model(path, **options)


def test_versions(path):
    content = written(sample())
    refused(path, patched(content, 8, "<H", 2), r"version 2\.0.*reads versions 1\.x.*newer one")
    refused(path, patched(content, 8, "<H", 0), r"version 0\.0.*reads versions 1\.x$")
    path.write_bytes(patched(content, 10, "<H", 7))
    assert len(read_model(path).layers) == len(sample().layers)


@pytest.mark.parametrize(
    ("at", "format", "value", "match"),
    [
        (64, "<H", 3, "record 0 has the type 3, which this fastrnn does not know: a newer one"),
        (64, "<H", 2, "record 0 is out of order"),
        (66, "<H", 99, "'embedding' is of kind 99, which this fastrnn does not know: a newer one"),
        (76, "<H", 2, "record 2 is out of order"),
        (76, "<H", 0, "the array weight is missing"),
        (78, "<H", 1, "a reserved flag or number of its record is not 0"),
        (92, "<i", 1, "a reserved flag or number of its record is not 0"),
        (80, "<i", -5, "num_embeddings: expected an integer from 1"),
        (68, "<I", 2**32 - 1, "name of the layer in record 0 is empty, too long, or outside"),
        (72, "<I", 2**32 - 1, "name of the layer in record 0 is empty, too long, or outside"),
        (72, "<I", 3, "does not end with a zero byte"),
        (24, "<I", 2**32 - 1, "4294967295 records and their names do not fit"),
        (24, "<I", 1, "name of the layer in record 0"),
        (24, "<I", 0, "a model without layers"),
        (28, "<I", 2**32 - 1, "records and their names do not fit"),
        (40, "<I", 1, "a reserved byte of the header is not 0"),
        (16, "<Q", 2**63, "its header says 9223372036854775808"),
        (130, "<H", 77, "an array of role 77"),
        (132, "<H", 1, "an array of role 1, layer 1"),
        (136, "<H", 2, "elements of type 2, expected 1"),
        (138, "<H", 5, "its shape or a reserved byte"),
        (140, "<I", 1, "its shape or a reserved byte"),
        (144, "<Q", 0, "an array cannot begin at byte 0"),
        (144, "<Q", 2**64 - 64, "an array cannot begin at byte 18446744073709551552"),
        (152, "<Q", 2**63, "bytes for the shape"),
        (160, "<II", (2**31, 2**31), "bytes for the shape"),
        (188, "<I", 1, "its shape or a reserved byte"),
    ],
)  # fmt: skip
def test_bad_fields(path, at, format, value, match):
    values = value if isinstance(value, tuple) else (value,)
    refused(path, patched(written(sample()), at, format, *values), match)


def test_bad_places(path, monkeypatch):
    content = written(sample())
    longer = patched(content + b"\0", 16, "<Q", len(content) + 1)
    refused(path, longer, "is not a multiple of 64")
    refused(path, patched(content, 144, "<Q", len(content)), "weight reaches beyond the end")
    pool = written(Description("", (DescribedLayer("a", "Pool", {"mode": "sum"}),)))
    refused(path, patched(pool, 78, "<H", 3 << 2), "mode: expected less than 3, got 3")
    sizes = {"in_features": 3, "out_features": 2, "bias": True}
    with pytest.raises(FormatError, match="not in the order of the format"):
        check_arrays("Linear", sizes, {"bias": (2,), "weight": (2, 3)})
    monkeypatch.setattr(frnn_reader, "MOST_MODEL_LAYERS", 2)
    refused(path, content, "more than 2 layers")


def test_checksum(path):
    content = bytearray(written(sample()))
    content[-20] ^= 1
    refused(path, bytes(content), "the checksum is wrong")
    assert read_model(path, check_crc=False).layers


def test_optional_records_are_skipped(path):
    """A file of a later minor version: one more record, after the first layer's own."""
    content = written(sample())
    (count,) = struct.unpack_from("<I", content, 24)
    extra = struct.pack("<H62x", 0x8001)
    longer = bytearray(content[:128] + extra + content[128:])
    struct.pack_into("<I", longer, 24, count + 1)
    struct.pack_into("<Q", longer, 16, len(longer))
    for at in range(64, 64 * (2 + count), 64):
        if struct.unpack_from("<H", longer, at) == (2,):
            (place,) = struct.unpack_from("<Q", longer, at + 16)
            struct.pack_into("<Q", longer, at + 16, place + 64)
    path.write_bytes(patched(bytes(longer), 10, "<H", 1))
    assert written(read_model(path)) == content


def test_places_that_are_not_files(tmp_path):
    with pytest.raises(FormatError, match="got a directory"):
        read_model(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        read_model(tmp_path / "none.frnn")
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match=r"not a \.frnn file"):
        read_model(tmp_path / "empty")


# Damage


def test_truncation_and_flips(path):
    """Every byte: a checked read refuses, an unchecked one refuses or returns arrays."""
    content = written(sample(small=True))
    for length in range(len(content)):
        refused(path, content[:length], "file")
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        survives(path)
        with pytest.raises(FormatError):
            read_model(path)


def test_random_damage_of_records(path):
    """Random bytes in the header and the records, with the checksum put right."""
    content = written(sample(small=True))
    (count,) = struct.unpack_from("<I", content, 24)
    rng = np.random.default_rng(0)
    edges = [0, 1, 2, 63, 64, 127, 128, 255]
    for _ in range(1000):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(8, 64 * (1 + count)))
            damaged[at] = int(rng.choice(edges))
        path.write_bytes(patched(bytes(damaged), 0, "<0s", b""))
        survives(path)


def survives(path: Path) -> None:
    try:
        found = read_model(path, check_crc=False)
    except FormatError:
        return
    for layer in found.layers:
        check_arrays(
            layer.kind,
            dict(layer.options, left=0, right=0) if layer.kind == "ZeroPad1d" else layer.options,
            {name: array.shape for name, array in layer.arrays.items()},
        )
        assert all(np.isfinite(array.sum()) in (True, False) for array in layer.arrays.values())


# C array


def test_c_array(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    write_c_array(tmp_path / "model.h", sample(), "my_model")
    (tmp_path / "main.c").write_text(
        '#include "model.h"\n#include <stdint.h>\n#include <stdio.h>\n'
        "int main(void)\n{\n    if ((uintptr_t)my_model % 64) return 1;\n"
        "    return fwrite(my_model, 1, sizeof my_model, stdout) != sizeof my_model;\n}\n"
    )
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "main.c", "-o", "a"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "a"], check=True, capture_output=True).stdout
    assert printed == written(sample())
    with pytest.raises(ValueError, match="name: expected a C identifier, got '2nd'"):
        write_c_array(tmp_path / "model.h", sample(), "2nd")


# The document


def table_row(name: str) -> str:
    fields = KINDS[name].fields
    flags = [
        f"{one.place} {one.name}" + f" ({', '.join(one.texts)})"
        if isinstance(one, Choice)
        else f"{one.place} {one.name}"
        for one in sorted(
            (one for one in fields if isinstance(one, (Flag, Choice))), key=lambda one: one.place
        )
    ]
    integers = [
        f"{one.place} {one.name}" + ("" if one.word is REQUIRED else f" (-1: {one.word})")
        for one in fields
        if isinstance(one, Integer)
    ]
    integers += [
        f"{o.place} {o.name} ({', '.join(f'{i} {text}' for i, text in enumerate(o.texts))})"
        for o in fields
        if isinstance(o, Word)
    ]
    integers += [f"0 how many, 1-{o.most} {o.name}" for o in fields if isinstance(o, Integers)]
    numbers = [f"{one.place} {one.name}" for one in fields if isinstance(one, Number)]
    cells = [", ".join(part) or "-" for part in (flags, integers, numbers)]
    return f"| {KINDS[name].number} | {name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("name", KINDS)
def test_table_of_kinds(name):
    assert table_row(name) in DOCUMENT.splitlines()


def test_numbers_of_kinds_are_unique():
    assert len({kind.number for kind in KINDS.values()}) == len(KINDS)


def test_c_knows_the_same_kinds():
    """src_c/core/model/kinds.c lists rows by number, and each row has the kind's name."""
    folder = ROOT / "src_c/core/model"
    rows = re.findall(r"\[(\d+)\] = &frnn_(\w+)", (folder / "kinds.c").read_text())
    text = "".join(path.read_text() for path in folder.glob("kind_*.c"))
    names = dict(re.findall(r'frnn_(kind_\w+) =\s+(?:\w+\(\s*|{[^."]*\.name = )"(\w+)"', text))
    found = {names[row]: int(number) for number, row in rows}
    assert found == {name: kind.number for name, kind in KINDS.items()}


def test_example_of_the_document():
    rows = re.findall(r"^    ([0-9a-f]{3})  ((?:[0-9a-f]{2} ?){16})$", DOCUMENT, re.MULTILINE)
    assert [int(at, 16) for at, _ in rows] == list(range(0, 16 * len(rows), 16))
    arrays = {"weight": np.array([[1.0, -2.0]]), "bias": np.array([0.5])}
    layer = DescribedLayer("fc", "Linear", {"in_features": 2, "out_features": 1}, arrays)
    assert b"".join(bytes.fromhex(row) for _, row in rows) == written(Description("", (layer,)))
