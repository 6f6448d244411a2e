# SPDX-License-Identifier: MIT
"""Compare fastrnn with PyTorch, ONNX Runtime and OpenVINO: `python -m benchmarks.compare`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import machine
from .cases import Case, select
from .client import Client, WorkerError
from .engines import MODES, MODULES, TITLES
from .measure import CaseResult, Plan, measure_case, start_clients
from .progress import Progress
from .report import STATISTICS, geometric_mean, markdown, peer_ratio

FULL = Plan(rounds=12, seconds=0.05)
QUICK = Plan(rounds=3, seconds=0.02)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    if options.list:
        for case in options.cases:
            print(f"{case.name:28} {case.group:7} {case.shape:44} {case.source}")
        return 0
    limits = machine.measure_limits()
    with start_clients(options.engines, options.threads) as clients:
        versions, usable = _greet(clients)
        if not usable:
            print("compare: none of the engines could be started", file=sys.stderr)
            return 1
        results = _measure(options.cases, usable, options.plan, limits)
    engines = [name for name in options.engines if name in versions]
    text = _heading(options.plan.mode, versions, limits) + markdown(
        results, engines, options.threads, options.by
    )
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        document = _document(options, versions, limits, results)
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        from .plot import draw_speed_ups

        draw_speed_ups(results, engines, options.threads, options.by, options.plot)
    bad = [row for result in results for row in result.measurements if row.status in BAD]
    return 1 if bad else 0


BAD = ("wrong", "failed")


def _measure(
    cases: Sequence[Case], clients: Sequence[Client], plan: Plan, limits: machine.Limits | None
) -> list[CaseResult]:
    results = []
    with tempfile.TemporaryDirectory(prefix="fastrnn_bench_") as name, Progress(len(cases)) as bar:
        for case in cases:
            bar.update(f"{case.name}: preparing")
            result, workload = measure_case(case, clients, plan, Path(name), bar)
            for row in result.measurements:
                if limits is not None and plan.mode == "infer" and row.ok:
                    row.ideal = machine.ideal_seconds(workload, limits, row.threads)
            results.append(result)
            bar.done(_summary(result))
    return results


def _summary(result: CaseResult) -> str:
    """One line of best times, for the eye while the rest runs."""
    parts = []
    for row in result.measurements:
        shown = f"{1e3 * row.best:.4g} ms" if row.ok else row.status
        parts.append(f"{row.engine}/{row.threads} {shown}")
    return f"{result.case.name}: " + ", ".join(parts)


def _greet(clients: Sequence[Client]) -> tuple[dict[str, str], list[Client]]:
    """Versions of the engines that start, and their clients; the others are named on stderr."""
    versions: dict[str, str] = {}
    usable = []
    for client in clients:
        try:
            versions[client.engine] = client.ask(op="hello")["version"]
            usable.append(client)
        except WorkerError as failure:
            print(f"compare: {client.engine} is left out: {failure}", file=sys.stderr)
    return versions, usable


def _heading(mode: str, versions: dict[str, str], limits: machine.Limits | None) -> str:
    about = machine.describe()
    lines = [
        f"# {MODES[mode]}, float32\n",
        f"{about['cpu']}, {about['cpus']} CPUs, {about['system']}. "
        + ", ".join(f"{TITLES[name]} {version}" for name, version in versions.items())
        + ".",
    ]
    if limits is not None:
        speeds = ", ".join(f"{x.name} {x.bandwidth / 1e9:.0f} GB/s" for x in limits.levels)
        lines.append(
            f"One thread's limits: {limits.flops / 1e9:.0f} GFLOP/s ({limits.isa}), {speeds}."
        )
    return "\n".join(lines) + "\n\n"


def _document(
    options: argparse.Namespace,
    versions: dict[str, str],
    limits: machine.Limits | None,
    results: Sequence[CaseResult],
) -> dict[str, Any]:
    """Everything measured, for tools."""
    ratios = {
        f"{by}, threads {count}": geometric_mean(
            peer_ratio(result, [count], statistic) for result in results
        )
        for by, statistic in STATISTICS.items()
        for count in options.threads
    }
    return {
        "mode": options.plan.mode,
        "machine": machine.describe(),
        "limits": None if limits is None else limits.to_json(),
        "engines": versions,
        "plan": {"rounds": options.plan.rounds, "slice_seconds": options.plan.seconds},
        "fastest_peer_over_fastrnn": ratios,
        "results": [result.to_json() for result in results],
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    add = parser.add_argument
    add("--threads", default="1", help="numbers of threads, as 1,all (all: every usable CPU)")
    add("--cases", default="", help="groups (main, extra, ragged, all) or parts of names, a,b")
    add("--engines", default=",".join(MODULES), help=f"out of {','.join(MODULES)}")
    add("--quick", action="store_true", help="3 short rounds: under two minutes for main cases")
    add("--rounds", type=int, help=f"rounds per case (default {FULL.rounds})")
    add("--slice", type=float, help=f"seconds per engine and round (default {FULL.seconds})")
    add("--by", choices=STATISTICS, default="best", help="what the ratios are made of")
    add("--json", type=Path, metavar="OUT")
    add("--markdown", type=Path, metavar="OUT")
    add("--plot", type=Path, metavar="OUT.svg", help="needs matplotlib")
    add("--list", action="store_true", help="list the chosen cases and stop")
    options = parser.parse_args(argv)
    try:
        options.cases = select(_words(options.cases))
        options.threads = _threads(options.threads)
        options.engines = _engines(options.engines)
    except ValueError as error:
        parser.error(str(error))
    plan = QUICK if options.quick else FULL
    options.plan = Plan(options.rounds or plan.rounds, options.slice or plan.seconds)
    return options


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _threads(text: str) -> list[int]:
    counts = [machine.available_cpus() if word == "all" else int(word) for word in _words(text)]
    if not counts or min(counts) < 1:
        raise ValueError(f"threads: expected positive numbers or 'all', got {text!r}")
    return sorted(set(counts))


def _engines(text: str) -> list[str]:
    names = _words(text)
    unknown = [name for name in names if name not in MODULES]
    if unknown or not names:
        raise ValueError(f"engines: expected some of {', '.join(MODULES)}, got {text!r}")
    return [name for name in MODULES if name in names]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
