# SPDX-License-Identifier: MIT
"""Part of _core.pyx: functions of whole rows and of sequences."""


cdef size_t first_part(frnn_rows *rows, size_t most):
    """Leave only the first `most` rows, at least one; return how many come after them."""
    count = rows.rows
    rows.rows = min(count, max(<size_t> 1, most))
    return count - rows.rows


cdef bint next_part(frnn_rows *rows, size_t *left) except -1:
    """Answer signals and move on to the next rows; False if none are left."""
    if not left[0]:
        return False
    PyErr_CheckSignals()
    rows.x += <Py_ssize_t> rows.rows * rows.x_row
    rows.y += <Py_ssize_t> rows.rows * rows.y_row
    rows.rows = min(rows.rows, left[0])
    left[0] -= rows.rows
    return True


cdef size_t long_rows(const frnn_rows *rows):
    """The rows between two looks at signals."""
    return LONG_VALUES // max(<size_t> 1, rows.size)


cdef int each_row(frnn_row_function *function, str isa, object x, object y) except -1:
    cdef const frnn_isa *table = find_isa(isa)
    cdef Pair pair = Pair()
    cdef frnn_rows rows
    cdef size_t left
    try:
        pair.open(x, y, 2, True)
        pair.has(pair.x.shape[1], pair.x.shape[1])
        pair.point(&rows)
        left = first_part(&rows, long_rows(&rows))
        while True:
            with nogil:
                status = function(table, &rows)
            check(status)
            if not next_part(&rows, &left):
                return 0
    finally:
        pair.close()


def softmax(str isa, x, y) -> None:
    """Compute the softmax of each row of x (N, size); y may be x."""
    each_row(frnn_softmax, isa, x, y)


def log_softmax(str isa, x, y) -> None:
    """Compute the logarithm of the softmax of each row of x (N, size); y may be x."""
    each_row(frnn_log_softmax, isa, x, y)


def layer_norm(str isa, x, y, const float[::1] weight or None, const float[::1] bias or None,
               float eps) -> None:
    """Normalize each row of x (N, size), times weight, plus bias, or None; y may be x."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef Pair pair = Pair()
    cdef frnn_rows rows
    cdef size_t left
    cdef const float *factor = NULL
    cdef const float *term = NULL
    try:
        pair.open(x, y, 2, True)
        pair.has(pair.x.shape[1], pair.x.shape[1])
        pair.point(&rows)
        if (weight is not None and weight.shape[0] != pair.x.shape[1]) or (
                bias is not None and bias.shape[0] != pair.x.shape[1]):
            raise ValueError(f"weight, bias: expected {pair.x.shape[1]} values each")
        if weight is not None and rows.size:
            factor = &weight[0]
        if bias is not None and rows.size:
            term = &bias[0]
        left = first_part(&rows, long_rows(&rows))
        while True:
            with nogil:
                status = frnn_layer_norm(table, &rows, factor, term, eps)
            check(status)
            if not next_part(&rows, &left):
                return
    finally:
        pair.close()


def batch_norm(str isa, x, y, const float[::1] running_mean or None,
               const float[::1] running_var or None, const float[::1] weight or None,
               const float[::1] bias or None, double eps) -> None:
    """Normalize each row of x (N, size) by statistics and weights (size,), or None; y may be x."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef Pair pair = Pair()
    cdef frnn_rows rows
    cdef size_t left
    cdef frnn_batch_norm_call call
    call.running_mean = call.running_var = call.weight = call.bias = NULL
    try:
        pair.open(x, y, 2, True)
        pair.has(pair.x.shape[1], pair.x.shape[1])
        pair.point(&rows)
        if running_mean is not None:
            check_count(running_mean.shape[0], pair.x.shape[1], "running_mean")
        if running_var is not None:
            check_count(running_var.shape[0], pair.x.shape[1], "running_var")
        if weight is not None:
            check_count(weight.shape[0], pair.x.shape[1], "weight")
        if bias is not None:
            check_count(bias.shape[0], pair.x.shape[1], "bias")
        if rows.size:
            if running_mean is not None:
                call.running_mean = &running_mean[0]
            if running_var is not None:
                call.running_var = &running_var[0]
            if weight is not None:
                call.weight = &weight[0]
            if bias is not None:
                call.bias = &bias[0]
            call.eps = eps
            left = first_part(&rows, long_rows(&rows))
            while True:
                with nogil:
                    status = frnn_batch_norm(table, &rows, &call)
                check(status)
                if not next_part(&rows, &left):
                    return
    finally:
        pair.close()


cdef int pool(str isa, object x, object lengths, object weights, object y,
              bint is_sum) except -1:
    """The sum or mean over steps, or the weighted sum if there are weights, which hold scores."""
    cdef const frnn_isa *table = find_isa(isa)
    cdef Py_buffer views[4]
    cdef frnn_sequences s
    cdef frnn_status status
    cdef int has_weights = weights is not None
    memset(views, 0, sizeof(views))
    try:
        open_floats(&views[0], x, "x", 3, PyBUF_STRIDES)
        open_floats(&views[1], y, "y", 2, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        counts = open_lengths(&views[2], lengths)
        s.steps, s.batch = <size_t> views[0].shape[0], <size_t> views[0].shape[1]
        s.size = <size_t> views[0].shape[2]
        if not inputs_fit(&views[0], &views[2], views[1].shape[1]) or (
                views[1].shape[0] != views[0].shape[1]):
            raise ValueError(f"y, lengths: expected a batch of {s.batch} and {s.size} features")
        if not (rows_in_place(&views[0]) and in_floats(&views[1])):
            raise ValueError("x, y: expected aligned float32 with a contiguous last axis")
        if has_weights:
            open_floats(&views[3], weights, "weights", 2, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            if (views[3].shape[0] != views[0].shape[1] or views[3].shape[1] != views[0].shape[0]
                    or not in_floats(&views[3])):
                raise ValueError(f"weights: expected aligned float32 ({s.batch}, {s.steps})")
        s.x, s.y = <const float *> views[0].buf, <float *> views[1].buf
        s.x_step, s.x_row = views[0].strides[0] // 4, views[0].strides[1] // 4
        s.y_row, s.lengths = views[1].shape[1], <const size_t *> views[2].buf
        with nogil:
            if has_weights:
                status = frnn_attention_pool(table, &s, <float *> views[3].buf)
            elif is_sum:
                status = frnn_pool_sum(table, &s)
            else:
                status = frnn_pool_mean(table, &s)
        return check(status)
    finally:
        for i in range(4):
            PyBuffer_Release(&views[i])


def pool_mean(str isa, x, lengths, y) -> None:
    """Compute y (B, size), the mean of x (T, B, size) over lengths[b] steps, or over all."""
    pool(isa, x, lengths, None, y, False)


def pool_sum(str isa, x, lengths, y) -> None:
    """Compute y (B, size), the sum of x (T, B, size) over lengths[b] steps, or over all."""
    pool(isa, x, lengths, None, y, True)


def attention_pool(str isa, x, lengths, weights not None, y) -> None:
    """Compute y (B, size), the sum of x (T, B, size) weighted by the softmax over steps of scores.

    weights (B, T) holds the scores, and the weights afterwards.
    """
    pool(isa, x, lengths, weights, y, False)
