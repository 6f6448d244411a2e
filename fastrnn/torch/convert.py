# SPDX-License-Identifier: MIT
"""`from_module`: from a live module of torch to a `fastrnn.Sequential`."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..files.build import KINDS, WITH_KERNELS, from_description
from ..layers import Sequential
from ..layers.flow import entry_flow
from ..readers import describe_file
from ..readers.description import Obstacle, unsupported
from ..readers.torch.module_options import FIXED, IDENTITIES, OPTIONS, WITH_BIAS, key_of
from .drop_in import GRU, LSTM, RNN
from .padded import unpacked

_ADVICE = (
    "expected a torch.nn.Sequential of layers that fastrnn has, or one of these; for another "
    "module pass an example of its input: from_module(module, example) takes its torch.export graph"
)

_PADDING = "what reads padded steps, such as a mean over all steps, has no counterpart"
_ALIKE = 1e-3  # far above rounding, far below what a step too many or too few changes

_STACK = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
_RECURRENT = {
    "rnn.LSTM": (*_STACK, "proj_size"), "rnn.GRU": _STACK, "rnn.RNN": (*_STACK, "nonlinearity"),
}  # fmt: skip
# The modules that are taken, and which of their attributes are arguments of the layer's.
_ATTRIBUTES = OPTIONS | _RECURRENT
_SEQUENTIAL = "container.Sequential"
# Fastrnn's own modules, which `accelerate` leaves in a model.
_OWN: dict[type[nn.Module], type[nn.Module]] = {LSTM: nn.LSTM, GRU: nn.GRU, RNN: nn.RNN}


def from_module(module: nn.Module, example: Any = None, *, isa: str | None = None) -> Sequential:
    """Convert a module to a `fastrnn.Sequential` with the same weights.

    Without an example: from a torch.nn.Sequential, or from one layer, which is called "0".
    Supported are Linear, Conv1d, Embedding, LayerNorm, the activations and Dropout, ZeroPad1d,
    ReflectionPad1d, Flatten, Identity, LSTM, GRU and RNN, also those of fastrnn.torch, and
    Sequential of these; names stay as they are. Weights are copied, as float32. A recurrent layer
    can only be the last one, because in torch its output is a pair.

    example: an input, or a tuple of the arguments of the forward. With it the module may be any
    whose forward is a chain of such layers: torch.export runs it in eval mode and the layers come
    from its graph. isa: the instruction set, one of `fastrnn.isas()`.

    A module that packs its sequences is called with their lengths: from_module(module, (x,
    lengths)). The model is called as model(x, lengths=lengths). It is tried on the example, whose
    lengths have to differ, the longest as long as x.

    UnsupportedModel, a ValueError, lists everything that is unsupported. A class with its own
    forward is unsupported without an example. TypeError if `module` is not a module.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.GRU(8, 2))
    >>> from_module(module)
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): Tanh()
      (2): GRU(8, 2)
    )
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if example is not None:
        return _exported(module, example if isinstance(example, tuple) else (example,), isa)
    whole = module if type(module) is nn.Sequential else nn.Sequential(module)
    obstacles = list(_obstacles("", whole, last=True))
    if obstacles:
        raise unsupported(obstacles, _ADVICE)
    model: Sequential = _converted(whole, isa)
    return model


