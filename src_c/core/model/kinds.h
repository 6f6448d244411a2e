/* SPDX-License-Identifier: MIT */
/* Kinds of layers. A kind is one row: the fields of its record, and the functions that read its
 * arrays, follow axes and lengths through it, and run it.
 *
 * Rows are in kind_*.c, by topic, and their numbers in kinds.c. The rest of core/model asks the row
 * and knows no kind by name. */
#ifndef FRNN_CORE_KINDS_H
#define FRNN_CORE_KINDS_H

#include <fastrnn.h>

#include "../arena.h"
#include "layer_options.h"
#include "layer_value.h"
#include "model_axes.h"
#include "model_file.h"

typedef struct layer_kind layer_kind;

/* A layer with its weights, which are packed or lie in the bytes of the file. */
typedef struct {
    const layer_kind *kind;
    layer_options options;
    int outputs;                /* features of y; 0: as many as x has */
    frnn_stack *stack;          /* recurrent kinds, which run by a plan; else NULL */
    frnn_dense *dense;          /* Linear */
    frnn_conv1d *conv1d;        /* Conv1d */
    const float *weight, *bias; /* of Embedding, norms and PReLU; in the file */
    const float *running_mean, *running_var; /* BatchNorm1d; in the file */
    const float *h_0, *c_0;     /* initial states, [states][..] or NULL; in the file */
    size_t state_floats;        /* of the states of one row, h and c; 0: none */
    int keeps; /* of the layers that hold this one, so many begin with its x, which is kept for them */
} model_layer;

/* Where a layer takes its arrays from and packs them to. Without memory, sizes are counted. */
typedef struct {
    model_file *file;
    const frnn_isa *isa;
    arena *memory;
    int arrays; /* of the layer */
} layer_source;

/* The size of a pass at a layer. */
typedef struct {
    size_t steps, batch;
    int width;             /* threads that the layer may use */
    const frnn_plan *plan; /* of a layer with a stack */
} layer_size;

/* One layer's part of a pass. */
typedef struct {
    const model_layer *layer;
    const frnn_isa *isa;
    const frnn_model_call *model; /* the call of the model */
    layer_value x, y;
    layer_value kept; /* of a kind that holds layers: what they took, where x is what they return */
    layer_size size;
    const float *state0; /* the caller's initial states of this layer; NULL: the file's, or zeros */
    float *state;        /* where the last states go; NULL: not wanted */
    float *initial;      /* [batch][state_floats] for copies of the file's initial states */
    void *workspace;
    size_t workspace_bytes;
} layer_call;

/* A field of a record, and where its value goes in layer_options. */
typedef struct {
    enum { FIELD_FLAG, FIELD_INTEGER, FIELD_INTEGERS, FIELD_NUMBER } type;
    int place; /* the bit of a flag, or the index of an integer or number */
    int most;  /* FIELD_INTEGERS: the largest count, which is the integer before the first one */
    double low, high;
    size_t offset;
} layer_field;

/* A row of the table. NULL and 0 mean: nothing to do. */
struct layer_kind {
    const char *name; /* in docs/file_format.md */
    const layer_field *fields;
    int field_count;
    /* What the values of several fields say about each other: 0 refuses the record. */
    int (*check)(const layer_options *options);
    /* Reads and packs the arrays; NULL: there are none. Sets outputs. */
    frnn_status (*read)(layer_source *from, model_layer *layer);
    /* Follows axes through the layer. 0: they do not fit. NULL: the kind does not run in C. */
    int (*axes)(model_axes *value, const layer_options *options);
    int accepts_tokens; /* axes() also takes token ids */
    /* Of a kind that holds layers instead of axes(): their records follow its own, and it runs after
     * them. Follows the axes of what they return, where `kept` is what they took. */
    int (*join)(model_axes *value, const model_axes *kept, const layer_options *options);
    /* Steps of y, 0 if x has too few; input_steps: of the model's input. NULL: as many as x. */
    size_t (*steps)(const model_layer *layer, size_t steps, size_t input_steps);
    size_t (*length)(const model_layer *layer, size_t length); /* the same for the length of a row */
    int ends_time;       /* y has no time axis */
    int halves_features; /* y has half as many features as x */
    int sees_padding;    /* what x has beyond the lengths can change y: it has to be 0 */
    frnn_status (*workspace)(const model_layer *layer, const layer_size *size, size_t *bytes);
    /* Runs the layer by one of these; neither: it only changes axes, and nothing is left to do. */
    frnn_status (*run)(const layer_call *call);
    frnn_status (*run_rows)(const layer_call *call, const frnn_rows *rows); /* each row by itself */
    int in_place;           /* run or run_rows accepts y equal to x */
    frnn_function function; /* of an elementwise kind */
};

