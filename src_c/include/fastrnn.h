/* SPDX-License-Identifier: MIT */
/* fastrnn: recurrent layers on CPUs. The whole public C API.
 *
 * Use: ask for a size, hand over memory, run. Nothing here allocates, starts threads, prints or
 * keeps globals. A stack is immutable once its weights are set: any number of threads may run it,
 * each with a workspace of its own.
 *
 * Shapes are given as [steps][batch][size], all values are float32. Functions that can fail return
 * a frnn_status and, when it is not FRNN_OK, have changed nothing. */
#ifndef FASTRNN_H
#define FASTRNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRNN_VERSION "0.1.0"

typedef enum {
    FRNN_OK = 0,
    FRNN_BAD_CONFIG = -1,    /* a size below 1, an unknown cell, a projection where it can't be */
    FRNN_BAD_ARGUMENT = -2,  /* a null pointer, zero steps, or an index or length out of range */
    FRNN_TOO_LARGE = -3,     /* a size does not fit in size_t or int */
    FRNN_SMALL_MEMORY = -4,  /* the memory handed over is smaller than its size function says */
    FRNN_BAD_FILE = -5,      /* not a .frnn file, or a damaged one */
    FRNN_NEWER_FILE = -6,    /* a .frnn file of a version, or with a layer, that is not known here */
    FRNN_UNSUPPORTED = -7    /* a sound model that only Python can run */
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
    int training;      /* 0 or 1: keeps weights for frnn_backward, too, in twice the memory */
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
/* y[i] = sigmoid(x[i]), tanh(x[i]) or max(x[i], 0) for i < count, as the kernels compute them. y may
 * be x. */
void frnn_sigmoid(const frnn_isa *isa, float *y, const float *x, size_t count);
void frnn_tanh(const frnn_isa *isa, float *y, const float *x, size_t count);
void frnn_relu(const frnn_isa *isa, float *y, const float *x, size_t count);
/* For benchmarks. Runs `rounds` rounds of independent FMAs and returns the floating-point
 * operations done; reads count floats once. *result only keeps the work from being optimized
 * away. */
double frnn_probe_fma(const frnn_isa *isa, size_t rounds, float *result);
void frnn_probe_read(const frnn_isa *isa, const float *values, size_t count, float *result);

/* ---- Stacks --------------------------------------------------------------------------------- */

/* Packed weights of a stack of recurrent layers, inside memory of the caller. */
typedef struct frnn_stack frnn_stack;

/* PyTorch's tensors of one layer and direction, contiguous; G gates in PyTorch's order (LSTM i f
 * g o, GRU r z n). They are copied. R is proj_size, or hidden_size without projection. */
typedef struct {
    const float *weight_ih; /* [G * hidden_size][input_size, or directions * R above layer 0] */
    const float *weight_hh; /* [G * hidden_size][R] */
    const float *bias_ih;   /* [G * hidden_size] or NULL */
    const float *bias_hh;   /* [G * hidden_size] or NULL */
    const float *weight_hr; /* [proj_size][hidden_size]; NULL without projection */
} frnn_weights;

/* Bytes of memory that frnn_stack_init needs. */
frnn_status frnn_stack_size(const frnn_config *config, const frnn_isa *isa, size_t *bytes);
/* Lays a stack with zero weights out in memory (any alignment), which must live as long as it. */
frnn_status frnn_stack_init(frnn_stack **stack, const frnn_config *config, const frnn_isa *isa,
                            void *memory, size_t bytes);
/* Packs the weights of a layer (from 0) and direction (0 forward, 1 reverse). */
frnn_status frnn_stack_set_weights(frnn_stack *stack, int layer, int direction,
                                   const frnn_weights *weights);

/* ---- Threads and the plan -------------------------------------------------------------------- */

enum { FRNN_MOST_WORKERS = 1024 }; /* of a plan */

/* What a worker of a pass does. */
typedef void frnn_task(void *argument, int worker);

/* Workers that run one task at once. The core starts no threads: a pass gets them from here. */
typedef struct {
    void *context;
    /* Calls task(argument, w) for every worker w < width at the same time, worker 0 on the calling
     * thread, and returns 1 when all have ended. Returns 0, having called nothing, when the workers
     * are not at hand: busy with another pass, asleep while wake is 0, impossible to start, or short
     * of CPUs of late. */
    int (*run)(void *context, int width, int wake, frnn_task *task, void *argument);
    void (*yield)(void *context); /* called now and then by a worker that waits for another */
} frnn_executor;

/* What a plan is made for; 0 where a size is not known. */
typedef struct {
    int width; /* threads that a pass may use; more than FRNN_MOST_WORKERS count as so many */
    size_t l2_bytes, l3_bytes; /* L2 of one core, L3 that all cores share */
} frnn_machine;

typedef enum { FRNN_BOUND_FMA, FRNN_BOUND_L2, FRNN_BOUND_L3, FRNN_BOUND_MEMORY } frnn_bound;

/* How a pass is cut. Results have the same bits under every plan. Rows of the batch are dealt to
 * row_groups; inside a group, directions or layers to teams; the hidden units of a layer to the
 * workers of a team. The product of the four is the width. */
typedef struct {
    int row_groups, direction_teams, layer_teams, unit_workers;
    size_t block_rows;  /* rows that go through all steps together */
    size_t chunk_steps; /* steps that the input projection runs ahead */
    int wake;           /* whether the pass is long enough to wake sleeping workers */
    double cycles;      /* predicted, of a core */
    double fma_cycles;  /* of these, what the products alone would take of every worker's FMA units,
                         * had they nothing to do but the weights that are no padding */
    frnn_bound bound;   /* what most of the time of the products goes to */
} frnn_plan;

/* The best plan for passes of a size. machine: NULL for one thread and usual caches. */
frnn_status frnn_plan_make(const frnn_stack *stack, const frnn_machine *machine, size_t steps,
                           size_t batch, frnn_plan *plan);

/* ---- Running -------------------------------------------------------------------------------- */

/* One pass over a batch of sequences. Strides count floats; the last axis of x and y is contiguous.
 * y overlaps neither x, the states nor itself; it may be x in one direction where steps is 1 and the
 * strides agree.
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
    const frnn_plan *plan;            /* NULL: one thread */
    const frnn_executor *executor;    /* NULL, or not at hand: the calling thread does it all */
    /* Training: frnn_forward writes the tape and frnn_backward reads it, both with the same lengths,
     * dropout and seed. NULL: inference, without dropout. */
    void *tape;                       /* any alignment; a copy elsewhere will do where the
                                       * addresses agree modulo 64 */
    size_t tape_bytes;
    float dropout;                    /* 0 to 1: share of the outputs of lower layers made zero */
    uint64_t seed;                    /* of the choice, which depends on nothing else */
} frnn_call;

