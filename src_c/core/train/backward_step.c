/* SPDX-License-Identifier: MIT */
/* The time loop of a backward pass: one block of rows through the steps of a chunk. */
#include "backward.h"
#include "../pass/dropout.h"

/* One step of a block: its rows, and where they are on the tape and in the chunk. */
typedef struct {
    const back_chunk *chunk;
    int direction;
    size_t part, step, rows, tape_row, chunk_row;
} back_step;

static unit_range my_panels(const back_worker *self, int panels)
{
    const worker *b = &self->block;
    return panel_range(b->stack->product, panels, 1, b->at.unit, b->units);
}

/* Gradients of the outputs of lower layers pass through dropout. */
static void drop_gradients(const back_worker *self, const back_step *at)
{
    const worker *b = &self->block;
    const int outputs = b->stack->output_size;
    const unit_range panels = my_panels(self, panels_of(b->stack->isa, outputs));
    const unit_range mine = units_of_panels(panels, b->stack->isa->lanes, outputs);
    for (size_t row = 0; row < at->rows && mine.begin < mine.end; row++) {
        const size_t time = at->direction ? row_length(b, row) - 1 - at->step : at->step;
        float *dy = (float *)self->s.dy_rows[row] + mine.begin;
        frnn_dropout(dy, dy, b->call, at->chunk->layer, time, b->order[row],
                     at->direction * outputs + mine.begin, mine.end - mine.begin);
    }
}

static void gather_dy(const back_worker *self, const back_step *at)
{
    const worker *b = &self->block;
    if (!at->chunk->dy.base)
        return;
    for (size_t row = 0; row < at->rows; row++)
        self->s.dy_rows[row] =
            sequence_row(b, &at->chunk->dy, at->direction, at->step, row) +
            at->direction * b->stack->output_size;
    if (at->chunk->layer < b->stack->config.num_layers - 1 && b->call->dropout > 0.0f)
        drop_gradients(self, at);
}

/* Points h_rows and h_before_rows at the outputs of the step and at those before it. */
static void gather_h(const back_worker *self, const back_step *at)
{
    const worker *b = &self->block;
    const sequences h = tape_sequences(b, at->chunk->layer);
    const ptrdiff_t offset = at->direction * b->stack->output_size;
    for (size_t row = 0; row < at->rows; row++) {
        const float *now = sequence_row(b, &h, at->direction, at->step, row) + offset;
        self->s.h_rows[row] = now;
        self->s.h_before_rows[row] = at->step == 0 ? tape_h0(b, (int)at->part, row)
                                     : at->direction ? now + h.step
                                                     : now - h.step;
    }
}

static void fill_cell_states(const back_worker *self, const back_step *at, frnn_gradient_pass *pass)
{
    const worker *b = &self->block;
    const size_t in_chunk = at->step - at->chunk->begin;
    pass->state = tape_c(b, (int)at->part, at->tape_row);
    pass->dstate = back_dc(self, at->part);
    if (at->step == 0)
        pass->state_before = tape_c0(b, (int)at->part, 0);
    else if (in_chunk > 0)
        pass->state_before = tape_c(b, (int)at->part, self->s.mine_first[in_chunk - 1]);
    else
        pass->state_before = tape_c(b, (int)at->part, at->tape_row - rows_at(b, at->step - 1, b->rows));
}

