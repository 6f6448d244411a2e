# SPDX-License-Identifier: MIT
"""Time and memory of independent streams, stepped in turn: `python -m benchmarks.many_streams`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastrnn.bench import Case

from .engines.engines import TITLES
from .measuring.measure import CaseResult, Measurement, greet, measure_cases, start_clients
from .measuring.options import add_common, chosen_plan, publish
from .reports.document import Document
from .reports.tables import ratio, table, threads_word

# Each row of the batch is a stream. A call makes `steps` rounds over all of them.
STREAMS = Case(
    "streams200_lstm_128", "LSTM", 4, 200, 128, 128, source="voice activity in 200 calls"
)  # fmt: skip
WAYS = {
    ("fastrnn", "streams"): "200 streams of one layer",
    ("torch", "streams"): "one LSTMCell, 200 states",
    ("onnxruntime", "streams"): "one session, 200 states",
    ("onnxruntime", "sessions"): "200 sessions",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    add_common(parser, "about 15 seconds")
    options = parser.parse_args(argv)
    plan = chosen_plan(options)
    with start_clients(WAYS, options.threads) as clients:
        versions, usable = greet(clients)
        results = measure_cases([STREAMS], usable, plan)
    document = Document(versions, options.threads, plan, results)
    return publish(document, markdown(document), options)


def markdown(document: Document) -> str:
    parts = [f"# Independent streams\n\n{document.about()}\n"]
    for result in document.results:
        case = result.case
        parts.append(
            f"{case.batch} streams of {case.cell} {case.hidden} (input {case.inputs}), float32, "
            "stepped round robin. Memory is what the process grew by, for each stream.\n"
        )
        for threads in document.threads:
            parts += [f"## {threads_word(threads).capitalize()}\n", _table(result, threads)]
    return "\n".join(parts)


def _table(result: CaseResult, threads: int) -> str:
    header = ["engine", "way", "us per step, median / best", "step / fastrnn's (best)"]
    header += ["KB per stream", "code path"]
    own = result.find("fastrnn", threads, "streams")
    rows = []
    for (engine, mode), way in WAYS.items():
        row = result.find(engine, threads, mode)
        if row is None:
            rows.append([TITLES[engine], way, "-", "-", "-", _why(result, engine, threads, mode)])
            continue
        times = f"{_step_us(result, row.median):.2f} / {_step_us(result, row.best):.2f}"
        over = None if own is None else row.best / own.best
        memory = "-" if row.memory is None else f"{row.memory / 1024:.1f}"
        rows.append([TITLES[engine], way, times, ratio(over), memory, row.path])
    return table(header, rows)


def _step_us(result: CaseResult, seconds: float) -> float:
    return 1e6 * seconds / result.row_steps


def _why(result: CaseResult, engine: str, threads: int, mode: str) -> str:
    def asked(row: Measurement) -> bool:
        return (row.engine, row.threads, row.mode) == (engine, threads, mode)

    details = [f"{row.status}: {row.detail}" for row in result.measurements if asked(row)]
    return details[0] if details else "not installed"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
