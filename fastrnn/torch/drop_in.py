# SPDX-License-Identifier: MIT
"""`LSTM`, `GRU` and `RNN`: replacements of torch.nn's, with their parameters and errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from ..stack_spec import Spec
from .layouts import BATCH, PACKED, SINGLE, STEP, TIME
from .ops import run
from .packed import PackedWeights


class Packs:
    """A module that also keeps packed weights, which copies and pickles leave out."""

    _packed: PackedWeights

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._packed = PackedWeights()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        state.pop("_packed", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        self._packed = PackedWeights()

    def __prepare_scriptable__(self) -> Any:
        """Called first by torch.jit.script."""
        raise NotImplementedError(
            f"fastrnn.torch.{type(self).__name__}: expected torch.jit.trace or torch.export, got "
            "torch.jit.script, which takes the layers of torch.nn only: "
            "fastrnn.torch.restore(model) gives these back"
        )

    def _left_to_torch(self: Any) -> bool:
        """Whether torch.nn's own forward runs: without units, and for torch.onnx.export.

        ONNX has operators for torch's layers, none for fastrnn's.
        """
        if self.hidden_size == 0 or self.input_size == 0:
            return True
        # The last question alone takes 3 us, a tenth of a small layer's call.
        is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return is_traced and torch.onnx.is_in_onnx_export()

    def _fx_call(self, *inputs: Any) -> Any:
        """What torch.fx records: one call, as of torch.nn's layers, which it does not look into."""
        tracer = inputs[0].tracer
        return tracer.create_proxy("call_module", tracer.path_of_module(self), inputs, {})


def check_supported(module: nn.Module, *tensors: Tensor | None) -> None:
    """TypeError for tensors that only torch.nn's layers can run."""
    for tensor in tensors:
        if tensor is not None and not (
            tensor.dtype is torch.float32 and tensor.is_cpu and tensor.layout is torch.strided
        ):
            kind = type(module).__name__
            what = "weights" if isinstance(tensor, nn.Parameter) else "tensors"
            raise TypeError(
                f"fastrnn.torch.{kind}: expected {what} that are float32 on the CPU, got "
                f"{tensor.dtype} on {tensor.device}; torch.nn.{kind} runs that"
            )


