# SPDX-License-Identifier: MIT
"""Part of _core.pyx: the plan and the workspace of a pass, and how a signal ends it."""

from cpython.time cimport monotonic

cdef extern from "Python.h":
    int run_handlers "PyErr_CheckSignals"()  # leaves its exception for the end of the pass


# Cycles of a pass, as its plan predicts them, from which it answers signals: 20 ms or less.
cdef double LONG_PASS = 40e6
# Seconds between two looks, for which the pass takes the GIL.
cdef double LOOK_INTERVAL = 0.05


cdef int answer_signals(void *next_look) noexcept nogil:
    """Let Python run the handlers of signals now and then; return 1 if one has raised."""
    cdef double *next = <double *> next_look
    cdef double now = monotonic()
    if now < next[0]:
        return 0
    next[0] = now + LOOK_INTERVAL
    with gil:
        return run_handlers() < 0


cdef int end_of_pass(frnn_status status) except -1:
    """Raise the error of a status; of a pass that was stopped, what the handler raised."""
    return -1 if status == FRNN_STOPPED else check(status)


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
        cdef double next_look
        self.prepare(stack, call, False, &next_look)
        with nogil:
            status = frnn_forward(stack, call, self.memory, self.bytes)
        return end_of_pass(status)

    cdef int backward(self, const frnn_stack *stack, frnn_call *call,
                      const frnn_gradients *gradients) except -1:
        cdef double next_look
        self.prepare(stack, call, True, &next_look)
        with nogil:
            status = frnn_backward(stack, call, gradients, self.memory, self.bytes)
        return end_of_pass(status)

    cdef int prepare(self, const frnn_stack *stack, frnn_call *call, bint back,
                     double *next_look) except -1:
        """Make a plan unless the last one fits. A workspace serves one kind of pass only."""
        cdef int width = threads()
        if call.steps != self.steps or call.batch != self.batch or width != self.width:
            self.width = 0
            self.reserve(make_plan(stack, call.steps, call.batch, width, back, &self.plan))
            self.steps, self.batch, self.width = call.steps, call.batch, width
        call.plan, call.executor = &self.plan, frnn_pool_executor()
        call.stop = NULL
        if self.plan.cycles > LONG_PASS:
            next_look[0] = monotonic() + LOOK_INTERVAL
            call.stop, call.stop_context = answer_signals, next_look
        return 0
