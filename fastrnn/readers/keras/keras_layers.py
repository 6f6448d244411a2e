# SPDX-License-Identifier: MIT
"""Translates Keras layers to layers of torch.nn, and says why a layer is not supported.

Values are [batch][steps][features] throughout, as in Keras; a convolution is placed between two
transpositions. Behaviour in training only (regularizers, recurrent dropout) is ignored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...stack_spec import cell_options
from ..containers.elements import Array
from ..containers.hdf5 import Hdf5File
from ..description import DescribedLayer, Obstacle
from ..errors import FormatError, UnsupportedError, quote
from . import keras_weights as weights
from .keras_config import Config, KerasLayer, wrapped_object

_ACTIVATIONS = {
    "relu": ("ReLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"dim": -1}),
    "log_softmax": ("LogSoftmax", {"dim": -1}),
}
_POINTWISE = ("Dense", "Activation", "ReLU", "Dropout", "LayerNormalization")


class CannotMapError(UnsupportedError):
    """A layer that is not supported; the message says why."""


class Mapper:
    """Translates a chain: call `add` for each layer, then `finish`; `layers` is the result."""

    def __init__(self, file: Hdf5File) -> None:
        self._file = file
        self.layers: list[DescribedLayer] = []
        self.obstacles: list[Obstacle] = []
        self._rank: int | None = None  # dimensions of the value including the batch, if known
        # A mask accompanies the values. It becomes a layer "Mask" only if a later layer uses it.
        self._mask: tuple[int, str, object] | None = None  # where to insert, name, masked value
        self._masked = False

    def add(self, layer: KerasLayer) -> None:
        """Translate one layer, or record why it is not supported."""
        method = _METHODS.get(layer.type)
        try:
            if method is None:
                raise CannotMapError("layers of this class are not supported")
            method(self, layer)
        except UnsupportedError as error:
            self.obstacles.append(Obstacle(layer.name, layer.type, str(error)))

    def finish(self) -> None:
        """Complete the translation after the last layer."""
        if self._mask:
            name = self._mask[1]
            try:
                self._drop_mask()
            except CannotMapError as error:
                self.obstacles.append(Obstacle(name, "Masking", str(error)))

    def _put(
        self, name: str, kind: str, arrays: dict[str, Array] | None = None, /, **o: object
    ) -> None:
        self.layers.append(DescribedLayer(name, kind, o, arrays or {}))

    # --- masks

    def _use_mask(self) -> None:
        """Insert the mask where it was made, for a layer that skips masked steps."""
        if self._mask:
            at, name, value = self._mask
            self.layers.insert(at, DescribedLayer(f"{name}.mask", "Mask", {"value": value}))
            self._mask, self._masked = None, True

    def _drop_mask(self) -> None:
        """Forget the mask, for a layer that reads masked steps like any other."""
        if self._masked:
            raise CannotMapError("it reads steps that a mask before it removes: not supported")
        if self._mask and isinstance(self._mask[2], float) and self._mask[2] != 0.0:
            raise CannotMapError("steps masked by a value other than 0 are set to 0: not supported")
        self._mask = None

    # --- layers

    def _input(self, layer: KerasLayer) -> None:
        shape = layer.config.get("batch_shape")
        self._rank = len(shape) if isinstance(shape, list) else None
        if layer.config.get("sparse") or layer.config.get("ragged"):
            raise CannotMapError("sparse and ragged inputs are not supported")

    def _embedding(self, layer: KerasLayer) -> None:
        arrays = weights.embedding(self._variables(layer), layer.path)
        rows, columns = arrays["weight"].shape
        self._drop_mask()
        options: dict[str, object] = {"num_embeddings": rows, "embedding_dim": columns}
        if _flag(layer, "mask_zero"):
            self._mask = (len(self.layers), layer.name, 0)
            options["padding_idx"] = 0
        self._put(layer.name, "Embedding", arrays, **options)
        self._rank = self._rank + 1 if self._rank else None

    def _masking(self, layer: KerasLayer) -> None:
        value = layer.config.get("mask_value", 0.0)
        if type(value) not in (int, float):
            raise CannotMapError("its mask_value is not a number")
        if self._mask or self._masked:
            raise CannotMapError("a second mask is not supported")
        self._mask = (len(self.layers), layer.name, float(value))  # type: ignore[arg-type]

    def _recurrent(self, layer: KerasLayer) -> None:
        backwards = _flag(layer, "go_backwards")
        if backwards and _flag(layer, "return_sequences") and (self._mask or self._masked):
            raise CannotMapError("go_backwards with return_sequences under a mask is not supported")
        problems, nonlinearity = _cell_problems(layer.type, layer.config)
        if problems:
            raise CannotMapError("; ".join(problems))
        path = f"{layer.path}/cell"
        arrays, found = weights.recurrent(weights.variables(self._file, path), path)
        self._use_mask()
        if backwards:
            self._put(f"{layer.name}.flip", "Flip", batch_first=True)
        options = _recurrent_options(layer, layer.type, layer.config, found, nonlinearity)
        self._put(layer.name, str(found["cell"]), arrays, **options, bidirectional=False)
        self._after_recurrent(layer, layer.config, bidirectional=False)

    def _bidirectional(self, layer: KerasLayer) -> None:
        kind, forward = wrapped_object(layer.config, "layer", quote(layer.name))
        problems: list[str] = []
        if layer.config.get("merge_mode") != "concat":
            problems.append(f"merge_mode {_show(layer.config.get('merge_mode'))}, not 'concat'")
        if kind not in weights.RECURRENT:
            raise CannotMapError("; ".join([*problems, f"it wraps a layer of class {quote(kind)}"]))
        backward = forward
        if isinstance(layer.config.get("backward_layer"), dict):
            other, backward = wrapped_object(layer.config, "backward_layer", quote(layer.name))
            if other != kind or not _alike(forward, backward):
                problems.append("its two directions differ in their options")
        if forward.get("go_backwards"):
            problems.append("go_backwards in the wrapped layer is not supported")
        own, nonlinearity = _cell_problems(kind, forward)
        problems += own
        if problems:
            raise CannotMapError("; ".join(problems))
        arrays, found = weights.bidirectional(self._file, layer.path)
        self._use_mask()
        options = _recurrent_options(layer, kind, forward, found, nonlinearity)
        self._put(layer.name, str(found["cell"]), arrays, **options, bidirectional=True)
        self._after_recurrent(layer, forward, bidirectional=True)

    def _after_recurrent(self, layer: KerasLayer, config: Config, bidirectional: bool) -> None:
        if config.get("return_sequences"):
            self._rank = 3
            return
        # The last step of the forward direction; the first of the reverse one, where that ends.
        self._put(f"{layer.name}.last", "Last", batch_first=True, bidirectional=bidirectional)
        self._rank, self._masked = 2, False

    def _dense(self, layer: KerasLayer) -> None:
        arrays = weights.dense(self._variables(layer), layer.path)
        self._check_units(layer, arrays, "units")
        outputs, inputs = arrays["weight"].shape
        bias = "bias" in arrays
        activation = self._activation_of(layer)
        self._put(layer.name, "Linear", arrays, in_features=inputs, out_features=outputs, bias=bias)
        self._activate(f"{layer.name}.activation", activation)

    def _conv1d(self, layer: KerasLayer) -> None:
        self._drop_mask()
        arrays = weights.conv1d(self._variables(layer), layer.path)
        self._check_units(layer, arrays, "filters")
        stride, dilation = _single(layer, "strides"), _single(layer, "dilation_rate")
        groups, outputs = layer.config.get("groups", 1), arrays["weight"].shape[0]
        if layer.config.get("data_format", "channels_last") != "channels_last":
            raise CannotMapError("data_format 'channels_first' is not supported")
        if type(groups) is not int or not 0 < groups <= outputs or outputs % groups:
            raise FormatError(f"{quote(layer.name)}: groups {_show(groups)}")
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
        if config.get("rms_scaling"):
            raise CannotMapError("rms_scaling is not supported")
        scale, center = _flag(layer, "scale", True), _flag(layer, "center", True)
        found = self._variables(layer)
        if not found:
            raise CannotMapError("without scale and center its size is not in the file")
        if len(found) != scale + center:
            raise FormatError(f"{quote(layer.path)} holds {len(found)} arrays")
        gamma = found[0] if scale else np.ones_like(found[0])
        beta = found[-1] if center else np.zeros_like(found[0])
        arrays = weights.layer_norm([gamma, beta], layer.path)
        eps = config.get("epsilon", 0.001)
        if type(eps) is not float or eps < 0:
            raise FormatError(f"{quote(layer.name)}: epsilon {_show(eps)}")
        self._put(layer.name, "LayerNorm", arrays, normalized_shape=gamma.shape, eps=eps)

    def _dropout(self, layer: KerasLayer) -> None:
        rate = layer.config.get("rate")
        if type(rate) not in (int, float) or not 0 <= rate <= 1:  # type: ignore[operator]
            raise FormatError(f"{quote(layer.name)}: rate {_show(rate)}")
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
                f"axis {_show(layer.config['axis'])}: only the last one is supported"
            )
        if self._mask or self._masked:
            raise CannotMapError("under a mask it is not supported; use Activation('softmax')")
        self._activate(layer.name, "softmax")

    def _pool(self, layer: KerasLayer) -> None:
        if layer.config.get("data_format", "channels_last") != "channels_last":
            raise CannotMapError("data_format 'channels_first' is not supported")
        if layer.config.get("keepdims"):
            raise CannotMapError("keepdims is not supported")
        mean = layer.type.startswith("GlobalAverage")
        if mean:
            self._use_mask()
        else:
            self._drop_mask()
        self._put(layer.name, "Pool", mode="mean" if mean else "max", batch_first=True)
        self._rank, self._masked = 2, False

    def _flatten(self, layer: KerasLayer) -> None:
        self._drop_mask()
        if layer.config.get("data_format", "channels_last") != "channels_last":
            raise CannotMapError("data_format 'channels_first' is not supported")
        self._put(layer.name, "Flatten", start_dim=1)
        self._rank = 2

    def _time_distributed(self, layer: KerasLayer) -> None:
        kind, config = wrapped_object(layer.config, "layer", quote(layer.name))
        if kind not in _POINTWISE:
            raise CannotMapError(f"it wraps a layer of class {quote(kind)}: not supported")
        self.inner(KerasLayer(layer.name, kind, f"{layer.path}/layer", config))

    def inner(self, layer: KerasLayer) -> None:
        """Translate the layer inside a wrapper that applies it to each step separately."""
        rank, self._rank = self._rank, self._rank - 1 if self._rank else None
        _METHODS[layer.type](self, layer)
        self._rank = rank

    def _identity(self, layer: KerasLayer) -> None:
        """Skip a layer that has an effect in training only."""

    # --- parts

    def _variables(self, layer: KerasLayer) -> list[Array]:
        if _quantized(layer.config):
            raise CannotMapError("quantized weights are not supported")
        return weights.variables(self._file, layer.path)

    def _check_axis(self, axis: object) -> None:
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if type(axis) is not int or axis not in (-1, (self._rank or 0) - 1):
            raise CannotMapError(f"axis {_show(axis)}: only the last one is supported")

    def _check_units(self, layer: KerasLayer, arrays: dict[str, Array], key: str) -> None:
        units = layer.config.get(key)
        bias = _flag(layer, "use_bias", True)
        if units != arrays["weight"].shape[0] or bias != ("bias" in arrays):
            raise FormatError(
                f"{quote(layer.path)}: the weights do not fit {key} {_show(units)}, use_bias {bias}"
            )

    def _activation_of(self, layer: KerasLayer) -> str:
        name = _activation_name(layer.config.get("activation"))
        if name not in _ACTIVATIONS and name != "linear":
            raise CannotMapError(f"activation {quote(name)} is not supported")
        return name

    def _activate(self, name: str, activation: str) -> None:
        if activation != "linear":
            kind, options = _ACTIVATIONS[activation]
            self._put(name, kind, **options)


def _show(value: object) -> str:
    return quote(str(value)) if isinstance(value, (str, int, float, list)) else str(value)[:40]


def _flag(layer: KerasLayer, key: str, default: bool = False) -> bool:
    value = layer.config.get(key, default)
    if not isinstance(value, bool):
        raise FormatError(f"{quote(layer.name)}: {key} is {_show(value)}, not true or false")
    return value


def _single(layer: KerasLayer, key: str) -> int:
    """Return a count, which Keras may write as a list of one."""
    value = layer.config.get(key, 1)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if type(value) is not int or not 0 < value < 1 << 31:
        raise FormatError(f"{quote(layer.name)}: {key} is {_show(value)}")
    return value


def _padding(layer: KerasLayer, reach: int, stride: int) -> tuple[int | str, int]:
    """Return torch's padding argument, and the number of zeros before the first step."""
    padding = layer.config.get("padding", "valid")
    if padding == "causal":
        return 0, reach
    if padding == "valid" or (padding == "same" and not reach):
        return 0, 0
    if padding != "same":
        raise FormatError(f"{quote(layer.name)}: padding {_show(padding)}")
    if stride != 1:
        raise CannotMapError("padding 'same' with strides depends on the number of steps")
    return "same", 0


