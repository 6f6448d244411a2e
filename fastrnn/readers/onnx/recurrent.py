# SPDX-License-Identifier: MIT
"""LSTM, GRU and RNN nodes: weights in PyTorch's gate order, directions, states and lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..containers.elements import Array
from ..description import Layer
from .axes import after, features_last, time_position
from .messages import (
    Node,
    float_attribute,
    floats_attribute,
    int_attribute,
    text_attribute,
    texts_attribute,
)
from .names import module_name
from .states import whole
from .values import (
    Atom,
    Axis,
    CannotMap,
    Const,
    Data,
    Dim,
    Finals,
    Given,
    Inputs,
    Recurrence,
    Row,
    Spread,
    Step,
    Unknown,
    Value,
    Zeros,
    dim_of,
    solid,
)

# PyTorch's gates by their place among ONNX's: i o f c -> i f g o, z r h -> r z n.
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_NO_CLIP = 3e38  # some writers give the largest float


@dataclass(frozen=True, slots=True)
class Unit:
    """What a node says by itself, apart from its data and states."""

    cell: str
    direction: str
    hidden: int
    inputs: int
    batch_first: bool
    options: dict[str, object]
    arrays: dict[str, Array]

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.direction == "bidirectional" else 1


# --- The node by itself ---


def read_unit(node: Node, inputs: Inputs) -> Unit:
    """Attributes and weights of a recurrent node; CannotMap with all that is in the way."""
    cell = node.op_type
    direction = text_attribute(node, "direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    reasons = [] if direction in _DIRECTIONS else [f"its direction is {direction[:20]!r}"]
    layout = int_attribute(node, "layout", 0)
    reasons += [] if layout in (0, 1) else [f"its layout is {layout}"]
    if "clip" in node.attributes and abs(float_attribute(node, "clip", 0.0)) < _NO_CLIP:
        reasons.append("it clips what goes into the activations")
    if int_attribute(node, "input_forget", 0):
        reasons.append("it couples the input and the forget gate (input_forget)")
    options, activation_reasons = _activations(node, cell, count)
    reasons += activation_reasons
    peepholes = inputs.get(7) if cell == "LSTM" else None
    without = peepholes is None or isinstance(peepholes, Zeros)
    if not (without or (isinstance(peepholes, Const) and not peepholes.array.any())):
        reasons.append("it has peepholes (P)")
    if cell == "GRU" and not int_attribute(node, "linear_before_reset", 0):
        options["reset_after"] = False
    try:
        hidden, width, arrays = _weights(cell, count, inputs)
        said = int_attribute(node, "hidden_size", hidden)
        if said != hidden:
            reasons.append(f"its hidden_size is {said}, its weights have {hidden}")
    except CannotMap as reason:
        reasons.append(str(reason))
    if reasons:
        raise CannotMap("; ".join(reasons))
    return Unit(cell, direction, hidden, width, layout == 1, options, arrays)


def _activations(node: Node, cell: str, count: int) -> tuple[dict[str, object], list[str]]:
    """The option nonlinearity, and what is not as in PyTorch."""
    floats_attribute(node, "activation_alpha")  # of no meaning for those that are supported
    named = texts_attribute(node, "activations")
    expected = _ACTIVATIONS[cell] * count
    found = expected if named is None else [name.lower() for name in named]
    if cell == "RNN" and found == ["relu"] * count:
        return {"nonlinearity": "relu"}, []
    if found != expected:
        shown = ", ".join(name[:20] for name in (named or [])[:6])
        return {}, [f"its activations are {shown}, expected {', '.join(expected)}"]
    return {"nonlinearity": "tanh"} if cell == "RNN" else {}, []


def _weights(cell: str, count: int, inputs: Inputs) -> tuple[int, int, dict[str, Array]]:
    """Hidden size, input size and the weights by PyTorch's names."""
    order = _ORDER[cell]
    w, r = inputs.const(1, "W"), inputs.const(2, "R")
    if w.ndim != 3 or r.ndim != 3:
        raise CannotMap(f"W and R have shapes {w.shape} and {r.shape}, expected three axes")
    hidden, rows = r.shape[2], len(order) * r.shape[2]
    if not hidden or not w.shape[2]:
        raise CannotMap("its hidden size or input size is 0")
    b: Array | None = None
    if isinstance(inputs.get(3), Const):
        b = inputs.const(3, "B")
    elif not isinstance(inputs.get(3), (Zeros, type(None))):
        raise CannotMap("its B is not a constant")
    wanted = {"W": (count, rows, w.shape[2]), "R": (count, rows, hidden), "B": (count, 2 * rows)}
    for name, array in (("W", w), ("R", r), ("B", b)):
        if array is not None and array.shape != wanted[name]:
            raise CannotMap(f"{name} has shape {array.shape}, expected {wanted[name]}")
        if array is not None and array.dtype.kind != "f":
            raise CannotMap(f"{name} does not hold floats")
    arrays: dict[str, Array] = {}
    for index, suffix in zip(range(count), ("_l0", "_l0_reverse"), strict=False):
        arrays[f"weight_ih{suffix}"] = _reorder(w[index], order)
        arrays[f"weight_hh{suffix}"] = _reorder(r[index], order)
        if b is not None:
            arrays[f"bias_ih{suffix}"] = _reorder(b[index, :rows], order)
            arrays[f"bias_hh{suffix}"] = _reorder(b[index, rows:], order)
    return hidden, w.shape[2], arrays


