# SPDX-License-Identifier: MIT
"""The architecture in a Keras file: its config as a chain of layers with their weights' paths.

Class names are only compared with the known ones; nothing is built from them. The config of Keras 2
differs in how it writes the calls of a functional model; both forms are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from string import ascii_lowercase, ascii_uppercase

from ..description import Obstacle
from ..entry_names import check_name
from ..errors import FormatError, UnsupportedError, quote
from .keras_keys import Config, refused_keys

_SMALL = frozenset(ascii_lowercase)
_DEEPEST = 8  # models within models
_MOST_LAYERS = 10_000
_MODELS = ("Sequential", "Functional")
_MASK_OPS = (
    "NotEqual",
    "Any",
    "LogicalOr",
)  # what Keras 3 adds to a functional model to compute a mask
WHOLE = -1  # in place of the number of an output: all that the layer before has

# Which mask a call gets: the layer whose output is compared, the value, and whether over features.
MaskSource = tuple[str, object, bool]


@dataclass(frozen=True)
class KerasLayer:
    """One layer of the chain."""

    name: str  # in the model, with the names of the models that hold it in front
    type: str
    path: str  # of its weights, as Keras 3 names it
    config: Config
    group: str = ""  # the layer of the outermost model that it is in
    own: str = ""  # its name in the model that it is in
    takes: int = WHOLE  # the number of the output of the layer before that is its input
    source: str = ""  # the name of the layer before, in a functional model
    mask: tuple[MaskSource, ...] | None = None  # that it is called with; None: the file is silent
    extra: tuple[object, ...] = ()  # what an operation is called with besides its input
    adds: tuple[int, ...] = ()  # of an Add: the numbers of layers before the other values


@dataclass
class Chain:
    """The layers in the order in which they run, and what makes the model unsupported."""

    layers: list[KerasLayer] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    outputs: list[int] = field(default_factory=lambda: [WHOLE])  # of the last layer
    version: tuple[int, int] = (3, 0)  # of Keras, which may change what a name means


@dataclass(frozen=True)
class _LayerCall:
    inputs: list[tuple[str, int]]  # layers and the numbers of their outputs
    extra: tuple[object, ...]
    keywords: Config
    tells_mask: bool  # as in Keras 3


class CannotMapError(UnsupportedError):
    """A layer that is not supported; the message says why."""


def snake_case(name: str) -> str:
    """Return the name of a class as the weights file spells it."""
    name = "".join(char for char in name if char.isalnum() or char == "_")
    words = []
    for at, char in enumerate(name):
        # "LSTMCell" has two words, "Conv1D" one.
        begins = name[at + 1 : at + 2] in _SMALL or name[at - 1] in _SMALL
        words.append(f"_{char}" if at and char in ascii_uppercase and begins else char)
    return "".join(words).lower()


def read_chain(root: object) -> Chain:
    """Return the chain of layers of a whole model."""
    chain = Chain()
    kind, _ = read_object(root, "the model")
    if kind not in _MODELS:
        why = "a subclass of Model: its code, which is not in the file, says how its layers run"
        chain.obstacles.append(Obstacle("model", kind, why))
    else:
        _ConfigReader(chain).read_model(root, "", "", 0)
    return chain


def read_object(value: object, what: str) -> tuple[str, Config]:
    """Return class name and config of a serialized object."""
    if not isinstance(value, dict):
        raise FormatError(f"{what}: a layer is not a JSON object")
    kind, config = value.get("class_name"), value.get("config")
    if kind == "Sequential" and isinstance(config, list):  # before Keras 2.3
        config = {"layers": config}
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise FormatError(f"{what}: a layer has no class_name or no config")
    # A user's class may have the name of one of Keras's classes.
    registered, package = value.get("registered_name"), value.get("module")
    if isinstance(registered, str) and registered != kind:
        kind = registered
    elif isinstance(package, str) and package.partition(".")[0] != "keras":
        kind = f"{package}.{kind}"
    return ("Functional" if kind == "Model" and "input_layers" in config else kind), config


def layer_name(item: object, config: Config) -> str:
    """Return the name that the user gave a layer."""
    name = config.get("name")
    if name is None and isinstance(item, dict):
        name = item.get("name")
    if not isinstance(name, str) or not name:
        raise FormatError("the config of the model: a layer has no name")
    return check_name(name)


class _ConfigReader:
    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def read_model(
        self, model: object, prefix: str, path: str, depth: int, group: str = ""
    ) -> None:
        """Add the layers of a model, including those of models within it, in order."""
        kind, config = read_object(model, "the config of the model")
        if depth > _DEEPEST:
            raise FormatError(f"models are nested more than {_DEEPEST} deep")
        items = config.get("layers")
        if not isinstance(items, list):
            raise FormatError(f"the layers of a {kind} are not a list")
        for why in refused_keys(kind, config):
            self._chain.obstacles.append(Obstacle(prefix or "model", kind, why))
        graph = _LayerGraph() if kind == "Functional" else None
        counts: dict[str, int] = {}
        for item in items:
            layer_type, layer_config = read_object(item, "the config of the model")
            own = layer_name(item, layer_config)
            if graph and layer_type in _MASK_OPS:
                graph.add_mask(own, layer_type, item)
                continue
            base = snake_case(layer_type)
            count = counts[base] = counts.get(base, -1) + 1
            layer = KerasLayer(
                prefix + own, layer_type,
                f"{path}layers/{base}{f'_{count}' if count else ''}", layer_config,
                group or own, own,
            )  # fmt: skip
            if graph:
                layer = self._called(graph, own, layer, item)
            if layer_type in _MODELS:
                self.read_model(item, f"{layer.name}.", f"{layer.path}/", depth + 1, layer.group)
            elif len(self._chain.layers) >= _MOST_LAYERS:
                raise FormatError(f"the model has more than {_MOST_LAYERS} layers")
            else:
                self._chain.layers.append(layer)
            if graph:
                graph.places[own] = len(self._chain.layers)
        if graph:
            self._read_ends(config, graph, prefix)

    def _called(self, graph: _LayerGraph, own: str, layer: KerasLayer, item: object) -> KerasLayer:
        """The layer with what its call says."""
        try:
            layer = graph.call(own, layer, item)
            if layer.type in _MODELS and layer.takes not in (0, WHOLE):
                raise CannotMapError(f"it takes output number {layer.takes}")
            if layer.type in _MODELS and layer.extra:
                raise CannotMapError("it is called with more than its input")
        except CannotMapError as error:
            self._chain.obstacles.append(Obstacle(layer.name, layer.type, str(error)))
        return layer

    def _read_ends(self, config: Config, graph: _LayerGraph, prefix: str) -> None:
        """Read which layers are the model's input and output."""
        name, obstacles = prefix.removesuffix("."), self._chain.obstacles
        inputs = list(_ends(config.get("input_layers")))
        outputs = list(_ends(config.get("output_layers")))
        for end, ends in (("input", inputs), ("output", outputs)):
            names = list(dict.fromkeys(layer for layer, _ in ends))
            if len(names) != 1 or (end == "input" and len(ends) != 1):
                why = f"the model has {len(ends)} {end}s ({', '.join(map(quote, names[:8]))})"
                obstacles.append(Obstacle(name or "model", "Functional", why))
            elif names[0] != (graph.first if end == "input" else graph.previous):
                place = "first" if end == "input" else "last"
                why = f"the {end} of the model is not the {place} layer"
                obstacles.append(Obstacle(prefix + names[0], "Functional", why))
        numbers = [number for _, number in outputs]
        if not prefix:
            self._chain.outputs = numbers
        elif numbers != [0]:
            why = "it is not the first output of its last layer that the model returns"
            obstacles.append(Obstacle(name, "Functional", why))


