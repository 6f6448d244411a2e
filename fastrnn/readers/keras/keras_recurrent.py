# SPDX-License-Identifier: MIT
"""Recurrent layers of Keras as layers of fastrnn: the same code for a whole model and one layer."""

from __future__ import annotations

from dataclasses import dataclass

from ...stack_spec import cell_options
from ..containers.elements import Array
from ..errors import FormatError, UnsupportedError, quote
from . import keras_weights as weights
from .keras_config import CannotMapError, KerasLayer, read_object, snake_case
from .keras_keys import Config, refused_keys
from .keras_weights import Options, Variables

CLASSES = (*weights.RECURRENT, "RNN", "Bidirectional")
_CELLS = {f"{kind}Cell": kind for kind in weights.RECURRENT}
_MERGES = ("concat", "sum", "ave", "mul", None)


@dataclass(frozen=True)
class Stack:
    """A layer of fastrnn."""

    kind: str
    options: Options
    arrays: dict[str, Array]


@dataclass(frozen=True)
class KerasRecurrent:
    """A recurrent layer of Keras."""

    stacks: list[Stack]  # one after another
    merge_mode: object  # how the two directions become one; "" if there is one direction
    backwards: bool  # it reads x from the end, and returns y in that order
    sequences: bool  # it returns the y of all steps
    state: bool  # it also returns its state
    zeros: bool  # y is 0 at masked steps; else that of the step before

    @property
    def bidirectional(self) -> bool:
        return self.merge_mode != ""


def read_recurrent(layer: KerasLayer, variables: Variables) -> KerasRecurrent:
    """Read a layer of one of `CLASSES`; CannotMapError lists all that is not supported."""
    if layer.type == "Bidirectional":
        return _bidirectional(layer, variables)
    _check_keys(layer.type, layer.config)
    cells = _cells(layer.type, layer.config, layer.path)
    stacks = []
    for kind, config, path in cells:
        arrays, found = weights.recurrent(variables.of(path), path)
        stacks.append(_stack(kind, config, path, arrays, found, bidirectional=False))
    return _recurrent(layer.config, stacks, "")


def read_alone(layer: KerasLayer, variables: Variables) -> list[Options]:
    """The options of each cell of a layer as a layer of fastrnn by itself, or why it is none."""
    try:
        found = read_recurrent(layer, variables)
        if found.backwards:
            raise CannotMapError("go_backwards: by itself it would read x from the start")
        if found.merge_mode not in ("", "concat"):
            raise CannotMapError(f"merge_mode {show(found.merge_mode)}: by itself it would not be")
    except UnsupportedError as error:
        return [{"unsupported": f"{quote(layer.name)} ({layer.type}): {error}"}]
    return [{"cell": stack.kind, **stack.options} for stack in found.stacks]


def _bidirectional(layer: KerasLayer, variables: Variables) -> KerasRecurrent:
    _check_keys(layer.type, layer.config)
    kind, forward = read_object(layer.config.get("layer"), quote(layer.name))
    problems: list[str] = []
    merge_mode = layer.config.get("merge_mode")
    if merge_mode not in _MERGES:
        problems.append(f"merge_mode {show(merge_mode)} is not supported")
    if kind not in (*weights.RECURRENT, "RNN"):
        raise CannotMapError("; ".join([*problems, f"it wraps a layer of class {quote(kind)}"]))
    backward = forward
    if isinstance(layer.config.get("backward_layer"), dict):
        other, backward = read_object(layer.config["backward_layer"], quote(layer.name))
        if other != kind or not _alike(forward, backward):
            problems.append("its two directions differ in their options")
    if forward.get("go_backwards"):
        problems.append("go_backwards in the wrapped layer is not supported")
    problems += _problems(kind, forward)
    problems += [why for why in refused_keys(kind, backward) if why not in problems]
    if problems:
        raise CannotMapError("; ".join(problems))
    cells = _cells(kind, forward, layer.path)
    if len(cells) > 1:
        raise CannotMapError("stacked cells of two directions are not supported")
    ((cell, config, _),) = cells
    arrays, found = weights.bidirectional(variables, layer.path)
    stack = _stack(cell, config, layer.path, arrays, found, bidirectional=True)
    return _recurrent(forward, [stack], merge_mode)


def _recurrent(config: Config, stacks: list[Stack], merge_mode: object) -> KerasRecurrent:
    sequences = flag(config, "return_sequences")
    # Keras makes a Bidirectional layer return zeros there, whatever the option says.
    zeros = sequences if merge_mode != "" else flag(config, "zero_output_for_mask")
    backwards, state = flag(config, "go_backwards"), flag(config, "return_state")
    return KerasRecurrent(stacks, merge_mode, backwards, sequences, state, zeros)


