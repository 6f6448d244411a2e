/* SPDX-License-Identifier: MIT */
/* One chunk of steps of one layer in one direction: the way from rows to kernels. */
#include <string.h>

#include "worker.h"

/* Rows that are not finished at a step, counted down from `rows`. */
static size_t rows_at(const worker *self, size_t step, size_t rows)
{
    while (rows > 0 && row_length(self, rows - 1) <= step) rows--;
    return rows;
}

/* Row `row` at `step` of the run: the reverse direction starts at each row's own end. */
static const float *sequence_row(const worker *self, const sequences *s, int direction, size_t step,
                                 size_t row)
{
    const size_t time = direction ? row_length(self, row) - 1 - step : step;
    const size_t index = s->callers_rows ? self->order[row] : row;
    return s->base + (ptrdiff_t)(time - s->first_step) * s->step + (ptrdiff_t)index * s->row;
}

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

/* The first panel of a worker's share; that of the next one is its end. */
static int first_panel(const worker *self, const model_stage *s, int unit)
{
    const int grain = 4 / s->kernel->h_gates; /* panels of one gate run side by side in a tile */
    const int grains = (s->panels + grain - 1) / grain;
    const long long first = (long long)grains * unit / self->units * grain;
    return first < s->panels ? (int)first : s->panels;
}

static frnn_pass stage_pass(const worker *self, const model_stage *s, int stage)
{
    return (frnn_pass){
        .units = s->units,
        .first_panel = first_panel(self, s, self->at.unit),
        .end_panel = first_panel(self, s, self->at.unit + 1),
        .bias = s->bias,
        .pre = self->w.pre[stage],
        .pre_rows = self->plan->block_rows * self->plan->chunk_steps,
        .c_stride = self->model->padded_units,
    };
}

/* The input projection of all rows and steps of the chunk. */
static void project_chunk(const worker *self, const chunk *k)
{
    const model_layer *layer = &self->model->layers[k->part];
    for (int i = 0; i < self->model->stages; i++) {
        const model_stage *s = &layer->stage[i];
        if (s->inputs == 0)
            continue;
        frnn_pass pass = stage_pass(self, s, i);
        pass.rows = (int)self->w.first_row[k->end - k->begin];
        pass.depth = s->inputs;
        pass.weights = s->x_weights;
        pass.in = self->w.x_rows;
        s->kernel->project(&pass);
    }
}

/* One step of the cell: rows [first, first + rows) of the chunk, from the states h_rows. */
static void run_step(const worker *self, const chunk *k, size_t first, size_t rows,
                     const float *const *h_rows)
{
    const model_layer *layer = &self->model->layers[k->part];
    const int last = self->model->stages - 1;
    for (int i = 0; i <= last; i++) {
        const model_stage *s = &layer->stage[i];
        frnn_pass pass = stage_pass(self, s, i);
        pass.rows = (int)rows;
        pass.depth = s->depth;
        pass.weights = s->h_weights;
        pass.pre += first * (size_t)(s->kernel->slots * self->model->isa->lanes);
        pass.in = i == 0 ? h_rows : (const float *const *)self->w.between_rows;
        pass.h = h_rows;
        pass.y = i == last ? self->w.y_rows + first : self->w.between_rows;
        pass.c = self->w.c ? state_c(self, k->part, 0) : NULL;
        s->kernel->step(&pass);
        if (i < last)
            wait_for_team(self);
    }
}

/* A row's output at its last step of the chunk, or the state before where it has none. */
static const float *last_output(const worker *self, const chunk *k, size_t row)
{
    const size_t length = row_length(self, row), last = (length < k->end ? length : k->end) - 1;
    if (length <= k->begin)
        return state_h(self, k->part, k->number, row);
    return self->w.y_rows[self->w.first_row[last - k->begin] + row];
}

/* Keeps each row's last output as its state: the units of this worker. */
static void keep_states(const worker *self, const chunk *k)
{
    const model_stage *s = &self->model->layers[k->part].stage[self->model->stages - 1];
    const int lanes = self->model->isa->lanes;
    const int begin = first_panel(self, s, self->at.unit) * lanes;
    const int past = first_panel(self, s, self->at.unit + 1) * lanes;
    const int end = past < s->units ? past : s->units;
    for (size_t row = 0; row < self->rows && begin < end; row++)
        memcpy(state_h(self, k->part, k->number + 1, row) + begin,
               last_output(self, k, row) + begin, (size_t)(end - begin) * sizeof(float));
}

void frnn_run_chunk(worker *self, const chunk *k)
{
    gather_rows(self, k);
    project_chunk(self, k);
    const float *const *h_rows = self->w.h_rows;
    for (size_t step = 0; step < k->end - k->begin; step++) {
        const size_t first = self->w.first_row[step], rows = self->w.first_row[step + 1] - first;
        if (step > 0)
            wait_for_team(self);
        run_step(self, k, first, rows, h_rows);
        h_rows = (const float *const *)self->w.y_rows + first;
    }
    keep_states(self, k);
    wait_for_team(self);
}
