/* SPDX-License-Identifier: MIT */
/* Recurrent kinds of layers: LSTM, GRU, RNN. */
#include <string.h>

#include "../pass/stack.h"
#include "kinds.h"


static int check(const layer_options *options)
{
    const recurrent_options *const o = &options->recurrent;
    return o->num_layers <= MOST_LAYERS && o->proj_size < o->hidden_size;
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

/* Sizes of the arrays of a stack in a file. */
typedef struct {
    uint32_t hidden, rows; /* of the matrices: gates * hidden */
    uint32_t h, c;         /* sizes of h and, if the cell has more states, of these */
    uint32_t parts;        /* layers times directions */
} stack_shape;

static stack_shape shape_of(const frnn_config *config, const frnn_isa *isa)
{
    const frnn_cell_kernels *const cell = &isa->cell[config->cell];
    const uint32_t hidden = (uint32_t)config->hidden_size;
    return (stack_shape){
        .hidden = hidden,
        .rows = (uint32_t)cell->gates * hidden,
        .h = config->proj_size > 0 ? (uint32_t)config->proj_size : hidden,
        .c = (uint32_t)(cell->states - 1) * hidden,
        .parts = (uint32_t)config->num_layers * (config->bidirectional ? 2 : 1),
    };
}

/* The arrays of one layer and direction of a stack. */
static frnn_status read_weights(const layer_source *from, const frnn_config *config, int bias,
                                int layer, int direction, frnn_weights *w)
{
    const stack_shape shape = shape_of(config, from->isa);
    const uint32_t below = shape.h * (config->bidirectional ? 2 : 1);
    const uint32_t inputs = layer > 0 ? below : (uint32_t)config->input_size;
    const struct {
        const float **values;
        array_spec spec;
        int is_there;
    } arrays[] = {
        {&w->weight_ih, {ROLE_WEIGHT_IH, layer, direction, 2, {shape.rows, inputs}}, 1},
        {&w->weight_hh, {ROLE_WEIGHT_HH, layer, direction, 2, {shape.rows, shape.h}}, 1},
        {&w->bias_ih, {ROLE_BIAS_IH, layer, direction, 1, {shape.rows}}, bias},
        {&w->bias_hh, {ROLE_BIAS_HH, layer, direction, 1, {shape.rows}}, bias},
        {&w->weight_hr, {ROLE_WEIGHT_HR, layer, direction, 2, {shape.h, shape.hidden}},
         config->proj_size > 0},
    };
    frnn_status status = FRNN_OK;
    *w = (frnn_weights){0};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0] && status == FRNN_OK; i++)
        if (arrays[i].is_there)
            status = frnn_file_array(from->file, &arrays[i].spec, arrays[i].values);
    return status;
}

/* Initial states, which a file may have after the weights: h_0 and, if the cell has a c, c_0. */
static frnn_status read_states(const layer_source *from, const stack_shape *shape,
                               model_layer *layer)
{
    const array_spec h = {.role = ROLE_H_0, .rank = 2, .sizes = {shape->parts, shape->h}};
    const array_spec c = {.role = ROLE_C_0, .rank = 2, .sizes = {shape->parts, shape->c}};
    const frnn_status status = frnn_file_array(from->file, &h, &layer->h_0);
    return status == FRNN_OK && shape->c > 0 ? frnn_file_array(from->file, &c, &layer->c_0) : status;
}

static frnn_status read_stack(layer_source *from, model_layer *layer, frnn_cell cell)
{
    const recurrent_options *const o = &layer->options.recurrent;
    const frnn_config config = {
        .cell = cell,
        .input_size = o->input_size,
        .hidden_size = o->hidden_size,
        .num_layers = o->num_layers,
        .bidirectional = o->bidirectional,
        .proj_size = o->proj_size,
    };
    if (config.input_size > MOST_SIZE || config.hidden_size > MOST_SIZE)
        return FRNN_TOO_LARGE;
    const stack_shape shape = shape_of(&config, from->isa);
    const int64_t weights = (int64_t)shape.parts * (2 + 2 * o->bias + (config.proj_size > 0));
    if (from->arrays < weights)
        return FRNN_BAD_FILE;
    size_t bytes = 0;
    frnn_status status = frnn_stack_size(&config, from->isa, &bytes);
    void *const block = status == FRNN_OK ? arena_take(from->memory, 1, bytes) : NULL;
    if (block)
        status = frnn_stack_init(&layer->stack, &config, from->isa, block, bytes);
    for (int i = 0; i < config.num_layers && status == FRNN_OK; i++)
        for (int k = 0; k <= config.bidirectional && status == FRNN_OK; k++) {
            frnn_weights w;
            status = read_weights(from, &config, o->bias, i, k, &w);
            if (status == FRNN_OK && block)
                status = frnn_stack_set_weights(layer->stack, i, k, &w);
        }
    layer->outputs = (int)shape.h * (config.bidirectional ? 2 : 1);
    layer->state_floats = shape.parts * ((size_t)shape.h + shape.c);
    if (status != FRNN_OK || from->arrays == weights)
        return status;
    const int states = shape.c > 0 ? 2 : 1;
    return from->arrays == weights + states ? read_states(from, &shape, layer) : FRNN_BAD_FILE;
}

