/* SPDX-License-Identifier: MIT */
/* Kinds of layers that add, remove or reorder axes. In a run only RepeatVector and
 * Unflatten have to do something. */
#include "kinds.h"

#include <string.h>

/* ---- Squeeze, Unsqueeze, Flatten --------------------------------------------------------------- */

/* Removes an axis, which has to be of size 1. */
static int remove_one(model_axes *value, int at)
{
    if (at < 0 || value->axes[at] == AXIS_BATCH ||
        (value->axes[at] == AXIS_FEATURES ? value->features != 1 : !value->is_one_step))
        return 0;
    frnn_axes_remove(value, at);
    return 1;
}

static int squeeze(model_axes *value, const layer_options *options)
{
    return remove_one(value, frnn_axes_place(options->axis.dim, value->rank));
}

static int unsqueeze(model_axes *value, const layer_options *options)
{
    const int at = frnn_axes_place(options->axis.dim, value->rank + 1);
    if (at < 0 || value->rank == 3)
        return 0;
    /* There is always a batch, so at most one of the others. */
    const axis added = frnn_axes_find(value, AXIS_FEATURES) < 0 ? AXIS_FEATURES : AXIS_TIME;
    for (int i = value->rank++; i > at; i--)
        value->axes[i] = value->axes[i - 1];
    value->axes[at] = added;
    return 1;
}

/* Joins neighbouring axes, of which all but one have to be of size 1. */
static int flatten(model_axes *value, const layer_options *options)
{
    const int start = frnn_axes_place(options->flatten.start_dim, value->rank);
    const int end = frnn_axes_place(options->flatten.end_dim, value->rank);
    if (start < 0 || end < start)
        return 0;
    for (int left = end - start; left > 0; left--) {
        int at = start;
        while (at <= start + left && !remove_one(value, at))
            at++;
        if (at > start + left)
            return 0;
    }
    return 1;
}

static const layer_field axis_fields[] = {INTEGER_FIELD(0, axis.dim, -MOST_AXES)};
static const layer_field flatten_fields[] = {INTEGER_FIELD(0, flatten.start_dim, -MOST_AXES),
                                             INTEGER_FIELD(1, flatten.end_dim, -MOST_AXES)};

const layer_kind frnn_kind_squeeze = {.name = "Squeeze", FIELDS(axis_fields), .axes = squeeze};
const layer_kind frnn_kind_unsqueeze = {
    .name = "Unsqueeze", FIELDS(axis_fields), .axes = unsqueeze};
const layer_kind frnn_kind_flatten = {.name = "Flatten", FIELDS(flatten_fields), .axes = flatten};

/* ---- Transpose, Permute ------------------------------------------------------------------------ */

static int transpose(model_axes *value, const layer_options *options)
{
    const int a = frnn_axes_place(options->transpose.dim0, value->rank);
    const int b = frnn_axes_place(options->transpose.dim1, value->rank);
    if (a < 0 || b < 0)
        return 0;
    const axis kept = value->axes[a];
    value->axes[a] = value->axes[b];
    value->axes[b] = kept;
    return 1;
}

static int is_permutation(const layer_options *options)
{
    const int_list *const dims = &options->permute.dims;
    unsigned seen = 0;
    for (int i = 0; i < dims->count; i++) {
        const int at = frnn_axes_place(dims->values[i], dims->count);
        if (at < 0 || seen >> at & 1)
            return 0;
        seen |= 1U << at;
    }
    return 1;
}

static int permute(model_axes *value, const layer_options *options)
{
    const int_list *const dims = &options->permute.dims;
    axis moved[3];
    if (dims->count != value->rank)
        return 0;
    for (int i = 0; i < value->rank; i++)
        moved[i] = value->axes[frnn_axes_place(dims->values[i], value->rank)];
    for (int i = 0; i < value->rank; i++)
        value->axes[i] = moved[i];
    return 1;
}

