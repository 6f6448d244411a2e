# SPDX-License-Identifier: MIT
"""The architecture of a Keras 3 file: config.json as a chain of layers with their weights' paths.

Class names are only compared with the known ones; nothing is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..description import Obstacle
from ..entry_names import check_name
from ..errors import FormatError, quote

Config = dict[str, object]

_DEEPEST = 8  # models within models
_MOST_LAYERS = 10_000
_MODELS = ("Sequential", "Functional")
_MASK_OPS = ("NotEqual", "Any")  # what Keras adds to a functional model to compute a mask


@dataclass(frozen=True)
class KerasLayer:
    """One layer of the chain: its name in the model, its class, and the path of its weights."""

    name: str
    type: str
    path: str
    config: Config


def snake_case(name: str) -> str:
    """Return the name of a class as the weights file spells it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def read_chain(root: object) -> tuple[list[KerasLayer], list[Obstacle]]:
    """Return the layers in the order in which they run, and what makes the model unsupported."""
    kind, _ = _object(root, "config.json")
    if kind not in _MODELS:
        why = "a subclass of Model: its code, which is not in the file, says how its layers run"
        return [], [Obstacle("model", kind, why)]
    reader = _ConfigReader()
    reader.read_model(root, "", "", 0)
    return reader.layers, reader.obstacles


class _ConfigReader:
    def __init__(self) -> None:
        self.layers: list[KerasLayer] = []
        self.obstacles: list[Obstacle] = []

    def read_model(self, model: object, prefix: str, path: str, depth: int) -> None:
        """Add the layers of a model, including those of models within it, in order."""
        kind, config = _object(model, "config.json")
        if depth > _DEEPEST:
            raise FormatError(f"config.json: models are nested more than {_DEEPEST} deep")
        items = config.get("layers")
        if not isinstance(items, list):
            raise FormatError(f"config.json: the layers of a {kind} are not a list")
        if kind == "Functional":
            self.obstacles += _not_a_chain(config, items, prefix)
        counts: dict[str, int] = {}
        for item in items:
            layer_type, layer_config = _object(item, "config.json")
            if kind == "Functional" and layer_type in _MASK_OPS:
                continue  # read by _not_a_chain
            name = prefix + layer_name(item, layer_config)
            group = snake_case(layer_type)
            count = counts[group] = counts.get(group, -1) + 1
            group_path = f"{path}layers/{group}{f'_{count}' if count else ''}"
            if layer_type in _MODELS:
                self.read_model(item, f"{name}.", f"{group_path}/", depth + 1)
                continue
            if len(self.layers) >= _MOST_LAYERS:
                raise FormatError(f"config.json: more than {_MOST_LAYERS} layers")
            self.layers.append(KerasLayer(name, layer_type, group_path, layer_config))


def _object(value: object, what: str) -> tuple[str, Config]:
    """Return class name and config of a serialized object."""
    if not isinstance(value, dict):
        raise FormatError(f"{what}: a layer is not a JSON object")
    kind, config = value.get("class_name"), value.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise FormatError(f"{what}: a layer has no class_name or no config")
    # A user's class may have the name of one of Keras's classes.
    registered, package = value.get("registered_name"), value.get("module")
    if isinstance(registered, str) and registered != kind:
        kind = registered
    elif isinstance(package, str) and package.partition(".")[0] != "keras":
        kind = f"{package}.{kind}"
    return kind, config


def wrapped_object(config: Config, key: str, what: str) -> tuple[str, Config]:
    """Return class name and config of the layer inside a wrapper."""
    return _object(config.get(key), what)


def layer_name(item: object, config: Config) -> str:
    """Return the name that the user gave a layer."""
    name = config.get("name")
    if name is None and isinstance(item, dict):
        name = item.get("name")
    if not isinstance(name, str) or not name:
        raise FormatError("config.json: a layer has no name")
    return check_name(name)


# --- Functional models: whether the graph is a chain


def _not_a_chain(config: Config, items: list[object], prefix: str) -> Iterator[Obstacle]:
    """Yield what makes a graph more than one layer after another, in the order of the file."""
    previous: str | None = None
    mask_ops: set[str] = set()
    for item in items:
        kind, layer_config = _object(item, "config.json")
        name = layer_name(item, layer_config)
        calls = item.get("inbound_nodes", []) if isinstance(item, dict) else []
        if not isinstance(calls, list):
            raise FormatError(f"config.json: the inbound_nodes of {quote(name)} are not a list")
        if kind in _MASK_OPS:
            mask_ops.add(name)
            continue
        why = _call_problem(calls, previous, mask_ops)
        if why:
            yield Obstacle(prefix + name, kind, why)
        previous = name
    for end, wanted in (("input", first_name(items)), ("output", previous)):
        names = _ends(config.get(f"{end}_layers"))
        if len(names) != 1:
            why = f"the model has {len(names)} {end}s ({', '.join(map(quote, names[:8]))})"
            yield Obstacle(prefix or "model", "Functional", why)
        elif names != [wanted]:
            why = f"the {end} of the model is not the {'first' if end == 'input' else 'last'} layer"
            yield Obstacle(prefix + names[0], "Functional", why)


def first_name(items: list[object]) -> str | None:
    """Return the name of the first layer of a model."""
    if not items:
        return None
    return layer_name(items[0], _object(items[0], "config.json")[1])


def _call_problem(calls: list[object], previous: str | None, mask_ops: set[str]) -> str | None:
    """Return why the calls of a layer are not a single call on the previous layer's output."""
    if previous is None:
        return "the first layer of a graph is not its input" if calls else None
    if len(calls) != 1:
        return f"it is called {len(calls)} times" if calls else "it is another input of the model"
    (call,) = calls
    if not isinstance(call, dict):
        return "its call has the form of an older version of Keras"
    args, kwargs = call.get("args"), call.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict) or len(args) != 1:
        return f"it takes {len(args) if isinstance(args, list) else 'unknown'} arguments"
    source = _history(args[0])
    if source is None:
        return "it takes several inputs, or none"
    if source[0] != previous:
        return f"it takes the output of {quote(source[0])}, not of {quote(previous)} before it"
    if source[1]:
        return f"it takes output number {source[1]} of {quote(previous)}"
    for key, value in kwargs.items():
        if value is None or key == "training":
            continue
        mask = _history(value)
        if not (key == "mask" and mask and mask[0] in mask_ops):
            return f"it is called with {quote(key)}"
    return None


def _history(value: object) -> tuple[str, int] | None:
    """Return the layer, and the number of its output, that a tensor of the graph comes from."""
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return None
    config = value.get("config")
    history = config.get("keras_history") if isinstance(config, dict) else None
    if not isinstance(history, list) or len(history) != 3:
        return None
    name, _, index = history
    if not isinstance(name, str) or type(index) is not int:
        return None
    return name, index


def _ends(value: object) -> list[str]:
    """Return the names of the input or output layers of a graph."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        return [value[0]]
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise FormatError("config.json: the inputs or outputs of a model are not a list")
    return [
        name
        for item in items
        for name in (_ends(item) if isinstance(item, (list, dict)) else [str(item)])
    ]
