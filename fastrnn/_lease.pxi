# SPDX-License-Identifier: MIT
"""Part of _core.pyx: memory that is used again once nothing refers to its lease any more.

Whether somebody still needs memory, such as a backward pass that has not run yet, follows from
who holds its lease, never from a count of references. All three classes stand outside of Python's
collector of cycles: nothing that they refer to can refer back to them.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo


@cython.final
@cython.no_gc
cdef class Block:
    """Memory of one lease at a time, and what goes with it to the next lease.

    kind: what the memory holds, or None. contents: what lies in it, or NULL before it is laid out.
    """
    cdef void *memory
    cdef size_t bytes
    cdef tuple kind
    cdef void *contents
    cdef Workspace spare, step_spare, back_spare  # of passes over the contents
    cdef Spare tapes  # of those passes

    def __cinit__(self, tuple kind or None, size_t bytes):
        self.memory = frnn_memory_allocate(bytes)
        if self.memory is NULL:
            raise MemoryError(f"no memory for {bytes} bytes")
        self.kind, self.bytes, self.tapes = kind, bytes, Spare()

    def __dealloc__(self):
        frnn_memory_free(self.memory)


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Spare:
    """A place for the block that was given back last. Any number of threads may take it.

    Under the GIL, nothing comes between the two lines that take a block, or that put one here.
    """
    cdef Block block

    @property
    def nbytes(self) -> int:
        """The size of the block in bytes, 0 if there is none."""
        return 0 if self.block is None else self.block.bytes

    cdef Block take(self, tuple kind, size_t bytes):
        """Return a block of this kind with at least so many bytes: the one here, or a new one."""
        cdef Block found = self.block
        self.block = None
        if found is not None and found.bytes >= bytes and found.kind == kind:
            return found
        found = None  # frees it first
        return Block(kind, bytes)


@cython.final
@cython.no_gc
cdef class Lease:
    """A block in use, as a writable buffer of `bytes` bytes. Its end puts the block into `home`."""
    cdef Block block
    cdef Spare home
    cdef Py_ssize_t bytes

    def __cinit__(self, Spare home, size_t bytes, tuple kind=None):
        self.block = home.take(kind, bytes)
        self.home, self.bytes = home, <Py_ssize_t> bytes

    def __dealloc__(self):
        if self.home is not None:
            self.home.block = self.block

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.block.kind is not None:
            raise BufferError("expected a lease of plain memory, got one of packed weights")
        PyBuffer_FillInfo(view, self, self.block.memory, self.bytes, False, flags)