# --- Functional models: whether the graph is a chain


class _LayerGraph:
    """The calls of a functional model, whose layers are in the order in which they run."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.previous: str | None = None
        self.places: dict[str, int] = {}  # how many layers of the whole model make its output
        self._masks: dict[str, MaskSource] = {}

    def add_mask(self, name: str, kind: str, item: object) -> None:
        """Remember the mask that an operation computes."""
        for call in _calls(item, name):
            source = call.inputs[0] if call.inputs else ("", 0)
            if kind == "NotEqual" and len(call.extra) == 1 and not call.keywords:
                self._masks[name] = (source[0], call.extra[0], False)
            elif kind == "Any" and source[0] in self._masks:
                config = read_object(item, quote(name))[1]
                if config.get("axis") == -1 and config.get("keepdims") is False:
                    self._masks[name] = (*self._masks[source[0]][:2], True)
            elif kind == "LogicalOr":  # of the masks of values that are added
                both = [self._masks.get(one) for one, _ in call.inputs]
                if both and both[0] is not None and both == [both[0]] * 2:
                    self._masks[name] = both[0]

    def call(self, own: str, layer: KerasLayer, item: object) -> KerasLayer:
        """Require a single call on the layer before; return the layer with what the call says."""
        previous, self.previous = self.previous, own
        calls = _calls(item, own)
        if previous is None:
            self.first = own
            if calls:
                raise CannotMapError("the first layer of a graph is not its input")
            return layer
        if len(calls) != 1:
            text = f"it is called {len(calls)} times" if calls else "it is another input"
            raise CannotMapError(f"{text}{'' if calls else ' of the model'}")
        (call,) = calls
        if not call.inputs or (len(call.inputs) > 1 and layer.type != "Add"):
            raise CannotMapError("it takes several inputs, or none")
        inputs = sorted(call.inputs, key=lambda taken: taken[0] != previous)
        (source, number), *others = inputs
        if source != previous:
            raise CannotMapError(
                f"it takes the output of {quote(source)}, not of {quote(previous)} before it"
            )
        extra = (*call.extra, *_slices(call.keywords))
        mask = self._mask(call.keywords)
        adds = tuple(self._place(*taken) for taken in others)
        layer = replace(layer, takes=number, source=source, extra=extra, adds=adds)
        return replace(layer, mask=mask) if call.tells_mask else layer

    def _place(self, source: str, number: int) -> int:
        """Where in the chain the output of a layer is made."""
        if source not in self.places or number:
            raise CannotMapError(f"it takes output number {number} of {quote(source)}")
        return self.places[source]

    def _mask(self, keywords: Config) -> tuple[MaskSource, ...]:
        """The mask of a call; CannotMapError for other keywords that have an effect."""
        found: tuple[MaskSource, ...] = ()
        for key, value in keywords.items():
            if value is None or (key == "training" and value is False) or key == "slice_spec":
                continue
            source = _tensor(value)
            if key != "mask" or source is None or source[0] not in self._masks:
                raise CannotMapError(f"it is called with {quote(key)}")
            found = (self._masks[source[0]],)
        return found


def _calls(item: object, name: str) -> list[_LayerCall]:
    """The calls of a layer."""
    nodes = item.get("inbound_nodes", []) if isinstance(item, dict) else []
    if not isinstance(nodes, list):
        raise FormatError(f"the inbound_nodes of {quote(name)} are not a list")
    return [_keras3_call(node) if isinstance(node, dict) else _keras2_call(node) for node in nodes]


def _keras3_call(node: Config) -> _LayerCall:
    args, keywords = node.get("args"), node.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(keywords, dict):
        raise FormatError("a call has no args or kwargs")
    first, *extra = args or [None]
    tensors = [_tensor(arg) for arg in (first if isinstance(first, list) else [first])]
    while extra and _tensor(extra[0]):  # an operation, as x + y
        tensors.append(_tensor(extra.pop(0)))
    inputs = [tensor for tensor in tensors if tensor is not None]
    return _LayerCall(inputs if len(inputs) == len(tensors) else [], tuple(extra), keywords, True)


def _keras2_call(node: object) -> _LayerCall:
    """A call of Keras 2: [layer, its call, its output, keywords] for each input."""
    entries = node if isinstance(node, list) and node and isinstance(node[0], list) else [node]
    inputs: list[tuple[str, int]] = []
    keywords: Config = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) not in (3, 4):
            raise FormatError("a call is not a list of layer, call, output and keywords")
        layer, _, number, *own = entry
        if (
            not isinstance(layer, str)
            or type(number) is not int
            or not all(isinstance(given, dict) for given in own)
        ):
            raise FormatError("a call has no layer, output or keywords")
        inputs.append((layer, number))
        keywords |= own[0] if own else {}
    return _LayerCall(inputs, (), keywords, False)


def _slices(keywords: Config) -> tuple[object, ...]:
    return (keywords["slice_spec"],) if "slice_spec" in keywords else ()


def _tensor(value: object) -> tuple[str, int] | None:
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


def _ends(value: object) -> Iterator[tuple[str, int]]:
    """Yield the input or output layers of a graph, with the numbers of their outputs."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        number = value[2]
        if type(number) is not int:
            raise FormatError("the number of an output is not an integer")
        yield value[0], number
        return
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise FormatError("the inputs or outputs of a model are not a list")
    for item in items:
        yield from _ends(item)
