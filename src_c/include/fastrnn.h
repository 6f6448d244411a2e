/* SPDX-License-Identifier: MIT */
/* fastrnn: recurrent layers on CPUs. The whole public C API.
 *
 * Use: ask for a size, hand over memory, run. Nothing here allocates, starts threads, prints or
 * keeps globals. A model is immutable once its weights are set: any number of threads may run it,
 * each with a workspace of its own.
 *
 * Shapes are given as [steps][batch][size], all values are float32. Functions that can fail return
 * a frnn_status and, when it is not FRNN_OK, have changed nothing. */
#ifndef FASTRNN_H
#define FASTRNN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRNN_VERSION "0.1.0"

typedef enum {
    FRNN_OK = 0,
    FRNN_BAD_CONFIG = -1,    /* a size below 1, an unknown cell, a projection where it can't be */
    FRNN_BAD_ARGUMENT = -2,  /* a null pointer, zero steps, or an index or length out of range */
    FRNN_TOO_LARGE = -3,     /* a size does not fit in size_t or int */
    FRNN_SMALL_MEMORY = -4   /* the memory handed over is smaller than its size function says */
} frnn_status;

/* A constant English sentence for a status. */
const char *frnn_status_text(frnn_status status);

typedef enum {
    FRNN_RNN_TANH,
    FRNN_RNN_RELU,
    FRNN_GRU,              /* reset after the recurrent product, as PyTorch, cuDNN and Keras 3 */
    FRNN_GRU_RESET_BEFORE, /* reset before it, as Cho et al. 2014 */
    FRNN_LSTM
} frnn_cell;

typedef struct {
    frnn_cell cell;
    int input_size, hidden_size, num_layers;
    int bidirectional; /* 0 or 1 */
    int proj_size;     /* LSTM: 0 < proj_size < hidden_size, else 0 */
} frnn_config;

/* ---- Instruction sets ---------------------------------------------------------------------- */

/* The kernels of one instruction set. An embedded build links the one object it needs and names
 * it here; others choose at run time with frnn_isa_at or frnn_isa_find. */
typedef struct frnn_isa frnn_isa;
extern const frnn_isa frnn_isa_scalar;
extern const frnn_isa frnn_isa_avx2;
extern const frnn_isa frnn_isa_avx512;

/* The index-th best instruction set that this CPU and its system can run; NULL past the last. */
const frnn_isa *frnn_isa_at(int index);
/* By name ("avx512", "avx2", "scalar"); NULL when unknown or when this machine cannot run it. */
const frnn_isa *frnn_isa_find(const char *name);
const char *frnn_isa_name(const frnn_isa *isa);
/* y[i] = sigmoid(x[i]) or tanh(x[i]) for i < count, as the kernels compute them. y may be x. */
void frnn_sigmoid(const frnn_isa *isa, float *y, const float *x, size_t count);
void frnn_tanh(const frnn_isa *isa, float *y, const float *x, size_t count);
/* For benchmarks. Runs `rounds` rounds of independent FMAs and returns the floating-point
 * operations done; reads count floats once. *result only keeps the work from being optimized
 * away. */
double frnn_probe_fma(const frnn_isa *isa, size_t rounds, float *result);
void frnn_probe_read(const frnn_isa *isa, const float *values, size_t count, float *result);

/* ---- Models --------------------------------------------------------------------------------- */

/* Packed weights of a stack of recurrent layers, inside memory of the caller. */
typedef struct frnn_model frnn_model;

/* PyTorch's tensors of one layer and direction, contiguous; G gates in PyTorch's order (LSTM i f
 * g o, GRU r z n). They are copied. R is proj_size, or hidden_size without projection. */
typedef struct {
    const float *weight_ih; /* [G * hidden_size][input_size, or directions * R above layer 0] */
    const float *weight_hh; /* [G * hidden_size][R] */
    const float *bias_ih;   /* [G * hidden_size] or NULL */
    const float *bias_hh;   /* [G * hidden_size] or NULL */
    const float *weight_hr; /* [proj_size][hidden_size]; NULL without projection */
} frnn_weights;

/* Bytes of memory that frnn_model_init needs. */
frnn_status frnn_model_size(const frnn_config *config, const frnn_isa *isa, size_t *bytes);
/* Lays a model with zero weights out in memory (any alignment), which must live as long as it. */
frnn_status frnn_model_init(frnn_model **model, const frnn_config *config, const frnn_isa *isa,
                            void *memory, size_t bytes);
/* Packs the weights of a layer (from 0) and direction (0 forward, 1 reverse). */
frnn_status frnn_model_set_weights(frnn_model *model, int layer, int direction,
                                   const frnn_weights *weights);

/* ---- Running -------------------------------------------------------------------------------- */

/* One pass over a batch of sequences. Strides count floats; the last axis of x and y is contiguous.
 * y overlaps neither x, the states nor itself; it may be x where steps is 1 and the strides agree.
 * States are contiguous, [num_layers * directions][batch][R], for c [..][hidden_size]; NULL means
 * zeros for h0 and c0, not wanted for hn and cn. hn may be h0 and cn may be c0. */
typedef struct {
    size_t steps, batch;              /* steps >= 1; batch may be 0 */
    const float *x;                   /* [steps][batch][input_size] */
    ptrdiff_t x_step, x_row;          /* strides of x over steps and batch */
    float *y;                         /* [steps][batch][directions * R] */
    ptrdiff_t y_step, y_row;
    const size_t *lengths;            /* [batch], each <= steps, any order; NULL: all are steps */
    const float *h0, *c0;
    float *hn, *cn;
} frnn_call;

/* Bytes of workspace for a pass of this size. */
frnn_status frnn_workspace_size(const frnn_model *model, size_t steps, size_t batch, size_t *bytes);
/* Runs the layers. Beyond a row's length y is 0; hn and cn are each row's own last states.
 * workspace: any alignment, contents do not matter before and are undefined after. */
frnn_status frnn_forward(const frnn_model *model, const frnn_call *call, void *workspace,
                         size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
