/* SPDX-License-Identifier: MIT */
/* The products of a backward pass over all rows of a chunk: gradients of inputs and weights. */
#include <string.h>

#include "backward.h"
#include "../pass/dropout.h"

/* ---- Packing --------------------------------------------------------------------------------- */

/* Rows [begin, end) of a chunk, seen as one block in rank order. */
typedef struct {
    worker all;
    const back_chunk *chunk;
    int direction;
    size_t begin, end;
} packed_rows;

static void pack(const back_worker *self, float *panels, size_t first, const float *const *rows,
                 size_t count, int width)
{
    const frnn_isa *isa = self->block.stack->isa;
    isa->pack_rows(panels + first * (size_t)isa->lanes, self->s.chunk_rows, rows, count, width);
}

/* Row i of the chunk at a step after dropout. */
static void pack_dropped(const back_worker *self, const packed_rows *p, size_t step, size_t i,
                         const float *x, int width)
{
    const size_t row = i - self->s.all_first[step - p->chunk->begin];
    const size_t time = p->direction ? row_length(&p->all, row) - 1 - step : step;
    const float *const dropped = self->s.dropped;
    frnn_dropout(self->s.dropped, x, p->all.call, p->chunk->layer - 1, time, p->all.order[row], 0,
                 width);
    pack(self, self->s.direction[p->direction].x_panels, i, &dropped, 1, width);
}

/* Points `from` at the rows' inputs (of_h 0) or states before, and packs them. */
static void pack_part(const back_worker *self, const packed_rows *p, int of_h)
{
    const back_chunk *k = p->chunk;
    const frnn_stack *m = self->block.stack;
    const back_direction *d = &self->s.direction[p->direction];
    const int part = (int)back_part(self, k, p->direction);
    const int width = of_h ? m->output_size : m->layers[part].stage->inputs;
    const int dropping = !of_h && k->layer > 0 && p->all.call->dropout > 0.0f;
    sequences rows = of_h ? tape_sequences(&p->all, k->layer) : k->x;
    rows.base += of_h ? p->direction * m->output_size : 0;
    for (size_t step = k->begin; step < k->end; step++) {
        const size_t first = self->s.all_first[step - k->begin];
        const size_t past = self->s.all_first[step - k->begin + 1];
        for (size_t i = first > p->begin ? first : p->begin; i < past && i < p->end; i++) {
            const float **from = &self->s.from[i];
            if (of_h && step == 0)
                *from = tape_h0(&p->all, part, i - first);
            else
                *from = sequence_row(&p->all, &rows, p->direction, of_h ? step - 1 : step,
                                     i - first);
            if (dropping)
                pack_dropped(self, p, step, i, *from, width);
        }
    }
    if (!dropping)
        pack(self, of_h ? d->h_panels[0] : d->x_panels, p->begin, self->s.from + p->begin,
             p->end - p->begin, width);
}

void frnn_back_pack(back_worker *self, const back_chunk *k)
{
    const size_t width = (size_t)self->width, me = (size_t)self->index;
    packed_rows p = {.all = self->block, .chunk = k};
    p.all.order = self->s.ranked, p.all.rows = p.all.call->batch;
    p.begin = k->rows * me / width, p.end = k->rows * (me + 1) / width;
    for (int d = 0; d < self->block.stack->directions && p.begin < p.end; d++) {
        p.direction = d;
        pack_part(self, &p, 0);
        pack_part(self, &p, 1);
    }
}

/* ---- Gradients of inputs --------------------------------------------------------------------- */

/* Points `from` at the gradients of pre-activations of the block's rows and `to` at those of their
 * inputs; returns how many. */
static size_t gather_inputs(const back_worker *self, const back_chunk *k, int direction, int stage)
{
    const worker *b = &self->block;
    const stack_stage *s = &stack_layer_at(b->stack, k->layer, direction)->stage[stage];
    const size_t floats = (size_t)s->kernel->slots * s->stride;
    size_t count = 0, rows = b->rows;
    for (size_t step = k->begin; step < k->end; step++) {
        rows = rows_at(b, step, rows);
        const float *dpre = self->s.direction[direction].dpre[stage] +
                            back_chunk_row(self, k, step, 0) * floats;
        for (size_t row = 0; row < rows; row++, count++) {
            self->s.from[count] = dpre + row * self->ranks.step * floats;
            self->s.to[count] = (float *)sequence_row(b, &k->dx, direction, step, row);
        }
    }
    return count;
}

void frnn_back_inputs(back_worker *self, const back_chunk *k, int direction)
{
    const worker *b = &self->block;
    const int workers = b->teams * b->units, me = b->at.team * b->units + b->at.unit;
    int add = b->stack->directions > 1; /* onto zeros, or onto the other direction's part */
    for (int stage = 0; stage < b->stack->stages; stage++) {
        const stack_stage *s = &stack_layer_at(b->stack, k->layer, direction)->stage[stage];
        if (s->inputs == 0)
            continue;
        const unit_range panels =
            panel_range(b->stack->product, panels_of(b->stack->isa, s->inputs), 1, me, workers);
        const frnn_pass pass = {
            .rows = (int)gather_inputs(self, k, direction, stage),
            .depth = s->kernel->x_gates * (int)s->stride,
            .units = s->inputs,
            .first_panel = panels.begin,
            .end_panel = panels.end,
            .weights = s->x_transposed,
            .in = self->s.from,
            .y = self->s.to,
        };
        b->stack->product->multiply(&pass, add ? FRNN_FROM_Y : FRNN_FROM_ZERO);
        add = 1;
    }
}

