# SPDX-License-Identifier: MIT
"""TorchScript archives: scripted, traced and frozen modules, without running their code.

The state dict is a walk over the attributes of the pickled module. What the weights do not tell
(batch_first, dropout, nonlinearity) is taken from the code text.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...stack_spec import CELLS, LAYERS
from ..containers.budget import Budget
from ..containers.elements import Entry, Unreadable
from ..containers.pickle_vm import PickledObject
from ..containers.source import Source
from ..containers.zip_archive import ZipArchive
from ..description import PYTORCH_MODULES, of_other_class
from ..entry_names import check_name
from ..errors import FormatError, quote
from ..graph.graph import flat_names
from ..torch.torch_tensors import is_tensor
from ..torch.torch_zip import TorchArchive
from .script_code import Constants, RecurrentCall, ScriptClass, plain_class, read_classes
from .script_words import flat_weights_path

Recurrent = dict[str, Constants]

_LARGEST_CODE = 16 << 20
_LINE_BYTES = 64  # of a line as a Python object, beside its characters
_MOST_MODULES = 100_000
_DEEPEST = 64
_CLASS_PREFIX = "__torch__."
_CUSTOM_PREFIX = "__torch__.torch.classes."
_OPTIONS = {
    "input_size": int, "hidden_size": int, "num_layers": int, "proj_size": int, "bias": bool,
    "batch_first": bool, "bidirectional": bool, "dropout": float, "nonlinearity": str, "cell": str,
    "coupled": bool, "reset_after": bool,
}  # fmt: skip
_CELL_CLASSES = {f"{PYTORCH_MODULES}rnn.{layer}Cell": layer for layer in LAYERS}


def read_torchscript(
    archive: ZipArchive, source: Source
) -> tuple[dict[str, Entry], dict[str, Constants]]:
    """The state dict and, by module path, what the code says of recurrent layers."""
    members = TorchArchive(archive, source)
    root = check_root(members.pickle("data.pkl").value)
    modules = list(walk_modules(root, source.budget))
    loader = members.loader("data")
    arrays: dict[str, Entry] = {}
    for path, class_name, attributes in modules:
        if _is_packed(class_name):
            arrays[path] = Unreadable(
                f"module {quote(path)} has packed or quantized weights "
                f"({quote(class_name)}): not supported"
            )
        for name, value in attributes.items():
            if is_tensor(value):
                full = _full_name(path, name)
                if full in arrays:
                    raise FormatError(f"tensor {quote(full)} occurs twice")
                arrays[full] = loader.entry(full, value)
    classes = _all_classes(members, source.budget)
    recurrent, frozen = _describe(modules, classes, source.budget)
    if frozen:
        _add_frozen(members, frozen, arrays, recurrent, source.budget)
    return arrays, recurrent


def _full_name(path: str, name: str) -> str:
    """The dotted name of a tensor. Where an attribute's name is dotted, libtorch writes bars."""
    return check_name(".".join(filter(None, (path, name.replace("|", ".")))))


def check_root(root: object) -> PickledObject:
    """The object of an archive, which must be a module."""
    if not isinstance(root, PickledObject) or not root.name.startswith(_CLASS_PREFIX):
        raise FormatError("data.pkl does not hold a TorchScript module")
    return root


