# SPDX-License-Identifier: MIT
"""Write README.md's table and plots from one run: `python -m benchmarks.readme out.json`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from . import ROOT
from .engines.engines import PEERS, TITLES
from .reports.document import Document
from .reports.plot import draw_bars
from .reports.report import STATISTICS, fastest, peer_ratio, share, speed_up
from .reports.roofline import draw_roofline
from .reports.tables import geometric_mean, milliseconds, percent, ratio, table

BEGIN = "<!-- benchmark:begin, written by python -m benchmarks.readme -->"
END = "<!-- benchmark:end -->"
BARS, ROOFLINE = "benchmark.svg", "roofline.svg"
BY = "best"
WIDTH = 130  # of the text's lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="OUT.json", help="from benchmarks.compare --json")
    add("--readme", type=Path, default=ROOT / "README.md", help="default: the checkout's")
    add("--plots", type=Path, help="folder of the plots (default: docs, beside the README)")
    options = parser.parse_args(argv)
    document = Document.read(options.run)
    if document.training:
        raise ValueError(f"{options.run}: expected a run of inference, got one of --train")
    plots = options.plots or options.readme.parent / "docs"
    place = Path(os.path.relpath(plots, options.readme.parent)).as_posix()
    text = options.readme.read_text(encoding="utf-8")
    text = replace_block(text, block(document, place), str(options.readme))
    plots.mkdir(parents=True, exist_ok=True)
    draw_bars(document, plots / BARS, BY)
    draw_roofline(document, plots / ROOFLINE)
    options.readme.write_text(text, encoding="utf-8")
    return 0


def replace_block(text: str, new: str, name: str) -> str:
    """The text with everything between the markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{name}: expected the lines {BEGIN} and {END}, found not both")
    return f"{before}{begin}\n{new}{end}{after}"


def block(document: Document, plots: str) -> str:
    """What stands between the markers; plots: their folder as the README links to it."""
    parts = [
        _filled(f"{document.about()} {_how(document)}") + "\n",
        _table(document),
        _filled(_summary(document)) + "\n",
        f"![Speed-up of fastrnn over each engine, per case]({plots}/{BARS})\n",
        f"![Each case under the machine's FMA peak and bandwidths]({plots}/{ROOFLINE})\n",
    ]
    return "\n".join(parts)


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _how(document: Document) -> str:
    counts = document.threads
    text = f"Milliseconds of one call, best of {document.plan.rounds} interleaved rounds of one run"
    if len(counts) > 1:
        shown = ", ".join(map(str, counts[:-1])) + f" and {counts[-1]}"
        text += f", each engine at the better of {shown} threads (behind the @)"
    text += "; `ahead` is the fastest peer's time over fastrnn's, `share of limit` what fastrnn "
    return text + "reaches of the FMA peak or of the bandwidth to the weights, as measured here."


def _table(document: Document) -> str:
    peers = [peer for peer in PEERS if peer in document.engines]
    statistic, threads = STATISTICS[BY], document.threads
    header = ["Case", "Shape", "fastrnn", *(TITLES[peer] for peer in peers)]
    header += ["ahead", "share of limit"]
    rows = []
    for result in document.results:
        cells = [f"`{result.case.name}`", result.case.shape]
        for engine in ("fastrnn", *peers):
            row = fastest(result, [engine], threads, statistic)
            at = f" @{row.threads}" if row is not None and len(threads) > 1 else ""
            cells.append("-" if row is None else milliseconds(row.best) + at)
        cells.append(ratio(peer_ratio(result, threads, statistic)))
        cells.append(percent(share(result, threads)))
        rows.append(cells)
    return table(header, rows, numbers_from=2)


def _summary(document: Document) -> str:
    statistic, threads = STATISTICS[BY], document.threads
    means = []
    for peers in (PEERS, *([peer] for peer in PEERS if peer in document.engines)):
        leads = [peer_ratio(result, threads, statistic, peers) for result in document.results]
        means.append(ratio(geometric_mean(leads)))
    names = [TITLES[peer] for peer in PEERS if peer in document.engines]
    text = f"In geometric mean fastrnn is {means[0]} times as fast as the fastest peer of each row"
    text += "".join(f", {mean} times {name}" for mean, name in zip(means[1:], names, strict=True))
    text += "."
    if len(threads) > 1:
        ups = [
            speed_up(result, "fastrnn", threads[-1], statistic, threads[0])
            for result in document.results
        ]
        gain = ratio(geometric_mean(ups))
        text += f" With {threads[-1]} threads it is {gain} times as fast as with {threads[0]}."
    return text


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"readme: {error}", file=sys.stderr)
        sys.exit(1)
