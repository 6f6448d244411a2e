# SPDX-License-Identifier: MIT
"""Atomic writing of files: readers see the old file or the new one, never a part."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO


def write_atomically(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Write a new file next to the target and rename it; after a failure the old one is intact.

    A symbolic link stays, and what it points to is replaced. The new file has the owner, group and
    permissions of the old one, as far as this process may give them.
    """
    try:
        target = _target(path)
        # A device or a pipe is not replaced, and cannot seek.
        if os.path.exists(target) and not os.path.isfile(target):
            whole = BytesIO()
            write(whole)
            with open(target, "wb") as file:
                file.write(whole.getbuffer())
        else:
            _replace(target, write)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from None  # not the temporary file's name


def _target(path: str) -> str:
    """The file to write; OSError for what open() would refuse."""
    if os.path.basename(path) in ("", os.curdir, os.pardir):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.path.islink(path):  # an absolute path may be longer than the system permits
        return path
    target = os.path.realpath(path)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _replace(target: str, write: Callable[[BinaryIO], None]) -> None:
    # A name that nobody else has, and short, whatever that of the target. It is chosen before the
    # file is there: a signal may come at any time.
    temporary = os.path.join(os.path.dirname(target), f".{os.urandom(16).hex()}")
    try:
        with open(temporary, "xb") as file:
            if os.path.exists(target):  # while it is empty: others may not be allowed to read it
                _take_over(file.fileno(), os.stat(target))
            write(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


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
