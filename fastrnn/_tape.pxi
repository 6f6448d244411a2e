# SPDX-License-Identifier: MIT
"""Part of _core.pyx: forward passes that are recorded, and their backward passes."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc


cdef int reserve(Workspace block, size_t needed) except -1:
    """Gives a block at least so many bytes; what it held is lost where it grows."""
    if needed > block.bytes:
        frnn_memory_free(block.memory)
        block.bytes = 0
        block.memory = frnn_memory_allocate(needed)
        if block.memory is NULL:
            raise MemoryError(f"no memory for a workspace of {needed} bytes")
        block.bytes = needed
    return 0


cdef class Tape:
    """What one forward pass of a model for training leaves for any number of backward passes.

    The arrays x and lengths of the pass must stay as they are until the last of them.
    """
    cdef readonly Model model
    cdef Workspace block
    cdef frnn_call call
    cdef frnn_plan plan
    cdef object kept  # keeps x and lengths where they are

    def __cinit__(self, Model model, float dropout, uint64_t seed):
        self.model, self.call.dropout, self.call.seed = model, dropout, seed
        self.block, model.tape_spare = model.tape_spare or Workspace(), None

    def __del__(self):
        if self.model.tape_spare is None:
            self.model.tape_spare = self.block

    cdef int begin(self, frnn_call *call) except -1:
        """Makes a call a recorded one."""
        cdef size_t needed = 0
        check(frnn_tape_size(self.model.model, call.steps, call.batch, &needed))
        reserve(self.block, needed)
        call.tape, call.tape_bytes = self.block.memory, self.block.bytes
        call.dropout, call.seed = self.call.dropout, self.call.seed
        return 0

    cdef int keep(self, const frnn_call *call, object kept) except -1:
        """Remembers the call once it has run."""
        self.call, self.plan, self.kept = call[0], call.plan[0], kept
        self.call.plan = &self.plan
        return 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the tape holds."""
        return self.block.bytes

    def backward(self, dy, dhn, dcn, dx, dh0, dc0, list weights, bint accumulate) -> bool:
        """One backward pass over float32 arrays, time-major; False when dy cannot be read in place.

        weights: for each layer and direction its arrays for the gradients of weight_ih, weight_hh,
        bias_ih, bias_hh, weight_hr; C-contiguous and writable. None where there is none. Shapes are
        the caller's to check.
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
            if not gradients_fit(views, &self.call, self.model.inputs, self.model.hidden,
                                 self.model.outputs, self.model.directions, self.model.state_rows):
                raise ValueError("the arrays do not have the sizes of the recorded pass")
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
        cdef size_t needed = 0
        cdef Workspace workspace = self.model.back_spare or Workspace()
        cdef frnn_weight_gradients *parts
        cdef float[::1] flat
        cdef float **into
        self.model.back_spare = None
        check(frnn_backward_size(self.model.model, self.call.steps, self.call.batch, &self.plan,
                                 &needed))
        reserve(workspace, needed)
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
            with nogil:
                status = frnn_backward(self.model.model, &self.call, gradients, workspace.memory,
                                       workspace.bytes)
            check(status)
        finally:
            free(parts)
            self.model.back_spare = workspace
        return 0
