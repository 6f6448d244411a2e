# SPDX-License-Identifier: MIT
"""Atomic writing of files: readers see the old file or the new one, never a part."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Write a new file next to the target and rename it; after a failure the old one is intact."""
    target = Path(os.path.realpath(path))
    try:
        # A device or a pipe is not replaced, and cannot seek.
        if target.exists() and not target.is_file():
            whole = BytesIO()
            write(whole)
            target.write_bytes(whole.getbuffer())
        else:
            _replace(target, write)
    except OSError as error:
        error.filename, error.filename2 = path, None  # not the temporary file's name
        raise


def _replace(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Replace a file by a new one with the same permissions."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as file:
            if target.exists():  # while it is empty: others may not be allowed to read it
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            write(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
