# SPDX-License-Identifier: MIT
"""Part of _core.pyx: the functions of each value by itself."""


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


def apply(str isa, str function, const float[::1] x, float[::1] y, float a=0.0,
          float b=0.0) -> None:
    """Compute y = function(x), with its parameters a and b (see fastrnn.h); y may be x."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef frnn_function number = <frnn_function> <int> function_numbers[function]
    cdef frnn_parameters parameters = frnn_parameters(a, b)
    check_count(y.shape[0], x.shape[0], "y")
    if x.shape[0]:
        with nogil:
            frnn_apply(table, number, parameters, &y[0], &x[0], <size_t> x.shape[0])


def apply_backward(str isa, str function, const float[::1] x, const float[::1] dy, float[::1] dx,
                   float a=0.0, float b=0.0) -> None:
    """Compute dx = dy times the derivative of the function at x; dx may be dy or x."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef frnn_function number = <frnn_function> <int> function_numbers[function]
    cdef frnn_parameters parameters = frnn_parameters(a, b)
    check_count(dy.shape[0], x.shape[0], "dy")
    check_count(dx.shape[0], x.shape[0], "dx")
    if x.shape[0]:
        with nogil:
            frnn_apply_backward(table, number, parameters, &dx[0], &dy[0], &x[0],
                                <size_t> x.shape[0])
