# SPDX-License-Identifier: MIT
"""Guitar amplifier models in JSON: GuitarML (Proteus, NeuralPi) and NAM's LSTM, as whole models."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from ..stack_spec import LAYERS, Shape, Spec, find_cell
from .containers.elements import Array
from .containers.json_text import LARGEST_TEXT, parse_json
from .containers.source import Source
from .description import DescribedLayer, Description, Obstacle, unsupported
from .entry_names import below
from .errors import FormatError, listing, quote

GUITARML = "guitarml"
NAM = "nam"

_LARGEST_SIZE = 1 << 16
_MOST_LAYERS = 64
_RETRAIN = "Only recurrent models are read: train or export one with an LSTM."

Object = Mapping[str, object]


def describe_audio(source: Source) -> Description:
    """Describe the model of an open file; values are [batch][steps][channels].

    UnsupportedModel for another architecture (WaveNet, ConvNet), FormatError if the file is damaged
    or of another kind.
    """
    what = "the JSON text"
    if source.size > LARGEST_TEXT:
        raise FormatError(f"{what} has {source.size} bytes, at most {LARGEST_TEXT} are read")
    model = parse_json(source.read(0, source.size, what), what, source.budget)
    if isinstance(model, dict):
        if "model_data" in model and "state_dict" in model:
            return _guitarml(model)
        if "architecture" in model and "config" in model:
            return _nam(model)
    raise FormatError("a JSON text that holds no known model (GuitarML or NAM)")


# --- GuitarML: torch's names, nested lists


def _guitarml(model: Object) -> Description:
    data, state = _map(model, "model_data"), _map(model, "state_dict")
    kind, unit = data.get("model"), data.get("unit_type", "LSTM")
    obstacles = []
    if kind != "SimpleRNN":
        why = "only SimpleRNN is supported"
        obstacles.append(Obstacle("model", _text(kind), why))
    elif not isinstance(unit, str) or unit not in LAYERS:
        obstacles.append(Obstacle("rec", _text(unit), "only LSTM, GRU and RNN are supported"))
    if obstacles:
        raise unsupported(obstacles, _RETRAIN)
    layer = str(unit)
    inputs, outputs = _size(data, "input_size", 1), _size(data, "output_size", 1)
    hidden, layers = _size(data, "hidden_size"), _size(data, "num_layers", 1, _MOST_LAYERS)
    skip = _size(data, "skip", 0, least=0)
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
        _recurrent("rec", spec, below(arrays, "rec")),
        _linear("lin", hidden, outputs, below(arrays, "lin")),
    ]
    if skip:
        described.append(DescribedLayer("skip", "AddInput", {"features": skip}))
    return Description(GUITARML, tuple(described))


def _tensor(value: object, shape: tuple[int, ...], name: str) -> Array:
    """A tensor of one or two dimensions from nested lists."""
    what = f"tensor {quote(name)}"
    rows = value if len(shape) == 2 else [value]
    if not isinstance(rows, list) or len(rows) != (shape[0] if len(shape) == 2 else 1):
        raise FormatError(f"{what} is not a list of {shape[0]}")
    for row in rows:
        if not isinstance(row, list) or len(row) != shape[-1]:
            raise FormatError(f"{what} has not the shape {shape}")
    return _floats(list(chain.from_iterable(rows)), what).reshape(shape)


# --- NAM: one flat list of weights


def _nam(model: Object) -> Description:
    kind = model["architecture"]
    if kind != "LSTM":
        raise unsupported([Obstacle("model", _text(kind), "only LSTM is supported")], _RETRAIN)
    config = _map(model, "config")
    inputs, hidden = _size(config, "input_size", 1), _size(config, "hidden_size")
    layers = _size(config, "num_layers", 1, _MOST_LAYERS)
    spec = Spec("lstm", inputs, hidden, layers)
    rows = len(spec.declaration.gates) * hidden
    widths = [inputs if k == 0 else hidden for k in range(layers)]
    counts = [rows * (width + hidden) + rows + 2 * hidden for width in widths]
    values = model.get("weights")
    expected = sum(counts) + hidden + 1
    if not isinstance(values, list) or len(values) != expected:
        found = f"{len(values)} values" if isinstance(values, list) else "no list"
        raise FormatError(f"weights: {found}, a model of this size has {expected}")
    flat = _floats(values, "weights")
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
            _recurrent("lstm", spec, arrays),
            _linear("head", hidden, 1, head),
        ),
    )


# --- Both


def _recurrent(name: str, spec: Spec, arrays: dict[str, Array]) -> DescribedLayer:
    cell = spec.declaration
    options: dict[str, object] = {
        "input_size": spec.input_size, "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers, "bias": True, "batch_first": True, "bidirectional": False,
    }  # fmt: skip
    return DescribedLayer(name, cell.layer, {**options, **cell.options}, arrays)


def _linear(name: str, inputs: int, outputs: int, arrays: dict[str, Array]) -> DescribedLayer:
    bias = "bias" in arrays
    options: dict[str, object] = {"in_features": inputs, "out_features": outputs, "bias": bias}
    return DescribedLayer(name, "Linear", options, arrays)


def _floats(values: list[object], what: str) -> Array:
    if any(type(value) is not float and type(value) is not int for value in values):
        raise FormatError(f"{what}: an element is not a number")
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64).astype(np.float32)
    except OverflowError:
        raise FormatError(f"{what}: a number is too large") from None
    if not np.isfinite(array).all():
        raise FormatError(f"{what}: a number is too large")
    return array


def _map(model: Object, key: str) -> Object:
    value = model[key]
    if not isinstance(value, dict):
        raise FormatError(f"{key} is not a JSON object")
    return value


def _size(
    data: Object, key: str, default: int | None = None, most: int = _LARGEST_SIZE, least: int = 1
) -> int:
    value = data.get(key, default)
    if type(value) is not int or not least <= value <= most:
        shown = value if type(value) in (int, float) else type(value).__name__
        raise FormatError(f"{key} is {shown}, expected an integer from {least} to {most}")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__
