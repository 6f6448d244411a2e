/* SPDX-License-Identifier: MIT */
/* Kinds of layers that map each row by itself: functions, Dropout, softmax, norms, halves. */
#include "kinds.h"

/* ---- Activations, Dropout ---------------------------------------------------------------------- */

static int accept_any(model_axes *value, const layer_options *options)
{
    (void)value, (void)options;
    return 1;
}

/* Applies a function to all values, in one call where the rows are contiguous. */
static frnn_status map(const layer_call *call, const frnn_rows *rows, frnn_function function)
{
    const function_options *const o = &call->layer->options.function;
    const frnn_parameters parameters = {(float)o->a, (float)o->b};
    if (rows->x_row == (ptrdiff_t)rows->size && rows->y_row == rows->x_row)
        frnn_apply(call->isa, function, parameters, rows->y, rows->x, rows->rows * rows->size);
    else
        for (size_t row = 0; row < rows->rows; row++)
            frnn_apply(call->isa, function, parameters, rows->y + (ptrdiff_t)row * rows->y_row,
                       rows->x + (ptrdiff_t)row * rows->x_row, rows->size);
    return FRNN_OK;
}

static frnn_status run_function(const layer_call *call, const frnn_rows *rows)
{
    return map(call, rows, call->layer->kind->function);
}

static frnn_status run_gelu(const layer_call *call, const frnn_rows *rows)
{
    return map(call, rows, call->layer->options.function.tanh ? FRNN_GELU_TANH : FRNN_GELU);
}

static int check_hardtanh(const layer_options *options)
{
    return options->function.a < options->function.b;
}

static const layer_field slope_fields[] = {
    NUMBER_FIELD(0, function.a, -LARGEST_NUMBER, LARGEST_NUMBER)};
static const layer_field gelu_fields[] = {FLAG_FIELD(0, function.tanh)};
static const layer_field softplus_fields[] = {
    NUMBER_FIELD(0, function.a, SMALLEST_NUMBER, LARGEST_NUMBER),
    NUMBER_FIELD(1, function.b, -LARGEST_NUMBER, LARGEST_NUMBER)};
static const layer_field hardtanh_fields[] = {NUMBER_FIELD(0, function.a, -UNBOUNDED, UNBOUNDED),
                                              NUMBER_FIELD(1, function.b, -UNBOUNDED, UNBOUNDED)};
static const layer_field scale_fields[] = {
    NUMBER_FIELD(0, function.a, -LARGEST_NUMBER, LARGEST_NUMBER),
    NUMBER_FIELD(1, function.b, -LARGEST_NUMBER, LARGEST_NUMBER)};

/* A kind that is a function of each value by itself. */
#define FUNCTION_KIND(name_, ...) {.name = name_, .axes = accept_any, .in_place = 1, __VA_ARGS__}
#define RUN_FUNCTION(function_) .run_rows = run_function, .function = function_

const layer_kind frnn_kind_relu = FUNCTION_KIND("ReLU", RUN_FUNCTION(FRNN_RELU));
const layer_kind frnn_kind_tanh = FUNCTION_KIND("Tanh", RUN_FUNCTION(FRNN_TANH));
const layer_kind frnn_kind_sigmoid = FUNCTION_KIND("Sigmoid", RUN_FUNCTION(FRNN_SIGMOID));
const layer_kind frnn_kind_elu =
    FUNCTION_KIND("ELU", RUN_FUNCTION(FRNN_ELU), FIELDS(slope_fields));
const layer_kind frnn_kind_leaky_relu =
    FUNCTION_KIND("LeakyReLU", RUN_FUNCTION(FRNN_LEAKY_RELU), FIELDS(slope_fields));
const layer_kind frnn_kind_silu = FUNCTION_KIND("SiLU", RUN_FUNCTION(FRNN_SILU));
const layer_kind frnn_kind_gelu =
    FUNCTION_KIND("GELU", .run_rows = run_gelu, FIELDS(gelu_fields));
const layer_kind frnn_kind_softplus =
    FUNCTION_KIND("Softplus", RUN_FUNCTION(FRNN_SOFTPLUS), FIELDS(softplus_fields));
const layer_kind frnn_kind_hardtanh = FUNCTION_KIND(
    "Hardtanh", RUN_FUNCTION(FRNN_HARDTANH), FIELDS(hardtanh_fields), .check = check_hardtanh);
const layer_kind frnn_kind_hardsigmoid =
    FUNCTION_KIND("Hardsigmoid", RUN_FUNCTION(FRNN_HARDSIGMOID));
const layer_kind frnn_kind_mish = FUNCTION_KIND("Mish", RUN_FUNCTION(FRNN_MISH));
const layer_kind frnn_kind_softsign = FUNCTION_KIND("Softsign", RUN_FUNCTION(FRNN_SOFTSIGN));
const layer_kind frnn_kind_hardswish = FUNCTION_KIND("Hardswish", RUN_FUNCTION(FRNN_HARDSWISH));
const layer_kind frnn_kind_scale =
    FUNCTION_KIND("Scale", RUN_FUNCTION(FRNN_SCALE), FIELDS(scale_fields));

static const layer_field dropout_fields[] = {NUMBER_FIELD(0, dropout.p, 0, 1)};

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
    NUMBER_FIELD(0, layer_norm.eps, 0, LARGEST_NUMBER),
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

/* ---- BatchNorm1d, ScaleFeatures, PReLU ------------------------------------------------------- */

