# SPDX-License-Identifier: MIT
"""A comparison in Markdown: times, lead over the peers, share of the limit, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..engines.engines import PEERS, TITLES
from ..measuring.machine_limits import roofs
from ..measuring.measure import CaseResult, Measurement
from .document import Document
from .tables import geometric_mean, milliseconds, percent, ratio, table, threads_word

Statistic = Callable[[Measurement], float]
STATISTICS: dict[str, Statistic] = {
    "best": lambda row: row.best,
    "median": lambda row: row.median,
}
# More threads count as slower only if both best and median lose more than this.
NOISE = 0.03


def fastest(
    result: CaseResult, engines: Iterable[str], threads: Iterable[int], statistic: Statistic
) -> Measurement | None:
    """The fastest of these engines, each with its fastest of these numbers of threads."""
    counts = list(threads)
    found = [result.find(engine, count) for engine in engines for count in counts]
    return min((row for row in found if row is not None), key=statistic, default=None)


def peer_ratio(
    result: CaseResult,
    threads: Sequence[int],
    statistic: Statistic,
    peers: Sequence[str] = PEERS,
    own_engine: str = "fastrnn",
) -> float | None:
    """The fastest peer's time divided by fastrnn's; above 1, fastrnn is faster."""
    own = fastest(result, [own_engine], threads, statistic)
    peer = fastest(result, peers, threads, statistic)
    return None if own is None or peer is None else statistic(peer) / statistic(own)


def speed_up(
    result: CaseResult, engine: str, threads: int, statistic: Statistic, base: int = 1
) -> float | None:
    """The time with `base` threads divided by that with more; above 1, more are faster."""
    one, many = result.find(engine, base), result.find(engine, threads)
    return None if one is None or many is None else statistic(one) / statistic(many)


def is_slower(result: CaseResult, threads: int, base: int = 1) -> bool:
    """Whether fastrnn is slower with more threads."""
    found = [speed_up(result, "fastrnn", threads, by, base) for by in STATISTICS.values()]
    return all(value is not None and value < 1 - NOISE for value in found)


def share(result: CaseResult, threads: Sequence[int]) -> float | None:
    """The least time that this machine could need, divided by fastrnn's best time.

    With the fewest threads that are as fast as any, except for noise: a case that uses one thread
    is not compared with the limits of two.
    """
    rows = [row for row in (result.find("fastrnn", count) for count in threads) if row is not None]
    best = min((row.best for row in rows), default=0.0)
    for row in sorted(rows, key=lambda row: row.threads):
        if row.best <= best * (1 + NOISE):
            return None if row.ideal is None else row.ideal / row.best
    return None


def markdown(document: Document, by: str = "best") -> str:
    """Sections for each number of threads, for the faster number, for the gain, and for paths."""
    threads = document.threads
    parts = [_heading(document)]
    for count in threads:
        parts += [f"## {threads_word(count).capitalize()}\n", _table(document, [count], by)]
    if len(threads) > 1:
        parts += ["## Each engine at its better number of threads\n", _table(document, threads, by)]
        for count in threads[1:]:
            parts.append(f"## {threads_word(count).capitalize()} against {threads[0]}\n")
            parts.append(_threads_table(document, threads[0], count))
    parts += ["## Code paths taken\n", _paths(document)]
    if problems := _problems(document.results):
        parts += ["## Not measured\n", problems]
    return "\n".join(parts)


def _heading(document: Document) -> str:
    title = "# Training, float32\n" if document.training else "# Inference, float32\n"
    lines = [title, document.about(), ""]
    for count, limits in document.limits.items():
        speeds = [f"{limits.flops / 1e9:.0f} GFLOP/s ({limits.isa})"]
        for name, bandwidth in roofs(limits, document.levels).items():
            speeds.append(f"{name} {bandwidth / 1e9:.0f} GB/s")
        lines.append(f"- Limits, {threads_word(count)} at once: {', '.join(speeds)}")
    return "\n".join(lines) + "\n"


def _table(document: Document, threads: Sequence[int], by: str) -> str:
    engines = list(document.engines)
    peers = [engine for engine in engines if engine in PEERS]
    own = [engine for engine in engines if engine not in PEERS]
    header = ["case", "shape", *(f"{TITLES[engine]} ms" for engine in own + peers)]
    if own:
        header += ["fastest peer / fastrnn", *(f"PyTorch / {TITLES[engine]}" for engine in own)]
        header.append("share of limit")
    rows = []
    for result in document.results:
        cells = [f"`{result.case.name}`", result.case.shape]
        for engine in own + peers:
            row = fastest(result, [engine], threads, STATISTICS[by])
            cells.append(_times(row, show_threads=len(threads) > 1))
        if own:
            cells.append(ratio(peer_ratio(result, threads, STATISTICS[by])))
            for engine in own:
                cells.append(ratio(peer_ratio(result, threads, STATISTICS[by], ["torch"], engine)))
            cells.append(percent(share(result, threads)))
        rows.append(cells)
    about = "Times are median / best of one "
    about += "forward and backward pass" if document.training else "call"
    about += ", at so many threads; " if len(threads) > 1 else "; "
    text = f"{about}ratios and shares are of {by} times.\n\n{table(header, rows)}"
    return text + _means(document, own, peers, threads) if own and peers else text


def _means(
    document: Document, own: Sequence[str], peers: Sequence[str], threads: Sequence[int]
) -> str:
    """Geometric means of fastrnn's lead over the fastest peer and over each peer."""
    header = ["geometric mean of peer / fastrnn", "by best", "by median", "lowest (best)", "cases"]
    rows = []
    choices = [("the fastest peer", list(peers), "fastrnn")]
    choices += [(TITLES[peer], [peer], "fastrnn") for peer in peers]
    choices += [
        (f"{TITLES[peer]}, over {TITLES[engine]}", [peer], engine)
        for engine in own
        if engine != "fastrnn"
        for peer in peers
    ]
    for title, chosen, engine in choices:
        best, median = (
            [peer_ratio(result, threads, statistic, chosen, engine) for result in document.results]
            for statistic in STATISTICS.values()
        )
        known = [value for value in best if value is not None]
        means = [ratio(geometric_mean(best)), ratio(geometric_mean(median))]
        rows.append([title, *means, ratio(min(known, default=None)), str(len(known))])
    return "\n" + table(header, rows)


