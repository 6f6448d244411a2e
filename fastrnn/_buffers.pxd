# SPDX-License-Identifier: MIT
"""Checks of buffers that _core.pyx makes before it passes their memory to C."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from libc.string cimport strchr

from ._core cimport frnn_call, frnn_gradients


cdef inline bint has_format(const Py_buffer *view, const char *letters) noexcept:
    """Whether the elements are native and of a type that one of the letters stands for."""
    cdef const char *found = view.format
    if found is NULL:
        return False
    if found[0] == c"=":  # as numpy has it where the elements are not aligned
        found += 1
    return found[0] != 0 and found[1] == 0 and strchr(letters, found[0]) is not NULL


cdef inline int open_floats(Py_buffer *view, object array, str name, int ndim,
                            int flags) except -1:
    """Open a float32 buffer; ValueError or TypeError for others.

    Every array of floats that C reads or writes is opened here. Whether it is aligned, the caller
    asks by in_floats() or rows_in_place().
    """
    PyObject_GetBuffer(array, view, PyBUF_FORMAT | flags)
    if view.ndim != ndim or not has_format(view, b"f"):
        found = "?" if view.format is NULL else view.format.decode()
        message = (f"{name}: expected float32 with {ndim} axes, got {view.ndim} axes of format "
                   f"{found!r}")
        PyBuffer_Release(view)
        raise ValueError(message)
    return 0


cdef inline int open_optional(Py_buffer *view, object array, str name, int ndim,
                              int flags) except -1:
    """The same, or nothing for None: the view must be zeroed."""
    if array is None:
        return 0
    return open_floats(view, array, name, ndim, flags)


cdef inline object open_lengths(Py_buffer *view, object lengths):
    """Open a copy of lengths, a vector of size_t, that nobody can change during a pass; or None."""
    if lengths is None:
        return None
    PyObject_GetBuffer(lengths, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
    if view.ndim != 1 or view.itemsize != sizeof(size_t) or not has_format(view, b"LQN"):
        PyBuffer_Release(view)
        raise ValueError("lengths: expected a vector of numpy.uintp, got something else")
    copied = PyBytes_FromStringAndSize(<char *> view.buf, view.len)
    view.buf = PyBytes_AS_STRING(copied)
    return copied


cdef inline void point(frnn_call *call, const Py_buffer *views) noexcept:
    """Point a call at the views of x, y, h0, c0, hn, cn and lengths."""
    point_inputs(call, &views[0], &views[6])
    call.y = <float *> views[1].buf
    call.y_step, call.y_row = views[1].strides[0] // 4, views[1].strides[1] // 4
    call.h0, call.c0 = <const float *> views[2].buf, <const float *> views[3].buf
    call.hn, call.cn = <float *> views[4].buf, <float *> views[5].buf
    call.tape, call.tape_bytes, call.dropout = NULL, 0, 0


cdef inline void point_inputs(frnn_call *call, const Py_buffer *x,
                              const Py_buffer *lengths) noexcept:
    """The same for x and lengths, which a backward pass reads too."""
    call.steps, call.batch = <size_t> x.shape[0], <size_t> x.shape[1]
    call.x = <const float *> x.buf
    call.x_step, call.x_row = x.strides[0] // 4, x.strides[1] // 4
    call.lengths = <const size_t *> lengths.buf


cdef inline void point_gradients(frnn_gradients *gradients, const Py_buffer *views) noexcept:
    """Point gradients at the views of dy, dhn, dcn, dx, dh0 and dc0."""
    gradients.dy, gradients.dx = <const float *> views[0].buf, <float *> views[3].buf
    if gradients.dy is not NULL:
        gradients.dy_step, gradients.dy_row = views[0].strides[0] // 4, views[0].strides[1] // 4
    if gradients.dx is not NULL:
        gradients.dx_step, gradients.dx_row = views[3].strides[0] // 4, views[3].strides[1] // 4
    gradients.dhn, gradients.dcn = <const float *> views[1].buf, <const float *> views[2].buf
    gradients.dh0, gradients.dc0 = <float *> views[4].buf, <float *> views[5].buf


cdef inline bint has_shape(const Py_buffer *view, Py_ssize_t a, Py_ssize_t b,
                           Py_ssize_t c) noexcept:
    """Whether a view is [a][b][c] or absent."""
    return view.buf is NULL or (view.ndim == 3 and view.shape[0] == a and view.shape[1] == b
                                and view.shape[2] == c)


cdef inline bint fits(const Py_buffer *views, Py_ssize_t inputs, Py_ssize_t c_size,
                      Py_ssize_t outputs, Py_ssize_t directions, Py_ssize_t states) noexcept:
    """Whether x, y, h0, c0, hn, cn and lengths have the sizes of the stack."""
    cdef Py_ssize_t steps = views[0].shape[0], batch = views[0].shape[1]
    return (has_shape(&views[0], steps, batch, inputs)
            and has_shape(&views[1], steps, batch, outputs * directions)
            and has_shape(&views[2], states, batch, outputs)
            and has_shape(&views[3], states, batch, c_size)
            and has_shape(&views[4], states, batch, outputs)
            and has_shape(&views[5], states, batch, c_size)
            and (views[6].buf is NULL or views[6].shape[0] == batch))


cdef inline bint inputs_fit(const Py_buffer *x, const Py_buffer *lengths,
                            Py_ssize_t inputs) noexcept:
    """The same for x and lengths."""
    return (has_shape(x, x.shape[0], x.shape[1], inputs)
            and (lengths.buf is NULL or lengths.shape[0] == x.shape[1]))


cdef inline bint gradients_fit(const Py_buffer *views, const frnn_call *call, Py_ssize_t inputs,
                               Py_ssize_t c_size, Py_ssize_t outputs, Py_ssize_t directions,
                               Py_ssize_t states) noexcept:
    """The same for dy, dhn, dcn, dx, dh0 and dc0 of a recorded call."""
    cdef Py_ssize_t steps = <Py_ssize_t> call.steps, batch = <Py_ssize_t> call.batch
    return (has_shape(&views[0], steps, batch, outputs * directions)
            and has_shape(&views[1], states, batch, outputs)
            and has_shape(&views[2], states, batch, c_size)
            and has_shape(&views[3], steps, batch, inputs)
            and has_shape(&views[4], states, batch, outputs)
            and has_shape(&views[5], states, batch, c_size))


cdef inline bint in_floats(const Py_buffer *x) noexcept:
    """Whether x is aligned and all its strides are multiples of a float, or x is absent."""
    for i in range(x.ndim):
        if x.strides[i] % 4:
            return False
    return <size_t> x.buf % 4 == 0


cdef inline bint rows_in_place(const Py_buffer *x) noexcept:
    """Whether x is aligned and its last axis contiguous."""
    cdef int last = x.ndim - 1
    for i in range(last):
        if x.strides[i] % 4:
            return False
    return <size_t> x.buf % 4 == 0 and (x.shape[last] == 1 or x.strides[last] == 4)


cdef inline bint rows_are_apart(const Py_buffer *y) noexcept:
    """Whether no row of a matrix shares memory with another one."""
    cdef Py_ssize_t stride = abs(y.strides[0])
    return y.shape[0] <= 1 or stride >= 4 * y.shape[1]


cdef inline bint same_memory(const Py_buffer *x, const frnn_call *call) noexcept:
    """Whether x is still where a call has read it, with the same shape."""
    return (<const float *> x.buf == call.x and <size_t> x.shape[0] == call.steps
            and <size_t> x.shape[1] == call.batch and x.strides[0] // 4 == call.x_step
            and x.strides[1] // 4 == call.x_row)


cdef inline bint overlap(const Py_buffer *x, const Py_buffer *y) noexcept:
    """Whether y shares memory with x in a way that a step cannot handle."""
    cdef Py_ssize_t rows = x.shape[0] - 1
    cdef Py_ssize_t x_first = <Py_ssize_t> x.buf, y_first = <Py_ssize_t> y.buf
    cdef Py_ssize_t x_last = x_first + rows * x.strides[0]
    cdef Py_ssize_t y_last = y_first + rows * y.strides[0]
    if x_first == y_first and x_last == y_last and y.shape[1] <= x.shape[1]:
        return False
    return (min(x_first, x_last) < max(y_first, y_last) + 4 * y.shape[1]
            and min(y_first, y_last) < max(x_first, x_last) + 4 * x.shape[1])
