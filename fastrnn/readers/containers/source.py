# SPDX-License-Identifier: MIT
"""Bounds-checked access to the bytes of one file: by its path, in a folder, or open already."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, shortened
from .budget import Budget

Bytes = NDArray[np.uint8]


class Source:
    """An open file. Every read is within the file and returns exactly the requested length.

    What is read is charged to the budget.
    """

    def __init__(self, handle: io.BufferedIOBase, size: int, start: int = 0) -> None:
        self._handle = handle
        self._start = start
        self.size = size
        self.budget = Budget(size)

    def read(self, offset: int, count: int, what: str) -> bytes:
        """Return `count` bytes at `offset`."""
        self._check(offset, count, what)
        self.budget.spend(count, what)
        self._handle.seek(self._start + offset)
        data = b""
        while len(data) < count:  # a file without buffer may give a part of them at a time
            part = self._handle.read(count - len(data))
            if not part:
                raise FormatError(f"{what}: the file became shorter while it was read")
            data += part
        return data

    def read_array(self, offset: int, count: int, what: str) -> Bytes:
        """Return `count` bytes at `offset` as a new writable array."""
        self._check(offset, count, what)
        self.budget.spend(count, what)
        array = np.empty(count, np.uint8)
        self._handle.seek(self._start + offset)
        filled = 0
        while filled < count:
            got = self._handle.readinto(array.data[filled:])
            if not got:
                raise FormatError(f"{what}: the file became shorter while it was read")
            filled += got
        return array

    def map(self) -> Bytes:
        """Map the whole file, opened by its path and not empty, as a read-only array."""
        import mmap  # imported here, as few programs need it

        try:
            mapped = mmap.mmap(self._handle.fileno(), self.size, access=mmap.ACCESS_READ)
        except ValueError:
            raise FormatError("the file became shorter while it was read") from None
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError(f"no memory to map {self.size} bytes") from None
            raise
        return np.frombuffer(mapped, np.uint8)

    def _check(self, offset: int, count: int, what: str) -> None:
        if offset < 0 or count < 0 or offset + count > self.size:
            raise FormatError(
                f"{what}: {count} bytes at byte {offset} reach beyond the end of the file "
                f"({self.size} bytes)"
            )


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open a regular file; FormatError for a directory, pipe or device, which is not opened."""
    _require_regular(os.stat(path).st_mode)
    with open(path, "rb") as handle:
        status = os.fstat(handle.fileno())
        _require_regular(status.st_mode)
        yield Source(handle, status.st_size)


def source_of_open(file: io.BufferedIOBase) -> Source:
    """What follows the present position of an open binary file, which must be able to seek."""
    start = file.tell()
    return Source(file, file.seek(0, os.SEEK_END) - start, start)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Every FormatError within the block begins with the name of the file, and has a bound."""
    try:
        yield
    except FormatError as error:
        error.args = (f"{name}: {shortened(str(error))}",)
        raise
    except RecursionError:
        raise FormatError(f"{name}: its content is nested too deep") from None


@contextmanager
def open_beside(folder: str | None, location: str, what: str) -> Iterator[Source]:
    """Open a regular file in the model's folder or below it; FormatError names it as `what`.

    The folder is None if the model is an open file. Each step of the path is opened from the
    directory before it and none may be a link, so that no file outside of the folder can be
    reached, not even while it is being changed.
    """
    if folder is None:
        raise FormatError(f"{what}: in a file next to the model; load the model by its path")
    steps = location.split("/")
    if not location or location != location.strip() or "\\" in location or "\0" in location:
        raise FormatError(f"{what}: not a relative path")
    if any(step in ("", ".", "..") for step in steps) or ":" in steps[0]:
        raise FormatError(f"{what}: not a plain path inside the model's folder")
    handles: list[int] = []
    try:
        handles.append(os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY))
        for step in steps[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            handles.append(os.open(step, flags, dir_fd=handles[-1]))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block
        handles.append(os.open(steps[-1], flags, dir_fd=handles[-1]))
        status = os.fstat(handles[-1])
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{what}: not a regular file")
        if status.st_nlink != 1:
            raise FormatError(f"{what}: the file has {status.st_nlink} names (hard links)")
        with open(handles[-1], "rb", closefd=False) as file:
            yield Source(file, status.st_size)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FormatError(f"{what}: cannot be opened without following links ({reason})") from None
    except ValueError as error:  # a name that the file system cannot have
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{what}: not the name of a file") from None
    finally:
        for handle in handles:
            os.close(handle)


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "something that is not a regular file"
        raise FormatError(f"expected a model file, got {kind}")
