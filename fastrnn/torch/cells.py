# SPDX-License-Identifier: MIT
"""`LSTMCell`, `GRUCell` and `RNNCell`, replacements of torch.nn's: one step of one layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.fx import Proxy

from ..stack_spec import Spec
from .drop_in import Packs, run_module
from .layouts import STEP


class _Cell(Packs):
    """What the three cells share: the checks and the call."""

    def _core_cell(self) -> str:
        """The name of the cell in `stack_spec.CELLS`."""
        raise NotImplementedError

    def _step(self: Any, x: Tensor, states: list[Tensor | None], names: list[str]) -> Any:
        """Return h' and c' (or None) of a step, with the checks of torch.nn's cells."""
        self._check_dimensions(x, states, names)
        batched = x.dim() == 2
        if not batched:
            x = x.unsqueeze(0)
            states = [None if s is None else s.unsqueeze(0) for s in states]
        self._check_sizes(x, states)
        weights = [self.weight_ih, self.weight_hh]
        if self.bias:
            weights += [self.bias_ih, self.bias_hh]
        sizes = (self.input_size, self.hidden_size)
        spec = Spec(self._core_cell(), *sizes, 1, self.bias, False, 0)
        h, _, c = run_module(self, spec, STEP, x, states, weights)
        return (h, c) if batched else (h[0], None if c is None else c[0])

    def _check_dimensions(self, x: Tensor, states: list[Any], names: list[str]) -> None:
        for name, tensor in zip(["input", *names], [x, *states], strict=True):
            if tensor is not None and tensor.dim() not in (1, 2):
                raise ValueError(
                    f"{type(self).__name__}: Expected {name} to be 1D or 2D, "
                    f"got {tensor.dim()}D instead"
                )

    def _check_sizes(self: Any, x: Tensor, states: list[Any]) -> None:
        if x.shape[1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}"
            )
        for index, state in enumerate(states):
            if state is None:
                continue
            if state.dim() != 2:
                raise RuntimeError(
                    f"hidden{index}: expected as many dimensions as input has, got {state.dim()}-D"
                )
            if state.shape[0] != x.shape[0]:
                raise RuntimeError(
                    f"Input batch size {x.shape[0]} doesn't match hidden{index} batch size "
                    f"{state.shape[0]}"
                )
            if state.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{index} has inconsistent hidden_size: got {state.shape[1]}, "
                    f"expected {self.hidden_size}"
                )


class LSTMCell(_Cell, nn.LSTMCell):
    """torch.nn.LSTMCell, run by fastrnn.

    >>> import torch
    >>> h, c = LSTMCell(8, 16)(torch.ones(4, 8))
    >>> h.shape, c.shape
    (torch.Size([4, 16]), torch.Size([4, 16]))
    """

    def _core_cell(self) -> str:
        return "lstm"

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if isinstance(input, Proxy):
            return self._fx_call(input, hx)
        if self._left_to_torch():
            return super().forward(input, hx)
        if isinstance(hx, Tensor):
            raise TypeError("lstm_cell(): argument 'hx' must be tuple of Tensors, not Tensor")
        if hx is not None and len(hx) != 2:
            raise RuntimeError(f"lstm_cell expects two hidden states, got {len(hx)}")
        states = [None, None] if hx is None else [hx[0], hx[1]]
        h, c = self._step(input, states, ["hx[0]", "hx[1]"])
        return h, c


class GRUCell(_Cell, nn.GRUCell):
    """torch.nn.GRUCell, run by fastrnn.

    >>> import torch
    >>> GRUCell(8, 16)(torch.ones(4, 8), torch.zeros(4, 16)).shape
    torch.Size([4, 16])
    """

    def _core_cell(self) -> str:
        return "gru"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        if isinstance(input, Proxy):
            return self._fx_call(input, hx)
        if self._left_to_torch():
            return super().forward(input, hx)
        h: Tensor = self._step(input, [hx], ["hidden"])[0]
        return h


class RNNCell(_Cell, nn.RNNCell):
    """torch.nn.RNNCell, run by fastrnn.

    >>> import torch
    >>> RNNCell(8, 16, nonlinearity="relu")(torch.ones(8)).shape
    torch.Size([16])
    """

    def _core_cell(self) -> str:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return f"rnn_{self.nonlinearity}"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        if isinstance(input, Proxy):
            return self._fx_call(input, hx)
        if self._left_to_torch():
            return super().forward(input, hx)
        h: Tensor = self._step(input, [hx], ["hidden"])[0]
        return h
