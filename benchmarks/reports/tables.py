# SPDX-License-Identifier: MIT
"""Markdown tables, and the format of their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 0) -> str:
    """A Markdown table with aligned columns; from column `numbers_from` on to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |\n"

    rules = [
        "-" * (width + 1) + (":" if 0 < numbers_from <= i else "-")
        for i, width in enumerate(widths)
    ]
    return line(header) + "|" + "|".join(rules) + "|\n" + "".join(map(line, rows))


def milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.4f}"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def threads_word(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def geometric_mean(values: Iterable[float | None]) -> float | None:
    logs = [math.log(value) for value in values if value is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None
