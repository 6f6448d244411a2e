# SPDX-License-Identifier: MIT
"""The roofline plot: the rate of each case, below the machine's bandwidths and FMA peak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..measuring.machine_limits import Limits, roofs
from .document import Document
from .plot import BLACK, BLUE, DPI, GREEN, VERMILION, load_pyplot, save
from .report import STATISTICS, fastest
from .tables import threads_word

MARKS = {"LSTM": ("o", BLUE), "GRU": ("s", VERMILION), "RNN": ("^", GREEN)}
LEVEL_LINES = {"L1": (0, (1, 1)), "L2": "-", "L3": (0, (6, 2)), "memory": (0, (3, 1.5, 1, 1.5))}
LABEL_SIZE = 7
MARK_REACH = 6.0  # pixels from the centre of a mark to its edge
GAP = 4.0  # pixels kept free around a label
NEAR = 21.0  # largest distance in pixels of a name without a line to its point
GFLOPS_TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000]


@dataclass(frozen=True)
class Point:
    name: str
    cell: str
    intensity: float  # floating-point operations per byte of weights read or gradients written
    gflops: float


def points(document: Document) -> list[Point]:
    """fastrnn's cases with their faster number of threads."""
    found = []
    for result in document.results:
        row = fastest(result, ["fastrnn"], document.threads, STATISTICS["best"])
        if row is not None:
            intensity = result.flops / result.bytes_moved
            gflops = result.flops / row.best / 1e9
            found.append(Point(result.case.name, result.case.cell, intensity, gflops))
    return found


def draw_roofline(document: Document, path: Path) -> None:
    """Limits of the most threads in black; those of one thread in grey, if both were measured."""
    found = points(document)
    if not document.limits or not found:
        raise ValueError("roofline: expected a run with fastrnn and its limits")
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=(11, 7.5), dpi=DPI, layout="constrained")
    axes.set_xscale("log")
    axes.set_yscale("log")
    most = document.limits[max(document.limits)]
    least = document.limits[min(document.limits)]
    right = max(2 * max(p.intensity for p in found), 4 * most.flops / most.memory_bandwidth())
    left = min(0.25, min(p.intensity for p in found) / 2)
    axes.set_xlim(left, right)
    axes.set_ylim(min(p.gflops for p in found) / 2, 1.6 * most.flops / 1e9)
    _set_ticks(axes)
    if document.training:
        axes.set_xlabel("floating-point operations per byte of weights read, gradients written")
    axes.legend(handles=_draw_points(axes, found), loc="lower right", framealpha=1)
    _title(figure, axes, document, most, least)
    figure.canvas.draw()  # computes the layout
    figure.set_layout_engine("none")  # positions must not change from here on
    if least.threads != most.threads:
        _draw_roofs(axes, document, least, "#a8a8a8", named=False)
    _draw_roofs(axes, document, most, BLACK, named=True)
    place_labels(axes, found)
    save(figure, path)


def _draw_points(axes: Any, found: Sequence[Point]) -> list[Any]:
    handles = []
    for cell, (mark, colour) in MARKS.items():
        chosen = [p for p in found if p.cell == cell]
        if chosen:
            drawn = axes.scatter(
                [p.intensity for p in chosen], [p.gflops for p in chosen],
                marker=mark, color=colour, s=36, zorder=4, label=cell, edgecolors="white",
                linewidths=0.6,
            )  # fmt: skip
            handles.append(drawn)
    return handles


def _set_ticks(axes: Any) -> None:
    axes.set_xlabel("floating-point operations per byte of weights read")
    axes.set_ylabel("GFLOP/s of the matrix products")
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = axes.get_ylim()
    ticks = [tick for tick in GFLOPS_TICKS if low <= tick <= high]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(linewidth=0.3)
    axes.set_axisbelow(True)


def _title(figure: Any, axes: Any, document: Document, most: Limits, least: Limits) -> None:
    what = "training step" if document.training else "forward pass"
    figure.suptitle(f"fastrnn's {what} under the machine's limits", fontsize=11)
    text = f"{document.about()}\nEach case at its better number of threads"
    text += f"; roofs measured with {most.threads} threads at once"
    if least.threads != most.threads:
        text += f" (grey: {least.threads})"
    axes.set_title(text, fontsize=7.5, loc="left")


