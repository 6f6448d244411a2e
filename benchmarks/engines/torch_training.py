# SPDX-License-Identifier: MIT
"""Training in PyTorch: forward and backward pass of a layer, and a step of a whole model."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import torch

from fastrnn.bench import Arrays, Workload, named_outputs

from ..measuring.workload import output_gradient
from .engines import Runner, UnsupportedError
from .torch_layers import arrays, make_call, make_layer, observed_path

Change = Callable[[torch.nn.Module], Any]

WORDS = 1000
# So small that the model hardly changes, although it is trained on one batch many times.
RATE = 1e-7


def make_trainer(
    workload: Workload, layers: Any = torch.nn, wrap: Change = lambda layer: layer
) -> Runner:
    """y.backward(dy). The gradients of x and all weights are None before each call."""
    layer = make_layer(workload, layers).train()
    x = torch.from_numpy(workload.x).requires_grad_()
    dy = torch.from_numpy(output_gradient(workload))
    forward = make_call(wrap(layer), x, workload.lengths)
    named = {"x": x, **dict(layer.named_parameters())}

    def call() -> Any:
        forget_gradients(named.values())
        y, state = forward()
        y.backward(dy)
        return y, state

    def outputs() -> Arrays:
        y, state = call()
        return named_outputs(*arrays(y, state)) | _gradients(named.items())

    return Runner(call, outputs, lambda: observed_path(call))


def forget_gradients(tensors: Iterable[torch.Tensor]) -> None:
    """Set gradients to None, as zero_grad does, so that the next pass does not add to them."""
    for tensor in tensors:
        tensor.grad = None


def _gradients(named: Iterable[tuple[str, torch.Tensor]]) -> Arrays:
    return {f"d_{name}": tensor.grad.numpy() for name, tensor in named if tensor.grad is not None}


class Tagger(torch.nn.Module):
    """A language model around the recurrent layers: words in, scores of words out."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        case = workload.case
        torch.manual_seed(zlib.crc32(case.name.encode()))
        self.embedding = torch.nn.Embedding(WORDS, case.inputs)
        self.recurrent = make_layer(workload)
        self.linear = torch.nn.Linear(case.directions * case.outputs, WORDS)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.linear(self.recurrent(self.embedding(words))[0])
        return scores


def make_step(workload: Workload, change: Change = lambda model: model) -> Runner:
    """zero_grad, loss, backward and Adam; `change` is applied to the model once."""
    if workload.case.ragged:
        raise UnsupportedError("step: only with rows of one length")
    model = Tagger(workload).train()
    change(model)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    words = torch.randint(WORDS, (2, workload.case.steps, workload.case.batch))
    before, after = words.unbind()

    def differentiate() -> Any:
        optimizer.zero_grad()
        loss: Any = torch.nn.functional.cross_entropy(model(before).flatten(0, 1), after.flatten())
        loss.backward()
        return loss

    def call() -> None:
        differentiate()
        optimizer.step()

    def outputs() -> Arrays:
        model.load_state_dict(start)
        found = {"loss": differentiate().detach().reshape(1).numpy()}
        return found | _gradients(model.named_parameters())

    return Runner(call, outputs, lambda: observed_path(call))
