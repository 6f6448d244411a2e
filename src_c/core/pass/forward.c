/* SPDX-License-Identifier: MIT */
/* The forward pass: groups of rows, blocks, layers, directions, chunks of steps. */
#include <string.h>

#include "order.h"
#include "worker.h"

/* What the workers of a pass share. */
typedef struct {
    const frnn_stack *stack;
    const frnn_call *call;
    frnn_plan plan;
    int width; /* workers: the plan's, or 1 */
    void *memory;
    const tape *tape; /* NULL: inference */
    stop_flag stop;
} job;

/* ---- States and padding ----------------------------------------------------------------------- */

/* Copies one state between the caller's [layers * directions][batch][size] and the block's rows. */
static void load_state(const worker *self, float *into, const float *from, size_t index, size_t row,
                       size_t size)
{
    const size_t at = (index * self->call->batch + self->order[row]) * size;
    if (from)
        memcpy(into, from + at, size * sizeof(float));
    else
        memset(into, 0, size * sizeof(float));
}

static void store_state(const worker *self, float *into, const float *from, size_t index,
                        size_t row, size_t size)
{
    if (into)
        memcpy(into + (index * self->call->batch + self->order[row]) * size, from,
               size * sizeof(float));
}

/* The states beside h. The caller's are [layers * directions][batch][states - 1][hidden_size]. */
static void load_cell_states(const worker *self, size_t part, size_t row)
{
    const frnn_stack *m = self->stack;
    const size_t states = (size_t)stack_cell_states(m), hidden = (size_t)m->config.hidden_size;
    float *const c = state_c(self, (int)part, row);
    memset(c, 0, m->state_floats * sizeof(float));
    const size_t first = (part * self->call->batch + self->order[row]) * states;
    for (size_t i = 0; i < states && self->call->c0; i++)
        memcpy(c + i * m->padded_units, self->call->c0 + (first + i) * hidden,
               hidden * sizeof(float));
    if (self->tape)
        memcpy(tape_c0(self, (int)part, row), c, m->state_floats * sizeof(float));
}

static void store_cell_states(const worker *self, size_t part, size_t row)
{
    const frnn_stack *m = self->stack;
    const size_t states = (size_t)stack_cell_states(m), hidden = (size_t)m->config.hidden_size;
    const float *const c = state_c(self, (int)part, row);
    const size_t first = (part * self->call->batch + self->order[row]) * states;
    for (size_t i = 0; i < states && self->call->cn; i++)
        memcpy(self->call->cn + (first + i) * hidden, c + i * m->padded_units,
               hidden * sizeof(float));
}

static void load_row(const worker *self, size_t row)
{
    const frnn_stack *m = self->stack;
    const size_t outputs = (size_t)m->output_size;
    for (int part = 0; part < m->config.num_layers * m->directions; part++) {
        float *const h = state_h(self, part, 0, row);
        load_state(self, h, self->call->h0, (size_t)part, row, outputs);
        if (self->tape)
            memcpy(tape_h0(self, part, row), h, outputs * sizeof(float));
        if (stack_has_cell_state(m))
            load_cell_states(self, (size_t)part, row);
    }
}

static void store_row(const worker *self, size_t row)
{
    const frnn_stack *m = self->stack;
    const size_t turns = chunks_of(self);
    for (int part = 0; part < m->config.num_layers * m->directions; part++) {
        store_state(self, self->call->hn, state_h(self, part, turns, row), (size_t)part, row,
                    (size_t)m->output_size);
        if (stack_has_cell_state(m))
            store_cell_states(self, (size_t)part, row);
    }
}

/* Zeroes y beyond the row's length. */
static void clear_padding(const worker *self, size_t row)
{
    const frnn_call *call = self->call;
    const size_t width = (size_t)(self->stack->directions * self->stack->output_size);
    float *const y = call->y + (ptrdiff_t)self->order[row] * call->y_row;
    for (size_t step = row_length(self, row); step < call->steps; step++)
        memset(y + (ptrdiff_t)step * call->y_step, 0, width * sizeof(float));
}

/* The rows of the block are shared out over the group for this. */
static void for_my_rows(const worker *self, void (*do_row)(const worker *, size_t row))
{
    const size_t workers = (size_t)(self->teams * self->units);
    const size_t me = (size_t)(self->at.team * self->units + self->at.unit);
    for (size_t row = me; row < self->rows; row += workers) do_row(self, row);
}

/* ---- Layers ----------------------------------------------------------------------------------- */

/* Where a layer reads (from_below) or writes a chunk; lower layers meet in the workspace, where the
 * steps from first_step on are kept. */