def _activation_name(value: object) -> str:
    """Return the name of an activation, which is stored as a text or as a serialized function."""
    if value is None:
        return "linear"
    if isinstance(value, dict):
        value = (
            value.get("config")
            if value.get("class_name") == "function"
            else value.get("class_name")
        )
    return value if isinstance(value, str) else "unknown"


def _quantized(config: Config) -> bool:
    dtype = config.get("dtype")
    policy = dtype.get("class_name") if isinstance(dtype, dict) else "DTypePolicy"
    return policy != "DTypePolicy" or config.get("quantization_config") is not None


def _cell_problems(kind: str, config: Config) -> tuple[list[str], str]:
    """Return why a recurrent layer is not supported, and its nonlinearity."""
    problems = [
        f"{key} is not supported" for key in ("stateful", "return_state") if config.get(key)
    ]
    layer, gates, _ = weights.RECURRENT[kind]
    activation = _activation_name(config.get("activation", "tanh"))
    wanted = cell_options(layer).get("nonlinearity", ("tanh",))
    if activation not in wanted:
        problems.append(f"activation {quote(activation)}, not {' or '.join(wanted)}")
    gate = _activation_name(config.get("recurrent_activation", "sigmoid"))
    if len(gates) > 1 and gate != "sigmoid":
        problems.append(f"recurrent_activation {quote(gate)}, not sigmoid")
    if _quantized(config):
        problems.append("quantized weights are not supported")
    return problems, activation


