/* SPDX-License-Identifier: MIT */
/* The workspace: one walk that both sizes it and places it. */
#include "workspace.h"

workspace frnn_workspace_lay_out(const frnn_model *model, size_t steps, size_t batch, arena *memory)
{
    workspace w = {.plan = frnn_plan_make(model, steps, batch)};
    const size_t block = w.plan.block_rows, chunk = w.plan.chunk_steps;
    const size_t rows = checked_product(block, chunk);
    const size_t layers = (size_t)model->config.num_layers * (size_t)model->directions;
    const size_t states = checked_product(layers, block), output = (size_t)model->output_size;

    w.order = arena_take(memory, batch, sizeof *w.order);
    w.merged = arena_take(memory, batch, sizeof *w.merged);
    w.x_rows = arena_take(memory, rows, sizeof *w.x_rows);
    w.y_rows = arena_take(memory, rows, sizeof *w.y_rows);
    w.first_row = arena_take(memory, chunk + 1, sizeof *w.first_row);
    w.h = arena_take(memory, checked_product(states, output), sizeof *w.h);
    w.h_rows = arena_take(memory, block, sizeof *w.h_rows);
    for (int i = 0; i < model->stages; i++) {
        const size_t floats = model_pre_floats(model, &model->layers->stage[i]);
        w.pre[i] = arena_take(memory, checked_product(rows, floats), sizeof *w.pre[i]);
    }
    if (model_has_cell_state(model) || model->stages > 1)
        w.c = arena_take(memory, checked_product(states, model->padded_units), sizeof *w.c);
    if (model->stages > 1) {
        const size_t floats = checked_product(block, model->padded_units);
        w.between = arena_take(memory, floats, sizeof *w.between);
        w.between_rows = arena_take(memory, block, sizeof *w.between_rows);
    }
    const size_t span = model->directions > 1 ? steps : chunk;
    const size_t below = checked_product(checked_product(span, block),
                                         (size_t)model->directions * output);
    for (int i = 0; i < 2 && i < model->config.num_layers - 1; i++)
        w.layer_y[i] = arena_take(memory, below, sizeof *w.layer_y[i]);
    return w;
}
