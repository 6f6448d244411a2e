# SPDX-License-Identifier: MIT
"""Passes over tensors: for eager mode an autograd function, for tracing two operators of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import _core
from ..runtime import threads
from ..stack_spec import Spec
from . import engine
from .layouts import STEP, Ragged, full_state, ragged, state_shape, steps_and_batch, time_major
from .packed import ALIGNMENT, PackedWeights, by_handle

Maybe: TypeAlias = Tensor | None
Results: TypeAlias = tuple[Tensor, Maybe, Maybe]  # y, h_n (none for a step: it is y), c_n (LSTM)


def run(
    packed: PackedWeights,
    spec: Spec,
    layout: str,
    x: Tensor,
    h0: Maybe,
    c0: Maybe,
    weights: Sequence[Tensor],
    batch_sizes: Maybe = None,
    dropout: float = 0.0,
    seed: Maybe = None,
) -> Results:
    """Run a stack over x in a layout of `layouts.py`; the tensors are checked, float32 on the CPU.

    dropout is that between layers, drawn from seed; both are for training only.
    """
    tensors = (x, h0, c0, *weights)
    if forward_ad._current_level >= 0 and any(_is_dual(t) for t in tensors):
        raise NotImplementedError(
            "fastrnn.torch: expected no tangents (torch.autograd.forward_ad), got a tensor with "
            "one: use the layers of torch.nn for that"
        )
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if _is_traced(x):
        wanted = wanted or torch.jit.is_tracing() or dropout > 0  # a trace serves both modes
        more = (*spec, layout, dropout, packed.handle, wanted)
        y, hn, cn, _ = forward_op(x, h0, c0, list(weights), batch_sizes, seed, *more)
        return y, None if layout == STEP else hn, cn if spec.has_c else None
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "fastrnn.torch: expected no transform of torch.func (grad, vmap, jvp) around a layer: "
            "use the layers of torch.nn there"
        )
    call = _Call(packed, spec, layout, dropout)
    if wanted:
        found: Results = _Pass.apply(call, x, h0, c0, batch_sizes, seed, *weights)
        return found
    packed.forget_tapes()
    # The engine drops units in recorded passes alone.
    tape = _new_tape(spec, x, h0, batch_sizes, layout) if dropout else None
    return _forward(call, x, h0, c0, batch_sizes, seed, weights, tape)


def _is_dual(tensor: Maybe) -> bool:
    return tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None


def _is_traced(x: Tensor) -> bool:
    """Whether a compiler or a tracer records the operators that run."""
    return bool(
        torch.compiler.is_compiling()
        or type(x) not in (Tensor, torch.nn.Parameter)
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()
    )


class _Call:
    """The arguments of a pass that are not tensors."""

    __slots__ = ("dropout", "layout", "packed", "spec")

    def __init__(self, packed: PackedWeights, spec: Spec, layout: str, dropout: float) -> None:
        self.packed, self.spec, self.layout, self.dropout = packed, spec, layout, dropout


# --- Tensors to arrays and the engine ---


def _forward(
    call: _Call,
    x: Tensor,
    h0: Maybe,
    c0: Maybe,
    batch_sizes: Maybe,
    seed: Maybe,
    weights: Sequence[Tensor],
    tape: Maybe,
) -> Results:
    spec, layout = call.spec, call.layout
    steps, batch = steps_and_batch(x, h0, batch_sizes, layout)
    y = x.new_empty((*x.shape[:-1], spec.width))  # whatever torch's default type and device
    hn, cn = _empty_states(x.new_empty, spec, batch, layout)
    if batch == 0:
        return y, hn, cn
    map_ = None if batch_sizes is None else ragged(batch_sizes.numpy())
    y_rows = y.numpy() if map_ is None else np.empty((steps, batch, spec.width), np.float32)
    _with_torch_threads(
        engine.record,
        call.packed.model(spec, weights, tape is not None, steps * batch),
        _rows(x, layout, map_),
        time_major(y_rows, layout),
        _state(h0, layout),
        _state(c0, layout),
        None if hn is None else full_state(hn.numpy(), layout),
        None if cn is None else full_state(cn.numpy(), layout),
        None if map_ is None else map_.lengths,
        None if tape is None else tape.numpy(),
        call.dropout,
        _number(seed),
    )
    if map_ is not None:
        y = torch.from_numpy(map_.packed(y_rows))
    return y, hn, cn


def _backward(
    call: _Call,
    x: Tensor,
    h0: Maybe,
    c0: Maybe,
    batch_sizes: Maybe,
    seed: Maybe,
    tape: Tensor,
    weights: Sequence[Tensor],
    dy: Maybe,
    dhn: Maybe,
    dcn: Maybe,
    wanted: Sequence[bool],
) -> list[Maybe]:
    """Return the wanted gradients of x, h0, c0 and the weights, None for the others."""
    spec, layout = call.spec, call.layout
    steps, batch = steps_and_batch(x, h0, batch_sizes, layout)
    inputs = (x, h0, c0, *weights)
    results = [
        t.new_empty(t.shape) if t is not None and want else None
        for t, want in zip(inputs, wanted, strict=True)
    ]
    if batch == 0:
        return [None if result is None else result.zero_() for result in results]
    if tape.data_ptr() % ALIGNMENT:  # saved_tensors_hooks may have moved it
        tape = tape.clone()
    map_ = None if batch_sizes is None else ragged(batch_sizes.numpy())
    dx, dh0, dc0, *dweights = results
    dx_rows = None if dx is None else dx.numpy()
    if dx is not None and map_ is not None:
        dx_rows = np.empty((steps, batch, spec.input_size), np.float32)
    _with_torch_threads(
        engine.gradients,
        call.packed.model(spec, weights, True, steps * batch),
        _rows(x, layout, map_),
        None if map_ is None else map_.lengths,
        tape.numpy(),
        call.dropout,
        _number(seed),
        None if dy is None else _rows(dy, layout, map_),
        _state(dhn, layout),
        _state(dcn, layout),
        None if dx_rows is None else time_major(dx_rows, layout),
        None if dh0 is None else full_state(dh0.numpy(), layout),
        None if dc0 is None else full_state(dc0.numpy(), layout),
        spec.by_place([None if dw is None else dw.numpy() for dw in dweights]),
    )
    if dx_rows is not None and map_ is not None:
        results[0] = torch.from_numpy(map_.packed(dx_rows))
    return results


def _rows(x: Tensor, layout: str, map_: Ragged | None) -> Any:
    """Return (steps, batch, size) with contiguous rows; a view if they are contiguous already."""
    if x.shape[-1] != 1 and x.stride(-1) != 1:
        x = x.contiguous()
    array = x.numpy(force=True)
    return time_major(array, layout) if map_ is None else map_.padded(array)


def _state(state: Maybe, layout: str) -> Any:
    return None if state is None else full_state(state.contiguous().numpy(force=True), layout)


def _number(seed: Maybe) -> int:
    return 0 if seed is None else int(seed)


def _empty_states(new: Callable[..., Tensor], spec: Spec, batch: Any, layout: str) -> Any:
    rows = spec.state_rows
    hn = cn = None
    if layout != STEP:
        hn = new(state_shape(rows, batch, spec.output_size, layout))
    if spec.has_c:
        cn = new(state_shape(rows, batch, spec.hidden_size, layout))
    return hn, cn


def _tape_bytes(spec: Spec, x: Tensor, h0: Maybe, batch_sizes: Maybe, layout: str) -> Any:
    steps, batch = steps_and_batch(x, h0, batch_sizes, layout)
    return engine.tape_bytes(spec, steps, batch)


def _new_tape(spec: Spec, x: Tensor, h0: Maybe, batch_sizes: Maybe, layout: str) -> Tensor:
    return x.new_empty(_tape_bytes(spec, x, h0, batch_sizes, layout), dtype=torch.uint8)


def _with_torch_threads(function: Callable[..., None], *arguments: Any) -> None:
    """Call with torch's number of threads, unless fastrnn's own was set."""
    if _core.local_threads.get() or threads.chosen():
        return function(*arguments)
    _core.local_threads.set(min(torch.get_num_threads(), threads.MOST_THREADS))
    try:
        return function(*arguments)
    finally:
        _core.local_threads.set(0)


# --- Eager mode. The operators below do the same, at a few times the overhead. ---

_NO_DOUBLE = (
    "fastrnn.torch: expected a first derivative, got one of a gradient (double backward, "
    "create_graph=True): use the layers of torch.nn for that"
)
_NO_BATCHES = (
    "fastrnn.torch: expected one gradient, got many at once (is_grads_batched, vectorize=True, "
    "vmap): ask for one after the other, or use the layers of torch.nn for that"
)


class _Pass(torch.autograd.Function):
    """A pass that can be differentiated once."""

    @staticmethod
    def forward(
        ctx: Any,
        call: _Call,
        x: Tensor,
        h0: Maybe,
        c0: Maybe,
        batch_sizes: Maybe,
        seed: Maybe,
        *weights: Tensor,
    ) -> Results:
        tape = call.packed.tape(_tape_bytes(call.spec, x, h0, batch_sizes, call.layout))
        results = _forward(call, x, h0, c0, batch_sizes, seed, weights, tape)
        ctx.call = call
        ctx.save_for_backward(x, h0, c0, batch_sizes, seed, tape, *weights)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, dy: Maybe, dhn: Maybe, dcn: Maybe) -> Any:
        if torch._C._are_functorch_transforms_active() or any(
            t is not None and torch._C._functorch.is_legacy_batchedtensor(t) for t in (dy, dhn, dcn)
        ):
            raise NotImplementedError(_NO_BATCHES)
        x, h0, c0, batch_sizes, seed, tape, *weights = ctx.saved_tensors
        _, *states, _, _ = ctx.needs_input_grad[:6]
        wanted = [*states, *ctx.needs_input_grad[6:]]
        given = (ctx.call, x, h0, c0, batch_sizes, seed, tape, weights, dy, dhn, dcn, wanted)
        if torch.is_grad_enabled():  # create_graph=True: the gradients must not look constant
            dx, dh0, dc0, *dweights = _Once.apply(
                _backward, given, dy, dhn, dcn, x, h0, c0, *weights
            )
        else:
            dx, dh0, dc0, *dweights = _backward(*given)
        return None, dx, dh0, dc0, None, None, *dweights


class _Once(torch.autograd.Function):
    """Gradients that raise an error when they are differentiated again."""

    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., Any], given: tuple[Any, ...], *tensors: Maybe
    ) -> Any:
        return tuple(function(*given))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError(_NO_DOUBLE)


# --- The operators, for graphs: every result is a tensor, of size 0 if there is none ---

_ARGUMENTS = (
    "(Tensor x, Tensor? h0, Tensor? c0, Tensor[] weights, Tensor? batch_sizes, Tensor? seed, "
    "str cell, int input_size, int hidden_size, int num_layers, bool bias, bool bidirectional, "
    "int proj_size, str layout, float dropout, int handle, "
)


@torch.library.custom_op(
    "fastrnn::forward",
    mutates_args=(),
    device_types="cpu",
    schema=_ARGUMENTS + "bool record) -> (Tensor, Tensor, Tensor, Tensor)",
)
def forward_op(
    x: Any, h0: Any, c0: Any, weights: Any, batch_sizes: Any, seed: Any, *more: Any
) -> Any:
    """Return y, h_n, c_n and the tape."""
    spec, (layout, dropout, handle, record) = Spec(*more[:7]), more[7:]
    tape = _new_tape(spec, x, h0, batch_sizes, layout) if record else None
    call = _Call(by_handle(handle), spec, layout, dropout)
    y, *states = _forward(call, x, h0, c0, batch_sizes, seed, weights, tape)
    hn, cn = (x.new_empty(0) if part is None else part for part in states)
    return y, hn, cn, x.new_empty(0, dtype=torch.uint8) if tape is None else tape


@forward_op.register_fake
def _(x: Any, h0: Any, c0: Any, weights: Any, batch_sizes: Any, seed: Any, *more: Any) -> Any:
    spec, (layout, _, _, record) = Spec(*more[:7]), more[7:]
    _, batch = steps_and_batch(x, h0, batch_sizes, layout)
    y = x.new_empty((*x.shape[:-1], spec.width))
    states = _empty_states(x.new_empty, spec, batch, layout)
    hn, cn = (x.new_empty(0) if part is None else part for part in states)
    size = _tape_bytes(spec, x, h0, batch_sizes, layout) if record else 0
    return y, hn, cn, x.new_empty(size, dtype=torch.uint8)


@torch.library.custom_op(
    "fastrnn::backward",
    mutates_args=(),
    device_types="cpu",
    schema=_ARGUMENTS
    + "Tensor tape, Tensor? dy, Tensor? dhn, Tensor? dcn, bool[] wanted) -> Tensor[]",
)
def backward_op(
    x: Any, h0: Any, c0: Any, weights: Any, batch_sizes: Any, seed: Any, *more: Any
) -> Any:
    """Return the wanted gradients of x, h0, c0 and the weights, without the others."""
    layout, dropout, handle, tape, dy, dhn, dcn, wanted = more[7:]
    call = _Call(by_handle(handle), Spec(*more[:7]), layout, dropout)
    found = _backward(call, x, h0, c0, batch_sizes, seed, tape, weights, dy, dhn, dcn, wanted)
    return [gradient for gradient in found if gradient is not None]


@backward_op.register_fake
def _(x: Any, h0: Any, c0: Any, weights: Any, batch_sizes: Any, seed: Any, *more: Any) -> Any:
    inputs = (x, h0, c0, *weights)
    return [x.new_empty(t.shape) for t, want in zip(inputs, more[-1], strict=True) if want]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, h0, c0, weights, batch_sizes, seed, *more = inputs
    tape = output[3]
    ctx.more = more[:-1]
    ctx.save_for_backward(x, h0, c0, batch_sizes, seed, tape, *weights)
    ctx.mark_non_differentiable(tape)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dy: Maybe, dhn: Maybe, dcn: Maybe, _: Maybe) -> Any:
    x, h0, c0, batch_sizes, seed, tape, *weights = ctx.saved_tensors
    layout, has_c = ctx.more[7], Spec(*ctx.more[:7]).has_c
    needed = ctx.needs_input_grad
    wanted = [*needed[:3], *needed[3]]
    dhn, dcn = None if layout == STEP else dhn, dcn if has_c else None
    more = (*ctx.more, tape, dy, dhn, dcn, wanted)
    found = iter(backward_op(x, h0, c0, weights, batch_sizes, seed, *more))
    dx, dh0, dc0, *dweights = [next(found) if want else None for want in wanted]
    return dx, dh0, dc0, dweights, *[None] * (len(ctx.more) + 3)


def _refuse(ctx: Any, *gradients: Any) -> Any:
    raise NotImplementedError(_NO_DOUBLE)


forward_op.register_autograd(_differentiate, setup_context=_save)
backward_op.register_autograd(_refuse)
