/* SPDX-License-Identifier: MIT */
/* fastrnn: recurrent layers on CPUs. The whole public C API.
 *
 * Every object is used in the same three steps: call its size function, hand over that much memory,
 * run it. The library never allocates, starts a thread, prints or keeps a global variable.
 *
 *     frnn_stack_size, frnn_stack_init, frnn_stack_set_weights      once for each layer stack
 *     frnn_workspace_size, frnn_forward                             for each call
 *     frnn_tape_size, frnn_backward_size, frnn_backward             for training
 *     frnn_model_size, frnn_model_read, frnn_model_run              for a whole .frnn file
 *
 * Conventions
 *  - Values are float32. A shape is written [steps][batch][size]; the last axis is contiguous. A
 *    stride counts elements, not bytes, and may be negative or zero.
 *  - Memory from the caller may have any alignment. Its size is a size_t in bytes. An object lives
 *    in the memory it was created in, which must not be moved or released while it is in use.
 *  - Functions that can fail return a frnn_status. If it is not FRNN_OK, nothing was written,
 *    unless the function says otherwise.
 *  - A stack, layer or model is immutable once its weights are set. Any number of threads may run
 *    it at once, each with a workspace of its own. */
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
    FRNN_BAD_CONFIG = -1,    /* a size below 1, an unknown cell, or an option the cell lacks */
    FRNN_BAD_ARGUMENT = -2,  /* a null pointer, zero steps, or an index or length out of range */
    FRNN_TOO_LARGE = -3,     /* a size does not fit in size_t or int */
    FRNN_SMALL_MEMORY = -4,  /* fewer bytes were passed than the size function requires */
    FRNN_BAD_FILE = -5,      /* not a .frnn file, or a damaged one */
    FRNN_NEWER_FILE = -6,    /* a .frnn file of a newer version, or with an unknown kind of layer */
    FRNN_UNSUPPORTED = -7,   /* a valid model that only the Python package can run, or a weight type
                              * that the instruction set lacks */
    FRNN_STOPPED = -8        /* the caller ended the pass early: what it was to write is undefined */
} frnn_status;

/* Describes a status in English. The text is a constant; do not free it. */
const char *frnn_status_text(frnn_status status);

/* The formula of a layer. */
typedef enum {
    FRNN_RNN_TANH,
    FRNN_RNN_RELU,
    FRNN_GRU,              /* reset after the recurrent product, as in PyTorch, cuDNN and Keras 3 */
    FRNN_GRU_RESET_BEFORE, /* reset before it, as in Cho et al. 2014 */
    FRNN_LSTM,
    FRNN_LSTM_COUPLED /* forget gate 1 - i, as in Greff et al. 2015: gates i g o */
} frnn_cell;
enum { FRNN_CELL_COUNT = FRNN_LSTM_COUPLED + 1 };

/* The type in which a stack keeps its weights. Arithmetic is float32. */
typedef enum {
    FRNN_FLOAT32,
    FRNN_BFLOAT16_WEIGHTS /* rounded to bfloat16; inference only, "scalar" only */
} frnn_dtype;
enum { FRNN_DTYPE_COUNT = FRNN_BFLOAT16_WEIGHTS + 1 };

/* The layers of a stack, with the meaning of torch.nn's arguments. Fields left 0 by an initializer
 * are switched off. */
typedef struct {
    frnn_cell cell;
    int input_size, hidden_size, num_layers; /* at least 1 each */
    int bidirectional; /* 0 or 1 */
    int proj_size;     /* LSTM: 0 < proj_size < hidden_size, or 0 for none; 0 for other cells */
    int training;      /* 0 or 1: also packs the weights for frnn_backward, in twice the memory;
                        * float32 only */
    frnn_dtype dtype;  /* of the packed weights; 0: float32 */
} frnn_config;

/* ---- Instruction sets ---------------------------------------------------------------------- */

/* The kernels compiled for one instruction set. Choose one at run time with frnn_isa_at or
 * frnn_isa_find. An embedded program may instead name one of the constants and link only that
 * object file (src_c/isa/scalar.c, ...); the CPU must then support it. */
typedef struct frnn_isa frnn_isa;
extern const frnn_isa frnn_isa_scalar;
extern const frnn_isa frnn_isa_avx2;
extern const frnn_isa frnn_isa_avx512;

