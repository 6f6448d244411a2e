/* SPDX-License-Identifier: MIT */
/* Running a model: values go from layer to layer through two buffers. */
#include <string.h>

#include "../pass/plan.h"
#include "model.h"

enum { PLANS_KEPT = 8 }; /* of stacks, during a run without plans from the caller */

/* A pass of a model: its size, then where it keeps what. */
typedef struct {
    const frnn_model *model;
    size_t steps, batch;
    const frnn_machine *machine;
    int width;
    const frnn_plan *given; /* the caller's plans, or NULL */
    frnn_plan kept[PLANS_KEPT];
    int made; /* plans in kept */
    float *buffer[2];
    /* What layers that hold others took, while these run: the values, memory for their lengths, and a
     * buffer in exchange for the one that holds the values. */
    layer_value held[MOST_DEPTH];
    size_t *held_lengths[MOST_DEPTH];
    float *spare[MOST_DEPTH];
    int depth;
    float *initial;     /* copies of a layer's initial states for all rows */
    size_t *lengths[2]; /* [batch]: after layers that change them */
    void *rest;         /* workspace of a layer */
    size_t rest_bytes;
} pass;

static pass pass_of(const frnn_model *model, size_t steps, size_t batch,
                    const frnn_machine *machine, const frnn_plan *given)
{
    return (pass){.model = model,
                  .steps = steps,
                  .batch = batch,
                  .machine = machine,
                  .width = machine && machine->width > 1 ? machine->width : 1,
                  .given = given};
}

/* The plan of the number-th stack: the caller's, or one that is made at the first call and kept.
 * Those beyond PLANS_KEPT are made in *spare at each call. On one thread there is no choice. */
static frnn_status plan_stack(pass *p, const frnn_stack *stack, int number, size_t steps,
                              frnn_plan *spare, const frnn_plan **plan)
{
    frnn_plan *const own = number < PLANS_KEPT ? &p->kept[number] : spare;
    *plan = p->given ? &p->given[number] : own;
    if (p->given || number < p->made)
        return FRNN_OK;
    if (number < PLANS_KEPT)
        p->made = number + 1;
    return p->width > 1 ? frnn_plan_make(stack, p->machine, steps, p->batch, own)
                        : frnn_plan_of(stack, steps, p->batch, NULL, own);
}

/* ---- Workspace ------------------------------------------------------------------------------- */

/* The largest that any layer needs: floats of a row in a buffer and of its initial states, bytes of
 * workspace, values that are kept at a time. */
typedef struct {
    size_t values, states, bytes;
    int kept;
} pass_needs;

/* Bytes of workspace of one layer. */
static frnn_status layer_bytes(pass *p, const model_layer *layer, int stack, size_t steps,
                               size_t *bytes)
{
    frnn_plan spare;
    layer_size size = {.steps = steps, .batch = p->batch, .width = p->width};
    frnn_status status = FRNN_OK;
    *bytes = 0;
    if (layer->stack)
        status = plan_stack(p, layer->stack, stack, steps, &spare, &size.plan);
    if (status == FRNN_OK && layer->kind->workspace)
        status = layer->kind->workspace(layer, &size, bytes);
    return status;
}

static size_t floats_of(const value_size *value)
{
    return checked_product(value->steps, value->features);
}

static frnn_status measure(pass *p, pass_needs *needs)
{
    const frnn_model *const model = p->model;
    model_walk walk = frnn_walk_begin(model, p->steps);
    int stacks = 0;
    /* Buffers hold all values but the input, unless that is copied, and the output. */
    size_t values = model->layers->kind->sees_padding ? floats_of(&walk.now) : 0;
    *needs = (pass_needs){0};
    for (int i = 0; i < model->count; i++) {
        const model_layer *const layer = &model->layers[i];
        size_t bytes;
        const frnn_status status = layer_bytes(p, layer, stacks, walk.now.steps, &bytes);
        if (status != FRNN_OK)
            return status;
        stacks += layer->stack != NULL;
        needs->bytes = size_max(needs->bytes, bytes);
        if (layer->h_0)
            needs->states = size_max(needs->states, layer->state_floats);
        needs->kept = walk.depth + layer->keeps > needs->kept ? walk.depth + layer->keeps
                                                              : needs->kept;
        frnn_walk_layer(&walk, layer);
        needs->values = size_max(needs->values, values);
        values = floats_of(&walk.now);
    }
    return FRNN_OK;
}