/* Bytes of workspace for a pass of this size. plan: as in frnn_call. */
frnn_status frnn_workspace_size(const frnn_stack *stack, size_t steps, size_t batch,
                                const frnn_plan *plan, size_t *bytes);
/* Runs the layers. Beyond a row's length y is 0; hn and cn are each row's own last states.
 * workspace: any alignment, contents do not matter before and are undefined after. */
frnn_status frnn_forward(const frnn_stack *stack, const frnn_call *call, void *workspace,
                         size_t bytes);

/* ---- Training ------------------------------------------------------------------------------- */

/* Gradients of the tensors of a frnn_weights, of the same shapes; NULL where not wanted. */
typedef struct {
    float *weight_ih, *weight_hh, *bias_ih, *bias_hh, *weight_hr;
} frnn_weight_gradients;

/* What goes into a backward pass and what comes out of it. Of the results, NULL is not wanted; they
 * overlap nothing. Strides count floats. */
typedef struct {
    /* Of y and of the last states, which the caller got; NULL is zeros. What dy holds beyond a
     * row's length does not matter. */
    const float *dy;         /* [steps][batch][directions * R] */
    ptrdiff_t dy_step, dy_row;
    const float *dhn, *dcn;  /* as hn and cn */
    /* Results. dx is 0 beyond a row's length. dh0 may be dhn and dc0 may be dcn. */
    float *dx;               /* [steps][batch][input_size] */
    ptrdiff_t dx_step, dx_row;
    float *dh0, *dc0;        /* as h0 and c0 */
    const frnn_weight_gradients *weights; /* [num_layers * directions], or NULL */
    int accumulate;          /* add to what the weight gradients hold instead of overwriting it */
} frnn_gradients;

/* Bytes of tape for passes of this size; stack: one for training. */
frnn_status frnn_tape_size(const frnn_stack *stack, size_t steps, size_t batch, size_t *bytes);
/* Bytes of workspace for frnn_backward. */
frnn_status frnn_backward_size(const frnn_stack *stack, size_t steps, size_t batch,
                               const frnn_plan *plan, size_t *bytes);
/* Gradients of a forward pass with a tape. call: as it was there, with the weights and x unchanged;
 * y and the states are not used. plan and executor may be others; more groups of rows than the
 * forward pass had stay idle for a part of it. The tape stays as it is: several backward passes may
 * read it. */
