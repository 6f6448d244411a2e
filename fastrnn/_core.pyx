# SPDX-License-Identifier: MIT
"""Python bindings of the C library: memory, buffers and the GIL. No arithmetic."""
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False

from cpython.contextvars cimport get_value
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)

from libc.string cimport memset

from ._buffers cimport (
    fits, gradients_fit, in_floats, inputs_fit, overlap, point, point_gradients, point_inputs,
    rows_in_place,
)

from contextvars import ContextVar

import numpy

DTYPES = {"float32": FRNN_FLOAT32, "bfloat16_weights": FRNN_BFLOAT16_WEIGHTS}
CELLS = {
    "rnn_tanh": FRNN_RNN_TANH,
    "rnn_relu": FRNN_RNN_RELU,
    "gru": FRNN_GRU,
    "gru_reset_before": FRNN_GRU_RESET_BEFORE,
    "lstm": FRNN_LSTM,
    "lstm_coupled": FRNN_LSTM_COUPLED,
}
VERSION = FRNN_VERSION.decode()
COMPILER = FRNN_COMPILER.decode()
MOST_THREADS = FRNN_MOST_WORKERS

cdef object empty = numpy.empty
cdef object float32 = numpy.dtype(numpy.float32)


cdef int check(frnn_status status) except -1:
    if status == FRNN_OK:
        return 0
    raise ValueError(frnn_status_text(status).decode())


cdef dict addresses = {}  # of tables by name: asking the CPU takes 20 us in a virtual machine


cdef const frnn_isa *find_isa(str name) except NULL:
    address = addresses.get(name)
    if address is not None:
        return <const frnn_isa *> <size_t> address
    cdef bytes encoded = name.encode()
    cdef const frnn_isa *isa = frnn_isa_find(encoded)
    if isa is NULL:
        raise ValueError(f"isa: expected one of {isas()}, which this machine can run, got {name!r}")
    addresses[name] = <size_t> isa
    return isa


def isas() -> list:
    """Return the names of the instruction sets that this machine can run, best first."""
    names = []
    while frnn_isa_at(<int> len(names)) is not NULL:
        names.append(frnn_isa_name(frnn_isa_at(<int> len(names))).decode())
    return names


cdef int apply(frnn_activation *function, str isa, const float[::1] x, float[::1] y) except -1:
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"y: expected {x.shape[0]} values, got {y.shape[0]}")
    if x.shape[0]:
        function(find_isa(isa), &y[0], &x[0], <size_t> x.shape[0])
    return 0


def sigmoid(str isa, const float[::1] x, float[::1] y) -> None:
    """Compute y = sigmoid(x) with the kernels of an instruction set; float32, y may be x."""
    apply(frnn_sigmoid, isa, x, y)


def tanh(str isa, const float[::1] x, float[::1] y) -> None:
    """Compute y = tanh(x) with the kernels of an instruction set; float32, y may be x."""
    apply(frnn_tanh, isa, x, y)


def relu(str isa, const float[::1] x, float[::1] y) -> None:
    """Compute y = max(x, 0), NaN for NaN; float32, y may be x."""
    apply(frnn_relu, isa, x, y)


def probe_fma(str isa, size_t rounds) -> float:
    """Run `rounds` rounds of independent FMAs; return the number of floating-point operations."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef float result
    with nogil:
        done = frnn_probe_fma(table, rounds, &result)
    return done


def probe_read(str isa, const float[::1] values, int repeats) -> None:
    """Read an array `repeats` times, as the steps of a pass read their weights."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef float result
    with nogil:
        for _ in range(repeats):
            frnn_probe_read(table, &values[0], <size_t> values.shape[0], &result)


cdef frnn_machine machine  # width: the last set_num_threads(n), or 0 for the default
cdef object default_threads = lambda: 1
local_threads = ContextVar("fastrnn_threads", default=0)  # num_threads(n) of this context, or 0


def set_machine(int threads, size_t l2_bytes, size_t l3_bytes) -> None:
    """Set the threads that a pass may use, the L2 cache of one core and the L3 cache of all."""
    machine.width, machine.l2_bytes, machine.l3_bytes = threads, l2_bytes, l3_bytes


def set_default(function) -> None:
    """Set the function that returns the number of threads until set_machine is called."""
    global default_threads
    default_threads = function


cpdef int threads() except -1:
    """Return the number of threads that a pass started in this context may use."""
    cdef int said = <int> get_value(local_threads) or machine.width
    return said or default_threads()


include "_workspace.pxi"
include "_lease.pxi"


