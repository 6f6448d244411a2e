# SPDX-License-Identifier: MIT
"""Finding the state dict inside a checkpoint, by itself or by a dotted key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..containers.budget import Budget
from ..containers.elements import Unreadable
from ..containers.pickle_vm import PickledObject
from ..description import RecurrentOptions
from ..entry_names import LONGEST_NAME, check_name
from ..errors import FormatError, listing, quote
from .pickled_modules import is_module, read_module
from .torch_tensors import is_tensor, is_weight

_MOST_CONTAINERS = 20_000
_DEEPEST = 16
_OPTIMIZERS = ("optim", "optims")
_SCRIPT_OBJECT = "torch.ScriptObject"


def find_state_dict(
    root: object, key: str | None, budget: Budget
) -> tuple[dict[str, object], RecurrentOptions]:
    """Return the tensors of the only state dict in `root`, or of that at the dotted path `key`.

    A pickled module is a state dict, too, which also says something of its recurrent layers.
    Raises FormatError if there is none, or several to choose from.
    """
    found = find_content(root, key)
    return read_module(found, budget) if isinstance(found, PickledObject) else (_tensors(found), {})


def find_content(root: object, key: str | None) -> dict[Any, object] | PickledObject:
    """Return the only state dict or pickled module in `root`, or that at the dotted path `key`."""
    if key is not None:
        root = _follow(root, key)
    items = _items(root)
    if items is not None and _is_chosen(items, key):
        return items
    # What objects other than dicts are made of counts only if nothing else has a state dict.
    found = _state_dicts(root, inside=False) or _state_dicts(root, inside=True)
    if len(found) != 1:
        raise FormatError(_explain_choice(root, key, list(found)))
    return next(iter(found.values()))


def _state_dicts(root: object, inside: bool) -> dict[str, dict[Any, object] | PickledObject]:
    """The state dicts in a value by path, else the modules, without those of an optimizer."""
    values = dict(_walk(root, inside))
    found: dict[str, dict[Any, object] | PickledObject]
    found = {path: v for path, v in values.items() if isinstance(v, dict) and _is_state_dict(v)}
    if not found:
        found = {path: v for path, v in values.items() if isinstance(v, PickledObject)}
    of_model = {path: value for path, value in found.items() if not _is_of_optimizer(path)}
    return of_model or found


def _is_of_optimizer(path: str) -> bool:
    """Whether a path names an optimizer."""
    lower = path.lower()
    return "optimizer" in lower or any(part in _OPTIMIZERS for part in lower.split("."))


def _items(value: object) -> dict[object, object] | None:
    """The items of a dict, or of an object of a class that is like one."""
    if isinstance(value, PickledObject):
        return None if is_tensor(value) else value.items
    return value if isinstance(value, dict) else None


def _is_chosen(items: dict[object, object], key: str | None) -> bool:
    """Whether the dict itself is the state dict: only tensors, or named by the user's key."""
    if key is not None:
        return any(map(is_tensor, items.values()))
    return all(isinstance(name, str) for name in items) and all(map(is_tensor, items.values()))


def _is_state_dict(items: dict[object, object]) -> bool:
    """Whether a dict looks like a state dict: tensors, at least one of them a weight.

    A dict that also holds other values counts only if the last part of a weight's name contains
    "weight". Some checkpoints mix both: "rnn.weight_ih_l0" beside "epoch" makes a state dict, a
    lone tensor "loss" does not.
    """
    names = [name for name in items if isinstance(name, str)]
    if len(names) < len(items):
        return False
    weights = [name for name in names if is_weight(items[name])]
    pure = all(is_tensor(items[name]) or name.endswith("_extra_state") for name in names)
    return bool(weights) and (pure or any("weight" in name.split(".")[-1] for name in weights))


def _tensors(state: dict[Any, object]) -> dict[str, object]:
    if not all(isinstance(name, str) for name in state):
        raise FormatError("the chosen dict has keys that are not strings")
    packed = _packed(state)
    return {
        check_name(name): packed.get(name, value)
        for name, value in state.items()
        if is_tensor(value) or name in packed
    }


def _packed(state: dict[Any, object]) -> dict[str, Unreadable]:
    """Return an Unreadable for each entry whose format only its own library knows."""
    return {
        name: Unreadable(f"{quote(name)}: quantized (packed) weights are not supported")
        for name, value in state.items()
        if isinstance(name, str)
        and ("_packed_params" in name or getattr(value, "name", None) == _SCRIPT_OBJECT)
    }


