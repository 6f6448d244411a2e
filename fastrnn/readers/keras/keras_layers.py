# SPDX-License-Identifier: MIT
"""Translates a chain of Keras layers to layers of torch.nn, and lists what is not supported.

Behaviour in training only (regularizers, recurrent dropout) is ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from ..description import DescribedLayer, Obstacle
from ..errors import UnsupportedError, quote
from .keras_config import WHOLE, CannotMapError, Chain, KerasLayer, read_object
from .keras_functions import FUNCTIONS
from .keras_keys import is_known
from .keras_mapper import Handler, Mapper, refuse_keys
from .keras_recurrent import CLASSES, KerasRecurrent, read_recurrent
from .keras_steps import STEPS
from .keras_sums import Sums
from .keras_weighted import WEIGHTED
from .keras_weights import Variables

_MERGES = {"sum": "sum", "ave": "mean", "mul": "mul"}
_OTHER_MASKS_BEFORE = (2, 4)  # until then Bidirectional did not return zeros at masked steps
_POINTWISE = (
    "Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "LayerNormalization", "Rescaling",
)  # fmt: skip
_READ_MORE = ("Add", "GetItem", "SlicingOpLambda")  # what they are called with beside their input


def translate(chain: Chain, variables: Variables) -> tuple[list[DescribedLayer], list[Obstacle]]:
    """The layers of a model, and why they are not all of it."""
    to, sums = Mapper(variables, chain.version), Sums()
    kept = Counter(place for layer in chain.layers for place in layer.adds)
    obstacles: list[Obstacle] = []

    def record(layer: KerasLayer, step: Callable[[], None]) -> None:
        try:
            step()
        except UnsupportedError as error:
            obstacles.append(Obstacle(layer.name, layer.type, str(error)))
            to.has_features(None)

    for place, layer in enumerate(chain.layers):
        for _ in range(kept[place]):
            sums.keep(to, place)
        record(layer, partial(_add, to, sums, layer))
    end = KerasLayer(to.last[0] if to.last else "model", "output", "", {})
    record(end, partial(_finish, to, chain.outputs))
    return to.layers, obstacles


def _add(to: Mapper, sums: Sums, layer: KerasLayer) -> None:
    """Translate one layer."""
    handler = _HANDLERS.get(layer.type)
    if not is_known(layer.type) or (handler is None and layer.type != "Add"):
        raise CannotMapError("layers of this class are not supported")
    if layer.type not in CLASSES:
        refuse_keys(layer.type, layer.config)
    if layer.extra and layer.type not in _READ_MORE:
        raise CannotMapError("it is called with more than its input")
    _take_output(to, [layer.takes])
    to.last = None
    to.masks.enter(layer)
    if handler is None:
        sums.complete(to, layer)
    else:
        handler(to, layer)


def _finish(to: Mapper, outputs: list[int]) -> None:
    """Complete the translation after the last layer, some of whose outputs are the model's."""
    count = _outputs(to.last[1]) if to.last else 1
    if outputs in ([WHOLE], list(range(count))):  # as fastrnn returns them, y and the state
        to.masks.show_all()
    else:
        _take_output(to, outputs)


def _take_output(to: Mapper, numbers: list[int]) -> None:
    """Require that what a layer takes is the y of the layer before, or its last state h."""
    if to.last is None:
        if numbers not in ([WHOLE], [0]):
            raise CannotMapError(f"it takes output number {numbers[-1]} of the layer before")
        return
    name, found = to.last
    count = _outputs(found)
    if count == 1 or (numbers == [0] and found.merge_mode is not None):
        return
    if numbers != [1] or found.bidirectional:
        raise CannotMapError(f"it takes more of {quote(name)} than its output")
    if found.sequences:
        to.masks.end()
        to.put(f"{name}.state", "Last", batch_first=True)
        to.shape = (None, to.shape[-1] if to.shape else None)


def _outputs(found: KerasRecurrent) -> int:
    """How many outputs a recurrent layer of Keras has."""
    states = sum(1 + (stack.kind == "LSTM") for stack in found.stacks) if found.state else 0
    directions = 2 if found.bidirectional else 1
    return (1 if found.merge_mode is not None else 2) + states * directions


def _input(to: Mapper, layer: KerasLayer) -> None:
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    if isinstance(shape, list):
        to.shape = tuple(size if type(size) is int else None for size in shape)


def _recurrent(to: Mapper, layer: KerasLayer) -> None:
    found = read_recurrent(layer, to.variables)
    masked = to.masks.skip(layer)
    if masked and found.bidirectional and to.version < _OTHER_MASKS_BEFORE:
        raise CannotMapError("its mask has another meaning in this version of Keras")
    if found.backwards:
        to.put(f"{layer.name}.flip", "Flip", batch_first=True)
    for number, stack in enumerate(found.stacks):
        name = layer.name if len(found.stacks) == 1 else f"{layer.name}.{number}"
        to.put(name, stack.kind, stack.arrays, **stack.options)
    if masked and found.backwards and (found.sequences or found.zeros):
        # The steps that were left out are put back in the order of the mask.
        to.put(f"{layer.name}.order", "Flip", batch_first=True)
        to.masks.put_back(layer.name, not found.zeros, backwards=True)
        to.put(f"{layer.name}.backwards", "Flip", batch_first=True)
    elif masked:
        to.masks.made_steps(layer.name, not found.zeros)
    merged = found.merge_mode in _MERGES
    units = found.stacks[-1].options["hidden_size"]
    assert isinstance(units, int)
    features = units * (2 if found.bidirectional and not merged else 1)
    to.shape = (None, to.shape[1] if to.shape and len(to.shape) == 3 else None, features)
    if not found.sequences:
        if found.zeros:
            to.masks.show_all()
        to.masks.end()
        # The last step of the forward direction; the first of the reverse one.
        of_state = found.bidirectional
        to.put(f"{layer.name}.last", "Last", batch_first=True, bidirectional=of_state)
        to.shape = (None, features)
    if merged:
        mode = _MERGES[str(found.merge_mode)]
        to.put(f"{layer.name}.merge", "MergeDirections", mode=mode)
    to.last = (layer.name, found)


def _time_distributed(to: Mapper, layer: KerasLayer) -> None:
    kind, config = read_object(layer.config.get("layer"), quote(layer.name))
    if kind not in _POINTWISE:
        raise CannotMapError(f"it wraps a layer of class {quote(kind)}: not supported")
    refuse_keys(kind, config)
    whole = to.shape
    to.shape = whole and (whole[0], *whole[2:])
    path = to.variables.wrapped(layer.path)
    _HANDLERS[kind](to, KerasLayer(layer.name, kind, path, config))
    to.shape = whole and to.shape and (*whole[:2], *to.shape[1:])


_HANDLERS: dict[str, Handler] = {
    **FUNCTIONS,
    **WEIGHTED,
    **STEPS,
    **dict.fromkeys(CLASSES, _recurrent),
    "InputLayer": _input,
    "TimeDistributed": _time_distributed,
}
