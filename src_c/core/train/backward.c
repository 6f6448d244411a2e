/* SPDX-License-Identifier: MIT */
/* The backward pass: states, layers from the last to the first, chunks of steps from the end. */
#include "backward.h"

#include <limits.h>
#include <string.h>

/* What the workers of a pass share. */
typedef struct {
    const frnn_stack *stack;
    const frnn_call *call;
    const frnn_gradients *gradients;
    frnn_plan plan;
    frnn_plan taped; /* the plan with the tape's groups and blocks of rows */
    int width;     /* workers: the plan's, or 1 */
    void *memory;
    tape tape;
    stop_flag stop;
} job;

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* What is done with a direction of a chunk, block by block. */
typedef enum { BACK_STEPS, BACK_INPUTS } block_work;

/* The blocks of one group, with self->block and self->ranks at each in turn. Returns 0 if the pass has
 * ended early, as the functions below do. */
static int visit_group(back_worker *self, const back_chunk *k, int direction, block_work work,
                        int group)
{
    worker *b = &self->block;
    const size_t first = plan_first_row(b->plan, b->call->batch, group);
    const size_t rows = plan_group_rows(b->plan, b->call->batch, group);
    const row_ranks ranks = group_ranks(b->call, b->plan, group, first);
    b->tape_row = steps_of_rows(b->call, self->s.order, first);
    for (size_t done = 0; done < rows; done += b->rows) {
        b->position = first + done;
        b->order = self->s.order + b->position;
        b->rows = size_min(rows - done, b->plan->block_rows);
        self->ranks = (row_ranks){ranks.first + done * ranks.step, ranks.step};
        if (is_stopped(&b->wait))
            return 0;
        if (work == BACK_INPUTS)
            frnn_back_inputs(self, k, direction);
        else if (!frnn_back_steps(self, k, direction))
            return 0;
        b->tape_row += steps_of_rows(b->call, b->order, b->rows);
    }
    return 1;
}

/* The blocks of this worker's groups. */
static int each_block(back_worker *self, const back_chunk *k, int direction, block_work work)
{
    const worker *b = &self->block;
    for (int group = b->at.group; group < b->plan->row_groups; group += self->groups)
        if (!visit_group(self, k, direction, work, group))
            return 0;
    return 1;
}

/* ---- States and padding ---------------------------------------------------------------------- */

/* A row of a state's gradients between the caller, [parts][batch][size], and the workspace. */
static void load_gradient(const back_worker *self, float *into, const float *from, size_t part,
                          size_t row, size_t size, size_t stride)
{
    memset(into, 0, stride * sizeof *into);
    if (from)
        memcpy(into, from + (part * self->block.call->batch + row) * size, size * sizeof *into);
}

/* The same of the states beside h: the caller's are [parts][batch][states - 1][hidden_size]. */
static void load_cell_gradients(const back_worker *self, float *into, size_t part, size_t row)
{
    const frnn_stack *m = self->block.stack;
    const size_t states = (size_t)stack_cell_states(m), hidden = (size_t)m->config.hidden_size;
    const float *const from = self->gradients->dcn;
    const size_t first = (part * self->block.call->batch + row) * states;
    memset(into, 0, m->state_floats * sizeof *into);
    for (size_t i = 0; i < states && from; i++)
        memcpy(into + i * m->padded_units, from + (first + i) * hidden, hidden * sizeof *into);
}

static void store_cell_gradients(const back_worker *self, const float *from, size_t part, size_t row)
{
    const frnn_stack *m = self->block.stack;
    const size_t states = (size_t)stack_cell_states(m), hidden = (size_t)m->config.hidden_size;
    float *const into = self->gradients->dc0;
    const size_t first = (part * self->block.call->batch + row) * states;
    for (size_t i = 0; i < states && into; i++)
        memcpy(into + (first + i) * hidden, from + i * m->padded_units, hidden * sizeof *into);
}