static frnn_status read_lstm(layer_source *from, model_layer *layer)
{
    return read_stack(from, layer, layer->options.recurrent.coupled ? FRNN_LSTM_COUPLED : FRNN_LSTM);
}

static frnn_status read_gru(layer_source *from, model_layer *layer)
{
    const int reset_after = layer->options.recurrent.reset_after;
    return read_stack(from, layer, reset_after ? FRNN_GRU : FRNN_GRU_RESET_BEFORE);
}

static frnn_status read_rnn(layer_source *from, model_layer *layer)
{
    return read_stack(from, layer, layer->options.recurrent.relu ? FRNN_RNN_RELU : FRNN_RNN_TANH);
}

/* ---- Running --------------------------------------------------------------------------------- */

static int follow_axes(model_axes *value, const layer_options *options)
{
    const recurrent_options *const o = &options->recurrent;
    return frnn_axes_are_sequence(value, o->batch_first) &&
           frnn_axes_have_features(value, o->input_size);
}

static frnn_status workspace(const model_layer *layer, const layer_size *size, size_t *bytes)
{
    return frnn_workspace_size(layer->stack, size->steps, size->batch, size->plan, bytes);
}

/* Copies an initial state [parts][size] for each row: [parts][batch][size]. */
static void spread(float *into, const float *from, size_t parts, size_t size, size_t batch)
{
    for (size_t part = 0; part < parts; part++)
        for (size_t row = 0; row < batch; row++)
            memcpy(into + (part * batch + row) * size, from + part * size, size * sizeof(float));
}

static frnn_status run(const layer_call *call)
{
    const model_layer *const layer = call->layer;
    const stack_shape shape = shape_of(&layer->stack->config, call->isa);
    const size_t batch = call->size.batch, c_at = (size_t)shape.parts * batch * shape.h;
    const float *initial = call->state0;
    if (!initial && layer->h_0) {
        initial = call->initial;
        spread(call->initial, layer->h_0, shape.parts, shape.h, batch);
        if (shape.c > 0)
            spread(call->initial + c_at, layer->c_0, shape.parts, shape.c, batch);
    }
    const frnn_call pass = {
        .steps = call->size.steps,
        .batch = batch,
        .x = call->x.at,
        .x_step = call->x.step,
        .x_row = call->x.row,
        .y = call->y.at,
        .y_step = call->y.step,
        .y_row = call->y.row,
        .lengths = call->x.lengths,
        .h0 = initial,
        .c0 = initial && shape.c > 0 ? initial + c_at : NULL,
        .hn = call->state,
        .cn = call->state && shape.c > 0 ? call->state + c_at : NULL,
        .plan = call->size.plan,
        .executor = call->model->executor,
        .stop = call->model->stop,
        .stop_context = call->model->stop_context,
    };
    return frnn_forward(layer->stack, &pass, call->workspace, call->workspace_bytes);
}

/* ---- Kinds ----------------------------------------------------------------------------------- */

#define STACK_FIELDS                                                                        \
    INTEGER_FIELD(0, recurrent.input_size, 1), INTEGER_FIELD(1, recurrent.hidden_size, 1),  \
        INTEGER_FIELD(2, recurrent.num_layers, 1), FLAG_FIELD(0, recurrent.bias),           \
        FLAG_FIELD(1, recurrent.batch_first), FLAG_FIELD(2, recurrent.bidirectional),       \
        NUMBER_FIELD(0, recurrent.dropout, 0, 1)
#define STACK_KIND .check = check, .axes = follow_axes, .workspace = workspace, .run = run

static const layer_field lstm_fields[] = {STACK_FIELDS, INTEGER_FIELD(3, recurrent.proj_size, 0),
                                          FLAG_FIELD(3, recurrent.coupled)};
static const layer_field gru_fields[] = {STACK_FIELDS, FLAG_FIELD(3, recurrent.reset_after)};
static const layer_field rnn_fields[] = {STACK_FIELDS, FLAG_FIELD(3, recurrent.relu)};

const layer_kind frnn_kind_lstm = {
    .name = "LSTM", FIELDS(lstm_fields), .read = read_lstm, STACK_KIND};
const layer_kind frnn_kind_gru = {
    .name = "GRU", FIELDS(gru_fields), .read = read_gru, STACK_KIND};
const layer_kind frnn_kind_rnn = {
    .name = "RNN", FIELDS(rnn_fields), .read = read_rnn, STACK_KIND};
