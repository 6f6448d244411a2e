/* SPDX-License-Identifier: MIT */
/* Running a model: values go from layer to layer through two buffers, rows beyond lengths stay 0. */
#include <string.h>

#include "model.h"

/* What goes from layer to layer: [steps][batch][features], the last axis contiguous. */
typedef struct {
    float *at; /* NULL: token ids */
    ptrdiff_t step, row;
    size_t steps, features;
    const size_t *lengths; /* NULL: all are steps; else at is 0 beyond them, unless it is raw */
    int raw;               /* the caller's input: not to be written */
} value;

typedef struct {
    const frnn_model *model;
    const frnn_model_call *call;
    float *buffer[2];
    float *initial;     /* a layer's h_0 and c_0, for all rows */
    size_t *lengths[2]; /* [batch]: where layers change them */
    void *rest;         /* workspace of a layer */
    size_t rest_bytes;
} run;

static int machine_width(const frnn_machine *machine)
{
    return machine && machine->width > 1 ? machine->width : 1;
}

/* ---- Workspace ------------------------------------------------------------------------------- */

/* Bytes that one layer needs while it runs. */
static frnn_status layer_bytes(const model_layer *layer, const frnn_machine *machine, size_t steps,
                               size_t batch, size_t *bytes)
{
    *bytes = 0;
    if (layer->conv)
        return frnn_conv1d_workspace_size(layer->conv, machine_width(machine), bytes);
    if (!layer->stack || batch == 0)
        return FRNN_OK;
    frnn_plan plan;
    const frnn_status status = frnn_plan_make(layer->stack, machine, steps, batch, &plan);
    return status == FRNN_OK ? frnn_workspace_size(layer->stack, steps, batch, &plan, bytes)
                             : status;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Places what a run needs, or counts it. */
static frnn_status lay_out(const frnn_model *model, const frnn_machine *machine, size_t steps,
                           size_t batch, arena *memory, run *r)
{
    size_t features = (size_t)model->inputs, floats = 0, states = 0;
    /* Of a row, in buffers: all but the input, if no convolution needs a copy, and the last. */
    size_t values = model->layers[0].conv ? checked_product(steps, features) : 0;
    r->rest_bytes = 0;
    for (int i = 0; i < model->count; i++) {
        const model_layer *const layer = &model->layers[i];
        size_t bytes;
        const frnn_status status = layer_bytes(layer, machine, steps, batch, &bytes);
        if (status != FRNN_OK)
            return status;
        r->rest_bytes = larger(r->rest_bytes, bytes);
        if (layer->h_0)
            states = larger(states, frnn_layer_state(&layer->file));
        steps = frnn_layer_steps(layer, steps);
        features = layer->outputs > 0 ? (size_t)layer->outputs : features;
        floats = larger(floats, values);
        values = checked_product(steps, features);
    }
    r->buffer[0] = arena_take(memory, checked_product(floats, batch), sizeof(float));
    r->buffer[1] = arena_take(memory, checked_product(floats, batch), sizeof(float));
    r->initial = arena_take(memory, checked_product(states, batch), sizeof(float));
    r->lengths[0] = arena_take(memory, batch, sizeof(size_t));
    r->lengths[1] = arena_take(memory, batch, sizeof(size_t));
    r->rest = arena_take(memory, r->rest_bytes, 1);
    return memory->overflow ? FRNN_TOO_LARGE : FRNN_OK;
}

frnn_status frnn_model_workspace_size(const frnn_model *model, size_t steps, size_t batch,
                                      const frnn_machine *machine, size_t *bytes)
{
    if (!model || !bytes || frnn_model_steps(model, steps) == 0)
        return FRNN_BAD_ARGUMENT;
    run counted;
    arena count = {NULL, 0, 0};
    const frnn_status status = lay_out(model, machine, steps, batch, &count, &counted);
    if (status == FRNN_OK)
        *bytes = arena_footprint(&count);
    return status;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static float *row_of(const value *v, size_t step, size_t row)
{
    return v->at + (ptrdiff_t)step * v->step + (ptrdiff_t)row * v->row;
}

/* Are the rows of all steps one after another, equally far apart? */
static int is_one_block(const value *v, size_t batch)
{
    return v->steps == 1 || v->step == (ptrdiff_t)batch * v->row;
}

static size_t valid_steps(const value *v, size_t row) { return v->lengths ? v->lengths[row] : v->steps; }

/* Makes what lies beyond the lengths 0. */
static void clear_rest(const value *y, size_t batch)
{
    for (size_t row = 0; y->lengths && row < batch; row++)
        for (size_t step = y->lengths[row]; step < y->steps; step++)
            memset(row_of(y, step, row), 0, y->features * sizeof(float));
}

/* Copies the valid steps of x to y, `shift` steps later or, where turned, in reverse order; zeros
 * elsewhere. */
static void copy_steps(const value *x, const value *y, size_t batch, size_t shift, int turned)
{
    for (size_t row = 0; row < batch; row++) {
        const size_t valid = valid_steps(x, row);
        for (size_t step = 0; step < y->steps; step++) {
            float *const into = row_of(y, step, row);
            const size_t source = turned ? valid - 1 - step : step - shift;
            if (step >= shift && step - shift < valid)
                memcpy(into, row_of(x, source, row), y->features * sizeof(float));
            else
                memset(into, 0, y->features * sizeof(float));
        }
    }
}

static frnn_status look_up(const model_layer *layer, const run *r, const value *y)
{
    const frnn_model_call *const call = r->call;
    const int64_t entries = layer->file.integers[0];
    for (size_t step = 0; step < y->steps; step++)
        for (size_t row = 0; row < call->batch; row++) {
            if (y->lengths && step >= y->lengths[row]) {
                memset(row_of(y, step, row), 0, y->features * sizeof(float));
                continue;
            }
            const int64_t token = call->tokens[(ptrdiff_t)step * call->x_step +
                                               (ptrdiff_t)row * call->x_row];
            if (token < 0 || token >= entries)
                return FRNN_BAD_ARGUMENT;
            memcpy(row_of(y, step, row), layer->weight + (size_t)token * y->features,
                   y->features * sizeof(float));
        }
    return FRNN_OK;
}

static void curve(layer_kind kind, const frnn_isa *isa, float *y, const float *x, size_t count)
{
    if (kind == KIND_TANH)
        frnn_tanh(isa, y, x, count);
    else if (kind == KIND_SIGMOID)
        frnn_sigmoid(isa, y, x, count);
    else
        for (size_t i = 0; i < count; i++) y[i] = x[i] > 0 || x[i] != x[i] ? x[i] : 0.0f;
}

/* A kind that takes each row by itself; y may be x. */
static frnn_status run_rows(const model_layer *layer, const run *r, const frnn_rows *rows)
{
    const frnn_isa *const isa = r->model->isa;
    const frnn_machine *const machine = r->call->machine;
    switch (layer->file.kind) {
    case KIND_LINEAR:
        return frnn_dense_run(layer->dense, rows->rows, rows->x, rows->x_row, rows->y, rows->y_row,
                              r->call->executor, machine_width(machine));
    case KIND_LAYER_NORM:
        return frnn_layer_norm(isa, rows, layer->weight, layer->bias, (float)layer->file.numbers[0]);
    case KIND_SOFTMAX: return frnn_softmax(isa, rows);
    case KIND_LOG_SOFTMAX: return frnn_log_softmax(isa, rows);
    default: break;
    }
    if (rows->x_row == (ptrdiff_t)rows->size && rows->y_row == rows->x_row) {
        curve(layer->file.kind, isa, rows->y, rows->x, rows->rows * rows->size);
        return FRNN_OK;
    }
    for (size_t row = 0; row < rows->rows; row++)
        curve(layer->file.kind, isa, rows->y + (ptrdiff_t)row * rows->y_row,
              rows->x + (ptrdiff_t)row * rows->x_row, rows->size);
    return FRNN_OK;
}

static frnn_status run_all_rows(const model_layer *layer, const run *r, const value *x,
                                const value *y)
{
    const size_t batch = r->call->batch;
    frnn_rows rows = {batch, y->features, x->at, x->row, y->at, y->row};
    if (is_one_block(x, batch) && is_one_block(y, batch)) {
        rows.rows = batch * x->steps;
        return run_rows(layer, r, &rows);
    }
    frnn_status status = FRNN_OK;
    for (size_t step = 0; step < x->steps && status == FRNN_OK; step++) {
        rows.x = row_of(x, step, 0);
        rows.y = row_of(y, step, 0);
        status = run_rows(layer, r, &rows);
    }
    return status;
}

/* ---- Sequences ------------------------------------------------------------------------------- */

/* h_0 or c_0 of the file [states][size] for each row of the batch. */
static void spread(float *into, const float *from, size_t states, size_t size, size_t batch)
{
    for (size_t state = 0; state < states; state++)
        for (size_t row = 0; row < batch; row++)
            memcpy(into + (state * batch + row) * size, from + state * size, size * sizeof(float));
}

/* state_at: where this layer's states begin among those of the call. */
static frnn_status run_stack(const model_layer *layer, const run *r, const value *x, const value *y,
                             size_t state_at)
{
    const frnn_model_call *const call = r->call;
    const size_t states = layer_states(&layer->file);
    const size_t size = (size_t)layer_state_size(&layer->file);
    const size_t c_at = states * call->batch * size;
    const int with_c = layer->file.kind == KIND_LSTM;
    const float *initial = call->state0 ? call->state0 + state_at : NULL;
    if (!initial && layer->h_0) {
        initial = r->initial;
        spread(r->initial, layer->h_0, states, size, call->batch);
        if (with_c)
            spread(r->initial + c_at, layer->c_0, states, (size_t)layer->file.integers[1],
                   call->batch);
    }
    float *const last = call->state ? call->state + state_at : NULL;
    frnn_plan plan;
    const frnn_status status =
        frnn_plan_make(layer->stack, call->machine, x->steps, call->batch, &plan);
    if (status != FRNN_OK)
        return status;
    const frnn_call pass = {
        .steps = x->steps,
        .batch = call->batch,
        .x = x->at,
        .x_step = x->step,
        .x_row = x->row,
        .y = y->at,
        .y_step = y->step,
        .y_row = y->row,
        .lengths = x->lengths,
        .h0 = initial,
        .c0 = initial && with_c ? initial + c_at : NULL,
        .hn = last,
        .cn = last && with_c ? last + c_at : NULL,
        .plan = &plan,
        .executor = call->executor,
    };
    return frnn_forward(layer->stack, &pass, r->rest, r->rest_bytes);
}

static frnn_status run_conv1d(const model_layer *layer, const run *r, const value *x,
                              const value *y)
{
    const frnn_conv1d_call pass = {
        .steps = x->steps,
        .batch = r->call->batch,
        .x = x->at,
        .x_step = x->step,
        .x_row = x->row,
        .x_channel = 1,
        .y = y->at,
        .y_step = y->step,
        .y_row = y->row,
        .y_channel = 1,
        .executor = r->call->executor,
        .width = machine_width(r->call->machine),
    };
    return frnn_conv1d_run(layer->conv, &pass, r->rest, r->rest_bytes);
}

static frnn_status run_ending(const model_layer *layer, const run *r, const value *x,
                              const value *y)
{
    const frnn_sequences sequences = {
        .steps = x->steps,
        .batch = r->call->batch,
        .size = x->features,
        .x = x->at,
        .x_step = x->step,
        .x_row = x->row,
        .lengths = x->lengths,
        .y = y->at,
        .y_row = y->row,
    };
    if (layer->file.kind == KIND_LAST)
        return frnn_last(&sequences, layer->file.flags & FLAG_OF_STATE ? x->features / 2 : 0);
    return layer->file.flags & FLAG_MAX ? frnn_pool_max(&sequences)
                                        : frnn_pool_mean(r->model->isa, &sequences);
}

static void add_input(const run *r, const value *x, const value *y)
{
    const frnn_model_call *const call = r->call;
    for (size_t step = 0; step < y->steps; step++)
        for (size_t row = 0; row < call->batch; row++) {
            const float *const a = row_of(x, step, row);
            const float *const b =
                call->x + (ptrdiff_t)step * call->x_step + (ptrdiff_t)row * call->x_row;
            float *const sum = row_of(y, step, row);
            for (size_t i = 0; i < y->features; i++) sum[i] = a[i] + b[i];
        }
}

/* ---- Layer after layer ----------------------------------------------------------------------- */

static int is_of_rows(layer_kind kind)
{
    return kind == KIND_RELU || kind == KIND_TANH || kind == KIND_SIGMOID ||
           kind == KIND_SOFTMAX || kind == KIND_LOG_SOFTMAX || kind == KIND_LAYER_NORM;
}

/* Valid steps after a layer that changes their number. */
static const size_t *new_lengths(const model_layer *layer, const run *r, const value *x)
{
    const layer_kind kind = layer->file.kind;
    if (!x->lengths || kind == KIND_LAST || kind == KIND_POOL)
        return NULL;
    if (kind != KIND_CONV1D && kind != KIND_ZERO_PAD)
        return x->lengths;
    size_t *const lengths = r->lengths[x->lengths == r->lengths[0]];
    for (size_t row = 0; row < r->call->batch; row++)
        lengths[row] = kind == KIND_CONV1D && x->lengths[row] == 0
                           ? 0
                           : frnn_layer_steps(layer, x->lengths[row]);
    return lengths;
}

static value in_buffer(const run *r, int buffer, size_t steps, size_t features)
{
    return (value){.at = r->buffer[buffer],
                   .step = (ptrdiff_t)(r->call->batch * features),
                   .row = (ptrdiff_t)features,
                   .steps = steps,
                   .features = features};
}

static frnn_status run_layer(const model_layer *layer, const run *r, const value *x, value *y,
                             size_t state_at)
{
    const size_t batch = r->call->batch;
    frnn_status status = FRNN_OK;
    switch (layer->file.kind) {
    case KIND_LSTM:
    case KIND_GRU:
    case KIND_RNN: return run_stack(layer, r, x, y, state_at);
    case KIND_EMBEDDING: return look_up(layer, r, y);
    case KIND_CONV1D: status = run_conv1d(layer, r, x, y); break;
    case KIND_LAST:
    case KIND_POOL: return run_ending(layer, r, x, y);
    case KIND_FLIP: copy_steps(x, y, batch, 0, 1); return FRNN_OK;
    case KIND_ZERO_PAD: copy_steps(x, y, batch, (size_t)layer->file.integers[0], 0); break;
    case KIND_ADD_INPUT: add_input(r, x, y); break;
    default: status = run_all_rows(layer, r, x, y); break;
    }
    if (status == FRNN_OK)
        clear_rest(y, batch);
    return status;
}

static frnn_status run_layers(const run *r)
{
    const frnn_model *const model = r->model;
    const frnn_model_call *const call = r->call;
    value x = {.at = (float *)call->x, .step = call->x_step, .row = call->x_row,
               .steps = call->steps, .features = (size_t)model->inputs, .lengths = call->lengths,
               .raw = 1};
    size_t state_at = 0;
    int buffer = 1; /* the one that was written last */
    for (int i = 0; i < model->count; i++) {
        const model_layer *const layer = &model->layers[i];
        if (x.raw && x.lengths && layer->conv) { /* it must not see what is beyond the lengths */
            const value clean = in_buffer(r, 1, x.steps, x.features);
            copy_steps(&x, &clean, call->batch, 0, 0);
            x.at = clean.at, x.step = clean.step, x.row = clean.row, x.raw = 0;
        }
        const size_t features = layer->outputs > 0 ? (size_t)layer->outputs : x.features;
        const size_t steps = frnn_layer_steps(layer, x.steps);
        const int stays = !x.raw && is_of_rows(layer->file.kind);
        buffer = stays ? buffer : 1 - buffer;
        value y = in_buffer(r, buffer, steps, features);
        if (i == model->count - 1)
            y.at = call->y, y.step = call->y_step, y.row = call->y_row;
        y.lengths = new_lengths(layer, r, &x);
        const frnn_status status = run_layer(layer, r, &x, &y, state_at);
        if (status != FRNN_OK)
            return status;
        state_at += frnn_layer_state(&layer->file) * call->batch;
        x = y;
    }
    return FRNN_OK;
}

frnn_status frnn_model_run(const frnn_model *model, const frnn_model_call *call, void *workspace,
                           size_t bytes)
{
    if (!model || !call || frnn_model_steps(model, call->steps) == 0 ||
        (call->executor && !call->executor->run))
        return FRNN_BAD_ARGUMENT;
    if (call->batch == 0)
        return FRNN_OK;
    if (!call->y || (model->inputs > 0 ? call->x == NULL : call->tokens == NULL))
        return FRNN_BAD_ARGUMENT;
    for (size_t row = 0; call->lengths && row < call->batch; row++)
        if (call->lengths[row] > call->steps)
            return FRNN_BAD_ARGUMENT;
    run r = {.model = model, .call = call};
    arena count = {NULL, 0, 0};
    frnn_status status = lay_out(model, call->machine, call->steps, call->batch, &count, &r);
    if (status != FRNN_OK)
        return status;
    if (!workspace || bytes < arena_footprint(&count))
        return FRNN_SMALL_MEMORY;
    arena placed = arena_over(workspace);
    status = lay_out(model, call->machine, call->steps, call->batch, &placed, &r);
    return status == FRNN_OK ? run_layers(&r) : status;
}
