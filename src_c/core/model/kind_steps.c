/* SPDX-License-Identifier: MIT */
/* Kinds of layers that move steps: Embedding, Last, Pool, Flip, Mask, Unmask, ZeroPad1d,
 * MaxPool1d, AvgPool1d. */
#include "kinds.h"

#include <string.h>

/* ---- Embedding ------------------------------------------------------------------------------- */

static int check_embedding(const layer_options *options)
{
    return options->embedding.padding_idx < options->embedding.num_embeddings;
}

static frnn_status read_embedding(layer_source *from, model_layer *layer)
{
    const embedding_options *const o = &layer->options.embedding;
    const uint32_t sizes[] = {(uint32_t)o->num_embeddings, (uint32_t)o->embedding_dim};
    layer->outputs = o->embedding_dim;
    return frnn_read_weight_and_bias(from, sizes, 2, 0, &layer->weight, &layer->bias);
}

static int follow_embedding(model_axes *value, const layer_options *options)
{
    (void)options;
    if (!value->is_tokens)
        return 0;
    value->axes[value->rank++] = AXIS_FEATURES;
    value->is_tokens = value->inputs = 0;
    value->is_known = 1;
    return 1;
}

static frnn_status run_embedding(const layer_call *call)
{
    const frnn_model_call *const of = call->model;
    const layer_value *const y = &call->y;
    const int64_t entries = call->layer->options.embedding.num_embeddings;
    for (size_t step = 0; step < y->steps; step++)
        for (size_t row = 0; row < y->batch; row++) {
            if (y->lengths && step >= y->lengths[row])
                continue;
            const int64_t token =
                of->tokens[(ptrdiff_t)step * of->x_step + (ptrdiff_t)row * of->x_row];
            if (token < 0 || token >= entries)
                return FRNN_BAD_ARGUMENT;
            memcpy(value_row(y, step, row), call->layer->weight + (size_t)token * y->features,
                   y->features * sizeof(float));
        }
    frnn_value_clear(y);
    return FRNN_OK;
}

static const layer_field embedding_fields[] = {
    INTEGER_FIELD(0, embedding.num_embeddings, 1),
    INTEGER_FIELD(1, embedding.embedding_dim, 1),
    INTEGER_FIELD(2, embedding.padding_idx, -1),
};

const layer_kind frnn_kind_embedding = {
    .name = "Embedding",
    FIELDS(embedding_fields),
    .check = check_embedding,
    .read = read_embedding,
    .axes = follow_embedding,
    .accepts_tokens = 1,
    .run = run_embedding,
};

/* ---- Last, Pool ------------------------------------------------------------------------------ */

static int is_sequence(model_axes *value, const layer_options *options)
{
    return frnn_axes_are_sequence(value, options->sequence.batch_first);
}

static int remove_time(model_axes *value, const layer_options *options)
{
    if (!is_sequence(value, options))
        return 0;
    frnn_axes_remove(value, frnn_axes_find(value, AXIS_TIME));
    value->is_one_step = 1;
    return 1;
}

static frnn_sequences sequences_of(const layer_call *call)
{
    return (frnn_sequences){
        .steps = call->x.steps,
        .batch = call->x.batch,
        .size = call->x.features,
        .x = call->x.at,
        .x_step = call->x.step,
        .x_row = call->x.row,
        .lengths = call->x.lengths,
        .y = call->y.at,
        .y_row = call->y.row,
    };
}

static frnn_status run_last(const layer_call *call)
{
    const frnn_sequences sequences = sequences_of(call);
    const int of_state = call->layer->options.sequence.of_state;
    return frnn_last(&sequences, of_state ? sequences.size / 2 : 0);
}

static frnn_status run_pool(const layer_call *call)
{
    const frnn_sequences sequences = sequences_of(call);
    const sequence_options *const options = &call->layer->options.sequence;
    return options->max   ? frnn_pool_max(&sequences)
           : options->sum ? frnn_pool_sum(call->isa, &sequences)
                          : frnn_pool_mean(call->isa, &sequences);
}

static int check_pool(const layer_options *options)
{
    return !(options->sequence.max && options->sequence.sum);
}

static const layer_field last_fields[] = {FLAG_FIELD(1, sequence.batch_first),
                                          FLAG_FIELD(2, sequence.of_state)};
static const layer_field pool_fields[] = {FLAG_FIELD(1, sequence.batch_first),
                                          FLAG_FIELD(2, sequence.max),
                                          FLAG_FIELD(3, sequence.sum)};

const layer_kind frnn_kind_last = {
    .name = "Last", FIELDS(last_fields), .axes = remove_time, .ends_time = 1, .run = run_last};
const layer_kind frnn_kind_pool = {
    .name = "Pool", FIELDS(pool_fields), .check = check_pool, .axes = remove_time, .ends_time = 1,
    .run = run_pool};

/* ---- Flip, Mask, Unmask ---------------------------------------------------------------------- */