/* Reads arrays of one value for each feature. */
static frnn_status read_vectors(const layer_source *from, int count, const array_role *roles,
                                const float **const *into, int size)
{
    if (from->arrays != count)
        return FRNN_BAD_FILE;
    for (int i = 0; i < count; i++) {
        const array_spec spec = {.role = roles[i], .rank = 1, .sizes = {(uint32_t)size}};
        const frnn_status status = frnn_file_array(from->file, &spec, into[i]);
        if (status != FRNN_OK)
            return status;
    }
    return FRNN_OK;
}

static frnn_status read_batch_norm(layer_source *from, model_layer *layer)
{
    const batch_norm_options *const o = &layer->options.batch_norm;
    static const array_role roles[] = {ROLE_WEIGHT, ROLE_BIAS, ROLE_RUNNING_MEAN, ROLE_RUNNING_VAR};
    const float **const into[] = {&layer->weight, &layer->bias, &layer->running_mean,
                                  &layer->running_var};
    const int first = o->affine ? 0 : 2;
    return read_vectors(from, 4 - first, roles + first, into + first, o->num_features);
}

/* PyTorch's channels: axis 1. */
static int has_channels(model_axes *value, int channels)
{
    return value->rank > 1 && value->axes[1] == AXIS_FEATURES &&
           frnn_axes_have_features(value, channels);
}

static int follow_batch_norm(model_axes *value, const layer_options *options)
{
    return value->axes[0] == AXIS_BATCH && has_channels(value, options->batch_norm.num_features);
}

static frnn_status run_batch_norm(const layer_call *call, const frnn_rows *rows)
{
    const model_layer *const layer = call->layer;
    const frnn_batch_norm_call statistics = {
        .running_mean = layer->running_mean,
        .running_var = layer->running_var,
        .weight = layer->weight,
        .bias = layer->bias,
        .eps = layer->options.batch_norm.eps,
    };
    return frnn_batch_norm(call->isa, rows, &statistics);
}

static const layer_field batch_norm_fields[] = {
    INTEGER_FIELD(0, batch_norm.num_features, 1),
    NUMBER_FIELD(0, batch_norm.eps, 0, LARGEST_NUMBER),
    FLAG_FIELD(0, batch_norm.affine),
};

const layer_kind frnn_kind_batch_norm = {
    .name = "BatchNorm1d",
    FIELDS(batch_norm_fields),
    .read = read_batch_norm,
    .axes = follow_batch_norm,
    .run_rows = run_batch_norm,
    .in_place = 1,
};

static frnn_status read_scale_features(layer_source *from, model_layer *layer)
{
    static const array_role roles[] = {ROLE_WEIGHT, ROLE_BIAS};
    const float **const into[] = {&layer->weight, &layer->bias};
    return read_vectors(from, 2, roles, into, layer->options.batch_norm.num_features);
}

static int follow_scale_features(model_axes *value, const layer_options *options)
{
    return frnn_axes_end_in_features(value, options->batch_norm.num_features);
}

static const layer_field scale_features_fields[] = {INTEGER_FIELD(0, batch_norm.num_features, 1)};

/* A batch normalization by a mean of 0 and a variance of 1, with an eps of 0. */
const layer_kind frnn_kind_scale_features = {
    .name = "ScaleFeatures",
    FIELDS(scale_features_fields),
    .read = read_scale_features,
    .axes = follow_scale_features,
    .run_rows = run_batch_norm,
    .in_place = 1,
};

static frnn_status read_prelu(layer_source *from, model_layer *layer)
{
    static const array_role roles[] = {ROLE_WEIGHT};
    const float **const into[] = {&layer->weight};
    return read_vectors(from, 1, roles, into, layer->options.prelu.num_parameters);
}

/* One slope for all values, or one for each channel. */
static int follow_prelu(model_axes *value, const layer_options *options)
{
    const int count = options->prelu.num_parameters;
    return count == 1 || has_channels(value, count);
}

static frnn_status run_prelu(const layer_call *call, const frnn_rows *rows)
{
    const model_layer *const layer = call->layer;
    return frnn_prelu(rows, layer->weight, (size_t)layer->options.prelu.num_parameters);
}

static const layer_field prelu_fields[] = {INTEGER_FIELD(0, prelu.num_parameters, 1)};

const layer_kind frnn_kind_prelu = {
    .name = "PReLU",
    FIELDS(prelu_fields),
    .read = read_prelu,
    .axes = follow_prelu,
    .run_rows = run_prelu,
    .in_place = 1,
};

/* ---- MergeDirections ------------------------------------------------------------------------- */

/* Halves the features, which have to be known by then: the layer before is recurrent. */
static int follow_merge(model_axes *value, const layer_options *options)
{
    (void)options;
    if (value->rank == 0 || value->axes[value->rank - 1] != AXIS_FEATURES || !value->is_known ||
        value->features % 2 != 0)
        return 0;
    value->features /= 2;
    return 1;
}

static int check_merge(const layer_options *options)
{
    return options->merge.mode <= FRNN_MERGE_MUL;
}

static frnn_status run_merge(const layer_call *call, const frnn_rows *rows)
{
    return frnn_merge(rows, (frnn_merging)call->layer->options.merge.mode);
}

static const layer_field merge_fields[] = {INTEGER_FIELD(0, merge.mode, 0)};

const layer_kind frnn_kind_merge_directions = {
    .name = "MergeDirections",
    FIELDS(merge_fields),
    .check = check_merge,
    .axes = follow_merge,
    .halves_features = 1,
    .run_rows = run_merge,
};
