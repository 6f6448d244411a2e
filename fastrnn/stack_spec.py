# SPDX-License-Identifier: MIT
"""Names, shapes and gate order of recurrent weights: the one place that knows them.

The convention is PyTorch's: gates are stacked along the rows, LSTM i f g o, GRU r z n.
"""

from __future__ import annotations

from collections.abc import Iterable

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
SHOWN = 20  # the most tensors that an error names
FLOATS = ("float16", "float32", "float64")

Shape = tuple[int, ...]


def parameter_names(num_layers: int, bidirectional: bool, bias: bool, proj_size: int) -> list[str]:
    """List the names of all weights of a stack in PyTorch's flat order."""
    kinds = ["weight_ih", "weight_hh"]
    kinds += ["bias_ih", "bias_hh"] if bias else []
    kinds += ["weight_hr"] if proj_size else []
    ways = ("", "_reverse") if bidirectional else ("",)
    return [f"{kind}_l{k}{way}" for k in range(num_layers) for way in ways for kind in kinds]


def parameter_shapes(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    bidirectional: bool,
    proj_size: int,
) -> dict[str, Shape]:
    """Map the name of each weight of a stack to its shape, in PyTorch's flat order."""
    rows, width = GATES[cell] * hidden_size, proj_size or hidden_size
    below = width * (2 if bidirectional else 1)

    def shape(name: str) -> Shape:
        kind, _, place = name.rpartition("_l")
        if kind == "weight_ih":
            return (rows, input_size if place in ("0", "0_reverse") else below)
        if kind == "weight_hh":
            return (rows, width)
        return (proj_size, hidden_size) if kind == "weight_hr" else (rows,)

    names = parameter_names(num_layers, bidirectional, bias, proj_size)
    return {name: shape(name) for name in names}


def listing(names: Iterable[str], limit: int = SHOWN) -> str:
    """Quote some names, the first `limit` of them and each cut to a readable length."""
    names = list(names)
    shown = [repr(name if len(name) <= 100 else name[:97] + "...") for name in names[:limit]]
    rest = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join(shown + rest)