cdef class Stack:
    """The packed weights of a stack of layers. Any number of threads may run it at once."""
    cdef frnn_stack *stack
    cdef Lease lease
    cdef Block block  # of the lease
    cdef readonly size_t nbytes
    cdef readonly str isa
    cdef readonly bint training
    cdef Py_ssize_t inputs, hidden, outputs, directions, state_rows

    def __cinit__(self, str cell, int input_size, int hidden_size, int num_layers,
                  bint bidirectional, int proj_size, str isa, bint training=False,
                  str dtype="float32", Spare home=None):
        cdef frnn_config config = frnn_config(
            CELLS[cell], input_size, hidden_size, num_layers, bidirectional, proj_size, training,
            DTYPES[dtype])
        cdef const frnn_isa *table = find_isa(isa)
        check(frnn_stack_size(&config, table, &self.nbytes))
        self.lease = Lease(home or Spare(), self.nbytes, (
            Stack, cell, input_size, hidden_size, num_layers, bidirectional, proj_size, isa,
            training, dtype))
        self.block = self.lease.block
        if self.block.contents is NULL:
            check(frnn_stack_init(&self.stack, &config, table, self.block.memory, self.nbytes))
            self.block.contents = self.stack
        self.stack = <frnn_stack *> self.block.contents
        self.isa, self.training = isa, training
        self.inputs, self.hidden, self.outputs = input_size, hidden_size, proj_size or hidden_size
        self.directions, self.state_rows = 1 + bidirectional, num_layers * (1 + bidirectional)

    def set_weights(self, int layer, int direction, const float[:, ::1] weight_ih,
                    const float[:, ::1] weight_hh, const float[::1] bias_ih,
                    const float[::1] bias_hh, const float[:, ::1] weight_hr) -> None:
        """Pack copies of the weights of one layer and direction. The caller checks the shapes."""
        cdef frnn_weights weights
        weights.weight_ih, weights.weight_hh = &weight_ih[0, 0], &weight_hh[0, 0]
        weights.bias_ih = weights.bias_hh = weights.weight_hr = NULL
        if bias_ih is not None:
            weights.bias_ih, weights.bias_hh = &bias_ih[0], &bias_hh[0]
        if weight_hr is not None:
            weights.weight_hr = &weight_hr[0, 0]
        with nogil:
            status = frnn_stack_set_weights(self.stack, layer, direction, &weights)
        check(status)

    def forward(self, x, y, h0, c0, hn, cn, lengths, Tape tape=None) -> bool:
        """Run one pass over float32 arrays; return False if x cannot be read in place.

        x (T, B, I), y (T, B, directions * R): contiguous rows. h0, hn (layers * directions, B, R),
        c0, cn (.., B, H), lengths (B,): contiguous, or None. The caller checks dtypes. tape: a new
        one, to record the pass.
        """
        cdef Py_buffer views[7]
        cdef frnn_call call
        cdef int held = 0
        cdef Workspace workspace = self.block.spare or Workspace()
        self.block.spare = None
        memset(views, 0, sizeof(views))
        try:
            for array in (x, y, h0, c0, hn, cn, lengths):
                if array is not None:
                    PyObject_GetBuffer(array, &views[held], PyBUF_STRIDES)
                held += 1
            if not fits(views, self.inputs, self.hidden, self.outputs, self.directions,
                        self.state_rows):
                raise ValueError("expected arrays of the sizes of the packed stack, got others")
            if not rows_in_place(&views[0]):
                return False
            point(&call, views)
            if tape is not None:
                tape.begin(&call)
            workspace.forward(self.stack, &call)
            if tape is not None:
                tape.keep(&call, (x, lengths))
            return True
        finally:
            for i in range(held):
                PyBuffer_Release(&views[i])
            self.block.spare = workspace

    def plan(self, size_t steps, size_t batch) -> dict:
        """Return the plan of a pass of this size with the current threads; see frnn_plan."""
        cdef frnn_plan found
        cdef size_t needed = make_plan(self.stack, steps, batch, threads(), False, &found)
        return found | {"workspace": needed}


cdef class Stepper:
    """The states of a batch of streams, and a step that allocates nothing. See Stream in layers/streams.py."""
    cdef Stack stack
    cdef Workspace workspace  # kept here while the stack has the workspace of another stream
    cdef frnn_call call
    cdef Py_ssize_t outputs
    cdef bint busy
    cdef float[:, :, ::1] h_view, c_view  # these keep the buffers of the arrays in place
    cdef readonly Py_ssize_t inputs
    cdef readonly object _h, _c

    def __cinit__(self, Stack stack, h, c, Py_ssize_t inputs):
        self.stack, self._h, self._c, self.h_view, self.c_view = stack, h, c, h, c
        self.inputs, self.outputs = inputs, self.h_view.shape[2]
        self.call.steps, self.call.batch = 1, <size_t> self.h_view.shape[1]
        self.call.h0 = self.call.hn = &self.h_view[0, 0, 0]
        self.call.c0 = self.call.cn = NULL
        if c is not None:
            self.call.c0 = self.call.cn = &self.c_view[0, 0, 0]

    cdef bint take(self, object rows, Py_buffer *view, Py_ssize_t width, int flags):
        """Open a float32 buffer [batch][width] with contiguous rows; False if it is not one."""
        try:
            PyObject_GetBuffer(rows, view, PyBUF_FORMAT | PyBUF_STRIDES | flags)
        except (TypeError, ValueError, BufferError):
            return False
        if (view.ndim == 2 and view.format[0] == c"f" and view.format[1] == 0
                and view.shape[0] == <Py_ssize_t> self.call.batch and view.shape[1] == width
                and rows_in_place(view)):
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


include "_tape.pxi"
include "_layers.pxi"
