# SPDX-License-Identifier: MIT
"""The C declarations that _core.pyx uses, from fastrnn.h and src_c/platform."""

ctypedef frnn_status frnn_row_function(const frnn_isa *isa, const frnn_rows *rows) noexcept nogil

from libc.stdint cimport uint64_t

cdef extern from "fastrnn.h" nogil:
    const char *FRNN_VERSION
    ctypedef enum frnn_status:
        FRNN_OK
        FRNN_SMALL_MEMORY
        FRNN_STOPPED
    ctypedef enum frnn_cell:
        FRNN_RNN_TANH
        FRNN_RNN_RELU
        FRNN_GRU
        FRNN_GRU_RESET_BEFORE
        FRNN_LSTM
        FRNN_LSTM_COUPLED
    ctypedef enum frnn_dtype:
        FRNN_FLOAT32
        FRNN_BFLOAT16_WEIGHTS
    ctypedef struct frnn_config:
        frnn_cell cell
        int input_size
        int hidden_size
        int num_layers
        int bidirectional
        int proj_size
        int training
        frnn_dtype dtype
    ctypedef struct frnn_isa:
        pass
    ctypedef struct frnn_stack:
        pass
    ctypedef struct frnn_weights:
        const float *weight_ih
        const float *weight_hh
        const float *bias_ih
        const float *bias_hh
        const float *weight_hr
    ctypedef struct frnn_executor:
        pass
    const int FRNN_MOST_WORKERS
    ctypedef struct frnn_machine:
        int width
        size_t l2_bytes
        size_t l3_bytes
    ctypedef enum frnn_bound:
        FRNN_BOUND_FMA
    ctypedef struct frnn_plan:
        int row_groups
        int direction_teams
        int layer_teams
        int unit_workers
        size_t block_rows
        size_t chunk_steps
        int wake
        double cycles
        double fma_cycles
        frnn_bound bound
    ctypedef struct frnn_call:
        size_t steps
        size_t batch
        const float *x
        Py_ssize_t x_step
        Py_ssize_t x_row
        float *y
        Py_ssize_t y_step
        Py_ssize_t y_row
        const size_t *lengths
        const float *h0
        const float *c0
        float *hn
        float *cn
        const frnn_plan *plan
        const frnn_executor *executor
        void *tape
        size_t tape_bytes
        float dropout
        uint64_t seed
        int (*stop)(void *context) noexcept nogil
        void *stop_context
    ctypedef struct frnn_weight_gradients:
        float *weight_ih
    ctypedef struct frnn_gradients:
        const float *dy
        Py_ssize_t dy_step
        Py_ssize_t dy_row
        const float *dhn
        const float *dcn
        float *dx
        Py_ssize_t dx_step
        Py_ssize_t dx_row
        float *dh0
        float *dc0
        const frnn_weight_gradients *weights
        int accumulate
    const char *frnn_status_text(frnn_status status)
    const frnn_isa *frnn_isa_at(int index)
    const frnn_isa *frnn_isa_find(const char *name)
    const char *frnn_isa_name(const frnn_isa *isa)
    ctypedef enum frnn_function:
        FRNN_RELU
    ctypedef struct frnn_parameters:
        float a
        float b
    const frnn_isa frnn_isa_scalar
    const char *frnn_function_name(const frnn_isa *isa, frnn_function function)
    void frnn_apply(const frnn_isa *isa, frnn_function function, frnn_parameters parameters,
                    float *y, const float *x, size_t count)
    void frnn_apply_backward(const frnn_isa *isa, frnn_function function,
                             frnn_parameters parameters, float *dx, const float *dy,
                             const float *x, size_t count)
    double frnn_probe_fma(const frnn_isa *isa, size_t rounds, float *result)
    void frnn_probe_read(const frnn_isa *isa, const float *values, size_t count, float *result)
    frnn_status frnn_stack_size(const frnn_config *config, const frnn_isa *isa, size_t *bytes)
    frnn_status frnn_stack_init(frnn_stack **stack, const frnn_config *config,
                                const frnn_isa *isa, void *memory, size_t bytes)
    int frnn_stack_gates(const frnn_stack *stack)
    int frnn_stack_states(const frnn_stack *stack)
    frnn_status frnn_stack_set_weights(frnn_stack *stack, int layer, int direction,
                                       const frnn_weights *weights)
    frnn_status frnn_plan_make(const frnn_stack *stack, const frnn_machine *machine,
                               size_t steps, size_t batch, frnn_plan *plan)
    frnn_status frnn_workspace_size(const frnn_stack *stack, size_t steps, size_t batch,
                                    const frnn_plan *plan, size_t *bytes)
    frnn_status frnn_forward(const frnn_stack *stack, const frnn_call *call, void *workspace,
                             size_t bytes)
    frnn_status frnn_tape_size(const frnn_stack *stack, size_t steps, size_t batch, size_t *bytes)
    frnn_status frnn_backward_size(const frnn_stack *stack, size_t steps, size_t batch,
                                   const frnn_plan *plan, size_t *bytes)
    frnn_status frnn_backward(const frnn_stack *stack, const frnn_call *call,
                              const frnn_gradients *gradients, void *workspace, size_t bytes)
    ctypedef struct frnn_dense:
        pass
    frnn_status frnn_dense_size(int inputs, int outputs, const frnn_isa *isa, size_t *bytes)
    frnn_status frnn_dense_init(frnn_dense **dense, int inputs, int outputs, const frnn_isa *isa,
                                void *memory, size_t bytes)
    frnn_status frnn_dense_set_weights(frnn_dense *dense, const float *weight, const float *bias)
    frnn_status frnn_dense_run(const frnn_dense *dense, size_t rows, const float *x,
                               Py_ssize_t x_row, float *y, Py_ssize_t y_row,
                               const frnn_executor *executor, int width)
    ctypedef struct frnn_conv1d_config:
        int in_channels
        int out_channels
        int kernel_size
        int stride
        int padding_left
        int padding_right
        int dilation
        int groups
    ctypedef struct frnn_conv1d:
        pass
    ctypedef struct frnn_conv1d_call:
        size_t steps
        size_t batch
        const float *x
        Py_ssize_t x_step
        Py_ssize_t x_row
        Py_ssize_t x_channel
        float *y
        Py_ssize_t y_step
        Py_ssize_t y_row
        Py_ssize_t y_channel
        const frnn_executor *executor
        int width
        int (*stop)(void *context) noexcept nogil
        void *stop_context
    frnn_status frnn_conv1d_size(const frnn_conv1d_config *config, const frnn_isa *isa,
                                 size_t *bytes)
    frnn_status frnn_conv1d_init(frnn_conv1d **conv, const frnn_conv1d_config *config,
                                 const frnn_isa *isa, void *memory, size_t bytes)
    frnn_status frnn_conv1d_set_weights(frnn_conv1d *conv, const float *weight, const float *bias)
    size_t frnn_conv1d_steps(const frnn_conv1d *conv, size_t steps)
    frnn_status frnn_conv1d_workspace_size(const frnn_conv1d *conv, int width, size_t *bytes)
    frnn_status frnn_conv1d_run(const frnn_conv1d *conv, const frnn_conv1d_call *call,
                                void *workspace, size_t bytes)
    ctypedef struct frnn_rows:
        size_t rows
        size_t size
        const float *x
        Py_ssize_t x_row
        float *y
        Py_ssize_t y_row
    frnn_status frnn_softmax(const frnn_isa *isa, const frnn_rows *rows) noexcept
    frnn_status frnn_log_softmax(const frnn_isa *isa, const frnn_rows *rows) noexcept
    frnn_status frnn_layer_norm(const frnn_isa *isa, const frnn_rows *rows, const float *weight,
                                const float *bias, float eps)
    ctypedef struct frnn_batch_norm_call:
        const float *running_mean
        const float *running_var
        const float *weight
        const float *bias
        double eps
    frnn_status frnn_batch_norm(const frnn_isa *isa, const frnn_rows *rows,
                                const frnn_batch_norm_call *call)
    ctypedef struct frnn_sequences:
        size_t steps
        size_t batch
        size_t size
        const float *x
        Py_ssize_t x_step
        Py_ssize_t x_row
        const size_t *lengths
        float *y
        Py_ssize_t y_row
    frnn_status frnn_pool_mean(const frnn_isa *isa, const frnn_sequences *sequences)
    frnn_status frnn_pool_sum(const frnn_isa *isa, const frnn_sequences *sequences)
    frnn_status frnn_attention_pool(const frnn_isa *isa, const frnn_sequences *sequences,
                                    float *weights)

cdef extern from "../src_c/platform/memory.h" nogil:
    void *frnn_memory_allocate(size_t bytes)
    void frnn_memory_free(void *memory)

cdef extern from "../src_c/platform/pool.h" nogil:
    const frnn_executor *frnn_pool_executor()

cdef extern from *:
    """
    #if defined(__clang__)
    #define FRNN_COMPILER __VERSION__
    #elif defined(__GNUC__)
    #define FRNN_COMPILER "GCC " __VERSION__
    #else
    #define FRNN_COMPILER "unknown"
    #endif
    """
    const char *FRNN_COMPILER
