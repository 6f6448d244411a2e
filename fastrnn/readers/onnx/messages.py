# SPDX-License-Identifier: MIT
"""The messages of an ONNX file that are read: model, graph, node, attribute, declared values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..containers.budget import Budget
from ..errors import FormatError, quote
from .wire import Field, View, WireKind, decode, fields, fixed, text, varints

_MODEL = {
    1: Field("ir_version", WireKind.INT), 7: Field("graph", WireKind.MESSAGE),
    8: Field("opset_import", WireKind.MESSAGES), 25: Field("functions", WireKind.MESSAGES),
}  # fmt: skip
_OPSET = {1: Field("domain", WireKind.TEXT), 2: Field("version", WireKind.INT)}
_GRAPH = {
    1: Field("node", WireKind.MESSAGES), 5: Field("initializer", WireKind.MESSAGES),
    11: Field("input", WireKind.MESSAGES), 12: Field("output", WireKind.MESSAGES),
    15: Field("sparse_initializer", WireKind.MESSAGES),
}  # fmt: skip
_NODE = {
    1: Field("input", WireKind.TEXTS), 2: Field("output", WireKind.TEXTS),
    3: Field("name", WireKind.TEXT), 4: Field("op_type", WireKind.TEXT),
    5: Field("attribute", WireKind.MESSAGES),
    7: Field("domain", WireKind.TEXT), 9: Field("metadata", WireKind.MESSAGES),
}  # fmt: skip
_PAIR = {1: Field("key", WireKind.TEXT), 2: Field("value", WireKind.TEXT)}
_ATTRIBUTE = {
    1: Field("name", WireKind.TEXT), 2: Field("f", WireKind.FLOAT), 3: Field("i", WireKind.INT),
    4: Field("s", WireKind.BYTES), 5: Field("t", WireKind.MESSAGE), 6: Field("g", WireKind.MESSAGE),
    7: Field("floats", WireKind.FIXED32S), 8: Field("ints", WireKind.VARINTS),
    9: Field("strings", WireKind.BLOBS), 11: Field("graphs", WireKind.MESSAGES),
    20: Field("type", WireKind.INT),
}  # fmt: skip
TENSOR = {
    1: Field("dims", WireKind.VARINTS), 2: Field("data_type", WireKind.INT),
    3: Field("segment", WireKind.MESSAGE), 4: Field("float_data", WireKind.FIXED32S),
    5: Field("int32_data", WireKind.VARINTS), 6: Field("string_data", WireKind.BLOBS),
    7: Field("int64_data", WireKind.VARINTS), 8: Field("name", WireKind.TEXT),
    9: Field("raw_data", WireKind.BYTES), 10: Field("double_data", WireKind.FIXED64S),
    11: Field("uint64_data", WireKind.VARINTS), 13: Field("external_data", WireKind.MESSAGES),
    14: Field("data_location", WireKind.INT),
}  # fmt: skip
_VALUE = {1: Field("name", WireKind.TEXT), 2: Field("type", WireKind.MESSAGE)}
_TYPE = {1: Field("tensor", WireKind.MESSAGE)}
_TENSOR_TYPE = {1: Field("elem_type", WireKind.INT), 2: Field("shape", WireKind.MESSAGE)}
_SHAPE = {1: Field("dim", WireKind.MESSAGES)}
_DIMENSION = {1: Field("value", WireKind.INT), 2: Field("symbol", WireKind.TEXT)}

Record = dict[str, Any]  # a decoded tensor, its elements still raw

_OLDEST_OPSET = 7
_MOST_VALUES = 1 << 20
_NOTHING = memoryview(b"")
_SLOTS = {"f": 1, "i": 2, "s": 3, "t": 4, "floats": 6, "ints": 7, "strings": 8}  # of attributes


class OnnxNode(NamedTuple):
    """One operation of the graph."""

    name: str
    op_type: str
    domain: str
    inputs: list[str]  # "" is an optional input that is not there
    outputs: list[str]
    attributes: dict[str, Record]
    scopes: list[str]  # the modules around it, if torch's exporter tells them
    opset: int  # the operator set that its model imports
    read: set[str | int]  # names of attributes and positions of inputs that were looked at

    @property
    def what(self) -> str:
        """How errors call it."""
        name = self.name or next(filter(None, self.outputs), "")
        return f"node {quote(name)} ({quote(self.op_type)[1:-1]})"

    @property
    def unread(self) -> list[str]:
        """Attributes and inputs that the node has and nothing looked at."""
        given = (at for at, name in enumerate(self.inputs) if name)
        left = [f"input {at}" for at in given if at not in self.read]
        return [name for name in self.attributes if name not in self.read] + left

    @property
    def graphs(self) -> list[View]:
        """The graphs that the node runs, not yet decoded."""
        found = []
        for record in self.attributes.values():
            found += [record["g"]] if "g" in record else []
            found += record.get("graphs", [])
        return found

    def input(self, position: int) -> str:
        """The name of an input; "" if it is left out."""
        self.read.add(position)
        return self.inputs[position] if position < len(self.inputs) else ""

    def int_of(self, name: str, default: int = 0) -> int:
        """An attribute that holds one whole number."""
        found: int = self._attribute(name, "i", default, zero=0)
        return found

    def float_of(self, name: str, default: float = 0.0) -> float:
        """An attribute that holds one number, the shortest one of its float32."""
        return float(str(np.float32(self._attribute(name, "f", default, zero=0.0))))

    def text_of(self, name: str, default: str) -> str:
        """An attribute that holds a text."""
        value = self._attribute(name, "s", None, zero=_NOTHING)
        return default if value is None else text(value, f"{self.what}: attribute {name}")

    def ints_of(self, name: str) -> list[int] | None:
        """An attribute that holds a list of whole numbers."""
        value = self._attribute(name, "ints", None, zero=_NOTHING)
        numbers = varints(_NOTHING if value is None else value, f"{self.what}: attribute {name}")
        if numbers.size > _MOST_VALUES:
            raise FormatError(f"{self.what}: attribute {name} has {numbers.size} values")
        return None if value is None else [int(number) for number in numbers]

    def floats_of(self, name: str) -> list[float] | None:
        """An attribute that holds a list of numbers."""
        value = self._attribute(name, "floats", None, zero=_NOTHING)
        found = fixed(_NOTHING if value is None else value, "<f4", f"{self.what}: attribute {name}")
        return None if value is None else [float(number) for number in found]

    def texts_of(self, name: str) -> list[str] | None:
        """An attribute that holds a list of texts."""
        value = self._attribute(name, "strings", None, zero=())
        return None if value is None else [text(item, f"{self.what}: {name}") for item in value]

    def tensor_of(self, name: str) -> View | None:
        """An attribute that holds a tensor, not yet decoded."""
        value = self._attribute(name, "t", None, zero=None)
        return None if value is None else memoryview(value)

    def _attribute(self, name: str, slot: str, default: Any, zero: object) -> Any:
        """The value in the slot of its type; protobuf leaves out zeros and empty lists."""
        self.read.add(name)
        record = self.attributes.get(name)
        if record is None:
            return default
        kinds = (0, _SLOTS[slot])
        if record.get("type", 0) not in kinds or (slot not in record and "type" not in record):
            raise FormatError(f"{self.what}: attribute {quote(name)} is not of its type")
        return record.get(slot, zero)


class Declared(NamedTuple):
    """A graph's input or output; sizes are None where they are not fixed."""

    name: str
    elem_type: int = 0
    shape: tuple[int | str | None, ...] | None = None


