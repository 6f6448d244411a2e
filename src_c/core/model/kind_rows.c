/* SPDX-License-Identifier: MIT */
/* Kinds of layers that map each row by itself: activations, Dropout, softmax, LayerNorm. */
#include "kinds.h"

/* ---- Activations, Dropout ---------------------------------------------------------------------- */

static int accept_any(model_axes *value, const layer_options *options)
{
    (void)value, (void)options;
    return 1;
}

/* Applies a function to all values, in one call where the rows are contiguous. */
static frnn_status map(const layer_call *call, const frnn_rows *rows,
                       void (*function)(const frnn_isa *, float *, const float *, size_t))
{
    if (rows->x_row == (ptrdiff_t)rows->size && rows->y_row == rows->x_row)
        function(call->isa, rows->y, rows->x, rows->rows * rows->size);
    else
        for (size_t row = 0; row < rows->rows; row++)
            function(call->isa, rows->y + (ptrdiff_t)row * rows->y_row,
                     rows->x + (ptrdiff_t)row * rows->x_row, rows->size);
    return FRNN_OK;
}

static frnn_status run_relu(const layer_call *call, const frnn_rows *rows)
{
    return map(call, rows, frnn_relu);
}

static frnn_status run_tanh(const layer_call *call, const frnn_rows *rows)
{
    return map(call, rows, frnn_tanh);
}

static frnn_status run_sigmoid(const layer_call *call, const frnn_rows *rows)
{
    return map(call, rows, frnn_sigmoid);
}

#define ACTIVATION(name_, run_) {.name = name_, .axes = accept_any, .run_rows = run_, .in_place = 1}

const layer_kind frnn_kind_relu = ACTIVATION("ReLU", run_relu);
const layer_kind frnn_kind_tanh = ACTIVATION("Tanh", run_tanh);
const layer_kind frnn_kind_sigmoid = ACTIVATION("Sigmoid", run_sigmoid);

static const layer_field dropout_fields[] = {NUMBER_FIELD(dropout.p, 0, 1)};

const layer_kind frnn_kind_dropout = { /* does nothing outside training */
    .name = "Dropout", FIELDS(dropout_fields), .axes = accept_any, .accepts_tokens = 1};

/* ---- Softmax --------------------------------------------------------------------------------- */

/* Sums go over the axis of features, which the value has to have. */
static int follow_softmax(model_axes *value, const layer_options *options)
{
    const int at = frnn_axes_place(options->axis.dim, value->rank);
    return at >= 0 && value->axes[at] == AXIS_FEATURES;
}

static frnn_status run_softmax(const layer_call *call, const frnn_rows *rows)
{
    return frnn_softmax(call->isa, rows);
}

static frnn_status run_log_softmax(const layer_call *call, const frnn_rows *rows)
{
    return frnn_log_softmax(call->isa, rows);
}

static const layer_field softmax_fields[] = {INTEGER_FIELD(0, axis.dim, -MOST_AXES)};

const layer_kind frnn_kind_softmax = {
    .name = "Softmax",
    FIELDS(softmax_fields),
    .axes = follow_softmax,
    .run_rows = run_softmax,
    .in_place = 1,
};
const layer_kind frnn_kind_log_softmax = {
    .name = "LogSoftmax",
    FIELDS(softmax_fields),
    .axes = follow_softmax,
    .run_rows = run_log_softmax,
    .in_place = 1,
};

/* ---- LayerNorm ------------------------------------------------------------------------------- */

static frnn_status read_layer_norm(layer_source *from, model_layer *layer)
{
    const layer_norm_options *const o = &layer->options.layer_norm;
    const int_list *const shape = &o->normalized_shape;
    array_spec spec = {.role = ROLE_WEIGHT, .rank = shape->count};
    if (from->arrays != (o->elementwise_affine ? 1 + o->bias : 0))
        return FRNN_BAD_FILE;
    for (int i = 0; i < shape->count; i++) spec.sizes[i] = (uint32_t)shape->values[i];
    frnn_status status = FRNN_OK;
    if (from->arrays > 0)
        status = frnn_file_array(from->file, &spec, &layer->weight);
    spec.role = ROLE_BIAS;
    if (status == FRNN_OK && from->arrays > 1)
        status = frnn_file_array(from->file, &spec, &layer->bias);
    return status;
}

static int follow_layer_norm(model_axes *value, const layer_options *options)
{
    const int_list *const shape = &options->layer_norm.normalized_shape;
    return shape->count == 1 && frnn_axes_end_in_features(value, shape->values[0]);
}

static frnn_status run_layer_norm(const layer_call *call, const frnn_rows *rows)
{
    const model_layer *const layer = call->layer;
    return frnn_layer_norm(call->isa, rows, layer->weight, layer->bias,
                           (float)layer->options.layer_norm.eps);
}

static const layer_field layer_norm_fields[] = {
    INTEGERS_FIELD(layer_norm.normalized_shape, MOST_DIMENSIONS, 1),
    NUMBER_FIELD(layer_norm.eps, 0, LARGEST_NUMBER),
    FLAG_FIELD(0, layer_norm.bias),
    FLAG_FIELD(2, layer_norm.elementwise_affine),
};

const layer_kind frnn_kind_layer_norm = {
    .name = "LayerNorm",
    FIELDS(layer_norm_fields),
    .read = read_layer_norm,
    .axes = follow_layer_norm,
    .run_rows = run_layer_norm,
    .in_place = 1,
};