def _reorder(array: Array, order: tuple[int, ...]) -> Array:
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[index] for index in order])


# --- The node in the model ---


def recurrent(node: Node, inputs: Inputs) -> list[Value]:
    """The outputs Y, Y_h and Y_c of a node; its input must be data with a time axis."""
    unit = read_unit(node, inputs)
    if isinstance(inputs.get(0), Unknown):
        return []
    data = whole(inputs.get(0))
    if len(data.axes) != 3:
        raise CannotMap(f"its input X has {len(data.axes)} axes, expected 3")
    time, batch, features = data.axes
    if unit.batch_first:
        time, batch = batch, time
    if dim_of(features).number not in (None, unit.inputs):
        raise CannotMap(f"its W takes {unit.inputs} features, its input has another number")
    step = features_last(data.step, features)
    position = time_position(step, time)
    _check_batch(step, position, batch)
    lengths = _lengths(inputs.get(4), time)
    states, arrays = _states(unit, inputs)
    name, scoped = module_name(node)
    if step.lengths is not None and step.lengths != lengths:
        raise CannotMap("it does not take the same sequence_lens as the layers before it")
    if unit.direction == "reverse":
        step = replace(reverse(node, Data(step, data.axes), time).step, lengths=lengths)
    direction, hidden = Atom("direction", unit.directions), Atom("hidden", unit.hidden)
    options: dict[str, object] = {
        "input_size": unit.inputs, "hidden_size": unit.hidden, "num_layers": 1,
        "bias": "bias_ih_l0" in unit.arrays, "batch_first": position == 1,
        "bidirectional": unit.directions == 2, **unit.options,
    }  # fmt: skip
    layer = Layer(name, unit.cell, options, unit.arrays | arrays)
    made = (direction, hidden)
    layout = (*step.layout[:-1], made if unit.directions == 2 else (hidden,))
    recurrence = Recurrence(direction, hidden, states)
    own = Step(step, layer, layout, time, recurrence, scoped, lengths=lengths)
    return _outputs(node, unit, own, (time, batch))


def _outputs(node: Node, unit: Unit, step: Step, leading: tuple[Axis, Axis]) -> list[Value]:
    """Y with its axes, and the final states."""
    recurrence = step.recurrence
    assert recurrence is not None
    time, batch = leading
    direction, hidden = (recurrence.direction,), (recurrence.hidden,)
    if unit.batch_first:
        y = Data(step, (batch, time, direction, hidden))
    else:
        y = Data(step, (time, direction, batch, hidden))
    if unit.direction == "reverse":
        y = reverse(node, y, time)
    outputs: list[Value] = [y]
    for kind in ("h", "c")[: len(recurrence.states)]:
        rows = tuple(Row(step, index, kind) for index in range(unit.directions))
        row = Atom("direction", unit.directions)
        axes = (batch, (row,), hidden) if unit.batch_first else ((row,), batch, hidden)
        outputs.append(Finals(rows, row, recurrence.hidden, axes))
    return outputs


def _check_batch(step: Step, time_at: int, batch: Axis) -> None:
    """What is not time or features must be the batch."""
    others = [axis for index, axis in enumerate(step.layout[:-1]) if index != time_at]
    if any(solid(axis) != solid(batch) for axis in others) or (not others and solid(batch)):
        raise CannotMap("its batch axis is not one that the model's input has")


def _lengths(value: Value | None, time: Axis) -> str | None:
    """The graph input that holds the sequence lengths, None if all rows are full."""
    if value is None:
        return None
    if isinstance(value, Data) and value.step.parent is None and value.step.integer:
        return value.step.layer.name
    size = dim_of(time).number
    if isinstance(value, Const) and size is not None and np.all(value.array == size):
        return None
    raise CannotMap("its sequence_lens are neither an input of the model nor all equal to its time")


