# SPDX-License-Identifier: MIT
"""Whole modules that torch.save(model) pickled: their weights, and what they say of themselves.

A module is an inert record: a class name, parameters, buffers, inner modules and attributes. Of
PyTorch's own recurrent layers this is all that they compute. What a class of the user computes is
its code, which is not in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...stack_spec import CELLS, LAYERS
from ..containers.budget import Budget
from ..containers.pickle_vm import Global, PickledObject
from ..description import PYTORCH_MODULES, RecurrentOptions
from ..entry_names import check_name
from ..errors import FormatError, quote
from .torch_tensors import is_tensor

_TABLES = ("_parameters", "_buffers", "_modules")
_RNN = f"{PYTORCH_MODULES}rnn."
_CELL_CLASSES = {f"{_RNN}{layer}Cell": layer for layer in LAYERS}
_OPTIONS = {
    "input_size": int, "hidden_size": int, "num_layers": int, "bias": bool, "batch_first": bool,
    "dropout": float, "bidirectional": bool, "proj_size": int, "nonlinearity": str,
}  # fmt: skip
# Their results are computed from the parts in the state dict.
_KNOWN_HOOKS = (
    "torch.nn.utils.weight_norm.WeightNorm",
    "torch.nn.utils.spectral_norm.SpectralNorm",
    "torch.nn.utils.prune.",
)
_MOST_BITS = 62  # of a number in an option
_WORK_PER_MODULE = 16
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class PickledModule:
    """One module: its dotted path, class and attributes."""

    path: str
    kind: str  # the class, with its module
    attributes: dict[object, object]

    def table(self, name: str) -> dict[str, object]:
        """The parameters, buffers or inner modules by name, without those that are None."""
        items = self.attributes[name]
        found = items.items() if isinstance(items, dict) else ()
        return {key: value for key, value in found if isinstance(key, str) and value is not None}

    def tensors(self) -> dict[str, object]:
        """What the module adds to the state dict, by full name."""
        both = self.table("_parameters") | self.table("_buffers")
        prefix = f"{self.path}." if self.path else ""
        return {prefix + name: value for name, value in both.items() if is_tensor(value)}


def is_module(value: object) -> bool:
    """Whether a value of a pickle is a module of PyTorch."""
    return (
        isinstance(value, PickledObject)
        and isinstance(value.state, dict)
        and all(isinstance(value.state.get(name), dict) for name in _TABLES)
    )


def walk_modules(root: PickledObject, budget: Budget) -> Iterator[PickledModule]:
    """Every module in a module, itself first, in the order of the state dict."""
    pending = [("", 0, root)]
    while pending:
        path, depth, node = pending.pop()
        assert isinstance(node.state, dict)
        tables = [value for value in node.state.values() if isinstance(value, dict)]
        entries = len(node.state) + sum(map(len, tables))  # modules may share their tables
        budget.step(_WORK_PER_MODULE + entries, f"module {quote(path)}")
        if depth > _DEEPEST:
            raise FormatError(f"module {quote(path)}: the modules nest too deep")
        module = PickledModule(path, _torch_class(node.name), node.state)
        yield module
        inner = [
            (check_name(f"{path}.{name}" if path else name), depth + 1, child)
            for name, child in module.table("_modules").items()
            if isinstance(child, PickledObject) and is_module(child)
        ]
        pending.extend(reversed(inner))


def _torch_class(name: str) -> str:
    """The class of torch.nn whose attributes a class of fastrnn.torch has, or the class itself."""
    short = name.rpartition(".")[2]
    is_ours = name.startswith("fastrnn.torch.") and short.removesuffix("Cell") in LAYERS
    return _RNN + short if is_ours else name


def read_module(root: PickledObject, budget: Budget) -> tuple[dict[str, object], RecurrentOptions]:
    """The tensors of a module by name, and what its recurrent layers say of themselves.

    A module that computes what only code tells is unsupported.
    """
    tensors: dict[str, object] = {}
    recurrent: RecurrentOptions = {}
    for module in walk_modules(root, budget):
        tensors |= module.tensors()
        why = unknown_code(module)
        recurrent[module.path] = {"unsupported": why} if why else recurrent_options(module)
    return tensors, {path: options for path, options in recurrent.items() if options}


def unknown_code(module: PickledModule) -> str:
    """Say which class or hook computes what only its code tells; empty if PyTorch's own do."""
    if not module.kind.startswith(PYTORCH_MODULES) or "forward" in module.attributes:
        return f"{quote(module.kind)[1:-1]} runs code, which is not in the file"
    for table in ("_forward_pre_hooks", "_forward_hooks"):
        hooks = module.attributes.get(table)
        for hook in hooks.values() if isinstance(hooks, dict) else ():
            name = hook.name if isinstance(hook, (Global, PickledObject)) else type(hook).__name__
            if not name.startswith(_KNOWN_HOOKS):
                names = f"{quote(module.kind)[1:-1]} with the hook {quote(name)[1:-1]}"
                return f"{names} runs code, which is not in the file"
    return ""


def _number(value: object, name: str) -> object:
    """The value; FormatError for numbers that Python cannot convert to floats."""
    if type(value) is int and value.bit_length() > _MOST_BITS:
        raise FormatError(f"{name} is a number of {value.bit_length()} bits")
    return value


def recurrent_options(module: PickledModule) -> dict[str, object]:
    """The options of one of PyTorch's recurrent layers; empty for other modules."""
    known = {
        name: kind(value)
        for name, kind in _OPTIONS.items()
        if type(value := _number(module.attributes.get(name), name)) in (kind, int)
    }
    if module.kind in _CELL_CLASSES:
        return known | {"cell": _CELL_CLASSES[module.kind]}
    mode = module.attributes.get("mode")
    cell = CELLS.get(mode.lower()) if isinstance(mode, str) else None
    if cell is None or module.kind != _RNN + cell.layer:
        return {}
    return known | {"cell": cell.layer, **cell.options}
