# SPDX-License-Identifier: MIT
"""Whole models of TorchScript archives: scripted, traced and frozen modules."""

from __future__ import annotations

from ..containers.budget import Budget
from ..containers.elements import Array, Unreadable
from ..containers.pickle_vm import PickledObject
from ..containers.source import Source
from ..containers.zip_archive import ZipArchive
from ..description import Description
from ..errors import FormatError, OnlyWeights, WrongRank
from ..graph.graph_describe import describe_graph
from ..torch.torch_tensors import TensorLoader, is_tensor
from ..torch.torch_zip import TorchArchive
from .script_archive import check_root, read_code, walk_modules
from .script_graph import Module, ScriptReader, state_of
from .script_text import Function, read_functions

FORMAT = "torchscript"

_ADVICE = (
    "read_state_dict(path) returns all weights by name, fastrnn.load(path, prefix=...) one "
    "recurrent layer"
)
_LIKELY_RANKS = (3, 2, 1)


def describe_script(archive: ZipArchive, source: Source) -> Description:
    """The layers of the model in an open archive; its code is read, not run.

    Raises UnsupportedModel, a FormatError, which lists every call that is no layer; FormatError
    if the file is damaged or of another kind.
    """
    return _Archive(TorchArchive(archive, source), source.budget).describe()


class _Archive:
    def __init__(self, members: TorchArchive, budget: Budget) -> None:
        self.members = members
        self.budget = budget
        self.root = check_root(members.pickle("data.pkl").value)
        constants = members.pickle("constants.pkl").value
        if not isinstance(constants, tuple):
            raise FormatError("constants.pkl does not hold a tuple")
        self.constants = constants
        self.loaders = {False: members.loader("data"), True: members.loader("constants")}
        self.loaded: dict[int, Array | Unreadable] = {}
        self.kept: list[object] = []
        self.names: dict[int, str] = {}
        for path, _, attributes in walk_modules(self.root, budget):
            for name, value in attributes.items():
                if is_tensor(value):
                    full = f"{path}.{name}" if path else name
                    self.names.setdefault(id(self.load(full, value, False)), full)
        self.functions: dict[str, Function] = {}
        for module, lines in read_code(members, budget):
            for name, function in read_functions(lines, budget).items():
                self.functions[f"{module}.{name}"] = function

    def load(self, name: str, tensor: object, is_constant: bool) -> Array | Unreadable:
        """The array of a tensor; the same one for the same tensor."""
        if id(tensor) not in self.loaded:
            loader: TensorLoader = self.loaders[is_constant]
            self.loaded[id(tensor)] = loader.entry(name, tensor)
            self.kept.append(tensor)  # so that no other gets its id
        return self.loaded[id(tensor)]

    def describe(self) -> Description:
        """The layers for an input with the number of axes that the file tells or allows.

        Traced archives tell it. Of a scripted model it is the first likely one that torch itself
        would not refuse, whether fastrnn has the layers for it or not. OnlyWeights if there is no
        code: C++ programs save modules so.
        """
        if not self.functions:
            raise OnlyWeights(FORMAT)
        traced = self.traced_ranks()
        attempts = [traced] if traced else [[rank] for rank in _LIKELY_RANKS]
        failures: list[WrongRank] = []
        for ranks in attempts:
            reader = ScriptReader(
                self.functions, self.constants, self.load, self.names, self.budget
            )
            root = Module("", self.root.name, state_of(self.root))
            try:
                graph = reader.read(root, ranks)
                return describe_graph(graph, FORMAT, _ADVICE, self.budget)
            except WrongRank as error:
                failures.append(error)
        raise min(failures, key=lambda error: str(error).count("\n"))

    def traced_ranks(self) -> list[int]:
        """The numbers of axes of the example inputs of forward, in their order."""
        if "traced_inputs.pkl" not in self.members.names:
            return []
        found: list[int] = []
        pending = [self.members.pickle("traced_inputs.pkl").value]
        while pending and len(found) < 100:
            value = pending.pop()
            inside: list[object] = []
            if is_tensor(value) and isinstance(value, PickledObject):
                shape = value.args[2] if len(value.args) > 2 else ()
                found.append(len(shape) if isinstance(shape, tuple) else 0)
            elif isinstance(value, dict):
                inside = list(value.values())
            elif isinstance(value, (list, tuple)):
                inside = list(value)
            elif isinstance(value, PickledObject):
                inside = [*value.args, value.state]
            self.budget.step(1 + len(inside), "traced_inputs.pkl")  # values may hold themselves
            pending += reversed(inside)
        return found
