# SPDX-License-Identifier: MIT
"""Whole models of torch.export archives, and what their graphs say of recurrent layers."""

from __future__ import annotations

from ...stack_spec import CELLS
from ..containers.elements import Entry
from ..containers.source import Source
from ..containers.zip_archive import ZipArchive
from ..description import Description, of_other_class
from ..graph.graph import Graph, Node, Ref
from ..graph.graph_describe import describe_graph
from .pt2_archive import FORMAT, choose_program, read_programs
from .pt2_graph import read_graph

Recurrent = dict[str, dict[str, object]]

_ADVICE = (
    "read_state_dict(path) returns all weights by name, fastrnn.load(path, prefix=...) one "
    "recurrent layer; a decomposed graph can be exported again without run_decompositions"
)
_OPTIONS = {  # of a layer: the argument of its call
    "bias": ("has_biases", bool), "num_layers": ("num_layers", int), "dropout": ("dropout", float),
    "bidirectional": ("bidirectional", bool), "batch_first": ("batch_first", bool),
}  # fmt: skip


def describe_pt2(archive: ZipArchive, source: Source, model: str | None = None) -> Description:
    """The layers of the model, or of the one named `model`, in an open archive.

    Raises UnsupportedModel, a FormatError, which lists every node that is no layer; FormatError
    if the file is damaged or of another kind.
    """
    program = choose_program(read_programs(archive, source), model)
    return describe_graph(read_graph(program), FORMAT, _ADVICE, source.budget)


def read_pt2(archive: ZipArchive, source: Source) -> tuple[dict[str, Entry], Recurrent]:
    """Parameters and buffers, below the model's name if there are several; recurrent options."""
    programs = read_programs(archive, source)
    entries: dict[str, Entry] = {}
    recurrent: Recurrent = {}
    for program in programs:
        prefix = f"{program.name}." if len(programs) > 1 else ""
        entries |= {prefix + name: entry for name, entry in program.weights.items()}
        for path, options in _recurrent(read_graph(program)).items():
            recurrent[(prefix + path).removesuffix(".")] = options
    return entries, recurrent


def _recurrent(graph: Graph) -> Recurrent:
    """The options of the recurrent calls by the module whose parameters they take.

    Modules of other classes are unsupported, unless a recurrent call takes their parameters.
    """
    found: Recurrent = {}
    others: Recurrent = {}
    for node in graph.nodes:
        if node.module:
            others |= of_other_class(node.owner, node.module)
        params = node.args.get("params")
        if node.op not in CELLS or not isinstance(params, list) or not params:
            continue
        if isinstance(params[0], Ref) and params[0].name in graph.weights:
            full = graph.weights[params[0].name][0]
            found.setdefault(full.rpartition(".")[0], _call_options(node))
    return others | found


def _call_options(node: Node) -> dict[str, object]:
    cell = CELLS[node.op]
    options: dict[str, object] = {"cell": cell.layer, **cell.options}
    found = {name: (node.args.get(arg), kind) for name, (arg, kind) in _OPTIONS.items()}
    return options | {name: value for name, (value, kind) in found.items() if type(value) is kind}
