# SPDX-License-Identifier: MIT
"""Part of _core.pyx: the layers with packed weights around a stack."""

from cpython.exc cimport PyErr_CheckSignals

# Multiply-adds of a dense layer between two looks at signals: 10 to 20 ms of one core.
cdef size_t LONG_PRODUCT = 1 << 28


cdef class Pair:
    """The open buffers of one call, x to read and y to write, both float32. Must be closed."""
    cdef Py_buffer x, y  # zeroed by Cython: releasing one that is not open does nothing

    cdef int open(self, object x, object y, int ndim, bint whole_rows) except -1:
        """Open both; whole_rows: their last axis must be contiguous."""
        open_floats(&self.x, x, "x", ndim, PyBUF_STRIDES)
        open_floats(&self.y, y, "y", ndim, PyBUF_STRIDES | PyBUF_WRITABLE)
        if whole_rows and not (rows_in_place(&self.x) and rows_in_place(&self.y)):
            raise ValueError("x, y: expected a contiguous last axis, got others")
        if not (in_floats(&self.x) and in_floats(&self.y)):
            raise ValueError("x, y: expected aligned float32, got others")
        return 0

    cdef int has(self, Py_ssize_t x_size, Py_ssize_t y_size) except -1:
        """Check that x is [rows][x_size] and y is [rows][y_size]."""
        if self.x.shape[1] != x_size or self.y.shape[1] != y_size or (
                self.x.shape[0] != self.y.shape[0]):
            raise ValueError(
                f"expected x of shape (N, {x_size}) and y of shape (N, {y_size}), got "
                f"({self.x.shape[0]}, {self.x.shape[1]}) and "
                f"({self.y.shape[0]}, {self.y.shape[1]})")
        return 0

    cdef void point(self, frnn_rows *rows) noexcept:
        rows.rows, rows.size = <size_t> self.x.shape[0], <size_t> self.x.shape[1]
        rows.x, rows.x_row = <const float *> self.x.buf, self.x.strides[0] // 4
        rows.y, rows.y_row = <float *> self.y.buf, self.y.strides[0] // 4

    cdef void close(self) noexcept:
        PyBuffer_Release(&self.x)
        PyBuffer_Release(&self.y)


cdef int check_bias(const float[::1] bias, int outputs) except -1:
    if bias.shape[0] != outputs:
        raise ValueError(f"bias: expected ({outputs},), got ({bias.shape[0]},)")
    return 0