/* The instruction sets that this CPU and its operating system can run, best first: index 0 is the
 * best. Returns NULL past the last one. */
const frnn_isa *frnn_isa_at(int index);

/* Finds an instruction set by name: "avx512", "avx2" or "scalar". Returns NULL if the name is
 * unknown or this machine cannot run it. */
const frnn_isa *frnn_isa_find(const char *name);

/* The name by which frnn_isa_find finds it, as "avx2". */
const char *frnn_isa_name(const frnn_isa *isa);

/* Probes for benchmarks. frnn_probe_fma runs `rounds` rounds of independent fused multiply-adds and
 * returns the number of floating-point operations executed. frnn_probe_read reads count floats
 * once. Both write one value to *result: without it the compiler would remove the work. */
double frnn_probe_fma(const frnn_isa *isa, size_t rounds, float *result);
void frnn_probe_read(const frnn_isa *isa, const float *values, size_t count, float *result);

/* ---- Stacks --------------------------------------------------------------------------------- */

/* A stack of recurrent layers: packed weights in memory of the caller. */
typedef struct frnn_stack frnn_stack;

/* The weights of one layer and direction as PyTorch stores them: contiguous matrices whose rows are
 * grouped by gate. G is the number of gates, in PyTorch's order: LSTM i f g o (4), coupled
 * LSTM i g o (3), GRU r z n (3), RNN 1. R, the size of h and of y, is proj_size, or hidden_size without projection. */
typedef struct {
    const float *weight_ih; /* [G * hidden_size][input_size, or directions * R above layer 0] */
    const float *weight_hh; /* [G * hidden_size][R] */
    const float *bias_ih;   /* [G * hidden_size] or NULL */
    const float *bias_hh;   /* [G * hidden_size] or NULL */
    const float *weight_hr; /* [proj_size][hidden_size]; NULL without projection */
} frnn_weights;

/* Sets *bytes to the memory that frnn_stack_init needs. */
frnn_status frnn_stack_size(const frnn_config *config, const frnn_isa *isa, size_t *bytes);

/* Creates a stack with zero weights in memory[bytes] and sets *stack to it. config is copied. There
 * is no function to destroy a stack: release the memory when nothing runs it any more. */
frnn_status frnn_stack_init(frnn_stack **stack, const frnn_config *config, const frnn_isa *isa,
                            void *memory, size_t bytes);

/* The gates G of the stack's cell, and its states: 1 for h alone, 2 for h and c. */
int frnn_stack_gates(const frnn_stack *stack);
int frnn_stack_states(const frnn_stack *stack);

/* Packs the weights of one layer, counted from 0, and direction, 0 forward or 1 reverse. They are
 * copied: the caller may release them afterwards. Not while another thread runs the stack. */
frnn_status frnn_stack_set_weights(frnn_stack *stack, int layer, int direction,
                                   const frnn_weights *weights);

/* ---- Threads and the plan -------------------------------------------------------------------- */

/* To run a pass on several threads, set both the plan and the executor of a call. The library
 * starts no threads itself: an executor provides them. src_c/platform/pool.h has one. */

enum { FRNN_MOST_WORKERS = 1024 }; /* the largest width of a plan */

/* The work of one worker; worker counts from 0. */
typedef void frnn_task(void *argument, int worker);

/* Runs the same task on several workers at once. */
typedef struct {
    void *context; /* passed to both functions */
    /* Calls task(argument, w) for every worker w < width, all at the same time: workers wait for
     * each other. Worker 0 runs on the calling thread. Returns 1 after all have returned. Returns 0
     * without calling anything if the workers are not available: busy with another pass, asleep
     * while wake is 0, impossible to start, or recently kept from their CPUs by other programs. */
    int (*run)(void *context, int width, int wake, frnn_task *task, void *argument);
    /* Called occasionally by a worker that waits for another one; may be NULL. */
    void (*yield)(void *context);
} frnn_executor;

/* The machine that a plan is made for. */
typedef struct {
    int width; /* threads that a pass may use; values above FRNN_MOST_WORKERS are reduced to it */
    size_t l2_bytes, l3_bytes; /* L2 cache of one core, L3 cache shared by all; 0 if unknown */
} frnn_machine;

