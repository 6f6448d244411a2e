# SPDX-License-Identifier: MIT
"""`accelerate` and `restore`: replace the recurrent layers of a model by fastrnn's, and back."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from .cells import GRUCell, LSTMCell, RNNCell
from .drop_in import GRU, LSTM, RNN, Packs
from .packed import PackedWeights

_COUNTERPARTS: dict[type[Any], type[Any]] = {
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
    names, so optimizers, wrappers and other references stay valid. A module of your own subclass of
    torch.nn's keeps its methods; fastrnn runs what its forward passes to super().forward.
    `report.left` names the layers that were not changed, and why. `restore` undoes all of it.

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
        kind: Any = type(module)
        module.__class__ = accelerated_class(kind)
        module._packed = PackedWeights()
        own = "" if kind in _COUNTERPARTS else ", where its forward calls super().forward"
        report.swapped[name] = f"{module!r}{own}"
    return Accelerated(model, report)


def restore(model: nn.Module) -> Any:
    """Undo `accelerate` in place: torch.nn's own classes again; returns the model.

    For what takes torch's layers alone, such as torch.jit.script, or to save a model that loads
    without fastrnn. Modules, parameters and hooks stay the same objects. Modules that were made as
    fastrnn.torch.LSTM and the like become torch.nn's, too.

    TypeError, before anything changes, for a class that was derived from fastrnn.torch's.

    >>> import torch
    >>> model, report = accelerate(torch.nn.LSTM(8, 16))
    >>> type(restore(model))
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    found: list[tuple[Any, Any]] = []
    for name, module in model.named_modules():
        kind = type(module)
        if not issubclass(kind, Packs):
            continue
        original = original_class(kind)
        if original is None:
            raise TypeError(
                f"{name or 'the model'}: expected a class that accelerate made, got "
                f"{kind.__module__}.{kind.__qualname__}, which is derived from fastrnn.torch's"
            )
        found.append((module, original))
    for module, original in found:
        module.__class__ = original
        vars(module).pop("_packed", None)
    return model


# --- The classes of accelerated modules ---


@cache
def accelerated_class(kind: type[Any]) -> type[Any]:
    """Return the class of fastrnn.torch for modules of a class of torch.nn, or of a subclass.

    The methods of a subclass stay. Their super() finds fastrnn's methods before torch.nn's.
    """
    if kind in _COUNTERPARTS:
        return _COUNTERPARTS[kind]
    name = f"accelerated_class({kind.__module__}.{kind.__qualname__})"
    own: dict[str, Any] = {"__module__": __name__, "__qualname__": name, "__doc__": kind.__doc__}
    own["_torch_class"] = kind
    if issubclass(kind, nn.RNNBase):
        own["_current_weights"] = _flat_weights
    if not any({"__reduce__", "__reduce_ex__"} & vars(c).keys() for c in kind.__mro__[:-1]):
        own["__reduce_ex__"] = _reduce  # no module has this class under its name
    bases = (kind, _COUNTERPARTS[_base(kind)])
    made = types.new_class(kind.__name__, bases, exec_body=lambda body: body.update(own))
    # torch.load(weights_only=True) may fill what new_accelerated makes, which needs `kind` as well.
    torch.serialization.add_safe_globals([made])
    return made


def _base(kind: type[Any]) -> Any:
    return next(base for base in _COUNTERPARTS if issubclass(kind, base))


def original_class(kind: type[Any]) -> type[Any] | None:
    """The class that `accelerate` replaced by this one."""
    for theirs, ours in _COUNTERPARTS.items():
        if kind is ours:
            return theirs
    found: type[Any] | None = vars(kind).get("_torch_class")
    return found


def _flat_weights(module: Any) -> list[torch.Tensor]:
    """The weights that torch.nn's forward would use: a subclass may have put others there."""
    module._update_flat_weights()
    return list(module._flat_weights)


def _reduce(module: Any, protocol: int) -> Any:
    return new_accelerated, (module._torch_class,), module.__getstate__()


def new_accelerated(kind: Any) -> nn.Module:
    """Make an accelerated module without its contents, for unpickling."""
    if not issubclass(kind, tuple(_COUNTERPARTS)):
        raise TypeError(f"expected a class derived from torch.nn's, got {kind!r}")
    made: Any = accelerated_class(kind)
    module: Any = made.__new__(made)
    module.__dict__["_packed"] = PackedWeights()
    return module


def _private_names(base: type[Any]) -> frozenset[str]:
    """The names that fastrnn's class adds to torch.nn's."""
    added = [c for c in _COUNTERPARTS[base].__mro__ if c not in base.__mro__]
    return frozenset(name for c in added for name in vars(c)).difference(dir(base)) | {"_packed"}


def _clashes(module: nn.Module) -> list[str]:
    """The names of a subclass that would hide fastrnn's, or that fastrnn would not heed."""
    base = _base(type(module))
    own = {name for c in type(module).__mro__ if c not in base.__mro__ for name in vars(c)}
    return sorted((own | vars(module).keys()) & _private_names(base) | own & {"_flat_weights"})


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
    if isinstance(module, Packs):
        yield "it is fastrnn's already"
        return
    if isinstance(module, torch.jit.ScriptModule):
        yield "it is compiled by TorchScript"
        return
    if not issubclass(kind, tuple(_COUNTERPARTS)) or is_parametrized(module):
        yield f"its class is {kind.__module__}.{kind.__qualname__}, not torch.nn's own"
        return
    if names := _clashes(module):
        yield f"its class defines {', '.join(names)}, which fastrnn.torch uses, too"
    if "forward" in module.__dict__:
        yield "its forward is replaced"
    for name, tensor in module.named_parameters(recurse=False):
        if tensor.dtype is not torch.float32 or tensor.device.type != "cpu":
            yield f"{name} is {tensor.dtype} on {tensor.device}, not float32 on the CPU"
            return
