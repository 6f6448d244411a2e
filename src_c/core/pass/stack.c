/* SPDX-License-Identifier: MIT */
/* Stacks: which stages make a cell, where packed weights lie, how they are filled. */
#include "stack.h"

#include <limits.h>

#include "../arena.h"

/* The stages of each cell, in the order they run. */
static const struct {
    int gates; /* row blocks of PyTorch's matrices */
    int stages;
    frnn_stage_id stage[MAX_STAGES];
} cells[] = {
    [FRNN_RNN_TANH] = {1, 1, {FRNN_STAGE_RNN_TANH}},
    [FRNN_RNN_RELU] = {1, 1, {FRNN_STAGE_RNN_RELU}},
    [FRNN_GRU] = {3, 1, {FRNN_STAGE_GRU}},
    [FRNN_GRU_RESET_BEFORE] = {3, 2, {FRNN_STAGE_GRU_RESET, FRNN_STAGE_GRU_CANDIDATE}},
    [FRNN_LSTM] = {4, 1, {FRNN_STAGE_LSTM, FRNN_STAGE_LINEAR}},
};

int frnn_cell_gates(frnn_cell cell) { return cells[cell].gates; }

static frnn_status check_config(const frnn_config *config)
{
    if ((unsigned)config->cell >= sizeof cells / sizeof cells[0] || config->input_size < 1 ||
        config->hidden_size < 1 || config->num_layers < 1 || config->proj_size < 0 ||
        (config->bidirectional != 0 && config->bidirectional != 1) ||
        (config->training != 0 && config->training != 1))
        return FRNN_BAD_CONFIG;
    if (config->proj_size > 0 &&
        (config->cell != FRNN_LSTM || config->proj_size >= config->hidden_size))
        return FRNN_BAD_CONFIG;
    /* Gates, directions and padding keep every row count and panel size below INT_MAX. */
    const int most = INT_MAX / 64;
    if (config->input_size > most || config->hidden_size > most || config->num_layers > most)
        return FRNN_TOO_LARGE;
    return FRNN_OK;
}

static int is_projection(const stack_stage *s, const frnn_isa *isa)
{
    return s->kernel == &isa->stages[FRNN_F32][FRNN_STAGE_LINEAR];
}

/* Weights of the product that takes gradients of `gates` slots to those of `width` inputs. */
static float *lay_out_transposed(const stack_stage *s, const frnn_isa *isa, int width, int gates,
                                 arena *memory)
{
    const size_t lanes = (size_t)isa->lanes;
    const size_t padded = ((size_t)width + lanes - 1) / lanes * lanes;
    return arena_take(memory, checked_product(padded, (size_t)gates * s->stride), sizeof(float));
}

static void lay_out_stage(stack_stage *s, const frnn_isa *isa, int training, arena *memory)
{
    const size_t panels = (size_t)s->panels, lanes = (size_t)isa->lanes;
    const size_t x_floats = (size_t)s->inputs * (size_t)s->kernel->x_gates * lanes;
    const size_t h_floats = (size_t)s->depth * (size_t)s->kernel->h_gates * lanes;
    s->x_weights = arena_take(memory, checked_product(panels, x_floats), sizeof(float));
    s->h_weights = arena_take(memory, checked_product(panels, h_floats), sizeof(float));
    s->bias = arena_take(memory, panels * (size_t)s->kernel->slots * lanes, sizeof(float));
    s->stride = panels * lanes;
    if (training) {
        s->x_transposed = lay_out_transposed(s, isa, s->inputs, s->kernel->x_gates, memory);
        s->h_transposed = lay_out_transposed(s, isa, s->depth, s->kernel->h_gates, memory);
    }
}

static void lay_out_layer(const frnn_stack *stack, int layer, stack_layer *into, arena *memory)
{
    const frnn_config *config = &stack->config;
    const int inputs = layer == 0 ? config->input_size : stack->directions * stack->output_size;
    for (int i = 0; i < stack->stages; i++) {
        stack_stage *s = &into->stage[i];
        s->kernel = &stack->isa->stages[FRNN_F32][cells[config->cell].stage[i]];
        const int projection = is_projection(s, stack->isa);
        s->inputs = projection ? 0 : inputs;
        s->depth = projection ? config->hidden_size : stack->output_size;
        s->units = projection ? config->proj_size : config->hidden_size;
        s->panels = (s->units + stack->isa->lanes - 1) / stack->isa->lanes;
        lay_out_stage(s, stack->isa, config->training, memory);
    }
}