/* What limits a pass: arithmetic, or reading weights from a cache level or from memory. */
typedef enum { FRNN_BOUND_FMA, FRNN_BOUND_L2, FRNN_BOUND_L3, FRNN_BOUND_MEMORY } frnn_bound;

/* How a pass is divided among threads and over time. A plan changes speed and memory, never a bit
 * of a result. The rows of the batch are divided into row_groups. Within a group, each team
 * computes a direction or some of the layers. The workers of a team share the hidden units of a
 * layer. The number of threads, the width, is the product of the first four fields. */
typedef struct {
    int row_groups, direction_teams, layer_teams, unit_workers;
    size_t block_rows;  /* rows that go through all steps together */
    size_t chunk_steps; /* steps whose input projection is computed in one product */
    int wake;           /* 1 if the pass is long enough to wake sleeping workers */
    double cycles;      /* predicted duration in cycles of one core */
    double fma_cycles;  /* lower bound of cycles: each worker's FMA units do their share of the
                         * products, without padding, and nothing else */
    frnn_bound bound;   /* what most of the predicted time of the products is spent on */
} frnn_plan;

/* Fills *plan with the plan that is predicted to be fastest for passes of this size. machine: NULL
 * for one thread and caches of usual sizes. */
frnn_status frnn_plan_make(const frnn_stack *stack, const frnn_machine *machine, size_t steps,
                           size_t batch, frnn_plan *plan);

/* ---- Running -------------------------------------------------------------------------------- */

/* One pass over a batch of sequences. Fields left 0 by an initializer mean "not used".
 *
 * States are contiguous: h0 and hn [num_layers * directions][batch][R], c0 and cn
 * [num_layers * directions][batch][hidden_size], in PyTorch's order: layer by layer, forward before
 * reverse.
 *
 * y must not overlap x, the states or itself. One exception, for streams: in a stack of one
 * direction with steps == 1, y may be x if their strides are equal. hn may be h0, cn may be c0. */
typedef struct {
    size_t steps, batch;              /* steps >= 1; batch may be 0 */
    const float *x;                   /* [steps][batch][input_size] */
    ptrdiff_t x_step, x_row;          /* strides of x over steps and batch */
    float *y;                         /* [steps][batch][directions * R] */
    ptrdiff_t y_step, y_row;          /* strides of y over steps and batch */
    const size_t *lengths;            /* [batch], each <= steps, any order; NULL: all are steps */
    const float *h0, *c0;             /* initial states; NULL: zeros */
    float *hn, *cn;                   /* final states; NULL: not wanted */
    const frnn_plan *plan;            /* NULL: one thread */
    const frnn_executor *executor;    /* NULL, or not available: the calling thread runs the plan */
    /* Training only: frnn_forward writes the tape, frnn_backward reads it. Both calls must have the
     * same lengths, dropout and seed. NULL: inference, where dropout and seed are not used. */
    void *tape;                       /* may be copied to an address that is equal modulo 64 */
    size_t tape_bytes;
    float dropout;                    /* 0 to 1: probability that an output of a lower layer is 0 */
    uint64_t seed;                    /* determines which outputs are dropped, under every plan */
    /* NULL, or asked on the calling thread between chunks of steps and while it waits for other
     * workers. If it returns 1, the pass ends with FRNN_STOPPED. stop_context is passed to it. */
    int (*stop)(void *context);
    void *stop_context;
} frnn_call;

/* Sets *bytes to the workspace that frnn_forward needs for passes of this size. plan: that of the
 * call. */
frnn_status frnn_workspace_size(const frnn_stack *stack, size_t steps, size_t batch,
                                const frnn_plan *plan, size_t *bytes);

/* Runs the layers. y is 0 beyond a row's length. hn and cn are the states after each row's own last
 * step. workspace[bytes] needs no initialization; its contents are undefined afterwards. */
frnn_status frnn_forward(const frnn_stack *stack, const frnn_call *call, void *workspace,
                         size_t bytes);

/* ---- Training ------------------------------------------------------------------------------- */

/* A stack whose config has training == 1 can also run backward: set the tape of a call, run
 * frnn_forward, then frnn_backward with the same call. */

/* Gradients of the tensors of one frnn_weights, with their shapes; NULL where not wanted. */
typedef struct {
    float *weight_ih, *weight_hh, *bias_ih, *bias_hh, *weight_hr;
} frnn_weight_gradients;