class OnnxGraph(NamedTuple):
    """The main graph of a model."""

    nodes: list[OnnxNode]
    initializers: dict[str, Record]
    sparse: list[str]
    inputs: list[Declared]
    outputs: list[Declared]


def read_model(data: View, budget: Budget) -> OnnxGraph:
    """Decode a model, whose top level is checked, down to its nodes; elements stay raw."""
    found = decode(data, _MODEL, "the model", budget)
    opsets: dict[str, int] = {}
    for item in found.get("opset_import", []):
        entry = decode(item, _OPSET, "opset_import", budget)
        opsets[entry.get("domain", "")] = entry.get("version", 0)
    version = opsets.get("", opsets.get("ai.onnx", 0))
    if version < _OLDEST_OPSET:
        raise FormatError(
            f"ONNX operator set {version}, from {_OLDEST_OPSET} on are read" if opsets else
            "an ONNX file that names no operator set (opset_import)"
        )  # fmt: skip
    return read_graph(found["graph"], version, budget)


def read_graph(data: View, opset: int, budget: Budget) -> OnnxGraph:
    """Decode a graph, that of the model or one that a node runs, down to its nodes."""
    found = decode(data, _GRAPH, "the graph", budget)
    initializers: dict[str, Record] = {}
    for item in found.get("initializer", []):
        record = decode(item, TENSOR, "an initializer", budget)
        name = record.get("name", "")
        if not name or name in initializers:
            raise FormatError(f"two initializers are named {quote(name)}" if name else
                              "an initializer has no name")  # fmt: skip
        initializers[name] = record
    return OnnxGraph(
        [_node(item, opset, budget) for item in found.get("node", [])],
        initializers,
        [_sparse_name(item, budget) for item in found.get("sparse_initializer", [])],
        [_declared(item, "a graph input", budget) for item in found.get("input", [])],
        [_declared(item, "a graph output", budget) for item in found.get("output", [])],
    )