cdef class Dense:
    """The packed weights of y = W x + b. Any number of threads may run it at once."""
    cdef frnn_dense *dense
    cdef Lease lease
    cdef readonly size_t nbytes
    cdef readonly str isa
    cdef readonly int inputs, outputs

    def __cinit__(self, int inputs, int outputs, str isa, Spare home=None):
        cdef const frnn_isa *table = find_isa(isa)
        check(frnn_dense_size(inputs, outputs, table, &self.nbytes))
        self.lease = Lease(home or Spare(), self.nbytes, (Dense, inputs, outputs, isa))
        cdef Block block = self.lease.block
        if block.contents is NULL:
            check(frnn_dense_init(&self.dense, inputs, outputs, table, block.memory, self.nbytes))
            block.contents = self.dense
        self.dense = <frnn_dense *> block.contents
        self.isa, self.inputs, self.outputs = isa, inputs, outputs

    def set_weights(self, const float[:, ::1] weight, const float[::1] bias or None) -> None:
        """Pack copies of weight (outputs, inputs) and bias (outputs,); bias None: zeros."""
        if weight.shape[0] != self.outputs or weight.shape[1] != self.inputs:
            raise ValueError(f"weight: expected ({self.outputs}, {self.inputs}), got "
                             f"({weight.shape[0]}, {weight.shape[1]})")
        cdef const float *added = NULL
        if bias is not None:
            check_bias(bias, self.outputs)
            added = &bias[0]
        with nogil:
            status = frnn_dense_set_weights(self.dense, &weight[0, 0], added)
        check(status)

    def run(self, x, y) -> None:
        """Compute y (N, outputs) from x (N, inputs): float32 with contiguous rows."""
        cdef Pair pair = Pair()
        cdef frnn_rows rows
        cdef size_t left
        try:
            pair.open(x, y, 2, True)
            pair.has(self.inputs, self.outputs)
            pair.point(&rows)
            left = first_part(&rows, LONG_PRODUCT // (<size_t> self.inputs * self.outputs))
            self.run_rows(&rows)
            while next_part(&rows, &left):
                self.run_rows(&rows)
        finally:
            pair.close()

    cdef int run_rows(self, const frnn_rows *rows) except -1:
        cdef int width = threads()
        cdef const frnn_executor *executor = frnn_pool_executor()
        with nogil:
            status = frnn_dense_run(self.dense, rows.rows, rows.x, rows.x_row, rows.y,
                                    rows.y_row, executor, width)
        return check(status)


cdef class Conv1d:
    """The packed weights of a convolution over time. Any number of threads may run it at once."""
    cdef frnn_conv1d *conv
    cdef frnn_conv1d_config config
    cdef size_t depth  # of the product of one output
    cdef Lease lease
    cdef readonly size_t nbytes
    cdef readonly str isa

    def __cinit__(self, int in_channels, int out_channels, int kernel_size, int stride,
                  int padding_left, int padding_right, int dilation, int groups, str isa,
                  Spare home=None):
        cdef const frnn_isa *table = find_isa(isa)
        self.config = frnn_conv1d_config(in_channels, out_channels, kernel_size, stride,
                                         padding_left, padding_right, dilation, groups)
        check(frnn_conv1d_size(&self.config, table, &self.nbytes))
        self.lease = Lease(home or Spare(), self.nbytes, (
            Conv1d, in_channels, out_channels, kernel_size, stride, padding_left, padding_right,
            dilation, groups, isa))
        cdef Block block = self.lease.block
        if block.contents is NULL:
            check(frnn_conv1d_init(&self.conv, &self.config, table, block.memory, self.nbytes))
            block.contents = self.conv
        self.conv = <frnn_conv1d *> block.contents
        self.depth = <size_t> kernel_size * <size_t> (in_channels // groups)
        self.isa = isa

    def set_weights(self, const float[:, :, ::1] weight, const float[::1] bias or None) -> None:
        """Pack copies of weight (out_channels, in_channels / groups, kernel_size) and bias."""
        cdef int channels = self.config.in_channels // self.config.groups
        if (weight.shape[0] != self.config.out_channels or weight.shape[1] != channels
                or weight.shape[2] != self.config.kernel_size):
            raise ValueError(
                f"weight: expected ({self.config.out_channels}, {channels}, "
                f"{self.config.kernel_size}), got ({weight.shape[0]}, {weight.shape[1]}, "
                f"{weight.shape[2]})")
        cdef const float *added = NULL
        if bias is not None:
            check_bias(bias, self.config.out_channels)
            added = &bias[0]
        with nogil:
            status = frnn_conv1d_set_weights(self.conv, &weight[0, 0, 0], added)
        check(status)

    def steps(self, size_t steps) -> int:
        """Return the steps of y for `steps` of x; 0 if padded x is shorter than the kernel."""
        return frnn_conv1d_steps(self.conv, steps)

    def run(self, x, y) -> None:
        """Compute y (B, out_channels, steps(T)) of x (B, in_channels, T); any strides."""
        cdef Pair pair = Pair()
        cdef Block block = self.lease.block
        cdef Workspace workspace = block.spare or Workspace()
        cdef frnn_conv1d_call call
        cdef size_t needed = 0
        cdef double next_look
        block.spare = None
        try:
            pair.open(x, y, 3, False)
            self.fill(&call, &pair.x, &pair.y)
            check(frnn_conv1d_workspace_size(self.conv, call.width, &needed))
            workspace.reserve(needed)
            if <double> (pair.y.len // 4) * <double> self.depth > <double> LONG_PRODUCT:
                next_look = monotonic() + LOOK_INTERVAL
                call.stop, call.stop_context = answer_signals, &next_look
            with nogil:
                status = frnn_conv1d_run(self.conv, &call, workspace.memory, workspace.bytes)
            end_of_pass(status)
        finally:
            pair.close()
            block.spare = workspace

    cdef int fill(self, frnn_conv1d_call *call, const Py_buffer *x, const Py_buffer *y) except -1:
        cdef Py_ssize_t steps = <Py_ssize_t> frnn_conv1d_steps(self.conv, <size_t> x.shape[2])
        if (x.shape[1] != self.config.in_channels or y.shape[0] != x.shape[0]
                or y.shape[1] != self.config.out_channels or y.shape[2] != steps):
            raise ValueError(
                f"expected x (B, {self.config.in_channels}, T) and y (B, "
                f"{self.config.out_channels}, {steps}), got ({x.shape[0]}, {x.shape[1]}, "
                f"{x.shape[2]}) and ({y.shape[0]}, {y.shape[1]}, {y.shape[2]})")
        call.batch, call.steps = <size_t> x.shape[0], <size_t> x.shape[2]
        call.x, call.y = <const float *> x.buf, <float *> y.buf
        call.x_row, call.x_channel = x.strides[0] // 4, x.strides[1] // 4
        call.y_row, call.y_channel = y.strides[0] // 4, y.strides[1] // 4
        call.x_step, call.y_step = x.strides[2] // 4, y.strides[2] // 4
        call.executor, call.width = frnn_pool_executor(), threads()
        call.stop = NULL
        return 0