/* Places what a pass needs, or counts it. */
static void lay_out(pass *p, const pass_needs *needs, arena *memory)
{
    const size_t values = checked_product(needs->values, p->batch);
    p->buffer[0] = arena_take(memory, values, sizeof(float));
    p->buffer[1] = arena_take(memory, values, sizeof(float));
    p->initial = arena_take(memory, checked_product(needs->states, p->batch), sizeof(float));
    p->lengths[0] = arena_take(memory, p->batch, sizeof(size_t));
    p->lengths[1] = arena_take(memory, p->batch, sizeof(size_t));
    for (int i = 0; i < needs->kept; i++) {
        p->spare[i] = arena_take(memory, values, sizeof(float));
        p->held_lengths[i] = arena_take(memory, p->batch, sizeof(size_t));
    }
    p->rest = arena_take(memory, needs->bytes, 1);
    p->rest_bytes = needs->bytes;
}

static frnn_status count(pass *p, pass_needs *needs, size_t *bytes)
{
    arena counted = {NULL, 0, 0};
    const frnn_status status = measure(p, needs);
    if (status != FRNN_OK)
        return status;
    lay_out(p, needs, &counted);
    return arena_total(&counted, bytes);
}

frnn_status frnn_model_workspace_size(const frnn_model *model, size_t steps, size_t batch,
                                      const frnn_machine *machine, size_t *bytes)
{
    if (!model || !bytes || frnn_model_steps(model, steps) == 0)
        return FRNN_BAD_ARGUMENT;
    pass counted = pass_of(model, steps, batch, machine, NULL);
    pass_needs needs;
    return count(&counted, &needs, bytes);
}

/* ---- Layer after layer ----------------------------------------------------------------------- */

/* Are the rows of all steps at equal distances? */
static int is_one_block(const layer_value *v)
{
    return v->steps == 1 || v->step == (ptrdiff_t)v->batch * v->row;
}

/* Runs a kind that takes each row by itself. */
static frnn_status run_rows(const layer_call *c)
{
    const layer_value *const x = &c->x, *const y = &c->y;
    frnn_rows rows = {x->batch, y->features, x->at, x->row, y->at, y->row};
    frnn_status status = FRNN_OK;
    if (is_one_block(x) && is_one_block(y)) {
        rows.rows = x->batch * x->steps;
        status = c->layer->kind->run_rows(c, &rows);
    } else {
        for (size_t step = 0; step < x->steps && status == FRNN_OK; step++) {
            rows.x = value_row(x, step, 0);
            rows.y = value_row(y, step, 0);
            status = c->layer->kind->run_rows(c, &rows);
        }
    }
    if (status == FRNN_OK)
        frnn_value_clear(y);
    return status;
}

static frnn_status run_layer(const layer_call *c)
{
    return c->layer->kind->run ? c->layer->kind->run(c) : run_rows(c);
}

/* The lengths after a layer. */
static const size_t *new_lengths(const pass *p, const model_layer *layer, const layer_value *x)
{
    const layer_kind *const kind = layer->kind;
    if (!x->lengths || kind->ends_time)
        return NULL;
    if (!kind->length)
        return x->lengths;
    size_t *const lengths = p->lengths[x->lengths == p->lengths[0]];
    for (size_t row = 0; row < p->batch; row++) lengths[row] = kind->length(layer, x->lengths[row]);
    return lengths;
}

static layer_value in_buffer(const pass *p, int buffer, size_t steps, size_t features)
{
    return (layer_value){.at = p->buffer[buffer],
                         .step = (ptrdiff_t)(p->batch * features),
                         .row = (ptrdiff_t)features,
                         .steps = steps,
                         .batch = p->batch,
                         .features = features};
}

/* Keeps a value for the layer that holds those to come. A buffer that it is in is exchanged for
 * another, so that they do not write there. */
static void keep(pass *p, const layer_value *x)
{
    const int at = p->depth++;
    p->held[at] = *x;
    for (int i = 0; i < 2; i++)
        if (x->at == p->buffer[i]) {
            p->buffer[i] = p->spare[at];
            p->spare[at] = x->at;
        }
    if (x->lengths) {
        memcpy(p->held_lengths[at], x->lengths, p->batch * sizeof(size_t));
        p->held[at].lengths = p->held_lengths[at];
    }
}

