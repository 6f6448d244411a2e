# SPDX-License-Identifier: MIT
"""Files of torch.save, new and legacy: every array equals that of torch.load, bit for bit."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import os
import pathlib
import random

import numpy as np
import pytest
from reader_files import (
    FLOATS,
    ORDERED_DICT,
    SMALL,
    call,
    dict_,
    integer,
    legacy_file,
    list_,
    read_bytes,
    refuses,
    state_file,
    storage,
    tensor,
    text,
    torch_file,
    tuple_,
)

from fastrnn.readers import FormatError, read_file, read_state_dict


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, torch, tmp_path):
    """Save an object in either container and return the path."""

    def write(value, name="model.pt", **options):
        path = tmp_path / name
        torch.save(value, path, _use_new_zipfile_serialization=request.param, **options)
        return path

    return write


def assert_same(torch, arrays, tensors):
    assert list(arrays) == list(tensors)
    for name, value in tensors.items():
        value = value.detach()
        expected = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        array = arrays[name]
        assert array.dtype == expected.dtype, name
        assert array.shape == expected.shape, name
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert array.dtype.isnative
        assert array.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_state_dict(torch, save, kind):
    model = getattr(torch.nn, kind)(3, 5, 2, bidirectional=True)
    path = save(model.state_dict())
    assert_same(torch, read_state_dict(path), model.state_dict())
    assert read_file(str(path)).format.startswith("torch")


def test_element_types(torch, save):
    dtypes = (
        "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128"
    )
    values = {
        name: (torch.arange(12) % 5 - 1).to(getattr(torch, name)).reshape(3, 4)
        for name in dtypes.split()
        if name != "uint8"
    }
    values["uint8"] = torch.arange(250, 256).to(torch.uint8)
    assert_same(torch, read_state_dict(save(values)), values)


def test_bfloat16_of_all_bit_patterns(torch, save):
    bits = torch.arange(-(2**15), 2**15).to(torch.int16)
    values = {"w": bits.view(torch.bfloat16)}
    found = read_state_dict(save(values))["w"]
    np.testing.assert_array_equal(found.view(np.uint32) >> 16, bits.numpy().view(np.uint16))
    assert not (found.view(np.uint32) & 0xFFFF).any()


def test_unsigned_types_of_new_files(torch, tmp_path):
    values = {name: torch.arange(5).to(getattr(torch, name)) for name in ("uint16", "uint32")}
    torch.save(values, tmp_path / "u.pt")
    assert_same(torch, read_state_dict(tmp_path / "u.pt"), values)


def test_views(torch, save):
    base = torch.randn(6, 8)
    values = {
        "base": base,
        "transposed": base.t(),
        "slice": base[2:4, 3:],
        "row": base[3],
        "column": base[:, 2],
        "every_other": base[::2, 1::3],
        "expanded": base[0].expand(4, 8),
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "empty": torch.zeros(0, 5),
        "empty_slice": base[3:3],
        "scalar": torch.tensor(2.5),
        "scalar_of_base": base[1, 1],
        "flag": torch.tensor(True),
        "flags": torch.tensor([[True, False], [False, False]]).t(),
        "brain": torch.randn(3, 4).bfloat16().t(),
        "brain_scalar": torch.tensor(1.5).bfloat16(),
    }
    assert_same(torch, read_state_dict(save(values)), values)


def test_tied_tensors_share_one_array(torch, save):
    weight = torch.randn(3, 4)
    arrays = read_state_dict(save({"encoder": weight, "decoder": weight, "other": weight[1:]}))
    assert arrays["encoder"] is arrays["decoder"]
    np.testing.assert_array_equal(arrays["other"], weight[1:].numpy())


def test_parameters(torch, save):
    model = torch.nn.LSTMCell(3, 4)
    values = dict(model.named_parameters())
    assert_same(torch, read_state_dict(save(values)), values)
    assert_same(torch, read_state_dict(save(model.state_dict(keep_vars=True))), values)


@pytest.mark.parametrize(
    "wrappers", ["module.", "_orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_wrapper_prefixes(torch, save, wrappers):
    model = torch.nn.Sequential(torch.nn.GRU(2, 3))
    state = {wrappers + name: value for name, value in model.state_dict().items()}
    assert_same(torch, read_state_dict(save(state)), model.state_dict())
    state["other"] = torch.zeros(1)
    assert list(read_state_dict(save(state))) == list(state)


def test_data_parallel(torch, save):
    model = torch.nn.Sequential(torch.nn.LSTM(2, 3))
    wrapped = torch.nn.DataParallel(model)
    assert_same(torch, read_state_dict(save(wrapped.state_dict())), model.state_dict())


def trained(torch):
    """A model and what the state dict of its Adam optimizer looks like."""
    model = torch.nn.LSTM(2, 3)
    moments = {
        index: {"step": torch.tensor(1.0), "exp_avg": value * 0, "exp_avg_sq": value * 0}
        for index, value in enumerate(model.state_dict().values())
    }
    groups = [{"lr": 0.001, "betas": (0.9, 0.999), "params": list(moments)}]
    return model, {"state": moments, "param_groups": groups}


def test_training_checkpoint(torch, save):
    model, optimizer = trained(torch)
    path = save(
        {
            "epoch": 3,
            "state_dict": model.state_dict(),
            "optimizer": optimizer,
            "loss": torch.tensor(0.5),
            "mean": torch.zeros(2),
            "rng": torch.get_rng_state(),
            "history": [0.5, 0.25],
        }
    )
    assert_same(torch, read_state_dict(path), model.state_dict())
    moments = read_state_dict(path, key="optimizer.state.0")
    assert sorted(moments) == ["exp_avg", "exp_avg_sq", "step"]
    assert list(read_state_dict(path, key="")) == ["loss", "mean", "rng"]


def test_lightning_checkpoint_with_foreign_hyper_parameters(torch, save):
    model, optimizer = trained(torch)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    foreign = argparse.Namespace(
        path=pathlib.Path("data"), kind=collections.defaultdict(list, a=[1]), scale=np.float64(2)
    )
    path = save(
        {
            "state_dict": state,
            "hyper_parameters": {
                "args": foreign,
                "big": 2**70,
                "sets": {1, 2},
                "span": slice(1, 2),
            },
            "optimizer_states": [optimizer],
            "callbacks": {"ModelCheckpoint": {"best_k_models": {"a/b.ckpt": torch.tensor(0.5)}}},
            "loops": None,
            "pytorch-lightning_version": "2.0",
        }
    )
    assert_same(torch, read_state_dict(path), state)


def test_several_state_dicts_need_a_key(torch, save):
    state, average = torch.nn.GRU(2, 3).state_dict(), torch.nn.GRU(2, 3).state_dict()
    path = save({"model": state, "deep.er": {"ema": average}, "list": [state]})
    with pytest.raises(FormatError, match=r"2 state dicts.*key=.*'model', 'deep.er.ema'"):
        read_state_dict(path)
    assert_same(torch, read_state_dict(path, key="model"), state)
    assert_same(torch, read_state_dict(path, key="deep.er.ema"), average)
    assert_same(torch, read_state_dict(path, key="deep.er"), average)
    assert_same(torch, read_state_dict(path, key="list.0"), state)
    with pytest.raises(FormatError, match=r"nothing at key 'model.ema'; there is 'weight_ih_l0'"):
        read_state_dict(path, key="model.ema")


def test_state_dict_mixed_with_other_entries(torch, save):
    state = dict(torch.nn.LSTM(2, 3).state_dict())
    path = save({**state, "epoch": 3, "config": {"hidden": 3}})
    assert_same(torch, read_state_dict(path), state)


class Config:
    """An object beside a state dict, with classes inside of its class."""

    class Mode(enum.Enum):
        FAST = 1

    class Inner:
        def __init__(self):
            self.a = 3

    def hook(self):
        return self


class AttrDict(dict):
    """A dict with attributes, as EasyDict is."""

    def __init__(self, **items):
        super().__init__(items)
        self.__dict__ = self


def recursive():
    """A tuple, a list and an object that contain themselves."""
    values = ([], Config.Inner())
    values[0].append(values)
    values[1].me = values[1]
    return values


OBJECTS = {
    "enum": lambda: Config.Mode.FAST,
    "instance": lambda: Config.Inner(),
    "class": lambda: Config.Inner,
    "method": lambda: Config().hook,
    "numpy": lambda: [np.float64(0.1), np.arange(5), np.array([{}, 1], object), np.array(["a"])],
    "random states": lambda: [np.random.get_state(), np.random.default_rng(0), random.getstate()],
    "dates and paths": lambda: [datetime.datetime(2020, 1, 2), pathlib.Path("/a/b")],
    "sets": lambda: [{1, 2}, frozenset([1]), slice(1, 2), range(3), 1j, ...],
    "numbers": lambda: [1 << 3000, -(1 << 70), decimal.Decimal("1.5"), float("nan")],
    "bytes": lambda: [b"abc\xff", bytearray(b"ab"), "a\udc80"],
    "functions": lambda: [int, functools.partial(int, base=2), os.path.join],
    "recursive": recursive,
    "counter": lambda: collections.Counter("aab"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_beside_a_state_dict_are_inert(torch, save, kind):
    state = torch.nn.GRU(2, 3).state_dict()
    path = save({"extra": OBJECTS[kind](), "model": state})
    assert_same(torch, read_state_dict(path), state)


CONTAINERS = {
    "defaultdict": lambda state: collections.defaultdict(list, {"model": state, "loss": [1.0]}),
    "state is a defaultdict": lambda state: {"model": collections.defaultdict(int, state)},
    "dict subclass": lambda state: AttrDict(model=state, epoch=1),
    "state is a subclass": lambda state: {"net": AttrDict(**state)},
    "Namespace": lambda state: argparse.Namespace(model=state),
    "UserDict": lambda state: collections.UserDict(model=state),
    "object of the user": lambda state: {"trainer": {"checkpoint": argparse.Namespace(best=state)}},
    "tuple": lambda state: (state, {"lr": 0.1}, 3),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_of_a_state_dict(torch, save, kind):
    state = torch.nn.GRU(2, 3).state_dict()
    assert_same(torch, read_state_dict(save(CONTAINERS[kind](state))), state)


def test_key_through_objects(torch, save):
    state, average = torch.nn.GRU(2, 3).state_dict(), torch.nn.GRU(2, 3).state_dict()
    path = save({"model": state, "ema": argparse.Namespace(shadow=average)})
    assert_same(torch, read_state_dict(path), state)  # what objects are made of comes second
    assert_same(torch, read_state_dict(path, key="ema.shadow"), average)


def test_optimizer_states_by_name(torch, save):
    """As FSDP saves them: the states of the optimizer have the names of the parameters."""
    model, optimizer = trained(torch)
    names = list(model.state_dict())
    by_name = {names[index]: moments for index, moments in optimizer["state"].items()}
    for state in (
        {"optim": {"state": by_name, "param_groups": optimizer["param_groups"]}},
        {"optim": [by_name]},
        {"last_optimizer_state": {"base": by_name}},
    ):
        path = save({**state, "model": model.state_dict()})
        assert_same(torch, read_state_dict(path), model.state_dict())
    assert "exp_avg" in read_state_dict(path, key="last_optimizer_state.base.weight_ih_l0")


def test_object_without_a_state_dict_is_refused(torch, save):
    with pytest.raises(FormatError, match=r"object of class '.*Inner'.*model\.state_dict\(\)"):
        read_state_dict(save(Config.Inner()))
    with pytest.raises(FormatError, match=r"config \(.*Inner\).*state_dict\(\)"):
        read_state_dict(save({"config": Config.Inner(), "epoch": 1}))


def test_unnamed_tensors_are_refused(torch, save):
    with pytest.raises(FormatError, match="list of tensors without names"):
        read_state_dict(save([torch.zeros(3)]))
    with pytest.raises(FormatError, match="single tensor"):
        read_state_dict(save(torch.zeros(3)))
    with pytest.raises(FormatError, match="type int, not a state dict"):
        read_state_dict(save(3))


@pytest.mark.filterwarnings("ignore")
def test_unsupported_tensors_are_named(torch, save):
    cases = {
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8),
        "conjugate": torch.zeros(3, dtype=torch.complex64).conj(),
        "meta": torch.zeros(3, device="meta"),
        "float8": torch.zeros(3, dtype=torch.float8_e4m3fn),
    }
    for reason, value in cases.items():
        with pytest.raises(FormatError, match=f"'bad.*{reason}.*not supported"):
            read_state_dict(save({"bad": value, "weight": torch.zeros(3)}))


@pytest.mark.filterwarnings("ignore")
def test_quantized_module_is_refused(torch, save):
    for layer in (torch.nn.LSTM(2, 3), torch.nn.Linear(2, 3)):
        model = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer))
        state = {**model.state_dict(), "other.weight": torch.zeros(3)}
        for content in (state, model.state_dict(), {"model": state}):
            with pytest.raises(FormatError, match=r"quantized \(packed\) weights"):
                read_state_dict(save(content))


def test_newer_pickle_protocol_is_refused(torch, save):
    with pytest.raises(FormatError, match="pickle"):
        read_state_dict(save({"w": torch.zeros(3)}, pickle_protocol=4))


def test_file_without_checksums(torch, tmp_path):
    config = torch.serialization
    before = config.get_crc32_options()
    config.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(64)}, tmp_path / "m.pt")
    finally:
        config.set_crc32_options(before)
    with pytest.raises(FormatError, match="CRC"):
        read_state_dict(tmp_path / "m.pt")
    assert read_state_dict(tmp_path / "m.pt", check_crc=False)["w"].sum() == 64


def test_many_members(torch, tmp_path):
    values = {f"layer.{index}.weight": torch.full((2,), float(index)) for index in range(3000)}
    torch.save(values, tmp_path / "m.pt")
    assert_same(torch, read_state_dict(tmp_path / "m.pt"), values)


# hand-made files, which need no torch


def test_small_file(tmp_path):
    found = read_bytes(tmp_path, SMALL)
    assert found.format == "torch zip"
    assert found.recurrent == {}
    np.testing.assert_array_equal(found.arrays["weight"], FLOATS.reshape(2, 3))
    assert found.path == str(tmp_path / "model.bin")


def test_arrays_are_ours(tmp_path):
    array = read_bytes(tmp_path, SMALL).arrays["weight"]
    array += 1
    assert array.flags.writeable


def test_big_endian_file(tmp_path):
    content = torch_file(
        dict_({"weight": tensor([6])}), FLOATS.astype(">f4").tobytes(), byteorder=b"big"
    )
    np.testing.assert_array_equal(read_bytes(tmp_path, content).arrays["weight"], FLOATS)


def test_python2_ordered_dict(tmp_path):
    pair = list_(b"U\x06weight", tensor([6]))
    content = torch_file(call("collections", "OrderedDict", list_(pair)))
    np.testing.assert_array_equal(read_bytes(tmp_path, content).arrays["weight"], FLOATS)


def test_state_dict_with_metadata(tmp_path):
    body = ORDERED_DICT + b"(" + text("weight") + tensor([6]) + b"u"
    content = torch_file(body + dict_({"_metadata": ORDERED_DICT}) + b"b")
    assert list(read_bytes(tmp_path, content).arrays) == ["weight"]


def test_foreign_containers_are_inert(tmp_path):
    """Items put into an unknown dict or list class are dropped, not executed."""
    odd = call("os", "system", text("false")) + b"(" + text("a") + integer(1) + b"u"
    content = torch_file(dict_({"state_dict": dict_({"weight": tensor([6])}), "odd": odd}))
    assert list(read_bytes(tmp_path, content).arrays) == ["weight"]


def test_legacy_stream_by_hand(tmp_path):
    raw = (6).to_bytes(8, "little") + FLOATS.tobytes()
    body = dict_({"weight": tensor([6])})
    found = read_bytes(tmp_path, legacy_file(body, list_(text("0")), raw))
    assert found.format == "torch legacy"
    np.testing.assert_array_equal(found.arrays["weight"], FLOATS)


@pytest.mark.parametrize(
    ("keys", "raw", "match"),
    [
        (list_(), b"", "differs from what the object refers to"),
        (list_(text("0"), text("0")), b"", "differs"),
        (list_(text("1")), b"", "differs"),
        (list_(integer(1)), b"", "not a list of strings"),
        (text("0"), b"", "not a list of strings"),
        (list_(text("0")), b"\6", "beyond the end"),
        (list_(text("0")), (7).to_bytes(8, "little") + bytes(28), "has 7 elements"),
        (list_(text("0")), (6).to_bytes(8, "little") + bytes(23), "reaches beyond"),
        (list_(text("0")), (6).to_bytes(8, "little") + bytes(25), "1 bytes follow"),
    ],
)
def test_bad_legacy_storages(tmp_path, keys, raw, match):
    refuses(tmp_path, legacy_file(dict_({"weight": tensor([6])}), keys, raw), match)


@pytest.mark.parametrize(
    ("index", "body", "match"),
    [
        (1, b"M\xe8\x03", "protocol version is not 1001"),
        (2, b"N", "system information: not a dict"),
        (3, b"2", r"pickled object: opcode 0x32 .* \(byte "),
    ],
)
def test_bad_legacy_headers(tmp_path, index, body, match):
    parts = legacy_file(dict_({}), list_(), b"").split(b"\x80\x02")[1:]
    parts[index] = body + b"."
    refuses(tmp_path, b"".join(b"\x80\x02" + part for part in parts), match)


def test_legacy_tensors_that_disagree_about_their_storage(tmp_path):
    raw = (6).to_bytes(8, "little") + FLOATS.tobytes()
    body = dict_({"a": tensor([6]), "b": tensor([5], source=storage(5))})
    content = legacy_file(body, list_(text("0")), raw)
    refuses(tmp_path, content, "'b'.*: storage '0' has 24 bytes, the pickle says 20")
    chosen = dict_({"a": dict_({"w": tensor([6])}), "b": dict_({"w": tensor([5])})})
    content = legacy_file(chosen, list_(text("0")), raw)
    refuses(tmp_path, content, "storage '0' has 24 bytes, the pickle says 20", key="b")


def test_legacy_magic_number(tmp_path):
    content = bytearray(legacy_file(dict_({}), list_(), b""))
    content[9] ^= 1
    refuses(tmp_path, bytes(content), "magic number")


def test_legacy_view_metadata(tmp_path):
    view = tuple_(
        text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), integer(6), b"N"
    )
    raw = (6).to_bytes(8, "little") + FLOATS.tobytes()
    body = dict_({"weight": tensor([6], source=view + b"Q")})
    read_bytes(tmp_path, legacy_file(body, list_(text("0")), raw))
    old = view[:-2] + text("1") + b"tQ"
    body = dict_({"weight": tensor([6], source=old)})
    refuses(tmp_path, legacy_file(body, list_(text("0")), raw), "view of another storage")


def test_key_of_a_dict_without_names(tmp_path):
    content = torch_file(dict_({"a": b"}(K\1" + tensor([6]) + b"u"}))
    refuses(tmp_path, content, "no state dict found")
    refuses(tmp_path, content, "keys that are not strings", key="a")
    refuses(tmp_path, content, "key 'a.1' holds a single tensor", key="a.1")
    refuses(tmp_path, content, "nothing at key 'b'; there is 'a'", key="b")


def test_names_that_are_not_text(tmp_path):
    refuses(tmp_path, state_file(**{"\ud800weight": tensor([6])}), "not valid text")
    refuses(tmp_path, state_file(**{"weight" * 200: tensor([6])}), "1200 characters")


def test_key_with_the_wrong_type_of_value(tmp_path):
    content = torch_file(dict_({"a": integer(3), "weight": storage(6)}))
    refuses(tmp_path, content, "key 'a' holds a value of type int, not a state dict", key="a")
    refuses(tmp_path, content, "no state dict found")
