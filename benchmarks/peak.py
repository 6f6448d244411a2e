# SPDX-License-Identifier: MIT
"""Peak memory of one training step, in its own process: `python -m benchmarks.peak ENGINE`.

Prints the peak resident memory of the process in bytes. Without --step it only imports the engine
and makes the inputs; the difference is the memory of the step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastrnn.bench import Case, Workload, make_workload

from . import ROOT
from .engines.engines import MODULES, Engine, UnsupportedError, load_engine
from .measuring.workload import output_gradient

CASE = Case("memory_lstm_512", "LSTM", 500, 32, 512, 512, source="one layer, long sequences")
PATIENCE = 300.0


@dataclass(frozen=True)
class Peak:
    """The peak resident memory of an engine's process, in bytes."""

    engine: str
    threads: int
    baseline: int
    step: int

    @property
    def taken(self) -> int:
        """Memory of the layer, its tape, its gradients and all temporary values."""
        return self.step - self.baseline

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "taken": self.taken}


def measure_peak(engine: str, threads: int, case: Case = CASE) -> Peak:
    """Run both processes. Raises RuntimeError with the message of a process that failed."""
    baseline, step = (_run(engine, threads, case, *more) for more in ((), ("--step",)))
    return Peak(engine, threads, baseline, step)


def _run(engine: str, threads: int, case: Case, *more: str) -> int:
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FASTRNN_NUM_THREADS")
    sizes = [str(size) for size in (case.steps, case.batch, case.inputs, case.hidden)]
    command = [sys.executable, "-m", "benchmarks.peak", engine, "--threads", str(threads)]
    done = subprocess.run(
        [*command, "--cell", case.cell, "--sizes", *sizes, *more],
        cwd=ROOT,
        env=os.environ | dict.fromkeys(variables, str(threads)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{engine}: {said[-1]}")
    return int(done.stdout)


def peak_bytes() -> int:
    """The peak resident memory of this process.

    VmHWM if the system has it. ru_maxrss would include the program that started this one, whose
    memory this process shared for a moment.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not available on every system

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peak", description=__doc__)
    add = parser.add_argument
    add("engine", choices=MODULES)
    add("--threads", type=int, default=1)
    add("--cell", choices=("LSTM", "GRU", "RNN"), default=CASE.cell)
    add("--sizes", type=int, nargs=4, metavar=("T", "B", "I", "H"))
    add("--step", action="store_true", help="make the layer and train one step")
    options = parser.parse_args(argv)
    sizes = options.sizes or (CASE.steps, CASE.batch, CASE.inputs, CASE.hidden)
    workload = make_workload(Case(CASE.name, options.cell, *sizes))
    engine = load_engine(options.engine, options.threads)
    try:
        kept = _train(engine, workload) if options.step else [output_gradient(workload)]
    except UnsupportedError as reason:
        parser.error(str(reason))
    print(peak_bytes())
    del kept
    return 0


def _train(engine: Engine, workload: Workload) -> list[Any]:
    """All that a training loop keeps at the end of a step, including the inputs."""
    runner = engine.prepare(workload, "train")
    with runner.context():
        return [runner, runner.call()]


if __name__ == "__main__":
    sys.exit(main())
