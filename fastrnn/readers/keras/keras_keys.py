# SPDX-License-Identifier: MIT
"""What is done with each key of a layer's config: it is honoured, has no effect, or is refused.

A key that is in no table refuses the layer, so that nothing a file says is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import quote

Config = dict[str, object]

_CELL = "units activation use_bias"
_GATED = f"{_CELL} recurrent_activation"
_SEQUENCE = "go_backwards return_sequences return_state stateful zero_output_for_mask"

# The keys of each class that its translation reads.
_HONOURED = {
    "Sequential": "layers",
    "Functional": "layers input_layers output_layers",
    "InputLayer": "batch_shape batch_input_shape",
    "LSTM": f"{_GATED} {_SEQUENCE}",
    "GRU": f"{_GATED} {_SEQUENCE} reset_after",
    "SimpleRNN": f"{_CELL} {_SEQUENCE}",
    "LSTMCell": _GATED,
    "GRUCell": f"{_GATED} reset_after",
    "SimpleRNNCell": _CELL,
    "StackedRNNCells": "cells",
    "RNN": f"cell {_SEQUENCE}",
    "Bidirectional": "layer backward_layer merge_mode",
    "TimeDistributed": "layer",
    "Embedding": "input_dim output_dim mask_zero",
    "Masking": "mask_value",
    "Dense": _CELL,
    "Conv1D": "filters kernel_size strides padding data_format dilation_rate groups activation "
    "use_bias",
    "LayerNormalization": "axis epsilon center scale",
    "BatchNormalization": "axis epsilon center scale",
    "MaxPooling1D": "pool_size strides padding data_format",
    "AveragePooling1D": "pool_size strides padding data_format",
    "ZeroPadding1D": "padding data_format",
    "Rescaling": "scale offset",
    "Normalization": "axis mean variance invert",
    "Add": "",
    "RepeatVector": "n",
    "Reshape": "target_shape",
    "Permute": "dims",
    "Dropout": "rate",
    "SpatialDropout1D": "rate",
    "GaussianDropout": "rate",
    "AlphaDropout": "rate",
    "GaussianNoise": "",
    "ActivityRegularization": "",
    "Identity": "",
    "Activation": "activation",
    "ReLU": "max_value negative_slope threshold",
    "LeakyReLU": "negative_slope alpha",
    "ELU": "alpha",
    "PReLU": "shared_axes",
    "Softmax": "axis",
    "GlobalAveragePooling1D": "data_format keepdims",
    "GlobalMaxPooling1D": "data_format keepdims",
    "Flatten": "data_format",
    "GetItem": "",
    "SlicingOpLambda": "function",
}
_OF_CLASS = {kind: frozenset(keys.split()) for kind, keys in _HONOURED.items()}

# Keys of any class that change nothing when a model is run.
_NO_EFFECT = {
    "name", "trainable", "batch_input_shape", "build_input_shape", "input_dim", "input_length",
    "seed", "noise_shape", "unroll", "implementation", "dropout", "recurrent_dropout",
    "unit_forget_bias", "reverse_state_order", "stddev", "l1", "l2", "momentum", "synchronized",
    "fused", "renorm_clipping", "renorm_momentum",
}  # fmt: skip
_NO_EFFECT_ENDS = ("_initializer", "_regularizer", "_constraint")

# Keys of any class that are refused unless they have one of these values.
_ONLY: dict[str, tuple[object, ...]] = {
    "quantization_config": (None,), "time_major": (False,), "num_constants": (None, 0),
    "rms_scaling": (None, False), "renorm": (False,), "virtual_batch_size": (None,),
    "adjustment": (None,), "sparse": (False,), "ragged": (False,), "optional": (False,),
}  # fmt: skip

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def is_known(kind: str) -> bool:
    """Whether the tables have the keys of this class."""
    return kind in _OF_CLASS


def refused_keys(kind: str, config: Config) -> Iterator[str]:
    """Say what is refused in the config of a layer of a known class."""
    for key, value in config.items():
        if key == "dtype":
            if not (_policy(value) in _FLOATS or kind in ("InputLayer", "Embedding")):
                yield "quantized weights are not supported"
        elif key in _ONLY:
            if value not in _ONLY[key]:
                yield f"{key} is not supported"
        elif not (key in _OF_CLASS[kind] or key in _NO_EFFECT or key.endswith(_NO_EFFECT_ENDS)):
            yield f"the option {quote(key)} is not known"


def _policy(dtype: object) -> str:
    """The type of float that a layer of this dtype computes with; "" if it is another type."""
    if isinstance(dtype, dict):
        if dtype.get("class_name") not in ("DTypePolicy", "Policy"):
            return ""
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, dict) else None
    return dtype.removeprefix("mixed_") if isinstance(dtype, str) else ""
