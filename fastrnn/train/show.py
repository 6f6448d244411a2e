# SPDX-License-Identifier: MIT
"""A progress bar for `fit`, with rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from .fitting import Progress


class ProgressBar:
    """`with ProgressBar() as bar: fastrnn.fit(..., progress=bar)`; needs rich.

    One line for each finished epoch, and a bar for the current one.
    """

    def __init__(self, console: Any = None) -> None:
        try:
            from rich.progress import Progress as RichProgress
        except ImportError as error:
            raise ImportError("ProgressBar needs rich: pip install rich") from error
        self._bar = RichProgress(console=console)
        self._task: Any = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, now: Progress) -> None:
        if self._task is None:
            self._task = self._bar.add_task("")
        self._bar.update(
            self._task,
            description=f"epoch {now.epoch}/{now.epochs}, loss {now.loss:.4f}",
            completed=now.batch,
            total=now.batches or None,
        )
        if now.record is not None:
            line = ", ".join(f"{name} {value:.4g}" for name, value in now.record.items())
            self._bar.console.print(f"epoch {now.epoch}: {line}")
