/* SPDX-License-Identifier: MIT */
/* One chunk of steps of one layer in one direction: from rows to kernels. */
#include <string.h>

#include "dropout.h"
#include "worker.h"

/* Points x_rows and y_rows at the running rows of each step, h_rows at the states. */
static void gather_rows(worker *self, const chunk *k)
{
    workspace *w = &self->w;
    size_t count = 0, rows = self->rows;
    for (size_t step = k->begin; step < k->end; step++) {
        rows = rows_at(self, step, rows);
        w->first_row[step - k->begin] = count;
        for (size_t row = 0; row < rows; row++, count++) {
            w->x_rows[count] = sequence_row(self, &k->x, k->direction, step, row);
            w->y_rows[count] = (float *)sequence_row(self, &k->y, k->direction, step, row);
        }
    }
    w->first_row[k->end - k->begin] = count;
    for (size_t row = 0; row < self->rows; row++)
        w->h_rows[row] = state_h(self, k->part, k->number, row);
}

static unit_range my_panels(const worker *self, const stack_stage *s)
{
    return panel_range(self->stack->product, s->panels, s->kernel->h_gates, self->at.unit, self->units);
}

static unit_range my_units(const worker *self, const stack_stage *s)
{
    return units_of_panels(my_panels(self, s), self->stack->isa->lanes, s->units);
}

/* Replaces the inputs by what dropout leaves of them; the workers of the team share the rows. */
static int drop_inputs(worker *self, const chunk *k)
{
    const int layer = k->part / self->stack->directions;
    const int width = self->stack->layers[k->part].stage->inputs;
    workspace *w = &self->w;
    for (size_t step = k->begin; step < k->end; step++)
        for (size_t i = w->first_row[step - k->begin]; i < w->first_row[step - k->begin + 1]; i++) {
            const size_t row = i - w->first_row[step - k->begin];
            const size_t time = k->direction ? row_length(self, row) - 1 - step : step;
            float *into = w->dropped + i * (size_t)width;
            if (i % (size_t)self->units == (size_t)self->at.unit)
                frnn_dropout(into, w->x_rows[i], self->call, layer - 1, time, self->order[row], 0,
                             width);
            w->x_rows[i] = into;
        }
    return wait_for_team(self);
}

static frnn_pass stage_pass(const worker *self, const stack_stage *s, const chunk *k, int stage)
{
    const int recorded = self->tape && s->kernel->finish_recorded;
    const unit_range panels = my_panels(self, s);
    return (frnn_pass){
        .units = s->units,
        .first_panel = panels.begin,
        .end_panel = panels.end,
        .bias = s->bias,
        .pre = recorded ? tape_gates(self, k->part, stage, k->tape_row) : self->w.pre[stage],
        .pre_rows = recorded ? self->tape->rows
                             : self->plan->block_rows * self->plan->chunk_steps,
        .stride = self->stack->padded_units,
        .state_floats = self->stack->state_floats,
    };
}

/* Computes sums of a stage and then calls finish on them. Each worker converts the rows for itself. */
static void run_sweep(const worker *self, frnn_pass *pass, int gates, const frnn_sums *sums)
{
    const frnn_product *const product = self->stack->product;
    if (product->convert_rows) {
        product->convert_rows(self->w.converted, pass->in, pass->rows, pass->depth);
        pass->converted = self->w.converted;
    }
    product->sweep[gates](pass, sums);
}

/* The input projection of all rows and steps of the chunk. */
static void project_chunk(const worker *self, const chunk *k)
{
    const stack_layer *layer = &self->stack->layers[k->part];
    for (int i = 0; i < self->stack->stages; i++) {
        const stack_stage *s = &layer->stage[i];
        if (s->inputs == 0)
            continue;
        frnn_pass pass = stage_pass(self, s, k, i);
        pass.rows = (int)self->w.first_row[k->end - k->begin];
        pass.depth = s->inputs;
        pass.weights = s->x_weights;
        pass.in = self->w.x_rows;
        const frnn_sums sums = {s->kernel->slots, 0, 1, s->kernel->finish_input};
        run_sweep(self, &pass, s->kernel->x_gates, &sums);
    }
}

/* One step of the cell: rows [first, first + rows) of the chunk, from the states h_rows; before:
 * rows of the step before. */
