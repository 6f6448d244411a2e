# SPDX-License-Identifier: MIT
"""Temporary: what the C core's backward pass will do, by the float64 reference. Goes with it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import Array
from .weights import GATES, parameter_names

Bytes = NDArray[np.uint8]

_MARK = 8  # bytes of the tape that tell which forward pass wrote it


class Model(_core.Model):
    """A packed model that can be trained: here it keeps its weights for the reference."""

    def __new__(cls, *arguments: Any) -> Any:
        """As _core.Model, with a last argument: whether it is to be trained."""
        self: Any = super().__new__(cls, *arguments[:-1])
        cell, _, _, num_layers = arguments[:4]
        self.cell, self.layers, self.arrays = cell, num_layers, {}
        return self

    def set_weights(self, layer: int, direction: int, *arrays: Array | None) -> None:
        super().set_weights(layer, direction, *arrays)  # type: ignore[arg-type]
        words = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        for word, array in zip(words, arrays, strict=True):
            if array is not None:
                self.arrays[f"{word}_l{layer}{'_reverse' * direction}"] = array.copy()

    cell: str
    layers: int
    arrays: dict[str, Array]

    @property
    def bidirectional(self) -> bool:
        return "weight_ih_l0_reverse" in self.arrays


def record(
    model: Model,
    x: Array,
    y: Array,
    h0: Array | None,
    c0: Array | None,
    hn: Array,
    cn: Array | None,
    lengths: NDArray[np.uintp] | None,
    tape: Bytes | None,
    dropout: float,
    seed: int,
) -> None:
    """Write y, hn and cn of a pass, and its tape where there is one."""
    assert tape is not None or not dropout
    if not dropout:
        assert model.forward(x, y, h0, c0, hn, cn, lengths)
    else:
        found, state, _ = _reference(model, x, h0, c0, lengths, dropout, seed)
        y[...] = found
        hn[...], parts = (state[0], state) if model.cell == "lstm" else (state, None)
        if cn is not None and parts is not None:
            cn[...] = parts[1]
    if tape is not None:
        tape[:_MARK] = _mark(x, dropout, seed)


def gradients(
    model: Model,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    lengths: NDArray[np.uintp] | None,
    tape: Bytes,
    dropout: float,
    seed: int,
    dy: Array | None,
    dhn: Array | None,
    dcn: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dc0: Array | None,
    dweights: Sequence[Array | None],
) -> None:
    """Write the gradients that are asked for; dweights in the order of parameter_names."""
    assert (tape[:_MARK] == _mark(x, dropout, seed)).all(), "the tape of another pass"
    _, _, backward = _reference(model, x, h0, c0, lengths, dropout, seed)
    lstm = model.cell == "lstm"
    dy = None if dy is None else _within(dy, lengths)
    found = backward(dy, (dhn, dcn) if lstm else dhn)
    states = found.state if lstm else (found.state, None)
    names = parameter_names(
        model.layers,
        model.bidirectional,
        "bias_ih_l0" in model.arrays,
        int("weight_hr_l0" in model.arrays),
    )
    weights = [found.weights[name] for name in names]
    for target, value in zip((dx, dh0, dc0, *dweights), (found.x, *states, *weights), strict=True):
        if target is not None:
            target[...] = value


def tape_bytes(
    cell: str,
    hidden_size: int,
    num_layers: int,
    directions: int,
    proj_size: int,
    steps: Any,
    batch: Any,
) -> Any:
    """Bytes of the tape of a pass; sizes may be symbols."""
    kind = cell.partition("_")[0].upper()
    units = -(-hidden_size // 16) * 16
    return _MARK + steps * batch * num_layers * directions * (GATES[kind] + 2) * units * 4


def _reference(
    model: Model,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    lengths: NDArray[np.uintp] | None,
    dropout: float,
    seed: int,
) -> Any:
    from . import reference

    kind, _, variant = model.cell.partition("_")
    state: Any = (h0, c0) if kind == "lstm" else h0
    masks: Any = None
    if dropout:
        recurrent = model.arrays["weight_hh_l0"].shape[1] * (2 if model.bidirectional else 1)
        shape = (model.layers - 1, *x.shape[:2], recurrent)
        kept = np.random.default_rng(seed).random(shape) >= dropout
        masks = kept / (1.0 - dropout) if dropout < 1 else kept * 0.0
    return reference.vjp(
        kind.upper(),
        _within(x, lengths),
        model.arrays,
        state,
        num_layers=model.layers,
        bidirectional=model.bidirectional,
        lengths=lengths,
        nonlinearity=variant if kind == "rnn" else "tanh",
        reset_after=variant != "reset_before",
        masks=masks,
    )


def _within(array: Array, lengths: NDArray[np.uintp] | None) -> Array:
    """Zeros in place of what is beyond the lengths, which may be anything."""
    if lengths is not None:
        array = array.copy()
        array[np.arange(len(array))[:, None] >= lengths] = 0.0
    return array


def _mark(x: Array, dropout: float, seed: int) -> Bytes:
    told = (
        zlib.crc32(np.ascontiguousarray(x[0]).tobytes()),
        zlib.crc32(repr((dropout, seed)).encode()),
    )
    return np.array(told, np.uint32).view(np.uint8)


def vjp(layer: Any, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
    """What `layer.vjp` will be: y, the final state, and backward(dy, dstate)."""
    from . import reference

    rows = layer._time_major(np.asarray(x, np.float32))
    y, final, backward = reference.vjp(
        layer._name,
        rows,
        layer.state_dict(),
        state,
        num_layers=layer.num_layers,
        bidirectional=layer.bidirectional,
        lengths=lengths,
        nonlinearity=getattr(layer, "nonlinearity", "tanh"),
        reset_after=getattr(layer, "reset_after", True),
    )

    def first(array: Any) -> Any:
        return array.swapaxes(0, 1) if layer.batch_first else array

    def way_back(dy: Any = None, dstate: Any = None) -> reference.Gradients:
        found = backward(None if dy is None else first(np.asarray(dy)), dstate)
        return reference.Gradients(first(found.x), found.state, found.weights)

    return first(y), final, way_back
