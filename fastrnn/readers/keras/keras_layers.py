# SPDX-License-Identifier: MIT
"""Translates Keras layers to layers of torch.nn, and says why a layer is not supported.

Values are [batch][steps][features] throughout, as in Keras; a convolution is placed between two
transpositions. Behaviour in training only (regularizers, recurrent dropout) is ignored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..containers.elements import Array
from ..description import DescribedLayer, Obstacle
from ..errors import FormatError, UnsupportedError, quote
from . import keras_weights as weights
from .keras_config import WHOLE, CannotMapError, KerasLayer, read_object
from .keras_keys import is_known, refused_keys
from .keras_masks import Masks
from .keras_recurrent import CLASSES, KerasRecurrent, activation_name, flag, read_recurrent, show
from .keras_weights import Variables

_ACTIVATIONS = {
    "relu": ("ReLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"dim": -1}),
    "log_softmax": ("LogSoftmax", {"dim": -1}),
}
_POINTWISE = ("Dense", "Activation", "ReLU", "Dropout", "LayerNormalization")


class Mapper:
    """Translates a chain: call `add` for each layer, then `finish`; `layers` is the result."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables
        self.layers: list[DescribedLayer] = []
        self.obstacles: list[Obstacle] = []
        self._masks = Masks(self.layers)
        self._rank: int | None = None  # dimensions of the value including the batch, if known
        self._last: tuple[str, KerasRecurrent] | None = None  # the layer before, if it is recurrent

    def add(self, layer: KerasLayer) -> None:
        """Translate one layer, or record why it is not supported."""
        self._record(layer, self._add)

    def finish(self, outputs: list[int]) -> None:
        """Complete the translation after the last layer, some of whose outputs are the model's."""
        name, found = self._last or ("model", None)
        end = KerasLayer(name, "output", "", {})
        count = _outputs(found) if found else 1
        if outputs in ([WHOLE], list(range(count))):  # as fastrnn returns them, y and the state
            self._record(end, lambda layer: self._masks.show_all())
        else:
            self._record(end, lambda layer: self._take_output(layer, outputs))

    def _record(self, layer: KerasLayer, translate: Callable[[KerasLayer], None]) -> None:
        try:
            translate(layer)
        except UnsupportedError as error:
            self.obstacles.append(Obstacle(layer.name, layer.type, str(error)))

    def _add(self, layer: KerasLayer) -> None:
        method = _METHODS.get(layer.type)
        if method is None or not is_known(layer.type):
            raise CannotMapError("layers of this class are not supported")
        if layer.type not in CLASSES:
            problems = list(refused_keys(layer.type, layer.config))
            if problems:
                raise CannotMapError("; ".join(problems))
        self._take_output(layer, [layer.takes])
        self._last = None
        self._masks.enter(layer)
        method(self, layer)

    def _take_output(self, layer: KerasLayer, numbers: list[int]) -> None:
        """Require that what a layer takes is the y of the layer before, or its last state h."""
        if self._last is None:
            if numbers not in ([WHOLE], [0]):
                raise CannotMapError(f"it takes output number {numbers[-1]} of the layer before")
            return
        name, found = self._last
        count = _outputs(found)
        if count == 1 or (numbers == [0] and found.merge_mode is not None):
            return
        if numbers != [1] or found.bidirectional:
            raise CannotMapError(f"it takes more of {quote(name)} than its output")
        if found.sequences:
            self._masks.end()
            self._put(f"{name}.state", "Last", batch_first=True)
            self._rank = 2

    def _put(
        self, name: str, kind: str, arrays: dict[str, Array] | None = None, /, **o: object
    ) -> None:
        self.layers.append(DescribedLayer(name, kind, o, arrays or {}))

    # --- layers

    def _input(self, layer: KerasLayer) -> None:
        shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
        self._rank = len(shape) if isinstance(shape, list) else None

    def _embedding(self, layer: KerasLayer) -> None:
        arrays = weights.embedding(self._variables.of(layer.path), layer.path)
        rows, columns = arrays["weight"].shape
        if [rows, columns] != [layer.config.get(key) for key in ("input_dim", "output_dim")]:
            raise FormatError(f"{quote(layer.path)}: the weights have shape {(rows, columns)}")
        self._masks.show_all()
        options: dict[str, object] = {"num_embeddings": rows, "embedding_dim": columns}
        if flag(layer.config, "mask_zero"):
            self._masks.begin(layer, 0)
            options["padding_idx"] = 0
        self._put(layer.name, "Embedding", arrays, **options)
        self._rank = self._rank + 1 if self._rank else None

    def _masking(self, layer: KerasLayer) -> None:
        value = layer.config.get("mask_value")
        if type(value) not in (int, float):
            raise CannotMapError("its mask_value is not a number")
        self._masks.begin(layer, float(value))  # type: ignore[arg-type]

    def _recurrent(self, layer: KerasLayer) -> None:
        found = read_recurrent(layer, self._variables)
        masked = self._masks.skip(layer)
        if found.backwards:
            self._put(f"{layer.name}.flip", "Flip", batch_first=True)
        for number, stack in enumerate(found.stacks):
            name = layer.name if len(found.stacks) == 1 else f"{layer.name}.{number}"
            self._put(name, stack.kind, stack.arrays, **stack.options)
        if masked and found.backwards and (found.sequences or found.zeros):
            # The steps that were left out are put back in the order of the mask.
            self._put(f"{layer.name}.order", "Flip", batch_first=True)
            self._masks.put_back(layer.name, not found.zeros, backwards=True)
            self._put(f"{layer.name}.backwards", "Flip", batch_first=True)
        elif masked:
            self._masks.made_steps(layer.name, not found.zeros)
        self._rank = 3
        if not found.sequences:
            if found.zeros:
                self._masks.show_all()
            self._masks.end()
            # The last step of the forward direction; the first of the reverse one.
            of_state = found.bidirectional
            self._put(f"{layer.name}.last", "Last", batch_first=True, bidirectional=of_state)
            self._rank = 2
        self._last = (layer.name, found)

    def _dense(self, layer: KerasLayer) -> None:
        arrays = weights.dense(self._variables.of(layer.path), layer.path)
        self._check_units(layer, arrays, "units")
        outputs, inputs = arrays["weight"].shape
        bias = "bias" in arrays
        activation = self._activation_of(layer)
        self._put(layer.name, "Linear", arrays, in_features=inputs, out_features=outputs, bias=bias)
        self._activate(f"{layer.name}.activation", activation)

    def _conv1d(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        arrays = weights.conv1d(self._variables.of(layer.path), layer.path)
        self._check_units(layer, arrays, "filters")
        stride, dilation = _single(layer, "strides"), _single(layer, "dilation_rate")
        groups, outputs = layer.config.get("groups", 1), arrays["weight"].shape[0]
        if layer.config.get("data_format", "channels_last") != "channels_last":
            raise CannotMapError("data_format 'channels_first' is not supported")
        if type(groups) is not int or not 0 < groups <= outputs or outputs % groups:
            raise FormatError(f"{quote(layer.name)}: groups {show(groups)}")
        kernel = arrays["weight"].shape[2]
        padding, left = _padding(layer, (kernel - 1) * dilation, stride)
        activation = self._activation_of(layer)
        self._transpose(f"{layer.name}.to_channels")
        if left:
            self._put(f"{layer.name}.pad", "ZeroPad1d", padding=(left, 0))
        self._put(
            layer.name, "Conv1d", arrays,
            in_channels=arrays["weight"].shape[1] * groups, out_channels=outputs,
            kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups,
            bias="bias" in arrays,
        )  # fmt: skip
        self._transpose(f"{layer.name}.to_steps")
        self._activate(f"{layer.name}.activation", activation)

    def _transpose(self, name: str) -> None:
        """Swap steps and channels. Two swaps in a row cancel each other."""
        if self.layers and self.layers[-1].kind == "Transpose":
            self.layers.pop()
        else:
            self._put(name, "Transpose", dim0=1, dim1=2)

    def _layer_norm(self, layer: KerasLayer) -> None:
        config = layer.config
        self._check_axis(config.get("axis", -1))
        scale, center = flag(config, "scale", True), flag(config, "center", True)
        found = self._variables.of(layer.path)
        if not found:
            raise CannotMapError("without scale and center its size is not in the file")
        if len(found) != scale + center:
            raise FormatError(f"{quote(layer.path)} holds {len(found)} arrays")
        gamma = found[0] if scale else np.ones_like(found[0])
        beta = found[-1] if center else np.zeros_like(found[0])
        arrays = weights.layer_norm([gamma, beta], layer.path)
        eps = config.get("epsilon", 0.001)
        if type(eps) is not float or eps < 0:
            raise FormatError(f"{quote(layer.name)}: epsilon {show(eps)}")
        self._put(layer.name, "LayerNorm", arrays, normalized_shape=gamma.shape, eps=eps)

    def _dropout(self, layer: KerasLayer) -> None:
        rate = layer.config.get("rate")
        if type(rate) not in (int, float) or not 0 <= rate <= 1:  # type: ignore[operator]
            raise FormatError(f"{quote(layer.name)}: rate {show(rate)}")
        self._put(layer.name, "Dropout", p=float(rate))  # type: ignore[arg-type]

    def _activation(self, layer: KerasLayer) -> None:
        self._activate(layer.name, self._activation_of(layer))

    def _relu(self, layer: KerasLayer) -> None:
        config = layer.config
        if (
            config.get("max_value") is not None
            or config.get("negative_slope")
            or config.get("threshold")
        ):
            raise CannotMapError("max_value, negative_slope and threshold are not supported")
        self._activate(layer.name, "relu")

    def _softmax(self, layer: KerasLayer) -> None:
        if layer.config.get("axis", -1) != -1:
            raise CannotMapError(
                f"axis {show(layer.config['axis'])}: only the last one is supported"
            )
        if self._masks.active:
            raise CannotMapError("under a mask it is not supported; use Activation('softmax')")
        self._activate(layer.name, "softmax")

    def _pool(self, layer: KerasLayer) -> None:
        if layer.config.get("data_format", "channels_last") != "channels_last":
            raise CannotMapError("data_format 'channels_first' is not supported")
        if layer.config.get("keepdims"):
            raise CannotMapError("keepdims is not supported")
        mean = layer.type.startswith("GlobalAverage")
        if mean:
            self._masks.skip(layer)
            self._masks.end()
        else:
            self._masks.show_all()
        self._put(layer.name, "Pool", mode="mean" if mean else "max", batch_first=True)
        self._rank = 2

    def _flatten(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        if layer.config.get("data_format", "channels_last") != "channels_last":
            raise CannotMapError("data_format 'channels_first' is not supported")
        self._put(layer.name, "Flatten", start_dim=1)
        self._rank = 2

    def _time_distributed(self, layer: KerasLayer) -> None:
        kind, config = read_object(layer.config.get("layer"), quote(layer.name))
        if kind not in _POINTWISE:
            raise CannotMapError(f"it wraps a layer of class {quote(kind)}: not supported")
        problems = list(refused_keys(kind, config))
        if problems:
            raise CannotMapError("; ".join(problems))
        rank, self._rank = self._rank, self._rank - 1 if self._rank else None
        path = self._variables.wrapped(layer.path)
        _METHODS[kind](self, KerasLayer(layer.name, kind, path, config))
        self._rank = rank

    def _item(self, layer: KerasLayer) -> None:
        """Take one step, as in y[:, -1]."""
        if layer.config.get("function", "_operator.getitem") != "_operator.getitem":
            raise CannotMapError(f"the function {show(layer.config['function'])} is not supported")
        (place,) = layer.extra if len(layer.extra) == 1 else (None,)
        step = _step(place)
        if step is None or self._rank != 3:
            raise CannotMapError("only one step, as in y[:, -1], is supported")
        self._masks.show_all()
        if step == 0:
            self._put(f"{layer.name}.flip", "Flip", batch_first=True)
        self._put(layer.name, "Last", batch_first=True)
        self._rank = 2

    def _identity(self, layer: KerasLayer) -> None:
        """Skip a layer that has an effect in training only."""

    # --- parts

    def _check_axis(self, axis: object) -> None:
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if type(axis) is not int or axis not in (-1, (self._rank or 0) - 1):
            raise CannotMapError(f"axis {show(axis)}: only the last one is supported")

    def _check_units(self, layer: KerasLayer, arrays: dict[str, Array], key: str) -> None:
        units = layer.config.get(key)
        bias = flag(layer.config, "use_bias", True)
        if units != arrays["weight"].shape[0] or bias != ("bias" in arrays):
            raise FormatError(
                f"{quote(layer.path)}: the weights do not fit {key} {show(units)}, use_bias {bias}"
            )

    def _activation_of(self, layer: KerasLayer) -> str:
        name = activation_name(layer.config.get("activation"))
        if name not in _ACTIVATIONS and name != "linear":
            raise CannotMapError(f"activation {quote(name)} is not supported")
        return name

    def _activate(self, name: str, activation: str) -> None:
        if activation != "linear":
            kind, options = _ACTIVATIONS[activation]
            self._put(name, kind, **options)


def _outputs(found: KerasRecurrent) -> int:
    """How many outputs a recurrent layer of Keras has."""
    states = sum(1 + (stack.kind == "LSTM") for stack in found.stacks) if found.state else 0
    directions = 2 if found.bidirectional else 1
    return (1 if found.merge_mode is not None else 2) + states * directions


def _step(place: object) -> int | None:
    """The step that an index like [:, -1] takes, if it is the first or the last one."""
    if not isinstance(place, list) or len(place) not in (2, 3):
        return None
    batch, step, *features = place
    if type(step) is not int or step not in (0, -1):
        return None
    return step if all(map(_is_everything, (batch, *features))) else None


def _is_everything(index: object) -> bool:
    """Whether an index is a slice of a whole axis, in the form of Keras 2 or 3."""
    if isinstance(index, dict) and index.get("class_name") == "__slice__":
        index = index.get("config")
    return index == {"start": None, "stop": None, "step": None}


def _single(layer: KerasLayer, key: str) -> int:
    """Return a count, which Keras may write as a list of one."""
    value = layer.config.get(key, 1)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if type(value) is not int or not 0 < value < 1 << 31:
        raise FormatError(f"{quote(layer.name)}: {key} is {show(value)}")
    return value


def _padding(layer: KerasLayer, reach: int, stride: int) -> tuple[int | str, int]:
    """Return torch's padding argument, and the number of zeros before the first step."""
    padding = layer.config.get("padding", "valid")
    if padding == "causal":
        return 0, reach
    if padding == "valid" or (padding == "same" and not reach):
        return 0, 0
    if padding != "same":
        raise FormatError(f"{quote(layer.name)}: padding {show(padding)}")
    if stride != 1:
        raise CannotMapError("padding 'same' with strides depends on the number of steps")
    return "same", 0


_METHODS: dict[str, Callable[[Mapper, KerasLayer], None]] = {
    "InputLayer": Mapper._input,
    "Embedding": Mapper._embedding,
    "Masking": Mapper._masking,
    **dict.fromkeys(CLASSES, Mapper._recurrent),
    "Dense": Mapper._dense,
    "Conv1D": Mapper._conv1d,
    "LayerNormalization": Mapper._layer_norm,
    "Dropout": Mapper._dropout,
    "SpatialDropout1D": Mapper._dropout,
    "Activation": Mapper._activation,
    "ReLU": Mapper._relu,
    "Softmax": Mapper._softmax,
    "GlobalAveragePooling1D": Mapper._pool,
    "GlobalMaxPooling1D": Mapper._pool,
    "Flatten": Mapper._flatten,
    "TimeDistributed": Mapper._time_distributed,
    **dict.fromkeys(("GetItem", "SlicingOpLambda"), Mapper._item),
    **dict.fromkeys(("GaussianDropout", "AlphaDropout"), Mapper._dropout),
    "GaussianNoise": Mapper._identity,
    "ActivityRegularization": Mapper._identity,
    "Identity": Mapper._identity,
}
