# SPDX-License-Identifier: MIT
"""Run cases on engines: compare outputs first, then time in interleaved rounds."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cases import Case
from .client import Client, WorkerError
from .progress import Progress
from .workload import Workload, difference, load_arrays, make_workload, save_workload

# Two float32 engines differ by rounding: measured 4e-6 at most over all cases. A wrong gate order
# or a state that leaks gives 1e-2 and more.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    rounds: int
    seconds: float  # of one slice: one engine, one round
    mode: str = "infer"


@dataclass
class Measurement:
    """One engine, at one number of threads, on one case; seconds."""

    engine: str
    threads: int
    status: str = "ok"  # ok, unsupported, wrong, failed
    detail: str = ""  # why not ok
    path: str = ""
    error: float | None = None  # beside the engine that was compared with
    samples: list[float] = field(default_factory=list)
    ideal: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == "ok" and bool(self.samples)

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Interquartile range."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return high - low

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "engine": self.engine,
            "threads": self.threads,
            "status": self.status,
            "detail": self.detail,
            "path": self.path,
            "error": self.error,
            "ideal_ms": None if self.ideal is None else 1e3 * self.ideal,
        }
        if self.ok:
            row |= {
                "best_ms": 1e3 * self.best,
                "median_ms": 1e3 * self.median,
                "iqr_ms": 1e3 * self.spread,
                "samples": len(self.samples),
            }
        return row


@dataclass(frozen=True)
class CaseResult:
    """All measurements of a case, in the order of engines and threads."""

    case: Case
    compared_with: str
    measurements: list[Measurement]

    def find(self, engine: str, threads: int) -> Measurement | None:
        """The measurement, if it gave times."""
        for row in self.measurements:
            if (row.engine, row.threads) == (engine, threads) and row.ok:
                return row
        return None

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case.to_json(),
            "gflop": self.case.flops() / 1e9,
            "weight_bytes": self.case.weight_bytes(),
            "compared_with": self.compared_with,
            "measurements": [row.to_json() for row in self.measurements],
        }


@contextmanager
def start_clients(engines: Sequence[str], threads: Sequence[int]) -> Iterator[list[Client]]:
    """One worker per engine and number of threads; those whose library is missing are left out."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(Client(engine, count)) for engine in engines for count in threads
        ]


def measure_case(
    case: Case, clients: Sequence[Client], plan: Plan, folder: Path, progress: Progress
) -> tuple[CaseResult, Workload]:
    """Prepare a case everywhere, check the outputs, time those that are right."""
    workload = make_workload(case)
    place = folder / case.name
    save_workload(workload, place)
    try:
        rows = [_prepare(client, place, plan.mode) for client in clients]
        compared_with = _check_outputs(rows, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    pairs = [(client, row) for client, row in zip(clients, rows, strict=True) if not row.status]
    for turn in range(plan.rounds):
        # Every round starts with another engine, so that none always follows the same one.
        shift = turn % len(pairs) if pairs else 0
        for client, row in pairs[shift:] + pairs[:shift]:
            progress.update(f"{case.name}: round {turn + 1}/{plan.rounds}, {row.engine}")
            _time_slice(client, row, plan.seconds)
    for client, row in pairs:
        _recheck(client, row)
        row.status = row.status or "ok"
    return CaseResult(case, compared_with, rows), workload


def _prepare(client: Client, place: Path, mode: str) -> Measurement:
    row = Measurement(client.engine, client.threads, status="")
    try:
        answer = client.ask(
            op="prepare", mode=mode, folder=str(place), outputs=str(_outputs(place, row))
        )
    except WorkerError as failure:
        row.status, row.detail = "failed", str(failure)
        return row
    if "unsupported" in answer:
        row.status, row.detail = "unsupported", answer["unsupported"]
    else:
        row.path = answer["path"]
    return row


def _check_outputs(rows: Sequence[Measurement], place: Path) -> str:
    """Compare with PyTorch's outputs, or the first engine's that has any; name that engine."""
    ready = [row for row in rows if not row.status]
    if not ready:
        return ""
    base = next((row for row in ready if row.engine == "torch"), ready[0])
    expected = load_arrays(_outputs(place, base))
    for row in ready:
        row.error = difference(load_arrays(_outputs(place, row)), expected)
        if row.error > TOLERANCE:
            row.status = "wrong"
            row.detail = f"outputs differ from {base.engine}'s by {row.error:.2g}"
    return base.engine


def _time_slice(client: Client, row: Measurement, seconds: float) -> None:
    if row.status:
        return
    try:
        row.samples += client.ask(op="time", seconds=seconds)["samples"]
    except WorkerError as failure:
        row.status, row.detail = "failed", str(failure)


def _recheck(client: Client, row: Measurement) -> None:
    if row.status:
        return
    try:
        change = float(client.ask(op="recheck")["change"])
    except WorkerError as failure:
        row.status, row.detail = "failed", str(failure)
        return
    if change > TOLERANCE:
        row.status, row.detail = "wrong", f"outputs changed by {change:.2g} while timing"


def _outputs(place: Path, row: Measurement) -> Path:
    return place / f"{row.engine}_{row.threads}"