def _cells(kind: str, config: Config, path: str) -> list[tuple[str, Config, str]]:
    """The cells of a layer that run one after another: layer class, options, path of weights."""
    if kind in weights.RECURRENT:
        return [(kind, config, f"{path}/cell")]
    cell, inner = read_object(config.get("cell"), quote(path))
    if cell != "StackedRNNCells":
        return [(_cell_class(cell), inner, f"{path}/cell")]
    items = inner.get("cells")
    if not isinstance(items, list) or not items:
        raise FormatError(f"{quote(path)}: its cells are not a list")
    cells, counts = [], dict[str, int]()
    for item in items:
        one, options = read_object(item, quote(path))
        group = snake_case(one)
        count = counts[group] = counts.get(group, -1) + 1
        own = f"{path}/cell/cells/{group}{f'_{count}' if count else ''}"
        cells.append((_cell_class(one), options, own))
    return cells


def stacked_paths(layer: KerasLayer) -> list[str]:
    """The paths of the weights of stacked cells; none if a layer has no such cells."""
    try:
        cells = _cells(layer.type, layer.config, layer.path) if layer.type == "RNN" else []
    except FormatError:
        return []
    return [path for _, _, path in cells] if len(cells) > 1 else []


def _cell_class(name: str) -> str:
    if name not in _CELLS:
        raise CannotMapError(f"it has a cell of class {quote(name)}")
    return _CELLS[name]


def _check_keys(kind: str, config: Config) -> None:
    problems = _problems(kind, config)
    if problems:
        raise CannotMapError("; ".join(problems))


def _problems(kind: str, config: Config) -> list[str]:
    """Everything in the options of a layer, and of its cells, that is not supported."""
    problems = list(refused_keys(kind, config))
    if kind == "Bidirectional":
        return problems
    for cell, options, _ in _cells(kind, config, ""):
        if options is not config:
            problems += refused_keys(f"{cell}Cell", options)
        layer, gates = weights.RECURRENT[cell]
        activation = activation_name(options.get("activation"))
        wanted = cell_options(layer).get("nonlinearity", ("tanh",))
        if activation not in wanted:
            problems.append(f"activation {quote(activation)}, not {' or '.join(wanted)}")
        gate = activation_name(options.get("recurrent_activation"))
        if len(gates) > 1 and gate != "sigmoid":
            problems.append(f"recurrent_activation {quote(gate)}, not sigmoid")
    return problems


def _stack(
    kind: str, config: Config, path: str, arrays: dict[str, Array], found: Options, *,
    bidirectional: bool,
) -> Stack:  # fmt: skip
    """The layer of one cell, after checking the weights against the config."""
    cell = weights.RECURRENT[kind][0]
    choices = cell_options(cell)
    wanted: Options = {
        "cell": cell, "hidden_size": config.get("units"), "bias": flag(config, "use_bias", True),
    }  # fmt: skip
    reset_after = flag(config, "reset_after")  # Keras 2 did not write it when it had no choice
    if "reset_after" in choices and found["bias"]:
        wanted["reset_after"] = reset_after
    if any(found[key] != value for key, value in wanted.items()):
        raise FormatError(f"{quote(path)}: expected weights of {wanted}, got {found}")
    options: Options = {key: found[key] for key in ("input_size", "hidden_size", "bias")}
    options |= {"num_layers": 1, "batch_first": True, "bidirectional": bidirectional}
    if "reset_after" in choices:
        options["reset_after"] = reset_after
    if "nonlinearity" in choices:
        options["nonlinearity"] = activation_name(config.get("activation"))
    return Stack(cell, options, arrays)


def _alike(forward: Config, backward: Config) -> bool:
    """Whether the two layers of a Bidirectional layer compute the same function."""
    keys = ("units", "activation", "recurrent_activation", "use_bias", "reset_after",
            "return_sequences", "return_state", "stateful")  # fmt: skip
    opposite = bool(forward.get("go_backwards")) != bool(backward.get("go_backwards"))
    return opposite and all(forward.get(key) == backward.get(key) for key in keys)


# --- Values of a config


def flag(config: Config, key: str, default: bool = False) -> bool:
    """Return a bool of a config."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise FormatError(f"{key} is {show(value)}, not true or false")
    return value


def show(value: object) -> str:
    """A value of a config for a message."""
    return quote(str(value)) if isinstance(value, (str, int, float, list)) else str(value)[:40]


def activation_name(value: object) -> str:
    """Return the name of one of Keras's activations, or a text that is the name of none."""
    if value is None:
        return "linear"
    if isinstance(value, dict):  # a layer, or a function of the user, which may have any name
        return f"of class {value.get('class_name')}"
    return value if isinstance(value, str) else "unknown"