def _states(unit: Unit, inputs: Inputs) -> tuple[tuple[Given | None, ...], dict[str, Array]]:
    """Initial states that the caller gives, and those that are constants, as h_0 and c_0."""
    names = ("initial_h", "initial_c") if unit.cell == "LSTM" else ("initial_h",)
    given: list[Given | None] = []
    arrays: dict[str, Array] = {}
    for position, name in enumerate(names, 5):
        value = inputs.get(position)
        if isinstance(value, Data) and value.step.parent is None and not value.step.integer:
            dims = tuple(dim_of(axis) for axis in value.axes)
            value = Given(value.step.layer.name, 0, unit.directions, dims)
        array = value.array if isinstance(value, (Const, Spread)) else None
        shape = (
            tuple(Dim(size) for size in array.shape) if array is not None else
            getattr(value, "shape", None)
        )  # fmt: skip
        _check_state(unit, name, shape)
        given.append(value if isinstance(value, Given) else None)
        if array is not None and array.any():
            rows = array.swapaxes(0, 1) if unit.batch_first else array
            if rows.dtype.kind != "f" or np.any(rows != rows[:, :1]):
                raise CannotMap(f"its {name} is a constant that differs within the batch")
            arrays[f"{name[-1]}_0"] = np.ascontiguousarray(rows[:, 0])
        elif not (array is not None or value is None or isinstance(value, (Zeros, Given))):
            raise CannotMap(f"its {name} depends on the data")
    if len({state is None for state in given}) > 1:
        raise CannotMap("of its initial states only one is given by the caller")
    return tuple(given), arrays


def _check_state(unit: Unit, name: str, shape: tuple[Dim | None, ...] | None) -> None:
    """The shape of an initial state as far as it is known: [directions][batch][hidden]."""
    if shape is None:
        return
    expected: list[int | None] = [unit.directions, None, unit.hidden]
    if unit.batch_first:
        expected = [None, unit.directions, unit.hidden]
    numbers = [None if size is None else size.number for size in shape]
    if len(numbers) != 3 or any(
        None not in (a, b) and a != b for a, b in zip(numbers, expected, strict=True)
    ):
        text = ["batch" if size is None else size for size in expected]
        raise CannotMap(f"its {name} has shape {numbers}, expected {text}")


# --- Time backwards, and two directions in one layer ---


def reverse(node: Node, data: Data, time: Axis) -> Data:
    """The data followed by a layer that reverses time; two of them cancel out."""
    step = data.step
    if step.layer.kind == "Flip" and step.parent is not None and step.time == time:
        return replace(data, step=step.parent)
    name, scoped = module_name(node)
    first = time_position(step, time) == 1
    layer = Layer(name, "Flip", {"batch_first": first})
    made = after(step, layer, step.layout, scoped=scoped)
    return replace(data, step=replace(made, time=time, recurrence=step.recurrence))


def bidirectional(forward: Step, backward: Step) -> Step | None:
    """The layer of both directions, if the second is the first one's twin backwards in time."""
    behind = backward  # of y it is a Flip, of final states the layer itself
    if behind.layer.kind == "Flip" and behind.parent is not None:
        behind = behind.parent
    before = behind.parent
    a, b = forward.layer, behind.layer
    first, second = forward.recurrence, behind.recurrence
    if not (before is not None and before.layer.kind == "Flip" and first and second):
        return None
    if a.kind != b.kind or a.options != b.options or not same(before.parent, forward.parent):
        return None
    if "input_size" not in a.options or a.options["bidirectional"]:
        return None
    if forward.lengths != behind.lengths or any((*first.states, *second.states)):
        return None
    if {"h_0", "c_0"} & (a.arrays.keys() | b.arrays.keys()):
        return None
    arrays = a.arrays | {f"{name}_reverse": array for name, array in b.arrays.items()}
    direction = Atom("direction", 2)
    layer = Layer(a.name, a.kind, a.options | {"bidirectional": True}, arrays)
    recurrence = replace(first, direction=direction)
    layout = (*forward.layout[:-1], (direction, first.hidden))
    return replace(forward, layer=layer, layout=layout, recurrence=recurrence)


def same(a: Step | None, b: Step | None) -> bool:
    """Whether two steps are one, but for layers that both put before themselves."""
    while a is not b:
        if a is None or b is None or a.layer.arrays or b.layer.arrays:
            return False
        if (a.layer.kind, a.layer.options) != (b.layer.kind, b.layer.options):
            return False
        if a.recurrence is not None or b.recurrence is not None:
            return False
        a, b = a.parent, b.parent
    return a is not None
