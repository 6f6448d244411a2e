# SPDX-License-Identifier: MIT
"""PyTorch's names of the weights in a recurrent call, which lists them without names."""

from __future__ import annotations

from ..stack_spec import parameter_names
from .errors import FormatError

_MOST_LAYERS = 10_000


def flat_names(count: int, layers: int, bias: bool, two_way: bool, what: str) -> list[str]:
    """The names of the `count` weights of a call in its order: layers, then directions."""
    if 0 < layers <= min(count, _MOST_LAYERS):
        for projected in (0, 1):
            names = parameter_names(layers, two_way, bias, projected)
            if len(names) == count:
                return names
    raise FormatError(
        f"{what}: {count} weights do not fit {layers} layers, bias={bias}, bidirectional={two_way}"
    )
