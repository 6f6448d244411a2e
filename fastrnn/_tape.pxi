# SPDX-License-Identifier: MIT
"""Part of _core.pyx: recorded forward passes and their backward passes."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc


cdef class Tape:
    """The record of one forward pass of a training stack, for any number of backward passes.

    The arrays x and lengths of the pass must not change until the last backward pass. memory: a
    writable uint8 array of tape_bytes() bytes to record in; None: the tape allocates its own.
    """
    cdef readonly Stack stack
    cdef unsigned char[::1] memory
    cdef frnn_call call
    cdef object kept  # x and lengths, so that they live as long as the tape

    def __cinit__(self, Stack stack, float dropout, uint64_t seed, memory=None):
        self.stack, self.call.dropout, self.call.seed = stack, dropout, seed
        self.memory = memory

    cdef int begin(self, frnn_call *call) except -1:
        """Set the fields of a call that make it a recorded one."""
        cdef size_t needed = tape_bytes(self.stack, call.steps, call.batch)
        if self.memory is None:
            self.memory = Lease(self.stack.block.tapes, needed)
        if <size_t> self.memory.shape[0] < needed:
            raise ValueError(f"memory: expected {needed} bytes, got {self.memory.shape[0]}")
        call.tape, call.tape_bytes = &self.memory[0], <size_t> self.memory.shape[0]
        call.dropout, call.seed = self.call.dropout, self.call.seed
        return 0

    cdef int keep(self, const frnn_call *call, object kept) except -1:
        """Store the call after it has run."""
        self.call, self.kept = call[0], kept
        return 0

    def resume(self, x, lengths) -> bool:
        """Prepare for backward passes of what another Tape has recorded in this memory.

        x, lengths: the arguments of Stack.forward. Returns False if x cannot be read in place.
        """
        cdef Py_buffer views[2]
        cdef frnn_call call
        memset(&call, 0, sizeof(call))
        memset(views, 0, sizeof(views))
        PyObject_GetBuffer(x, &views[0], PyBUF_STRIDES)
        try:
            if lengths is not None:
                PyObject_GetBuffer(lengths, &views[1], PyBUF_STRIDES)
            if not inputs_fit(&views[0], &views[1], self.stack.inputs):
                raise ValueError("expected arrays of the sizes of the packed stack, got others")
            if not rows_in_place(&views[0]):
                return False
            point_inputs(&call, &views[0], &views[1])
            self.begin(&call)
            self.keep(&call, (x, lengths))
            return True
        finally:
            PyBuffer_Release(&views[0])
            PyBuffer_Release(&views[1])

    @property
    def nbytes(self) -> int:
        """The size of the tape's memory in bytes."""
        return 0 if self.memory is None else self.memory.shape[0]

    def backward(self, dy, dhn, dcn, dx, dh0, dc0, list weights, bint accumulate) -> bool:
        """Run one backward pass over float32 arrays; return False if dy cannot be read in place.

        dy (T, B, directions * R) and dx (T, B, I) with contiguous rows, dhn, dcn, dh0 and dc0 with
        the shapes of the states; None: zeros, or not wanted. weights: for each layer and direction
        a list of the gradients of weight_ih, weight_hh, bias_ih, bias_hh and weight_hr, each
        C-contiguous and writable, or None. The caller checks their shapes. accumulate: add to them.
        """
        cdef Py_buffer views[6]
        cdef frnn_gradients gradients
        cdef int held = 0
        memset(views, 0, sizeof(views))
        memset(&gradients, 0, sizeof(gradients))
        try:
            for array in (dy, dhn, dcn, dx, dh0, dc0):
                if array is not None:
                    PyObject_GetBuffer(array, &views[held], PyBUF_STRIDES)
                held += 1
            if not gradients_fit(views, &self.call, self.stack.inputs, self.stack.hidden,
                                 self.stack.outputs, self.stack.directions, self.stack.state_rows):
                raise ValueError("expected arrays of the sizes of the recorded pass, got others")
            if dy is not None and not rows_in_place(&views[0]):
                return False
            point_gradients(&gradients, views)
            gradients.accumulate = accumulate
            self.run(&gradients, weights)
            return True
        finally:
            for i in range(held):
                PyBuffer_Release(&views[i])

    cdef int run(self, frnn_gradients *gradients, list weights) except -1:
        cdef Workspace workspace = self.stack.block.back_spare or Workspace()
        cdef frnn_call call = self.call
        cdef frnn_weight_gradients *parts
        cdef float[::1] flat
        cdef float **into
        self.stack.block.back_spare = None
        parts = <frnn_weight_gradients *> malloc(len(weights) * sizeof(frnn_weight_gradients) + 1)
        if parts is NULL:
            raise MemoryError("no memory for a list of gradients")
        memset(parts, 0, len(weights) * sizeof(frnn_weight_gradients))
        try:
            into = <float **> parts
            for part in weights:
                for array in part:
                    if array is not None:
                        flat = array.reshape(-1)
                        into[0] = &flat[0]
                    into += 1
            gradients.weights = parts if weights else NULL
            workspace.backward(self.stack.stack, &call, gradients)
        finally:
            free(parts)
            self.stack.block.back_spare = workspace
        return 0


cpdef size_t tape_bytes(Stack stack, size_t steps, size_t batch) except 0:
    """Return the bytes that the tape of a pass of this size needs."""
    cdef size_t needed = 0
    check(frnn_tape_size(stack.stack, steps, batch, &needed))
    return needed
