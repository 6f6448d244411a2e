# SPDX-License-Identifier: MIT
"""safetensors and .npz files, good and bad."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from reader_files import FLOATS, Entry, npy, read_bytes, refuses, safetensors_file, zip_file

import fastrnn
from fastrnn.readers import FormatError, read_file, read_state_dict
from fastrnn.readers.json_models import safetensors_index

# safetensors


def entry(begin=0, end=24, shape=(2, 3), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


def test_safetensors(tmp_path):
    found = read_bytes(tmp_path, safetensors_file({"__metadata__": {"a": "b"}, "w": entry()}))
    assert found.format == "safetensors"
    np.testing.assert_array_equal(found.arrays["w"], FLOATS.reshape(2, 3), strict=True)
    assert found.arrays["w"].flags.writeable


def test_padded_header_and_odd_shapes(tmp_path):
    header = b'{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},' \
        b'"e":{"dtype":"F64","shape":[3,0],"data_offsets":[4,4]},' \
        b'"r":{"dtype":"F32","shape":[5],"data_offsets":[4,24]}}   '  # fmt: skip
    arrays = read_bytes(tmp_path, safetensors_file(header)).arrays
    assert {name: array.shape for name, array in arrays.items()} == {
        "s": (),
        "e": (3, 0),
        "r": (5,),
    }


def test_safetensors_against_the_package(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    kinds = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
    arrays = {kind: rng.integers(0, 2, (3, 5)).astype(kind) for kind in kinds}
    package.save_file(arrays, tmp_path / "m.safetensors")
    found = read_state_dict(tmp_path / "m.safetensors")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_safetensors_bfloat16(tmp_path):
    values = np.array([1.5, -2, 0, np.inf, 3.0e38, 1e-40], np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = read_bytes(tmp_path, safetensors_file({"w": entry(0, 12, (6,), "BF16")}, raw)).arrays
    expected = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(found["w"], expected, strict=True)


def test_safetensors_prefixes(tmp_path):
    content = safetensors_file({"module.a.w": entry()})
    assert list(read_bytes(tmp_path, content).arrays) == ["a.w"]
    assert list(read_bytes(tmp_path, content, key="module.a").arrays) == ["w"]
    refuses(tmp_path, content, "no tensors below key 'a'", key="a")
    refuses(tmp_path, content, "no tensors below key 'module.a.w'", key="module.a.w")


ONE = '"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"w": entry(shape=(2, 4))}, "takes 24 bytes, its shape needs 32"),
        ({"w": entry(4, 28)}, "leaves a gap"),
        ({"w": entry(0, 20, (5,))}, "take 20 bytes, the file has 24"),
        ({"w": entry(0, 28, (7,))}, "take 28 bytes, the file has 24"),
        ({"v": entry(), "w": entry()}, "overlaps"),
        ({"v": entry(), "w": entry(20, 24, (1,))}, "overlaps"),
        ({"w": entry(24, 0)}, "takes -24 bytes"),
        ({"w": entry(-24, 0)}, "not two positions"),
        ({"w": entry(False, 24)}, "not two positions"),
        ({"w": entry("0", "24")}, "not two positions"),
        ({"w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 12, 24]}}, "not two positions"),
        ({"w": {"dtype": "F32", "shape": [6], "data_offsets": 24}}, "not two positions"),
        ({"w": entry(shape=(-2, -3))}, "not a count"),
        ({"w": entry(shape=(True, 6))}, "not a count"),
        ({"w": entry(shape=("6",))}, "not a count"),
        ({"w": entry(0, 0, shape=(0, 1 << 63))}, "not a count"),
        ({"w": entry(0, 0, shape=(0, 1 << 61, 1 << 61))}, "too large"),
        ({"w": entry(shape=(1 << 32, 1 << 32))}, "too large"),
        ({"w": entry(shape=(1,) * 100000)}, "at most 16 dimensions, got 100000"),
        ({"w": entry(dtype="F8_E4M3")}, "takes 24 bytes, its shape needs 6"),
        ({"w": entry(dtype="F9")}, "type 'F9': not supported"),
        ({"w": entry(dtype="F8_E4M3", shape=(4, 6))}, "'F8_E4M3': not supported"),
        ({"w": entry(dtype=["F32"])}, "type list"),
        ({"w": entry(extra=1)}, "exactly dtype, shape and data_offsets"),
        ({"w": entry() | {"shape": 6}}, "'w': the shape is not a list"),
        ({"w": {"dtype": "F32"}}, "exactly"),
        ({"w": None}, "exactly"),
        ({"w": entry(), "__metadata__": {"a": 1}}, "map of strings"),
        ({"w": entry(), "__metadata__": []}, "map of strings"),
        ({"\ud800": entry()}, "not valid text"),
        ({"x" * 5000: entry()}, "5000 characters"),
        (f"{{{ONE},{ONE}}}".encode(), "'w' occurs twice"),
        (b'{"w":{"dtype":"F32","dtype":"F32"}}', "'dtype' occurs twice"),
        (b'{"w":{"dtype":"F32","shape":[6.0],"data_offsets":[0,24]}}', "shape is not a count"),
        (b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,24]}}', "number 'NaN'"),
        (b'{"w":{"dtype":"F32","shape":[-Infinity],"data_offsets":[0,24]}}', "-Infinity"),
        (b'{"w":{"dtype":"F32","shape":[1e400],"data_offsets":[0,24]}}', "1e400"),
        (b'{"w":{"dtype":"F32","shape":[' + b"9" * 100000 + b'],"data_offsets":[0,24]}}', "999"),
        (b'{"w":' + b"[" * 100000 + b"]" * 100000 + b"}", "nested more than 64 deep"),
        (b'{"w":' * 100000 + b"1" + b"}" * 100000, "nested more than 64 deep"),
        (b'{"w":', "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b'{"\xff":1}', "not valid JSON"),
        (b"{" + b" " * 9, "not valid JSON"),
    ],
)  # fmt: skip
def test_bad_safetensors_headers(tmp_path, header, match):
    refuses(tmp_path, safetensors_file(header), match)


@pytest.mark.parametrize("length", [0, 1, 7, 100_000_001, 2**32 - 1, 2**63, 2**64 - 1])
def test_bad_safetensors_lengths(tmp_path, length):
    refuses(
        tmp_path,
        struct.pack("<Q", length) + b"{}" + bytes(30),
        "JSON|header|known kind|beyond the end",
    )


def test_safetensors_with_other_data(tmp_path):
    content = safetensors_file({"w": entry()})
    refuses(tmp_path, content + b"x", "the file has 25 bytes of data")
    refuses(tmp_path, content[:-1], "the file has 23 bytes of data")


# npz


def test_npz_against_numpy(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "rnn.weight_ih_l0": rng.standard_normal((3, 4)).astype(np.float32),
        "big": rng.standard_normal((3, 4)).astype(">f8"),
        "fortran": np.asfortranarray(rng.standard_normal((2, 3, 4))),
        "half": np.arange(5, dtype=np.float16),
        "scalar": np.array(3, np.int32),
        "flag": np.array([True, False]),
        "flag0": np.array(True),
        "empty": np.zeros((0, 7), np.float32),
        "complex": np.array([1 + 2j]),
        "text": np.array(["ab", "c\u00e9"]),
        "bytes": np.array([b"ab", b"c"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "m.npz", **arrays)
        found = read_file(tmp_path / "m.npz")
        assert found.format == "npz"
        assert list(found.arrays) == list(arrays)
        for name, array in arrays.items():
            result = found.arrays[name]
            assert result.dtype == array.dtype.newbyteorder("="), name
            assert result.flags.carray
            assert result.dtype.isnative
            np.testing.assert_array_equal(result, array)


def npz(*members: bytes, method: int = 0) -> bytes:
    return zip_file([Entry(f"a{at}.npy", data, method) for at, data in enumerate(members)])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_npy_versions(tmp_path, version):
    found = read_bytes(tmp_path, npz(npy(FLOATS, version=version)))
    np.testing.assert_array_equal(found.arrays["a0"], FLOATS, strict=True)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (6,), }", "array of numbers"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", "array of numbers"),
        ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (6,), }", "array of numbers"),
        ("{'descr': '<f3', 'fortran_order': False, 'shape': (6,), }", "array of numbers"),
        ("{'descr': '<f16', 'fortran_order': False, 'shape': (6,), }", "array of numbers"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (6,), }", "array of numbers"),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (6,), }", "array of numbers"),
        ("{'descr': '<f4', 'fortran_order': False}", "array of numbers"),
        ("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (6,)}", "array of"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-6,), }", "array of numbers"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (6.0,), }", "array of numbers"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", "malformed shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (,6), }", "malformed shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (6,,), }", "malformed shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % ("9" * 5000), "malformed"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (%s)}" % ("1," * 99), "16 .*, got 99"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }", "has 24 bytes, .* needs 28"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "large"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807), }", "count"),
        ("{'descr': '<U99999999', 'fortran_order': False, 'shape': (6,), }", "needs"),
        ("((((((((((((((((((((((((((((", "array of numbers"),
        ("__import__('os').system('false')", "array of numbers"),
        ("\x00\xff", "array of numbers"),
    ],
)  # fmt: skip
def test_bad_npy_headers(tmp_path, header, match):
    refuses(tmp_path, npz(npy(FLOATS, header)), match)


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (b"", "not a .npy array"),
        (b"\x93NUMPY\1\0", "not a .npy array"),
        (b"\x93NUMPY\4\0" + bytes(20), "not a .npy array"),
        (b"\x80\x02}." + bytes(20), "not a .npy array"),
        (b"\x93NUMPY\1\0\xff\xff{}  ", "header of 65535 bytes"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff{}  ", "header of 4294967295 bytes"),
    ],
)
def test_bad_npy_members(tmp_path, member, match):
    refuses(tmp_path, npz(member), match)


def test_compressed_bomb(tmp_path):
    content = npz(npy(np.zeros(1 << 25, np.float32)), method=8)
    assert len(content) < 1 << 20
    refuses(tmp_path, content, "expands to more than")


def test_many_small_arrays_of_one_name_stay_apart(tmp_path):
    found = read_bytes(tmp_path, npz(*(npy(FLOATS[:at]) for at in range(6))))
    assert [array.size for array in found.arrays.values()] == list(range(6))


# shards


@pytest.fixture
def shards(tmp_path):
    """The index of a state dict in two shards, and the state dict."""
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = {f"rnn.{name}": tensor for name, tensor in torch.nn.GRU(3, 4, 2).state_dict().items()}
    places = {name: f"model-{1 + ('_l1' in name)}-of-2.safetensors" for name in state}
    for shard in set(places.values()):
        save_file({name: t for name, t in state.items() if places[name] == shard}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index, places, state


def test_sharded_safetensors(shards):
    index, places, state = shards
    found = read_state_dict(index)
    assert list(found) == list(places)
    assert all(np.array_equal(found[name], tensor.numpy()) for name, tensor in state.items())
    layer = fastrnn.load(index)
    assert (layer.num_layers, layer.hidden_size) == (2, 4)


def test_bad_shards(shards, tmp_path, monkeypatch):
    index, places, _ = shards
    (tmp_path / min(places.values())).write_bytes(safetensors_file([], b""))
    with pytest.raises(FormatError, match="is not a JSON object"):
        read_state_dict(index)
    monkeypatch.setattr(safetensors_index, "_MOST_SHARDS", 1)
    with pytest.raises(FormatError, match="2 files, at most 1 are read"):
        read_state_dict(index)


def test_shards_that_do_not_fit_the_index(shards, tmp_path):
    index, places, _ = shards
    first, second = sorted(set(places.values()))
    moved = dict.fromkeys(places, first)
    for changed, why in (
        ({**places, "more": first}, r"1-of-2.*'more'"),
        ({name: file for name, file in places.items() if "bias" not in name}, r"'rnn\.bias_hh_l"),
        ({**moved, "rnn.weight_ih_l1": second}, r"missing or unexpected"),
        ({**places, "other": "model-3-of-3.safetensors"}, r"model-3-of-3.*No such file"),
        ({**places, "other": index.name}, r"index\.json"),
        ({**places, "other": 3}, r"'other': expected the name of a file"),
        ({**places, "other": "\ud800"}, r"not the name of a file"),
        ({**places, "other": "../x.safetensors"}, r"not a plain path inside"),
        ({**places, "other": "/x.safetensors"}, r"not a plain path inside"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(FormatError, match=why) as caught:
            read_state_dict(index)
        assert str(caught.value).startswith(str(index))
    index.write_text(json.dumps({"weight_map": places}))
    (tmp_path / "outside").mkdir()
    (tmp_path / second).rename(tmp_path / "outside" / second)
    (tmp_path / second).symlink_to(tmp_path / "outside" / second)
    with pytest.raises(FormatError, match="without following links"):
        read_state_dict(index)
