/* SPDX-License-Identifier: MIT */
/* The workspace of a backward pass: one function both measures and places it. */
#include "backward_space.h"

enum {
    /* Gradients of a chunk's pre-activations stay in L2 until the weights' gradients have taken
     * them; text_lstm_32. */
    CHUNK_BYTES = 384 * 1024,
    /* The sums of the weights' gradients go through the caches once for each chunk: the larger they
     * are, the more rows a chunk needs to pay for it; translate_lstm_1024. */
    WEIGHT_BYTES_PER_ROW = 4096,
    MOST_CHUNK_ROWS = 640
};

/* Steps of a chunk. They depend on sizes alone, because sums over rows are split by chunks. */
static size_t chunk_steps_of(const frnn_stack *stack, size_t steps, size_t batch)
{
    const stack_layer *last = &stack->layers[(stack->config.num_layers - 1) * stack->directions];
    size_t row_bytes = 0, weights = 0;
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &last->stage[i];
        row_bytes += 2 * stack_pre_floats(stack, s) * sizeof(float);
        row_bytes += (size_t)(s->inputs + s->depth) * sizeof(float);
        weights += s->stride * (size_t)(s->kernel->x_gates * s->inputs +
                                        s->kernel->h_gates * s->depth) * sizeof(float);
    }
    const size_t least = size_min(weights / WEIGHT_BYTES_PER_ROW, MOST_CHUNK_ROWS);
    const size_t rows = size_max(CHUNK_BYTES / row_bytes / (size_t)stack->directions, least);
    return size_pieces(steps, size_pieces(steps, size_max(1, rows / size_max(1, batch))));
}

static void lay_out_direction(back_direction *d, const frnn_stack *stack, size_t rows, size_t batch,
                              arena *memory)
{
    const size_t lanes = (size_t)stack->isa->lanes;
    const int below = stack->config.num_layers > 1 ? stack->directions * stack->output_size : 0;
    const int inputs = below > stack->config.input_size ? below : stack->config.input_size;
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &stack->layers->stage[i];
        const size_t floats = checked_product(rows, stack_pre_floats(stack, s));
        d->dpre[i] = arena_take(memory, floats, sizeof(float));
        d->panels[i] = arena_take(memory, floats, sizeof(float));
        const size_t depth = (size_t)panels_of(stack->isa, s->depth) * lanes;
        d->h_panels[i] = arena_take(memory, checked_product(rows, depth), sizeof(float));
    }
    const size_t width = (size_t)panels_of(stack->isa, inputs) * lanes;
    d->x_panels = arena_take(memory, checked_product(rows, width), sizeof(float));
    if (stack->stages > 1)
        d->between = arena_take(memory, checked_product(batch, stack->padded_units), sizeof(float));
}

static void lay_out_pass(back_space *s, const frnn_stack *stack, size_t steps, size_t batch,
                         arena *memory)
{
    const size_t layers = (size_t)stack->config.num_layers;
    const size_t states = checked_product(layers * (size_t)stack->directions, batch);
    const size_t width = (size_t)(stack->directions * stack->output_size);
    s->h_stride = (size_t)(panels_of(stack->isa, stack->output_size) * stack->isa->lanes);
    s->dh = arena_take(memory, checked_product(states, s->h_stride), sizeof *s->dh);
    if (stack_has_cell_state(stack))
        s->dc = arena_take(memory, checked_product(states, stack->state_floats), sizeof *s->dc);
    const size_t slots = size_min(layers - 1, 2);
    const size_t span = stack->directions > 1 ? steps : s->chunk_steps;
    s->slot_floats = checked_product(checked_product(span, batch), width);
    s->layer_dy = arena_take(memory, checked_product(slots, s->slot_floats), sizeof *s->layer_dy);
    for (int d = 0; d < stack->directions; d++)
        lay_out_direction(&s->direction[d], stack, s->chunk_rows, batch, memory);
}

static void lay_out_worker(back_space *s, const frnn_stack *stack, size_t batch, arena *memory)
{
    s->from = arena_take(memory, s->chunk_rows, sizeof *s->from);
    s->to = arena_take(memory, s->chunk_rows, sizeof *s->to);
    s->dy_rows = arena_take(memory, batch, sizeof *s->dy_rows);
    s->h_rows = arena_take(memory, batch, sizeof *s->h_rows);
    s->h_before_rows = arena_take(memory, batch, sizeof *s->h_before_rows);
    s->all_first = arena_take(memory, s->chunk_steps + 1, sizeof *s->all_first);
    s->mine_first = arena_take(memory, s->chunk_steps + 1, sizeof *s->mine_first);
    s->dropped = arena_take(memory, (size_t)(stack->directions * stack->output_size),
                            sizeof *s->dropped);
}

static void lay_out_counters(back_space *s, const frnn_plan *plan, worker_place at, arena *memory)
{
    const int units = back_units(plan), group = units * plan->direction_teams;
    const int width = plan_width(plan);
    s->counters = arena_take(memory, 3 * (size_t)width, sizeof *s->counters);
    s->counters_bytes = 3 * (size_t)width * sizeof *s->counters;
    if (s->counters) {
        s->all_workers = s->counters;
        s->group_workers = s->counters + width + at.group * group;
        s->team_workers = s->counters + 2 * width + at.group * group + at.team * units;
    }
}

back_space frnn_back_space_lay_out(const frnn_stack *stack, const frnn_plan *plan, size_t steps,
                                   size_t batch, worker_place at, arena *memory)
{
    back_space mine = {.chunk_steps = chunk_steps_of(stack, steps, batch)};
    mine.chunk_rows = checked_product(mine.chunk_steps, batch);
    mine.ranked = arena_take(memory, batch, sizeof *mine.ranked);
    mine.order = arena_take(memory, batch, sizeof *mine.order);
    lay_out_counters(&mine, plan, at, memory);
    lay_out_pass(&mine, stack, steps, batch, memory);
    for (int group = 0; group < plan->row_groups; group++)
        for (int team = 0; team < plan->direction_teams; team++)
            for (int unit = 0; unit < back_units(plan); unit++) {
                back_space other = mine;
                const int me = group == at.group && team == at.team && unit == at.unit;
                lay_out_worker(me ? &mine : &other, stack, batch, memory);
            }
    return mine;
}