static void store_gradient(const back_worker *self, float *into, const float *from, size_t part,
                           size_t row, size_t size)
{
    if (into)
        memcpy(into + (part * self->block.call->batch + row) * size, from, size * sizeof *into);
}

/* Calls do_row for this worker's share of all rows, by position in the order of the pass. */
static void for_my_rows(const back_worker *self, void (*do_row)(const back_worker *, size_t))
{
    const size_t width = (size_t)self->width;
    for (size_t i = (size_t)self->index; i < self->block.call->batch; i += width) do_row(self, i);
}

static void load_row(const back_worker *self, size_t at)
{
    const frnn_stack *m = self->block.stack;
    const frnn_gradients *g = self->gradients;
    const size_t parts = (size_t)(m->config.num_layers * m->directions);
    const size_t batch = self->block.call->batch, row = self->s.order[at];
    const size_t h_stride = self->s.h_stride;
    for (size_t part = 0; part < parts; part++) {
        load_gradient(self, self->s.dh + (part * batch + at) * h_stride, g->dhn, part, row,
                      (size_t)m->output_size, h_stride);
        if (self->s.dc)
            load_cell_gradients(self, self->s.dc + (part * batch + at) * m->state_floats, part, row);
    }
}

static void store_row(const back_worker *self, size_t at)
{
    const frnn_stack *m = self->block.stack;
    const frnn_gradients *g = self->gradients;
    const size_t parts = (size_t)(m->config.num_layers * m->directions);
    const size_t batch = self->block.call->batch, row = self->s.order[at];
    for (size_t part = 0; part < parts; part++) {
        store_gradient(self, g->dh0, self->s.dh + (part * batch + at) * self->s.h_stride, part, row,
                       (size_t)m->output_size);
        if (self->s.dc)
            store_cell_gradients(self, self->s.dc + (part * batch + at) * m->state_floats, part, row);
    }
}

/* Zeroes what the caller's dx holds of a row: all of it where two directions add to it, else what
 * is beyond its length. */
static void clear_dx(const back_worker *self, size_t row)
{
    const frnn_call *call = self->block.call;
    const frnn_gradients *g = self->gradients;
    const size_t length = call->lengths ? call->lengths[row] : call->steps;
    float *const dx = g->dx + (ptrdiff_t)row * g->dx_row;
    for (size_t t = self->block.stack->directions > 1 ? 0 : length; t < call->steps; t++)
        memset(dx + (ptrdiff_t)t * g->dx_step, 0,
               (size_t)self->block.stack->config.input_size * sizeof *dx);
}

/* ---- Chunks and layers ----------------------------------------------------------------------- */

/* The slot that holds a lower layer's output gradients. */
static float *layer_dy(const back_worker *self, int layer)
{
    return self->s.layer_dy + (size_t)(layer % 2) * self->s.slot_floats;
}

static sequences lower_gradients(const back_worker *self, int layer, size_t begin)
{
    const frnn_stack *m = self->block.stack;
    const ptrdiff_t width = m->directions * m->output_size;
    return (sequences){layer_dy(self, layer), width * (ptrdiff_t)self->block.call->batch, width,
                       m->directions > 1 ? 0 : begin, 1};
}

static back_chunk chunk_at(const back_worker *self, int layer, size_t number)
{
    const frnn_call *call = self->block.call;
    const frnn_gradients *g = self->gradients;
    const int top = layer == self->block.stack->config.num_layers - 1;
    const size_t begin = number * self->s.chunk_steps, end = begin + self->s.chunk_steps;
    back_chunk k = {.layer = layer,
                    .last = end >= self->longest,
                    .number = number,
                    .begin = begin,
                    .end = size_min(end, self->longest)};
    k.x = layer > 0 ? tape_sequences(&self->block, layer - 1)
                    : (sequences){call->x, call->x_step, call->x_row, 0, 1};
    k.dy = top ? (sequences){g->dy, g->dy_step, g->dy_row, 0, 1}
               : lower_gradients(self, layer, begin);
    k.dx = layer > 0 ? lower_gradients(self, layer - 1, begin)
                     : (sequences){g->dx, g->dx_step, g->dx_row, 0, 1};
    return k;
}