static int run_step(const worker *self, const chunk *k, size_t first, size_t rows, size_t before,
                    const float *const *h_rows)
{
    const stack_layer *layer = &self->stack->layers[k->part];
    const int last = self->stack->stages - 1;
    for (int i = 0; i <= last; i++) {
        const stack_stage *s = &layer->stage[i];
        frnn_pass pass = stage_pass(self, s, k, i);
        pass.rows = (int)rows;
        pass.depth = s->depth;
        pass.weights = s->h_weights;
        pass.pre += first * (size_t)(s->kernel->slots * self->stack->isa->lanes);
        pass.in = i == 0 ? h_rows : (const float *const *)self->w.between_rows;
        pass.h_before = h_rows;
        pass.y = i == last ? self->w.y_rows + first : self->w.between_rows;
        pass.carried = self->w.carried;
        pass.state_before = pass.state = self->w.c ? state_c(self, k->part, 0) : NULL;
        if (self->tape && self->tape->c) {
            pass.state = tape_c(self, k->part, k->tape_row + first);
            if (first > 0)
                pass.state_before = tape_c(self, k->part, k->tape_row + first - before);
        }
        const frnn_stage *const kernel = s->kernel;
        const int recorded = self->tape && kernel->finish_recorded;
        const frnn_sums sums = {kernel->slots, kernel->slots - kernel->h_gates, kernel->x_gates == 0,
                                recorded ? kernel->finish_recorded : kernel->finish};
        run_sweep(self, &pass, kernel->h_gates, &sums);
        if (i < last && !wait_for_team(self))
            return 0;
    }
    return 1;
}

/* A row's output at its last step of the chunk, or the state before where it has none. */
static const float *last_output(const worker *self, const chunk *k, size_t row)
{
    const size_t length = row_length(self, row), last = size_min(length, k->end) - 1;
    if (length <= k->begin)
        return state_h(self, k->part, k->number, row);
    return self->w.y_rows[self->w.first_row[last - k->begin] + row];
}

/* Keeps each row's last output as its state: the units of this worker. */
static void keep_states(const worker *self, const chunk *k)
{
    const stack_stage *s = &self->stack->layers[k->part].stage[self->stack->stages - 1];
    const unit_range mine = my_units(self, s);
    for (size_t row = 0; row < self->rows && mine.begin < mine.end; row++)
        memcpy(state_h(self, k->part, k->number + 1, row) + mine.begin,
               last_output(self, k, row) + mine.begin,
               (size_t)(mine.end - mine.begin) * sizeof(float));
}

/* The same for the cell states of the chunk, from the tape. */
static void keep_cell_states(const worker *self, const chunk *k)
{
    const stack_stage *s = self->stack->layers[k->part].stage;
    const size_t padded = self->stack->padded_units, floats = self->stack->state_floats;
    const unit_range mine = units_of_panels(my_panels(self, s), self->stack->isa->lanes, (int)padded);
    for (size_t row = 0; row < self->rows && row_length(self, row) > k->begin; row++) {
        const size_t last = size_min(row_length(self, row), k->end) - 1;
        const size_t from = k->tape_row + self->w.first_row[last - k->begin] + row;
        for (size_t at = (size_t)mine.begin; at < floats; at += padded)
            memcpy(state_c(self, k->part, row) + at, tape_c(self, k->part, from) + at,
                   (size_t)(mine.end - mine.begin) * sizeof(float));
    }
}

/* The caller's copy of the chunk's outputs: the units of this worker. */
static void copy_outputs(const worker *self, const chunk *k)
{
    const stack_stage *s = &self->stack->layers[k->part].stage[self->stack->stages - 1];
    const unit_range mine = my_units(self, s);
    const size_t *first_row = self->w.first_row;
    for (size_t step = k->begin; step < k->end && mine.begin < mine.end; step++)
        for (size_t i = first_row[step - k->begin]; i < first_row[step - k->begin + 1]; i++) {
            const size_t row = i - first_row[step - k->begin];
            float *into = (float *)sequence_row(self, &k->copy, k->direction, step, row);
            memcpy(into + mine.begin, self->w.y_rows[i] + mine.begin,
                   (size_t)(mine.end - mine.begin) * sizeof(float));
        }
}

int frnn_run_chunk(worker *self, const chunk *k)
{
    if (is_stopped(&self->wait))
        return 0;
    gather_rows(self, k);
    if (self->tape && self->call->dropout > 0.0f && k->part >= self->stack->directions &&
        !drop_inputs(self, k))
        return 0;
    project_chunk(self, k);
    if (k->x.base == k->y.base && !wait_for_team(self)) /* in place: x is read before y is written */
        return 0;
    const float *const *h_rows = self->w.h_rows;
    size_t before = 0;
    for (size_t step = 0; step < k->end - k->begin; step++) {
        const size_t first = self->w.first_row[step], rows = self->w.first_row[step + 1] - first;
        if (step > 0 && !wait_for_team(self))
            return 0;
        if (!run_step(self, k, first, rows, before, h_rows))
            return 0;
        h_rows = (const float *const *)self->w.y_rows + first;
        before = rows;
    }
    keep_states(self, k);
    if (self->tape && self->tape->c)
        keep_cell_states(self, k);
    if (k->copy.base)
        copy_outputs(self, k);
    return wait_for_team(self);
}