def _draw_roofs(axes: Any, document: Document, limits: Limits, colour: str, *, named: bool) -> None:
    left, right = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    peak = limits.flops / 1e9
    speeds = {name: speed / 1e9 for name, speed in roofs(limits, document.levels).items()}
    speeds.pop("L1", None)  # close to that of L2, and never the limit: registers are reused
    ridge = peak / max(speeds.values())
    axes.plot([ridge, right], [peak, peak], color=colour, linewidth=1.2, zorder=1)
    title = "FMA peak" if named else threads_word(limits.threads)
    _name_roof(axes, f"{title} {peak:.0f} GFLOP/s", (right, peak), 0.0)
    for name, speed in speeds.items():
        start = max(left, bottom / speed)
        axes.plot(
            [start, peak / speed], [start * speed, peak],
            color=colour, linewidth=1.0, zorder=1, linestyle=LEVEL_LINES.get(name, "-"),
        )  # fmt: skip
        if named:
            # At its upper end, because the points of a level are below the line of the next one.
            at = 0.93 * peak / speed
            _name_roof(axes, f"{name} {speed:.0f} GB/s", (at, at * speed), _slope(axes))


def _slope(axes: Any) -> float:
    """The angle on the page, in degrees, of a line on which both axes grow by the same factor."""
    (x0, y0), (x1, y1) = axes.transData.transform([(1, 1), (10, 10)])
    return math.degrees(math.atan2(y1 - y0, x1 - x0))


def _name_roof(axes: Any, text: str, at: tuple[float, float], angle: float) -> None:
    turn = math.radians(angle)
    axes.annotate(
        text, at, xytext=(-2 * math.sin(turn), 2 * math.cos(turn)), textcoords="offset points",
        ha="right", va="bottom", rotation=angle, rotation_mode="anchor", fontsize=7.5,
        color="#404040",
    )  # fmt: skip


# --- Labels without overlap ---

Box = tuple[float, float, float, float]  # left, bottom, right, top


def place_labels(axes: Any, found: Sequence[Point]) -> None:
    """Write each name as near to its point as possible, with a thin line if it is far away."""
    inside = _box(axes.get_window_extent())
    spots = {p: tuple(axes.transData.transform((p.intensity, p.gflops))) for p in found}
    reach = MARK_REACH
    taken = [(x - reach, y - reach, x + reach, y + reach) for x, y in spots.values()]
    taken += [_box(text.get_window_extent()) for text in axes.texts]
    taken.append(_box(axes.get_legend().get_window_extent()))
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.3}
    for point in sorted(found, key=lambda p: (p.gflops, p.intensity)):
        text = axes.text(
            0, 0, point.name, fontsize=LABEL_SIZE, color="#202020", zorder=3, bbox=paper,
            va="bottom",
        )  # fmt: skip
        size = text.get_window_extent()
        box = _free_place(spots[point], (size.width, size.height), taken, inside)
        taken.append(box)
        text.set_position(axes.transData.inverted().transform(box[:2]))
        _lead_line(axes, spots[point], box)


def _free_place(
    spot: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], inside: Box
) -> Box:
    """The nearest box without overlap, or the one with the least overlap."""
    x, y = spot
    width, height = size
    best: tuple[float, Box] | None = None
    for step in range(24):
        reach = MARK_REACH + GAP + 2 + 8 * step
        for dx, dy in ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)):
            left = x + dx * reach - width * (1 - dx) / 2
            bottom = y + dy * reach - height / 2
            box = (left, bottom, left + width, bottom + height)
            clash = sum(_overlap(box, other) for other in taken) + _outside(box, inside)
            if clash == 0:
                return box
            if best is None or clash < best[0]:
                best = clash, box
    assert best is not None
    return best[1]


def _lead_line(axes: Any, spot: tuple[float, float], box: Box) -> None:
    x = min(max(spot[0], box[0]), box[2])
    y = min(max(spot[1], box[1]), box[3])
    if abs(x - spot[0]) + abs(y - spot[1]) > NEAR:
        ends = axes.transData.inverted().transform([spot, (x, y)])
        axes.plot(ends[:, 0], ends[:, 1], color="#808080", linewidth=0.5, zorder=2)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0]) + GAP
    height = min(one[3], other[3]) - max(one[1], other[1]) + GAP
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, inside: Box) -> float:
    over = (inside[0] - box[0], inside[1] - box[1], box[2] - inside[2], box[3] - inside[3])
    return 1000.0 * sum(max(0.0, part) for part in over)


def _box(extent: Any) -> Box:
    return extent.x0, extent.y0, extent.x1, extent.y1
