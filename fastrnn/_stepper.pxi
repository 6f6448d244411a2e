# SPDX-License-Identifier: MIT
"""Part of _core.pyx: streams, step by step."""


cdef class Stepper:
    """The states of a batch of streams, and a step that allocates nothing. See Stream in layers/streams.py."""
    cdef Stack stack
    cdef Workspace workspace  # kept here while the stack has the workspace of another stream
    cdef frnn_call call
    cdef Py_ssize_t outputs
    cdef bint busy
    cdef const unsigned char[::1] memory  # of the states; nothing can resize it while this is held
    cdef readonly Py_ssize_t inputs
    cdef readonly object _h, _c  # views of it

    def __cinit__(self, Stack stack, Py_ssize_t batch):
        if batch < 1 or stack.directions != 1:
            raise ValueError("expected a batch of at least 1 and a stack of one direction")
        h_floats = <object> stack.state_rows * batch * stack.outputs
        memory = bytearray(4 * (h_floats + <object> stack.state_rows * batch * stack.c_size))
        states = frombuffer(memory, float32)
        self.stack, self.memory = stack, memory
        self.inputs, self.outputs = stack.inputs, stack.outputs
        self._h = states[:h_floats].reshape(stack.state_rows, batch, stack.outputs)
        self.call.steps, self.call.batch = 1, <size_t> batch
        self.call.h0 = self.call.hn = <float *> &self.memory[0]
        self._c, self.call.c0, self.call.cn = None, NULL, NULL
        if stack.c_size:
            self._c = states[h_floats:].reshape(stack.state_rows, batch, stack.c_size)
            self.call.c0 = self.call.cn = self.call.hn + <size_t> h_floats

    cdef bint take(self, object rows, Py_buffer *view, Py_ssize_t width, int flags):
        """Open a float32 buffer [batch][width] with contiguous rows; False if it is not one."""
        try:
            open_floats(view, rows, "rows", 2, PyBUF_STRIDES | flags)
        except (TypeError, ValueError, BufferError):
            return False
        if (view.shape[0] == <Py_ssize_t> self.call.batch and view.shape[1] == width
                and rows_in_place(view) and (not flags or rows_are_apart(view))):
            return True
        PyBuffer_Release(view)
        return False

    cdef int run(self) except -1:
        """Run one pass in the stack's workspace, or in another while a stream uses that one."""
        cdef Workspace workspace = None
        try:
            workspace = self.stack.block.step_spare or self.workspace or Workspace()
            self.stack.block.step_spare = self.workspace = None
            return workspace.forward(self.stack.stack, &self.call)
        finally:
            self.busy = False
            if workspace is not None and self.stack.block.step_spare is None:
                self.stack.block.step_spare = workspace
            else:
                self.workspace = workspace

    def step(self, x, out=None):
        """Advance every stream by one step: x (B, I) -> y (B, R), written to `out` if given.

        ValueError: a wrong shape or type, or an `out` that overlaps x without being x.
        """
        cdef Py_buffer x_view, y_view
        y = empty((self.call.batch, self.outputs), float32) if out is None else out
        if not self.take(x, &x_view, self.inputs, 0):
            x = self._copied(x)
            if not self.take(x, &x_view, self.inputs, 0):
                raise ValueError("x: expected float32 with contiguous rows, got something else")
        if not self.take(y, &y_view, self.outputs, PyBUF_WRITABLE):
            PyBuffer_Release(&x_view)
            raise ValueError(self._expected_out(out))
        try:
            if self.busy:
                raise RuntimeError("step: expected one thread at a time, got a second one")
            if overlap(&x_view, &y_view):
                raise ValueError("out: expected separate memory or x itself, got a part of x")
            self.call.x, self.call.x_row = <const float *> x_view.buf, x_view.strides[0] // 4
            self.call.y, self.call.y_row = <float *> y_view.buf, y_view.strides[0] // 4
            self.busy = True
            self.run()
        finally:
            PyBuffer_Release(&x_view)
            PyBuffer_Release(&y_view)
        return y
