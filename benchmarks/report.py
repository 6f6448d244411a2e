# SPDX-License-Identifier: MIT
"""Results as Markdown tables: times, lead over the fastest peer, share of the machine's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from .engines import PEERS, TITLES
from .measure import CaseResult, Measurement

Statistic = Callable[[Measurement], float]
STATISTICS: dict[str, Statistic] = {
    "best": lambda row: row.best,
    "median": lambda row: row.median,
}


def fastest(
    result: CaseResult, engines: Iterable[str], threads: Iterable[int], statistic: Statistic
) -> Measurement | None:
    """The fastest of these engines, each at its best of these thread counts."""
    found = [result.find(engine, count) for engine in engines for count in threads]
    return min((row for row in found if row is not None), key=statistic, default=None)


def peer_ratio(
    result: CaseResult,
    threads: Sequence[int],
    statistic: Statistic,
    peers: Sequence[str] = PEERS,
) -> float | None:
    """Time of the fastest peer over fastrnn's: above 1, fastrnn is ahead."""
    own = fastest(result, ["fastrnn"], threads, statistic)
    peer = fastest(result, peers, threads, statistic)
    return None if own is None or peer is None else statistic(peer) / statistic(own)


def geometric_mean(values: Iterable[float | None]) -> float | None:
    logs = [math.log(value) for value in values if value is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def markdown(
    results: Sequence[CaseResult],
    engines: Sequence[str],
    threads: Sequence[int],
    by: str = "best",
) -> str:
    """A section per number of threads, one of each engine's best number, one of code paths."""
    parts = []
    for count in threads:
        parts.append(f"## {count} thread{'s' if count > 1 else ''}\n")
        parts.append(_table(results, engines, [count], by))
    if len(threads) > 1:
        parts.append("## Each engine at its best number of threads\n")
        parts.append(_table(results, engines, threads, by))
    parts.append("## Code paths taken\n")
    parts.append(_paths(results, engines, threads[0]))
    problems = _problems(results)
    if problems:
        parts += ["## Not measured\n", problems]
    return "\n".join(parts)


def _table(
    results: Sequence[CaseResult], engines: Sequence[str], threads: Sequence[int], by: str
) -> str:
    peers = [engine for engine in engines if engine != "fastrnn"]
    own = ["fastrnn"] if "fastrnn" in engines else []
    header = ["case", "shape", *(f"{TITLES[engine]} ms" for engine in own + peers)]
    if own:
        header += [f"fastest peer / fastrnn ({by})", "share of limit"]
    rows = []
    for result in results:
        cells = [f"`{result.case.name}`", result.case.shape]
        for engine in own + peers:
            cells.append(_times(fastest(result, [engine], threads, STATISTICS[by])))
        if own:
            cells += [_ratio(peer_ratio(result, threads, STATISTICS[by]))]
            cells += [_share(fastest(result, own, threads, STATISTICS[by]))]
        rows.append(cells)
    text = "Times are median / best of one call.\n\n" + _format(header, rows)
    return text + _means(results, peers, threads) if own and peers else text


def _means(results: Sequence[CaseResult], peers: Sequence[str], threads: Sequence[int]) -> str:
    """Geometric means of fastrnn's lead, over the fastest peer and over each one."""
    header = ["geometric mean of peer / fastrnn", "by best", "by median", "lowest (best)", "cases"]
    rows = []
    choices = [("the fastest peer", list(peers))] + [(TITLES[peer], [peer]) for peer in peers]
    for title, chosen in choices:
        best = [peer_ratio(result, threads, STATISTICS["best"], chosen) for result in results]
        median = [peer_ratio(result, threads, STATISTICS["median"], chosen) for result in results]
        known = [value for value in best if value is not None]
        means = [_ratio(geometric_mean(best)), _ratio(geometric_mean(median))]
        rows.append([title, *means, _ratio(min(known, default=None)), str(len(known))])
    return "\n" + _format(header, rows)


def _paths(results: Sequence[CaseResult], engines: Sequence[str], threads: int) -> str:
    rows = []
    for result in results:
        cells = [f"`{result.case.name}`"]
        for engine in engines:
            row = result.find(engine, threads)
            cells.append(row.path if row is not None else "-")
        rows.append(cells)
    return _format(["case", *(TITLES[engine] for engine in engines)], rows)


def _problems(results: Sequence[CaseResult]) -> str:
    lines = []
    for result in results:
        for row in result.measurements:
            if not row.ok:
                name = f"{TITLES[row.engine]}, threads {row.threads}"
                lines.append(f"- `{result.case.name}`, {name}: {row.status}: {row.detail}")
    return "\n".join(lines) + "\n" if lines else ""


def _times(row: Measurement | None) -> str:
    return "-" if row is None else f"{_ms(row.median)} / {_ms(row.best)}"


def _ms(seconds: float) -> str:
    value = 1e3 * seconds
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.4f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(row: Measurement | None) -> str:
    return "-" if row is None or row.ideal is None else f"{100 * row.ideal / row.best:.0f} %"


def _format(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |\n"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|\n"
    return line(header) + rule + "".join(map(line, rows))
