/* SPDX-License-Identifier: MIT */
/* Kinds of layers that join two values: AddInput, and those that hold layers: Residual and
 * AttentionPool. */
#include "kinds.h"

/* ---- AddInput -------------------------------------------------------------------------------- */

static int follow_add_input(model_axes *value, const layer_options *options)
{
    const int features = options->add_input.features;
    for (int i = 0; i < value->rank; i++)
        if (value->axes[i] != value->first[i])
            return 0;
    return value->rank == value->first_rank && frnn_axes_have_features(value, features) &&
           value->inputs >= features;
}

/* The value has to have as many steps as the input. */
static size_t add_input_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    (void)layer;
    return steps == input_steps ? steps : 0;
}

static frnn_status run_add_input(const layer_call *call)
{
    const frnn_model_call *const of = call->model;
    const layer_value input = {.at = (float *)of->x, .step = of->x_step, .row = of->x_row};
    frnn_value_add(&call->x, &input, &call->y);
    return FRNN_OK;
}

static const layer_field add_input_fields[] = {INTEGER_FIELD(0, add_input.features, 1)};

const layer_kind frnn_kind_add_input = {
    .name = "AddInput",
    FIELDS(add_input_fields),
    .axes = follow_add_input,
    .steps = add_input_steps,
    .run = run_add_input,
};

/* ---- Residual -------------------------------------------------------------------------------- */

/* Has a value the axes of one before it? */
static int have_same_axes(const model_axes *value, const model_axes *before)
{
    for (int i = 0; i < value->rank; i++)
        if (i >= before->rank || value->axes[i] != before->axes[i])
            return 0;
    return value->rank == before->rank && !before->is_tokens;
}

/* Features that a value had before layers of which one may have told their number. */
static int features_before(const model_axes *value, const model_axes *before)
{
    return before->features > 0 ? before->features : value->inputs;
}

static int join_residual(model_axes *value, const model_axes *kept, const layer_options *options)
{
    (void)options;
    return have_same_axes(value, kept) && value->features == features_before(value, kept);
}

static frnn_status run_residual(const layer_call *call)
{
    frnn_value_add(&call->x, &call->kept, &call->y);
    return FRNN_OK;
}

static const layer_field residual_fields[] = {INTEGER_FIELD(0, container.layers, 1)};

const layer_kind frnn_kind_residual = {
    .name = "Residual",
    FIELDS(residual_fields),
    .join = join_residual,
    .run = run_residual,
    .in_place = 1,
};

/* ---- AttentionPool --------------------------------------------------------------------------- */

/* The layers inside make one score of each step. */
static int join_pool(model_axes *value, const model_axes *kept, const layer_options *options)
{
    if (!frnn_axes_are_sequence(kept, options->container.batch_first) ||
        !have_same_axes(value, kept) || value->features != 1)
        return 0;
    value->features = features_before(value, kept);
    frnn_axes_remove(value, frnn_axes_find(value, AXIS_TIME));
    value->is_one_step = 1;
    return value->features > 0;
}

static frnn_status pool_workspace(const model_layer *layer, const layer_size *size, size_t *bytes)
{
    (void)layer;
    *bytes = checked_product(checked_product(size->steps, size->batch), sizeof(float));
    return *bytes < SIZE_MAX ? FRNN_OK : FRNN_TOO_LARGE;
}

static frnn_status run_pool(const layer_call *call)
{
    const layer_value *const kept = &call->kept;
    float *const weights = call->workspace;
    for (size_t row = 0; row < kept->batch; row++)
        for (size_t step = 0; step < kept->steps; step++)
            weights[row * kept->steps + step] = *value_row(&call->x, step, row);
    const frnn_sequences sequences = {
        .steps = kept->steps,
        .batch = kept->batch,
        .size = kept->features,
        .x = kept->at,
        .x_step = kept->step,
        .x_row = kept->row,
        .lengths = kept->lengths,
        .y = call->y.at,
        .y_row = call->y.row,
    };
    return frnn_attention_pool(call->isa, &sequences, weights);
}

static const layer_field pool_fields[] = {INTEGER_FIELD(0, container.layers, 1),
                                          FLAG_FIELD(1, container.batch_first)};

const layer_kind frnn_kind_attention_pool = {
    .name = "AttentionPool",
    FIELDS(pool_fields),
    .join = join_pool,
    .ends_time = 1,
    .workspace = pool_workspace,
    .run = run_pool,
};
