# SPDX-License-Identifier: MIT
"""Training other than of single layers: `python -m benchmarks.training`.

Packed batches, a step of a whole model, changed weights, memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastrnn.bench import Case

from .measuring.cases import select
from .measuring.measure import CaseResult, Plan, greet, measure_cases, start_clients
from .measuring.options import add_common, add_parts, chosen_parts, chosen_plan
from .measuring.progress import CaseProgress
from .peak import CASE as MEMORY
from .peak import Peak, measure_peak
from .reports.document import Document
from .reports.training_report import markdown

Ways = Sequence[tuple[str, str]]  # engine, mode

PACKED = [
    Case(
        f"packed_{cell.lower()}_256_t{steps}", cell, steps, 64, 256, 256, lengths="uniform",
        group="packed", source=f"64 rows, lengths uniform in 1..{steps}",
    )
    for cell in ("LSTM", "GRU")
    for steps in (100, 1000)
]  # fmt: skip
STEP = [
    Case("step_gru_256x2", "GRU", 100, 32, 256, 256, 2, group="step",
         source="embedding of 1000 words, GRU, linear, Adam"),
]  # fmt: skip
# From a layer with few weights, compared with its batch, to one with many.
REPACK = [
    replace(case, group="repack")
    for case in select(["sessions_gru_100", "ptb_lstm_650x2", "translate_lstm_1024"])
]
ENGINES = ("fastrnn", "fastrnn_torch", "torch")


@dataclass(frozen=True)
class Part:
    """Cases that are measured in the same modes."""

    cases: Sequence[Case]
    ways: Ways


PARTS = {
    "packed": Part(PACKED, [(engine, "train") for engine in ENGINES]),
    "step": Part(STEP, [("fastrnn_torch", "step"), ("torch", "step")]),
    "repack": Part(
        REPACK,
        [(e, mode) for e in ("fastrnn", "fastrnn_torch") for mode in ("train", "repack", "reuse")],
    ),
}
NAMES = (*PARTS, "memory")


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    versions, results = measure_parts(options.parts, options.threads, options.plan)
    document = Document(versions, options.threads, options.plan, results)
    peaks: list[Peak] = []
    if "memory" in options.parts:
        peaks = measure_peaks(ENGINES, max(options.threads))
    if options.json:
        found = to_json(document, peaks)
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = markdown(document, peaks)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 1 if document.failed or not (results or peaks) else 0


def measure_parts(
    names: Sequence[str], threads: Sequence[int], plan: Plan
) -> tuple[dict[str, str], list[CaseResult]]:
    """Versions of the engines, and the results of all parts."""
    versions: dict[str, str] = {}
    results: list[CaseResult] = []
    for part in (PARTS[name] for name in PARTS if name in names):
        with start_clients(part.ways, threads) as clients:
            found, usable = greet(clients)
            versions |= found
            results += measure_cases(part.cases, usable, plan)
    return versions, results


def measure_peaks(engines: Sequence[str], threads: int, case: Case = MEMORY) -> list[Peak]:
    """The memory of every engine that runs. The others are named on stderr."""
    peaks = []
    with CaseProgress(len(engines)) as bar:
        for engine in engines:
            bar.update(f"{case.name}: {engine}")
            try:
                peaks.append(measure_peak(engine, threads, case))
            except (RuntimeError, subprocess.TimeoutExpired) as failure:
                bar.done(f"{case.name}: {engine} is left out: {failure}")
            else:
                bar.done(f"{case.name}: {engine} {peaks[-1].taken / 1e6:.0f} MB")
    return peaks


def to_json(document: Document, peaks: Sequence[Peak]) -> dict[str, Any]:
    """A comparison in JSON, with the memory."""
    memory = {"case": MEMORY.to_json(), "peaks": [peak.to_json() for peak in peaks]}
    return document.to_json() | {"memory": memory}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=(__doc__ or "").splitlines()[0]
    )
    add_parts(parser, NAMES)
    add_common(parser, "about two minutes")
    options = parser.parse_args(argv)
    options.parts = chosen_parts(parser, options, NAMES)
    options.plan = chosen_plan(options)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
