# SPDX-License-Identifier: MIT
"""From a graph of operators to the description of a model."""

from __future__ import annotations

from .description import Description
from .graph import Graph
from .graph_layers import LAYERS
from .graph_moves import MOVES
from .translation import Translation

_HANDLERS = {**LAYERS, **MOVES}


def describe_graph(graph: Graph, format_name: str, advice: str) -> Description:
    """The layers of a graph; UnsupportedModel lists every node that is in the way."""
    return Description(format_name, tuple(Translation(graph, _HANDLERS).run(advice)))
