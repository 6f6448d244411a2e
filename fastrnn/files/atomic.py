# SPDX-License-Identifier: MIT
"""Writing files so that no half of one is ever seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Writes beside the target and renames: no half file is ever seen, a failure keeps the old."""
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
    """A new file in the place of the old one, whose permissions it takes over."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as file:
            if target.exists():  # before anything is in it that others were not to read
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            write(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
