# SPDX-License-Identifier: MIT
"""Part of _core.pyx: the functions of each value by itself."""

# Values between two looks at signals: some 10 ms of one core.
cdef size_t LONG_VALUES = 1 << 24


cdef dict numbered_functions():
    """The numbers of the elementwise functions by their names."""
    cdef dict found = {}
    while frnn_function_name(&frnn_isa_scalar, <frnn_function> <int> len(found)) is not NULL:
        number = len(found)
        name = frnn_function_name(&frnn_isa_scalar, <frnn_function> <int> number)
        found[name.decode()] = number
    return found


cdef dict function_numbers = numbered_functions()


def functions() -> list:
    """Return the names of the elementwise functions, as "leaky_relu"."""
    return list(function_numbers)


cdef int check_count(Py_ssize_t count, Py_ssize_t expected, str name) except -1:
    if count != expected:
        raise ValueError(f"{name}: expected {expected} values, got {count}")
    return 0


cdef int open_values(Py_buffer *view, object array, str name, int flags) except -1:
    """Open contiguous, aligned float32 of any shape; ValueError or TypeError for others."""
    PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | flags)
    if not (has_format(view, b"f") and in_floats(view)):
        raise ValueError(f"{name}: expected aligned float32, got other values")
    return 0


cdef size_t next_values(size_t done, size_t count) except 0:
    """How many of the values come next; a signal is answered before all but the first."""
    if done:
        PyErr_CheckSignals()
    return min(LONG_VALUES, count - done)


def apply(str isa, str function, x, y, float a=0.0, float b=0.0) -> None:
    """Compute y = function(x), with its parameters a and b (see fastrnn.h); y may be x.

    x and y: C-contiguous float32 with as many values, of any shape.
    """
    cdef const frnn_isa *table = find_isa(isa)
    cdef frnn_function number = <frnn_function> <int> function_numbers[function]
    cdef frnn_parameters parameters = frnn_parameters(a, b)
    cdef Py_buffer views[2]
    cdef size_t done = 0, part
    memset(views, 0, sizeof(views))
    try:
        open_values(&views[0], x, "x", 0)
        open_values(&views[1], y, "y", PyBUF_WRITABLE)
        check_count(views[1].len // 4, views[0].len // 4, "y")
        while done < <size_t> views[0].len // 4:
            part = next_values(done, <size_t> views[0].len // 4)
            with nogil:
                frnn_apply(table, number, parameters, <float *> views[1].buf + done,
                           <const float *> views[0].buf + done, part)
            done += part
    finally:
        for i in range(2):
            PyBuffer_Release(&views[i])


def apply_backward(str isa, str function, x, dy, dx, float a=0.0, float b=0.0) -> None:
    """Compute dx = dy times the derivative of the function at x; dx may be dy or x.

    x, dy and dx: as in `apply`.
    """
    cdef const frnn_isa *table = find_isa(isa)
    cdef frnn_function number = <frnn_function> <int> function_numbers[function]
    cdef frnn_parameters parameters = frnn_parameters(a, b)
    cdef Py_buffer views[3]
    cdef size_t done = 0, part
    memset(views, 0, sizeof(views))
    try:
        open_values(&views[0], x, "x", 0)
        open_values(&views[1], dy, "dy", 0)
        open_values(&views[2], dx, "dx", PyBUF_WRITABLE)
        check_count(views[1].len // 4, views[0].len // 4, "dy")
        check_count(views[2].len // 4, views[0].len // 4, "dx")
        while done < <size_t> views[0].len // 4:
            part = next_values(done, <size_t> views[0].len // 4)
            with nogil:
                frnn_apply_backward(table, number, parameters, <float *> views[2].buf + done,
                                    <const float *> views[1].buf + done,
                                    <const float *> views[0].buf + done, part)
            done += part
    finally:
        for i in range(3):
            PyBuffer_Release(&views[i])
