# SPDX-License-Identifier: MIT
"""The C library as Python objects: memory, buffers, the GIL, and nothing else."""
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False

from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)

from libc.string cimport memset

import numpy

CELLS = {
    "rnn_tanh": FRNN_RNN_TANH,
    "rnn_relu": FRNN_RNN_RELU,
    "gru": FRNN_GRU,
    "gru_reset_before": FRNN_GRU_RESET_BEFORE,
    "lstm": FRNN_LSTM,
}
VERSION = FRNN_VERSION.decode()
COMPILER = FRNN_COMPILER.decode()

cdef object empty = numpy.empty
cdef object float32 = numpy.dtype(numpy.float32)


cdef int check(frnn_status status) except -1:
    if status == FRNN_OK:
        return 0
    raise ValueError(frnn_status_text(status).decode())


cdef const frnn_isa *find_isa(str name) except NULL:
    cdef bytes encoded = name.encode()
    cdef const frnn_isa *isa = frnn_isa_find(encoded)
    if isa is NULL:
        raise ValueError(f"isa: expected one of {isas()}, which this machine can run, got {name!r}")
    return isa


def isas() -> list:
    """Names of the instruction sets that this machine can run, best first."""
    names = []
    while frnn_isa_at(<int> len(names)) is not NULL:
        names.append(frnn_isa_name(frnn_isa_at(<int> len(names))).decode())
    return names


def sigmoid(str isa, const float[::1] x, float[::1] y) -> None:
    """y = sigmoid(x) as the kernels of an instruction set compute it."""
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"y: expected {x.shape[0]} values, got {y.shape[0]}")
    if x.shape[0]:
        frnn_sigmoid(find_isa(isa), &y[0], &x[0], <size_t> x.shape[0])


def tanh(str isa, const float[::1] x, float[::1] y) -> None:
    """y = tanh(x) as the kernels of an instruction set compute it."""
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"y: expected {x.shape[0]} values, got {y.shape[0]}")
    if x.shape[0]:
        frnn_tanh(find_isa(isa), &y[0], &x[0], <size_t> x.shape[0])


def probe_fma(str isa, size_t rounds) -> float:
    """Do `rounds` rounds of independent FMAs; returns how many floating-point operations."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef float result
    with nogil:
        done = frnn_probe_fma(table, rounds, &result)
    return done


def probe_read(str isa, const float[::1] values, int repeats) -> None:
    """Read an array `repeats` times, as steps read their weights."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef float result
    with nogil:
        for _ in range(repeats):
            frnn_probe_read(table, &values[0], <size_t> values.shape[0], &result)


cdef class Workspace:
    """Memory for one pass at a time; grows when a pass needs more."""
    cdef void *memory
    cdef size_t bytes

    def __dealloc__(self):
        frnn_memory_free(self.memory)

    cdef int grow(self, const frnn_model *model, size_t steps, size_t batch) except -1:
        cdef size_t needed = 0
        check(frnn_workspace_size(model, steps, batch, &needed))
        if needed > self.bytes:
            frnn_memory_free(self.memory)
            self.bytes = 0
            self.memory = frnn_memory_allocate(needed)
            if self.memory is NULL:
                raise MemoryError(f"no memory for a workspace of {needed} bytes")
            self.bytes = needed
        return 0


