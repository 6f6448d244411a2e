# SPDX-License-Identifier: MIT
"""Pairs of a module of torch.nn and fastrnn's: the same weights, inputs, results and gradients."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from limits import PARITY, TORCH_GRADIENT, error
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import fastrnn.torch

LAYERS = ("LSTM", "GRU", "RNN")
CELLS = ("LSTMCell", "GRUCell", "RNNCell")


def make_pair(kind: str, *arguments: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """torch.nn's module and fastrnn's, with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(*arguments, **options)
    ours = getattr(fastrnn.torch, kind)(*arguments, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def leaves(value: Any) -> list[Tensor]:
    """The tensors of floats in an input or a result, in order."""
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, Tensor):
        return [value]
    return [leaf for part in value or () for leaf in leaves(part)]


def own_inputs(values: Any) -> Any:
    """Copies of inputs, each with a gradient of its own."""
    if isinstance(values, PackedSequence):
        return values._replace(data=own_inputs(values.data))
    if isinstance(values, Tensor):
        return values.detach().clone().requires_grad_(values.requires_grad)
    return None if values is None else tuple(own_inputs(value) for value in values)


def backward(results: list[Tensor], seed: int = 0) -> None:
    """Run the backward pass of a weighted sum of all results."""
    generator = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(result.shape, dtype=result.dtype, generator=generator) for result in results
    ]
    torch.autograd.backward(results, weights)


def close(found: Tensor, wanted: Tensor, limit: float) -> None:
    assert error(found.detach().numpy(), wanted.detach().numpy()) <= limit


def same_gradient(found: Tensor | None, wanted: Tensor | None) -> None:
    """Equal to within the limit, relative to the largest entry; absent where absent."""
    assert (found is None) == (wanted is None)
    if found is None or wanted is None:
        return
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    if wanted.numel():
        # Where all gates are saturated, 1 - h^2 is small and is rounded to multiples of 6e-8.
        scale = max(float(wanted.abs().max()), 0.1)
        assert float((found - wanted).abs().max()) <= TORCH_GRADIENT * scale


@dataclass(frozen=True)
class Passed:
    """What a call of a module returned, and where the gradients of its backward pass are."""

    results: list[Tensor]
    owners: list[Tensor]  # the inputs and all parameters


def run_pass(module: nn.Module, *inputs: Any, call: Callable[..., Any] | None = None) -> Passed:
    """Call a module on copies of the inputs, and go back from what needs a gradient."""
    own = own_inputs(inputs)
    module.zero_grad()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
        results = leaves(call(module, *own) if call else module(*own))
    if any(result.requires_grad for result in results):
        backward([result for result in results if result.requires_grad])
    return Passed(results, [*leaves(own), *module.parameters()])


def same_pass(found: Passed, wanted: Passed) -> None:
    """The same results and gradients, to within the limits."""
    for one, other in zip(found.results, wanted.results, strict=True):
        close(one, other, PARITY)
    for one, other in zip(found.owners, wanted.owners, strict=True):
        same_gradient(one.grad, other.grad)


def compare(
    theirs: nn.Module, ours: nn.Module, *inputs: Any, call: Callable[..., Any] | None = None
) -> None:
    """The same results of a call, and the same gradients of its inputs and of all parameters."""
    wanted = run_pass(theirs, *inputs, call=call)
    same_pass(run_pass(ours, *inputs, call=call), wanted)


def twin(model: nn.Module) -> nn.Module:
    """A copy of a model with its recurrent layers swapped."""
    return fastrnn.torch.accelerate(copy.deepcopy(model)).model


def count_packings(monkeypatch: Any) -> list[int]:
    """A list that grows by one whenever weights are packed."""
    packings: list[int] = []
    from fastrnn.torch import packed

    pack = packed._pack

    def counted(*arguments: Any) -> Any:
        packings.append(1)
        return pack(*arguments)

    monkeypatch.setattr(packed, "_pack", counted)
    return packings


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