def _walk(root: object, inside: bool) -> Iterator[tuple[str, dict[Any, object] | PickledObject]]:
    """Yield all dicts and modules that string keys and list positions lead to, breadth first.

    Integer keys are not followed: they number the parameters of optimizer states. With `inside`,
    the attributes of objects are followed, too.
    """
    queue: deque[tuple[str, int, object]] = deque([("", 0, root)])
    seen = {id(root)}  # counts a dict that occurs twice once, and ends cycles
    while queue:
        path, depth, value = queue.popleft()
        items = _items(value)
        if items is not None:
            yield path, items
        elif isinstance(value, PickledObject) and is_module(value):
            yield path, value
            continue
        if depth == _DEEPEST or len(path) > LONGEST_NAME or _is_optimizer_state(value):
            continue
        state = value.state if isinstance(value, PickledObject) and inside else None
        opens = id(state) not in seen  # objects may share one state
        seen.add(id(state))
        for name, item in _children(value, inside and opens):
            if id(item) in seen or len(name) > LONGEST_NAME or len(seen) >= _MOST_CONTAINERS:
                continue
            if isinstance(item, (dict, list, tuple, PickledObject)) and not is_tensor(item):
                seen.add(id(item))
                queue.append((f"{path}.{name}" if path else name, depth + 1, item))


def _is_optimizer_state(value: object) -> bool:
    """Whether a value is the state dict of an optimizer, with numbers or names of parameters."""
    return isinstance(value, dict) and {"state", "param_groups"} <= value.keys()


def _children(value: object, inside: bool) -> Iterator[tuple[str, object]]:
    if isinstance(value, (list, tuple)):
        yield from ((str(index), item) for index, item in enumerate(value))
    sources = [_items(value)]
    if inside and isinstance(value, PickledObject) and isinstance(value.state, dict):
        sources.append(value.state)
    for items in filter(None, sources):
        yield from ((name, item) for name, item in items.items() if isinstance(name, str))


def _follow(root: object, key: str) -> object:
    """Return the value at a dotted path. The keys on the way may themselves contain dots."""
    value, rest = root, key
    while rest:
        steps = {n: item for n, item in _steps(value) if n and f"{rest}.".startswith(f"{n}.")}
        if not steps:
            names = [name for name, _ in _steps(value)]
            raise FormatError(
                f"nothing at key {quote(key)}; there is {listing(names) or 'nothing'}"
            )
        step = max(steps, key=len)
        value, rest = steps[step], rest[len(step) + 1 :]
    return value


def _steps(value: object) -> Iterator[tuple[str, object]]:
    """Like _children, but also with integer keys."""
    yield from _children(value, inside=True)
    for name, item in (_items(value) or {}).items():
        if isinstance(name, int):
            yield str(name), item


def _explain(root: PickledObject, key: str | None) -> str:
    place = "the file" if not key else f"key {quote(key)}"
    if is_tensor(root):
        return f"{place} holds a single tensor, not a state dict"
    return (
        f"{place} holds a whole pickled object of class {quote(root.name)}, which cannot be read "
        "without running its code; export the weights with torch.save(model.state_dict(), path)"
    )


def _explain_choice(root: object, key: str | None, paths: list[str]) -> str:
    if paths:
        return f"{len(paths)} state dicts in the file, choose one with key=: {listing(paths)}"
    if isinstance(root, PickledObject):
        return _explain(root, key)
    if isinstance(root, dict):
        for packed in _packed(root).values():
            raise FormatError(packed.why)
        objects = [
            f"{name} ({value.name})"
            for name, value in root.items()
            if isinstance(value, PickledObject) and not is_tensor(value)
        ]
        hint = ""
        if objects:
            hint = (
                f"; it holds whole pickled objects: {listing(objects, 4)}; "
                "export the weights with torch.save(model.state_dict(), path)"
            )
        return f"no state dict found{hint}"
    kind = f"a value of type {type(root).__name__}"
    if isinstance(root, (list, tuple)) and any(map(is_tensor, root)):
        kind = "a list of tensors without names"
    place = "the file" if not key else f"key {quote(key)}"
    return f"{place} holds {kind}, not a state dict; save model.state_dict()"