def walk_modules(
    root: PickledObject, budget: Budget
) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Every module with its dotted path, class name and attributes; parents first."""
    pending: list[tuple[str, int, PickledObject]] = [("", 0, root)]
    visited = 0
    while pending:
        path, depth, node = pending.pop()
        visited += 1
        if depth > _DEEPEST or visited > _MOST_MODULES:
            raise FormatError(f"module {quote(path)}: the modules nest too deep or are too many")
        attributes = {} if _is_packed(node.name) else _attributes(node, path)
        budget.step(1 + len(attributes), f"module {quote(path)}")
        yield path, node.name, attributes
        children = [
            (check_name(f"{path}.{name}" if path else name), depth + 1, value)
            for name, value in attributes.items()
            if isinstance(value, PickledObject) and value.name.startswith(_CLASS_PREFIX)
        ]
        pending.extend(reversed(children))


def _is_packed(class_name: str) -> bool:
    """Whether a class keeps its weights in a form known only to the library that made it."""
    return class_name.startswith(_CUSTOM_PREFIX) or "PackedParams" in class_name


def _attributes(node: PickledObject, path: str) -> dict[str, object]:
    state = node.state
    if state is None:
        return {}
    if not isinstance(state, dict):
        raise FormatError(f"module {quote(path)} ({quote(node.name)}) has a state of its own kind")
    if not all(isinstance(name, str) for name in state):
        raise FormatError(f"module {quote(path)} has attributes whose names are not strings")
    return state


def read_code(members: TorchArchive, budget: Budget) -> Iterator[tuple[str, list[str]]]:
    """Qualified module name and lines of every code file."""
    for name in members.names:
        if not (name.startswith("code/") and name.endswith(".py")):
            continue
        raw = members.read(name, _LARGEST_CODE)
        count = raw.count(b"\n")
        budget.step(count, quote(name))
        budget.spend(_LINE_BYTES * count + len(raw) * (2 if raw.isascii() else 8), quote(name))
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"{quote(name)} is not UTF-8 text") from None
        yield name[len("code/") : -len(".py")].replace("/", "."), text.split("\n")


def _all_classes(members: TorchArchive, budget: Budget) -> dict[str, ScriptClass]:
    """All classes of the archive by qualified name."""
    return {
        f"{module}.{short}": content
        for module, lines in read_code(members, budget)
        for short, content in read_classes(lines, budget).items()
    }


def _describe(
    modules: list[tuple[str, str, dict[str, object]]],
    classes: dict[str, ScriptClass],
    budget: Budget,
) -> tuple[Recurrent, list[RecurrentCall]]:
    """Recurrent layers by path, and the calls whose weights are constants.

    Modules of other classes with tensors are unsupported, unless a recurrent call takes these.
    """
    recurrent: Recurrent = {}
    others: Recurrent = {}
    frozen: dict[tuple[int, ...], RecurrentCall] = {}
    for path, class_name, attributes in modules:
        code = classes.get(class_name)
        if code is None:
            continue
        budget.step(sum(1 + len(call.constants) for call in code.calls), f"module {quote(path)}")
        kind = plain_class(class_name)
        if code.has_functions and any(map(is_tensor, attributes.values())):
            others |= of_other_class(path, kind)
        known = _from_constants(kind, code.constants)
        if known and (code.calls or kind.startswith(PYTORCH_MODULES)):
            recurrent[path] = known
            continue
        if nonlinearity := _traced_nonlinearity(kind, code):
            recurrent[path] = {"nonlinearity": nonlinearity}
        for call in code.calls:
            if call.constants:
                frozen.setdefault(tuple(call.constants), call)
            elif (owner := _owner(path, call)) is not None:
                merged = recurrent.setdefault(owner, {})
                merged.update({k: v for k, v in _typed(call.options).items() if k not in merged})
    return others | recurrent, list(frozen.values())


def _from_constants(kind: str, constants: Constants) -> Constants:
    """Hyper-parameters of a scripted layer or cell; empty if the class is none."""
    if "hidden_size" not in constants or "input_size" not in constants:
        return {}
    known = _typed(constants)
    if kind in _CELL_CLASSES:
        return known | {"cell": _CELL_CLASSES[kind]}
    cell = CELLS.get(str(constants.get("mode", "")).lower())
    return known | {"cell": cell.layer, **cell.options} if cell else {}


def _traced_nonlinearity(kind: str, code: ScriptClass) -> str | None:
    """The nonlinearity of a traced RNNCell, whose code is two products and one function."""
    if _CELL_CLASSES.get(kind) != "RNN" or len(code.activations) != 1:
        return None
    (nonlinearity,) = code.activations
    return nonlinearity


def _typed(options: Constants) -> Constants:
    """The known options that have a value of the right type."""
    return {name: v for name, v in options.items() if type(v) is _OPTIONS.get(name)}


def _owner(path: str, call: RecurrentCall) -> str | None:
    """The path of the module whose attributes the weights of a call are."""
    first, _, rest = (call.owner or "").partition(".")
    return ".".join(part for part in (path, rest) if part) if first == "self" else None


def _add_frozen(
    members: TorchArchive,
    calls: list[RecurrentCall],
    arrays: dict[str, Entry],
    found: Recurrent,
    budget: Budget,
) -> None:
    """Name the constants of a frozen module by their place in the recurrent calls."""
    constants = members.pickle("constants.pkl").value
    if not isinstance(constants, tuple):
        raise FormatError("constants.pkl does not hold a tuple")
    loader = members.loader("constants")
    used: set[int] = set()
    for call in calls:
        path = _frozen_path(call, found, budget)
        for name, index in zip(_flat_names(call, path), call.constants, strict=True):
            full = check_name(f"{path}.{name}")
            if index >= len(constants) or not is_tensor(constants[index]):
                raise FormatError(f"{quote(full)}: CONSTANTS.c{index} is not in constants.pkl")
            arrays[full] = loader.entry(full, constants[index])
        used.update(call.constants)
        found[path] = _typed(call.options)
        if not flat_weights_path(call.variable):
            found[path]["path_is_lost"] = True
    for index, value in enumerate(constants):
        if is_tensor(value) and index not in used:
            arrays[f"CONSTANTS.c{index}"] = loader.entry(f"CONSTANTS.c{index}", value)


def _frozen_path(call: RecurrentCall, taken: Recurrent, budget: Budget) -> str:
    """A module path for a frozen layer: self_rnn__flat_weights tells it, else the cell's name."""
    base = str(call.options["cell"]).lower()
    base = flat_weights_path(call.variable) or base
    path, count = base, 1
    while path in taken:
        budget.step(1, f"frozen layer {quote(path)}")
        path, count = f"{base}_{count}", count + 1
    return path


def _flat_names(call: RecurrentCall, path: str) -> list[str]:
    """PyTorch's names of the weights of a call, in the order in which the call lists them."""
    count, options = len(call.constants), call.options
    layers, bias, bidirectional = map(options.get, ("num_layers", "bias", "bidirectional"))
    if call.is_cell:
        layers, bias, bidirectional = 1, count > 2, False
    if type(layers) is not int or not isinstance(bias, bool) or not isinstance(bidirectional, bool):
        raise FormatError(f"frozen layer {quote(path)}: the options of its call are not literals")
    names = flat_names(count, layers, bias, bidirectional)
    if not names:
        raise FormatError(
            f"frozen layer {quote(path)}: {count} weights do not fit {layers} layers, bias={bias}, "
            f"bidirectional={bidirectional}"
        )
    return [name.removesuffix("_l0") for name in names] if call.is_cell else names