/* Counts where the rows of each step of the chunk begin, and all of them. */
static void find_chunk_rows(const back_worker *self, back_chunk *k)
{
    worker all = self->block;
    all.order = self->s.ranked;
    size_t rows = all.call->batch;
    for (size_t step = k->begin; step < k->end; step++) {
        rows = rows_at(&all, step, rows);
        self->s.all_first[step - k->begin] = k->rows;
        k->rows += rows;
    }
    self->s.all_first[k->end - k->begin] = k->rows;
}

static int run_chunk(back_worker *self, int layer, size_t number)
{
    const int directions = self->block.stack->directions;
    back_chunk k = chunk_at(self, layer, number);
    find_chunk_rows(self, &k);
    frnn_back_pack(self, &k);
    for (int d = 0; d < directions; d++)
        if (d % self->block.teams == self->block.at.team && !each_block(self, &k, d, BACK_STEPS))
            return 0;
    if (!wait_for_my_group(self))
        return 0;
    for (int d = 0; d < directions && k.dx.base; d++)
        if (!each_block(self, &k, d, BACK_INPUTS))
            return 0;
    if (!wait_for_all(self))
        return 0;
    frnn_back_weights(self, &k);
    return wait_for_all(self);
}

/* Zeroes this worker's share of a lower layer's output gradients. */
static void clear_layer_dy(const back_worker *self, int layer)
{
    const size_t floats = self->s.slot_floats, width = (size_t)self->width;
    const size_t me = (size_t)self->index, begin = floats / width * me;
    const size_t end = me + 1 == width ? floats : floats / width * (me + 1);
    memset(layer_dy(self, layer) + begin, 0, (end - begin) * sizeof(float));
}

static int run_layers(back_worker *self)
{
    const int layers = self->block.stack->config.num_layers;
    const size_t chunks = (self->longest + self->s.chunk_steps - 1) / self->s.chunk_steps;
    if (self->block.stack->directions == 1) {
        for (size_t number = chunks; number-- > 0;)
            for (int layer = layers; layer-- > 0;)
                if (!run_chunk(self, layer, number))
                    return 0;
        return 1;
    }
    for (int layer = layers; layer-- > 0;) {
        if (layer > 0) {
            clear_layer_dy(self, layer - 1);
            if (!wait_for_all(self))
                return 0;
        }
        for (size_t number = chunks; number-- > 0;)
            if (!run_chunk(self, layer, number))
                return 0;
    }
    return 1;
}

static void run_worker(void *argument, int index)
{
    job *j = argument;
    const frnn_call *call = j->call;
    const int alone = j->width == 1, units = alone ? 1 : back_units(&j->plan);
    const int teams = alone ? 1 : j->plan.direction_teams;
    const worker_place at = {index / units / teams, index / units % teams, index % units};
    arena placed = arena_over(j->memory);
    back_worker self = {
        .block = {.stack = j->stack, .call = call, .plan = &j->taped, .at = at, .teams = teams,
                  .units = units, .tape = &j->tape,
                  .wait = {j->stack->isa, call->executor, &j->stop, index == 0}},
        .gradients = j->gradients,
        .s = frnn_back_space_lay_out(j->stack, &j->plan, call->steps, call->batch, at, &placed),
        .index = index,
        .width = j->width,
        .groups = alone ? 1 : j->plan.row_groups,
    };
    self.longest = call->lengths ? call->lengths[self.s.ranked[0]] : call->steps;
    const unsigned saved = j->stack->isa->denormals_off();
    for_my_rows(&self, load_row);
    if (j->gradients->dx)
        for_my_rows(&self, clear_dx);
    if (wait_for_all(&self) && run_layers(&self))
        for_my_rows(&self, store_row);
    j->stack->isa->denormals_restore(saved);
}

