# SPDX-License-Identifier: MIT
"""The description of a whole model, which every reader of whole models returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..stack_spec import LAYERS
from .containers.elements import Array, Entry
from .errors import UnsupportedModel, WrongRank, quote

# What a file says of its recurrent layers: options by the name of the layer, with its "cell", as
# "LSTM". "unsupported" says why such a layer cannot be made, "nodes" names those of ONNX.
RecurrentOptions = dict[str, dict[str, object]]

# Where PyTorch's own modules are. What a module of another class computes, only its code tells.
PYTORCH_MODULES = "torch.nn.modules."

_MOST_OBSTACLES = 100  # that an error lists
# The kinds of layers that hold others, which follow them in a description.
HOLDERS = ("Residual", "AttentionPool")
MOST_DEPTH = 8  # of layers that hold layers

# The arrays of a described recurrent layer that are its initial states, and the option that says
# that the file has them.
STATES = ("h_0", "c_0")
INITIAL_STATES = "initial_states"


@dataclass(frozen=True)
class DescribedLayer:
    """One layer, with the options and the parameter names of its kind in torch.nn."""

    name: str  # dotted path in the file, never empty, unique
    kind: str  # "LSTM", "GRU", "RNN", "Embedding", "Linear", "LayerNorm", "Conv1d", "Last" ...
    options: dict[str, object] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)  # in torch's layout and gate order


@dataclass(frozen=True)
class Description:
    """The layers of a model, run one after another, each on the y of the one before.

    A layer with an option "layers" holds so many of those that follow it, each with those that it
    holds itself. They run on its x, and it makes its y of theirs and of x.
    """

    format: str
    layers: tuple[DescribedLayer, ...]


def flattened(description: Description) -> tuple[dict[str, Entry], RecurrentOptions]:
    """The arrays of all layers by name, and the options of the recurrent ones."""
    entries: dict[str, Entry] = {}
    recurrent: RecurrentOptions = {}
    for layer in description.layers:
        entries |= {f"{layer.name}.{name}": array for name, array in layer.arrays.items()}
        if layer.kind in LAYERS:
            recurrent[layer.name] = {"cell": layer.kind, **layer.options}
            if layer.arrays.keys() & STATES:
                recurrent[layer.name][INITIAL_STATES] = True
    return entries, recurrent


def of_other_class(path: str, class_name: str) -> RecurrentOptions:
    """What is said of a module in a program: it is unsupported if its class is not PyTorch's."""
    if class_name.startswith("torch.nn."):
        return {}
    why = f"{quote(path)} is a {quote(class_name)[1:-1]}, not one of PyTorch's recurrent layers: "
    why += "weights of the same names may be used in another way"
    if class_name.startswith("fastrnn.torch."):
        why = f"{quote(path)} runs on fastrnn: call fastrnn.torch.restore(model) before you save it"
    return {path: {"unsupported": why}}


@dataclass(frozen=True)
class Obstacle:
    """A node or layer that cannot be described."""

    name: str
    type: str
    why: str
    refuses_rank: bool = False  # the framework would refuse it too, for the number of axes

    def __str__(self) -> str:
        return f"{quote(self.name)} ({quote(self.type)[1:-1]}): {self.why}"


def unsupported(obstacles: Sequence[Obstacle], advice: str) -> UnsupportedModel:
    """The error that lists the obstacles, not more than can be read, and says what can be done."""
    listed = "".join(f"\n  {obstacle}" for obstacle in obstacles[:_MOST_OBSTACLES])
    more = len(obstacles) - _MOST_OBSTACLES
    listed += f"\n  and {more} more" if more > 0 else ""
    kind = WrongRank if any(obstacle.refuses_rank for obstacle in obstacles) else UnsupportedModel
    return kind(f"this model cannot be taken as a whole:{listed}\n{advice}")
