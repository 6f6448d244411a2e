# SPDX-License-Identifier: MIT
"""Python bindings of the C library: memory, buffers and the GIL. No arithmetic."""

from cpython.contextvars cimport get_value
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer,
)

from libc.string cimport memset

from ._buffers cimport (
    fits, gradients_fit, has_format, has_shape, in_floats, inputs_fit, open_floats, open_lengths,
    open_optional, overlap, point, point_gradients, point_inputs, rows_are_apart, rows_in_place,
    same_memory,
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
cdef object frombuffer = numpy.frombuffer
cdef tuple TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
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


def probe_fma(str isa, size_t rounds) -> float:
    """Run `rounds` rounds of independent FMAs; return the number of floating-point operations."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef float result
    with nogil:
        done = frnn_probe_fma(table, rounds, &result)
    return done


def probe_read(str isa, const float[::1] values, int repeats) -> None:
    """Read an array `repeats` times, as the steps of a pass read their weights."""
    if not values.shape[0]:
        raise ValueError("values: expected at least one, got none")
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
    """The packed weights of a stack of layers. Any number of threads may run it at once.

    Whatever the arguments, C reads and writes inside of the arrays: their types and shapes are
    checked here, against what the stack was made for.
    """
    cdef frnn_stack *stack
    cdef Lease lease
    cdef Block block  # of the lease
    cdef readonly size_t nbytes
    cdef readonly str isa
    cdef readonly bint training
    cdef Py_ssize_t inputs, hidden, proj, outputs, directions, state_rows
    cdef Py_ssize_t gate_rows, c_size  # c_size: 0 if the cell has no c

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
        self.inputs, self.hidden, self.proj = input_size, hidden_size, proj_size
        self.outputs = proj_size or hidden_size
        self.directions, self.state_rows = 1 + bidirectional, num_layers * (1 + bidirectional)
        self.gate_rows = <Py_ssize_t> frnn_stack_gates(self.stack) * hidden_size
        self.c_size = <Py_ssize_t> (frnn_stack_states(self.stack) - 1) * hidden_size

    cdef void weight_shape(self, Py_ssize_t layer, int tensor, Py_ssize_t *rows,
                           Py_ssize_t *columns) noexcept:
        """The shape of weight_ih, weight_hh, bias_ih, bias_hh or weight_hr; columns 0: a vector."""
        rows[0] = self.gate_rows if tensor < 4 else self.proj
        columns[0] = 0
        if tensor == 0:
            columns[0] = self.directions * self.outputs if layer > 0 else self.inputs
        elif tensor == 1:
            columns[0] = self.outputs
        elif tensor == 4:
            columns[0] = self.hidden

    def set_weights(self, int layer, int direction, weight_ih, weight_hh, bias_ih, bias_hh,
                    weight_hr) -> None:
        """Pack copies of the weights of one layer and direction, C-contiguous float32 arrays.

        The biases may be None, weight_hr must be without a projection.
        """
        cdef Py_buffer views[5]
        cdef frnn_weights weights
        memset(views, 0, sizeof(views))
        try:
            given = (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
            for tensor in range(5):
                self.open_weight(&views[tensor], given[tensor], layer, tensor, PyBUF_C_CONTIGUOUS)
            weights.weight_ih = <const float *> views[0].buf
            weights.weight_hh = <const float *> views[1].buf
            weights.bias_ih = <const float *> views[2].buf
            weights.bias_hh = <const float *> views[3].buf
            weights.weight_hr = <const float *> views[4].buf
            with nogil:
                status = frnn_stack_set_weights(self.stack, layer, direction, &weights)
            check(status)
        finally:
            for tensor in range(5):
                PyBuffer_Release(&views[tensor])

    cdef int open_weight(self, Py_buffer *view, object array, Py_ssize_t layer, int tensor,
                         int flags) except -1:
        """Open a weight, or the gradient of one, that must have its shape; None: absent."""
        cdef Py_ssize_t rows, columns
        self.weight_shape(layer, tensor, &rows, &columns)
        open_optional(view, array, TENSORS[tensor], 2 if columns else 1, flags)
        if array is not None and (view.shape[0] != rows or (columns and view.shape[1] != columns)):
            wanted = f"({rows}, {columns})" if columns else f"({rows},)"
            raise ValueError(f"{TENSORS[tensor]}: expected shape {wanted}, got {array.shape}")
        if not in_floats(view):
            raise ValueError(f"{TENSORS[tensor]}: expected aligned memory, got other")
        return 0

    def forward(self, x, y, h0, c0, hn, cn, lengths, Tape tape=None) -> bool:
        """Run one pass over float32 arrays; return False if x or a state cannot be read in place.

        x (T, B, I), y (T, B, directions * R): contiguous rows. h0, hn (layers * directions, B, R),
        c0, cn (.., B, H), lengths (B,): C-contiguous, or None; y, hn and cn aligned. tape: a new
        one of this stack, to record the pass. ValueError for others.
        """
        cdef Py_buffer views[8]
        cdef frnn_call call
        cdef Workspace workspace = self.block.spare or Workspace()
        self.block.spare = None
        memset(views, 0, sizeof(views))
        try:
            open_floats(&views[0], x, "x", 3, PyBUF_STRIDES)
            open_floats(&views[1], y, "y", 3, PyBUF_STRIDES | PyBUF_WRITABLE)
            open_optional(&views[2], h0, "h0", 3, PyBUF_C_CONTIGUOUS)
            open_optional(&views[3], c0, "c0", 3, PyBUF_C_CONTIGUOUS)
            open_optional(&views[4], hn, "hn", 3, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            open_optional(&views[5], cn, "cn", 3, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            counts = open_lengths(&views[6], lengths)
            if not fits(views, self.inputs, self.c_size, self.outputs, self.directions,
                        self.state_rows):
                raise ValueError("expected arrays of the sizes of the packed stack, got others")
            if not (rows_in_place(&views[0]) and in_floats(&views[2]) and in_floats(&views[3])):
                return False
            if not (rows_in_place(&views[1]) and in_floats(&views[4]) and in_floats(&views[5])):
                raise ValueError("y, hn, cn: expected aligned memory and contiguous rows")
            point(&call, views)
            if tape is not None:
                tape.begin(self, &views[7], &call)
            workspace.forward(self.stack, &call)
            if tape is not None:
                tape.keep(&call, x, counts)
            return True
        finally:
            for i in range(8):
                PyBuffer_Release(&views[i])
            self.block.spare = workspace

    def plan(self, size_t steps, size_t batch) -> dict:
        """Return the plan of a pass of this size with the current threads; see frnn_plan."""
        cdef frnn_plan found
        cdef size_t needed = make_plan(self.stack, steps, batch, threads(), False, &found)
        return found | {"workspace": needed}


include "_stepper.pxi"
include "_tape.pxi"
include "_layers.pxi"
include "_rows.pxi"
include "_functions.pxi"
