# SPDX-License-Identifier: MIT
"""Run cases on engines: compare the outputs, then measure the time in interleaved rounds."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from fastrnn.bench import TOLERANCE, Case, Times, make_workload

from ..engines.engines import COMPARED_AS, COMPILERS
from .agreement import disagreement
from .client import Client, NoAnswerError, WorkerError
from .machine_limits import TRAINING_PRODUCTS
from .progress import CaseProgress
from .workload import load_arrays, save_workload


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    rounds: int
    seconds: float  # of a slice: one engine in one round
    most: float | None = None  # seconds of an engine on a case, after which its rounds end


FULL = Plan(rounds=12, seconds=0.05)
QUICK = Plan(rounds=3, seconds=0.02, most=0.25)


@dataclass
class Measurement:
    """One engine with one number of threads on one case; times in seconds."""

    engine: str
    threads: int
    mode: str = "infer"
    status: str = "ok"  # ok, unsupported, wrong, failed
    detail: str = ""  # why not ok
    path: str = ""
    error: float | None = None  # compared with the engine `compared_with`
    times: Times | None = None
    ideal: float | None = None  # the least time that this machine could need
    cpus: float | None = None  # busy CPUs while it was timed
    memory: float | None = None  # bytes per stream

    @property
    def ok(self) -> bool:
        return self.status == "ok" and self.times is not None

    @property
    def best(self) -> float:
        return self._times().best

    @property
    def median(self) -> float:
        return self._times().median

    def _times(self) -> Times:
        if self.times is None:
            raise ValueError(f"{self.engine}: no times: {self.status}: {self.detail}")
        return self.times

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measurement:
        times = None if row["times"] is None else Times(**row["times"])
        return cls(**{**row, "times": times})


@dataclass(frozen=True)
class CaseResult:
    """All measurements of a case, ordered by engine and threads."""

    case: Case
    row_steps: int  # steps that had to be computed, over all rows
    compared_with: str
    measurements: list[Measurement]

    def find(self, engine: str, threads: int, mode: str | None = None) -> Measurement | None:
        """The measurement if it has times; of the first mode that has, if no mode is given."""
        for row in self.measurements:
            same_mode = mode is None or row.mode == mode
            if (row.engine, row.threads) == (engine, threads) and same_mode and row.ok:
                return row
        return None

    @property
    def training(self) -> bool:
        """Whether a call was a training step: forward and backward."""
        return any(row.mode == "train" for row in self.measurements)

    @property
    def flops(self) -> float:
        """Floating-point operations of the matrix products of one call."""
        return (TRAINING_PRODUCTS if self.training else 1) * self.case.flops(self.row_steps)

    @property
    def bytes_moved(self) -> int:
        """Bytes of weights that a call has to read, and of their gradients that it has to write."""
        read = self.case.bytes_read()
        return 2 * read + self.case.weight_bytes() if self.training else read

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case.to_json(),
            "row_steps": self.row_steps,
            "gflop": self.flops / 1e9,
            "weight_bytes": self.case.weight_bytes(),
            "compared_with": self.compared_with,
            "measurements": [row.to_json() for row in self.measurements],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CaseResult:
        return cls(
            Case(**data["case"]),
            data["row_steps"],
            data["compared_with"],
            [Measurement.from_json(row) for row in data["measurements"]],
        )


@contextmanager
def start_clients(
    engines: Iterable[tuple[str, str]], threads: Sequence[int]
) -> Iterator[list[Client]]:
    """One worker for each (engine, mode) and number of threads."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(Client(engine, count, mode))
            for engine, mode in engines
            for count in threads
        ]


def greet(clients: Sequence[Client]) -> tuple[dict[str, str], list[Client]]:
    """Versions of the engines that start, and their clients. The others are named on stderr."""
    versions: dict[str, str] = {}
    usable = []
    for client in clients:
        try:
            versions[client.engine] = client.ask(op="hello")["version"]
            usable.append(client)
        except WorkerError as failure:
            print(f"{client.engine} is left out: {failure}", file=sys.stderr)
    return versions, usable


def measure_cases(cases: Sequence[Case], clients: Sequence[Client], plan: Plan) -> list[CaseResult]:
    """Measure the cases one after another, with progress on stderr."""
    results = []
    scratch = tempfile.TemporaryDirectory(prefix="fastrnn_bench_")
    with scratch as name, CaseProgress(len(cases)) as bar:
        for case in cases:
            bar.update(f"{case.name}: preparing")
            results.append(measure_case(case, clients, plan, Path(name), bar))
            bar.done(_summary(results[-1]))
    return results


