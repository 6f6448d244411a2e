# SPDX-License-Identifier: MIT
"""The recurrent layers of torch.nn, run by fastrnn: same arguments, parameters and gradients.

>>> import torch, fastrnn.torch
>>> model = torch.nn.LSTM(8, 16)
>>> model, report = fastrnn.torch.accelerate(model)
>>> isinstance(model, torch.nn.LSTM), report.swapped
(True, {'': 'LSTM(8, 16)'})

float32 on the CPU; other types and devices, and derivatives of gradients, raise an error. Passes
use torch.get_num_threads() threads, unless fastrnn's own number was set. torch.compile compiles
each layer to one operator if torch._dynamo.config.allow_rnn is True; otherwise it runs recurrent
layers uncompiled, between the graphs that it compiles.
"""

from __future__ import annotations

import torch

from .cells import GRUCell, LSTMCell, RNNCell
from .convert import from_module
from .drop_in import GRU, LSTM, RNN
from .swap import Accelerated, Report, accelerate, new_accelerated, restore

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Accelerated",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Report",
    "accelerate",
    "from_module",
    "restore",
]

# What torch.load(weights_only=True) may make of a saved module; new_accelerated checks its class.
torch.serialization.add_safe_globals([GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell, new_accelerated])
