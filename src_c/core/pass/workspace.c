/* SPDX-License-Identifier: MIT */
/* The workspace: one function both measures and places it. */
#include "workspace.h"

/* Sizes that the parts share. */
typedef struct {
    const frnn_stack *stack;
    const frnn_plan *plan;
    size_t steps, block, chunk, rows; /* rows: of a chunk */
    size_t layers, parts;             /* parts: layers times directions */
    size_t row_bytes;                 /* of a converted row; 0: none is converted */
} sizes;

static void lay_out_group(workspace *w, const sizes *s, arena *memory)
{
    const frnn_stack *stack = s->stack;
    const size_t states = checked_product(s->parts, s->block);
    const size_t output = (size_t)stack->output_size;
    w->h = arena_take(memory, checked_product(states, output), 2 * sizeof *w->h);
    if (stack_has_cell_state(stack))
        w->c = arena_take(memory, checked_product(states, stack->state_floats), sizeof *w->c);
    const size_t lower = s->layers - 1;
    const size_t slots = s->plan->layer_teams > 1 ? 2 * lower : lower < 2 ? lower : 2;
    const size_t span = stack->directions > 1 ? s->steps : s->chunk;
    w->slot_floats = checked_product(checked_product(span, s->block),
                                     (size_t)stack->directions * output);
    w->layer_y = arena_take(memory, checked_product(slots, w->slot_floats), sizeof *w->layer_y);
}

static void lay_out_team(workspace *w, const sizes *s, arena *memory)
{
    for (int i = 0; i < s->stack->stages; i++) {
        const size_t floats = stack_pre_floats(s->stack, &s->stack->layers->stage[i]);
        w->pre[i] = arena_take(memory, checked_product(s->rows, floats), sizeof *w->pre[i]);
    }
    if (s->stack->stages > 1) {
        const size_t floats = checked_product(s->block, s->stack->padded_units);
        w->between = arena_take(memory, floats, sizeof *w->between);
        w->carried = arena_take(memory, floats, sizeof *w->carried);
    }
    if (s->stack->config.training && s->layers > 1)
        w->dropped = arena_take(memory,
                                checked_product(s->rows, (size_t)(s->stack->directions *
                                                                  s->stack->output_size)),
                                sizeof *w->dropped);
}

/* Bytes of the longest row that a product of the stack converts. */
static size_t most_row_bytes(const frnn_stack *stack)
{
    size_t most = 0;
    for (int layer = 0; layer < stack->config.num_layers; layer++)
        for (int i = 0; i < stack->stages; i++) {
            const stack_stage *s = &stack_layer_at(stack, layer, 0)->stage[i];
            const size_t bytes = stack_row_bytes(stack, s->inputs > s->depth ? s->inputs : s->depth);
            most = bytes > most ? bytes : most;
        }
    return most;
}

static void lay_out_worker(workspace *w, const sizes *s, arena *memory)
{
    w->x_rows = arena_take(memory, s->rows, sizeof *w->x_rows);
    w->y_rows = arena_take(memory, s->rows, sizeof *w->y_rows);
    w->first_row = arena_take(memory, s->chunk + 1, sizeof *w->first_row);
    w->h_rows = arena_take(memory, s->block, sizeof *w->h_rows);
    if (s->stack->stages > 1)
        w->between_rows = arena_take(memory, s->block, sizeof *w->between_rows);
    if (s->row_bytes > 0)
        w->converted = arena_take(memory, s->rows, s->row_bytes);
}

static void lay_out_counters(workspace *w, const sizes *s, worker_place at, arena *memory)
{
    const size_t units = (size_t)s->plan->unit_workers;
    const size_t workers = (size_t)plan_teams(s->plan) * units, each = 2 * workers + s->layers;
    const size_t count = checked_product((size_t)s->plan->row_groups, each);
    w->counters = arena_take(memory, count, sizeof *w->counters);
    w->counters_bytes = count * sizeof *w->counters;
    if (w->counters) {
        w->group_workers = w->counters + (size_t)at.group * each;
        w->team_workers = w->group_workers + workers + (size_t)at.team * units;
        w->done = w->group_workers + 2 * workers;
    }
}

workspace frnn_workspace_lay_out(const frnn_stack *stack, const frnn_plan *plan, size_t steps,
                                 size_t batch, worker_place at, arena *memory)
{
    const sizes s = {
        .stack = stack,
        .plan = plan,
        .steps = steps,
        .block = plan->block_rows,
        .chunk = plan->chunk_steps,
        .rows = checked_product(plan->block_rows, plan->chunk_steps),
        .layers = (size_t)stack->config.num_layers,
        .parts = (size_t)stack->config.num_layers * (size_t)stack->directions,
        .row_bytes = stack->product->row_bytes ? most_row_bytes(stack) : 0,
    };
    workspace mine = {0}, others;
    mine.order = arena_take(memory, batch, sizeof *mine.order);
    mine.scratch = arena_take(memory, batch, sizeof *mine.scratch);
    lay_out_counters(&mine, &s, at, memory);
    for (int group = 0; group < plan->row_groups; group++) {
        lay_out_group(group == at.group ? &mine : &others, &s, memory);
        for (int team = 0; team < plan_teams(plan); team++) {
            const int my_team = group == at.group && team == at.team;
            lay_out_team(my_team ? &mine : &others, &s, memory);
            for (int unit = 0; unit < plan->unit_workers; unit++)
                lay_out_worker(my_team && unit == at.unit ? &mine : &others, &s, memory);
        }
    }
    return mine;
}
