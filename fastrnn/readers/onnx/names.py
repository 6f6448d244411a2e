# SPDX-License-Identifier: MIT
"""Names of layers: the module's, as far as a writer left it in names of weights and nodes."""

from __future__ import annotations

import re

from .messages import Node
from .values import Const, Inputs

_LONGEST = 200


def module_name(node: Node, inputs: Inputs | None = None) -> tuple[str, bool]:
    """The dotted path of the module a node comes from, and whether it is really that."""
    for value in inputs.values if inputs else []:
        if isinstance(value, Const) and value.name.endswith((".weight", ".bias")):
            return _clean(value.name.rpartition(".")[0], node), True
    modules = [scope for scope in node.scopes[:-1] if scope]  # the last one is the operation's
    if modules:
        return _clean(modules[-1], node), True
    scopes = [part for part in re.split("/", node.name) if part]
    if len(scopes) > 1:
        return _clean(".".join(scopes[:-1]), node), True
    return _clean(node.name or node.op_type.lower(), node), False


def _clean(name: str, node: Node) -> str:
    name = re.sub(r"[^\w.\-]+", "_", name[:_LONGEST])
    name = re.sub(r"\.{2,}", ".", name).strip("._")
    return name or node.op_type.lower()


def unique(names: list[str]) -> list[str]:
    """The names with a number behind those that stand more than once."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    result = []
    for name in names:
        candidate = name
        while candidate in taken:
            counts[name] = counts.get(name, 1) + 1
            candidate = f"{name}_{counts[name]}"
        taken.add(candidate)
        result.append(candidate)
    return result
