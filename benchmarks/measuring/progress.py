# SPDX-License-Identifier: MIT
"""Progress on stderr: one changing line if rich is installed, else one line per case."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class CaseProgress:
    """`update` shows what is running, `done` prints a line that stays."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.finished = 0
        self._live = _rich_line()

    def __enter__(self) -> CaseProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update("", refresh=True)
            self._live.stop()

    def update(self, text: str) -> None:
        if self._live is not None:
            self._live.update(f"({self.finished + 1}/{self.total}) {text}", refresh=True)

    def done(self, text: str) -> None:
        self.finished += 1
        line = f"({self.finished}/{self.total}) {text}"
        if self._live is not None:
            self._live.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _rich_line() -> Any:
    """A line that rich redraws on request; None without rich or if stderr is not a terminal.

    It has no thread, which would run while an engine is measured.
    """
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        return None
    console = Console(stderr=True)
    return Live("", console=console, auto_refresh=False) if console.is_terminal else None