/* Inputs and results of a backward pass. A result that is NULL is not computed. Results must not
 * overlap each other or anything that is read, except that dh0 may be dhn and dc0 may be dcn. */
typedef struct {
    /* Inputs: gradients of y and of the final states; NULL: zeros. Values of dy beyond a row's
     * length are ignored. */
    const float *dy;         /* [steps][batch][directions * R] */
    ptrdiff_t dy_step, dy_row;
    const float *dhn, *dcn;  /* shapes of hn and cn */
    /* Results: gradients of x, of the initial states and of the weights. dx is 0 beyond a row's
     * length. */
    float *dx;               /* [steps][batch][input_size] */
    ptrdiff_t dx_step, dx_row;
    float *dh0, *dc0;        /* shapes of h0 and c0 */
    const frnn_weight_gradients *weights; /* [num_layers * directions], or NULL */
    int accumulate;          /* 1: add to the weight gradients instead of overwriting them */
} frnn_gradients;

/* Sets *bytes to the tape that passes of this size need. */
frnn_status frnn_tape_size(const frnn_stack *stack, size_t steps, size_t batch, size_t *bytes);

/* Sets *bytes to the workspace that frnn_backward needs. plan: that of the call. */
frnn_status frnn_backward_size(const frnn_stack *stack, size_t steps, size_t batch,
                               const frnn_plan *plan, size_t *bytes);

/* Computes the gradients of a forward pass that wrote call->tape. call is that of the forward pass;
 * x and the stack's weights must be unchanged, y and the states are not read. plan and executor may
 * differ. Row groups beyond those of the forward pass are idle for a part of the pass. The tape is
 * only read, so several backward passes may use it. */
frnn_status frnn_backward(const frnn_stack *stack, const frnn_call *call,
                          const frnn_gradients *gradients, void *workspace, size_t bytes);

/* ---- Other layers --------------------------------------------------------------------------- */

/* Layers that are used around a stack. The bits of a result depend on its own inputs and on the
 * instruction set, not on the batch, strides or threads. y must not overlap anything that is read,
 * unless a function says otherwise. */

/* A dense layer, y = W x + b: packed weights in memory of the caller. */
typedef struct frnn_dense frnn_dense;

/* Sets *bytes to the memory that frnn_dense_init needs. */
frnn_status frnn_dense_size(int inputs, int outputs, const frnn_isa *isa, size_t *bytes);

/* Creates a layer with zero weights in memory[bytes] and sets *dense to it. */
frnn_status frnn_dense_init(frnn_dense **dense, int inputs, int outputs, const frnn_isa *isa,
                            void *memory, size_t bytes);

/* Packs copies of weight [outputs][inputs] and bias [outputs]; bias NULL: zeros. */
frnn_status frnn_dense_set_weights(frnn_dense *dense, const float *weight, const float *bias);

/* Computes y [rows][outputs] from x [rows][inputs]. Each row is contiguous; x_row and y_row are the
 * strides between rows. executor: NULL for the calling thread alone. width: the number of threads
 * that may be used. Needs no workspace but 4 KiB of the thread's stack. */
frnn_status frnn_dense_run(const frnn_dense *dense, size_t rows, const float *x, ptrdiff_t x_row,
                           float *y, ptrdiff_t y_row, const frnn_executor *executor, int width);

/* A convolution over time with the arguments of torch.nn.Conv1d, padded with zeros. */
typedef struct {
    int in_channels, out_channels, kernel_size;
    int stride;
    int padding_left, padding_right; /* steps of zeros before and after x */
    int dilation;
    int groups; /* must divide in_channels and out_channels */
} frnn_conv1d_config;

/* A convolution: packed weights in memory of the caller. */
typedef struct frnn_conv1d frnn_conv1d;

/* Sets *bytes to the memory that frnn_conv1d_init needs. */
frnn_status frnn_conv1d_size(const frnn_conv1d_config *config, const frnn_isa *isa, size_t *bytes);

/* Creates a layer with zero weights in memory[bytes] and sets *conv to it. config is copied. */
frnn_status frnn_conv1d_init(frnn_conv1d **conv, const frnn_conv1d_config *config,
                             const frnn_isa *isa, void *memory, size_t bytes);

/* Packs copies of weight [out_channels][in_channels / groups][kernel_size] and bias [out_channels];
 * bias NULL: zeros. */
