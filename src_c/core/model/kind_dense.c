/* SPDX-License-Identifier: MIT */
/* Kinds of layers with packed weights and no state: Linear and Conv1d. */
#include "kinds.h"

/* ---- Linear ---------------------------------------------------------------------------------- */

static frnn_status read_linear(layer_source *from, model_layer *layer)
{
    const linear_options *const o = &layer->options.linear;
    const uint32_t sizes[] = {(uint32_t)o->out_features, (uint32_t)o->in_features};
    const float *weight, *bias = NULL;
    size_t bytes = 0;
    frnn_status status = frnn_read_weight_and_bias(from, sizes, 2, o->bias, &weight, &bias);
    if (status == FRNN_OK)
        status = frnn_dense_size(o->in_features, o->out_features, from->isa, &bytes);
    void *const block = status == FRNN_OK ? arena_take(from->memory, 1, bytes) : NULL;
    layer->outputs = o->out_features;
    if (!block)
        return status;
    status = frnn_dense_init(&layer->dense, o->in_features, o->out_features, from->isa, block,
                             bytes);
    return status == FRNN_OK ? frnn_dense_set_weights(layer->dense, weight, bias) : status;
}

static int follow_linear(model_axes *value, const layer_options *options)
{
    return frnn_axes_end_in_features(value, options->linear.in_features);
}

static frnn_status run_linear(const layer_call *call, const frnn_rows *rows)
{
    return frnn_dense_run(call->layer->dense, rows->rows, rows->x, rows->x_row, rows->y,
                          rows->y_row, call->model->executor, call->size.width);
}

static const layer_field linear_fields[] = {
    INTEGER_FIELD(0, linear.in_features, 1),
    INTEGER_FIELD(1, linear.out_features, 1),
    FLAG_FIELD(0, linear.bias),
};

const layer_kind frnn_kind_linear = {
    .name = "Linear",
    FIELDS(linear_fields),
    .read = read_linear,
    .axes = follow_linear,
    .run_rows = run_linear,
};

/* ---- Conv1d ---------------------------------------------------------------------------------- */

static int check_conv1d(const layer_options *options)
{
    const conv1d_options *const o = &options->conv1d;
    return o->in_channels % o->groups == 0 && o->out_channels % o->groups == 0 &&
           (o->padding != PADDING_SAME || o->stride == 1);
}

static frnn_status read_conv1d(layer_source *from, model_layer *layer)
{
    const conv1d_options *const o = &layer->options.conv1d;
    const uint32_t sizes[] = {(uint32_t)o->out_channels, (uint32_t)(o->in_channels / o->groups),
                              (uint32_t)o->kernel_size};
    const float *weight, *bias = NULL;
    frnn_status status = frnn_read_weight_and_bias(from, sizes, 3, o->bias, &weight, &bias);
    if (status != FRNN_OK)
        return status;
    const int64_t reach = (int64_t)o->dilation * (o->kernel_size - 1);
    if (reach > MOST_SIZE)
        return FRNN_TOO_LARGE;
    const int same = o->padding == PADDING_SAME, left = same ? (int)reach / 2 : o->padding;
    const frnn_conv1d_config config = {
        .in_channels = o->in_channels,
        .out_channels = o->out_channels,
        .kernel_size = o->kernel_size,
        .stride = o->stride,
        .padding_left = left,
        .padding_right = same ? (int)reach - left : left,
        .dilation = o->dilation,
        .groups = o->groups,
    };
    size_t bytes = 0;
    status = frnn_conv1d_size(&config, from->isa, &bytes);
    void *const block = status == FRNN_OK ? arena_take(from->memory, 1, bytes) : NULL;
    layer->outputs = o->out_channels;
    if (!block)
        return status;
    status = frnn_conv1d_init(&layer->conv1d, &config, from->isa, block, bytes);
    return status == FRNN_OK ? frnn_conv1d_set_weights(layer->conv1d, weight, bias) : status;
}

static int follow_conv1d(model_axes *value, const layer_options *options)
{
    value->is_one_step = 0;
    return frnn_axes_are(value, AXIS_BATCH, AXIS_FEATURES, AXIS_TIME) &&
           frnn_axes_have_features(value, options->conv1d.in_channels);
}

static size_t conv1d_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    (void)input_steps;
    return frnn_conv1d_steps(layer->conv1d, steps);
}

static size_t conv1d_length(const model_layer *layer, size_t length)
{
    return length > 0 ? frnn_conv1d_steps(layer->conv1d, length) : 0; /* no row, so no padding */
}

static frnn_status conv1d_workspace(const model_layer *layer, const layer_size *size, size_t *bytes)
{
    return frnn_conv1d_workspace_size(layer->conv1d, size->width, bytes);
}

static frnn_status run_conv1d(const layer_call *call)
{
    const frnn_conv1d_call pass = {
        .steps = call->size.steps,
        .batch = call->size.batch,
        .x = call->x.at,
        .x_step = call->x.step,
        .x_row = call->x.row,
        .x_channel = 1,
        .y = call->y.at,
        .y_step = call->y.step,
        .y_row = call->y.row,
        .y_channel = 1,
        .executor = call->model->executor,
        .width = call->size.width,
        .stop = call->model->stop,
        .stop_context = call->model->stop_context,
    };
    const frnn_status status =
        frnn_conv1d_run(call->layer->conv1d, &pass, call->workspace, call->workspace_bytes);
    if (status == FRNN_OK)
        frnn_value_clear(&call->y);
    return status;
}

static const layer_field conv1d_fields[] = {
    INTEGER_FIELD(0, conv1d.in_channels, 1),
    INTEGER_FIELD(1, conv1d.out_channels, 1),
    INTEGER_FIELD(2, conv1d.kernel_size, 1),
    INTEGER_FIELD(3, conv1d.stride, 1),
    INTEGER_FIELD(4, conv1d.padding, PADDING_SAME),
    INTEGER_FIELD(5, conv1d.dilation, 1),
    INTEGER_FIELD(6, conv1d.groups, 1),
    FLAG_FIELD(0, conv1d.bias),
};

const layer_kind frnn_kind_conv1d = {
    .name = "Conv1d",
    FIELDS(conv1d_fields),
    .check = check_conv1d,
    .read = read_conv1d,
    .axes = follow_conv1d,
    .steps = conv1d_steps,
    .length = conv1d_length,
    .sees_padding = 1,
    .workspace = conv1d_workspace,
    .run = run_conv1d,
};
