# SPDX-License-Identifier: MIT
"""Files made to cost their readers much for their size; `size` scales each of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

from reader_files import (
    FLOATS,
    STATE,
    Entry,
    dict_,
    global_,
    integer,
    legacy_file,
    list_,
    npy,
    pickle,
    safetensors_file,
    state_file,
    storage,
    tensor,
    text,
    zip_file,
)

MODULE = global_("__torch__", "Net") + b")\x81"
INTEGER_HASH = (1 << 61) - 1  # Python's hash of an int is its remainder by this prime


def deflated(body: bytes) -> bytes:
    """A torch.save file whose pickle takes few bytes on disk."""
    return zip_file([Entry("m/data.pkl", pickle(body), 8), Entry("m/data/0", FLOATS.tobytes())])


def script(code: str, state: bytes = STATE, inputs: bytes | None = None) -> bytes:
    """A TorchScript archive whose code takes few bytes on disk."""
    entries = [
        Entry("m/data.pkl", pickle(MODULE + state + b"b")),
        Entry("m/data/0", FLOATS.tobytes()),
        Entry("m/code/__torch__.py", code.encode(), 8),
        Entry("m/constants.pkl", pickle(b")")),
    ]
    if inputs is not None:
        entries.append(Entry("m/traced_inputs.pkl", pickle(inputs)))
    return zip_file(entries)


def forward(*lines: str) -> str:
    return "class Net(Module):\n  def forward(self, x: Tensor) -> Tensor:\n" + "".join(
        f"    {line}\n" for line in (*lines, "return x")
    )


def calls_twice(depth: int) -> str:
    """Methods each of which calls the one before it twice."""
    methods = ["  def f0(self, x: Tensor) -> Tensor:\n    return x\n"]
    for at in range(1, depth):
        call = f"(self).f{at - 1}(x, )"
        methods.append(f"  def f{at}(self, x: Tensor) -> Tensor:\n    y = {call}\n    x = {call}\n")
    last = f"  def forward(self, x: Tensor) -> Tensor:\n    return (self).f{depth - 1}(x, )\n"
    return "class Net(Module):\n" + "".join(methods) + last


# ONNX


def varint(number: int) -> bytes:
    out = bytearray()
    while number >> 7:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def node(kind: str, inputs: list[str], outputs: list[str]) -> bytes:
    parts = [field(1, name.encode()) for name in inputs]
    parts += [field(2, name.encode()) for name in outputs]
    return field(1, b"".join(parts) + field(4, kind.encode()))


def onnx(body: bytes, result: str = "y") -> bytes:
    """A model with the input x [None, None, 2] and one result."""
    dims = field(1, b"") + field(1, b"") + field(1, b"\x08\x02")
    given = field(1, b"x") + field(2, field(1, b"\x08\x01" + field(2, dims)))
    graph = body + field(11, given) + field(12, field(1, result.encode()))
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph)


def chain(kind: str, size: int) -> bytes:
    nodes = [node(kind, [f"v{at}" if at else "x"], [f"v{at + 1}"]) for at in range(size)]
    return onnx(b"".join(nodes), f"v{size}")


# HDF5

NOWHERE = (1 << 64) - 1


class Hdf5Writer:
    """Groups of old-style HDF5 files, with any addresses."""

    def __init__(self) -> None:
        self.out = bytearray(96)

    def put(self, body: bytes) -> int:
        self.out += bytes(-len(self.out) % 8)
        at = len(self.out)
        self.out += body
        return at

    def group(self, entries: list[tuple[bytes, int]]) -> int:
        """A group with these names and addresses of objects; its own address."""
        names, places = bytearray(8), []
        for name, _ in entries:
            places.append(len(names))
            names += name + b"\0"
        heap = self.put(struct.pack("<4sB3x3Q", b"HEAP", 0, len(names), NOWHERE, self.put(names)))
        symbols = b"".join(
            struct.pack("<2QL20x", place, at, 0)
            for place, (_, at) in zip(places, entries, strict=True)
        )
        table = self.put(struct.pack("<4sBxH", b"SNOD", 1, len(entries)) + symbols)
        tree = self.put(struct.pack("<4sBBH2Q3Q", b"TREE", 0, 0, 1, NOWHERE, NOWHERE, 0, table, 0))
        message = struct.pack("<HHB3x2Q", 17, 16, 0, tree, heap)
        return self.put(struct.pack("<BxHLL4x", 1, 1, 1, len(message)) + message)

    def file(self, root: int) -> bytes:
        self.put(b"")
        head = (
            b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHL", 4, 16, 0)
        )
        head += struct.pack("<6Q", 0, NOWHERE, len(self.out), NOWHERE, 0, root) + bytes(24)
        return head + bytes(self.out[96:])


def hdf5_groups(size: int, depth: int = 1) -> bytes:
    """A group of many groups, below others with long names."""
    writer = Hdf5Writer()
    at = writer.group([(b"%x" % k, writer.group([])) for k in range(size)])
    for _ in range(depth):
        at = writer.group([(b"n" * 100, at)])
    return writer.file(at)


def hdf5_loop(size: int) -> bytes:
    """A B-tree whose nodes all lead to its root."""
    writer = Hdf5Writer()
    at = writer.group([])
    tree = writer.put(struct.pack("<4sBBH2Q", b"TREE", 0, 0, size, NOWHERE, NOWHERE))
    writer.put(struct.pack("<2Q", 0, tree) * size + bytes(8))
    struct.pack_into("<Q", writer.out, at + 24, tree)
    return writer.file(at)


def hdf5_with(messages: list[tuple[int, bytes]]) -> bytes:
    """A group of nothing with these messages in its header."""
    writer = Hdf5Writer()
    tree = writer.put(struct.pack("<4sBBH2QQ", b"TREE", 0, 0, 0, NOWHERE, NOWHERE, 0))
    heap = writer.put(struct.pack("<4sB3x3Q", b"HEAP", 0, 8, NOWHERE, tree))
    messages = [(17, struct.pack("<2Q", tree, heap)), *messages]
    body = b"".join(struct.pack("<HHB3x", kind, len(part), 0) + part for kind, part in messages)
    return writer.file(writer.put(struct.pack("<BxHLL4x", 1, len(messages), 1, len(body)) + body))


def hdf5_parts(size: int) -> bytes:
    """A list of names in many parts, as Keras 2 divides long ones."""

    def part(number: int) -> tuple[int, bytes]:
        name = b"layer_names%d" % number
        kind = struct.pack("<BBBBL", 0x13, 0, 0, 0, 8)  # a text of 8 bytes
        value = kind + struct.pack("<BBB5x", 1, 0, 0) + b"a" * 8
        return 12, struct.pack("<BB3H", 1, 0, 24, 8, 8) + name.ljust(24, b"\0") + value

    return hdf5_with([part(number) for number in range(size)])


def hdf5_continued(size: int) -> bytes:
    """A header of many messages that lead to further ones."""
    return hdf5_with([(16, struct.pack("<2Q", 96, 0))] * size)


# the files


def keras_config(size: int) -> bytes:
    layers = [{"class_name": "ReLU", "config": {"name": f"r{k}"}} for k in range(size)]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    members = {
        "metadata.json": json.dumps({"keras_version": "3.0.0"}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": hdf5_groups(1),
    }
    return zip_file([Entry(name, body, 8) for name, body in members.items()])


def safetensors(size: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return safetensors_file({f"t{k}": empty for k in range(size)}, b"")


def storages(size: int) -> bytes:
    """A legacy file of many storages of no elements."""
    names = [str(k) for k in range(size)]
    tensors = {name: tensor([0], source=storage(0, name)) for name in names}
    return legacy_file(dict_(tensors), list_(*map(text, names)), bytes(8 * size))


def doubled_modules(depth: int) -> bytes:
    """Modules each of which holds the one before it twice; 20 of them have a million paths."""
    body = b"N0"
    for at in range(min(depth, 60)):
        inner = dict_({"a": b"h\0", "b": b"h\0"} if at else {})
        tables = {"_parameters": b"}", "_buffers": b"}", "_modules": inner}
        name = global_("torch.nn.modules.container", "Sequential")
        body += name + b")\x81" + dict_(tables) + b"bq\0" + b"0"
    return deflated(body + b"h\0")


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "pickle: nothing": lambda n: deflated(b"(" + b"N" * n + b"t"),
    "pickle: strings": lambda n: deflated(b"(" + b"U\1\xff" * n + b"t"),
    "pickle: dicts": lambda n: deflated(b"(" + b"}NNN" * n + b"t"),
    "pickle: memo": lambda n: deflated(
        b"N" + b"".join(b"r" + struct.pack("<L", k) for k in range(n))
    ),
    "pickle: keys of one hash": lambda n: deflated(
        b"}(" + b"".join(integer(k * INTEGER_HASH) + b"N" for k in range(1, n)) + b"u"
    ),
    "pickle: keys of one slot": lambda n: deflated(
        b"}(" + b"".join(integer(k << 40) + b"N" for k in range(1, n)) + b"u"
    ),
    "pickle: views of one storage": lambda n: state_file(
        **{f"w{k}": tensor([1], offset=k % 6, source=storage(6)) for k in range(n)}
    ),
    "pickle: dicts in a list": lambda n: deflated(list_(*[dict_({"a": b"N"})] * n)),
    "pickle: modules": doubled_modules,
    "legacy: storages": storages,
    "zip: members": lambda n: zip_file([Entry(f"a{k}.npy", npy(FLOATS[:0])) for k in range(n)]),
    "zip: members of no model": lambda n: zip_file([Entry(f"a{k}", b"") for k in range(n)]),
    "safetensors: tensors": safetensors,
    "safetensors: lists": lambda n: safetensors_file(b'{"a":[' + b"[]," * n + b"[]]}", b""),
    "json: numbers": lambda n: b'{"model_data":[' + b"1," * n + b"1]}",
    "json: paths": lambda n: json.dumps({"p" * n: {f"{k}": [1] for k in range(n)}}).encode(),
    "json: brackets in a string": lambda n: b'{"model_data":"' + b"[" * n + b'\\""}',
    "hdf5: groups": hdf5_groups,
    "hdf5: nested groups": lambda n: hdf5_groups(n, 8),
    "hdf5: a loop": hdf5_loop,
    "hdf5: parts of an attribute": hdf5_parts,
    "hdf5: continued headers": hdf5_continued,
    "keras: layers": keras_config,
    "onnx: fields": lambda n: onnx(field(13, b"") * n + node("Relu", ["x"], ["y"])),
    "onnx: initializers": lambda n: onnx(
        b"".join(field(5, field(8, b"w%d" % k) + b"\x10\1") for k in range(n))
    ),
    "onnx: chain of Relu": lambda n: chain("Relu", n),
    "onnx: chain of Identity": lambda n: chain("Identity", n),
    "onnx: inputs of one node": lambda n: onnx(node("Concat", ["x"] * n, ["y"])),
    "onnx: unknown nodes": lambda n: chain("Mystery", n),
    "onnx: recurrent nodes": lambda n: onnx(node("LSTM", ["x", "w", "r"], ["y"]) * n),
    "onnx: weights of recurrent nodes": lambda n: onnx(
        b"".join(node("Identity", [f"w{k}"], [f"w{k + 1}"]) for k in range(n))
        + node("LSTM", ["x", f"w{n}", "r"], ["y"]) * n
    ),
    "script: lines": lambda n: script(forward(*["x = torch.relu(x)"] * n)),
    "script: doubled lists": lambda n: script(
        forward("y = [x]", *["y = [y, y]"] * n, "x = torch.cat(y, 0)")
    ),
    "script: nested lists": lambda n: script(forward(*["x = [x]"] * n, "x = torch.cat(x)")),
    "script: doubled tuples": lambda n: script(forward(*["x = (x, x)"] * n)),
    "script: calls": lambda n: script(calls_twice(n)),
    "script: attributes": lambda n: script(forward("x = y" + ".a" * n)),
    "script: brackets": lambda n: script(forward("x = " + "(" * n + ")" * n)),
    "script: blanks": lambda n: script(
        f"class Net(Module):\n  def forward(self, x:{' ' * n}=) -> Tensor:\n    return x\n"
    ),
    "script: arrows": lambda n: script(
        f"class Net(Module):\n  def forward({') -> ' * n}:x\n    return x\n"
    ),
    "script: a string without an end": lambda n: script(forward('x = "' + '\\"' * n)),
    "script: escapes": lambda n: script(forward('x = "' + "\\\\" * n + '"')),
    "script: strings": lambda n: script(forward("x = [" + '"", ' * n + "]")),
    "script: obstacles": lambda n: script(forward(*[f"self.a{k} = x" for k in range(n)])),
    "script: conditions": lambda n: script(
        forward("if torch.eq(x, 1):", *["  pass"] * n)
    ),
    "script: recurrent calls": lambda n: script(
        forward(*["y, h = torch.gru(x, hx, [CONSTANTS.c0], True, 1, 0., t, False, False)"] * n)
    ),
    "script: inputs that hold themselves": lambda n: script(
        forward(), inputs=b"]q\0(" + b"h\0" * n + b"e"
    ),
    "script: numbers": lambda n: script(forward("x = torch.add(x, " + "9" * n + ")", "y = e5")),
}  # fmt: skip