/* Takes back what was kept for a layer. 0: the rows of x have other lengths. */
static int take_kept(pass *p, const layer_value *x, layer_value *kept)
{
    *kept = p->held[--p->depth];
    for (size_t row = 0; x->lengths && kept->lengths && row < p->batch; row++)
        if (x->lengths[row] != kept->lengths[row])
            return 0;
    return !x->lengths == !kept->lengths;
}

static frnn_status run_layers(pass *p, const frnn_model_call *call)
{
    const frnn_model *const model = p->model;
    layer_value x = {.at = (float *)call->x, .step = call->x_step, .row = call->x_row,
                     .steps = p->steps, .batch = p->batch, .features = (size_t)model->inputs,
                     .lengths = call->lengths};
    int is_input = 1; /* x is the caller's and not 0 beyond the lengths */
    int buffer = 1;   /* the one that was written last */
    int stacks = 0;
    size_t state_at = 0;
    model_walk walk = frnn_walk_begin(model, p->steps);
    for (int i = 0; i < model->count; i++) {
        const model_layer *const layer = &model->layers[i];
        for (int k = 0; k < layer->keeps; k++) keep(p, &x);
        if (is_input && x.lengths && layer->kind->sees_padding) {
            const layer_value clean = in_buffer(p, 1, x.steps, x.features);
            frnn_value_copy(&x, &clean, 0);
            x.at = clean.at, x.step = clean.step, x.row = clean.row;
        }
        if (x.at != p->buffer[buffer] || !layer->kind->in_place)
            buffer = 1 - buffer;
        frnn_walk_layer(&walk, layer);
        layer_value y = in_buffer(p, buffer, walk.now.steps, walk.now.features);
        if (i == model->count - 1)
            y.at = call->y, y.step = call->y_step, y.row = call->y_row;
        y.lengths = new_lengths(p, layer, &x);
        layer_call c = {.layer = layer,
                        .isa = model->isa,
                        .model = call,
                        .x = x,
                        .y = y,
                        .size = {.steps = x.steps, .batch = p->batch, .width = p->width},
                        .state0 = call->state0 ? call->state0 + state_at : NULL,
                        .state = call->state ? call->state + state_at : NULL,
                        .initial = p->initial,
                        .workspace = p->rest,
                        .workspace_bytes = p->rest_bytes};
        frnn_plan spare;
        frnn_status status = FRNN_OK;
        if (layer->kind->join && !take_kept(p, &x, &c.kept))
            status = FRNN_BAD_ARGUMENT;
        if (layer->stack)
            status = plan_stack(p, layer->stack, stacks++, x.steps, &spare, &c.size.plan);
        if (status == FRNN_OK && i > 0 && call->stop && call->stop(call->stop_context))
            status = FRNN_STOPPED;
        if (status == FRNN_OK)
            status = run_layer(&c);
        if (status != FRNN_OK)
            return status;
        state_at += layer->state_floats * p->batch;
        x = y, is_input = 0;
    }
    return FRNN_OK;
}

frnn_status frnn_model_run(const frnn_model *model, const frnn_model_call *call, void *workspace,
                           size_t bytes)
{
    if (!model || !call || frnn_model_steps(model, call->steps) == 0 ||
        !executor_is_valid(call->executor))
        return FRNN_BAD_ARGUMENT;
    if (call->batch == 0)
        return FRNN_OK;
    if (!call->y || (model->inputs > 0 ? call->x == NULL : call->tokens == NULL) ||
        !lengths_are_valid(call->lengths, call->batch, call->steps))
        return FRNN_BAD_ARGUMENT;
    pass p = pass_of(model, call->steps, call->batch, call->machine, call->plans);
    pass_needs needs;
    size_t needed;
    const frnn_status status = count(&p, &needs, &needed);
    if (status != FRNN_OK)
        return status;
    if (!workspace || bytes < needed)
        return FRNN_SMALL_MEMORY;
    arena placed = arena_over(workspace);
    lay_out(&p, &needs, &placed);
    return run_layers(&p, call);
}
