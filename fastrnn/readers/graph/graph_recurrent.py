# SPDX-License-Identifier: MIT
"""Recurrent calls as layers: weights, directions, initial states and lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...stack_spec import LAYERS, Spec, parameter_names
from ..containers.elements import Array
from .graph import CELLS, Node
from .graph_axes import after, features_last, time_position, without_ones
from .graph_states import reverse
from .graph_values import (
    Atom,
    Axis,
    Const,
    Data,
    Dims,
    Finals,
    GivenState,
    ObstructionError,
    Poison,
    Recurrence,
    Row,
    Step,
    Value,
    dim_of,
    dims_of,
    solid,
)
from .translation import (
    Args,
    Handler,
    PoisonError,
    Translation,
    data_of,
    name_of,
    options_of,
    weight_of,
)

_MOST_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class _Call:
    """What a call says by itself, apart from its data and states."""

    cell: str
    layers: int
    directions: int
    inputs: int
    hidden: int
    width: int  # of y and h, for each direction
    options: dict[str, object]
    arrays: dict[str, Array]


def _recurrent(self: Translation, node: Node, args: Args) -> tuple[Value, ...]:
    """The outputs y, h_n and c_n of a call; its input must be data with a time axis."""
    call = _read_call(self, node, args)
    data = data_of(args.get("input"))
    if len(data.axes) != 3:
        raise ObstructionError(f"its input has {len(data.axes)} axes, expected 3")
    time, batch, features = data.axes
    if args.get("batch_first") is True:
        time, batch = batch, time
    known = dim_of(features).number
    if known not in (None, call.inputs):
        raise ObstructionError(
            f"its weights take {call.inputs} features, the layer before gives {known}"
        )
    if not time:
        raise ObstructionError("its input has no time axis, only one step")
    step = features_last(without_ones(data.step, data.axes), features)
    position = time_position(step, time)
    _check_batch(step, position, batch)
    lengths = _lengths(args.get("lengths"), time)
    states, constants = _states(args.get("hx"), call)
    name = name_of(node, call.cell, *_parameters(args))
    if step.lengths is not None and step.lengths != lengths:
        raise ObstructionError("it does not take the same sequence_lens as the layers before it")
    if backwards := args.get("reverse") is True:
        step = replace(reverse(Data(step, data.axes), time, name).step, lengths=lengths)
    direction = Atom("direction", call.directions, is_feature=True)
    hidden = Atom("hidden", call.width, is_feature=True)
    options = {**call.options, "batch_first": position == 1}
    layout = (*step.layout[:-1], (direction, hidden))
    made = after(step, call.cell, name, options, call.arrays | constants, layout)
    recurrence = Recurrence(direction, hidden, call.layers, states)
    made = replace(made, time=time, recurrence=recurrence, lengths=lengths)
    y = Data(made, (*data.axes[:2], (direction, hidden)))
    if backwards:
        y = reverse(y, time, name)
    return y, *(_finals(made, batch, kind, call) for kind in "hc"[: len(states)])


def _finals(step: Step, batch: Axis, kind: str, call: _Call) -> Finals:
    """All final states h or c of a layer."""
    count = call.layers * call.directions
    row = Atom("row", count)
    hidden = Atom("hidden", call.width if kind == "h" else call.hidden, is_feature=True)
    rows = tuple(Row(step, index, kind) for index in range(count))
    return Finals(rows, row, hidden, ((row,), batch, (hidden,)))


# --- The call by itself ---


def _read_call(self: Translation, node: Node, args: Args) -> _Call:
    """Options and weights, which have to fit together."""
    peepholes = args.get("peepholes")
    if not (peepholes is None or (isinstance(peepholes, Const) and peepholes.is_zero)):
        raise ObstructionError("it has peepholes (P)")
    read = options_of(
        args, has_biases=True, num_layers=1, dropout=0.0, bidirectional=False, batch_first=False
    )
    layers, bias, two_way = (read[name] for name in ("num_layers", "has_biases", "bidirectional"))
    assert isinstance(layers, int)
    assert isinstance(bias, bool)
    assert isinstance(two_way, bool)
    cell = CELLS[node.op]
    arrays = _weights(_parameters(args), layers, bias, two_way)
    first = arrays["weight_ih_l0"]
    declared = LAYERS[cell][0]
    hidden, rest = divmod(first.shape[0], len(declared.gates))
    projection = arrays["weight_hr_l0"].shape[0] if "weight_hr_l0" in arrays else 0
    spec = Spec(declared.name, first.shape[1], hidden, layers, bias, two_way, projection)
    for name, shape in spec.shapes().items():
        if arrays[name].shape != shape or rest or (projection and not declared.projects):
            raise ObstructionError(
                f"{name} has shape {arrays[name].shape}, expected {shape} in a {cell} of {hidden} "
                "units"
            )
    if args.get("hidden_size", hidden) != hidden:
        raise ObstructionError(
            f"its hidden_size is {args['hidden_size']}, its weights have {hidden}"
        )
    options: dict[str, object] = {
        "input_size": first.shape[1], "hidden_size": hidden, "num_layers": layers, "bias": bias,
        "bidirectional": two_way,
    }  # fmt: skip
    if not self.graph.is_onnx:
        options["dropout"] = read["dropout"]
        options |= {"proj_size": projection} if cell == "LSTM" else {}
    if cell == "RNN":
        options["nonlinearity"] = node.op.removeprefix("rnn_")
    if args.get("reset_after") is False:
        options["reset_after"] = False
    inputs, directions = first.shape[1], 2 if two_way else 1
    return _Call(cell, layers, directions, inputs, hidden, projection or hidden, options, arrays)


def _parameters(args: Args) -> list[Value]:
    params = args.get("params")
    if not isinstance(params, list) or not params:
        raise ObstructionError("its weights are not a list of parameters")
    return params


def _weights(params: list[Value], layers: int, bias: bool, two_way: bool) -> dict[str, Array]:
    """The weights by name; the call lists them by layers, then directions."""
    groups = layers * (2 if two_way else 1)
    each = len(params) // groups if 0 < layers <= _MOST_LAYERS else 0
    least = 4 if bias else 2
    if each not in (least, least + 1) or each * groups != len(params):
        raise ObstructionError(
            f"{len(params)} weights do not fit {layers} layers, bias={bias}, "
            f"bidirectional={two_way}"
        )
    names = parameter_names(layers, two_way, bias, each - least)
    ranks = {name: 2 if name.startswith("weight") else 1 for name in names}
    given = zip(names, params, strict=True)
    return {name: weight_of(value, name, ranks[name]).array for name, value in given}


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


def _states(value: Value, call: _Call) -> tuple[tuple[GivenState | None, ...], dict[str, Array]]:
    """Initial states that the caller gives, and those that are constants, as h_0 and c_0."""
    parts = "hc" if call.cell == "LSTM" else "h"
    items = list(value) if isinstance(value, list) else [value]
    given: list[GivenState | None] = []
    arrays: dict[str, Array] = {}
    for part, item in zip(parts, (*items, None, None), strict=False):
        state = _state(item, part, call)
        given.append(state if isinstance(state, GivenState) else None)
        if isinstance(state, np.ndarray):
            arrays[f"{part}_0"] = state
    if arrays and any(given):
        raise ObstructionError("of its initial states only one is given by the caller")
    return tuple(given), arrays


def _state(item: Value, part: str, call: _Call) -> GivenState | Array | None:
    """One initial state: rows of an input, one row of numbers for each layer, or zeros."""
    name, count = f"initial_{part}", call.layers * call.directions
    if item is None:
        return None
    if isinstance(item, Poison):
        raise PoisonError
    width = call.width if part == "h" else call.hidden
    if isinstance(item, (Const, Data)):
        _check_state(name, dims_of(item), count, width)
    if isinstance(item, Data) and item.step.parent is None and not item.step.is_integer:
        rows = item.rows or range(count)
        return GivenState(item.step.layer.name, rows.start, rows.stop)
    if not isinstance(item, Const):
        raise ObstructionError(f"its {name} depends on the data")
    if item.is_zero:
        return None
    if item.array.dtype.kind != "f" or np.any(item.array != item.array[:, :1]):
        raise ObstructionError(f"its {name} is a constant that differs within the batch")
    return np.broadcast_to(item.array[:, 0], (count, width))


def _check_state(name: str, shape: Dims, count: int, width: int) -> None:
    """The shape of an initial state as far as it is known: layers and directions, batch, hidden."""
    expected, numbers = [count, "batch", width], [size.number for size in shape]
    if len(numbers) != 3 or any(numbers[at] not in (None, expected[at]) for at in (0, 2)):
        raise ObstructionError(f"its {name} has shape {numbers}, expected {expected}")


RECURRENT: dict[str, Handler] = dict.fromkeys(CELLS, _recurrent)