static sequences layer_sequences(const worker *self, int layer, size_t begin, int from_below)
{
    const frnn_call *call = self->call;
    const frnn_stack *m = self->stack;
    const int source = from_below ? layer - 1 : layer;
    if (source < 0)
        return (sequences){call->x, call->x_step, call->x_row, 0, 1};
    if (self->tape)
        return tape_sequences(self, source);
    if (source == m->config.num_layers - 1)
        return (sequences){call->y, call->y_step, call->y_row, 0, 1};
    const ptrdiff_t width = m->directions * m->output_size;
    const size_t slot = workspace_slot(self->plan, source, begin / self->plan->chunk_steps);
    return (sequences){self->w.layer_y + slot * self->w.slot_floats,
                       width * (ptrdiff_t)self->plan->block_rows, width,
                       m->directions > 1 ? 0 : begin, 0};
}

static int run_layer(worker *self, int layer, int direction, size_t number)
{
    const size_t longest = row_length(self, 0), begin = number * self->plan->chunk_steps;
    const size_t end = begin + self->plan->chunk_steps;
    chunk k = {.part = layer * self->stack->directions + direction,
               .direction = direction,
               .number = number,
               .begin = begin,
               .end = size_min(end, longest),
               .x = layer_sequences(self, layer, begin, 1),
               .y = layer_sequences(self, layer, begin, 0)};
    k.y.base += direction * self->stack->output_size;
    if (self->tape)
        k.tape_row = tape_chunk_row(self, begin);
    if (self->tape && layer == self->stack->config.num_layers - 1)
        k.copy = (sequences){self->call->y + direction * self->stack->output_size,
                             self->call->y_step, self->call->y_row, 0, 1};
    return frnn_run_chunk(self, &k);
}

/* Layers follow each other chunk by chunk. With teams, each has neighbouring layers: a layer waits
 * for its input, and for the layer above where that still reads what it is to write over. */
static int run_one_direction(worker *self)
{
    const int layers = self->stack->config.num_layers, teamwork = self->teams > 1;
    counter *const done = self->w.done;
    for (unsigned number = 0; number < chunks_of(self); number++)
        for (int layer = 0; layer < layers; layer++) {
            if ((long long)layer * self->teams / layers != self->at.team)
                continue;
            if (teamwork && layer > 0 && !wait_for_count(self, &done[layer - 1], number + 1))
                return 0;
            if (teamwork && layer < layers - 1 && number >= 2 &&
                !wait_for_count(self, &done[layer + 1], number - 1))
                return 0;
            if (!run_layer(self, layer, 0, number))
                return 0;
            if (self->at.unit == 0)
                counter_add(&done[layer]);
        }
    return 1;
}

/* A layer needs the whole sequence of both directions below it. */
static int run_two_directions(worker *self)
{
    for (int layer = 0; layer < self->stack->config.num_layers; layer++) {
        for (int direction = 0; direction < 2; direction++)
            for (size_t number = 0; number < chunks_of(self); number++)
                if (direction % self->teams == self->at.team &&
                    !run_layer(self, layer, direction, number))
                    return 0;
        if (self->teams > 1 && !wait_for_group(self))
            return 0;
    }
    return 1;
}

/* ---- Groups and blocks ------------------------------------------------------------------------ */

/* Returns 0 if the pass has ended early. */
static int run_block(worker *self)
{
    for_my_rows(self, load_row);
    for (size_t row = 0; self->w.between && row < self->rows; row++)
        self->w.between_rows[row] = self->w.between + row * self->stack->padded_units;
    if (self->at.team == 0 && self->at.unit == 0)
        for (int layer = 0; layer < self->stack->config.num_layers; layer++)
            counter_reset(&self->w.done[layer]);
    if (!wait_for_group(self))
        return 0;
    if (!(self->stack->directions == 1 ? run_one_direction(self) : run_two_directions(self)))
        return 0;
    if (self->teams > 1 && !wait_for_group(self)) /* a team has waited for its own workers */
        return 0;
    for_my_rows(self, store_row);
    if (self->call->lengths)
        for_my_rows(self, clear_padding);
    return 1;
}

