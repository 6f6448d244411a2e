# SPDX-License-Identifier: MIT
"""Recurrent cells and stacks as data: gates, states, options, names and shapes of parameters.

Everything that depends on which cell a stack has is declared in `CELLS`; other modules ask it. To
add a cell, write its function in reference.py, add its row here, and its kernel in the C core.
Names, shapes and the order of gates are PyTorch's: gates are stacked along the rows of a weight.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

Shape = tuple[int, ...]

# The parameters that one layer and direction may have, in the order in which the core takes them.
TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class Cell(NamedTuple):
    """A recurrent cell.

    A state is called "h" or "c": h has the width of the output, c that of the hidden units.
    """

    name: str  # in the C core and in reference.py
    layer: str  # the class of fastrnn that runs it
    gates: str  # a letter for each gate, in the order of the rows of its weights
    options: Mapping[str, Any] = {}  # of the class, that choose this cell
    states: tuple[str, ...] = ("h",)
    projects: bool = False  # whether h may be a projection of the hidden units, by weight_hr

    @property
    def has_c(self) -> bool:
        return "c" in self.states


# The first cell of a layer class is the one that its default options choose. Where weights have the
# shapes of several cells and nothing says which one they are of, the first of these is taken.
CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell("lstm", "LSTM", "ifgo", {"coupled": False}, ("h", "c"), projects=True),
        Cell("gru", "GRU", "rzn", {"reset_after": True}),
        Cell("gru_reset_before", "GRU", "rzn", {"reset_after": False}),
        Cell("rnn_tanh", "RNN", "h", {"nonlinearity": "tanh"}),
        Cell("rnn_relu", "RNN", "h", {"nonlinearity": "relu"}),
        Cell("lstm_coupled", "LSTM", "igo", {"coupled": True}, ("h", "c"), projects=True),
    )
}

_WITH_C = frozenset(name for name, cell in CELLS.items() if cell.has_c)

# The layer classes, each with its cells.
LAYERS: dict[str, tuple[Cell, ...]] = {
    layer: tuple(cell for cell in CELLS.values() if cell.layer == layer)
    for layer in dict.fromkeys(cell.layer for cell in CELLS.values())
}

MOST_LAYERS = 2**15  # of a stack, as in the C core

# Arguments of every layer class, without input_size and hidden_size, and their defaults.
STACK_OPTIONS: dict[str, Any] = {
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}


def cell_options(layer: str) -> dict[str, tuple[Any, ...]]:
    """Return the options that choose among the cells of a layer class, each with its values.

    The first value is the default.
    """
    names = LAYERS[layer][0].options
    return {
        name: tuple(dict.fromkeys(cell.options[name] for cell in LAYERS[layer])) for name in names
    }


def constructor_options(layer: str) -> dict[str, Any]:
    """Map the arguments of a layer class, without input_size and hidden_size, to their defaults."""
    projection = {"proj_size": 0} if any(cell.projects for cell in LAYERS[layer]) else {}
    return {**STACK_OPTIONS, **projection, **LAYERS[layer][0].options}


def find_cell(layer: str, options: Mapping[str, Any]) -> Cell:
    """Return the cell that these options of a layer class choose; others do not matter.

    ValueError names an option whose value no cell has.

    >>> find_cell("RNN", {"nonlinearity": "relu", "bias": True}).name
    'rnn_relu'
    """
    chosen = {}
    for name, values in cell_options(layer).items():
        value = options.get(name, values[0])
        if not isinstance(value, Hashable) or value not in values:
            raise ValueError(f"{name}: expected {' or '.join(map(repr, values))}, got {value!r}")
        chosen[name] = value
    return next(cell for cell in LAYERS[layer] if cell.options == chosen)


def parameter_names(num_layers: int, bidirectional: bool, bias: bool, proj_size: int) -> list[str]:
    """Return the names of all parameters of a stack in PyTorch's flat order."""
    tensors = ["weight_ih", "weight_hh"]
    tensors += ["bias_ih", "bias_hh"] if bias else []
    tensors += ["weight_hr"] if proj_size else []
    return [tensor + end for end in places(num_layers, bidirectional) for tensor in tensors]


def places(num_layers: int, bidirectional: bool) -> list[str]:
    """Return the ends of parameters' names, as "_l0_reverse", of all layers and directions.

    ValueError for more layers than the core can have: all that goes through layers begins here.
    """
    if not 1 <= num_layers <= MOST_LAYERS:
        raise ValueError(f"num_layers: expected 1 to {MOST_LAYERS}, got {num_layers}")
    directions = ("", "_reverse") if bidirectional else ("",)
    return [f"_l{layer}{direction}" for layer in range(num_layers) for direction in directions]


class Spec(NamedTuple):
    """A recurrent stack: the name of its cell, a key of `CELLS`, and its sizes.

    >>> spec = Spec("lstm", 3, 5, num_layers=2)
    >>> spec.output_size, spec.state_sizes, list(spec.shapes())[-1]
    (5, (5, 5), 'bias_hh_l1')
    """

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    bidirectional: bool = False
    proj_size: int = 0

    @classmethod
    def of(cls, layer: str, options: Mapping[str, Any]) -> Spec:
        """Return the stack of a layer class with these arguments of its constructor."""
        known = {"proj_size": 0, **STACK_OPTIONS, **options}
        return cls(
            find_cell(layer, options).name,
            known["input_size"],
            known["hidden_size"],
            known["num_layers"],
            known["bias"],
            known["bidirectional"],
            known["proj_size"],
        )

    @property
    def declaration(self) -> Cell:
        """What the stack's cell is made of."""
        return CELLS[self.cell]

    @property
    def has_c(self) -> bool:
        return self.cell in _WITH_C

    @property
    def output_size(self) -> int:
        """The width of h."""
        return self.proj_size or self.hidden_size

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def width(self) -> int:
        """The width of y."""
        return self.output_size * self.directions

    @property
    def state_rows(self) -> int:
        """The rows of a state: one for each layer and direction."""
        return self.num_layers * self.directions

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each state."""
        widths = {"h": self.output_size, "c": self.hidden_size}
        return tuple(widths[state] for state in self.declaration.states)

    def places(self) -> list[str]:
        """Return the ends of parameters' names, as "_l0_reverse", of all layers and directions."""
        return places(self.num_layers, self.bidirectional)

    def names(self) -> list[str]:
        """Return the names of all parameters in PyTorch's flat order."""
        return parameter_names(self.num_layers, self.bidirectional, self.bias, self.proj_size)

    def shapes(self) -> dict[str, Shape]:
        """Map the name of each parameter to its shape, in PyTorch's flat order."""
        rows = len(self.declaration.gates) * self.hidden_size
        sizes: dict[str, Shape] = {
            "weight_ih": (rows, self.width),
            "weight_hh": (rows, self.output_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
            "weight_hr": (self.proj_size, self.hidden_size),
        }
        found = {name: sizes[name.partition("_l")[0]] for name in self.names()}
        for end in self.places()[: self.directions]:
            found["weight_ih" + end] = (rows, self.input_size)
        return found

    def by_place(self, parameters: Sequence[Any]) -> list[list[Any]]:
        """Distribute parameters in PyTorch's flat order over layers and directions.

        Each place gets five, in the order of `TENSORS`, with None for those that the stack does not
        have.
        """
        each = len(parameters) // self.state_rows
        found = []
        for first in range(0, len(parameters), each):
            own = list(parameters[first : first + each])
            projection = [own.pop() if self.proj_size else None]
            found.append(own[:2] + (own[2:] or [None, None]) + projection)
        return found