static const layer_field transpose_fields[] = {INTEGER_FIELD(0, transpose.dim0, -MOST_AXES),
                                               INTEGER_FIELD(1, transpose.dim1, -MOST_AXES)};
static const layer_field permute_fields[] = {INTEGERS_FIELD(permute.dims, MOST_AXES, -MOST_AXES)};

const layer_kind frnn_kind_transpose = {
    .name = "Transpose", FIELDS(transpose_fields), .axes = transpose, .accepts_tokens = 1};
const layer_kind frnn_kind_permute = {.name = "Permute",
                                      FIELDS(permute_fields),
                                      .check = is_permutation,
                                      .axes = permute,
                                      .accepts_tokens = 1};

/* ---- RepeatVector, Unflatten -------------------------------------------------------------------- */

/* Makes steps of a value that has none. */
static int begin_steps(model_axes *value)
{
    if (value->rank != 2 || value->axes[0] != AXIS_BATCH || value->axes[1] != AXIS_FEATURES)
        return 0;
    value->axes[1] = AXIS_TIME;
    value->axes[value->rank++] = AXIS_FEATURES;
    value->is_one_step = 0;
    return 1;
}

static int follow_repeat(model_axes *value, const layer_options *options)
{
    (void)options;
    return begin_steps(value);
}

static size_t repeat_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    (void)input_steps;
    return steps == 1 ? (size_t)layer->options.repeat.n : 0;
}

static frnn_status run_repeat(const layer_call *call)
{
    const layer_value *const y = &call->y;
    for (size_t step = 0; step < y->steps; step++)
        for (size_t row = 0; row < y->batch; row++)
            memcpy(value_row(y, step, row), value_row(&call->x, 0, row),
                   y->features * sizeof(float));
    return FRNN_OK;
}

/* Of the axes that it makes, those of features become steps and features. */
static int follow_unflatten(model_axes *value, const layer_options *options)
{
    const int_list *const sizes = &options->unflatten.unflattened_size;
    const int at = frnn_axes_place(options->unflatten.dim, value->rank);
    if (sizes->count != 2 || at != 1 || sizes->values[1] > INT32_MAX / sizes->values[0] ||
        !frnn_axes_end_in_features(value, sizes->values[0] * sizes->values[1]))
        return 0;
    value->features = sizes->values[1];
    return begin_steps(value);
}

static frnn_status read_unflatten(layer_source *from, model_layer *layer)
{
    const int_list *const sizes = &layer->options.unflatten.unflattened_size;
    layer->outputs = sizes->values[sizes->count - 1];
    return from->arrays == 0 ? FRNN_OK : FRNN_BAD_FILE;
}

static size_t unflatten_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    (void)input_steps;
    return steps == 1 ? (size_t)layer->options.unflatten.unflattened_size.values[0] : 0;
}

static frnn_status run_unflatten(const layer_call *call)
{
    const layer_value *const y = &call->y;
    for (size_t step = 0; step < y->steps; step++)
        for (size_t row = 0; row < y->batch; row++)
            memcpy(value_row(y, step, row), value_row(&call->x, 0, row) + step * y->features,
                   y->features * sizeof(float));
    return FRNN_OK;
}

static const layer_field repeat_fields[] = {INTEGER_FIELD(0, repeat.n, 1)};
static const layer_field unflatten_fields[] = {
    INTEGERS_FIELD(unflatten.unflattened_size, MOST_AXES - 1, 1),
    INTEGER_FIELD(MOST_AXES, unflatten.dim, -MOST_AXES)};

const layer_kind frnn_kind_repeat_vector = {
    .name = "RepeatVector",
    FIELDS(repeat_fields),
    .axes = follow_repeat,
    .steps = repeat_steps,
    .run = run_repeat,
};
const layer_kind frnn_kind_unflatten = {
    .name = "Unflatten",
    FIELDS(unflatten_fields),
    .read = read_unflatten,
    .axes = follow_unflatten,
    .steps = unflatten_steps,
    .run = run_unflatten,
};
