# SPDX-License-Identifier: MIT
"""Modules that pack their sequences, run over the padded batch, for `from_module`.

The layers of `fastrnn.Sequential` take the lengths beside a padded batch, so packing has no layer
of its own. While a module is traced, PyTorch's functions that pack and pad leave the batch as it
is, and recurrent modules take that.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from .swap import original_class

# The lengths that the traced module has packed with so far; None in a context that traces nothing.
_seen: ContextVar[list[Tensor] | None] = ContextVar("fastrnn_packed_lengths", default=None)
_lock = Lock()


class _Padded:
    """A recurrent module whose packed input is a padded batch, (steps, batch, size)."""

    def forward(self: Any, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence):
            return super().forward(input, hx)  # type: ignore[misc]
        x = input.data.transpose(0, 1) if self.batch_first else input.data
        y, state = super().forward(x, hx)  # type: ignore[misc]
        return input._replace(data=y.transpose(0, 1) if self.batch_first else y), state


def _padded_class(kind: Any) -> Any:
    """The class of torch's own modules, also for those that `accelerate` has changed."""
    kind = original_class(kind) or kind
    base: Any = next(base for base in (nn.LSTM, nn.GRU, nn.RNN) if issubclass(kind, base))
    own = type(base.__name__, (_Padded, base), {})
    return own if kind is base else types.new_class(kind.__name__, (kind, own))


def pack(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """What pack_padded_sequence does meanwhile."""
    seen = _seen.get()
    if seen is None:
        packed: PackedSequence = _PACK(input, lengths, batch_first, enforce_sorted)
        return packed
    seen.append(torch.as_tensor(lengths))
    return PackedSequence(input.transpose(0, 1) if batch_first else input, seen[-1])


def pad(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """What pad_packed_sequence does meanwhile."""
    if _seen.get() is None:
        padded: tuple[Tensor, Tensor] = _PAD(sequence, batch_first, padding_value, total_length)
        return padded
    data = sequence.data
    return data.transpose(0, 1) if batch_first else data, sequence.batch_sizes


def _copy(function: Any) -> Any:
    return types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )


_PACK, _PAD = _copy(rnn.pack_padded_sequence), _copy(rnn.pad_packed_sequence)


# The code that PyTorch's functions have meanwhile: it runs with the globals of their module.


def _call_pack(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> Any:
    from fastrnn.torch.padded import pack

    return pack(input, lengths, batch_first, enforce_sorted)


def _call_pad(
    sequence: Any, batch_first: bool = False, padding_value: float = 0.0, total_length: Any = None
) -> Any:
    from fastrnn.torch.padded import pad

    return pad(sequence, batch_first, padding_value, total_length)


@contextmanager
def unpacked(module: nn.Module) -> Iterator[list[Tensor]]:
    """Run a module over padded batches; yields the lengths that it would have packed with.

    The code of PyTorch's two functions is replaced, because a module may have imported them under
    any name. Other threads that call them meanwhile get PyTorch's own.
    """
    swapped: list[Any] = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    kinds = [type(part) for part in swapped]
    seen: list[Tensor] = []
    with _lock:
        token = _seen.set(seen)
        for part in swapped:
            part.__class__ = _padded_class(type(part))
        rnn.pack_padded_sequence.__code__ = _call_pack.__code__
        rnn.pad_packed_sequence.__code__ = _call_pad.__code__
        try:
            yield seen
        finally:
            rnn.pack_padded_sequence.__code__ = _PACK.__code__
            rnn.pad_packed_sequence.__code__ = _PAD.__code__
            for part, kind in zip(swapped, kinds, strict=True):
                part.__class__ = kind
            _seen.reset(token)
