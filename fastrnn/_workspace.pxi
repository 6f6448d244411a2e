# SPDX-License-Identifier: MIT
"""Part of _core.pyx: the plan and the workspace of a pass."""


cdef size_t make_plan(const frnn_stack *stack, size_t steps, size_t batch, int width, bint back,
                      frnn_plan *plan) except 0:
    """Make the plan of a pass on `width` threads; return the bytes of its workspace."""
    cdef size_t needed = 0
    cdef frnn_machine allowed = machine
    allowed.width = width
    with nogil:
        status = frnn_plan_make(stack, &allowed, steps, batch, plan)
        if status == FRNN_OK and back:
            status = frnn_backward_size(stack, steps, batch, plan, &needed)
        elif status == FRNN_OK:
            status = frnn_workspace_size(stack, steps, batch, plan, &needed)
    check(status)
    return needed


cdef class Workspace:
    """The plan and the memory of one pass at a time. The memory grows when a pass needs more."""
    cdef void *memory
    cdef size_t bytes, steps, batch
    cdef int width
    cdef frnn_plan plan

    def __dealloc__(self):
        frnn_memory_free(self.memory)

    cdef int reserve(self, size_t needed) except -1:
        """Provide at least `needed` bytes. Growing discards the contents."""
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
        """Make a plan unless the last one fits. A workspace serves one kind of pass only."""
        cdef int width = threads()
        if call.steps != self.steps or call.batch != self.batch or width != self.width:
            self.width = 0
            self.reserve(make_plan(stack, call.steps, call.batch, width, back, &self.plan))
            self.steps, self.batch, self.width = call.steps, call.batch, width
        call.plan, call.executor = &self.plan, frnn_pool_executor()
        return 0
