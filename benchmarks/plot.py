# SPDX-License-Identifier: MIT
"""Bars of fastrnn's speed-up over each peer, per case, as an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .engines import PEERS, TITLES
from .measure import CaseResult
from .report import STATISTICS, peer_ratio

BAR = 0.26
COLOURS = {"torch": "#d9642c", "onnxruntime": "#4a7fb5", "openvino": "#7a5ba8"}


def draw_speed_ups(
    results: Sequence[CaseResult],
    engines: Sequence[str],
    threads: Sequence[int],
    by: str,
    path: Path,
) -> None:
    """Write the chart; each engine counts at its best of these thread counts."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "fastrnn"  # the same results give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    from matplotlib import pyplot

    peers = [peer for peer in PEERS if peer in engines]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.34 * len(results)))
    for index, peer in enumerate(peers):
        found = [peer_ratio(result, threads, STATISTICS[by], [peer]) for result in results]
        known = [(place, value) for place, value in enumerate(found) if value is not None]
        offset = (index - (len(peers) - 1) / 2) * BAR
        axes.barh(
            [place + offset for place, _ in known],
            [value - 1 for _, value in known],
            BAR,
            left=1,
            label=TITLES[peer],
            color=COLOURS[peer],
        )
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(results)), [result.case.name for result in results])
    axes.invert_yaxis()
    axes.set_xlabel(f"times faster than the peer ({by}; threads {', '.join(map(str, threads))})")
    ticks = [0.5, 1, 2, 3, 5, 10, 20, 50]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(peers), frameon=False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