static frnn_status run_flip(const layer_call *call)
{
    frnn_value_reverse(&call->x, &call->y);
    return FRNN_OK;
}

static const layer_field flip_fields[] = {FLAG_FIELD(1, sequence.batch_first)};
static const layer_field mask_fields[] = {
    NUMBER_FIELD(0, mask.value, -LARGEST_NUMBER, LARGEST_NUMBER)};
static const layer_field unmask_fields[] = {FLAG_FIELD(1, unmask.repeat),
                                            FLAG_FIELD(2, unmask.backwards)};

const layer_kind frnn_kind_flip = {
    .name = "Flip", FIELDS(flip_fields), .axes = is_sequence, .run = run_flip};
const layer_kind frnn_kind_mask = {.name = "Mask", FIELDS(mask_fields)};
const layer_kind frnn_kind_unmask = {.name = "Unmask", FIELDS(unmask_fields)};

/* ---- ZeroPad1d ------------------------------------------------------------------------------- */

static int follow_zero_pad(model_axes *value, const layer_options *options)
{
    (void)options;
    value->is_one_step = 0;
    return value->rank > 0 && value->axes[value->rank - 1] == AXIS_TIME;
}

static size_t zero_pad_length(const model_layer *layer, size_t length)
{
    const zero_pad_options *const o = &layer->options.zero_pad;
    const size_t added = (size_t)o->left + (size_t)o->right;
    return length > SIZE_MAX / 2 - added ? 0 : length + added;
}

static size_t zero_pad_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    (void)input_steps;
    return zero_pad_length(layer, steps);
}

static frnn_status run_zero_pad(const layer_call *call)
{
    frnn_value_copy(&call->x, &call->y, (size_t)call->layer->options.zero_pad.left);
    return FRNN_OK;
}

static const layer_field zero_pad_fields[] = {INTEGER_FIELD(0, zero_pad.left, 0),
                                              INTEGER_FIELD(1, zero_pad.right, 0)};

const layer_kind frnn_kind_zero_pad = {
    .name = "ZeroPad1d",
    FIELDS(zero_pad_fields),
    .axes = follow_zero_pad,
    .steps = zero_pad_steps,
    .length = zero_pad_length,
    .run = run_zero_pad,
};

/* ---- MaxPool1d, AvgPool1d -------------------------------------------------------------------- */

/* A window has no more padding than values. */
static int check_windows(const layer_options *options)
{
    return options->windows.padding <= options->windows.kernel_size / 2;
}

static int follow_windows(model_axes *value, const layer_options *options)
{
    (void)options;
    value->is_one_step = 0;
    return frnn_axes_are(value, AXIS_BATCH, AXIS_FEATURES, AXIS_TIME);
}

static frnn_windows windows_of(const model_layer *layer)
{
    const windows_options *const o = &layer->options.windows;
    const int dilation = o->dilation > 0 ? o->dilation : 1; /* AvgPool1d has none */
    return (frnn_windows){o->kernel_size, o->stride,    o->padding,
                          dilation,       o->ceil_mode, o->count_include_pad};
}

static size_t windows_length(const model_layer *layer, size_t length)
{
    const frnn_windows windows = windows_of(layer);
    return frnn_windows_steps(&windows, length);
}

static size_t windows_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    (void)input_steps;
    return windows_length(layer, steps);
}

static frnn_status run_max_pool(const layer_call *call)
{
    const frnn_sequences sequences = sequences_of(call);
    const frnn_windows windows = windows_of(call->layer);
    return frnn_max_pool(&windows, &sequences, call->y.step);
}

static frnn_status run_avg_pool(const layer_call *call)
{
    const frnn_sequences sequences = sequences_of(call);
    const frnn_windows windows = windows_of(call->layer);
    return frnn_avg_pool(&windows, &sequences, call->y.step);
}

static const layer_field max_pool_fields[] = {
    INTEGER_FIELD(0, windows.kernel_size, 1), INTEGER_FIELD(1, windows.stride, 1),
    INTEGER_FIELD(2, windows.padding, 0),     INTEGER_FIELD(3, windows.dilation, 1),
    FLAG_FIELD(0, windows.ceil_mode),
};
static const layer_field avg_pool_fields[] = {
    INTEGER_FIELD(0, windows.kernel_size, 1), INTEGER_FIELD(1, windows.stride, 1),
    INTEGER_FIELD(2, windows.padding, 0),     FLAG_FIELD(0, windows.ceil_mode),
    FLAG_FIELD(1, windows.count_include_pad),
};

#define OVER_WINDOWS                                                                             \
    .check = check_windows, .axes = follow_windows, .steps = windows_steps, .length = windows_length

const layer_kind frnn_kind_max_pool = {
    .name = "MaxPool1d", FIELDS(max_pool_fields), OVER_WINDOWS, .run = run_max_pool};
const layer_kind frnn_kind_avg_pool = {
    .name = "AvgPool1d", FIELDS(avg_pool_fields), OVER_WINDOWS, .run = run_avg_pool};
