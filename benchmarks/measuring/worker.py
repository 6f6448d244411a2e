# SPDX-License-Identifier: MIT
"""One engine in its own process: prepares and times cases on request.

Started by `python -m benchmarks.measuring.worker ENGINE --threads N`. Requests and answers are JSON
objects, one per line, on stdin and stdout. Arrays are in .npy files in the folders of the requests.

    hello                                -> version
    prepare: mode, folder, outputs       -> path and memory, or unsupported: why
    time: seconds                        -> samples: [seconds per call, ...], cpus: busy CPUs
    recheck                              -> change: of the outputs since prepare

"op" is the name of the request. The answer to a request that failed is "error". The process ends
at the end of its stdin.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from fastrnn.bench import Arrays, time_calls

from ..engines.engines import MODULES, Engine, Runner, UnsupportedError, load_engine
from .agreement import disagreement
from .workload import load_workload, save_arrays


class Worker:
    """The engine and the case that is prepared, if there is one."""

    def __init__(self, name: str, threads: int) -> None:
        self.engine: Engine = load_engine(name, threads)
        self.runner: Runner | None = None
        self.mode = ""
        self.outputs: Arrays = {}
        self.call_seconds = 0.0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "hello":
            return {"version": self.engine.version}
        if request["op"] == "prepare":
            return self._prepare(request)
        if request["op"] == "time":
            return self._time(float(request["seconds"]))
        if request["op"] == "recheck":
            return self._recheck()
        raise ValueError(f"op: expected one of this module's, got {request['op']!r}")

    def _prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        self.runner = None
        gc.collect()
        workload = load_workload(Path(request["folder"]))
        try:
            runner = self.engine.prepare(workload, request["mode"])
        except UnsupportedError as reason:
            return {"unsupported": str(reason)}
        with runner.context():
            start = time.perf_counter()
            self.outputs = {name: array.copy() for name, array in runner.outputs().items()}
            self.call_seconds = time.perf_counter() - start  # an estimate, corrected by samples
            path = runner.path()
        save_arrays(self.outputs, Path(request["outputs"]))
        self.runner, self.mode = runner, request["mode"]
        return {"path": path, "memory": runner.memory}

    def _time(self, seconds: float) -> dict[str, Any]:
        if self.runner is None:
            raise RuntimeError("time: no case is prepared")
        start, used = time.perf_counter(), time.process_time()
        with self.runner.context():
            samples = time_calls(self.runner.call, seconds, self.call_seconds)
        self.call_seconds = samples[-1]
        cpus = (time.process_time() - used) / (time.perf_counter() - start)
        return {"samples": samples, "cpus": cpus}

    def _recheck(self) -> dict[str, Any]:
        """Check that the timed computation still returns what was compared."""
        if self.runner is None:
            raise RuntimeError("recheck: no case is prepared")
        with self.runner.context():
            return {"change": disagreement(self.mode, self.runner.outputs(), self.outputs)}


def _claim_stdout() -> Any:
    """Keep stdout for answers: redirect what libraries print to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.measuring.worker", description=__doc__.splitlines()[0]
    )
    parser.add_argument("engine", choices=MODULES)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    answers = _claim_stdout()
    worker = None
    gc.disable()
    for line in sys.stdin:
        try:
            worker = worker or Worker(options.engine, options.threads)
            answer = worker.answer(json.loads(line))
        except Exception as error:  # the client decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