frnn_status frnn_conv1d_set_weights(frnn_conv1d *conv, const float *weight, const float *bias);

/* One pass of a convolution. All axes have strides, so that [steps][batch][channels] and PyTorch's
 * [batch][channels][steps] can both be used in place. */
typedef struct {
    size_t steps, batch; /* of x */
    const float *x;      /* [steps][batch][in_channels] */
    ptrdiff_t x_step, x_row, x_channel;
    float *y;            /* [frnn_conv1d_steps(conv, steps)][batch][out_channels] */
    ptrdiff_t y_step, y_row, y_channel;
    const frnn_executor *executor; /* NULL: the calling thread alone */
    int width;                     /* the number of threads that may be used */
    int (*stop)(void *context);    /* NULL, or asked between blocks, as that of frnn_call */
    void *stop_context;
} frnn_conv1d_call;

/* Returns the steps of y for `steps` steps of x; 0 if x with its padding is shorter than the
 * kernel. */
size_t frnn_conv1d_steps(const frnn_conv1d *conv, size_t steps);

/* Sets *bytes to the workspace that frnn_conv1d_run needs for up to `width` threads and any number
 * of steps and rows. */
frnn_status frnn_conv1d_workspace_size(const frnn_conv1d *conv, int width, size_t *bytes);

/* Computes y; executor and width as in frnn_dense_run. FRNN_STOPPED if `stop` returned 1: y is then
 * unspecified. */
frnn_status frnn_conv1d_run(const frnn_conv1d *conv, const frnn_conv1d_call *call, void *workspace,
                            size_t bytes);

/* Arguments of functions that compute each row of y from the same row of x. Rows are contiguous. y
 * may be x if the strides are equal. */
typedef struct {
    size_t rows, size;
    const float *x;  /* [rows][size] */
    ptrdiff_t x_row; /* stride between rows */
    float *y;        /* [rows][size] */
    ptrdiff_t y_row;
} frnn_rows;

/* The softmax of each row, and its logarithm. */
frnn_status frnn_softmax(const frnn_isa *isa, const frnn_rows *rows);
frnn_status frnn_log_softmax(const frnn_isa *isa, const frnn_rows *rows);

/* Layer normalization of each row, as torch.nn.LayerNorm. weight, bias: [size]; NULL: ones, zeros.
 * eps >= 0. */
frnn_status frnn_layer_norm(const frnn_isa *isa, const frnn_rows *rows, const float *weight,
                            const float *bias, float eps);

/* Statistics and weights of each feature: arrays of the size of a row. running_mean, bias NULL:
 * zeros; running_var, weight NULL: ones. eps >= 0. */
typedef struct {
    const float *running_mean, *running_var, *weight, *bias;
    double eps;
} frnn_batch_norm_call;

/* Batch normalization of each row by given statistics, as torch.nn.BatchNorm1d in eval mode. */
frnn_status frnn_batch_norm(const frnn_isa *isa, const frnn_rows *rows,
                            const frnn_batch_norm_call *call);

/* y = x, where that is negative times the weight: torch.nn.PReLU. weight: [count], count 1 or the
 * size of a row. */
frnn_status frnn_prelu(const frnn_rows *rows, const float *weight, size_t count);

/* How frnn_merge joins the halves of each row of x. */
typedef enum { FRNN_MERGE_SUM, FRNN_MERGE_MEAN, FRNN_MERGE_MUL } frnn_merging;

/* The sum, mean or product of the two halves of each row of x [rows][2 size]. */
frnn_status frnn_merge(const frnn_rows *rows, frnn_merging merging);

/* Copies row indices[i] of table [entries][size] to row i of y; rows->x is not used. Returns
 * FRNN_BAD_ARGUMENT if an index is negative or not below entries. */
frnn_status frnn_embedding(const float *table, size_t entries, const int64_t *indices,
                           const frnn_rows *rows);

/* Arguments of functions that reduce each sequence to one row. A sequence of length 0 becomes
 * zeros. */
typedef struct {
    size_t steps, batch, size;
    const float *x;          /* [steps][batch][size] */
    ptrdiff_t x_step, x_row; /* strides of x over steps and batch */
    const size_t *lengths;   /* [batch], each <= steps; NULL: all are steps */
    float *y;                /* [batch][size] */
    ptrdiff_t y_row;
} frnn_sequences;

