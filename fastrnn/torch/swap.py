# SPDX-License-Identifier: MIT
"""`accelerate`: replace the recurrent layers of a model by fastrnn's, in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from .cells import GRUCell, LSTMCell, RNNCell
from .drop_in import GRU, LSTM, RNN
from .packed import PackedWeights

_COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNN: RNN,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
    nn.RNNCell: RNNCell,
}


@dataclass
class Report:
    """What `accelerate` did, by the names of modules ("" is the model itself)."""

    swapped: dict[str, str] = field(default_factory=dict)  # the layers that fastrnn runs now
    left: dict[str, str] = field(default_factory=dict)  # why others were not changed

    def __str__(self) -> str:
        lines = [f"{name or '(the model)'}: {what}" for name, what in self.swapped.items()]
        lines += [f"{name or '(the model)'}: left, {why}" for name, why in self.left.items()]
        return "\n".join(lines) or "no recurrent layers"


class Accelerated(NamedTuple):
    """The model of `accelerate`, and the report about its layers."""

    model: Any
    report: Report


def accelerate(model: nn.Module) -> Accelerated:
    """Let fastrnn run every recurrent layer and cell of a model; returns (model, report).

    Only the class of the modules changes: they stay the same objects, with parameters, hooks and
    names, so optimizers, wrappers and other references stay valid. `report.left` names the layers
    that were not changed, and why.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LSTM(8, 16))
    >>> print(accelerate(model).report)
    1: LSTM(8, 16)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    report = Report()
    for name, module in model.named_modules():
        if not _is_recurrent(module):
            continue
        why = "; ".join(_obstacles(module))
        if why:
            report.left[name] = why
            continue
        module.__class__ = _COUNTERPARTS[type(module)]
        module._packed = PackedWeights()
        report.swapped[name] = repr(module)
    return Accelerated(model, report)


def _is_recurrent(module: nn.Module) -> bool:
    """Whether a module is one of torch's recurrent layers, a variant of one or a scripted one."""
    names = {kind.__name__ for kind in _COUNTERPARTS}
    original = getattr(module, "original_name", None)  # of a module of TorchScript
    return isinstance(module, nn.RNNBase | nn.RNNCellBase) or (
        (original or type(module).__name__) in names
    )


def _obstacles(module: nn.Module) -> Iterator[str]:
    """Say why a recurrent module cannot be swapped."""
    kind = type(module)
    if kind in _COUNTERPARTS.values():
        yield "it is fastrnn's already"
        return
    if isinstance(module, torch.jit.ScriptModule):
        yield "it is compiled by TorchScript"
        return
    if kind not in _COUNTERPARTS:
        yield f"its class is {kind.__module__}.{kind.__qualname__}, not torch.nn's own"
        return
    if "forward" in module.__dict__:
        yield "its forward is replaced"
    for name, tensor in module.named_parameters(recurse=False):
        if tensor.dtype is not torch.float32 or tensor.device.type != "cpu":
            yield f"{name} is {tensor.dtype} on {tensor.device}, not float32 on the CPU"
            return
