# SPDX-License-Identifier: MIT
"""PyTorch's names of the weights of a recurrent call, which lists them without names."""

from __future__ import annotations

from ..stack_spec import parameter_names

_MOST_LAYERS = 10_000


def flat_names(count: int, layers: int, bias: bool, two_way: bool) -> list[str]:
    """The names of the `count` weights of a call in its order; none if that is not their number."""
    groups = layers * (2 if two_way else 1)
    least = 4 if bias else 2
    for projection in (0, 1):
        if 0 < layers <= _MOST_LAYERS and count == groups * (least + projection):
            return parameter_names(layers, two_way, bias, projection)
    return []