/* Fields of records. `option` is a member of layer_options. */
#define FLAG_FIELD(bit, option) {FIELD_FLAG, bit, 0, 0, 0, offsetof(layer_options, option)}
#define INTEGER_FIELD(index, option, lowest) \
    {FIELD_INTEGER, index, 0, lowest, INT32_MAX, offsetof(layer_options, option)}
#define INTEGERS_FIELD(option, most, lowest) \
    {FIELD_INTEGERS, 0, most, lowest, INT32_MAX, offsetof(layer_options, option)}
#define NUMBER_FIELD(index, option, low, high) \
    {FIELD_NUMBER, index, 0, low, high, offsetof(layer_options, option)}
#define FIELDS(list) .fields = list, .field_count = sizeof list / sizeof list[0]

#define LARGEST_NUMBER 3.4e38   /* the largest float, nearly */
#define UNBOUNDED __builtin_inf()
#define SMALLEST_NUMBER 1.2e-38 /* the smallest normal float, nearly */

/* The kinds, by topic. Their numbers in the file are in kinds.c. */
extern const layer_kind frnn_kind_lstm, frnn_kind_gru, frnn_kind_rnn;           /* kind_recurrent.c */
extern const layer_kind frnn_kind_linear, frnn_kind_conv1d;                     /* kind_dense.c */
extern const layer_kind frnn_kind_relu, frnn_kind_tanh, frnn_kind_sigmoid;      /* kind_rows.c */
extern const layer_kind frnn_kind_softmax, frnn_kind_log_softmax, frnn_kind_layer_norm;
extern const layer_kind frnn_kind_dropout, frnn_kind_elu, frnn_kind_leaky_relu, frnn_kind_silu;
extern const layer_kind frnn_kind_gelu, frnn_kind_softplus, frnn_kind_hardtanh;
extern const layer_kind frnn_kind_hardsigmoid, frnn_kind_scale, frnn_kind_batch_norm;
extern const layer_kind frnn_kind_mish, frnn_kind_softsign, frnn_kind_hardswish;
extern const layer_kind frnn_kind_scale_features;
extern const layer_kind frnn_kind_prelu, frnn_kind_merge_directions;
extern const layer_kind frnn_kind_embedding, frnn_kind_last, frnn_kind_pool;    /* kind_steps.c */
extern const layer_kind frnn_kind_flip, frnn_kind_mask, frnn_kind_zero_pad;
extern const layer_kind frnn_kind_unmask, frnn_kind_max_pool, frnn_kind_avg_pool;
extern const layer_kind frnn_kind_add_input, frnn_kind_residual; /* kind_joins.c */
extern const layer_kind frnn_kind_attention_pool;
extern const layer_kind frnn_kind_squeeze, frnn_kind_unsqueeze, frnn_kind_flatten; /* kind_axes.c */
extern const layer_kind frnn_kind_transpose, frnn_kind_permute, frnn_kind_repeat_vector;
extern const layer_kind frnn_kind_unflatten;

/* The kind of a record, and its options. */
frnn_status frnn_kind_read(const layer_record *record, const layer_kind **kind,
                           layer_options *options);

/* Reads the arrays weight, of this shape, and bias, of its first size, if there is one. */
frnn_status frnn_read_weight_and_bias(const layer_source *from, const uint32_t *sizes, int rank,
                                      int with_bias, const float **weight, const float **bias);

#endif
