# SPDX-License-Identifier: MIT
"""A tiny reader of TorchScript code text: class constants and recurrent calls, nothing else.

The printer of TorchScript writes one statement per line and names every value, so
lines are matched one by one. Nothing is evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ...stack_spec import CELLS

Constants = dict[str, object]

_CLASS = re.compile(r"class (\w+)\(")
_METHOD = re.compile(r"  def \w+\(")
_FINAL = re.compile(r"  (\w+) : Final\[\w+\] = (.+)")
_ASSIGN = re.compile(r" {1,200}(\w+) = (\[[\w., ]*\]|[A-Za-z_][\w.]{0,1023})")
_CALL = re.compile(r"torch\.(lstm|gru|rnn_tanh|rnn_relu)(_cell)?\(")
_ACTIVATION = re.compile(r"torch\.(relu|tanh)_?\(")
_INTEGER = re.compile(r"-?\d{1,18}")
_FLOAT = re.compile(r"-?\d{0,32}\.?\d{0,32}(?:[eE][-+]?\d{1,3})?")
_CONSTANT = re.compile(r"c([0-9]{1,9})")
_LONGEST_CALL = 1 << 20
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


def read_classes(text: str) -> dict[str, ScriptClass]:
    """The classes of one code file by their unqualified names."""
    classes: dict[str, ScriptClass] = {}
    current = ScriptClass()
    variables: dict[str, str] = {}
    for line in text.split("\n"):
        current.activations.update(_ACTIVATION.findall(line))
        if match := _CLASS.match(line):
            current = classes.setdefault(match[1], ScriptClass())
        elif _METHOD.match(line):
            variables = {}
        elif match := _FINAL.fullmatch(line):
            current.constants[match[1]] = _literal(match[2])
        elif match := _ASSIGN.fullmatch(line):
            variables[match[1]] = match[2]
        elif match := _CALL.search(line):
            arguments = _split_arguments(line[match.end() :])
            read = _read_cell_call if match[2] else _read_layer_call
            if call := read(match[1], arguments, variables):
                current.calls.append(call)
    return classes


def _read_layer_call(
    function: str, arguments: list[str], variables: dict[str, str]
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
    owner, constants = _locate_weights(weights, variables)
    variable = weights if weights.isidentifier() else ""
    return RecurrentCall(owner, constants, variable, False, _cell(function) | options)


def _read_cell_call(
    function: str, arguments: list[str], variables: dict[str, str]
) -> RecurrentCall | None:
    """Understand (x, hx, weight_ih, weight_hh[, bias_ih, bias_hh])."""
    weights = [text for text in arguments[2:] if text != "None"]
    if len(weights) not in (2, 4):
        return None
    owner, constants = _locate_weights(f"[{', '.join(weights)}]", variables)
    options = _cell(function) | {"bias": len(weights) == 4}
    return RecurrentCall(owner, constants, "", True, options)


def _cell(function: str) -> Constants:
    return {"cell": CELLS[function].layer, **CELLS[function].options}


def _split_arguments(text: str) -> list[str]:
    """The arguments up to the bracket that closes the call."""
    arguments, depth, begin = [], 0, 0
    for at, char in enumerate(text[:_LONGEST_CALL]):
        if char in "([{":
            depth += 1
        elif depth == 0 and char in ",)":
            arguments.append(text[begin:at].strip())
            begin = at + 1
            if char == ")":
                return arguments
        elif char in ")]}":
            depth -= 1
    return []


def _locate_weights(text: str, variables: dict[str, str]) -> tuple[str | None, list[int]]:
    """Where the weights of a list, or of the variable that holds one, come from."""
    text = variables.get(text, text)
    owner: str | None = None
    constants: list[int] = []
    for item in text[1:-1].split(",") if text.startswith("[") else [text]:
        place, _, name = _resolve(item.strip(), variables).rpartition(".")
        if place == "CONSTANTS" and (match := _CONSTANT.fullmatch(name)):
            constants.append(int(match[1]))
        elif owner not in (None, place):
            return None, []
        else:
            owner = place
    return (owner, []) if owner is not None else (None, constants)


def _resolve(text: str, variables: dict[str, str]) -> str:
    """Follow assignments from the first word: r.weight with r = self.rnn is self.rnn.weight."""
    for _ in range(32):
        head, dot, tail = text.partition(".")
        if len(text) > _LONGEST_PATH or variables.get(head, "[").startswith("["):
            break
        text = variables[head] + dot + tail
    return text


def _literal(text: str) -> object:
    """True, False, a number or a string; None for anything else."""
    if text in ("True", "False"):
        return text == "True"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and any(char.isdigit() for char in text):
        return float(text)
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return None