/* ---- The call -------------------------------------------------------------------------------- */

static frnn_status check_call(const frnn_stack *stack, const frnn_call *call,
                              const frnn_gradients *gradients)
{
    if (!stack || !call || !gradients || !call->tape || call->steps == 0 ||
        (call->batch > 0 && !call->x) || !executor_is_valid(call->executor) ||
        !lengths_are_valid(call->lengths, call->batch, call->steps))
        return FRNN_BAD_ARGUMENT;
    return frnn_tape_check(stack, call);
}

frnn_status frnn_backward_size(const frnn_stack *stack, size_t steps, size_t batch,
                               const frnn_plan *plan, size_t *bytes)
{
    if (!stack || !bytes || steps == 0 || !stack->config.training)
        return FRNN_BAD_ARGUMENT;
    frnn_plan used;
    const frnn_status status = frnn_plan_of(stack, steps, batch, plan, &used);
    if (status != FRNN_OK)
        return status;
    arena count = {NULL, 0, 0};
    const worker_place any = {0, 0, 0};
    const back_space s = frnn_back_space_lay_out(stack, &used, steps, batch, any, &count);
    return s.chunk_rows <= INT_MAX ? arena_total(&count, bytes) : FRNN_TOO_LARGE;
}

/* Places tape and workspace of a checked call. */
static frnn_status prepare(job *j, size_t bytes)
{
    const frnn_call *call = j->call;
    size_t needed = 0;
    frnn_status status = frnn_plan_of(j->stack, call->steps, call->batch, call->plan, &j->plan);
    if (status == FRNN_OK)
        status = frnn_backward_size(j->stack, call->steps, call->batch, &j->plan, &needed);
    if (status != FRNN_OK)
        return status;
    if (!j->memory || bytes < needed)
        return FRNN_SMALL_MEMORY;
    arena taped = arena_over(call->tape), placed = arena_over(j->memory);
    j->tape = frnn_tape_lay_out(j->stack, call->steps, call->batch, &taped);
    if (!frnn_tape_fits(&j->tape, j->stack, call))
        return FRNN_BAD_ARGUMENT;
    j->taped = frnn_tape_plan(&j->tape, &j->plan);
    const back_space s = frnn_back_space_lay_out(j->stack, &j->plan, call->steps, call->batch,
                                                 (worker_place){0, 0, 0}, &placed);
    memset(s.counters, 0, s.counters_bytes);
    frnn_order_rows(call, &j->taped, s.ranked, s.order);
    return FRNN_OK;
}

frnn_status frnn_backward(const frnn_stack *stack, const frnn_call *call,
                          const frnn_gradients *gradients, void *workspace_memory, size_t bytes)
{
    job j = {.stack = stack, .call = call, .gradients = gradients, .memory = workspace_memory};
    frnn_status status = check_call(stack, call, gradients);
    if (status == FRNN_OK)
        status = prepare(&j, bytes);
    if (status != FRNN_OK)
        return status;
    size_t longest = call->batch > 0 ? call->steps : 0;
    for (size_t i = 0; call->lengths && i < call->batch; i++)
        longest = i == 0 || call->lengths[i] > longest ? call->lengths[i] : longest;
    if (longest == 0)
        frnn_back_no_weights(stack, gradients);
    if (call->batch == 0)
        return FRNN_OK;
    const frnn_executor *executor = call->executor;
    stop_begin(&j.stop, call->stop, call->stop_context);
    j.width = plan_width(&j.plan);
    if (j.width == 1 || !executor ||
        !executor->run(executor->context, j.width, j.plan.wake, run_worker, &j)) {
        j.width = 1;
        run_worker(&j, 0);
    }
    return stop_status(&j.stop);
}
