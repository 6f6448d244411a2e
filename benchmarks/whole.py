# SPDX-License-Identifier: MIT
"""Whole models, from words or audio to results: `python -m benchmarks.whole`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastrnn.bench import Case

from .engines.engines import TITLES
from .measuring.measure import CaseResult, greet, measure_cases, start_clients
from .measuring.options import add_common, add_parts, chosen_parts, chosen_plan, publish
from .reports.document import Document
from .reports.tables import ratio, table, threads_word

ENGINES = ("fastrnn", "torch", "onnxruntime")
PARTS = {
    "silero": [
        Case("silero_chunk", "LSTM", 1, 1, 128, 128, group="silero",
             source="Silero VAD, 16 kHz, 32 ms of audio"),
    ],
    "tagger": [
        Case(f"tagger_b{batch}", "LSTM", 40, batch, 100, 256, 2, True, group="tagger",
             source="10,000 words, 20 tags")
        for batch in (1, 32)
    ],
}  # fmt: skip
ABOUT = {
    "silero": (
        "## Silero VAD\n\n"
        "One chunk of 32 ms through the whole network, from the state that the chunk before left: "
        "fastrnn a Sequential of the file, PyTorch the original TorchScript archive, ONNX Runtime "
        "what torch.onnx makes of the same network, chunks and states bound beforehand.\n"
    ),
    "tagger": (
        "## Tagger\n\n"
        "Embedding of 10,000 words, 2 layers of LSTM in both directions, linear to 20 tags: from "
        "numbers of words to scores.\n"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    versions: dict[str, str] = {}
    results: list[CaseResult] = []
    for part in options.parts:
        with start_clients([(engine, part) for engine in ENGINES], options.threads) as clients:
            found, usable = greet(clients)
            versions |= found
            results += measure_cases(PARTS[part], usable, options.plan)
    document = Document(versions, options.threads, options.plan, results)
    return publish(document, markdown(document), options)


def markdown(document: Document) -> str:
    """A section for each part that was measured, with a table for each number of threads."""
    parts = [
        f"# Whole models, float32\n\n{document.about()}\n",
        "Microseconds, median / best; ratios are of best times. `difference` is the largest one "
        "of fastrnn's outputs beside PyTorch's.\n",
    ]
    for group, about in ABOUT.items():
        results = [result for result in document.results if result.case.group == group]
        if results:
            parts.append(about)
        for threads in document.threads if results else []:
            parts += [f"### {threads_word(threads).capitalize()}\n", _table(results, threads)]
    return "\n".join([*parts, *_problems(document.results)])


def _table(results: Sequence[CaseResult], threads: int) -> str:
    header = ["case", "shape", *(f"{TITLES[engine]} us" for engine in ENGINES)]
    header += [f"{TITLES[engine]} / fastrnn" for engine in ENGINES[1:]]
    rows = []
    for result in results:
        found = {engine: result.find(engine, threads) for engine in ENGINES}
        own = found["fastrnn"]
        cells = [f"`{result.case.name}`", result.case.shape]
        for row in found.values():
            cells.append("-" if row is None else f"{_us(row.median)} / {_us(row.best)}")
        for engine in ENGINES[1:]:
            peer = found[engine]
            cells.append(ratio(None if own is None or peer is None else peer.best / own.best))
        difference = None if own is None else own.error
        rows.append([*cells, "-" if difference is None else f"{difference:.1e}"])
    return table([*header, "difference"], rows)


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.4g}" if seconds < 1e-3 else f"{1e6 * seconds:.0f}"


def _problems(results: Sequence[CaseResult]) -> list[str]:
    lines = [
        f"- `{result.case.name}`, {TITLES[row.engine]}, threads {row.threads}: "
        f"{row.status}: {row.detail}"
        for result in results
        for row in result.measurements
        if not row.ok
    ]
    return ["## Not measured\n", *lines, ""] if lines else []


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=__doc__)
    add_parts(parser, PARTS)
    add_common(parser, "some seconds")
    options = parser.parse_args(argv)
    options.parts = chosen_parts(parser, options, PARTS)
    options.plan = chosen_plan(options)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