def _threads_table(document: Document, base: int, count: int) -> str:
    """The gain from more threads: all values of fastrnn, the best times of the peers."""
    best, median = STATISTICS["best"], STATISTICS["median"]
    peers = [engine for engine in document.engines if engine != "fastrnn"]
    header = ["case", "shape", f"fastrnn, {base} ms", f"{count} ms"]
    header += ["speed-up (best)", "(median)", "note", *(TITLES[peer] for peer in peers)]
    rows, found = [], []
    for result in document.results:
        ups = [speed_up(result, "fastrnn", count, by, base) for by in (best, median)]
        found.append(ups[0])
        times = [_times(result.find("fastrnn", threads)) for threads in (base, count)]
        note = "slower" if is_slower(result, count, base) else ""
        others = [ratio(speed_up(result, peer, count, best, base)) for peer in peers]
        names = [f"`{result.case.name}`", result.case.shape]
        rows.append([*names, *times, *map(ratio, ups), note, *others])
    slower = sum(row[6] == "slower" for row in rows)
    return (
        f"Time with {threads_word(base)} over time with {count}. In geometric mean fastrnn gains "
        f"{ratio(geometric_mean(found))}; {slower} of {len(rows)} rows are slower (by more than "
        f"{NOISE:.0%} in both best and median).\n\n" + table(header, rows)
    )


def _paths(document: Document) -> str:
    """The path of each engine with its faster number of threads."""
    rows = []
    for result in document.results:
        cells = [f"`{result.case.name}`"]
        for engine in document.engines:
            row = fastest(result, [engine], document.threads, STATISTICS["best"])
            cells.append("-" if row is None else row.path)
        rows.append(cells)
    return table(["case", *(TITLES[engine] for engine in document.engines)], rows)


def _problems(results: Sequence[CaseResult]) -> str:
    lines = []
    for result in results:
        for row in result.measurements:
            if not row.ok:
                name = f"{TITLES[row.engine]}, threads {row.threads}"
                lines.append(f"- `{result.case.name}`, {name}: {row.status}: {row.detail}")
    return "\n".join(lines) + "\n" if lines else ""


def _times(row: Measurement | None, show_threads: bool = False) -> str:
    if row is None:
        return "-"
    text = f"{milliseconds(row.median)} / {milliseconds(row.best)}"
    return f"{text} @{row.threads}" if show_threads else text
