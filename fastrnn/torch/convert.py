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
from .drop_in import GRU, LSTM, RNN
from .padded import unpacked

_ADVICE = (
    "expected a torch.nn.Sequential of layers that fastrnn has, or one of these; for another "
    "module pass an example of its input: from_module(module, example) takes its torch.export graph"
)

_PADDING = "what reads padded steps, such as a mean over all steps, has no counterpart"
_ALIKE = 1e-3  # far above rounding, far below what a step too many or too few changes

_SIZES = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_STACK = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")

# The modules that are taken, and which of their attributes are arguments of the layer's.
_ATTRIBUTES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv1d: _SIZES,
    nn.Embedding: ("num_embeddings", "embedding_dim", "padding_idx"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.BatchNorm1d: ("num_features", "eps", "affine"),
    nn.MaxPool1d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.PReLU: ("num_parameters",),
    nn.ReLU: (),
    nn.Tanh: (),
    nn.Sigmoid: (),
    nn.ELU: ("alpha",),
    nn.LeakyReLU: ("negative_slope",),
    nn.SiLU: (),
    nn.GELU: ("approximate",),
    nn.Softplus: ("beta", "threshold"),
    nn.Hardtanh: ("min_val", "max_val"),
    nn.Hardsigmoid: (),
    nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",),
    nn.Dropout: ("p",),
    nn.ZeroPad1d: ("padding",),
    nn.ReflectionPad1d: ("padding",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.LSTM: (*_STACK, "proj_size"),
    nn.GRU: _STACK,
    nn.RNN: (*_STACK, "nonlinearity"),
}
# Modules that are another one: fastrnn's own, which `accelerate` leaves in a model, and ReLU6.
_SAME: dict[type[nn.Module], type[nn.Module]] = {
    LSTM: nn.LSTM, GRU: nn.GRU, RNN: nn.RNN, nn.ReLU6: nn.Hardtanh,
}  # fmt: skip
# Modules that do nothing when a model runs.
_IDENTITIES = (nn.Identity, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout)


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
    kind = _SAME.get(type(module), type(module))
    if kind in (nn.LSTM, nn.GRU, nn.RNN) and not last:
        why.append("torch passes its (y, state) to the next module, not y alone")
    if why:
        yield Obstacle(path or "the module", type(module).__name__, "; ".join(why))
    elif kind is nn.Sequential:
        children = list(_children(module))
        for i, (name, child) in enumerate(children):
            inner = f"{path}.{name}" if path else name
            yield from _obstacles(inner, child, last and i == len(children) - 1)


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All children, also those that occur twice."""
    yield from module._modules.items()


def _reasons(module: nn.Module) -> Iterator[str]:
    kind = _SAME.get(type(module), type(module))
    if kind not in _ATTRIBUTES and kind not in (nn.Sequential, *_IDENTITIES):
        yield "it is not a layer that fastrnn has"
        return
    if "forward" in module.__dict__:
        yield "its forward is replaced"
    if module._forward_hooks or module._forward_pre_hooks:
        yield "it has hooks"
    if kind in (nn.Softmax, nn.LogSoftmax) and module.dim is None:
        yield "it has dim=None"
    if kind is nn.Conv1d and module.padding_mode != "zeros":
        yield f"it has padding_mode={module.padding_mode!r}, not 'zeros'"
    if kind is nn.BatchNorm1d and not module.track_running_stats:
        yield "it has track_running_stats=False, so no statistics of its own"
    if kind is nn.MaxPool1d and module.return_indices:
        yield "it has return_indices=True"
    if kind is nn.Embedding and module.max_norm is not None:
        yield "it has max_norm, which changes weights as it runs"
    for name, tensor in module.named_parameters(recurse=False):
        if tensor.is_meta or not tensor.is_floating_point():
            yield f"{name} is {tensor.dtype} on {tensor.device}"


def _converted(module: nn.Module, isa: str | None) -> Any:
    kind = _SAME.get(type(module), type(module))
    if kind is nn.Sequential:
        children: Mapping[str, Any] = {n: _converted(m, isa) for n, m in _children(module)}
        return Sequential(children)
    if kind in _IDENTITIES:
        return KINDS["Dropout"](p=0.0)
    options = {name: getattr(module, name) for name in _ATTRIBUTES[kind]}
    if kind in (nn.Linear, nn.Conv1d, nn.LayerNorm):
        options["bias"] = module.bias is not None or not options.get("elementwise_affine", True)
    if "num_layers" in options and module.num_layers > 1:
        options["dropout"] = float(module.dropout)
    make: Callable[..., Any] = KINDS[kind.__name__]
    if make in WITH_KERNELS:
        options["isa"] = isa
    weights = {
        name: tensor.detach().to("cpu", torch.float32).numpy()
        for name, tensor in module.state_dict(keep_vars=True).items()
    }
    layer = make(**options)
    layer.load_state_dict(weights)
    return layer
