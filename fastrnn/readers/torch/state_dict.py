# SPDX-License-Identifier: MIT
"""Finding the state dict inside a checkpoint, by itself or by a dotted key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..containers.elements import Unreadable
from ..containers.pickle_vm import PickledObject
from ..entry_names import LONGEST_NAME, check_name
from ..errors import FormatError, listing, quote
from .torch_tensors import is_tensor, is_weight

_MOST_CONTAINERS = 20_000
_DEEPEST = 16
_SCRIPT_OBJECT = "torch.ScriptObject"


def find_state_dict(root: object, key: str | None) -> dict[str, object]:
    """Return the tensors of the only state dict in `root`, or of that at the dotted path `key`.

    Raises FormatError if there is none, or several to choose from.
    """
    if key is not None:
        root = _follow(root, key)
    if isinstance(root, PickledObject):
        raise FormatError(_explain(root, key))
    if isinstance(root, dict) and _is_chosen(root, key):
        return _tensors(root)
    found = {path: value for path, value in _walk(root) if _is_state_dict(value)}
    if len(found) != 1:
        raise FormatError(_explain_choice(root, key, list(found)))
    return _tensors(next(iter(found.values())))


def _is_chosen(root: dict[object, object], key: str | None) -> bool:
    """Whether the dict itself is the state dict: only tensors, or named by the user's key."""
    if key is not None:
        return any(map(is_tensor, root.values()))
    return all(isinstance(name, str) for name in root) and all(map(is_tensor, root.values()))


def _is_state_dict(value: object) -> bool:
    """Whether a dict looks like a state dict: tensors, at least one of them a weight.

    A dict that also holds other values counts only if the last part of a weight's name contains
    "weight". Some checkpoints mix both: "rnn.weight_ih_l0" beside "epoch" makes a state dict, a
    lone tensor "loss" does not.
    """
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return False
    weights = [name for name, item in value.items() if is_weight(item)]
    pure = all(is_tensor(v) or k.endswith("_extra_state") for k, v in value.items())
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


def _walk(root: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield all dicts that string keys and list positions lead to, breadth first.

    Integer keys are not followed: they number the parameters of optimizer states.
    """
    queue: deque[tuple[str, int, object]] = deque([("", 0, root)])
    seen = {id(root)}  # counts a dict that occurs twice once, and ends cycles
    while queue:
        path, depth, value = queue.popleft()
        if isinstance(value, dict):
            yield path, value
        if depth == _DEEPEST or len(path) > LONGEST_NAME:
            continue
        for name, item in _children(value):
            if not isinstance(item, (dict, list, tuple)) or id(item) in seen:
                continue
            if len(seen) < _MOST_CONTAINERS and len(name) <= LONGEST_NAME:
                seen.add(id(item))
                queue.append((f"{path}.{name}" if path else name, depth + 1, item))


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((name, item) for name, item in value.items() if isinstance(name, str))
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), item) for index, item in enumerate(value))


def _follow(root: object, key: str) -> object:
    """Return the value at a dotted path. The keys on the way may themselves contain dots."""
    value, rest = root, key
    while rest:
        steps = {name: item for name, item in _steps(value) if f"{rest}.".startswith(f"{name}.")}
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
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(name, (str, int)) and str(name):
                yield str(name), item
    else:
        yield from _children(value)


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
