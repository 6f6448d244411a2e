# SPDX-License-Identifier: MIT
"""The kinds of layers that a .frnn file holds: number, options, arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from ...stack_spec import LAYERS, MOST_LAYERS, Spec, cell_options, constructor_options
from ..containers.elements import Array
from ..description import MOST_DEPTH, DescribedLayer
from ..errors import FormatError
from .frnn_fields import (
    MOST_SIZES,
    REQUIRED,
    Choice,
    Field,
    Flag,
    Integer,
    Integers,
    Number,
    Options,
    Word,
)

Shapes = dict[str, tuple[int, ...]]

MOST_DIMENSIONS = 4  # of an array
MOST_AXES = MOST_SIZES  # of a value that goes from layer to layer
_LOWEST_AXIS = -MOST_AXES

ROLES = {
    "weight": 1, "bias": 2, "weight_ih": 3, "weight_hh": 4, "bias_ih": 5, "bias_hh": 6,
    "weight_hr": 7, "h_0": 8, "c_0": 9, "running_mean": 10, "running_var": 11,
}  # fmt: skip


def role_of(name: str) -> tuple[int, int, int]:
    """(role, layer of the stack, direction) of a parameter name."""
    stem, of_layer, rest = name.partition("_l")
    if not of_layer:
        return ROLES[name], 0, 0
    number = rest.removesuffix("_reverse")
    return ROLES[stem], int(number), int(number != rest)


@dataclass(frozen=True)
class Kind:
    """A kind of layer: its number in the file, its options, its arrays by the options."""

    number: int
    fields: tuple[Field, ...] = ()
    shapes: Callable[[Options], Shapes] = lambda options: {}
    check: Callable[[Options], None] = lambda options: None

    @property
    def holds_layers(self) -> bool:
        """Whether layers follow its record that run inside of it."""
        return _LAYERS in self.fields


def _check_recurrent(options: Options) -> None:
    if options["num_layers"] > MOST_LAYERS:
        raise FormatError(f"num_layers: at most {MOST_LAYERS}, got {options['num_layers']}")
    if options.get("proj_size", 0) >= options["hidden_size"]:
        raise FormatError(
            f"proj_size: expected less than hidden_size ({options['hidden_size']}), "
            f"got {options['proj_size']}"
        )


def initial_states(kind: str, options: Options) -> Shapes:
    """The arrays that a recurrent layer may also have: its first states."""
    if kind not in LAYERS:
        return {}
    spec = Spec.of(kind, options)
    sizes = zip(spec.declaration.states, spec.state_sizes, strict=True)
    return {f"{state}_0": (spec.state_rows, size) for state, size in sizes}


def _with_bias(options: Options, weight: tuple[int, ...]) -> Shapes:
    return {"weight": weight} | ({"bias": weight[:1]} if options["bias"] else {})


def _linear(options: Options) -> Shapes:
    return _with_bias(options, (options["out_features"], options["in_features"]))


def _conv1d(options: Options) -> Shapes:
    inputs = options["in_channels"] // options["groups"]
    return _with_bias(options, (options["out_channels"], inputs, options["kernel_size"]))


def _check_conv1d(options: Options) -> None:
    for name in ("in_channels", "out_channels"):
        if options[name] % options["groups"]:
            raise FormatError(
                f"groups: expected a divisor of {name} ({options[name]}), got {options['groups']}"
            )
    if options["padding"] == "same" and options["stride"] != 1:
        raise FormatError(f"stride: expected 1 with padding 'same', got {options['stride']}")


def _layer_norm(options: Options) -> Shapes:
    if not options["elementwise_affine"]:
        return {}
    shape = options["normalized_shape"]
    return {"weight": shape} | ({"bias": shape} if options["bias"] else {})


def _batch_norm(options: Options) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return dict.fromkeys(names if options["affine"] else names[2:], (options["num_features"],))


def _check_windows(options: Options) -> None:
    if options["padding"] > options["kernel_size"] // 2:
        raise FormatError(
            f"padding: expected at most half of kernel_size ({options['kernel_size']}), "
            f"got {options['padding']}"
        )


def _prelu(options: Options) -> Shapes:
    return {"weight": (options["num_parameters"],)}


def _scale_features(options: Options) -> Shapes:
    return dict.fromkeys(("weight", "bias"), (options["num_features"],))


def _embedding(options: Options) -> Shapes:
    return {"weight": (options["num_embeddings"], options["embedding_dim"])}


def _check_embedding(options: Options) -> None:
    index, count = options["padding_idx"], options["num_embeddings"]
    if index is not None and index >= count:
        raise FormatError(f"padding_idx: expected below num_embeddings ({count}), got {index}")


def _check_permute(options: Options) -> None:
    dims = options["dims"]
    axes = sorted(dim + len(dims) if dim < 0 else dim for dim in dims)
    if axes != list(range(len(dims))):
        raise FormatError(f"dims: expected a permutation, got {dims}")


def _check_hardtanh(options: Options) -> None:
    if not options["min_val"] < options["max_val"]:
        raise FormatError(
            f"min_val: expected less than max_val ({options['max_val']}), got {options['min_val']}"
        )


def _recurrent(number: int, layer: str) -> Kind:
    """The kind of a recurrent layer; flags from 3 on hold the options that choose the cell."""
    fields: list[Field] = [
        Integer("input_size", 0),
        Integer("hidden_size", 1),
        Integer("num_layers", 2, default=1),
        Flag("bias", 0, True),
        Flag("batch_first", 1, False),
        Number("dropout", 0, 0.0, 1.0, 0.0),
        Flag("bidirectional", 2, False),
    ]
    if "proj_size" in constructor_options(layer):
        fields.append(Integer("proj_size", 3, 0, 0))
    for place, (name, values) in enumerate(cell_options(layer).items(), 3):
        if isinstance(values[0], bool):
            fields.append(Flag(name, place, values[0]))
        else:
            fields.append(Choice(name, place, values, values[0]))

    def shapes(options: Options) -> Shapes:
        return Spec.of(layer, options).shapes()

    return Kind(number, tuple(fields), shapes, _check_recurrent)


def _axis(name: str, place: int = 0) -> Integer:
    return Integer(name, place, _LOWEST_AXIS)


_LAYERS = Integer("layers", 0)
_BIAS = Flag("bias", 0, True)
_BATCH_FIRST = Flag("batch_first", 1, False)
_LARGE = 3.4e38  # the largest float32, nearly
_SMALL = 1.2e-38  # the smallest normal float32, nearly


def _finite(name: str, place: int, default: object = REQUIRED) -> Number:
    return Number(name, place, -_LARGE, _LARGE, default)


KINDS: dict[str, Kind] = {
    "LSTM": _recurrent(1, "LSTM"),
    "GRU": _recurrent(2, "GRU"),
    "RNN": _recurrent(3, "RNN"),
    "Embedding": Kind(
        4,
        (
            Integer("num_embeddings", 0),
            Integer("embedding_dim", 1),
            Integer("padding_idx", 2, 0, None, word=None),
        ),
        _embedding,
        _check_embedding,
    ),
    "Linear": Kind(5, (Integer("in_features", 0), Integer("out_features", 1), _BIAS), _linear),
    "Conv1d": Kind(
        6,
        (
            Integer("in_channels", 0),
            Integer("out_channels", 1),
            Integer("kernel_size", 2),
            Integer("stride", 3, default=1),
            Integer("padding", 4, 0, 0, word="same"),
            Integer("dilation", 5, default=1),
            Integer("groups", 6, default=1),
            _BIAS,
        ),
        _conv1d,
        _check_conv1d,
    ),
    "LayerNorm": Kind(
        7,
        (
            Integers("normalized_shape", 1, MOST_DIMENSIONS),
            Number("eps", 0, 0.0, _LARGE, 1e-5),
            Flag("elementwise_affine", 2, True),
            _BIAS,
        ),
        _layer_norm,
    ),
    "ReLU": Kind(8),
    "Tanh": Kind(9),
    "Sigmoid": Kind(10),
    "Softmax": Kind(11, (_axis("dim"),)),
    "LogSoftmax": Kind(12, (_axis("dim"),)),
    "Dropout": Kind(13, (Number("p", 0, 0.0, 1.0, 0.5),)),
    "Last": Kind(14, (_BATCH_FIRST, Choice("of", 2, ("step", "state"), "step"))),
    "Pool": Kind(15, (Choice("mode", 2, ("mean", "max", "sum")), _BATCH_FIRST)),
    "Flip": Kind(16, (_BATCH_FIRST,)),
    "Mask": Kind(17, (_finite("value", 0),)),
    "ZeroPad1d": Kind(18, (Integer("left", 0, 0), Integer("right", 1, 0))),
    "AddInput": Kind(19, (Integer("features", 0),)),
    "Flatten": Kind(
        20,
        (Integer("start_dim", 0, _LOWEST_AXIS, 1), Integer("end_dim", 1, _LOWEST_AXIS, -1)),
    ),
    "Transpose": Kind(21, (_axis("dim0"), _axis("dim1", 1))),
    "Permute": Kind(22, (Integers("dims", _LOWEST_AXIS, MOST_AXES),), check=_check_permute),
    "Squeeze": Kind(23, (_axis("dim"),)),
    "Unsqueeze": Kind(24, (_axis("dim"),)),
    "Unmask": Kind(25, (Flag("repeat", 1, False), Flag("backwards", 2, False))),
    "ELU": Kind(26, (_finite("alpha", 0, 1.0),)),
    "LeakyReLU": Kind(27, (_finite("negative_slope", 0, 1e-2),)),
    "SiLU": Kind(28),
    "GELU": Kind(29, (Choice("approximate", 0, ("none", "tanh"), "none"),)),
    "Softplus": Kind(30, (Number("beta", 0, _SMALL, _LARGE, 1.0), _finite("threshold", 1, 20.0))),
    "Hardtanh": Kind(
        31,
        (Number("min_val", 0, -inf, inf, -1.0), Number("max_val", 1, -inf, inf, 1.0)),
        check=_check_hardtanh,
    ),
    "Hardsigmoid": Kind(32),
    "Scale": Kind(33, (_finite("factor", 0), _finite("offset", 1, 0.0))),
    "BatchNorm1d": Kind(
        34,
        (
            Integer("num_features", 0),
            Number("eps", 0, 0.0, _LARGE, 1e-5),
            Flag("affine", 0, True),
        ),
        _batch_norm,
    ),
    "MaxPool1d": Kind(
        35,
        (
            Integer("kernel_size", 0),
            Integer("stride", 1),
            Integer("padding", 2, 0, 0),
            Integer("dilation", 3, default=1),
            Flag("ceil_mode", 0, False),
        ),
        check=_check_windows,
    ),
    "PReLU": Kind(36, (Integer("num_parameters", 0, default=1),), _prelu),
    "MergeDirections": Kind(37, (Word("mode", 0, ("sum", "mean", "mul")),)),
    "RepeatVector": Kind(38, (Integer("n", 0),)),
    "Residual": Kind(39, (_LAYERS,)),
    "AttentionPool": Kind(40, (_LAYERS, _BATCH_FIRST)),
    "Mish": Kind(41),
    "Softsign": Kind(42),
    "Hardswish": Kind(43),
    "ScaleFeatures": Kind(44, (Integer("num_features", 0),), _scale_features),
    "Unflatten": Kind(
        45, (Integers("unflattened_size", 1, MOST_SIZES - 1), _axis("dim", MOST_SIZES))
    ),
    "AvgPool1d": Kind(
        46,
        (
            Integer("kernel_size", 0),
            Integer("stride", 1),
            Integer("padding", 2, 0, 0),
            Flag("ceil_mode", 0, False),
            Flag("count_include_pad", 1, True),
        ),
        check=_check_windows,
    ),
}

BY_NUMBER = {kind.number: name for name, kind in KINDS.items()}


def plain_options(kind: str, options: Options) -> Options:
    """Options in the one form that the file has fields for."""
    plain = dict(options)
    if kind == "Last" and plain.pop("bidirectional", False):
        plain["of"] = "state"
    elif kind == "ZeroPad1d" and "padding" in plain:
        padding = plain.pop("padding")
        both = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        if len(both) != 2:
            raise FormatError(f"padding: expected 2 integers, got {len(both)}")
        plain["left"], plain["right"] = both
    elif kind in ("MaxPool1d", "AvgPool1d"):
        if plain.get("stride") is None:
            plain["stride"] = plain.get("kernel_size")
    elif kind == "Conv1d" and plain.get("padding") == "valid":
        plain["padding"] = 0
    elif kind in LAYERS and "proj_size" not in constructor_options(kind):
        if plain.get("proj_size") == 0:
            del plain["proj_size"]
    elif kind == "Embedding":
        index, count = plain.get("padding_idx"), plain.get("num_embeddings")
        if isinstance(index, int) and isinstance(count, int) and -count <= index < 0:
            plain["padding_idx"] = index + count
    return plain


def torch_options(kind: str, options: Options) -> Options:
    """Options of a file as arguments of the layer's constructor."""
    if kind == "ZeroPad1d":
        return {"padding": (options["left"], options["right"])}
    return options


