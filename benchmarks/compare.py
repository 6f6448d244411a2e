# SPDX-License-Identifier: MIT
"""Compare fastrnn with other engines, in inference or training: `python -m benchmarks.compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .engines.engines import COMPILERS, INFERENCE, MODULES, TRAINING
from .measuring.cases import GROUPS, select
from .measuring.machine_limits import Limits, ideal_seconds, measure_limits
from .measuring.measure import CaseResult, greet, measure_cases, start_clients
from .measuring.options import add_common, chosen_plan, words
from .reports.document import Document
from .reports.report import STATISTICS, markdown


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    if options.list:
        for case in options.cases:
            print(f"{case.name:28} {case.group:7} {case.shape:44} {case.source}")
        return 0
    limits = _measure_limits(options.threads)
    mode = "train" if options.train else "infer"
    ways = [(engine, mode) for engine in options.engines]
    with start_clients(ways, options.threads) as clients:
        versions, usable = greet(clients)
        if not usable:
            print("compare: none of the engines could be started", file=sys.stderr)
            return 1
        results = measure_cases(options.cases, usable, options.plan)
    # Again at the end: on a shared machine one measurement can be disturbed.
    again = _measure_limits(options.threads)
    limits = {count: limits[count].best_of(again[count]) for count in limits}
    _set_ideals(results, limits)
    document = Document(versions, options.threads, options.plan, results, limits)
    write(document, options)
    return 1 if document.failed else 0


def write(document: Document, options: argparse.Namespace) -> None:
    """Print the tables, and write the requested files."""
    if options.json:
        document.write(options.json)
    text = markdown(document, options.by)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.bars:
        from .reports.plot import draw_bars

        draw_bars(document, options.bars, options.by)
    if options.roofline:
        from .reports.roofline import draw_roofline

        draw_roofline(document, options.roofline)


def _measure_limits(threads: Sequence[int]) -> dict[int, Limits]:
    return {count: measure_limits(count) for count in threads}


def _set_ideals(results: Sequence[CaseResult], limits: dict[int, Limits]) -> None:
    for result in results:
        for row in result.measurements:
            row.ideal = ideal_seconds(
                result.case, result.row_steps, limits[row.threads], training=result.training
            )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    add = parser.add_argument
    add("--train", action="store_true", help="forward and backward: cases `train` by default")
    add("--cases", default="", help=f"groups ({','.join(GROUPS)}, all) or parts of names, a,b")
    add("--engines", help=f"default {','.join(INFERENCE)}; with --train {','.join(TRAINING)}")
    add_common(parser, "under two minutes for main cases with --threads 1,all")
    add("--by", choices=STATISTICS, default="best", help="what the ratios are made of")
    add("--bars", type=Path, metavar="OUT.svg", help="speed-ups; .svg or .png, by matplotlib")
    add("--roofline", type=Path, metavar="OUT.svg", help="cases under the machine's limits")
    add("--list", action="store_true", help="list the chosen cases and stop")
    options = parser.parse_args(argv)
    try:
        options.cases = select(words(options.cases) or ["train" if options.train else "main"])
        options.engines = _engines(options)
    except ValueError as error:
        parser.error(str(error))
    options.plan = chosen_plan(options)
    return options


def _engines(options: argparse.Namespace) -> list[str]:
    """The named engines; by default all that support the mode, without compilers in a quick run."""
    if options.engines is None:
        usual = TRAINING if options.train else INFERENCE
        return [name for name in usual if not (options.quick and name in COMPILERS)]
    names = words(options.engines)
    unknown = [name for name in names if name not in MODULES]
    if unknown or not names:
        raise ValueError(f"engines: expected some of {', '.join(MODULES)}, got {options.engines!r}")
    return [name for name in MODULES if name in names]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
