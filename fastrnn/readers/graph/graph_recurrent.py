# SPDX-License-Identifier: MIT
"""Recurrent calls as layers: weights, directions, initial states and lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...stack_spec import GATES, parameter_shapes
from ..containers.elements import Array
from ..recurrent_names import flat_names
from .graph import CELLS
from .graph_call import Handler, OperatorCall, PoisonError, weight_of
from .graph_steps import after, features_last, reverse, with_time, without_ones
from .graph_values import (
    Atom,
    Axis,
    Const,
    Data,
    Dims,
    Finals,
    ObstructionError,
    Poison,
    Recurrence,
    Row,
    State,
    Step,
    Value,
    check_features,
    dim_of,
    dims_of,
    solid,
)


@dataclass(frozen=True, slots=True)
class _Stack:
    """What a call says by itself, apart from its data and states."""

    cell: str
    rows: int  # of the final states: layers times directions
    inputs: int
    hidden: int
    width: int  # of y and h, for each direction
    options: dict[str, object]
    arrays: dict[str, Array]


def _recurrent(call: OperatorCall) -> tuple[Value, ...]:
    """The outputs y, h_n and c_n of a call; its input must be data with a time axis."""
    stack = _stack(call)
    data = call.data("input")
    if len(data.axes) != 3:
        raise ObstructionError(f"its input has {len(data.axes)} axes, expected 3")
    time, batch, features = data.axes
    if call.get("batch_first") is True:
        time, batch = batch, time
    check_features(features, stack.inputs)
    if not time:
        raise ObstructionError("its input has no time axis, only one step")
    step = features_last(without_ones(data.step, data.axes), features)
    step, position = with_time(step, time)
    _check_batch(step, position, batch)
    lengths = _lengths(call.get("lengths"), time)
    if step.lengths is not None and step.lengths != lengths:
        raise ObstructionError("it does not take the same sequence_lens as the layers before it")
    states, constants = _states(call, stack)
    name = call.name(stack.cell, "params")
    if backwards := call.get("reverse") is True:
        step = replace(reverse(Data(step, data.axes), time, name).step, lengths=lengths)
    direction = Atom("direction", 2 if stack.options["bidirectional"] else 1, is_feature=True)
    hidden = Atom("hidden", stack.width, is_feature=True)
    options = {**stack.options, "batch_first": position == 1}
    layout = (*step.layout[:-1], (direction, hidden))
    made = after(step, stack.cell, name, options, stack.arrays | constants, layout)
    recurrence = Recurrence(direction, hidden, stack.rows, states)
    made = replace(made, time=time, recurrence=recurrence, lengths=lengths)
    y = Data(made, (*data.axes[:2], (direction, hidden)))
    if backwards:
        y = reverse(y, time, name)
    return y, *(_finals(made, batch, kind, stack) for kind in "hc"[: len(states)])


def _finals(step: Step, batch: Axis, kind: str, stack: _Stack) -> Finals:
    """All final states h or c of a layer."""
    row = Atom("row", stack.rows)
    hidden = Atom("hidden", stack.width if kind == "h" else stack.hidden, is_feature=True)
    rows = tuple(Row(step, index, kind) for index in range(stack.rows))
    return Finals(rows, row, hidden, ((row,), batch, (hidden,)))


# --- The call by itself ---


def _stack(call: OperatorCall) -> _Stack:
    """Options and weights, which have to fit together."""
    peepholes = call.get("peepholes")
    if not (peepholes is None or (isinstance(peepholes, Const) and peepholes.is_zero)):
        raise ObstructionError("it has peepholes (P)")
    layers, bias = call.literal("num_layers", 1), call.literal("has_biases", True)
    two_way, cell = call.literal("bidirectional", False), CELLS[call.op]
    arrays = _weights(call, layers, bias, two_way)
    first = arrays["weight_ih_l0"]
    hidden, rest = divmod(first.shape[0], GATES[cell])
    projection = arrays["weight_hr_l0"].shape[0] if "weight_hr_l0" in arrays else 0
    shapes = parameter_shapes(cell, first.shape[1], hidden, layers, bias, two_way, projection)
    for name, shape in shapes.items():
        if arrays[name].shape != shape or rest or (projection and cell != "LSTM"):
            found = f"{name} has shape {arrays[name].shape}"
            raise ObstructionError(f"{found}, expected {shape} in a {cell} of {hidden} units")
    if call.integer("hidden_size", hidden) != hidden:
        said = call.get("hidden_size")
        raise ObstructionError(f"its hidden_size is {said}, its weights have {hidden}")
    options: dict[str, object] = {
        "input_size": first.shape[1], "hidden_size": hidden, "num_layers": layers, "bias": bias,
        "bidirectional": two_way,
    }  # fmt: skip
    if not call.is_onnx:
        options["dropout"] = call.literal("dropout", 0.0)
        options |= {"proj_size": projection} if cell == "LSTM" else {}
    if cell == "RNN":
        options["nonlinearity"] = call.op.removeprefix("rnn_")
    if call.get("reset_after") is False:
        options["reset_after"] = False
    rows = 2 * layers if two_way else layers
    width = projection or hidden
    return _Stack(cell, rows, first.shape[1], hidden, width, options, arrays)


def _weights(call: OperatorCall, layers: int, bias: bool, two_way: bool) -> dict[str, Array]:
    """The weights by name; the call lists them by layers, then directions."""
    params = call.get("params")
    if not isinstance(params, list) or not params:
        raise ObstructionError("its weights are not a list of parameters")
    names = flat_names(len(params), layers, bias, two_way)
    if not names:
        raise ObstructionError(
            f"{len(params)} weights do not fit {layers} layers, bias={bias}, "
            f"bidirectional={two_way}"
        )
    ranks = [2 if name.startswith("weight") else 1 for name in names]
    given = zip(names, params, ranks, strict=True)
    return {name: weight_of(value, name, rank).array for name, value, rank in given}


# --- The call in the model ---


def _check_batch(step: Step, time_at: int, batch: Axis) -> None:
    """What is not time or features must be the batch."""
    others = [axis for at, axis in enumerate(step.layout[:-1]) if at != time_at]
    if any(solid(axis) != solid(batch) for axis in others) or (not others and solid(batch)):
        raise ObstructionError("its batch axis is not one that the model's input has")


def _lengths(value: Value, time: Axis) -> str | None:
    """The input of the graph that holds the sequence lengths, None if all rows are full."""
    if value is None:
        return None
    if isinstance(value, Data) and value.step.parent is None and value.step.is_integer:
        return value.step.layer.name
    size = dim_of(time).number
    if isinstance(value, Const) and size is not None and np.all(value.array == size):
        return None
    raise ObstructionError(
        "its sequence_lens are neither an input of the model nor all equal to its time"
    )


def _states(call: OperatorCall, stack: _Stack) -> tuple[tuple[State | None, ...], dict[str, Array]]:
    """Initial states that the caller gives, and those that are constants, as h_0 and c_0."""
    value, parts = call.get("hx"), "hc" if stack.cell == "LSTM" else "h"
    items = [*value, None, None] if isinstance(value, list) else [value, None]
    given: list[State | None] = []
    arrays: dict[str, Array] = {}
    for part, item in zip(parts, items, strict=False):
        state = _state(item, part, stack)
        given.append(state if isinstance(state, tuple) else None)
        if isinstance(state, np.ndarray):
            arrays[f"{part}_0"] = state
    if arrays and any(given):
        raise ObstructionError("of its initial states only one is given by the caller")
    for part, width in zip(parts, (stack.width, stack.hidden), strict=False) if arrays else ():
        arrays.setdefault(f"{part}_0", np.zeros((stack.rows, width), np.float32))
    return tuple(given), arrays


def _state(item: Value, part: str, stack: _Stack) -> State | Array | None:
    """One initial state: rows of an input, one row of numbers for each layer, or zeros."""
    name = f"initial_{part}"
    if item is None:
        return None
    if isinstance(item, Poison):
        raise PoisonError
    width = stack.width if part == "h" else stack.hidden
    if isinstance(item, (Const, Data)):
        _check_state(name, dims_of(item), stack.rows, width)
    if isinstance(item, Data) and item.step.parent is None and not item.step.is_integer:
        return item.step.layer.name, item.rows or range(stack.rows)
    if not isinstance(item, Const):
        raise ObstructionError(f"its {name} depends on the data")
    if item.is_zero:
        return None
    if item.array.dtype.kind != "f" or np.any(item.array != item.array[:, :1]):
        raise ObstructionError(f"its {name} is a constant that differs within the batch")
    return np.broadcast_to(item.array[:, 0], (stack.rows, width))


def _check_state(name: str, shape: Dims, rows: int, width: int) -> None:
    """The shape of an initial state as far as it is known: layers and directions, batch, hidden."""
    expected, numbers = [rows, "batch", width], [size.number for size in shape]
    if len(numbers) != 3 or any(numbers[at] not in (None, expected[at]) for at in (0, 2)):
        raise ObstructionError(f"its {name} has shape {numbers}, expected {expected}")


RECURRENT: dict[str, Handler] = dict.fromkeys(CELLS, _recurrent)