/* ---- Gradients of weights -------------------------------------------------------------------- */

/* Which matrix of a stage, as slots of its pre-activations. */
typedef struct {
    int first_slot, gates;
    const signed char *gate;
    int width;
    const float *right;
    float *weight, *bias; /* gradients; NULL: not wanted */
} matrix;

/* This worker's share [begin, end) of the work on all matrices of a chunk, and what went before. */
typedef struct {
    size_t begin, end, before;
} work_share;

/* Work on one panel of a matrix: vectors of sums. */
static size_t panel_work(const back_worker *self, int gates, int width)
{
    return (size_t)gates * (size_t)panels_of(self->block.stack->isa, width);
}

static work_share share_of_work(const back_worker *self, int layer)
{
    const frnn_stack *stack = self->block.stack;
    size_t total = 0;
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &stack_layer_at(stack, layer, 0)->stage[i];
        const frnn_stage *kernel = s->kernel;
        total += (size_t)(stack->directions * s->panels) *
                 (panel_work(self, kernel->x_gates, s->inputs) +
                  panel_work(self, kernel->h_gates, s->depth));
    }
    const size_t width = (size_t)self->width, me = (size_t)self->index;
    return (work_share){total * me / width, total * (me + 1) / width, 0};
}

/* The first of a matrix's panels that does not lie before a place in the work. */
static int panel_at(const work_share *share, size_t place, size_t each, int panels)
{
    const size_t panel = place > share->before ? (place - share->before + each - 1) / each : 0;
    return panel < (size_t)panels ? (int)panel : panels;
}

static void add_matrix(const back_worker *self, const back_chunk *k, const stack_stage *s,
                       const float *left, const matrix *m, work_share *share)
{
    const size_t each = panel_work(self, m->gates, m->width);
    const frnn_isa *isa = self->block.stack->isa;
    frnn_outer job = {
        .rows = k->rows,
        .panel_rows = self->s.chunk_rows,
        .left = left,
        .right = m->right,
        .slots = s->kernel->slots,
        .first_slot = m->first_slot,
        .gates = m->gates,
        .gate = m->gate,
        .units = s->units,
        .width = m->width,
        .first_panel = panel_at(share, share->begin, each, s->panels),
        .end_panel = panel_at(share, share->end, each, s->panels),
        .sums = m->weight,
        .add = !k->last || self->gradients->accumulate,
    };
    share->before += each * (size_t)s->panels;
    if (m->weight)
        isa->outer(&job);
    job.sums = m->bias;
    if (m->bias)
        isa->sum_columns(&job);
}

void frnn_back_weights(const back_worker *self, const back_chunk *k)
{
    const frnn_stack *m = self->block.stack;
    if (!self->gradients->weights)
        return;
    work_share share = share_of_work(self, k->layer);
    for (int direction = 0; direction < m->directions; direction++) {
        const frnn_weight_gradients *into =
            &self->gradients->weights[back_part(self, k, direction)];
        const back_direction *d = &self->s.direction[direction];
        for (int i = 0; i < m->stages; i++) {
            const stack_stage *s = &stack_layer_at(m, k->layer, direction)->stage[i];
            const frnn_stage *kernel = s->kernel;
            const int projection = kernel->matrix == FRNN_WEIGHT_HR;
            const int first = kernel->slots - kernel->h_gates;
            const matrix ih = {0, kernel->x_gates, kernel->x_gate, s->inputs, d->x_panels,
                               into->weight_ih, into->bias_ih};
            const matrix hh = {first, kernel->h_gates, kernel->h_gate, s->depth, d->h_panels[i],
                               projection ? into->weight_hr : into->weight_hh,
                               projection ? NULL : into->bias_hh};
            if (!projection)
                add_matrix(self, k, s, d->panels[i], &ih, &share);
            add_matrix(self, k, s, d->panels[i], &hh, &share);
        }
    }
}

static void clear(float *values, size_t count)
{
    if (values)
        memset(values, 0, count * sizeof *values);
}

void frnn_back_no_weights(const frnn_stack *stack, const frnn_gradients *gradients)
{
    const int parts = stack->config.num_layers * stack->directions;
    const size_t hidden = (size_t)stack->config.hidden_size, outputs = (size_t)stack->output_size;
    for (int part = 0; gradients->weights && !gradients->accumulate && part < parts; part++) {
        const frnn_weight_gradients *into = &gradients->weights[part];
        size_t rows = 0;
        for (int i = 0; i < stack->stages; i++)
            if (stack->layers[part].stage[i].inputs > 0)
                rows += (size_t)stack->layers[part].stage[i].kernel->x_gates * hidden;
        clear(into->weight_ih, rows * (size_t)stack->layers[part].stage->inputs);
        clear(into->weight_hh, rows * outputs);
        clear(into->bias_ih, rows);
        clear(into->bias_hh, rows);
        clear(into->weight_hr, outputs * hidden);
    }
}