def _exported(module: nn.Module, arguments: tuple[Any, ...], isa: str | None) -> Sequential:
    """Make a model from the graph of torch.export, and try it if the module packs sequences."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad(), unpacked(module) as seen:
            module(*arguments)
        if not seen:
            with unpacked(module):
                return _traced(module, arguments, isa)
        return _without_packing(module, arguments, _packed_lengths(seen), isa)
    finally:
        for part in training:
            part.training = True


def _without_packing(
    module: nn.Module, arguments: tuple[Any, ...], lengths: torch.Tensor, isa: str | None
) -> Sequential:
    place = next((i for i, given in enumerate(arguments) if _same(given, lengths)), None)
    if place is None:
        raise ValueError(
            f"example: expected the lengths {lengths.tolist()} that the module packs with among "
            "its arguments, got none that is equal"
        )
    before, after = arguments[:place], arguments[place + 1 :]
    forward = module.forward
    with (
        unpacked(module),
        _replaced_forward(module, lambda *given: forward(*given[:place], lengths, *given[place:])),
    ):
        model = _traced(module, (*before, *after), isa)
    (x,) = (given.numpy() for given in (*before, *after))
    for tried in (lengths, torch.where(lengths == lengths.max(), lengths, 1)):
        with torch.no_grad():
            result = module(*before, tried, *after)
        wanted = (result[0] if isinstance(result, tuple) else result).numpy()
        if not _alike(model, x, tried.numpy(), wanted):
            why = "with lengths it gives something else than layers that leave padding out"
            raise unsupported([Obstacle("the module", type(module).__name__, why)], _PADDING)
    return model


def _alike(model: Sequential, x: Any, lengths: Any, wanted: Any) -> bool:
    """Whether a model returns what is wanted, where that is no padding."""
    x = model._input(x)
    flow = entry_flow(model, x, lengths)
    y, _, after = model._run(flow.zeroed(x), None, flow)
    valid: Any = True if after.lengths is None else after.valid(y)
    return y.shape == wanted.shape and np.allclose(
        np.where(valid, y, 0), np.where(valid, wanted, 0), rtol=_ALIKE, atol=_ALIKE
    )


@contextmanager
def _replaced_forward(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def _traced(module: nn.Module, arguments: tuple[Any, ...], isa: str | None) -> Sequential:
    with warnings.catch_warnings():  # about torch's own recurrent layers
        warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights", UserWarning)
        program = torch.export.export(module, arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.pt2")
        torch.export.save(program, path)
        return from_description(describe_file(path), isa)


def _packed_lengths(seen: list[torch.Tensor]) -> torch.Tensor:
    """The lengths of all packing in a module; ValueError if they could not tell a wrong model."""
    lengths = seen[0]
    if any(not _same(other, lengths) for other in seen) or len(lengths.unique()) < 2:
        raise ValueError(
            "example: expected one set of lengths that differ, by which the converted model is "
            f"tried, got {[other.tolist() for other in seen]}"
        )
    return lengths


def _same(given: Any, lengths: torch.Tensor) -> bool:
    try:
        return torch.equal(torch.as_tensor(given).to(lengths), lengths)
    except (TypeError, ValueError, RuntimeError):
        return False


def _obstacles(path: str, module: nn.Module, last: bool) -> Iterator[Obstacle]:
    """The modules that cannot be converted; `last`: nothing follows this one."""
    why = list(_reasons(module))
    kind = _kind(module)
    if kind in _RECURRENT and not last:
        why.append("torch passes its (y, state) to the next module, not y alone")
    if why:
        yield Obstacle(path or "the module", type(module).__name__, "; ".join(why))
    elif kind == _SEQUENTIAL:
        children = list(_children(module))
        for i, (name, child) in enumerate(children):
            inner = f"{path}.{name}" if path else name
            yield from _obstacles(inner, child, last and i == len(children) - 1)


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All children, also those that occur twice."""
    yield from module._modules.items()


def _kind(module: nn.Module) -> str:
    """The class of torch.nn as the table of modules names it; "" for other classes."""
    own = _OWN.get(type(module), type(module))
    if getattr(nn, own.__name__, None) is not own:
        return ""
    return key_of(f"{own.__module__}.{own.__name__}")


def _reasons(module: nn.Module) -> Iterator[str]:
    kind = _kind(module)
    if kind not in (*_ATTRIBUTES, *IDENTITIES, _SEQUENTIAL):
        yield "it is not a layer that fastrnn has"
        return
    if "forward" in module.__dict__:
        yield "its forward is replaced"
    if module._forward_hooks or module._forward_pre_hooks:
        yield "it has hooks"
    if kind in ("activation.Softmax", "activation.LogSoftmax") and module.dim is None:
        yield "it has dim=None"
    for name, value in FIXED.get(kind, {}).items():
        if getattr(module, name) != value:
            yield f"it has {name}={getattr(module, name)!r}, expected {value!r}"
    for name, tensor in module.named_parameters(recurse=False):
        if tensor.is_meta or not tensor.is_floating_point():
            yield f"{name} is {tensor.dtype} on {tensor.device}"


def _converted(module: nn.Module, isa: str | None) -> Any:
    kind = _kind(module)
    if kind == _SEQUENTIAL:
        children: Mapping[str, Any] = {n: _converted(m, isa) for n, m in _children(module)}
        return Sequential(children)
    if kind in IDENTITIES:
        return KINDS["Dropout"](p=0.0)
    options = {name: getattr(module, name) for name in _ATTRIBUTES[kind]}
    if kind in WITH_BIAS:
        options["bias"] = module.bias is not None or not options.get("elementwise_affine", True)
    if "num_layers" in options and module.num_layers > 1:
        options["dropout"] = float(module.dropout)
    make: Callable[..., Any] = KINDS[kind.rpartition(".")[2]]
    if make in WITH_KERNELS:
        options["isa"] = isa
    weights = {
        name: tensor.detach().to("cpu", torch.float32).numpy()
        for name, tensor in module.state_dict(keep_vars=True).items()
    }
    layer = make(**options)
    layer.load_state_dict(weights)
    return layer