frnn_status frnn_backward(const frnn_stack *stack, const frnn_call *call,
                          const frnn_gradients *gradients, void *workspace, size_t bytes);

/* ---- Other layers --------------------------------------------------------------------------- */

/* The layers around a stack. Bits of a result depend on its own inputs and the instruction set, not
 * on the batch, strides or threads. Strides count floats. y overlaps nothing, unless said. */

/* y = W x + b with packed weights, inside memory of the caller; immutable once they are set. */
typedef struct frnn_dense frnn_dense;

frnn_status frnn_dense_size(int inputs, int outputs, const frnn_isa *isa, size_t *bytes);
/* Lays a layer of zeros out in memory (any alignment), which must live as long as it. */
frnn_status frnn_dense_init(frnn_dense **dense, int inputs, int outputs, const frnn_isa *isa,
                            void *memory, size_t bytes);
/* Packs weight [outputs][inputs] and bias [outputs], or NULL for zeros. */
frnn_status frnn_dense_set_weights(frnn_dense *dense, const float *weight, const float *bias);
/* Rows x [rows][inputs] to y [rows][outputs], each row contiguous. executor: NULL for the calling
 * thread alone; width: threads that it may use. Takes 4 KiB of the stack. */
frnn_status frnn_dense_run(const frnn_dense *dense, size_t rows, const float *x, ptrdiff_t x_row,
                           float *y, ptrdiff_t y_row, const frnn_executor *executor, int width);

/* A convolution over time, as torch.nn.Conv1d; zeros before and after x. */
typedef struct {
    int in_channels, out_channels, kernel_size;
    int stride;
    int padding_left, padding_right; /* steps of zeros */
    int dilation;
    int groups; /* divides both channels */
} frnn_conv1d_config;

typedef struct frnn_conv1d frnn_conv1d;

frnn_status frnn_conv1d_size(const frnn_conv1d_config *config, const frnn_isa *isa, size_t *bytes);
frnn_status frnn_conv1d_init(frnn_conv1d **conv, const frnn_conv1d_config *config,
                             const frnn_isa *isa, void *memory, size_t bytes);
/* Packs weight [out_channels][in_channels / groups][kernel_size] and bias [out_channels] or NULL. */
frnn_status frnn_conv1d_set_weights(frnn_conv1d *conv, const float *weight, const float *bias);

/* Any strides: [steps][batch][channels] and PyTorch's [batch][channels][steps] are both read in
 * place. */
typedef struct {
    size_t steps, batch; /* of x */
    const float *x;      /* [steps][batch][in_channels] */
    ptrdiff_t x_step, x_row, x_channel;
    float *y;            /* [frnn_conv1d_steps][batch][out_channels] */
    ptrdiff_t y_step, y_row, y_channel;
    const frnn_executor *executor; /* NULL: the calling thread does it all */
    int width;                     /* threads that it may use */
} frnn_conv1d_call;

/* Steps of y for so many steps of x; 0 where x and padding are shorter than the kernel. */
size_t frnn_conv1d_steps(const frnn_conv1d *conv, size_t steps);
frnn_status frnn_conv1d_workspace_size(const frnn_conv1d *conv, int width, size_t *bytes);
frnn_status frnn_conv1d_run(const frnn_conv1d *conv, const frnn_conv1d_call *call, void *workspace,
                            size_t bytes);

/* Rows x [rows][size] to y [rows][size], each row contiguous. y may be x where the strides agree. */
typedef struct {
    size_t rows, size;
    const float *x;
    ptrdiff_t x_row;
    float *y;
    ptrdiff_t y_row;
} frnn_rows;

frnn_status frnn_softmax(const frnn_isa *isa, const frnn_rows *rows);
frnn_status frnn_log_softmax(const frnn_isa *isa, const frnn_rows *rows);
/* weight and bias [size], or NULL for ones and zeros; eps >= 0. */
frnn_status frnn_layer_norm(const frnn_isa *isa, const frnn_rows *rows, const float *weight,
                            const float *bias, float eps);
/* Row i of y is row indices[i] of table [entries][size]; x is not used. An index out of range is
 * FRNN_BAD_ARGUMENT. */
frnn_status frnn_embedding(const float *table, size_t entries, const int64_t *indices,
                           const frnn_rows *rows);

/* Sequences x [steps][batch][size] to y [batch][size], each row contiguous. A row of length 0
 * becomes zeros. */
