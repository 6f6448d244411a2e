# SPDX-License-Identifier: MIT
"""Guitar amplifier models in JSON: GuitarML (Proteus, NeuralPi) and NAM's LSTM, as whole models."""

from __future__ import annotations

import numpy as np

from ...stack_spec import LAYERS, Shape, Spec, find_cell
from ..containers.elements import Array
from ..description import DescribedLayer, Description, Obstacle, unsupported
from ..entry_names import below
from ..errors import FormatError, listing, quote
from .json_values import Object, floats, json_map, nested, shown, size

GUITARML = "guitarml"
NAM = "nam"

_MOST_LAYERS = 64
_RETRAIN = "Only recurrent models are read: train or export one with an LSTM."


# --- GuitarML: torch's names, nested lists


def describe_guitarml(model: Object) -> Description:
    """Describe a model of GuitarML; values are [batch][steps][channels]."""
    data, state = json_map(model, "model_data"), json_map(model, "state_dict")
    kind, unit = data.get("model"), data.get("unit_type", "LSTM")
    obstacles = []
    if kind != "SimpleRNN":
        why = "only SimpleRNN is supported"
        obstacles.append(Obstacle("model", shown(kind), why))
    elif not isinstance(unit, str) or unit not in LAYERS:
        obstacles.append(Obstacle("rec", shown(unit), "only LSTM, GRU and RNN are supported"))
    if obstacles:
        raise unsupported(obstacles, _RETRAIN)
    layer = str(unit)
    inputs, outputs = size(data, "input_size", 1), size(data, "output_size", 1)
    hidden, layers = size(data, "hidden_size"), size(data, "num_layers", 1, _MOST_LAYERS)
    skip = size(data, "skip", 0, least=0)
    bias = data.get("bias_fl", True)
    if not isinstance(bias, (bool, int)) or bias not in (0, 1):
        raise FormatError("model_data: bias_fl is not true or false")
    if skip and (skip != outputs or skip > inputs):
        raise FormatError(f"model_data: skip {skip} with {inputs} inputs and {outputs} outputs")
    shapes: dict[str, Shape] = {"lin.weight": (outputs, hidden)} | (
        {"lin.bias": (outputs,)} if bias else {}
    )
    spec = Spec(find_cell(layer, {}).name, inputs, hidden, layers)
    shapes |= {f"rec.{name}": shape for name, shape in spec.shapes().items()}
    if state.keys() != shapes.keys():
        odd = sorted(state.keys() ^ shapes.keys())
        raise FormatError(f"state_dict: missing or unexpected tensors: {listing(odd)}")
    arrays = {name: _tensor(state[name], shape, name) for name, shape in shapes.items()}
    described = [
        recurrent_layer("rec", spec, below(arrays, "rec")),
        linear_layer("lin", hidden, outputs, below(arrays, "lin")),
    ]
    if skip:
        described.append(DescribedLayer("skip", "AddInput", {"features": skip}))
    return Description(GUITARML, tuple(described))


def _tensor(value: object, shape: Shape, name: str) -> Array:
    what = f"tensor {quote(name)}"
    array = nested(value, what)
    if array.shape != shape:
        raise FormatError(f"{what} has shape {array.shape}, expected {shape}")
    return array


# --- NAM: one flat list of weights


def describe_nam(model: Object) -> Description:
    """Describe a model of NAM; values are [batch][steps][channels]."""
    kind = model["architecture"]
    if kind != "LSTM":
        raise unsupported([Obstacle("model", shown(kind), "only LSTM is supported")], _RETRAIN)
    config = json_map(model, "config")
    inputs, hidden = size(config, "input_size", 1), size(config, "hidden_size")
    layers = size(config, "num_layers", 1, _MOST_LAYERS)
    spec = Spec("lstm", inputs, hidden, layers)
    rows = len(spec.declaration.gates) * hidden
    widths = [inputs if k == 0 else hidden for k in range(layers)]
    counts = [rows * (width + hidden) + rows + 2 * hidden for width in widths]
    values = model.get("weights")
    expected = sum(counts) + hidden + 1
    if not isinstance(values, list) or len(values) != expected:
        found = f"{len(values)} values" if isinstance(values, list) else "no list"
        raise FormatError(f"weights: {found}, a model of this size has {expected}")
    flat = floats(values, "weights")
    arrays: dict[str, Array] = {}
    states: list[tuple[Array, Array]] = []
    for k, (width, count) in enumerate(zip(widths, counts, strict=True)):
        own, flat = flat[:count], flat[count:]
        matrix, rest = (
            own[: -rows - 2 * hidden].reshape(rows, width + hidden),
            own[-rows - 2 * hidden :],
        )
        arrays[f"weight_ih_l{k}"] = matrix[:, :width].copy()
        arrays[f"weight_hh_l{k}"] = matrix[:, width:].copy()
        arrays[f"bias_ih_l{k}"] = rest[:rows].copy()
        arrays[f"bias_hh_l{k}"] = np.zeros(rows, np.float32)
        states.append((rest[rows : rows + hidden], rest[rows + hidden :]))
    # Where the model starts: the state after a second of silence, or so.
    arrays["h_0"], arrays["c_0"] = (np.stack(parts) for parts in zip(*states, strict=True))
    head = {"weight": flat[:hidden].reshape(1, hidden).copy(), "bias": flat[hidden:].copy()}
    return Description(
        NAM,
        (
            recurrent_layer("lstm", spec, arrays),
            linear_layer("head", hidden, 1, head),
        ),
    )


# --- Layers of both, and of RTNeural


def recurrent_layer(name: str, spec: Spec, arrays: dict[str, Array]) -> DescribedLayer:
    """A recurrent layer with these arrays."""
    cell = spec.declaration
    options: dict[str, object] = {
        "input_size": spec.input_size, "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers, "bias": spec.bias, "batch_first": True,
        "bidirectional": False,
    }  # fmt: skip
    return DescribedLayer(name, cell.layer, {**options, **cell.options}, arrays)


def linear_layer(name: str, inputs: int, outputs: int, arrays: dict[str, Array]) -> DescribedLayer:
    """A linear layer, with a bias if the arrays have one."""
    bias = "bias" in arrays
    options: dict[str, object] = {"in_features": inputs, "out_features": outputs, "bias": bias}
    return DescribedLayer(name, "Linear", options, arrays)
