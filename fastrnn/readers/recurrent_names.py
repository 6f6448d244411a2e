# SPDX-License-Identifier: MIT
"""PyTorch's names of the weights of a recurrent call, which lists them without names."""

from __future__ import annotations

from .errors import FormatError

PART_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
_MOST_LAYERS = 10_000


def flat_names(count: int, layers: int, bias: bool, two_way: bool, what: str) -> list[str]:
    """The names of the `count` weights of a call in its order: layers, then directions."""
    groups = layers * (2 if two_way else 1)
    each = count // groups if 0 < groups <= min(count, _MOST_LAYERS) else 0
    parts = {
        (2, False): PART_NAMES[:2],
        (3, False): PART_NAMES[:2] + PART_NAMES[4:],
        (4, True): PART_NAMES[:4],
        (5, True): PART_NAMES,
    }.get((each, bias), ())
    if not parts or each * groups != count:
        raise FormatError(
            f"{what}: {count} weights do not fit {layers} layers, bias={bias}, "
            f"bidirectional={two_way}"
        )
    suffixes = ("", "_reverse") if two_way else ("",)
    return [f"{part}_l{k}{s}" for k in range(layers) for s in suffixes for part in parts]
