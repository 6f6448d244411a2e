/* SPDX-License-Identifier: MIT */
/* The tape: one function both measures and places it. */
#include "tape.h"

tape frnn_tape_lay_out(const frnn_stack *stack, size_t steps, size_t batch, arena *memory)
{
    const size_t layers = (size_t)stack->config.num_layers;
    const size_t parts = layers * (size_t)stack->directions;
    const size_t outputs = (size_t)stack->output_size, floats = stack->state_floats;
    tape t = {.rows = checked_product(steps, batch)};
    t.head = arena_take(memory, 1, sizeof *t.head);
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &stack->layers->stage[i];
        if (!s->kernel->finish_recorded)
            continue;
        t.part_gates[i] = checked_product(t.rows, stack_pre_floats(stack, s));
        t.gates[i] = arena_take(memory, checked_product(parts, t.part_gates[i]), sizeof(float));
    }
    t.layer_h = checked_product(t.rows, (size_t)stack->directions * outputs);
    t.h = arena_take(memory, checked_product(layers, t.layer_h), sizeof *t.h);
    t.h0 = arena_take(memory, checked_product(parts * outputs, batch), sizeof *t.h0);
    if (stack_has_cell_state(stack)) {
        t.part_c = checked_product(t.rows, floats);
        t.c = arena_take(memory, checked_product(parts, t.part_c), sizeof *t.c);
        t.c0 = arena_take(memory, checked_product(checked_product(parts, floats), batch),
                          sizeof *t.c0);
    }
    return t;
}

void frnn_tape_begin(const tape *t, const frnn_stack *stack, const frnn_call *call,
                     const frnn_plan *plan)
{
    *t->head = (tape_head){call->steps, call->batch, plan->block_rows, plan->row_groups,
                           stack->isa->lanes};
}

int frnn_tape_fits(const tape *t, const frnn_stack *stack, const frnn_call *call)
{
    return t->head->steps == call->steps && t->head->batch == call->batch &&
           t->head->lanes == stack->isa->lanes && t->head->block_rows > 0 &&
           t->head->row_groups > 0 && t->head->row_groups <= FRNN_MOST_WORKERS;
}

frnn_plan frnn_tape_plan(const tape *t, const frnn_plan *plan)
{
    frnn_plan taped = *plan;
    taped.row_groups = t->head->row_groups, taped.block_rows = t->head->block_rows;
    return taped;
}

frnn_status frnn_tape_size(const frnn_stack *stack, size_t steps, size_t batch, size_t *bytes)
{
    if (!stack || !bytes || steps == 0 || !stack->config.training)
        return FRNN_BAD_ARGUMENT;
    arena count = {NULL, 0, 0};
    frnn_tape_lay_out(stack, steps, batch, &count);
    return arena_total(&count, bytes);
}

frnn_status frnn_tape_check(const frnn_stack *stack, const frnn_call *call)
{
    if (!call->tape)
        return FRNN_OK;
    size_t needed = 0;
    const frnn_status status = frnn_tape_size(stack, call->steps, call->batch, &needed);
    if (status != FRNN_OK)
        return status;
    if (!(call->dropout >= 0.0f && call->dropout <= 1.0f))
        return FRNN_BAD_ARGUMENT;
    return call->tape_bytes < needed ? FRNN_SMALL_MEMORY : FRNN_OK;
}
