# SPDX-License-Identifier: MIT
"""From the description of a model to a `Sequential`, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from itertools import islice
from typing import Any

import numpy as np

from .. import layers as public
from ..layers import AddInput, Layer, Sequential
from ..layers.weighted import NOT_DRAWN
from ..readers import FormatError
from ..readers.containers.budget import ARRAY_OVERHEAD, Budget
from ..readers.containers.elements import Array
from ..readers.description import (
    HOLDERS,
    STATES,
    DescribedLayer,
    Description,
    Obstacle,
    unsupported,
)
from ..stack_spec import LAYERS

CONTAINERS: dict[str, type[Any]] = {name: getattr(public, name) for name in HOLDERS}
# The other layers by their names, which are the kinds of a description.
KINDS: dict[str, type[Any]] = {
    name: getattr(public, name)
    for name in public.__all__
    if issubclass(getattr(public, name), Layer) and name not in ("Layer", "Sequential", *CONTAINERS)
}
# The kinds whose arithmetic is the core's: their packed weights or results depend on isa.
WITH_KERNELS = [kind for kind in KINDS.values() if "isa" in signature(kind).parameters]
# The kinds that would draw weights.
_DRAWING = [kind for kind in KINDS.values() if "seed" in signature(kind).parameters]

# What a layer takes, and each of its weights, beside their elements.
_LAYER_WORK, _WEIGHT_WORK = 16, 4
_LAYER_BYTES = 1024

_ADVICE = "fastrnn.read_state_dict has its weights, fastrnn.load(path, prefix=) one recurrent layer"


def from_description(
    description: Description, isa: str | None = None, budget: Budget | None = None
) -> Sequential:
    """Make the layers of a description, with their weights, into a `Sequential`.

    Names of layers stay as they are, so that a state dict has the names of the file. `h_0` and
    `c_0` of a recurrent layer become its entry in `initial_state`. The layers' own weights are
    charged to `budget`, which is what is left beside the arrays of the description.
    UnsupportedModel, a ValueError, lists every layer that cannot be made.
    """
    builder = _Builder(isa, budget)
    layers, initial = builder.several(iter(description.layers))
    if builder.obstacles:
        raise unsupported(builder.obstacles, _ADVICE)
    model = Sequential(layers)
    model.initial_state = initial
    return model


class _Builder:
    """Makes layers of descriptions, and notes those that cannot be made."""

    def __init__(self, isa: str | None, budget: Budget | None) -> None:
        self.isa, self.budget = isa, budget
        self.obstacles: list[Obstacle] = []

    def several(
        self, rest: Iterator[DescribedLayer], count: int | None = None, prefix: str = ""
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """So many layers, or all, of a container with this prefix, and their initial states."""
        layers: dict[str, Any] = {}
        initial: dict[str, Any] = {}
        for described in islice(rest, count):
            name = described.name.removeprefix(prefix)
            try:
                if name in layers:
                    raise ValueError("two layers have this name")
                if described.kind in CONTAINERS:
                    layers[name] = self.container(described, rest)
                    continue
                layers[name] = self.layer(described)
                first = tuple(described.arrays[n] for n in STATES if n in described.arrays)
                if first:
                    initial[name] = first if len(first) == 2 else first[0]
            except FormatError:  # of the budget: no fault of this layer
                raise
            except (ValueError, TypeError) as error:
                self.obstacles.append(Obstacle(described.name, described.kind, str(error)))
        return layers, initial

    def container(self, described: DescribedLayer, rest: Iterator[DescribedLayer]) -> Sequential:
        """A layer with those that follow it inside."""
        options: dict[str, Any] = dict(described.options)
        count = options.pop("layers")
        layers, initial = self.several(rest, count, f"{described.name}.")
        if len(layers) < count:
            raise ValueError(f"{count} layers belong inside, {len(layers)} of them can be made")
        kind = CONTAINERS[described.kind]
        if "isa" in signature(kind).parameters:
            options["isa"] = self.isa
        model: Sequential = kind(layers, **options)
        model.initial_state = initial
        return model

    def layer(self, described: DescribedLayer) -> Any:
        """One layer that holds no others."""
        kind = KINDS.get(described.kind)
        if kind is None:
            raise ValueError(f"expected one of the kinds {sorted(KINDS)}")
        options = _constructor_options(described)
        if kind in WITH_KERNELS:
            options["isa"] = self.isa
        weights = {n: a for n, a in described.arrays.items() if n not in STATES}
        return with_weights(kind, options, weights, self.budget)


def with_weights(
    kind: type[Any], options: dict[str, Any], weights: Mapping[str, Array], budget: Budget | None
) -> Any:
    """A layer with copies of these weights, float32; all it takes is charged to the budget."""
    make: Callable[..., Any] = kind
    if budget is not None:
        what = "the layers of the model"
        budget.step(_LAYER_WORK + _WEIGHT_WORK * len(weights), what)
        budget.spend(_LAYER_BYTES + ARRAY_OVERHEAD * len(weights), what)
        budget.spend(sum(4 * array.size for array in weights.values()), what)
    layer = make(**options, **({"seed": NOT_DRAWN} if kind in _DRAWING else {}))
    layer.load_state_dict(weights)
    return layer


def _constructor_options(described: DescribedLayer) -> dict[str, Any]:
    options: dict[str, Any] = dict(described.options)
    if described.kind == "Last" and "bidirectional" in options:
        of_state = options.pop("bidirectional") or options.get("of") == "state"
        options["of"] = "state" if of_state else "step"
    if described.kind in LAYERS and options.get("num_layers", 1) == 1:
        options.pop("dropout", None)  # it acts between layers
    if described.kind in LAYERS and not options.get("proj_size"):
        options.pop("proj_size", None)
    return options


def describe(model: Sequential, format: str = "fastrnn") -> Description:
    """Return what `from_description` makes the same model of; nested layers have dotted names."""
    return Description(format, tuple(_described("", model)))


def container_kind(model: Layer) -> str | None:
    """The kind of a container that is more than a `Sequential`."""
    return next((kind for kind, made in CONTAINERS.items() if isinstance(model, made)), None)


def _described(prefix: str, model: Sequential) -> Iterator[DescribedLayer]:
    initial = model.initial_state
    for name, child in model.items():
        whole = prefix + name
        if isinstance(child, Sequential):
            if any(isinstance(inner, AddInput) for inner in child):
                raise ValueError(
                    f"layer {whole!r}: its AddInput adds the input of this inner Sequential, "
                    "expected AddInput in the outermost one only"
                )
            kind = container_kind(child)
            if kind is not None:
                options = {"layers": _count(child), **child._options()}
                yield DescribedLayer(whole, kind, options)
            yield from _described(f"{whole}.", child)
            continue
        arrays: dict[str, Any] = child.state_dict()
        if name in initial:
            parts = initial[name] if isinstance(initial[name], tuple) else (initial[name],)
            arrays |= {n: np.array(p) for n, p in zip(STATES, parts, strict=False)}
        yield DescribedLayer(whole, type(child).__name__, child._options(), arrays)


def _count(model: Sequential) -> int:
    """The layers in a container, where those of a plain `Sequential` are not one but several."""
    return sum(
        _count(child) if isinstance(child, Sequential) and not container_kind(child) else 1
        for child in model
    )
