# SPDX-License-Identifier: MIT
"""A tiny reader of TorchScript code text: class constants and recurrent calls, nothing else.

The printer of TorchScript writes one statement per line and names every value, so
lines are matched one by one, by their words. Nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...stack_spec import CELLS
from ..containers.budget import Budget
from .script_words import LineError, read_number, scan

Constants = dict[str, object]

_CALLS = [*CELLS, *(f"{cell}_cell" for cell in CELLS)]
_ACTIVATIONS = ("relu", "tanh", "relu_", "tanh_")
_LONGEST_PATH = 1024


class RecurrentCall(NamedTuple):
    """One literal torch.lstm/gru/rnn call: its weights as dotted references and its literals."""

    owner: str | None  # "self.rnn" when all weights are attributes of that module
    constants: list[int]  # 3 for CONSTANTS.c3, when the weights are constants
    variable: str  # the name of the variable that holds the list of weights, if there is one
    is_cell: bool
    options: Constants


@dataclass(slots=True)
class ScriptClass:
    """What the code of one class says about recurrent layers."""

    constants: Constants = field(default_factory=dict)
    calls: list[RecurrentCall] = field(default_factory=list)
    activations: set[str] = field(default_factory=set)  # of relu and tanh, those it calls
    has_functions: bool = False  # archives of C++ have classes without any


def read_classes(lines: list[str], budget: Budget) -> dict[str, ScriptClass]:
    """The classes of one code file by their unqualified names."""
    classes: dict[str, ScriptClass] = {}
    current = ScriptClass()
    variables: dict[str, str] = {}
    for line in lines:
        try:
            words = scan(line, budget)
        except LineError:
            continue
        current.activations.update(word.rstrip("_") for word, _ in _calls(words, _ACTIVATIONS))
        if line.startswith("class ") and words[2:3] == ["("]:
            current = classes.setdefault(words[1], ScriptClass())
        elif line.startswith("  def "):
            current.has_functions, variables = True, {}
        elif words[1:3] == [":", "Final"] and "=" in words:
            current.constants[words[0]] = _literal("".join(words[words.index("=") + 1 :]))
        elif words[1:2] == ["="] and "(" not in words:
            variables[words[0]] = "".join(words[2:])
        elif found := next(_calls(words, _CALLS), None):
            arguments = _split_arguments(words[found[1] :])
            is_cell = found[0].endswith("_cell")
            read = _read_cell_call if is_cell else _read_layer_call
            if call := read(found[0].removesuffix("_cell"), arguments, variables, budget):
                current.calls.append(call)
    return classes


def plain_class(name: str) -> str:
    """A class as Python names it: "__torch__.torch.nn.___torch_mangle_3.GRU" is torch.nn.GRU."""
    parts = name.removeprefix("__torch__.").split(".")
    return ".".join(part for part in parts if not part.startswith("___torch_mangle_"))


def _calls(words: list[str], names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The functions torch.name that a line calls, and where their arguments begin."""
    for at in range(3, len(words)):
        if words[at] == "(" and words[at - 1] in names and words[at - 3 : at - 1] == ["torch", "."]:
            yield words[at - 1], at + 1


def _read_layer_call(
    function: str, arguments: list[str], variables: dict[str, str], budget: Budget
) -> RecurrentCall | None:
    """Understand (x, hx, weights, bias, layers, dropout, train, bidirectional, batch_first).

    The packed form has batch_sizes behind x and no batch_first.
    """
    if len(arguments) != 9:
        return None
    packed = _literal(arguments[3]) is None and isinstance(_literal(arguments[4]), bool)
    names = ["bias", "num_layers", "dropout", "train", "bidirectional", "batch_first"]
    values = [_literal(text) for text in arguments[4 if packed else 3 :]]
    options = {n: v for n, v in zip(names, values, strict=False) if n != "train" and v is not None}
    weights = arguments[3 if packed else 2]
    owner, constants = _locate_weights(weights, variables, budget)
    variable = weights if weights.isidentifier() else ""
    return RecurrentCall(owner, constants, variable, False, _cell(function) | options)


def _read_cell_call(
    function: str, arguments: list[str], variables: dict[str, str], budget: Budget
) -> RecurrentCall | None:
    """Understand (x, hx, weight_ih, weight_hh[, bias_ih, bias_hh])."""
    weights = [text for text in arguments[2:] if text != "None"]
    if len(weights) not in (2, 4):
        return None
    owner, constants = _locate_weights(f"[{','.join(weights)}]", variables, budget)
    options = _cell(function) | {"bias": len(weights) == 4}
    return RecurrentCall(owner, constants, "", True, options)


def _cell(function: str) -> Constants:
    return {"cell": CELLS[function].layer, **CELLS[function].options}


def _split_arguments(words: list[str]) -> list[str]:
    """The arguments up to the bracket that closes the call."""
    arguments, depth, begin = [], 0, 0
    for at, word in enumerate(words):
        if word in "([{":
            depth += 1
        elif depth == 0 and word in ",)":
            arguments.append("".join(words[begin:at]))
            begin = at + 1
            if word == ")":
                return arguments
        elif word in ")]}":
            depth -= 1
    return []


def _locate_weights(
    text: str, variables: dict[str, str], budget: Budget
) -> tuple[str | None, list[int]]:
    """Where the weights of a list, or of the variable that holds one, come from."""
    text = variables.get(text, text)
    owner: str | None = None
    constants: list[int] = []
    for item in text[1:-1].split(",") if text.startswith("[") else [text]:
        place, _, name = _resolve(item, variables, budget).rpartition(".")
        if place == "CONSTANTS" and name[:1] == "c" and type(read_number(name[1:])) is int:
            constants.append(int(name[1:]))
        elif owner not in (None, place):
            return None, []
        else:
            owner = place
    return (owner, []) if owner is not None else (None, constants)


def _resolve(text: str, variables: dict[str, str], budget: Budget) -> str:
    """Follow assignments from the first word: r.weight with r = self.rnn is self.rnn.weight."""
    for _ in range(32):
        budget.step(1, "the code")
        head, dot, tail = text.partition(".")
        known = variables.get(head, "[")
        if known.startswith("[") or len(known) + len(text) > _LONGEST_PATH:
            break
        text = known + dot + tail
    return text


def _literal(text: str) -> object:
    """True, False, a number or a string; None for anything else."""
    if text in ("True", "False"):
        return text == "True"
    if text[:1] == '"':
        return text[1:-1]
    return read_number(text)
