# SPDX-License-Identifier: MIT
"""Where a model may be: at a path, in a folder, in a binary file that is open."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile

import numpy as np
import pytest
from fuzz_readers import CORPUS

import fastrnn
from fastrnn import FormatError, read_state_dict
from fastrnn.readers import read_file


def equal(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_open_files(path):
    content = path.read_bytes()
    if path.name.endswith(".index.json"):
        with pytest.raises(FormatError, match=r"<BytesIO>: shard .*load the model by its path"):
            read_file(io.BytesIO(content))
        return
    expected = read_file(path)
    found = read_file(io.BytesIO(content))
    assert equal(found.arrays, expected.arrays)
    assert (found.format, found.recurrent) == (expected.format, expected.recurrent)
    with path.open("rb") as file:  # and what was open stays open
        assert equal(read_file(file).arrays, expected.arrays)
        file.seek(0)
        assert file.read() == content


def test_other_kinds_of_open_files(tmp_path):
    content = (CORPUS / "net.frnn").read_bytes()
    expected = read_state_dict(CORPUS / "net.frnn")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net.frnn", content)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("net.frnn") as member:
        assert equal(read_state_dict(member), expected)
    with tempfile.TemporaryFile(dir=tmp_path) as file:  # its name is a number
        file.write(b"before" + content)
        file.seek(6)
        assert equal(read_state_dict(file), expected)
        with pytest.raises(FormatError, match=r"^<BufferedRandom>: the file is empty"):
            read_state_dict(file.seek(0, 2) and file)


def test_save_and_load_without_a_file():
    model = fastrnn.Sequential(fastrnn.GRU(3, 4, seed=0), fastrnn.Linear(4, 2, seed=1))
    file = io.BytesIO()
    fastrnn.save(model, file)
    file.seek(0)
    x = np.ones((2, 1, 3), np.float32)
    assert np.array_equal(fastrnn.load(file)(x)[0], model(x)[0])


@pytest.mark.parametrize(
    ("file", "found"),
    [(io.StringIO("{}"), "StringIO"), (open, "builtin_function_or_method"), (b"m", "bytes")],
)
def test_what_is_no_place(file, found):
    with pytest.raises(
        TypeError, match=f"path: expected str.* binary file that can seek, got {found}"
    ):
        fastrnn.load(file)


def test_a_file_that_shrinks():
    class Shrinking(io.BytesIO):
        def seek(self, offset, whence=0):
            position = super().seek(offset, whence)
            if whence == io.SEEK_END:
                self.truncate(self.tell() - 8)
            return position

    with pytest.raises(FormatError, match="became shorter"):
        read_state_dict(Shrinking((CORPUS / "net.frnn").read_bytes()))


@pytest.mark.parametrize("name", ["net.frnn", "net.h5", "checkpoint.pt"])
def test_a_file_that_gives_few_bytes_at_a_time(name):
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:7])

    content = (CORPUS / name).read_bytes()
    assert equal(read_file(Slow(content)).arrays, read_file(CORPUS / name).arrays)


def test_folders(tmp_path):
    expected = read_state_dict(CORPUS / "model.safetensors.index.json")
    for name in (
        "model.safetensors.index.json",
        "model-1-of-2.safetensors",
        "model-2-of-2.safetensors",
    ):
        shutil.copy(CORPUS / name, tmp_path)
    assert equal(read_state_dict(tmp_path), expected)
    assert (
        fastrnn.load(str(tmp_path)).hidden_size
        == fastrnn.load(tmp_path / "model.safetensors.index.json").hidden_size
    )
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({"rnn.weight_hh_l0": np.zeros((6, 2), np.float32)}, tmp_path / "model.safetensors")
    assert list(read_state_dict(tmp_path)) == ["rnn.weight_hh_l0"]


def test_folders_without_a_model(tmp_path):
    with pytest.raises(FormatError, match=rf"^{tmp_path}: a folder without .*; it has no files"):
        read_state_dict(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "m.pt").touch()
    with pytest.raises(FormatError, match=r"; it has 'm\.pt'$"):
        read_state_dict(tmp_path)
    (tmp_path / "pytorch_model.bin").symlink_to(CORPUS / "checkpoint.pt")
    with pytest.raises(FormatError, match=r"pytorch_model\.bin: the model: .*following links"):
        read_state_dict(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(FormatError, match=r"SavedModel .*save the model as \.keras"):
        fastrnn.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "b"}}))
    with pytest.raises(FormatError, match=r"index\.json: shard 'b': .*No such file"):
        read_state_dict(tmp_path)
