# SPDX-License-Identifier: MIT
"""The graph of a TorchScript module: its code text followed line by line on names, not on values.

Calls of the module's own methods and functions are followed into them. Conditions on literals and
on the number of axes are decided; of any other, only the branch that does not raise can be taken.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...stack_spec import CELLS
from ..containers.budget import Budget
from ..containers.elements import Array, Unreadable
from ..containers.pickle_vm import PickledObject
from ..description import Obstacle
from ..entry_names import check_name
from ..errors import FormatError, WrongRank, quote
from ..graph.graph import (
    MOST_PARTS,
    SCHEMAS,
    UNKNOWN,
    Graph,
    Input,
    Node,
    Ref,
    plain_name,
    writes_in_place,
)
from ..torch.torch_tensors import is_tensor
from .script_code import plain_class
from .script_text import (
    Attribute,
    Call,
    Expression,
    Function,
    Item,
    Literal,
    Name,
    Sequence,
    Statement,
)
from .script_words import flat_weights_path

_STATEMENTS = {
    "for": "a loop",
    "while": "a loop",
    "self. =": "it keeps a state in an attribute",
}
_DEEPEST = 40
_LONGEST_TEXT = 1000  # of those that are compared
_CODE = "the code"  # what errors call it
_RESULTS = {
    "lstm": 3, "gru": 2, "rnn_tanh": 2, "rnn_relu": 2, "adaptive_max_pool1d": 2,
    "native_layer_norm": 3, "dropout": 1,
}  # fmt: skip
_SPLITS = ("chunk", "split", "split_with_sizes")
_PASS_ON = ("annotate", "unchecked_cast", "int", "float", "bool")
_COMPARE: dict[str, Callable[[object, object], object]] = {
    "eq": operator.eq, "ne": operator.ne, "__is__": operator.is_, "__isnot__": operator.is_not,
}  # fmt: skip
_NUMERIC: dict[str, Callable[[float, float], object]] = {
    "lt": operator.lt, "gt": operator.gt, "le": operator.le, "ge": operator.ge,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
}  # fmt: skip
_DEVICE = object()  # any device: which one computes makes no difference
_TYPES = {  # of elements, by their numbers in the code
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 11: "bool", 15: "bfloat16",
}  # fmt: skip
_LIST_CHANGES = (
    *("append", "extend", "insert", "pop", "clear", "remove", "reverse", "sort"),
    *("_set_item", "Delete", "update", "setdefault", "popitem"),
)
_NOT_KNOWN = ("size", "format", "list", "warn", "len", "numel", "is_cuda", "tensor")

Value = object  # Ref, Module, _Function, UNKNOWN, number, str, None, list or tuple of values


class _Parts(tuple[Ref, ...]):
    """The results of a split. How many there are is known only when its axis is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the archive."""

    path: str
    class_name: str
    attributes: dict[object, object]


@dataclass(frozen=True, slots=True)
class _Unbound:
    """The places of an axis, each of which is taken by itself."""

    of: Value
    dim: Value
    owner: Module


@dataclass(frozen=True, slots=True)
class _Dotted:
    """A word that is no value yet, as torch.nn or __torch__.mk.f."""

    name: str


@dataclass(slots=True)
class _Returned:
    value: Value


class ScriptReader:
    """Follows the code from the forward method of a module."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        constants: tuple[object, ...],
        load: Callable[[str, object, bool], Array | Unreadable],
        names: Mapping[int, str],
        budget: Budget,
    ) -> None:
        self.functions = (
            functions  # "__torch__.mk.Net.forward", "__torch__.torch.nn.functional.relu"
        )
        self.constants = constants
        self.load = load  # (name, tensor of a pickle, is a constant) -> array
        self.names = names  # of the state dict's arrays, by identity
        self.budget = budget
        self.graph = Graph({}, {}, [], [])
        self.noted: set[Obstacle] = set()
        self.ranks: dict[str, int | None] = {}
        self.bodies: dict[str, list[Statement]] = {}

    def read(self, root: Module, ranks: list[int]) -> Graph:
        """The graph of a module whose inputs have so many axes; for further ones the last holds."""
        method = next((m for m in ("forward", "forward__0") if self.method(root, m)), None)
        if method is None:
            raise FormatError(f"the code has no forward method of {quote(root.class_name)}")
        function = self.functions[f"{root.class_name}.{method}"]
        args: list[Value] = []
        for parameter in function.parameters[1:]:
            if parameter.default is not None:
                args.append(self.evaluate(parameter.default, {}, root, 0))
            else:
                args.append(self.input(parameter.name, parameter.type, ranks))
        result = self.run(f"{root.class_name}.{method}", [root, *args], {}, root, 0)
        self.graph.outputs = self.flattened(result)
        return self.graph

    def input(self, name: str, kind: str, ranks: list[int]) -> Value:
        count = kind.count("Tensor")
        if kind not in ("Tensor", f"Tuple[{', '.join(['Tensor'] * count)}]"):
            self.obstacle(name, kind, "an input of this type")
            return UNKNOWN
        refs: list[Value] = []
        for at in range(count):
            ref = Ref(f"{name}.{at}" if kind != "Tensor" else name)
            index = min(len(self.graph.inputs), len(ranks) - 1)
            self.ranks[ref.name] = ranks[index]
            self.graph.inputs[ref.name] = Input((None,) * ranks[index], are_examples=True)
            refs.append(ref)
        return refs[0] if kind == "Tensor" else tuple(refs)

    def obstacle(self, name: str, kind: str, why: str) -> None:
        found = Obstacle(name, kind, why)
        if found not in self.noted:
            self.noted.add(found)
            self.graph.obstacles.append(found)

    def method(self, module: Module, name: str) -> bool:
        return f"{module.class_name}.{name}" in self.functions

    # statements

    def run(
        self, name: str, args: list[Value], named: dict[str, Value], owner: Module, depth: int
    ) -> Value:
        """Follow a function to its return."""
        if depth > _DEEPEST:
            raise FormatError(f"the code's calls nest more than {_DEEPEST} deep")
        function = self.functions[name]
        variables: dict[str, Value] = {}
        for at, parameter in enumerate(function.parameters):
            if at < len(args):
                variables[parameter.name] = args[at]
            elif parameter.name in named:
                variables[parameter.name] = named[parameter.name]
            elif parameter.default is not None:
                variables[parameter.name] = self.evaluate(parameter.default, {}, owner, depth)
            else:
                raise FormatError(f"{quote(name)} is called without its {quote(parameter.name)}")
        if name not in self.bodies:
            self.bodies[name] = function.statements(self.budget)
        returned = self.block(self.bodies[name], variables, owner, depth)
        return returned.value if returned else None

    def block(
        self, statements: list[Statement], variables: dict[str, Value], owner: Module, depth: int
    ) -> _Returned | None:
        for statement in statements:
            self.budget.step(1, _CODE)
            if statement.kind == "if":
                chosen = self.branch(statement, variables, owner, depth)
                returned = self.block(chosen, variables, owner, depth)
                if returned:
                    return returned
            elif statement.value is None:
                if statement.kind != "pass":
                    why = _STATEMENTS.get(statement.kind, "a statement that is no call")
                    self.obstacle(owner.path or "the model", statement.kind, why)
            else:
                value = self.evaluate(statement.value, variables, owner, depth)
                if statement.kind == "return":
                    return _Returned(value)
                self.assign(statement, value, variables)
        return None

    def branch(
        self, statement: Statement, variables: dict[str, Value], owner: Module, depth: int
    ) -> list[Statement]:
        """The block of an `if` to follow."""
        assert statement.value is not None
        condition = self.evaluate(statement.value, variables, owner, depth)
        if isinstance(condition, bool):
            return statement.then if condition else statement.otherwise
        self.budget.step(len(statement.then) + len(statement.otherwise), _CODE)
        if _raises(statement.then):
            return statement.otherwise
        if not _raises(statement.otherwise):
            self.obstacle(owner.path or "the model", "if", "it depends on values, not on the code")
        return statement.then

    def assign(self, statement: Statement, value: Value, variables: dict[str, Value]) -> None:
        if not statement.unpacks:
            if statement.targets:
                self.name_constants(statement.targets[0], value)
                variables[statement.targets[0]] = value
            return
        items = list(value) if isinstance(value, (tuple, list)) else []
        if isinstance(value, _Unbound):  # the last place is that of any size
            last = len(statement.targets) - 1
            items = [self.place(value, at if at < last else -1) for at in range(last + 1)]
        if isinstance(value, _Parts):
            items = items[: len(statement.targets)]
        if not items:  # of a call with one result, or of one that is not known
            items = [value, *[UNKNOWN] * (len(statement.targets) - 1)]
        if len(items) != len(statement.targets):
            raise WrongRank(f"the code unpacks {len(items)} values as {len(statement.targets)}")
        variables.update(zip(statement.targets, items, strict=True))

    def name_constants(self, variable: str, value: Value) -> None:
        """The weights of a frozen layer: the variable of their list tells the layer's path."""
        path = flat_weights_path(variable)
        if path and isinstance(value, list):
            self.budget.step(len(value), _CODE)
            for at, item in enumerate(value):
                if isinstance(item, Ref) and item.name in self.graph.weights:
                    name, array = self.graph.weights[item.name]
                    if name.startswith("CONSTANTS."):
                        self.graph.weights[item.name] = (f"{path}.flat{at}", array)

    # expressions

    def evaluate(
        self, tree: Expression, variables: Mapping[str, Value], owner: Module, depth: int
    ) -> Value:
        """The value of an expression."""
        self.budget.step(1, _CODE)
        if isinstance(tree, Literal):
            return tree.value
        if isinstance(tree, Sequence):
            items = [self.evaluate(item, variables, owner, depth) for item in tree.items]
            return tuple(items) if tree.is_tuple else items
        if isinstance(tree, Name):
            return _CONSTANTS.get(tree.word, variables.get(tree.word, _Dotted(tree.word)))
        if isinstance(tree, Attribute):
            return self.attribute(self.evaluate(tree.of, variables, owner, depth), tree.name)
        if isinstance(tree, Item):
            of, at = (self.evaluate(part, variables, owner, depth) for part in (tree.of, tree.at))
            if isinstance(of, _Unbound):
                return self.place(of, at)
            inside = isinstance(of, (tuple, list)) and type(at) is int and -len(of) <= at < len(of)
            return of[at] if inside else UNKNOWN  # type: ignore[index]
        return self.call(tree, variables, owner, depth)

    def attribute(self, of: Value, name: str) -> Value:
        if isinstance(of, _Dotted):
            if of.name == "CONSTANTS":
                return self.constant(name)
            return _Dotted(check_name(f"{of.name}.{name}"))
        if isinstance(of, Module):
            if name not in of.attributes:
                return _Dotted(f"{of.class_name}.{name}")
            if name == "training":
                return False  # a state of the module, not of the model: as after eval()
            path = check_name(f"{of.path}.{name}" if of.path else name)
            return self.attribute_value(of.attributes[name], path)
        return UNKNOWN

    def attribute_value(self, value: object, path: str) -> Value:
        """An attribute of a module: a tensor, a sub-module, a list of tensors or a literal."""
        while isinstance(value, PickledObject) and value.name.startswith("torch.jit._pickle."):
            value = value.args[0] if value.args else None
        if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if is_tensor(value):
            return self.weight(path, value, is_constant=False)
        if isinstance(value, list):
            self.budget.step(len(value), _CODE)
            return [
                self.weight(path, item, is_constant=False) if is_tensor(item) else UNKNOWN
                for item in value
            ]
        if isinstance(value, PickledObject):
            return Module(path, value.name, state_of(value))
        plain = value is None or isinstance(value, (bool, int, float, str))
        return value if plain else UNKNOWN

    def constant(self, name: str) -> Value:
        number = name[1:]
        index = int(number) if number.isdigit() and len(number) < 10 else len(self.constants)
        if index >= len(self.constants):
            raise FormatError(f"CONSTANTS.{name} is not in constants.pkl")
        value = self.constants[index]
        if is_tensor(value):
            return self.weight(f"CONSTANTS.{name}", value, is_constant=True)
        return value if isinstance(value, (bool, int, float, str)) else UNKNOWN

    def weight(self, name: str, tensor: object, is_constant: bool) -> Value:
        loaded = self.load(name, tensor, is_constant)
        if isinstance(loaded, Unreadable):
            self.obstacle(name, "tensor", loaded.why)
            return UNKNOWN
        full = self.names.get(id(loaded), name)
        ref = Ref(f"%{full}")
        if ref.name not in self.graph.weights:
            self.graph.weights[ref.name] = (full, loaded)
            self.ranks[ref.name] = loaded.ndim
        return ref

    # calls

    def call(self, tree: Call, variables: Mapping[str, Value], owner: Module, depth: int) -> Value:
        args = [self.evaluate(arg, variables, owner, depth) for arg in tree.args]
        named = {name: self.evaluate(arg, variables, owner, depth) for name, arg in tree.named}
        if isinstance(tree.of, Attribute):
            of = self.evaluate(tree.of.of, variables, owner, depth)
            if isinstance(of, Module):
                name = f"{of.class_name}.{tree.of.name}"
                if name not in self.functions:
                    self.obstacle(of.path or "the model", of.class_name, "its code is not there")
                    return self.unknown_call(tree.of.name, args, owner)
                return self.run(name, [of, *args], named, of, depth + 1)
        function = self.evaluate(tree.of, variables, owner, depth)
        if not isinstance(function, _Dotted):
            return self.unknown_call("call", args, owner)
        if function.name in self.functions:
            return self.run(function.name, args, named, owner, depth + 1)
        if function.name == "getattr" and len(args) == 2 and isinstance(args[0], Module):
            return self.attribute(args[0], str(args[1]))
        return self.builtin(function.name, args, named, owner)

    def builtin(
        self, name: str, args: list[Value], named: dict[str, Value], owner: Module
    ) -> Value:
        if name in _PASS_ON or name == "ops.prim.NumToTensor":
            return args[-1] if args else UNKNOWN
        if name == "ops.prim.RaiseException":
            why = "the code refuses such an input"
            self.graph.obstacles.append(Obstacle(owner.path or "the model", "raise", why, True))
        space, _, base = name.rpartition(".")
        if space not in ("torch", "ops.aten"):
            if space == "ops.prim" or name == "uninitialized":
                return _DEVICE if base == "device" else UNKNOWN
            return self.unknown_call(name, args, owner)
        if base in _LIST_CHANGES and args and not isinstance(args[0], Ref):
            self.obstacle(owner.path or "the model", base, "it changes a list")
        if base == "size" and args and isinstance(args[0], Ref):
            return self.sizes(args, owner)
        folded = self.fold(base, args)
        return folded if folded is not None else self.operator(base, args, named, owner)

    def sizes(self, args: list[Value], owner: Module) -> Value:
        """The size of one axis, or of all of them if it is known how many there are."""
        rank = self.rank(args[0])
        if len(args) == 1 and rank is not None:
            return [self.operator("size", [args[0], at], {}, owner) for at in range(rank)]
        return self.operator("size", args, {}, owner) if len(args) == 2 else UNKNOWN

    def fold(self, base: str, args: list[Value]) -> Value:
        """What literals and numbers of axes tell; None if it is an operator on tensors."""
        if base == "dim" and len(args) == 1:
            rank = self.rank(args[0])
            return UNKNOWN if rank is None else rank
        if base == "device":
            return _DEVICE
        if base in _NOT_KNOWN:
            return UNKNOWN
        if base == "__not__":
            return not args[0] if args and isinstance(args[0], bool) else UNKNOWN
        if base == "__contains__" and len(args) == 2:
            if not isinstance(args[0], list) or not _is_plain(args[1]):
                return UNKNOWN
            self.budget.step(len(args[0]), _CODE)
            return args[1] in args[0]
        if len(args) != 2:
            return UNKNOWN if base in ("neg",) and not isinstance(args[0], Ref) else None
        a, b = args
        if base in ("__is__", "__isnot__"):
            if (a is None) != (b is None):
                return base == "__isnot__" if UNKNOWN not in (a, b) else UNKNOWN
            return _COMPARE[base](a, b) if a is None else UNKNOWN
        if base in _COMPARE and not isinstance(a, Ref):
            return _COMPARE[base](a, b) if _is_plain(a) and _is_plain(b) else UNKNOWN
        if base in _NUMERIC and not any(isinstance(x, Ref) for x in args):
            if all(isinstance(x, (int, float)) and abs(x) < 1e12 for x in args):
                return _NUMERIC[base](a, b)  # type: ignore[arg-type]
            return UNKNOWN
        return None

    def operator(
        self, base: str, args: list[Value], named: dict[str, Value], owner: Module
    ) -> Value:
        """A node of the graph."""
        op = plain_name(base)
        if op in CELLS and len(args) > 3 and isinstance(args[3], list):
            op = f"{op}.data"
        names = SCHEMAS.get(op, ())
        table = {names[i] if i < len(names) else str(i): v for i, v in enumerate(args)}
        table.update(named)
        if op == "to" and args:
            table = {"self": args[0], "dtype": _cast_type([*args[1:], named.get("dtype")])}
        elif "dtype" in table:
            table["dtype"] = _cast_type([table["dtype"]])
        if op == "unbind":
            return _Unbound(table.get("self"), table.get("dim", 0), owner)
        in_place = writes_in_place(base, named)
        given = {name: self.argument(value) for name, value in table.items()}
        return self.node(op, given, owner, in_place)

    def place(self, unbound: _Unbound, at: Value) -> Value:
        return self.operator("select", [unbound.of, unbound.dim, at], {}, unbound.owner)

    def unknown_call(self, name: str, args: list[Value], owner: Module) -> Value:
        return self.node(name, {str(i): self.argument(v) for i, v in enumerate(args)}, owner)

    def node(
        self, op: str, args: dict[str, object], owner: Module, in_place: bool = False
    ) -> Value:
        label = f"{op}_{len(self.graph.nodes)}"
        count = _RESULTS.get(op, 2 if op == "max" and "dim" in args else 1)
        count = MOST_PARTS if op in _SPLITS else count
        results = tuple(Ref(f"{label}.{i}") for i in range(count))
        module = plain_class(owner.class_name)
        names = tuple(ref.name for ref in results)
        self.graph.nodes.append(
            Node(op, args, names, owner.path or op, owner.path, module, in_place=in_place)
        )
        rank = self.result_rank(op, args)
        self.ranks.update(dict.fromkeys(names, rank))
        if op in _SPLITS:
            return _Parts(results)
        return results if count > 1 else results[0]

    def argument(self, value: Value, depth: int = 0) -> object:
        """A value as an argument of a node; what cannot be one is not known."""
        self.budget.step(1, _CODE)
        if isinstance(value, (list, tuple)):
            if depth > _DEEPEST:
                raise FormatError(f"the code has lists nested more than {_DEEPEST} deep")
            return [self.argument(item, depth + 1) for item in value]
        if isinstance(value, _Unbound):
            args = {"self": self.argument(value.of), "dim": value.dim, "as_list": True}
            return self.node("unbind", args, value.owner)
        plain = value is None or isinstance(value, (Ref, bool, int, float, str))
        return value if plain else UNKNOWN

    def flattened(self, value: Value) -> list[object]:
        """The tensors of a result, which may be tuples of tuples."""
        pending = [value]
        found: list[object] = []
        while pending:
            self.budget.step(1, _CODE)
            item = pending.pop()
            if isinstance(item, (tuple, list)):
                self.budget.step(len(item), _CODE)
                pending += reversed(item)
            elif isinstance(item, Ref) or item is UNKNOWN:
                found.append(item)
        return found

    def rank(self, value: Value) -> int | None:
        return self.ranks.get(value.name) if isinstance(value, Ref) else None

    def result_rank(self, op: str, args: dict[str, object]) -> int | None:
        """How many axes a result has, if that is clear."""
        if op == "embedding":
            rank = self.rank(args.get("indices"))
            return None if rank is None else rank + 1
        shape = args.get("size", args.get("shape"))
        if isinstance(shape, list):
            return len(shape)
        first = next((args[name] for name in ("input", "self", "mat1") if name in args), None)
        rank = self.rank(first)
        if rank is None or op in ("flatten", "expand", "unflatten", "matmul"):
            return None
        if op == "size":
            return 0
        dims = args.get("dim")
        if op in ("mean", "sum", "amax", "max") and args.get("keepdim") is not True:
            return rank - (len(dims) if isinstance(dims, list) else 1) if dims is not None else 0
        if op == "squeeze" and dims is None:
            return None
        return rank + {"select": -1, "squeeze": -1, "unsqueeze": 1}.get(op, 0)


def _cast_type(args: list[Value]) -> Value:
    """What `to` casts to: its forms have the number of a type, or a tensor, at any place."""
    others = [arg for arg in args if not (arg is None or arg is _DEVICE or isinstance(arg, bool))]
    if not others:
        return None
    return _TYPES.get(others[0], UNKNOWN) if isinstance(others[0], int) else UNKNOWN


_CONSTANTS: dict[str, Value] = {"True": True, "False": False, "None": None}


def state_of(value: PickledObject) -> dict[object, object]:
    """The attributes of an object of the pickle."""
    return value.state if isinstance(value.state, dict) else {}


def _is_plain(value: Value) -> bool:
    """Whether a value is a number or a short text, which are cheap to compare."""
    return isinstance(value, (int, float)) or (
        isinstance(value, str) and len(value) <= _LONGEST_TEXT
    )


def _raises(block: list[Statement]) -> bool:
    """Whether a block ends the run: it has a line that raises."""
    return any(
        isinstance(line.value, Call)
        and isinstance(line.value.of, Attribute)
        and line.value.of.name == "RaiseException"
        for line in block
    )
