# SPDX-License-Identifier: MIT
"""Translates Keras layers to layers of torch.nn, and says why a layer is not supported.

Values are [batch][steps][features] throughout, as in Keras; a convolution is placed between two
transpositions. Behaviour in training only (regularizers, recurrent dropout) is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..containers.elements import Array
from ..description import DescribedLayer, Obstacle
from ..errors import FormatError, UnsupportedError, quote
from . import keras_weights as weights
from .keras_config import WHOLE, CannotMapError, KerasLayer, read_object
from .keras_keys import Config, is_known, refused_keys
from .keras_masks import Masks
from .keras_recurrent import CLASSES, KerasRecurrent, activation_name, flag, read_recurrent, show
from .keras_weights import Variables

_ACTIVATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "relu": ("ReLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"dim": -1}),
    "log_softmax": ("LogSoftmax", {"dim": -1}),
    "elu": ("ELU", {}),
    "gelu": ("GELU", {}),
    "silu": ("SiLU", {}),
    "swish": ("SiLU", {}),
    "softplus": ("Softplus", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.2}),
    "relu6": ("Hardtanh", {"min_val": 0.0, "max_val": 6.0}),
    "hard_tanh": ("Hardtanh", {}),
    "hard_sigmoid": ("Hardsigmoid", {}),
    "hard_silu": ("Hardswish", {}),
    "hard_swish": ("Hardswish", {}),
    "mish": ("Mish", {}),
    "softsign": ("Softsign", {}),
    "celu": ("ELU", {}),  # the same for alpha = 1, which it has here
}
_ACTIVATION_LAYERS = ("ReLU", "LeakyReLU", "ELU")  # which may be the activation of another layer
_MERGES = {"sum": "sum", "ave": "mean", "mul": "mul"}
_OTHER_MASKS_BEFORE = (2, 4)  # until then Bidirectional did not return zeros at masked steps
_POINTWISE = (
    "Dense", "Activation", *_ACTIVATION_LAYERS, "Dropout", "LayerNormalization", "Rescaling",
)  # fmt: skip


class Mapper:
    """Translates a chain: call `add` for each layer, then `finish`; `layers` is the result."""

    def __init__(self, variables: Variables, version: tuple[int, int]) -> None:
        self._variables = variables
        self._version = version
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
            _refuse_keys(layer.type, layer.config)
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
        if masked and found.bidirectional and self._version < _OTHER_MASKS_BEFORE:
            raise CannotMapError("its mask has another meaning in this version of Keras")
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
        if found.merge_mode in _MERGES:
            mode = _MERGES[str(found.merge_mode)]
            self._put(f"{layer.name}.merge", "MergeDirections", mode=mode)
        self._last = (layer.name, found)

    def _dense(self, layer: KerasLayer) -> None:
        arrays = weights.dense(self._variables.of(layer.path), layer.path)
        self._check_units(layer, arrays, "units")
        outputs, inputs = arrays["weight"].shape
        bias = "bias" in arrays
        self._put(layer.name, "Linear", arrays, in_features=inputs, out_features=outputs, bias=bias)
        self._activate(f"{layer.name}.activation", layer.config.get("activation"))

    def _conv1d(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        arrays = weights.conv1d(self._variables.of(layer.path), layer.path)
        self._check_units(layer, arrays, "filters")
        stride, dilation = _single(layer, "strides"), _single(layer, "dilation_rate")
        groups, outputs = layer.config.get("groups", 1), arrays["weight"].shape[0]
        _check_channels_last(layer)
        if type(groups) is not int or not 0 < groups <= outputs or outputs % groups:
            raise FormatError(f"{quote(layer.name)}: groups {show(groups)}")
        kernel = arrays["weight"].shape[2]
        padding, left = _padding(layer, (kernel - 1) * dilation, stride)
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
        self._activate(f"{layer.name}.activation", layer.config.get("activation"))

    def _transpose(self, name: str) -> None:
        """Swap steps and channels. Two swaps in a row cancel each other."""
        if self.layers and self.layers[-1].kind == "Transpose":
            self.layers.pop()
        else:
            self._put(name, "Transpose", dim0=1, dim1=2)

    def _layer_norm(self, layer: KerasLayer) -> None:
        gamma, beta, _, eps = self._norm(layer, 0)
        arrays = weights.layer_norm([gamma, beta], layer.path)
        self._put(layer.name, "LayerNorm", arrays, normalized_shape=gamma.shape, eps=eps)

    def _batch_norm(self, layer: KerasLayer) -> None:
        gamma, beta, (mean, variance), eps = self._norm(layer, 2)
        arrays = weights.layer_norm([gamma, beta], layer.path)
        arrays |= {"running_mean": mean, "running_var": variance}
        if any(array.shape != gamma.shape for array in arrays.values()):
            raise FormatError(f"{quote(layer.path)}: its arrays differ in length")
        self._by_channels(layer, "BatchNorm1d", arrays, num_features=gamma.size, eps=eps)

    def _norm(self, layer: KerasLayer, others: int) -> tuple[Array, Array, list[Array], float]:
        """Gamma and beta, which may be absent, the arrays that follow them, and epsilon."""
        config = layer.config
        self._check_axis(config.get("axis", -1))
        scale, center = flag(config, "scale", True), flag(config, "center", True)
        found = self._variables.of(layer.path)
        if not found:
            raise CannotMapError("without scale and center its size is not in the file")
        if len(found) != scale + center + others:
            raise FormatError(f"{quote(layer.path)} holds {len(found)} arrays")
        gamma = found[0] if scale else np.ones_like(found[0])
        beta = found[scale] if center else np.zeros_like(found[0])
        eps = _number(layer, "epsilon")
        if eps < 0:
            raise FormatError(f"{quote(layer.name)}: epsilon {eps}")
        return gamma, beta, found[scale + center :], eps

    def _by_channels(
        self, layer: KerasLayer, kind: str, arrays: dict[str, Array], **options: object
    ) -> None:
        """Add a layer whose channels are axis 1, as torch.nn has them."""
        if self._rank is None:
            raise CannotMapError("the axes of its input are not known")
        if self._rank == 3:
            self._transpose(f"{layer.name}.to_channels")
        self._put(layer.name, kind, arrays, **options)
        if self._rank == 3:
            self._transpose(f"{layer.name}.to_steps")

    def _dropout(self, layer: KerasLayer) -> None:
        rate = layer.config.get("rate")
        if type(rate) not in (int, float) or not 0 <= rate <= 1:  # type: ignore[operator]
            raise FormatError(f"{quote(layer.name)}: rate {show(rate)}")
        self._put(layer.name, "Dropout", p=float(rate))  # type: ignore[arg-type]

    def _activation(self, layer: KerasLayer) -> None:
        self._activate(layer.name, layer.config.get("activation"))

    def _relu(self, layer: KerasLayer) -> None:
        most, slope, threshold = (
            None if layer.config.get(key) is None else _number(layer, key)
            for key in ("max_value", "negative_slope", "threshold")
        )
        if threshold:
            raise CannotMapError(f"threshold {threshold} is not supported")
        if slope:
            self._put(layer.name, "LeakyReLU", negative_slope=slope)
        elif most is None:
            self._put(layer.name, "ReLU")
        if most is not None:
            name = f"{layer.name}.most" if slope else layer.name
            self._put(name, "Hardtanh", min_val=-math.inf if slope else 0.0, max_val=most)

    def _leaky_relu(self, layer: KerasLayer) -> None:
        key = "alpha" if "alpha" in layer.config else "negative_slope"  # as in Keras 2
        self._put(layer.name, "LeakyReLU", negative_slope=_number(layer, key))

    def _elu(self, layer: KerasLayer) -> None:
        self._put(layer.name, "ELU", alpha=_number(layer, "alpha"))

    def _prelu(self, layer: KerasLayer) -> None:
        arrays = self._variables.of(layer.path)
        if len(arrays) != 1:
            raise FormatError(f"{quote(layer.path)} holds {len(arrays)} arrays")
        (alpha,) = arrays
        if not alpha.size or alpha.size != alpha.shape[-1]:
            raise CannotMapError("a slope for each step is not supported; use shared_axes=[1]")
        slopes = {"weight": alpha.reshape(-1)}
        self._by_channels(layer, "PReLU", slopes, num_parameters=alpha.size)

    def _rescaling(self, layer: KerasLayer) -> None:
        factor, offset = _number(layer, "scale"), _number(layer, "offset")
        self._put(layer.name, "Scale", factor=factor, offset=offset)

    def _softmax(self, layer: KerasLayer) -> None:
        if layer.config.get("axis", -1) != -1:
            raise CannotMapError(
                f"axis {show(layer.config['axis'])}: only the last one is supported"
            )
        if self._masks.active:
            raise CannotMapError("under a mask it is not supported; use Activation('softmax')")
        self._activate(layer.name, "softmax")

    def _pool(self, layer: KerasLayer) -> None:
        _check_channels_last(layer)
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

    def _max_pool(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        _check_channels_last(layer)
        size = _single(layer, "pool_size")
        stride = size if layer.config.get("strides") is None else _single(layer, "strides")
        padding = layer.config.get("padding")
        if padding not in ("valid", "same"):
            raise FormatError(f"{quote(layer.name)}: padding {show(padding)}")
        if padding == "same" and (stride != 1 or size % 2 == 0):
            raise CannotMapError("padding 'same' depends on the number of steps")
        around = size // 2 if padding == "same" else 0
        self._by_channels(layer, "MaxPool1d", {}, kernel_size=size, stride=stride, padding=around)

    def _zero_padding(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        _check_channels_last(layer)
        padding = layer.config.get("padding")
        both = padding if isinstance(padding, list) else [padding, padding]
        if len(both) != 2 or any(type(one) is not int or one < 0 for one in both):
            raise FormatError(f"{quote(layer.name)}: padding {show(padding)}")
        self._by_channels(layer, "ZeroPad1d", {}, padding=tuple(both))

    def _permute(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        if layer.config.get("dims") != [2, 1]:
            raise CannotMapError(f"dims {show(layer.config.get('dims'))}: not supported")
        self._transpose(layer.name)

    def _repeat_vector(self, layer: KerasLayer) -> None:
        self._put(layer.name, "RepeatVector", n=_single(layer, "n"))
        self._rank = 3

    def _reshape(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        shape = layer.config.get("target_shape")
        sizes = shape if isinstance(shape, list) else []
        count = len(sizes)
        if count == 1 and self._rank is not None:
            self._put(layer.name, "Flatten", start_dim=1)
        elif self._rank == 2 and count == 2 and all(type(n) is int and n > 0 for n in sizes):
            self._put(layer.name, "Unflatten", dim=1, unflattened_size=tuple(sizes))
        else:
            raise CannotMapError(f"target_shape {show(shape)} is not supported here")
        self._rank = count + 1

    def _flatten(self, layer: KerasLayer) -> None:
        self._masks.show_all()
        _check_channels_last(layer)
        self._put(layer.name, "Flatten", start_dim=1)
        self._rank = 2

    def _time_distributed(self, layer: KerasLayer) -> None:
        kind, config = read_object(layer.config.get("layer"), quote(layer.name))
        if kind not in _POINTWISE:
            raise CannotMapError(f"it wraps a layer of class {quote(kind)}: not supported")
        _refuse_keys(kind, config)
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

    def _activate(self, name: str, activation: object) -> None:
        """Add an activation, which is a name or a layer."""
        if isinstance(activation, dict):
            kind, config = read_object(activation, quote(name))
            if kind in _ACTIVATION_LAYERS:
                _refuse_keys(kind, config)
                _METHODS[kind](self, KerasLayer(name, kind, "", config))
                return
        called = activation_name(activation)
        if called == "linear":
            return
        if called not in _ACTIVATIONS or (called == "hard_sigmoid" and self._version < (3, 0)):
            raise CannotMapError(f"activation {quote(called)} is not supported")
        made, options = _ACTIVATIONS[called]
        self._put(name, made, **options)


def _refuse_keys(kind: str, config: Config) -> None:
    problems = list(refused_keys(kind, config))
    if problems:
        raise CannotMapError("; ".join(problems))


def _check_channels_last(layer: KerasLayer) -> None:
    if layer.config.get("data_format", "channels_last") not in (None, "channels_last"):
        raise CannotMapError("data_format 'channels_first' is not supported")


def _number(layer: KerasLayer, key: str) -> float:
    value = layer.config.get(key)
    if type(value) not in (int, float):
        raise CannotMapError(f"{key} {show(value)} is not a number")
    return float(value)  # type: ignore[arg-type]


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
    "LeakyReLU": Mapper._leaky_relu,
    "ELU": Mapper._elu,
    "PReLU": Mapper._prelu,
    "BatchNormalization": Mapper._batch_norm,
    "MaxPooling1D": Mapper._max_pool,
    "ZeroPadding1D": Mapper._zero_padding,
    "Rescaling": Mapper._rescaling,
    "Permute": Mapper._permute,
    "RepeatVector": Mapper._repeat_vector,
    "Reshape": Mapper._reshape,
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
