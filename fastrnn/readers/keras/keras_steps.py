# SPDX-License-Identifier: MIT
"""Keras layers that pool, pad, take or move steps and axes."""

from __future__ import annotations

from ..errors import FormatError, quote
from .keras_config import CannotMapError, KerasLayer
from .keras_mapper import Handler, Mapper, check_channels_last, single
from .keras_recurrent import flag, show


def _masking(to: Mapper, layer: KerasLayer) -> None:
    value = layer.config.get("mask_value")
    if type(value) not in (int, float):
        raise CannotMapError("its mask_value is not a number")
    to.masks.begin(layer, float(value))  # type: ignore[arg-type]


def _pool(to: Mapper, layer: KerasLayer) -> None:
    check_channels_last(layer)
    keepdims = flag(layer.config, "keepdims")
    mean = layer.type.startswith("GlobalAverage")
    if mean:
        to.masks.skip(layer)
        to.masks.end()
    else:
        to.masks.show_all()
    to.put(layer.name, "Pool", mode="mean" if mean else "max", batch_first=True)
    if keepdims:
        to.put(f"{layer.name}.keepdims", "Unsqueeze", dim=1)
    to.shape = to.shape and (to.shape[0], *((1,) if keepdims else ()), to.shape[-1])


def _windows(to: Mapper, layer: KerasLayer) -> None:
    to.masks.show_all()
    check_channels_last(layer)
    size = single(layer, "pool_size")
    stride = size if layer.config.get("strides") is None else single(layer, "strides")
    padding = layer.config.get("padding")
    if padding not in ("valid", "same"):
        raise FormatError(f"{quote(layer.name)}: padding {show(padding)}")
    if padding == "same" and (stride != 1 or size % 2 == 0):
        raise CannotMapError("padding 'same' depends on the number of steps")
    around = size // 2 if padding == "same" else 0
    options: dict[str, object] = {"kernel_size": size, "stride": stride, "padding": around}
    if layer.type == "AveragePooling1D":
        to.by_channels(layer, "AvgPool1d", {}, **options, count_include_pad=False)
    else:
        to.by_channels(layer, "MaxPool1d", {}, **options)
    _forget_steps(to)


def _zero_padding(to: Mapper, layer: KerasLayer) -> None:
    to.masks.show_all()
    check_channels_last(layer)
    padding = layer.config.get("padding")
    both = padding if isinstance(padding, list) else [padding, padding]
    if len(both) != 2 or any(type(one) is not int or one < 0 for one in both):
        raise FormatError(f"{quote(layer.name)}: padding {show(padding)}")
    to.by_channels(layer, "ZeroPad1d", {}, padding=tuple(both))
    _forget_steps(to)


def _forget_steps(to: Mapper) -> None:
    """Note that there is another number of steps now."""
    to.shape = to.shape and (to.shape[0], None, to.shape[-1])


def _permute(to: Mapper, layer: KerasLayer) -> None:
    to.masks.show_all()
    if layer.config.get("dims") != [2, 1]:
        raise CannotMapError(f"dims {show(layer.config.get('dims'))}: not supported")
    to.transpose(layer.name)
    to.shape = to.shape and (to.shape[0], *to.shape[:0:-1])


def _repeat_vector(to: Mapper, layer: KerasLayer) -> None:
    count = single(layer, "n")
    to.put(layer.name, "RepeatVector", n=count)
    to.shape = (None, count, to.shape[-1] if to.shape else None)


def _reshape(to: Mapper, layer: KerasLayer) -> None:
    to.masks.show_all()
    shape = layer.config.get("target_shape")
    sizes = shape if isinstance(shape, list) else []
    count = len(sizes)
    if count == 1 and to.rank is not None:
        to.put(layer.name, "Flatten", start_dim=1)
    elif to.rank == 2 and count == 2 and all(type(n) is int and n > 0 for n in sizes):
        to.put(layer.name, "Unflatten", dim=1, unflattened_size=tuple(sizes))
    else:
        raise CannotMapError(f"target_shape {show(shape)} is not supported here")
    to.shape = (None, *(n if type(n) is int and n > 0 else None for n in sizes))


def _flatten(to: Mapper, layer: KerasLayer) -> None:
    to.masks.show_all()
    check_channels_last(layer)
    to.put(layer.name, "Flatten", start_dim=1)
    to.shape = (None, to.shape[1] if to.shape and len(to.shape) == 2 else None)


def _item(to: Mapper, layer: KerasLayer) -> None:
    """Take one step, as in y[:, -1]."""
    if layer.config.get("function", "_operator.getitem") != "_operator.getitem":
        raise CannotMapError(f"the function {show(layer.config['function'])} is not supported")
    (place,) = layer.extra if len(layer.extra) == 1 else (None,)
    step = _step(place)
    if step is None or to.shape is None or len(to.shape) != 3:
        raise CannotMapError("only one step, as in y[:, -1], is supported")
    to.masks.show_all()
    if step == 0:
        to.put(f"{layer.name}.flip", "Flip", batch_first=True)
    to.put(layer.name, "Last", batch_first=True)
    to.shape = (to.shape[0], to.shape[2])


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


STEPS: dict[str, Handler] = {
    "Masking": _masking,
    "GlobalAveragePooling1D": _pool,
    "GlobalMaxPooling1D": _pool,
    "MaxPooling1D": _windows,
    "AveragePooling1D": _windows,
    "ZeroPadding1D": _zero_padding,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "GetItem": _item,
    "SlicingOpLambda": _item,
}
