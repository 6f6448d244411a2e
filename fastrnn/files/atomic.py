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
    """Write a new file next to the target and rename it; after a failure the old one is intact.

    A symbolic link stays, and what it points to is replaced. The new file has the owner, group and
    permissions of the old one, as far as this process may give them.
    """
    # Only a link is resolved: an absolute path may be longer than the system permits.
    target = Path(os.path.realpath(path) if os.path.islink(path) else path)
    try:
        # A device or a pipe is not replaced, and cannot seek.
        if target.exists() and not target.is_file():
            whole = BytesIO()
            write(whole)
            target.write_bytes(whole.getbuffer())
        else:
            _replace(target, write)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from None  # not the temporary file's name


def _replace(target: Path, write: Callable[[BinaryIO], None]) -> None:
    temporary, file = _new_file(target.parent)
    try:
        with file:
            if target.exists():  # while it is empty: others may not be allowed to read it
                _take_over(file.fileno(), target.stat())
            write(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _new_file(folder: Path) -> tuple[Path, BinaryIO]:
    """Create a file whose name nobody else has; it is short, whatever the name of the target."""
    while True:
        path = folder / f".{os.urandom(5).hex()}"
        with suppress(FileExistsError):
            return path, open(path, "xb")


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give an open file the owner, group and permissions of an old one.

    If the group cannot be given, its members get the permissions of everybody else.
    """
    if not hasattr(os, "fchown"):  # Windows
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    try:
        os.fchown(descriptor, old.st_uid, old.st_gid)
    except PermissionError:
        try:
            os.fchown(descriptor, -1, old.st_gid)
        except PermissionError:
            mode = mode & 0o707 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)