def run_module(
    module: Any,
    spec: Spec,
    layout: str,
    x: Tensor,
    states: list[Tensor | None],
    weights: list[Tensor],
    *more: Any,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As `ops.run`, with the checks of types that all modules share, and torch's autocast."""
    types = None
    if torch.is_autocast_enabled("cpu"):
        types = _autocast_types(spec, layout, x, states)
        x, *states = [_from_autocast(tensor) for tensor in (x, *states)]
    h0, c0 = (*states, None)[:2]
    check_supported(module, *weights, x, h0, c0)
    results = run(module._packed, spec, layout, x, h0, c0, weights, *more)
    if types is None:
        return results
    y, hn, cn = (
        None if result is None else result.to(dtype)
        for result, dtype in zip(results, types, strict=True)
    )
    return y, hn, cn


def _from_autocast(tensor: Any) -> Any:
    """An argument of a layer under autocast, which leaves float64 as it is."""
    return tensor.float() if tensor is not None and tensor.dtype in _HALVES else tensor


_HALVES = (torch.bfloat16, torch.float16)
_ONE_DNN = torch.backends.mkldnn.is_available()  # once: torch.compile does not trace the question


def _autocast_types(
    spec: Spec, layout: str, x: Tensor, states: list[Tensor | None]
) -> tuple[torch.dtype, torch.dtype, torch.dtype]:
    """The types of y, h and c that torch.nn's module has under autocast.

    torch runs an RNN as one operator of the lower type, and so does oneDNN an LSTM. Otherwise the
    products are of the lower type, and their sums with the state of the wider one.
    """
    low = torch.get_autocast_dtype("cpu")
    state = next((state for state in reversed(states) if state is not None), x)
    wider = torch.promote_types(low, state.dtype)
    one_dnn = _ONE_DNN and spec.cell == "lstm" and layout not in (STEP, PACKED)
    if spec.cell.startswith("rnn") or (one_dnn and not spec.proj_size and x.numel()):
        wider = low
    h = low if spec.proj_size else wider
    return h, h, wider


class _DropIn(Packs):
    """What the three layers share: the call, with the checks of torch.nn's layers."""

    def forward(self: Any, input: Any, hx: Any = None) -> Any:
        """Run the layer as torch.nn's does."""
        if isinstance(input, Proxy):
            return self._fx_call(input, hx)
        if self._left_to_torch():
            return super().forward(input, hx)  # type: ignore[misc]
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            kind, dimensions = type(self).__name__, input.dim()
            raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {dimensions}D instead")
        batched = input.dim() == 3
        self._check_dimensions(hx, batched)
        full, states = input, self._parts(hx)
        if not batched:
            full = input.unsqueeze(0 if self.batch_first else 1)
            states = [None if s is None else s.unsqueeze(1) for s in states]
        self._check(full, states, None)
        layout = (BATCH if self.batch_first else TIME) if batched else SINGLE
        return self._result(*self._run(layout, input, self._parts(hx), None))

    def _forward_packed(self: Any, input: PackedSequence, hx: Any) -> Any:
        data, batch_sizes, order, back = input
        batch = batch_sizes[0]
        if hx is None:
            rows = self.num_layers * (2 if self.bidirectional else 1)
            size = self.proj_size or self.hidden_size
            zeros = torch.zeros(rows, batch, size, dtype=data.dtype, device=data.device)
            states = [zeros, None]
        else:
            states = self._parts(self.permute_hidden(hx, order))
        self._check(data, states, batch_sizes)
        y, hn, cn = self._run(PACKED, data, states, batch_sizes)
        y, state = self._result(y, hn, cn)
        return PackedSequence(y, batch_sizes, order, back), self.permute_hidden(state, back)

    def _run(
        self: Any, layout: str, x: Tensor, states: list[Tensor | None], sizes: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        dropout, seed = 0.0, None
        if self.training and self.dropout and self.num_layers > 1:
            dropout, seed = self.dropout, torch.randint(2**62, (), device="cpu")
        spec = Spec(
            self.mode.lower(),  # torch's names of modes are those of our cells, in capitals
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.bidirectional,
            self.proj_size,
        )
        return run_module(
            self, spec, layout, x, states, self._current_weights(), sizes, dropout, seed
        )

    def _current_weights(self: Any) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    # --- The state: h, or for the LSTM (h, c) ---

    def _parts(self, hx: Any) -> list[Tensor | None]:
        return [hx, None]

    def _result(self, y: Tensor, hn: Tensor, cn: Tensor | None) -> tuple[Tensor, Any]:
        return y, hn

    def _check_dimensions(self: Any, hx: Any, batched: bool) -> None:
        wanted = 3 if batched else 2
        if hx is not None and hx.dim() != wanted:
            which = "batched" if batched else "unbatched"
            raise RuntimeError(
                f"For {which} {wanted}-D input, hx should also be {wanted}-D but got "
                f"{hx.dim()}-D tensor"
            )

    def _check(self: Any, x: Tensor, states: list[Any], batch_sizes: Tensor | None) -> None:
        """Raise what torch.nn raises for sizes that do not fit."""
        if states[0] is None:
            self.check_input(x, batch_sizes)
        else:
            self.check_forward_args(x, states[0], batch_sizes)
        if batch_sizes is None and x.shape[1 if self.batch_first else 0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")


class LSTM(_DropIn, nn.LSTM):
    """torch.nn.LSTM, run by fastrnn.

    >>> import torch
    >>> lstm = LSTM(8, 16, num_layers=2)
    >>> y, (h, c) = lstm(torch.ones(20, 4, 8))
    >>> y.sum().backward()
    >>> y.shape, lstm.weight_ih_l0.grad.shape
    (torch.Size([20, 4, 16]), torch.Size([64, 8]))
    """

    def _parts(self, hx: Any) -> list[Tensor | None]:
        return [None, None] if hx is None else [hx[0], hx[1]]

    def _result(self, y: Tensor, hn: Tensor, cn: Tensor | None) -> tuple[Tensor, Any]:
        return y, (hn, cn)

    def _check_dimensions(self, hx: Any, batched: bool) -> None:
        wanted = 3 if batched else 2
        if hx is not None and len(hx) != 2:
            raise RuntimeError(f"lstm expects two hidden states, got {len(hx)}")
        if hx is not None and not hx[0].dim() == hx[1].dim() == wanted:
            which = "batched" if batched else "unbatched"
            raise RuntimeError(
                f"For {which} {wanted}-D input, hx and cx should also be {wanted}-D but got "
                f"({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
            )

    def _check(self: Any, x: Tensor, states: list[Any], batch_sizes: Tensor | None) -> None:
        if states[0] is not None and states[1] is not None:
            self.check_forward_args(x, states, batch_sizes)
            states = [None]
        super()._check(x, [None], batch_sizes)


class GRU(_DropIn, nn.GRU):
    """torch.nn.GRU, run by fastrnn.

    >>> import torch
    >>> y, h = GRU(8, 16, bidirectional=True)(torch.ones(20, 4, 8))
    >>> y.shape, h.shape
    (torch.Size([20, 4, 32]), torch.Size([2, 4, 16]))
    """


class RNN(_DropIn, nn.RNN):
    """torch.nn.RNN, run by fastrnn.

    >>> import torch
    >>> y, h = RNN(8, 16, nonlinearity="relu", batch_first=True)(torch.ones(4, 20, 8))
    >>> y.shape, h.shape
    (torch.Size([4, 20, 16]), torch.Size([1, 4, 16]))
    """
