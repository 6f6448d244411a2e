# SPDX-License-Identifier: MIT
"""From a graph of operators to the description of a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..description import Description, Obstacle
from .graph import Graph, needed_nodes
from .graph_layers import LAYERS
from .graph_moves import MOVES
from .translation import Translation

_HANDLERS = {**LAYERS, **MOVES}
_RECURRENT = {f"torch.nn.modules.rnn.{cell}" for cell in ("LSTM", "GRU", "RNN")}
_CALLS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def describe_graph(graph: Graph, format_name: str, advice: str) -> Description:
    """The layers of a graph; UnsupportedModel lists every node that is in the way."""
    return Description(format_name, tuple(Translation(_folded(graph), _HANDLERS).run(advice)))


def _folded(graph: Graph) -> Graph:
    """The graph with each recurrent layer that was unrolled into its steps as one obstacle."""
    nodes = needed_nodes(graph)
    called = {node.owner for node in nodes if node.op in _CALLS}
    steps = [node for node in nodes if node.module in _RECURRENT and node.owner not in called]
    counts = Counter((node.owner, node.module) for node in steps)
    for (owner, module), count in counts.items():
        why = f"torch unrolled it into {count} operators, as run_decompositions() does"
        graph.obstacles.append(Obstacle(owner or module.rpartition(".")[2].lower(), module, why))
    lost = {name: (name, None) for node in steps for name in node.outputs}
    inside = {id(node) for node in steps}
    rest = [node for node in nodes if id(node) not in inside]
    return replace(graph, weights={**graph.weights, **lost}, nodes=rest)