def _recurrent_options(
    layer: KerasLayer, kind: str, config: Config, found: weights.Options, nonlinearity: str
) -> dict[str, object]:
    """Return the options of torch's layer, after checking the weights against the config."""
    cell = weights.RECURRENT[kind][0]
    choices = cell_options(cell)
    reset_after = config.get("reset_after", True)
    wanted: dict[str, object] = {
        "cell": cell, "hidden_size": config.get("units"), "bias": config.get("use_bias", True),
    }  # fmt: skip
    if "reset_after" in choices and found["bias"]:
        wanted["reset_after"] = reset_after
    if any(found[key] != value for key, value in wanted.items()):
        raise FormatError(f"{quote(layer.path)}: expected weights of {wanted}, got {found}")
    options: dict[str, object] = {key: found[key] for key in ("input_size", "hidden_size", "bias")}
    options |= {"num_layers": 1, "batch_first": True}
    if "reset_after" in choices:
        options["reset_after"] = bool(reset_after)
    if "nonlinearity" in choices:
        options["nonlinearity"] = nonlinearity
    return options


def _alike(forward: Config, backward: Config) -> bool:
    """Whether the two layers of a Bidirectional layer compute the same function."""
    keys = ("units", "activation", "recurrent_activation", "use_bias", "reset_after",
            "return_sequences", "return_state", "stateful")  # fmt: skip
    opposite = bool(forward.get("go_backwards")) != bool(backward.get("go_backwards"))
    return opposite and all(forward.get(key) == backward.get(key) for key in keys)


_METHODS: dict[str, Callable[[Mapper, KerasLayer], None]] = {
    "InputLayer": Mapper._input,
    "Embedding": Mapper._embedding,
    "Masking": Mapper._masking,
    **dict.fromkeys(weights.RECURRENT, Mapper._recurrent),
    "Bidirectional": Mapper._bidirectional,
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
    "GaussianNoise": Mapper._identity,
    "ActivityRegularization": Mapper._identity,
    "Identity": Mapper._identity,
}
