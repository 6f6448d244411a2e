# SPDX-License-Identifier: MIT
"""Rows of different lengths against padded rows: `python -m benchmarks.ragged`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastrnn.bench import Case

from .measuring.measure import CaseResult, greet, measure_cases, start_clients
from .measuring.options import add_common, chosen_plan, publish
from .reports.document import Document
from .reports.tables import geometric_mean, milliseconds, ratio, table, threads_word

CASES = [
    Case(
        f"ragged_{cell.lower()}_256_t{steps}", cell, steps, 64, 256, 256, lengths="uniform",
        group="ragged", source=f"64 rows, lengths uniform in 1..{steps}",
    )
    for cell in ("LSTM", "GRU", "RNN")
    for steps in (100, 1000)
]  # fmt: skip
WAYS = {
    ("fastrnn", "infer"): "ragged",
    ("fastrnn", "padded"): "padded",
    ("torch", "infer"): "packed",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ragged", description=__doc__)
    add_common(parser, "about a minute")
    options = parser.parse_args(argv)
    plan = chosen_plan(options)
    with start_clients(WAYS, options.threads) as clients:
        versions, usable = greet(clients)
        results = measure_cases(CASES, usable, plan)
    document = Document(versions, options.threads, plan, results)
    return publish(document, markdown(document), options)


def markdown(document: Document) -> str:
    parts = [
        f"# Ragged batches\n\n{document.about()}\n",
        "`work` is the sum of the lengths over steps * batch: the part of a padded batch that has "
        "to be computed. `ragged / padded` is fastrnn's time with lengths over its time for the "
        "same batch with all rows full; over `work` it is 1 where finished rows cost nothing. "
        "PyTorch runs the batch packed, and pads the result. Ratios are of best times.\n",
    ]
    for threads in document.threads:
        parts += [f"## {threads_word(threads).capitalize()}\n", _table(document, threads)]
    return "\n".join(parts)


def _table(document: Document, threads: int) -> str:
    header = ["case", "shape", "work", "fastrnn ragged ms", "fastrnn padded ms", "ragged / padded"]
    header += ["over work", "PyTorch packed ms", "PyTorch / fastrnn"]
    rows, over_work, leads = [], [], []
    for result in document.results:
        work = result.row_steps / (result.case.steps * result.case.batch)
        found = {way: result.find(way[0], threads, way[1]) for way in WAYS}
        own, padded, packed = found.values()
        part = None if own is None or padded is None else own.best / padded.best
        over_work.append(None if part is None else part / work)
        leads.append(None if own is None or packed is None else packed.best / own.best)
        times = [
            "-" if row is None else f"{milliseconds(row.median)} / {milliseconds(row.best)}"
            for row in (own, padded, packed)
        ]
        names = [f"`{result.case.name}`", result.case.shape.removesuffix(" ragged"), ratio(work)]
        ours = [*times[:2], ratio(part), ratio(over_work[-1])]
        rows.append([*names, *ours, times[2], ratio(leads[-1])])
    means = (
        f"\nIn geometric mean {ratio(geometric_mean(over_work))} of the work, and PyTorch takes "
        f"{ratio(geometric_mean(leads))} times as long.\n"
    )
    return table(header, rows) + means + _problems(document.results, threads)


def _problems(results: Sequence[CaseResult], threads: int) -> str:
    lines = [
        f"- `{result.case.name}`, {row.engine} {row.mode}: {row.status}: {row.detail}"
        for result in results
        for row in result.measurements
        if row.threads == threads and not row.ok
    ]
    return "\n".join(["", *lines, ""]) if lines else ""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