/* The rows of one group, or all rows where the worker is alone in it. */
static void run_group(job *j, worker_place at)
{
    const int alone = j->width == 1;
    arena placed = arena_over(j->memory);
    worker self = {.stack = j->stack,
                   .call = j->call,
                   .plan = &j->plan,
                   .at = at,
                   .wait = {j->stack->isa, j->call->executor, &j->stop,
                            alone || (at.group == 0 && at.team == 0 && at.unit == 0)},
                   .teams = alone ? 1 : plan_teams(&j->plan),
                   .units = alone ? 1 : j->plan.unit_workers,
                   .tape = j->tape};
    self.w = frnn_workspace_lay_out(j->stack, &j->plan, j->call->steps, j->call->batch, at, &placed);
    self.position = plan_first_row(&j->plan, j->call->batch, at.group);
    self.order = self.w.order + self.position;
    size_t left = plan_group_rows(&j->plan, j->call->batch, at.group);
    self.tape_row = steps_of_rows(j->call, self.w.order, self.position);
    for (; left > 0; left -= self.rows) {
        self.rows = size_min(left, j->plan.block_rows);
        if (!run_block(&self))
            return;
        self.tape_row += steps_of_rows(j->call, self.order, self.rows);
        self.order += self.rows, self.position += self.rows;
    }
}

static void run_worker(void *argument, int index)
{
    job *j = argument;
    const int units = j->plan.unit_workers, teams = plan_teams(&j->plan);
    const unsigned saved = j->stack->isa->denormals_off();
    if (j->width > 1)
        run_group(j, (worker_place){index / units / teams, index / units % teams, index % units});
    else
        for (int group = 0; group < j->plan.row_groups; group++) run_group(j, (worker_place){group, 0, 0});
    j->stack->isa->denormals_restore(saved);
}

/* ---- The call --------------------------------------------------------------------------------- */

static frnn_status check_call(const frnn_stack *stack, const frnn_call *call)
{
    if (!stack || !call || call->steps == 0 || (call->batch > 0 && (!call->x || !call->y)) ||
        !executor_is_valid(call->executor) ||
        (stack->directions > 1 && call->batch > 0 && call->x == call->y) ||
        !lengths_are_valid(call->lengths, call->batch, call->steps))
        return FRNN_BAD_ARGUMENT;
    return FRNN_OK;
}

static frnn_status workspace_bytes(const frnn_stack *stack, const frnn_plan *plan, size_t steps,
                                   size_t batch, size_t *bytes)
{
    arena count = {NULL, 0, 0};
    frnn_workspace_lay_out(stack, plan, steps, batch, (worker_place){0, 0, 0}, &count);
    return arena_total(&count, bytes);
}

frnn_status frnn_workspace_size(const frnn_stack *stack, size_t steps, size_t batch,
                                const frnn_plan *plan, size_t *bytes)
{
    if (!stack || !bytes || steps == 0)
        return FRNN_BAD_ARGUMENT;
    frnn_plan used;
    const frnn_status status = frnn_plan_of(stack, steps, batch, plan, &used);
    return status == FRNN_OK ? workspace_bytes(stack, &used, steps, batch, bytes) : status;
}

/* Runs a checked job on the plan's workers, or alone when they are not available. */
static void run_job(job *j)
{
    const frnn_executor *executor = j->call->executor;
    j->width = plan_width(&j->plan);
    if (j->width == 1 || !executor ||
        !executor->run(executor->context, j->width, j->plan.wake, run_worker, j)) {
        j->width = 1;
        run_worker(j, 0);
    }
}

frnn_status frnn_forward(const frnn_stack *stack, const frnn_call *call, void *workspace_memory,
                         size_t bytes)
{
    size_t needed = 0;
    job j = {.stack = stack, .call = call, .memory = workspace_memory};
    frnn_status status = check_call(stack, call);
    if (status == FRNN_OK)
        status = frnn_plan_of(stack, call->steps, call->batch, call->plan, &j.plan);
    if (status == FRNN_OK)
        status = workspace_bytes(stack, &j.plan, call->steps, call->batch, &needed);
    if (status == FRNN_OK)
        status = frnn_tape_check(stack, call);
    if (status != FRNN_OK)
        return status;
    if (!workspace_memory || bytes < needed)
        return FRNN_SMALL_MEMORY;
    tape recorded;
    if (call->tape) {
        arena taped = arena_over(call->tape);
        recorded = frnn_tape_lay_out(stack, call->steps, call->batch, &taped);
        frnn_tape_begin(&recorded, stack, call, &j.plan);
        j.tape = &recorded;
    }
    arena placed = arena_over(workspace_memory);
    const workspace w = frnn_workspace_lay_out(stack, &j.plan, call->steps, call->batch,
                                               (worker_place){0, 0, 0}, &placed);
    memset(w.counters, 0, w.counters_bytes);
    frnn_order_rows(call, &j.plan, w.scratch, w.order);
    stop_begin(&j.stop, call->stop, call->stop_context);
    run_job(&j);
    return stop_status(&j.stop);
}
