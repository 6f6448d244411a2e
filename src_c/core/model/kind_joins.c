/* SPDX-License-Identifier: MIT */
/* Kinds of layers that join two values: AddInput, and those that hold layers: Residual. */
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

static int join_residual(model_axes *value, const model_axes *kept, const layer_options *options)
{
    (void)options;
    const int features = kept->features > 0 ? kept->features : value->inputs;
    return have_same_axes(value, kept) && value->features == features;
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
