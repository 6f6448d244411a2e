# SPDX-License-Identifier: MIT
"""Write the tables and plots of the documents from one run: `python -m benchmarks.readme out.json`.

README.md gets the cases named in SHOWN, docs/benchmarks.md all of them, each between two markers.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from . import ROOT
from .engines.engines import PEERS, TITLES
from .measuring.measure import CaseResult
from .reports.document import Document
from .reports.plot import draw_bars
from .reports.report import STATISTICS, fastest, peer_ratio, share, speed_up
from .reports.roofline import draw_roofline
from .reports.tables import geometric_mean, milliseconds, percent, ratio, table

BEGIN = "<!-- benchmark:begin, written by python -m benchmarks.readme -->"
END = "<!-- benchmark:end -->"
PAGE, BARS, ROOFLINE = "benchmarks.md", "benchmark.svg", "roofline.svg"
BY = "best"
WIDTH = 110  # of a line of text

# The cases of the README's table: one of each kind of use, with and without a lead.
SHOWN = (
    "amp_lstm_40",
    "vad_lstm_128",
    "streams32_gru_512",
    "text_lstm_32",
    "speaker_bilstm_128x4",
    "enhance_gru_256x2",
    "ptb_lstm_650x2",
    "translate_lstm_1024",
    "speech_rnn_1760",
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("run", type=Path, metavar="OUT.json", help="from benchmarks.compare --json")
    add("--readme", type=Path, default=ROOT / "README.md", help="default: the checkout's")
    add("--docs", type=Path, help=f"folder of {PAGE} and the plots (default: docs beside README)")
    options = parser.parse_args(argv)
    document = Document.read(options.run)
    if document.training:
        raise ValueError(f"{options.run}: expected a run of inference, got one of --train")
    docs = options.docs or options.readme.parent / "docs"
    blocks = {options.readme: short_block(document), docs / PAGE: full_block(document)}
    texts = {path: replaced(path, block) for path, block in blocks.items()}
    draw_bars(document, docs / BARS, BY)
    draw_roofline(document, docs / ROOFLINE)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


def replaced(path: Path, block: str) -> str:
    """The text of a file with everything between its markers replaced."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: expected the lines {BEGIN} and {END}, found not both")
    return f"{before}{begin}\n{block}{end}{after}"


def short_block(document: Document) -> str:
    """What is between the markers of README.md."""
    shown = [result for result in document.results if result.case.name in SHOWN]
    parts = [
        _filled(f"{document.about()} {_how(document)}"),
        _table(document, shown or document.results, with_share=False),
        _filled(_means(document)),
    ]
    return "\n".join(parts)


def full_block(document: Document) -> str:
    """What is between the markers of docs/benchmarks.md."""
    limit = (
        "`share of limit` is fastrnn's throughput as a fraction of what this machine was measured "
        "to allow: its FMA peak or its bandwidth to the weights, whichever is the tighter bound."
    )
    parts = [
        _filled(f"{document.about()} {_how(document)} {limit}"),
        _table(document, document.results, with_share=True),
        _filled(_means(document) + _gain(document)),
        f"![Speed-up of fastrnn over each engine, per case]({BARS})\n",
        f"![Each case under the machine's FMA peak and bandwidths]({ROOFLINE})\n",
    ]
    return "\n".join(parts)


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _how(document: Document) -> str:
    counts = document.threads
    text = f"Milliseconds per call, best of {document.plan.rounds} interleaved rounds of one run"
    if len(counts) > 1:
        shown = ", ".join(map(str, counts[:-1])) + f" and {counts[-1]}"
        text += f"; each engine at the faster of {shown} threads (`@`)"
    return text + ". `ahead` is the fastest other engine's time divided by fastrnn's."


def _table(document: Document, results: Sequence[CaseResult], with_share: bool) -> str:
    peers = [peer for peer in PEERS if peer in document.engines]
    statistic, threads = STATISTICS[BY], document.threads
    header = ["Case", "Shape", "fastrnn", *(TITLES[peer] for peer in peers), "ahead"]
    header += ["share of limit"] if with_share else []
    rows = []
    for result in results:
        cells = [f"`{result.case.name}`", result.case.shape]
        for engine in ("fastrnn", *peers):
            row = fastest(result, [engine], threads, statistic)
            at = f" @{row.threads}" if row is not None and len(threads) > 1 else ""
            cells.append("-" if row is None else milliseconds(row.best) + at)
        cells.append(ratio(peer_ratio(result, threads, statistic)))
        cells += [percent(share(result, threads))] if with_share else []
        rows.append(cells)
    return table(header, rows, numbers_from=2)


def _means(document: Document) -> str:
    """fastrnn's lead over the fastest other engine and over each one, over all cases."""
    statistic, threads = STATISTICS[BY], document.threads
    peers = [peer for peer in PEERS if peer in document.engines]
    means = []
    for chosen in (PEERS, *([peer] for peer in peers)):
        leads = [peer_ratio(result, threads, statistic, chosen) for result in document.results]
        means.append(ratio(geometric_mean(leads)))
    text = f"Geometric mean of all {len(document.results)} cases: fastrnn is {means[0]} times as "
    text += "fast as the fastest other engine"
    each = zip(means[1:], peers, strict=True)
    return text + "".join(f", {mean} times as fast as {TITLES[peer]}" for mean, peer in each) + "."


def _gain(document: Document) -> str:
    """What more threads bring, if the run has several counts."""
    threads = document.threads
    if len(threads) < 2:
        return ""
    ups = [
        speed_up(result, "fastrnn", threads[-1], STATISTICS[BY], threads[0])
        for result in document.results
    ]
    gain = ratio(geometric_mean(ups))
    return f" With {threads[-1]} threads it is {gain} times as fast as with {threads[0]}."


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"readme: {error}", file=sys.stderr)
        sys.exit(1)