def measure_case(
    case: Case, clients: Sequence[Client], plan: Plan, folder: Path, progress: CaseProgress
) -> CaseResult:
    """Prepare a case on all engines, compare the outputs, and time the correct engines."""
    workload = make_workload(case)
    place = folder / case.name
    save_workload(workload, place)
    try:
        rows = [_prepare(client, place) for client in clients]
        compared_with = _check_outputs(rows, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    slices = [_Slices(c, row) for c, row in zip(clients, rows, strict=True) if not row.status]
    for turn in range(plan.rounds):
        # Every round starts with a different engine, so that none always follows the same one.
        shift = turn % len(slices) if slices else 0
        for part in slices[shift:] + slices[:shift]:
            progress.update(f"{case.name}: round {turn + 1}/{plan.rounds}, {part.row.engine}")
            part.time(plan)
    for part in slices:
        part.finish()
    return CaseResult(case, workload.row_steps, compared_with, rows)


@dataclass
class _Slices:
    """The timed slices of one engine on one case."""

    client: Client
    row: Measurement
    samples: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    spent: float = 0.0

    def time(self, plan: Plan) -> None:
        enough = plan.most is not None and self.spent > plan.most
        if self.row.status or enough:
            return
        start = perf_counter()
        try:
            answer = self.client.ask(op="time", seconds=plan.seconds)
        except WorkerError as failure:
            self.row.status, self.row.detail = "failed", str(failure)
            return
        self.spent += perf_counter() - start
        self.samples += answer["samples"]
        self.cpus.append(answer["cpus"])

    def finish(self) -> None:
        """Check that the timed computation still returns what was compared."""
        row = self.row
        if row.status:
            return
        try:
            change = float(self.client.ask(op="recheck")["change"])
        except WorkerError as failure:
            row.status, row.detail = "failed", str(failure)
            return
        if not change <= TOLERANCE:
            row.status, row.detail = "wrong", f"outputs changed by {change:.2g} while timing"
            return
        row.status = "ok"
        row.times, row.cpus = Times.of(self.samples), sum(self.cpus) / len(self.cpus)


def _prepare(client: Client, place: Path) -> Measurement:
    row = Measurement(client.engine, client.threads, client.mode, status="")
    try:
        answer = client.ask(
            op="prepare", mode=row.mode, folder=str(place), outputs=str(_outputs(place, row))
        )
    except WorkerError as failure:
        too_slow = isinstance(failure, NoAnswerError) and client.engine in COMPILERS
        row.status, row.detail = "unsupported" if too_slow else "failed", str(failure)
        return row
    if "unsupported" in answer:
        row.status, row.detail = "unsupported", answer["unsupported"]
    else:
        row.path, row.memory = answer["path"], answer["memory"]
    return row


def _check_outputs(rows: Sequence[Measurement], place: Path) -> str:
    """Compare with PyTorch's outputs in each mode, or with those of the first engine.

    Returns the name of that engine in the first mode.
    """
    ready = [row for row in rows if not row.status]
    bases: dict[str, Measurement] = {}
    for row in sorted(ready, key=lambda row: (row.mode in COMPARED_AS, row.engine != "torch")):
        bases.setdefault(COMPARED_AS.get(row.mode, row.mode), row)
    for row in ready:
        base = bases[COMPARED_AS.get(row.mode, row.mode)]
        expected = load_arrays(_outputs(place, base))
        wanted = {"y": expected["y"]} if row.mode == "padded" else expected
        row.error = disagreement(row.mode, load_arrays(_outputs(place, row)), wanted)
        if not row.error <= TOLERANCE:
            row.status = "wrong"
            row.detail = f"outputs differ from {base.engine}'s by {row.error:.2g}"
    return next((base.engine for base in bases.values()), "")


def _outputs(place: Path, row: Measurement) -> Path:
    return place / f"{row.engine}_{row.mode}_{row.threads}"


def _summary(result: CaseResult) -> str:
    """One line with the best times, shown while the rest runs."""
    parts = []
    for row in result.measurements:
        mode = "" if row.mode == "infer" else f" {row.mode}"
        shown = f"{1e3 * row.best:.4g} ms" if row.ok else row.status
        parts.append(f"{row.engine}/{row.threads}{mode} {shown}")
    return f"{result.case.name}: " + ", ".join(parts)
