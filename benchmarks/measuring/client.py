# SPDX-License-Identifier: MIT
"""The client of a worker process: starts it, sends requests, stops it while others run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from .. import ROOT

# Seconds after which a worker without an answer has failed.
PATIENCE = 180.0
CAN_STOP = hasattr(signal, "SIGSTOP")


class WorkerError(Exception):
    """A worker ended, did not answer, or answered with an error."""


class NoAnswerError(WorkerError):
    """A worker took too long and was killed."""


class Client:
    """A worker process.

    It is stopped (SIGSTOP) between requests, because a thread pool that spins between calls would
    take CPU time from the engine that is measured.
    """

    def __init__(self, engine: str, threads: int, mode: str = "infer") -> None:
        self.engine = engine
        self.threads = threads
        self.mode = mode
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        # The worker's stderr; closed by __exit__.
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._log.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer. After a failure the next starts a new worker."""
        process = self._process or self._start()
        line: str | None = None
        with _awake(process):
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                line = self._answers.get(timeout=PATIENCE)
            except queue.Empty:
                failure = self._failure(f"no answer within {PATIENCE:.0f} s")
                raise NoAnswerError(*failure.args) from None
            except OSError:
                pass  # the pipe is closed
        if line is None:
            raise self._failure("the process ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if CAN_STOP:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and the compilers that it has started
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _start(self) -> subprocess.Popen[str]:
        threads = str(self.threads)
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FASTRNN_NUM_THREADS")
        command = [
            sys.executable,
            "-m",
            "benchmarks.measuring.worker",
            self.engine,
            "--threads",
            threads,
        ]
        # In its own process group: if this process dies, the system continues and ends the stopped
        # worker (SIGHUP to an orphaned group).
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | dict.fromkeys(variables, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            process_group=0 if CAN_STOP else None,
        )
        self._process = process
        self._answers = queue.Queue()
        threading.Thread(target=_read_lines, args=(process, self._answers), daemon=True).start()
        return process

    def _failure(self, reason: str) -> WorkerError:
        """End the process and return the error to raise, with the last line of its stderr."""
        if self._process is not None and self._process.poll() is not None:
            reason += f" with exit status {self._process.returncode}"
        self.close()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        said = f": {lines[-1]}" if lines else ""
        return WorkerError(f"{self.engine}: {reason}{said}")


@contextlib.contextmanager
def _awake(process: subprocess.Popen[str]) -> Iterator[None]:
    if not CAN_STOP:
        yield
        return
    process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        process.send_signal(signal.SIGSTOP)


def _read_lines(process: subprocess.Popen[str], answers: queue.Queue[str | None]) -> None:
    """Queue every line of a worker's stdout, then None."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError):  # closed by the client
        for line in process.stdout:
            answers.put(line)
    answers.put(None)