cdef class Model:
    """Packed weights of a stack of layers; any number of threads may run it."""
    cdef frnn_model *model
    cdef void *memory
    cdef readonly size_t nbytes
    cdef readonly str isa
    cdef Py_ssize_t inputs, hidden, outputs, directions, state_rows
    cdef Workspace spare  # of the last call, for the next one

    def __cinit__(self, str cell, int input_size, int hidden_size, int num_layers,
                  bint bidirectional, int proj_size, str isa):
        cdef frnn_config config = frnn_config(
            CELLS[cell], input_size, hidden_size, num_layers, bidirectional, proj_size)
        cdef const frnn_isa *table = find_isa(isa)
        check(frnn_model_size(&config, table, &self.nbytes))
        self.memory = frnn_memory_allocate(self.nbytes)
        if self.memory is NULL:
            raise MemoryError(f"no memory for a model of {self.nbytes} bytes")
        check(frnn_model_init(&self.model, &config, table, self.memory, self.nbytes))
        self.isa = isa
        self.inputs, self.hidden, self.outputs = input_size, hidden_size, proj_size or hidden_size
        self.directions = 2 if bidirectional else 1
        self.state_rows = num_layers * self.directions

    def __dealloc__(self):
        frnn_memory_free(self.memory)

    def set_weights(self, int layer, int direction, const float[:, ::1] weight_ih,
                    const float[:, ::1] weight_hh, const float[::1] bias_ih,
                    const float[::1] bias_hh, const float[:, ::1] weight_hr) -> None:
        """Packs one layer and direction; shapes are the caller's to check."""
        cdef frnn_weights weights
        weights.weight_ih, weights.weight_hh = &weight_ih[0, 0], &weight_hh[0, 0]
        weights.bias_ih = weights.bias_hh = weights.weight_hr = NULL
        if bias_ih is not None:
            weights.bias_ih, weights.bias_hh = &bias_ih[0], &bias_hh[0]
        if weight_hr is not None:
            weights.weight_hr = &weight_hr[0, 0]
        with nogil:
            status = frnn_model_set_weights(self.model, layer, direction, &weights)
        check(status)

    def forward(self, x, y, h0, c0, hn, cn, lengths) -> bool:
        """One pass over float32 arrays, time-major; False when x cannot be read in place.

        x and y (T, B, size) with contiguous rows, the rest contiguous; None where there is none.
        Shapes and dtypes are the caller's to check.
        """
        cdef Py_buffer views[7]
        cdef frnn_call call
        cdef int held = 0
        cdef Workspace workspace = self.spare
        self.spare = None
        if workspace is None:
            workspace = Workspace()
        memset(views, 0, sizeof(views))
        try:
            for array in (x, y, h0, c0, hn, cn, lengths):
                if array is not None:
                    PyObject_GetBuffer(array, &views[held], PyBUF_STRIDES)
                held += 1
            self.check_shapes(views)
            if not rows_in_place(&views[0]):
                return False
            call.steps, call.batch = <size_t> views[0].shape[0], <size_t> views[0].shape[1]
            call.x = <const float *> views[0].buf
            call.x_step, call.x_row = views[0].strides[0] // 4, views[0].strides[1] // 4
            call.y = <float *> views[1].buf
            call.y_step, call.y_row = views[1].strides[0] // 4, views[1].strides[1] // 4
            call.h0, call.c0 = <const float *> views[2].buf, <const float *> views[3].buf
            call.hn, call.cn = <float *> views[4].buf, <float *> views[5].buf
            call.lengths = <const size_t *> views[6].buf
            workspace.grow(self.model, call.steps, call.batch)
            with nogil:
                status = frnn_forward(self.model, &call, workspace.memory, workspace.bytes)
            check(status)
            return True
        finally:
            for i in range(held):
                PyBuffer_Release(&views[i])
            self.spare = workspace


    cdef int check_shapes(self, const Py_buffer *views) except -1:
        """The last guard of memory: everything as large as the packed model takes it to be."""
        cdef Py_ssize_t steps = views[0].shape[0], batch = views[0].shape[1]
        fits = (has_shape(&views[0], steps, batch, self.inputs)
                and has_shape(&views[1], steps, batch, self.outputs * self.directions)
                and has_shape(&views[2], self.state_rows, batch, self.outputs)
                and has_shape(&views[3], self.state_rows, batch, self.hidden)
                and has_shape(&views[4], self.state_rows, batch, self.outputs)
                and has_shape(&views[5], self.state_rows, batch, self.hidden)
                and (views[6].buf is NULL or views[6].shape[0] == batch))
        if not fits:
            raise ValueError("the arrays do not have the sizes of the packed model")
        return 0


