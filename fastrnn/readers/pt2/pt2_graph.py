# SPDX-License-Identifier: MIT
"""The graph of an exported program: its JSON checked and turned into nodes with named arguments."""

from __future__ import annotations

from collections.abc import Iterator

from ...stack_spec import CELLS
from ..containers.elements import Array, Entry, Unreadable
from ..description import Obstacle
from ..errors import FormatError, quote
from ..graph.graph import (
    MOST_NODES,
    SCHEMAS,
    UNKNOWN,
    Argument,
    Graph,
    Input,
    Node,
    Ref,
    Sizes,
    plain_name,
    writes_in_place,
)
from .pt2_archive import Json, Program, json_object

Weights = dict[str, tuple[str, Array | None]]

_ATEN = "torch.ops.aten."
_LONGEST_LIST = 100_000
_LITERALS = ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools")
_TYPES = {  # of elements, by their numbers in the schema
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 12: "bool", 13: "bfloat16",
}  # fmt: skip
_SYMBOLS = ("as_sym_int", "as_sym_float", "as_sym_bool")
_SYMBOL_LISTS = ("as_sym_ints", "as_sym_floats", "as_sym_bools")


def read_graph(program: Program) -> Graph:
    """The graph of one model."""
    module = json_object(program.json.get("graph_module"), "graph_module")
    content = json_object(module.get("graph"), "graph")
    signature = json_object(module.get("signature"), "signature")
    obstacles: list[Obstacle] = []
    names, weights = _inputs(signature, program, obstacles)
    nodes = [node for item in _nodes(content) if (node := _node(item)) is not None]
    outputs = list(_outputs(signature, obstacles))
    sizes = _all_sizes(content)
    inputs = {name: Input(sizes.get(name, ()), are_examples=True) for name in names}
    return Graph(inputs, weights, nodes, outputs, sizes, obstacles)


def _entries(value: object, what: str) -> Iterator[tuple[str, Json]]:
    """Kind and content of each item of a list of objects with one key."""
    if not isinstance(value, list):
        raise FormatError(f"{what} is not a list")
    for item in value:
        content = json_object(item, f"an item of {what}")
        kinds = [(kind, inner) for kind, inner in content.items() if inner is not None]
        if len(kinds) != 1:
            raise FormatError(f"an item of {what} has {len(kinds)} kinds, expected one")
        yield kinds[0][0], json_object(kinds[0][1], f"an item of {what}")