def check_nesting(layers: Sequence[DescribedLayer]) -> None:
    """Require enough layers behind one that holds others, and not too many that hold each other."""
    missing: list[int] = []  # for each layer around the next one, how many it still needs
    for layer in layers:
        if missing:
            missing[-1] -= 1
        if KINDS[layer.kind].holds_layers:
            count = layer.options["layers"]
            assert isinstance(count, int)
            missing.append(count)
            if len(missing) > MOST_DEPTH:
                raise FormatError(f"more than {MOST_DEPTH} layers hold each other")
        while missing and not missing[-1]:
            missing.pop()
    if missing:
        raise FormatError(f"the last {missing[-1]} layers that another one holds are missing")


def check_arrays(kind: str, options: Options, found: Shapes) -> None:
    """The arrays must be those of the kind, in their order, with the shapes of the options."""
    if options.get("num_layers", 0) > len(found):  # before as many names are made
        raise FormatError(f"{options['num_layers']} layers, but {len(found)} arrays")
    expected = KINDS[kind].shapes(options)
    states = initial_states(kind, options)
    if states and found.keys() >= states.keys():
        expected |= states
    for name, shape in expected.items():
        if name not in found:
            raise FormatError(f"the array {name} is missing")
        if found[name] != shape:
            raise FormatError(
                f"{name}: expected the shape {_shown(shape)}, got {_shown(found[name])}"
            )
    for name in found:
        if name not in expected:
            raise FormatError(f"{name!r:.80} is no array of a {kind} with these options")
    if list(found) != list(expected):
        raise FormatError("its arrays are not in the order of the format")


def in_order(kind: str, options: Options, arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays as the file orders them; those that the kind has not come last."""
    if options.get("num_layers", 0) > len(arrays):
        return arrays  # which check_arrays refuses
    names = [*KINDS[kind].shapes(options), *initial_states(kind, options)]
    known = {name: arrays[name] for name in names if name in arrays}
    return known | arrays


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