cdef bint has_shape(const Py_buffer *view, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c) noexcept:
    return view.buf is NULL or (view.ndim == 3 and view.shape[0] == a and view.shape[1] == b
                                and view.shape[2] == c)


cdef bint rows_in_place(const Py_buffer *x) noexcept:
    """Whether the rows of x, its last axis, are aligned floats side by side."""
    cdef int last = x.ndim - 1
    for i in range(last):
        if x.strides[i] % 4:
            return False
    return <size_t> x.buf % 4 == 0 and (x.shape[last] == 1 or x.strides[last] == 4)


cdef class Stepper:
    """Streams of one layer: their state, and a step without allocation. See streams.Stream."""
    cdef Model model
    cdef Workspace workspace
    cdef frnn_call call
    cdef Py_ssize_t outputs
    cdef bint busy
    cdef float[:, :, ::1] h_view, c_view  # keep the arrays where they are
    cdef readonly Py_ssize_t inputs
    cdef readonly object _h, _c

    def __cinit__(self, Model model, h, c, Py_ssize_t inputs):
        self.model, self._h, self._c, self.h_view, self.c_view = model, h, c, h, c
        self.inputs, self.outputs = inputs, self.h_view.shape[2]
        self.workspace = Workspace()
        self.call.steps, self.call.batch = 1, <size_t> self.h_view.shape[1]
        self.workspace.grow(model.model, 1, self.call.batch)
        self.call.h0 = self.call.hn = &self.h_view[0, 0, 0]
        self.call.c0 = self.call.cn = NULL
        if c is not None:
            self.call.c0 = self.call.cn = &self.c_view[0, 0, 0]

    cdef bint take(self, object rows, Py_buffer *view, Py_ssize_t width, int flags):
        """Whether rows is a float32 buffer [batch][width] with contiguous rows; then view holds it."""
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

    def step(self, x, out=None):
        """Advance every stream by one step: x (B, I) -> y (B, R), into `out` where it is given."""
        cdef Py_buffer x_view, y_view
        y = empty((self.call.batch, self.outputs), float32) if out is None else out
        if not self.take(x, &x_view, self.inputs, 0):
            x = self._copied(x)
            if not self.take(x, &x_view, self.inputs, 0):
                raise ValueError("x: expected rows of float32 that can be read in place")
        if not self.take(y, &y_view, self.outputs, PyBUF_WRITABLE):
            PyBuffer_Release(&x_view)
            raise ValueError(self._expected_out(out))
        try:
            if self.busy:
                raise RuntimeError("step: a stream belongs to one thread at a time, got another")
            if overlap(&x_view, &y_view):
                raise ValueError("out: expected memory of its own, or x itself, got a part of x")
            self.call.x, self.call.x_row = <const float *> x_view.buf, x_view.strides[0] // 4
            self.call.y, self.call.y_row = <float *> y_view.buf, y_view.strides[0] // 4
            self.busy = True
            with nogil:
                status = frnn_forward(self.model.model, &self.call, self.workspace.memory,
                                      self.workspace.bytes)
            self.busy = False
        finally:
            PyBuffer_Release(&x_view)
            PyBuffer_Release(&y_view)
        check(status)
        return y


cdef bint overlap(const Py_buffer *x, const Py_buffer *y) noexcept:
    """Whether a step would read rows of x after it wrote them as y."""
    cdef Py_ssize_t rows = x.shape[0] - 1
    cdef Py_ssize_t x_first = <Py_ssize_t> x.buf, y_first = <Py_ssize_t> y.buf
    cdef Py_ssize_t x_last = x_first + rows * x.strides[0]
    cdef Py_ssize_t y_last = y_first + rows * y.strides[0]
    if x_first == y_first and x_last == y_last and y.shape[1] <= x.shape[1]:
        return False
    return (min(x_first, x_last) < max(y_first, y_last) + 4 * y.shape[1]
            and min(y_first, y_last) < max(x_first, x_last) + 4 * x.shape[1])