def _text(content: Json, key: str, what: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise FormatError(f"{what}: {key} is not a string")
    return value


def _inputs(
    signature: Json, program: Program, obstacles: list[Obstacle]
) -> tuple[list[str], dict[str, tuple[str, Array | None]]]:
    """The names of the user's inputs; parameters and constants by their names in the graph."""
    inputs: list[str] = []
    weights: Weights = {}
    for kind, spec in _entries(signature.get("input_specs"), "input_specs"):
        what = f"input {quote(kind)}"
        if kind == "user_input":
            argument = _argument(spec.get("arg"), what)
            if isinstance(argument, Ref):
                inputs.append(argument.name)
        elif kind in ("parameter", "buffer", "tensor_constant"):
            name = _text(json_object(spec.get("arg"), what), "name", what)
            full = _text(spec, f"{kind}_name", what)
            found = _constant(program, full)
            if isinstance(found, Unreadable):
                obstacles.append(Obstacle(full, kind, found.why))
                weights[name] = (full, None)
            else:
                weights[name] = (full, found)
        elif kind not in ("constant_input", "token"):
            obstacles.append(Obstacle("input", kind, "this kind of input is not supported"))
    return inputs, weights


def _constant(program: Program, name: str) -> Entry:
    for table in (program.weights, program.constants):
        if name in table:
            return table[name]
    return Unreadable("it is missing from the archive")


def _outputs(signature: Json, obstacles: list[Obstacle]) -> Iterator[Argument]:
    for kind, spec in _entries(signature.get("output_specs"), "output_specs"):
        if kind == "user_output":
            argument = _argument(spec.get("arg"), "output")
            if isinstance(argument, (Ref, list)) or argument is UNKNOWN:
                yield argument
        elif kind != "token":
            obstacles.append(Obstacle("output", kind, "the model changes or returns other things"))


def _nodes(content: Json) -> list[object]:
    nodes = content.get("nodes")
    if not isinstance(nodes, list) or len(nodes) > MOST_NODES:
        raise FormatError(f"the graph's nodes are not a list of at most {MOST_NODES}")
    return nodes


def _node(item: object) -> Node | None:
    """One node; None if all it makes are sizes."""
    content = json_object(item, "a node of the graph")
    target = _text(content, "target", "a node of the graph")
    what = f"node {quote(target)}"
    outputs = list(_results(content.get("outputs"), what))
    if not outputs:
        return None
    op = target
    if target.startswith(_ATEN):
        base, _, overload = target[len(_ATEN) :].partition(".")
        op = plain_name(base)
        if op in CELLS and overload != "input":
            op = f"{op}.{overload}"
    label = content.get("name")
    owner, module = _owner(content.get("metadata"))
    args = _arguments(content.get("inputs"), op, what)
    name = label if isinstance(label, str) and label else outputs[0]
    in_place = writes_in_place(target.split(".")[3], args) if target.startswith(_ATEN) else False
    return Node(op, args, tuple(outputs), name, owner, module, in_place=in_place)


def _results(value: object, what: str) -> Iterator[str]:
    """The names of the tensors that a node makes."""
    if not isinstance(value, list) or len(value) > _LONGEST_LIST:
        raise FormatError(f"{what}: its outputs are not a list")
    for item in value:
        argument = _argument(item, what)
        for single in argument if isinstance(argument, list) else [argument]:
            if isinstance(single, Ref):
                yield single.name


def _arguments(value: object, op: str, what: str) -> dict[str, Argument]:
    if not isinstance(value, list) or len(value) > _LONGEST_LIST:
        raise FormatError(f"{what}: its inputs are not a list")
    args: dict[str, Argument] = {}
    for at, item in enumerate(value):
        content = json_object(item, f"{what}: an input")
        name = content.get("name")
        if not isinstance(name, str) or not name:
            names = SCHEMAS.get(op, ())
            name = names[at] if at < len(names) else str(at)
        args[name] = _argument(content.get("arg"), what)
    return args


def _argument(value: object, what: str) -> Argument:
    """An argument, of which the schema has a tag for each kind."""
    content = json_object(value, f"{what}: an argument")
    tags = [(tag, inner) for tag, inner in content.items() if inner is not None]
    if len(tags) != 1:
        raise FormatError(f"{what}: an argument has {len(tags)} kinds, expected one")
    tag, inner = tags[0]
    if tag == "as_none":
        return None
    if tag == "as_tensor":
        return _ref(inner, what)
    if tag == "as_optional_tensor":
        return _element(inner, what)
    if tag in ("as_tensors", "as_optional_tensors"):
        return [_element(item, what) for item in _list(inner, what)]
    if tag in _LITERALS:
        return _literal(inner, what)
    if tag == "as_scalar_type":
        return _TYPES.get(inner, UNKNOWN) if isinstance(inner, int) else UNKNOWN
    if tag in _SYMBOLS:
        return _symbol(inner, what)
    if tag in _SYMBOL_LISTS:
        return [_symbol(item, what) for item in _list(inner, what)]
    return UNKNOWN


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list) or len(value) > _LONGEST_LIST:
        raise FormatError(f"{what}: an argument is not a list")
    return value


def _ref(value: object, what: str) -> Ref:
    return Ref(_text(json_object(value, f"{what}: a tensor"), "name", what))


def _element(value: object, what: str) -> Argument:
    """A tensor of a list: {"name"}, or {"as_tensor": {"name"}} or {"as_none"} if optional."""
    content = json_object(value, f"{what}: a tensor")
    if "name" in content:
        return _ref(content, what)
    return _ref(content["as_tensor"], what) if content.get("as_tensor") is not None else None


def _literal(value: object, what: str) -> Argument:
    if isinstance(value, list):
        items = _list(value, what)
        if all(isinstance(item, (int, float, bool)) for item in items):
            return list(items)
    elif isinstance(value, (int, float, bool, str)):
        return value
    raise FormatError(f"{what}: an argument is not of the kind it says")


def _symbol(value: object, what: str) -> Argument:
    content = json_object(value, f"{what}: a size")
    number = content.get("as_int", content.get("as_float", content.get("as_bool")))
    return number if isinstance(number, (int, float, bool)) else UNKNOWN


def _owner(metadata: object) -> tuple[str, str]:
    """Path and class of the innermost module, from "key,path,class;key,path,class"."""
    stack = metadata.get("nn_module_stack") if isinstance(metadata, dict) else None
    if not isinstance(stack, str):
        return "", ""
    parts = stack.rsplit(";", 1)[-1].split(",")
    return (parts[1][:1024], parts[2]) if len(parts) == 3 else ("", "")


def _all_sizes(content: Json) -> dict[str, Sizes]:
    """The sizes of all tensors; for dynamic ones the example's, if the file tells them."""
    values = json_object(content.get("tensor_values"), "tensor_values")
    found: dict[str, Sizes] = {}
    for name, item in values.items():
        sizes = json_object(item, f"tensor {quote(name)}").get("sizes")
        if not isinstance(sizes, list) or len(sizes) > 64:
            raise FormatError(f"tensor {quote(name)}: its sizes are not a list")
        found[name] = tuple(_size(size) for size in sizes)
    return found


def _size(value: object) -> int | None:
    content = value if isinstance(value, dict) else {}
    expression = content.get("as_expr")
    if isinstance(expression, dict) and isinstance(expression.get("hint"), dict):
        content = expression["hint"]
    size = content.get("as_int")
    return size if type(size) is int and 0 <= size < 1 << 62 else None