/* Places a stack in memory, or counts what it takes; the same walk serves both. */
static frnn_stack *lay_out(const frnn_config *config, const frnn_isa *isa, arena *memory)
{
    const size_t lanes = (size_t)isa->lanes;
    frnn_stack stack = {
        .config = *config,
        .isa = isa,
        .directions = config->bidirectional ? 2 : 1,
        .stages = cells[config->cell].stages + (config->proj_size > 0),
        .output_size = config->proj_size > 0 ? config->proj_size : config->hidden_size,
        .padded_units = ((size_t)config->hidden_size + lanes - 1) / lanes * lanes,
    };
    frnn_stack *const placed = arena_take(memory, 1, sizeof stack);
    stack.layers = arena_take(memory, (size_t)config->num_layers * (size_t)stack.directions,
                              sizeof(stack_layer));
    for (int layer = 0; layer < config->num_layers && !memory->overflow; layer++)
        for (int direction = 0; direction < stack.directions; direction++) {
            stack_layer counted;
            lay_out_layer(&stack, layer,
                          stack.layers ? stack_layer_at(&stack, layer, direction) : &counted,
                          memory);
        }
    if (placed)
        *placed = stack;
    return placed;
}

frnn_status frnn_stack_size(const frnn_config *config, const frnn_isa *isa, size_t *bytes)
{
    if (!config || !isa || !bytes)
        return FRNN_BAD_ARGUMENT;
    const frnn_status status = check_config(config);
    if (status != FRNN_OK)
        return status;
    arena count = {NULL, 0, 0};
    lay_out(config, isa, &count);
    return arena_total(&count, bytes);
}

frnn_status frnn_stack_init(frnn_stack **stack, const frnn_config *config, const frnn_isa *isa,
                            void *memory, size_t bytes)
{
    size_t needed = 0;
    arena placed;
    frnn_status status = frnn_stack_size(config, isa, &needed);
    if (status == FRNN_OK)
        status = stack ? arena_begin_zeroed(&placed, memory, bytes, needed) : FRNN_BAD_ARGUMENT;
    if (status == FRNN_OK)
        *stack = lay_out(config, isa, &placed);
    return status;
}

static void pack_matrix(const frnn_isa *isa, float *panels, float *transposed,
                        const frnn_matrix matrix, const signed char *gate, int gates)
{
    isa->pack(panels, matrix, gate, gates);
    if (transposed)
        isa->pack_transposed(transposed, matrix, gate, gates);
}

frnn_status frnn_stack_set_weights(frnn_stack *stack, int layer, int direction,
                                   const frnn_weights *weights)
{
    if (!stack || !weights || !weights->weight_ih || !weights->weight_hh || layer < 0 ||
        direction < 0 || layer >= stack->config.num_layers || direction >= stack->directions ||
        (stack->config.proj_size > 0) != (weights->weight_hr != NULL))
        return FRNN_BAD_ARGUMENT;
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &stack_layer_at(stack, layer, direction)->stage[i];
        const frnn_stage *kernel = s->kernel;
        if (is_projection(s, stack->isa)) {
            const frnn_matrix hr = {weights->weight_hr, s->units, s->depth};
            pack_matrix(stack->isa, s->h_weights, s->h_transposed, hr, kernel->h_gate,
                        kernel->h_gates);
            continue;
        }
        const frnn_matrix ih = {weights->weight_ih, s->units, s->inputs};
        const frnn_matrix hh = {weights->weight_hh, s->units, s->depth};
        pack_matrix(stack->isa, s->x_weights, s->x_transposed, ih, kernel->x_gate,
                    kernel->x_gates);
        pack_matrix(stack->isa, s->h_weights, s->h_transposed, hh,
                    kernel->h_gate + kernel->slots - kernel->h_gates, kernel->h_gates);
        stack->isa->pack_bias(s->bias, kernel, s->units, weights->bias_ih, weights->bias_hh);
    }
    return FRNN_OK;
}