/* The mean, or the sum, over the valid steps of each sequence. */
frnn_status frnn_pool_mean(const frnn_isa *isa, const frnn_sequences *sequences);
frnn_status frnn_pool_sum(const frnn_isa *isa, const frnn_sequences *sequences);

/* The sum of the valid steps of each sequence, weighted by the softmax of their scores (Bahdanau,
 * Cho, Bengio 2015; Yang et al. 2016). weights [batch][steps]: the scores, which become the weights,
 * zeros past the lengths. */
frnn_status frnn_attention_pool(const frnn_isa *isa, const frnn_sequences *sequences,
                                float *weights);

/* The maximum over the valid steps of each sequence; NaN counts as the largest value. */
frnn_status frnn_pool_max(const frnn_sequences *sequences);

/* Windows of steps, as those of torch.nn.MaxPool1d and torch.nn.AvgPool1d. */
typedef struct {
    int kernel_size, stride, padding, dilation, ceil_mode;
    int count_include_pad; /* frnn_avg_pool: padding counts as steps of 0 */
} frnn_windows;

/* Returns the steps of y for `steps` steps of x; 0 if x with its padding is shorter than a window. */
size_t frnn_windows_steps(const frnn_windows *windows, size_t steps);

/* The maximum over each window of the valid steps; NaN counts as the largest value. y has
 * frnn_windows_steps(windows, steps) steps, y_step apart; those past the end of a sequence are
 * zeros. A window without a valid step is -inf. */
frnn_status frnn_max_pool(const frnn_windows *windows, const frnn_sequences *sequences,
                          ptrdiff_t y_step);

/* The mean over each window, in the same form; dilation is 1 and padding at most half of
 * kernel_size, so that each window has a valid step. */
frnn_status frnn_avg_pool(const frnn_windows *windows, const frnn_sequences *sequences,
                          ptrdiff_t y_step);

/* The last valid step of each sequence, but step 0 for the last `reversed` features. If these are
 * the outputs of a reverse direction, y is the final state h of the layer. */
frnn_status frnn_last(const frnn_sequences *sequences, size_t reversed);

/* ---- Elementwise functions ------------------------------------------------------------------ */

/* Functions of each value by itself, with the formulas of the torch.nn modules of these names. */
typedef enum {
    FRNN_RELU,        /* max(x, 0) */
    FRNN_TANH,
    FRNN_SIGMOID,     /* 1 / (1 + exp(-x)) */
    FRNN_ELU,         /* x, below 0: a (exp(x) - 1) */
    FRNN_LEAKY_RELU,  /* x, below 0: a x */
    FRNN_SILU,        /* x sigmoid(x) */
    FRNN_GELU,        /* x times the part of the standard normal distribution below x */
    FRNN_GELU_TANH,   /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
    FRNN_SOFTPLUS,    /* log(1 + exp(a x)) / a; x where a x > b. a > 0 */
    FRNN_HARDTANH,    /* x, at least a and at most b */
    FRNN_HARDSIGMOID, /* x / 6 + 1 / 2, at least 0 and at most 1 */
    FRNN_MISH,        /* x tanh(log(1 + exp(x))) */
    FRNN_SOFTSIGN,    /* x / (1 + |x|) */
    FRNN_HARDSWISH,   /* x times the hard sigmoid of x */
    FRNN_SCALE,       /* a x + b, the product rounded */
    FRNN_FUNCTION_COUNT
} frnn_function;

/* The parameters of a function. Functions that do not name them ignore them. */
typedef struct {
    float a, b;
} frnn_parameters;

/* Sets y[i] = function(x[i]) for i < count. y may be x; otherwise they must not overlap. No argument
 * is checked. */
void frnn_apply(const frnn_isa *isa, frnn_function function, frnn_parameters parameters, float *y,
                const float *x, size_t count);

/* Sets dx[i] = dy[i] times the derivative at x[i] for i < count. dx may be dy or x; otherwise they
 * must not overlap. No argument is checked. */
void frnn_apply_backward(const frnn_isa *isa, frnn_function function, frnn_parameters parameters,
                         float *dx, const float *dy, const float *x, size_t count);

/* The name of a function, as "leaky_relu". Returns NULL past the last one. */
const char *frnn_function_name(const frnn_isa *isa, frnn_function function);