def _sparse_name(data: View, budget: Budget) -> str:
    values = decode(data, {1: Field("values", WireKind.MESSAGE)}, "a sparse initializer", budget)
    record = decode(values.get("values", b""), TENSOR, "a sparse initializer", budget)
    return str(record.get("name", ""))


def _node(data: View, opset: int, budget: Budget) -> OnnxNode:
    found = decode(data, _NODE, "a node", budget)
    op_type = found.get("op_type", "")
    what = f"node {quote(found.get('name', ''))} ({quote(op_type)[1:-1]})"
    attributes: dict[str, Record] = {}
    for item in found.get("attribute", []):
        record = decode(item, _ATTRIBUTE, f"{what}: an attribute", budget)
        name = record.get("name", "")
        if not name or name in attributes:
            raise FormatError(f"{what}: attribute {quote(name)} has no name or occurs twice")
        attributes[name] = record
    return OnnxNode(
        found.get("name", ""),
        op_type,
        found.get("domain", ""),
        found.get("input", []),
        found.get("output", []),
        attributes,
        _scopes(found.get("metadata", []), what, budget),
        opset,
        set(),
    )


def _scopes(pairs: list[View], what: str, budget: Budget) -> list[str]:
    """The module path of each scope, as torch's exporter writes it: "['', 'rnn', 'lstm']"."""
    for item in pairs:
        pair = decode(item, _PAIR, f"{what}: metadata", budget)
        if pair.get("key") == "pkg.torch.onnx.name_scopes":
            listed = str(pair.get("value", ""))[:1000].strip("[]").split(",")
            return [scope.strip(" '\"") for scope in listed]
    return []


def _declared(data: View, what: str, budget: Budget) -> Declared:
    found = decode(data, _VALUE, what, budget)
    name = found.get("name", "")
    what = f"{what} {quote(name)}"
    kind = decode(found.get("type", b""), _TYPE, what, budget)
    if "tensor" not in kind:
        return Declared(name)
    tensor = decode(kind["tensor"], _TENSOR_TYPE, what, budget)
    shape: list[int | str | None] | None = None
    if "shape" in tensor:
        dims = decode(tensor["shape"], _SHAPE, what, budget).get("dim", [])
        shape = []
        for item in dims:
            dim = decode(item, _DIMENSION, what, budget)
            size = dim.get("value", 0)
            shape.append(size if size > 0 else dim.get("symbol") or None)
    return Declared(name, tensor.get("elem_type", 0), None if shape is None else tuple(shape))


# --- Recognition ---

# Field number of the top level -> wire type, as onnx.proto has them.
_TOP_LEVEL = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}


def check_top_level(data: memoryview) -> None:
    """Protobuf has no mark of its own: require exactly the fields of an ONNX model."""
    seen = set()
    for number, wire_type, _ in fields(data, "the top level of the ONNX file"):
        if _TOP_LEVEL.get(number) != wire_type:
            raise FormatError(f"a protobuf file that is not an ONNX model (field {number})")
        seen.add(number)
    if not {1, 7, 8} <= seen:
        raise FormatError("a protobuf file that is not an ONNX model, or one that was cut off")
