# SPDX-License-Identifier: MIT
"""Recurrent calls as layers: weights, directions, initial states and lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...stack_spec import CELLS, Spec, constructor_options
from ..containers.elements import Array
from .graph import flat_names
from .graph_call import Handler, OperatorCall, PoisonError, weight_of
from .graph_steps import after, features_last, reverse, with_time, without_ones
from .graph_values import (
    Atom,
    Axis,
    Const,
    Data,
    Finals,
    ObstructionError,
    Poison,
    RankError,
    Recurrence,
    Row,
    State,
    Step,
    Value,
    check_features,
    dim_of,
    solid,
)


def _recurrent(call: OperatorCall) -> tuple[Value, ...]:
    """The outputs y, h_n and c_n of a call; its input must be data with a time axis."""
    spec, arrays = parameters(call)
    data = call.data("input")
    if len(data.axes) != 3:
        raise RankError(f"its input has {len(data.axes)} axes, expected 3")
    time, batch, features = data.axes
    if call.get("batch_first") is True:
        time, batch = batch, time
    check_features(features, spec.input_size)
    if not time:
        raise ObstructionError("its input has no time axis, only one step")
    step = features_last(without_ones(data.step, data.axes), features)
    step, position = with_time(step, time)
    _check_batch(step, position, batch)
    lengths = _lengths(call.get("lengths"), time)
    if step.lengths is not None and step.lengths != lengths:
        raise ObstructionError("it does not take the same sequence_lens as the layers before it")
    states, constants = _states(call.get("hx"), spec)
    name, kind = call.name(spec.declaration.layer, "params"), spec.declaration.layer
    if backwards := call.get("reverse") is True:
        step = reverse(step, time, name, lengths)
    direction = Atom("direction", spec.directions, is_feature=True, is_direction=True)
    hidden = Atom("hidden", spec.output_size, is_feature=True)
    options = {**options_of(call, spec), "batch_first": position == 1}
    layout = (*step.layout[:-1], (direction, hidden))
    made = after(step, kind, name, options, arrays | constants, layout)
    recurrence = Recurrence(direction, hidden, spec.state_rows, states)
    made = replace(made, time=time, recurrence=recurrence, lengths=lengths)
    turned = reverse(made, time, name, lengths) if backwards else made
    y = Data(turned, (*data.axes[:2], (direction, hidden)))
    sizes = zip(spec.declaration.states, spec.state_sizes, strict=True)
    return y, *(_finals(made, batch, part, size) for part, size in sizes)


def _finals(step: Step, batch: Axis, part: str, size: int) -> Finals:
    """All final states h or c of a layer."""
    assert step.recurrence is not None
    count = step.recurrence.rows
    row, hidden = Atom("row", count), Atom("hidden", size, is_feature=True)
    rows = tuple(Row(step, index, part) for index in range(count))
    return Finals(rows, row, hidden, ((row,), batch, (hidden,)))


# --- The call by itself ---


def parameters(call: OperatorCall) -> tuple[Spec, dict[str, Array]]:
    """Sizes and weights, which have to fit together; a call lists weights by layers, directions."""
    peepholes, params = call.get("peepholes"), call.get("params")
    if not (peepholes is None or (isinstance(peepholes, Const) and peepholes.is_zero)):
        raise ObstructionError("it has peepholes (P)")
    if not isinstance(params, list) or not params:
        raise ObstructionError("its weights are not a list of parameters")
    layers, bias = call.literal("num_layers", 1), call.literal("has_biases", True)
    bidirectional, cell = call.literal("bidirectional", False), CELLS[call.op]
    names = flat_names(len(params), layers, bias, bidirectional)
    if not names:
        raise ObstructionError(
            f"{len(params)} weights do not fit {layers} layers, bias={bias}, "
            f"bidirectional={bidirectional}"
        )
    ranks = [2 if name.startswith("weight") else 1 for name in names]
    given = zip(names, params, ranks, strict=True)
    arrays = {name: weight_of(value, name, rank).array for name, value, rank in given}
    rows, inputs = arrays["weight_ih_l0"].shape
    hidden, rest = divmod(rows, len(cell.gates))
    projection = arrays["weight_hr_l0"].shape[0] if "weight_hr_l0" in arrays else 0
    spec = Spec(call.op, inputs, hidden, layers, bias, bidirectional, projection)
    for name, shape in spec.shapes().items():
        if arrays[name].shape != shape or rest or (projection and not cell.projects):
            found, unit = arrays[name].shape, f"{cell.layer} of {hidden} units"
            raise ObstructionError(f"{name} has shape {found}, expected {shape} in a {unit}")
    if call.integer("hidden_size", hidden) != hidden:
        said = call.get("hidden_size")
        raise ObstructionError(f"its hidden_size is {said}, its weights have {hidden}")
    return spec, arrays


def options_of(call: OperatorCall, spec: Spec) -> dict[str, object]:
    """The options of the layer, as far as the format knows them or they are not the usual ones."""
    cell = spec.declaration
    options: dict[str, object] = {
        "input_size": spec.input_size, "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers, "bias": spec.bias, "bidirectional": spec.bidirectional,
    }  # fmt: skip
    if not call.is_onnx:
        options["dropout"] = call.literal("dropout", 0.0)
        if call.get("train") is True and options["dropout"] and spec.num_layers > 1:
            raise ObstructionError("it drops out in training mode: its result is random")
        options |= {"proj_size": spec.proj_size} if cell.projects else {}
    usual = constructor_options(cell.layer)
    named = {name for name, value in cell.options.items() if value != usual[name]}
    return options | {k: v for k, v in cell.options.items() if k in named or k == "nonlinearity"}


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


def _states(value: Value, spec: Spec) -> tuple[tuple[State | None, ...], dict[str, Array]]:
    """Initial states that the caller passes, and those that are constants, as h_0 and c_0."""
    items = [*value, None, None] if isinstance(value, list) else [value, None]
    given: list[State | None] = []
    arrays: dict[str, Array] = {}
    for part, width, item in zip(spec.declaration.states, spec.state_sizes, items, strict=False):
        state = _state(item, f"initial_{part}", spec.state_rows, width)
        given.append(state if isinstance(state, tuple) else None)
        if isinstance(state, np.ndarray):
            arrays[f"{part}_0"] = state
    if arrays and any(given):
        raise ObstructionError("of its initial states only one is given by the caller")
    if arrays:
        for part, width in zip(spec.declaration.states, spec.state_sizes, strict=True):
            arrays.setdefault(f"{part}_0", np.zeros((spec.state_rows, width), np.float32))
    return tuple(given), arrays


def _state(item: Value, name: str, rows: int, width: int) -> State | Array | None:
    """One initial state: rows of an input, one row of values for each layer, or zeros."""
    if item is None:
        return None
    if isinstance(item, Poison):
        raise PoisonError
    if isinstance(item, (Const, Data)):
        expected, numbers = [rows, "batch", width], [size.number for size in item.dims]
        if len(numbers) != 3 or any(numbers[at] not in (None, expected[at]) for at in (0, 2)):
            raise ObstructionError(f"its {name} has shape {numbers}, expected {expected}")
    if isinstance(item, Data) and item.step.parent is None and not item.step.is_integer:
        return item.step.layer.name, item.rows or range(rows)
    if not isinstance(item, Const):
        raise ObstructionError(f"its {name} depends on the data")
    if item.is_zero:
        return None
    if item.array.dtype.kind != "f" or np.any(item.array != item.array[:, :1]):
        raise ObstructionError(f"its {name} is a constant that differs within the batch")
    return np.broadcast_to(item.array[:, 0], (rows, width))


RECURRENT: dict[str, Handler] = dict.fromkeys(CELLS, _recurrent)