/* ---- Whole models --------------------------------------------------------------------------- */

/* The model of a .frnn file (docs/file_format.md): layers that run one after another.
 *
 * Recurrent, dense and convolution weights are packed into memory of the caller. Embeddings, norm
 * weights and initial states are read from the file's own bytes. Both must outlive the model.
 *
 * Files need not be trusted: any content leads to a model or to an error status, never to an access
 * outside the file and the memory.
 *
 * Values are always [steps][batch][features] here, whatever order of axes the layers of the file
 * use. Mask layers and models that mix time or batch with features return FRNN_UNSUPPORTED. */
typedef struct frnn_model frnn_model;

/* Sets *bytes to the memory that frnn_model_read needs. file: the bytes of the file, at an address
 * that is a multiple of 4. file_bytes: their number. Bytes past the end of the file are ignored. */
frnn_status frnn_model_size(const void *file, size_t file_bytes, const frnn_isa *isa,
                            size_t *bytes);

/* Verifies the checksum of the file, creates its model in memory[bytes] and sets *model to it. */
frnn_status frnn_model_read(frnn_model **model, const void *file, size_t file_bytes,
                            const frnn_isa *isa, void *memory, size_t bytes);

/* The same without the checksum. Damage to the values of weights is then not detected. */
frnn_status frnn_model_read_unchecked(frnn_model **model, const void *file, size_t file_bytes,
                                      const frnn_isa *isa, void *memory, size_t bytes);

/* Features of x, or 0 if the model takes tokens, and features of y. */
int frnn_model_inputs(const frnn_model *model);
int frnn_model_outputs(const frnn_model *model);

/* Returns the steps of y for `steps` steps of the input: 1 if the output has no time axis, 0 if the
 * model cannot take so few, or so many, steps. */
size_t frnn_model_steps(const frnn_model *model, size_t steps);

/* Sets *floats to the size of all states, in floats: for each recurrent layer of the model, h and
 * then, for an LSTM, c, with the shapes of frnn_call. */
frnn_status frnn_model_state_size(const frnn_model *model, size_t batch, size_t *floats);

/* Returns the number of recurrent layers. Each runs by its own plan. */
int frnn_model_stacks(const frnn_model *model);

/* Fills plans [frnn_model_stacks(model)] for passes of this size. Without it every call makes its
 * plans; use it for calls that repeat, such as the steps of a stream. machine: that of the call. */
frnn_status frnn_model_plan_make(const frnn_model *model, const frnn_machine *machine, size_t steps,
                                 size_t batch, frnn_plan *plans);

/* One pass of a model. y and state must not overlap anything else, but state may be state0. */
typedef struct {
    size_t steps, batch;
    const float *x;              /* [steps][batch][inputs]; or, if the model takes tokens, */
    const int64_t *tokens;       /* [steps][batch] */
    ptrdiff_t x_step, x_row;     /* strides of x or tokens over steps and batch */
    const size_t *lengths;       /* [batch], each <= steps, in any order; NULL: all are steps */
    float *y;                    /* [frnn_model_steps(model, steps)][batch][outputs] */
    ptrdiff_t y_step, y_row;
    const float *state0;         /* initial states; NULL: those of the file, otherwise zeros */
    float *state;                /* final states; NULL: not wanted */
    const frnn_machine *machine; /* for the plans of the layers; NULL: one thread */
    const frnn_executor *executor; /* NULL: the calling thread alone */
    const frnn_plan *plans; /* of frnn_model_plan_make on this machine; NULL: made by the call */
    int (*stop)(void *context); /* NULL, or asked between layers and as that of frnn_call */
    void *stop_context;
} frnn_model_call;

/* Sets *bytes to the workspace that frnn_model_run needs for passes of this size. machine: that of
 * the call. */
frnn_status frnn_model_workspace_size(const frnn_model *model, size_t steps, size_t batch,
                                      const frnn_machine *machine, size_t *bytes);

/* Runs the layers one after another.
 *
 * A long sequence may be split into several calls that pass the state on. The bits of y stay the
 * same if the recurrent layers have one direction and no other layer uses more than one step.
 *
 * If a token is out of range, the status is FRNN_BAD_ARGUMENT and y and state are undefined. */
frnn_status frnn_model_run(const frnn_model *model, const frnn_model_call *call, void *workspace,
                           size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
