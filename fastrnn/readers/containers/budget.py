# SPDX-License-Identifier: MIT
"""What reading a file may take: memory and work, both bounded by the file's size."""

from __future__ import annotations

from ..errors import FormatError

# SECURITY.md promises these numbers and tests/readers/test_readers_budget.py measures them.
MEMORY_PER_BYTE = 4
MEMORY_FLOOR = 64 << 20
WORK_PER_BYTE = 2
WORK_FLOOR = 1 << 18

SLOT = 16  # bytes of a place in a list that may still grow
ITEM = 128  # of an entry of a dict that may still grow
ARRAY_OVERHEAD = 512  # of an array without its elements, and its place in a dict


class Budget:
    """What is left of the memory and the work for one file; every reader charges it first.

    Memory is the bytes of everything that is kept while the file is read. A unit of work is one
    item: an opcode, a word of code, a value, a field, a node or an element of a list. It takes
    about a microsecond. Whatever a reader does again for the same bytes is charged again.
    """

    def __init__(self, file_size: int) -> None:
        self.size = 0
        self.memory = MEMORY_FLOOR
        self.work = WORK_FLOOR
        self.admit(file_size)

    @property
    def in_use(self) -> int:
        """The memory that is charged."""
        return MEMORY_FLOOR + MEMORY_PER_BYTE * self.size - self.memory

    def admit(self, file_size: int) -> None:
        """Add what a file brings, such as one that the model file refers to."""
        self.size += file_size
        self.memory += MEMORY_PER_BYTE * file_size
        self.work += WORK_PER_BYTE * file_size

    def spend(self, count: int, what: str) -> None:
        """Charge `count` bytes before they are allocated; FormatError if that is too much."""
        self.memory -= count
        if self.memory < 0:
            raise FormatError(
                f"{what}: the file expands to more than {MEMORY_PER_BYTE} times its size "
                f"and {MEMORY_FLOOR >> 20} MiB"
            )

    def release(self, count: int) -> None:
        """Give back `count` bytes that were charged and are freed."""
        self.memory += count

    def step(self, count: int, what: str) -> None:
        """Charge `count` units of work before they are done; FormatError if that is too much."""
        self.work -= count
        if self.work < 0:
            raise FormatError(
                f"{what}: the file takes more work than {WORK_PER_BYTE} steps for each of its "
                f"bytes and {WORK_FLOOR}"
            )