typedef struct {
    size_t steps, batch, size;
    const float *x;
    ptrdiff_t x_step, x_row;
    const size_t *lengths; /* [batch], each <= steps; NULL: all are steps */
    float *y;
    ptrdiff_t y_row;
} frnn_sequences;

frnn_status frnn_pool_mean(const frnn_isa *isa, const frnn_sequences *sequences);
frnn_status frnn_pool_max(const frnn_sequences *sequences); /* a NaN is the largest */
/* The last valid step of each row; of the last `reversed` features, those of a reverse direction,
 * step 0: then y is a layer's final state. */
frnn_status frnn_last(const frnn_sequences *sequences, size_t reversed);

/* ---- Whole models --------------------------------------------------------------------------- */

/* The model of a .frnn file (docs/file_format.md): layers that run one after another. Recurrent,
 * dense and convolution weights are packed into memory of the caller; embeddings, norms and initial
 * states stay where they are in the bytes of the file. Both must outlive the model, which is
 * immutable.
 *
 * Whatever is in the file, the worst that it causes is a status. Axes are followed from layer to
 * layer, as in PyTorch, but values always lie as [steps][batch][features] here, whatever order of
 * axes the layers of the file take. Not run: Mask, and axes that mix time or batch with features. */
typedef struct frnn_model frnn_model;

/* Bytes of memory that frnn_model_read needs. file: the bytes of the file, at an address that is a
 * multiple of 4; file_bytes: how many there are, or more. */
frnn_status frnn_model_size(const void *file, size_t file_bytes, const frnn_isa *isa,
                            size_t *bytes);
/* Reads a model into memory (any alignment), after a look at its checksum. */
frnn_status frnn_model_read(frnn_model **model, const void *file, size_t file_bytes,
                            const frnn_isa *isa, void *memory, size_t bytes);
/* The same without the checksum: damage may go unseen and give other numbers. */
frnn_status frnn_model_read_unchecked(frnn_model **model, const void *file, size_t file_bytes,
                                      const frnn_isa *isa, void *memory, size_t bytes);

int frnn_model_inputs(const frnn_model *model);  /* features of x; 0: it takes tokens */
int frnn_model_outputs(const frnn_model *model); /* features of y */
/* Steps of y for so many steps of the input: 1 where the model ends without a time axis, 0 where the
 * input is too short. */
size_t frnn_model_steps(const frnn_model *model, size_t steps);
/* Floats of the states of all recurrent layers: for each, h and, of an LSTM, c, as in frnn_call. */
frnn_status frnn_model_state_size(const frnn_model *model, size_t batch, size_t *floats);

/* The number of recurrent layers, each with a stack and a plan of its own. */
int frnn_model_stacks(const frnn_model *model);
/* Makes the plans [frnn_model_stacks] of passes of a size, for calls that repeat, such as the steps
 * of a stream. machine: NULL for one thread and usual caches. */
frnn_status frnn_model_plan_make(const frnn_model *model, const frnn_machine *machine, size_t steps,
                                 size_t batch, frnn_plan *plans);

/* One pass. Strides count elements; the last axis of x and y is contiguous. y and state overlap
 * nothing, but state may be state0. */
typedef struct {
    size_t steps, batch;
    const float *x;              /* [steps][batch][inputs] */
    const int64_t *tokens;       /* [steps][batch]: in place of x where the model takes tokens */
    ptrdiff_t x_step, x_row;     /* strides of x or tokens */
    const size_t *lengths;       /* [batch], each <= steps, any order; NULL: all are steps */
    float *y;                    /* [frnn_model_steps][batch][outputs] */
    ptrdiff_t y_step, y_row;
    const float *state0;         /* NULL: the file's initial states, or else zeros */
    float *state;                /* the last states; NULL: not wanted */
    const frnn_machine *machine; /* for the plans; NULL: one thread */
    const frnn_executor *executor;
    const frnn_plan *plans;      /* of frnn_model_plan_make on this machine; NULL: made by the call */
} frnn_model_call;

/* Bytes of workspace for a pass of this size. machine: as in the call. */
frnn_status frnn_model_workspace_size(const frnn_model *model, size_t steps, size_t batch,
                                      const frnn_machine *machine, size_t *bytes);
/* A sequence may be cut into calls that hand state on, with the same bits, where no layer but the
 * recurrent ones looks at more than one step and these have one direction. When the status is
 * FRNN_BAD_ARGUMENT because of a token out of range, y and state are undefined. */
frnn_status frnn_model_run(const frnn_model *model, const frnn_model_call *call, void *workspace,
                           size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
