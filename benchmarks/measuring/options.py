# SPDX-License-Identifier: MIT
"""Options that the comparisons share."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from pathlib import Path

from fastrnn.runtime.machine import cpu_count

from ..reports.document import Document
from .measure import FULL, QUICK, Plan


def add_common(parser: argparse.ArgumentParser, quick: str) -> None:
    """Add the common options; `quick` is the duration of the short form."""
    add = parser.add_argument
    add(
        "--threads",
        default="1",
        type=thread_counts,
        help="numbers of threads, as 1,all (all: every usable CPU)",
    )
    add("--quick", action="store_true", help=f"up to {QUICK.rounds} short rounds: {quick}")
    add("--rounds", type=int, help=f"rounds per case (default {FULL.rounds})")
    add("--slice", type=float, help=f"seconds per engine and round (default {FULL.seconds})")
    add("--json", type=Path, metavar="OUT")
    add("--markdown", type=Path, metavar="OUT")


def chosen_plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    return Plan(options.rounds or plan.rounds, options.slice or plan.seconds, plan.most)


def add_parts(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add --parts; the default is all of them."""
    every = ",".join(names)
    parser.add_argument("--parts", default=every, help=f"out of {every}")


def chosen_parts(
    parser: argparse.ArgumentParser, options: argparse.Namespace, names: Collection[str]
) -> list[str]:
    """The parts of --parts. Ends with a usage error if there are none or unknown ones."""
    chosen = words(options.parts)
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        parser.error(f"parts: expected some of {', '.join(names)}, got {', '.join(unknown)!r}")
    return chosen


def publish(document: Document, text: str, options: argparse.Namespace) -> int:
    """Print the report, write --json and --markdown, and return the exit status."""
    if options.json:
        document.write(options.json)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 1 if document.failed or not document.engines else 0


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def thread_counts(text: str) -> list[int]:
    """The numbers of `1,all` in ascending order."""
    try:
        counts = [cpu_count() if word == "all" else int(word) for word in words(text)]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"expected positive numbers or 'all', got {text!r}")
    return sorted(set(counts))
