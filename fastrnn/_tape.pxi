# SPDX-License-Identifier: MIT
"""Part of _core.pyx: recorded forward passes and their backward passes."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free


cdef class Tape:
    """The record of one forward pass of a training stack, for any number of backward passes.

    The array x of the pass must not change until the last backward pass. memory: a writable uint8
    array of tape_bytes() bytes to record in; None: the tape allocates its own.
    """
    cdef readonly Stack stack
    cdef object memory  # None: a lease of the stack's, from the pass on
    cdef frnn_call call
    cdef bint begun, recorded
    cdef object x, counts  # what the pass has read; counts: its own copy of the lengths, as bytes

    def __cinit__(self, Stack stack, float dropout, uint64_t seed, memory=None):
        self.stack, self.call.dropout, self.call.seed = stack, dropout, seed
        self.memory = memory

    cdef int open_memory(self, Py_buffer *view, frnn_call *call) except -1:
        """Point a call at the memory, which is open in `view` then: it may be moved until that."""
        cdef size_t needed = tape_bytes(self.stack, call.steps, call.batch)
        if self.memory is None:
            self.memory = Lease(self.stack.block.tapes, needed)
        PyObject_GetBuffer(self.memory, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        if not has_format(view, b"B") or <size_t> view.len < needed:
            raise ValueError(f"memory: expected {needed} bytes, got {view.len} of format "
                             f"{view.format.decode()!r}")
        call.tape, call.tape_bytes = view.buf, <size_t> view.len
        return 0

    cdef int begin(self, Stack stack, Py_buffer *view, frnn_call *call) except -1:
        """Make a call a recorded one, once; the memory is open in `view` then."""
        if self.begun or stack is not self.stack:
            raise ValueError("tape: expected a new one of this stack, got another")
        self.begun = True
        self.open_memory(view, call)
        call.dropout, call.seed = self.call.dropout, self.call.seed
        return 0

    cdef int keep(self, const frnn_call *call, object x, object counts) except -1:
        """Store the call after it has run."""
        self.call, self.x, self.counts, self.recorded = call[0], x, counts, True
        return 0

    def resume(self, x, lengths) -> bool:
        """Prepare for backward passes of what another Tape has recorded in this memory.

        x, lengths: the arguments of Stack.forward. Returns False if x cannot be read in place.
        """
        cdef Py_buffer views[3]
        cdef frnn_call call
        memset(&call, 0, sizeof(call))
        memset(views, 0, sizeof(views))
        try:
            open_floats(&views[0], x, "x", 3, PyBUF_STRIDES)
            counts = open_lengths(&views[1], lengths)
            if not inputs_fit(&views[0], &views[1], self.stack.inputs):
                raise ValueError("expected arrays of the sizes of the packed stack, got others")
            if not rows_in_place(&views[0]):
                return False
            point_inputs(&call, &views[0], &views[1])
            self.begin(self.stack, &views[2], &call)
            self.keep(&call, x, counts)
            return True
        finally:
            for i in range(3):
                PyBuffer_Release(&views[i])

    @property
    def nbytes(self) -> int:
        """The size of the tape's memory in bytes."""
        return 0 if self.memory is None else memoryview(self.memory).nbytes

    def backward(self, dy, dhn, dcn, dx, dh0, dc0, list weights, bint accumulate) -> bool:
        """Run one backward pass over float32 arrays; False if dy, dhn or dcn is not read in place.

        dy (T, B, directions * R) and dx (T, B, I) with contiguous rows, dhn, dcn, dh0 and dc0 with
        the shapes of the states, C-contiguous; None: zeros, or not wanted. weights: empty, or for
        each layer and direction a list of the gradients of weight_ih, weight_hh, bias_ih, bias_hh
        and weight_hr, each C-contiguous and writable, or None. accumulate: add to them.
        ValueError for others, and if x does not lie where the forward pass has read it.
        """
        cdef Py_buffer views[8]
        cdef frnn_gradients gradients
        cdef frnn_call call = self.call
        memset(views, 0, sizeof(views))
        memset(&gradients, 0, sizeof(gradients))
        try:
            self.open_recorded(&views[6], &views[7], &call)
            open_optional(&views[0], dy, "dy", 3, PyBUF_STRIDES)
            open_optional(&views[1], dhn, "dhn", 3, PyBUF_C_CONTIGUOUS)
            open_optional(&views[2], dcn, "dcn", 3, PyBUF_C_CONTIGUOUS)
            open_optional(&views[3], dx, "dx", 3, PyBUF_STRIDES | PyBUF_WRITABLE)
            open_optional(&views[4], dh0, "dh0", 3, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            open_optional(&views[5], dc0, "dc0", 3, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            if not gradients_fit(views, &call, self.stack.inputs, self.stack.c_size,
                                 self.stack.outputs, self.stack.directions, self.stack.state_rows):
                raise ValueError("expected arrays of the sizes of the recorded pass, got others")
            if not ((dy is None or rows_in_place(&views[0])) and in_floats(&views[1])
                    and in_floats(&views[2])):
                return False
            if not ((dx is None or rows_in_place(&views[3])) and in_floats(&views[4])
                    and in_floats(&views[5])):
                raise ValueError("dx, dh0, dc0: expected aligned memory and contiguous rows")
            point_gradients(&gradients, views)
            gradients.accumulate = accumulate
            self.run(&call, &gradients, weights)
            return True
        finally:
            for i in range(8):
                PyBuffer_Release(&views[i])

    cdef int open_recorded(self, Py_buffer *x, Py_buffer *memory, frnn_call *call) except -1:
        """Open what the forward pass has read and written; ValueError if that has moved."""
        if not self.recorded:
            raise ValueError("tape: expected one with a recorded pass, got an empty one")
        self.open_memory(memory, call)
        open_floats(x, self.x, "x", 3, PyBUF_STRIDES)
        if call.tape != self.call.tape:
            raise ValueError("memory: expected that of the forward pass, got one that has moved")
        if not has_shape(x, <Py_ssize_t> call.steps, <Py_ssize_t> call.batch,
                         self.stack.inputs) or not same_memory(x, call):
            raise ValueError("x: expected the array of the forward pass as it was, got one that "
                             "has been resized or reshaped since")
        return 0

    cdef int run(self, frnn_call *call, frnn_gradients *gradients, list weights) except -1:
        cdef Workspace workspace = self.stack.block.back_spare or Workspace()
        cdef tuple given = tuple(weights)
        cdef Py_ssize_t tensors = 5 * len(given)
        cdef Py_buffer *views = <Py_buffer *> calloc(tensors + 1, sizeof(Py_buffer))
        cdef float **pointers = <float **> calloc(tensors + 1, sizeof(float *))
        self.stack.block.back_spare = None
        try:
            if views is NULL or pointers is NULL:
                raise MemoryError("no memory for a list of gradients")
            self.open_weights(views, pointers, given)
            if tensors:
                gradients.weights = <const frnn_weight_gradients *> pointers
            workspace.backward(self.stack.stack, call, gradients)
        finally:
            for i in range(tensors if views is not NULL else 0):
                PyBuffer_Release(&views[i])
            free(views)
            free(pointers)
            self.stack.block.back_spare = workspace
        return 0

    cdef int open_weights(self, Py_buffer *views, float **pointers, tuple weights) except -1:
        """Open the gradients of all weights."""
        cdef Py_ssize_t place, i
        cdef tuple part
        if weights and len(weights) != self.stack.state_rows:
            raise ValueError(f"weights: expected a list for each of {self.stack.state_rows} layers "
                             f"and directions, got {len(weights)}")
        for place in range(len(weights)):
            part = tuple(weights[place])
            if len(part) != 5:
                raise ValueError(f"weights: expected 5 arrays or None each, got {len(part)}")
            for i in range(5):
                at = 5 * place + i
                self.stack.open_weight(&views[at], part[i], place // self.stack.directions,
                                       <int> i, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
                pointers[at] = <float *> views[at].buf
        return 0


cpdef size_t tape_bytes(Stack stack, size_t steps, size_t batch) except 0:
    """Return the bytes that the tape of a pass of this size needs."""
    cdef size_t needed = 0
    check(frnn_tape_size(stack.stack, steps, batch, &needed))
    return needed
