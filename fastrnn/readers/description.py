# SPDX-License-Identifier: MIT
"""The neutral description of a whole model that every importer produces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .containers.elements import Array
from .errors import UnsupportedModel, quote


@dataclass(frozen=True)
class Layer:
    """One layer, with the options and the parameter names of its kind in torch.nn."""

    name: str  # dotted path in the file, never empty, unique
    kind: str  # "LSTM", "GRU", "RNN", "Embedding", "Linear", "LayerNorm", "Conv1d", "Last" ...
    options: dict[str, object] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)  # in torch's layout and gate order


@dataclass(frozen=True)
class Description:
    """The layers of a model, run one after another, each on the y of the one before."""

    format: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Obstacle:
    """A node or layer that cannot be described."""

    name: str
    type: str
    why: str

    def __str__(self) -> str:
        return f"{quote(self.name)} ({quote(self.type)[1:-1]}): {self.why}"


def unsupported(obstacles: Sequence[Obstacle], advice: str) -> UnsupportedModel:
    """The error that lists every obstacle and says what can be done."""
    listed = "".join(f"\n  {obstacle}" for obstacle in obstacles)
    return UnsupportedModel(f"this model cannot be taken as a whole:{listed}\n{advice}")
