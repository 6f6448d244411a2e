# SPDX-License-Identifier: MIT
"""Part of _core.pyx: the plan and the memory of a pass."""


cdef class Workspace:
    """The plan and the memory for one pass at a time; grows when a pass needs more."""
    cdef void *memory
    cdef size_t bytes, steps, batch
    cdef int width
    cdef frnn_plan plan

    def __dealloc__(self):
        frnn_memory_free(self.memory)

    cdef int reserve(self, size_t needed) except -1:
        """Have at least so many bytes; what they held is lost where they grow."""
        if needed > self.bytes:
            frnn_memory_free(self.memory)
            self.bytes = 0
            self.memory = frnn_memory_allocate(needed)
            if self.memory is NULL:
                raise MemoryError(f"no memory for a workspace of {needed} bytes")
            self.bytes = needed
        return 0

    cdef int forward(self, const frnn_stack *stack, frnn_call *call) except -1:
        self.prepare(stack, call, False)
        with nogil:
            status = frnn_forward(stack, call, self.memory, self.bytes)
        return check(status)

    cdef int backward(self, const frnn_stack *stack, frnn_call *call,
                      const frnn_gradients *gradients) except -1:
        self.prepare(stack, call, True)
        with nogil:
            status = frnn_backward(stack, call, gradients, self.memory, self.bytes)
        return check(status)

    cdef int prepare(self, const frnn_stack *stack, frnn_call *call, bint back) except -1:
        """A plan for the call's size and the threads of now; a workspace has one kind of pass."""
        cdef int width = threads()
        if call.steps != self.steps or call.batch != self.batch or width != self.width:
            self.make_plan(stack, call.steps, call.batch, width, back)
        call.plan, call.executor = &self.plan, frnn_pool_executor()
        return 0

    cdef int make_plan(self, const frnn_stack *stack, size_t steps, size_t batch, int width,
                       bint back) except -1:
        cdef size_t needed = 0
        cdef frnn_machine allowed = machine
        allowed.width, self.width = width, 0
        check(frnn_plan_make(stack, &allowed, steps, batch, &self.plan))
        if back:
            check(frnn_backward_size(stack, steps, batch, &self.plan, &needed))
        else:
            check(frnn_workspace_size(stack, steps, batch, &self.plan, &needed))
        self.reserve(needed)
        self.steps, self.batch, self.width = steps, batch, width
        return 0