static void run_gradient(const back_worker *self, const back_step *at, int stage)
{
    const worker *b = &self->block;
    const stack_stage *s = &stack_layer_at(b->stack, at->chunk->layer, at->direction)->stage[stage];
    const back_direction *d = &self->s.direction[at->direction];
    const int last = b->stack->stages - 1;
    const size_t slots = (size_t)s->kernel->slots, lanes = (size_t)b->stack->isa->lanes;
    const unit_range panels = my_panels(self, s->panels);
    frnn_gradient_pass pass = {
        .rows = (int)at->rows,
        .units = s->units,
        .first_panel = panels.begin,
        .end_panel = panels.end,
        .gate_rows = b->tape->rows,
        .h = self->s.h_rows,
        .h_before = self->s.h_before_rows,
        .dy = stage == last && at->chunk->dy.base ? self->s.dy_rows : NULL,
        .dh_in = stage == last ? back_dh(self, at->part)
                               : d->between + b->position * b->stack->padded_units,
        .dh = back_dh(self, at->part),
        .stride = s->stride,
        .state_floats = b->stack->state_floats,
        .dpre = d->dpre[stage] + at->chunk_row * slots * s->stride,
        .dpre_row = self->ranks.step * slots * s->stride,
        .panels = d->panels[stage] + at->chunk_row * slots * lanes,
        .in_panels = stage < last ? d->h_panels[last] + at->chunk_row * lanes : NULL,
        .panel_rows = self->s.chunk_rows,
        .panel_step = self->ranks.step,
    };
    if (b->tape->gates[stage])
        pass.gates = tape_gates(b, (int)at->part, stage, at->tape_row);
    if (b->stack->stages > 1 && b->tape->gates[1 - stage])
        pass.partner_gates = tape_gates(b, (int)at->part, 1 - stage, at->tape_row);
    if (b->tape->c)
        fill_cell_states(self, at, &pass);
    s->kernel->gradient(&pass);
}

/* The gradients of what a stage's recurrent product took: of the state before, or of the stage
 * before. Where the cell uses the state before beside its product, gradient left that part in dh. */
static void run_product(const back_worker *self, const back_step *at, int stage)
{
    const worker *b = &self->block;
    const stack_stage *s = &stack_layer_at(b->stack, at->chunk->layer, at->direction)->stage[stage];
    const back_direction *d = &self->s.direction[at->direction];
    const unit_range panels = my_panels(self, panels_of(b->stack->isa, s->depth));
    const size_t row_floats = (size_t)s->kernel->slots * s->stride;
    const size_t first_slot = (size_t)(s->kernel->slots - s->kernel->h_gates);
    const size_t stride = stage > 0 ? b->stack->padded_units : self->s.h_stride;
    float *to = stage > 0 ? d->between + b->position * stride : back_dh(self, at->part);
    const float *from = d->dpre[stage] + at->chunk_row * row_floats + first_slot * s->stride;
    for (size_t row = 0; row < at->rows; row++) {
        self->s.from[row] = from + row * self->ranks.step * row_floats;
        self->s.to[row] = to + row * stride;
    }
    const frnn_pass pass = {
        .rows = (int)at->rows,
        .depth = s->kernel->h_gates * (int)s->stride,
        .units = (int)stride,
        .first_panel = panels.begin,
        .end_panel = panels.end,
        .weights = s->h_transposed,
        .in = self->s.from,
        .y = self->s.to,
    };
    const int adds = stage == 0 && b->stack->cell->uses_h_before;
    b->stack->product->multiply(&pass, adds ? FRNN_FROM_Y : FRNN_FROM_ZERO);
}

/* Counts, for each step of the chunk, where the block's rows begin on the tape. */
static void find_tape_rows(const back_worker *self, const back_chunk *k)
{
    const worker *b = &self->block;
    size_t first = tape_chunk_row(b, k->begin), rows = b->rows;
    for (size_t step = k->begin; step < k->end; step++) {
        rows = rows_at(b, step, rows);
        self->s.mine_first[step - k->begin] = first;
        first += rows;
    }
    self->s.mine_first[k->end - k->begin] = first;
}

int frnn_back_steps(back_worker *self, const back_chunk *k, int direction)
{
    find_tape_rows(self, k);
    for (size_t step = k->end; step-- > k->begin;) {
        const size_t *first = self->s.mine_first + (step - k->begin);
        const back_step at = {k, direction, back_part(self, k, direction), step,
                              first[1] - first[0], first[0], back_chunk_row(self, k, step, 0)};
        if (at.rows == 0)
            continue;
        gather_dy(self, &at);
        gather_h(self, &at);
        for (int stage = self->block.stack->stages - 1; stage >= 0; stage--) {
            run_gradient(self, &at, stage);
            if (!wait_for_my_team(self))
                return 0;
            run_product(self, &at, stage);
        }
    }
    return 1;
}
