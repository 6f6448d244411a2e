# SPDX-License-Identifier: MIT
"""A bar chart of fastrnn's speed-up over each peer, per case, as SVG or PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engines.engines import PEERS, TITLES
from ..measuring.measure import CaseResult
from .document import Document
from .report import STATISTICS, peer_ratio
from .tables import geometric_mean

# Colours that people with colour blindness can distinguish (Okabe and Ito).
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00",
)  # fmt: skip
COLOURS = {"torch": VERMILION, "torch_compile": ORANGE, "onnxruntime": SKY, "openvino": BLUE}
BAR = 0.27
DPI = 150
TICKS = [0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100]


def load_pyplot() -> Any:
    """matplotlib without a screen. The same results give the same file."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "fastrnn",
            "svg.fonttype": "none",  # keep text as text
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path) -> None:
    """Write SVG or PNG, by the suffix, with a white background because pages may be dark."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in ("svg", "png"):
        raise ValueError(f"{path}: expected a name that ends in .svg or .png")
    nothing = {"svg": {"Date": None}, "png": {"Software": None}}
    figure.savefig(path, format=kind, dpi=DPI, metadata=nothing[kind], facecolor="white")
    load_pyplot().close(figure)


def draw_bars(document: Document, path: Path, by: str = "best") -> None:
    """Each engine with its faster number of threads; the largest lead is at the top."""
    pyplot = load_pyplot()
    peers = [peer for peer in PEERS if peer in document.engines]
    results = sorted_by_lead(document, by)
    figure, axes = pyplot.subplots(figsize=(9, 1.7 + 0.42 * len(results)), layout="constrained")
    for index, peer in enumerate(peers):
        offset = (index - (len(peers) - 1) / 2) * BAR
        _draw_peer(axes, document, results, peer, by, offset)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.9), high * 1.15)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color=BLACK, linewidth=1.2)
    names = [f"{result.case.name}\n{result.case.shape}" for result in results]
    axes.set_yticks(range(len(results)), names, fontsize=7.5)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_xlabel("time of the peer / time of fastrnn")
    figure.legend(loc="outside lower center", ncols=len(peers), frameon=False)
    what = "fastrnn, forward and backward," if document.training else "fastrnn"
    figure.suptitle(f"{what} beside other engines: {_lead(document, by)}", fontsize=11)
    counts = " or ".join(map(str, document.threads))
    better = " (the better for each engine and case)" if len(document.threads) > 1 else ""
    axes.set_title(f"{document.about()}\nThreads: {counts}{better}", fontsize=7.5, loc="left")
    save(figure, path)


def sorted_by_lead(document: Document, by: str = "best") -> list[CaseResult]:
    """Results by decreasing lead over the fastest peer, after those that no peer can run."""

    def lead(result: CaseResult) -> float:
        found = peer_ratio(result, document.threads, STATISTICS[by])
        return float("inf") if found is None else found

    return sorted(document.results, key=lead, reverse=True)


def _draw_peer(
    axes: Any, document: Document, results: list[CaseResult], peer: str, by: str, offset: float
) -> None:
    found = [peer_ratio(result, document.threads, STATISTICS[by], [peer]) for result in results]
    known = [(place, value) for place, value in enumerate(found) if value is not None]
    mean = geometric_mean(value for _, value in known)
    axes.barh(
        [place + offset for place, _ in known],
        [value - 1 for _, value in known],
        BAR,
        left=1,
        label=f"{TITLES[peer]} (geometric mean {mean:.2f}x)" if mean else TITLES[peer],
        color=COLOURS[peer],
    )
    for place, value in known:
        right = value >= 1
        axes.annotate(
            f"{value:.2f}" if value < 9.95 else f"{value:.0f}",
            (value, place + offset),
            xytext=(2 if right else -2, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center_baseline",
            fontsize=6,
        )


def _lead(document: Document, by: str) -> str:
    leads = [peer_ratio(result, document.threads, STATISTICS[by]) for result in document.results]
    mean = geometric_mean(leads)
    return "no peer ran" if mean is None else f"{mean:.2f} times the fastest of them"
