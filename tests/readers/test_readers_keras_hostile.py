# SPDX-License-Identifier: MIT
"""Damaged and hostile Keras files: every one is read or raises FormatError."""

from __future__ import annotations

import contextlib
import json
import tracemalloc

import numpy as np
import pytest
from hdf5_files import at_random, decode
from keras_models import import_keras, save, sequential, weights_of
from reader_files import Entry, memory_promise, zip_file

import fastrnn
from fastrnn.readers import FormatError
from fastrnn.readers import describe_file as describe
from fastrnn.readers.containers import zip_archive
from fastrnn.readers.containers.budget import Budget
from fastrnn.readers.containers.hdf5 import Hdf5File
from fastrnn.readers.containers.source import open_source
from fastrnn.readers.keras.keras_keys import refused_keys

keras = import_keras()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Keras's, about masks it drops
L = keras.layers


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a `.keras` file by name."""
    layers = [
        L.Embedding(6, 2, mask_zero=True), L.Conv1D(2, 2),
        L.Bidirectional(L.GRU(2, return_sequences=True)), L.LSTM(2), L.Dense(1),
    ]  # fmt: skip
    path = save(sequential(keras, layers, None), tmp_path_factory.mktemp("keras") / "m.keras")
    with open_source(str(path)) as source:
        archive = zip_archive.ZipArchive(source)
        return {name: archive.read(name, 1 << 20) for name in archive.members}


def describe_members(tmp_path, members, **changes):
    changed = members | {name.replace("__", "."): data for name, data in changes.items()}
    path = tmp_path / "changed.keras"
    path.write_bytes(
        zip_file([Entry(name, data) for name, data in changed.items() if data is not None])
    )
    return describe(path)


def test_members_are_needed(tmp_path, members):
    assert describe_members(tmp_path, members).layers
    for name in members:
        why = f"member '{name}' is missing"
        if name != "metadata.json":  # by the others a Keras archive is recognized
            why = f"a ZIP archive that holds no known model, but {len(members) - 1} other files"
        with pytest.raises(FormatError, match=f"changed.keras: {why}"):
            describe_members(tmp_path, members, **{name: None})


@pytest.mark.parametrize("version", ['"2.15.0"', '"31.0"', "3", "null"])
def test_versions_of_keras(tmp_path, members, version):
    with pytest.raises(FormatError, match="expected a file of Keras 3"):
        describe_members(
            tmp_path, members, metadata__json=b'{"keras_version": %s}' % version.encode()
        )


def test_damaged_config(tmp_path, members):
    rng = np.random.default_rng(0)
    text = members["config.json"]
    for _ in range(200):
        with contextlib.suppress(FormatError):
            describe_members(tmp_path, members, config__json=at_random(text, rng))


def nodes(value, path=()):
    yield path
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        yield from nodes(child, (*path, key))


OTHERS = [None, True, -1, 1 << 70, "x", [[]], {"class_name": "LSTM"}]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_config_with_other_values(tmp_path, members, other):
    config = json.loads(members["config.json"])
    for path in list(nodes(config))[1:]:
        if any("initializer" in str(key) or key in ("dtype", "regularizer") for key in path):
            continue
        changed = json.loads(members["config.json"])
        at = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = other
        with contextlib.suppress(FormatError):
            describe_members(tmp_path, members, config__json=json.dumps(changed).encode())


OPTIONS_OF_AN_LSTM = {
    "activation": "relu", "recurrent_activation": "hard_sigmoid", "go_backwards": True,
    "time_major": True, "peephole": True, "quantization_config": {}, "units": 3, "use_bias": False,
    "dtype": {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}},
}  # fmt: skip


@pytest.mark.parametrize("key", OPTIONS_OF_AN_LSTM)
def test_options_count_however_a_layer_is_loaded(tmp_path, members, key):
    """The layer of a prefix is the one that the whole model has, or it is refused."""
    config = json.loads(members["config.json"])
    (lstm,) = [item for item in config["config"]["layers"] if item["class_name"] == "LSTM"]
    lstm["config"][key] = OPTIONS_OF_AN_LSTM[key]
    path = tmp_path / "m.keras"
    changed = members | {"config.json": json.dumps(config).encode()}
    path.write_bytes(zip_file([Entry(name, data) for name, data in changed.items()]))
    with pytest.raises(FormatError, match=f"{lstm['config']['name']}|'layers/lstm/cell'"):
        fastrnn.load(path, prefix=lstm["config"]["name"])
    if key == "go_backwards":  # the whole model turns the steps around
        assert [layer.kind for layer in describe(path).layers].count("Flip") == 1
        return
    with pytest.raises(FormatError):
        describe(path)


def test_options_of_keras_are_known():
    """Each key in the config of a layer is honoured or has no effect."""
    cell = L.LSTMCell(2)
    layers = [
        L.LSTM(2), L.GRU(2), L.SimpleRNN(2), cell, L.GRUCell(2), L.SimpleRNNCell(2), L.RNN(cell),
        L.StackedRNNCells([cell]), L.Bidirectional(L.LSTM(2)), L.TimeDistributed(L.Dense(2)),
        L.Embedding(2, 2), L.Masking(), L.Dense(2), L.Conv1D(2, 2), L.LayerNormalization(),
        L.Dropout(0.1), L.SpatialDropout1D(0.1), L.GaussianDropout(0.1), L.AlphaDropout(0.1),
        L.GaussianNoise(0.1), L.ActivityRegularization(), L.Identity(), L.Activation("relu"),
        L.ReLU(), L.Softmax(), L.GlobalAveragePooling1D(), L.GlobalMaxPooling1D(), L.Flatten(),
        L.InputLayer((2, 3)), L.BatchNormalization(), L.MaxPooling1D(), L.ZeroPadding1D(),
        L.Rescaling(1.0), L.RepeatVector(2), L.Reshape((2,)), L.Permute((2, 1)), L.LeakyReLU(),
        L.ELU(), L.PReLU(),
    ]  # fmt: skip
    for layer in layers:
        assert not list(refused_keys(type(layer).__name__, layer.get_config()))


def test_truncated_weights(tmp_path, members):
    data = members["model.weights.h5"]
    for length in [*range(0, 2048, 7), *range(2048, len(data), 97), len(data) - 1]:
        with pytest.raises(FormatError):
            decode(data[:length])
    with pytest.raises(FormatError, match="expected a file of"):
        decode(data + b"\0")


def test_damaged_weights(members):
    data = members["model.weights.h5"]
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(600):
        try:
            decode(at_random(data, rng))
            read += 1
        except FormatError:
            pass
    assert 0 < read < 600


def test_every_bit_of_the_first_headers(members):
    data = bytearray(members["model.weights.h5"])
    for at in range(0, 1024):
        data[at] ^= 1 << at % 8
        with contextlib.suppress(FormatError):
            decode(bytes(data))
        data[at] ^= 1 << at % 8


def test_memory_is_bounded(tmp_path, members):
    path = tmp_path / "m.keras"
    inflated = [Entry(name, data, 8) for name, data in members.items()]
    inflated.append(Entry("assets/zeros", bytes(100_000), 8))
    path.write_bytes(zip_file(inflated))
    tracemalloc.start()
    describe(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory_promise(path.stat().st_size)


def test_other_hdf5_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.weights.h5"
    cases = {
        "only version 0 is": lambda f: f.create_dataset("layers/dense/vars/0", data=np.eye(3)),
        "chunk|layout|compressed": lambda f: f.create_dataset(
            "a", data=np.zeros((99, 99)), chunks=(9, 9)
        ),
        "compressed": lambda f: f.create_dataset("a", data=np.zeros((99, 99)), compression="gzip"),
        "soft link": lambda f: f.__setitem__("a", h5py.SoftLink("/b")),
        "outside": lambda f: f.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
        "newer kind": lambda f: f.__setitem__("a", h5py.ExternalLink("other.h5", "/b")),
        "twice": lambda f: f.__setitem__("b", f.create_group("a")),
    }
    for reason, fill in cases.items():
        with h5py.File(path, "w", libver="latest" if "version" in reason else None) as file:
            fill(file)
        with pytest.raises(FormatError, match=reason):
            weights_of(path)


def test_types_of_elements(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.h5"
    kinds = ("<f2", "<f4", "<f8", ">f4", ">f8", "<i4", ">i8", "<u2", "i1", "?")
    arrays = {str(k): np.arange(6).reshape(2, 3).astype(kind) for k, kind in enumerate(kinds)}
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["scalar"], file["empty"] = np.float32(3), np.zeros((0, 4), "f4")
        file["text"], file["complex"] = "abc", np.zeros(3, np.complex64)
        file["compound"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    content = Hdf5File(np.fromfile(path, np.uint8), Budget(path.stat().st_size))
    for name, array in arrays.items():
        assert (content.array(name) == array).all()
        assert content.array(name).dtype == array.dtype.newbyteorder("=")
    assert content.array("scalar") == 3
    assert content.array("empty").shape == (0, 4)
    for name in ("text", "complex", "compound"):
        with pytest.raises(FormatError, match="elements of HDF5 class"):
            content.array(name)


def test_other_forms_of_hdf5(tmp_path):
    """Forms that HDF5 itself writes: large groups, 16-bit types, texts, attributes to ignore."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.h5"
    brain = np.array([0x3F80, 0xC020], "<u2")  # 1 and -2.5 as bfloat16
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    with h5py.File(path, "w") as file:
        for number in range(300):  # more than one node of the B-tree holds
            file.create_group(f"many/{number:03}")
        file["opaque"], file["pairs"] = brain.view("V2"), brain.view("V2")
        file["opaque"].attrs["dtype"] = "bfloat16"
        place = h5py.h5d.create(file.id, b"float", kind, h5py.h5s.create_simple((2,)))
        place.write(h5py.h5s.ALL, h5py.h5s.ALL, brain, kind)
        file["type"] = np.dtype("f4")
        file["many"].attrs.create("shared", 1, dtype=file["type"])
        del file["type"]
        file["many"].attrs["null"] = h5py.Empty("S4")
        file["many"].attrs["none"] = ""
        file["many"].attrs["two"] = np.array([b"ab", b"cd"])

    def opened(data: np.ndarray) -> Hdf5File:
        return Hdf5File(data, Budget(len(data)))

    data = np.fromfile(path, np.uint8)
    content = opened(data)
    assert sorted(name for name in content.nodes if "many/" in name)[-1] == "many/299"
    assert len(content.nodes) == 1 + 1 + 300 + 3
    for name in ("opaque", "float"):
        assert content.array(name).tolist() == [1, -2.5]
    with pytest.raises(FormatError, match="HDF5 class 5: not supported"):
        content.array("pairs")
    assert content.texts("many", "shared") is None
    assert content.texts("many", "null") == []
    assert content.text("many", "none") == ""
    assert content.texts("many", "two") == ["ab", "cd"]
    at = data.tobytes().index(b"abcd")  # behind the sizes: version and rank, size, largest size
    for place, value, why in ((at - 16, 200, "200 texts of 2 bytes"), (at - 24, 9, "dataspace")):
        damaged = data.copy()
        damaged[place] = value
        with pytest.raises(FormatError, match=why):
            opened(damaged).texts("many", "two")
    for group, why in (
        ("a/" * 40, "nested more than 32 deep"),
        (("a" * 200 + "/") * 6, "too long"),
    ):
        with h5py.File(path, "w") as file:
            file.create_group(group)
        with pytest.raises(FormatError, match=why):
            opened(np.fromfile(path, np.uint8))
