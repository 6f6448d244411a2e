/* SPDX-License-Identifier: MIT */
/* Stacks: the stages of their layers, where packed weights lie, how they are filled. */
#include "stack.h"

#include "../arena.h"

static frnn_status check_config(const frnn_config *config, const frnn_isa *isa)
{
    if ((unsigned)config->cell >= FRNN_CELL_COUNT || (unsigned)config->dtype >= FRNN_DTYPE_COUNT ||
        config->input_size < 1 || config->hidden_size < 1 || config->num_layers < 1 ||
        config->proj_size < 0 || (config->bidirectional != 0 && config->bidirectional != 1) ||
        (config->training != 0 && config->training != 1))
        return FRNN_BAD_CONFIG;
    if (config->proj_size > 0 && (!isa->cell[config->cell].has_projection ||
                                  config->proj_size >= config->hidden_size))
        return FRNN_BAD_CONFIG;
    if (config->training && config->dtype != FRNN_FLOAT32)
        return FRNN_BAD_CONFIG;
    if (config->input_size > MOST_SIZE || config->hidden_size > MOST_SIZE ||
        config->num_layers > MOST_LAYERS)
        return FRNN_TOO_LARGE;
    return isa->product[config->dtype] ? FRNN_OK : FRNN_UNSUPPORTED;
}

/* Weights of the product that takes gradients of `gates` slots to those of `width` inputs. */
static float *lay_out_transposed(const stack_stage *s, const frnn_isa *isa, int width, int gates,
                                 arena *memory)
{
    const size_t lanes = (size_t)isa->lanes;
    const size_t padded = ((size_t)width + lanes - 1) / lanes * lanes;
    return arena_take(memory, checked_product(padded, (size_t)gates * s->stride), sizeof(float));
}

static void lay_out_stage(stack_stage *s, const frnn_stack *stack, arena *memory)
{
    const frnn_isa *isa = stack->isa;
    const frnn_stage *kernel = s->kernel;
    const size_t lanes = (size_t)isa->lanes;
    s->stride = (size_t)s->panels * lanes;
    s->x_weights = arena_take(
        memory, stack->product->packed_bytes(s->panels, s->inputs, kernel->x_gates), 1);
    s->h_weights = arena_take(
        memory, stack->product->packed_bytes(s->panels, s->depth, kernel->h_gates), 1);
    s->bias = arena_take(memory, s->stride * (size_t)kernel->slots, sizeof(float));
    if (stack->config.training) {
        s->x_transposed = lay_out_transposed(s, isa, s->inputs, kernel->x_gates, memory);
        s->h_transposed = lay_out_transposed(s, isa, s->depth, kernel->h_gates, memory);
    }
}

static void lay_out_layer(const frnn_stack *stack, int layer, stack_layer *into, arena *memory)
{
    const frnn_config *config = &stack->config;
    const int inputs = layer == 0 ? config->input_size : stack->directions * stack->output_size;
    for (int i = 0; i < stack->stages; i++) {
        stack_stage *s = &into->stage[i];
        const int projects = i == stack->cell->stages;
        s->kernel = projects ? &stack->isa->projection : &stack->cell->stage[i];
        s->inputs = projects ? 0 : inputs;
        s->depth = projects ? config->hidden_size : stack->output_size;
        s->units = projects ? config->proj_size : config->hidden_size;
        s->panels = panels_of(stack->isa, s->units);
        lay_out_stage(s, stack, memory);
    }
}

/* Places a stack in memory, or counts what it takes; the same function does both. */
static frnn_stack *lay_out(const frnn_config *config, const frnn_isa *isa, arena *memory)
{
    const frnn_cell_kernels *const cell = &isa->cell[config->cell];
    frnn_stack stack = {
        .config = *config,
        .isa = isa,
        .product = isa->product[config->dtype],
        .cell = cell,
        .directions = config->bidirectional ? 2 : 1,
        .stages = cell->stages + (config->proj_size > 0),
        .output_size = config->proj_size > 0 ? config->proj_size : config->hidden_size,
    };
    stack.padded_units = (size_t)(panels_of(isa, config->hidden_size) * isa->lanes);
    stack.state_floats = (size_t)stack_cell_states(&stack) * stack.padded_units;
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
    const frnn_status status = check_config(config, isa);
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

int frnn_stack_gates(const frnn_stack *stack) { return stack ? stack->cell->gates : 0; }
int frnn_stack_states(const frnn_stack *stack) { return stack ? stack->cell->states : 0; }

/* Packs `gates` row blocks of a matrix, for inference and, where there is room, for training. */
static void pack_matrix(const frnn_stack *stack, void *packed, float *transposed,
                        const frnn_matrix matrix, const signed char *gate, int gates)
{
    stack->product->pack(packed, matrix, gate, gates);
    if (transposed)
        stack->isa->pack_transposed(transposed, matrix, gate, gates);
}

static void pack_stage(const frnn_stack *stack, const stack_stage *s, const frnn_weights *weights)
{
    const frnn_stage *kernel = s->kernel;
    const float *const recurrent =
        kernel->matrix == FRNN_WEIGHT_HR ? weights->weight_hr : weights->weight_hh;
    pack_matrix(stack, s->h_weights, s->h_transposed, (frnn_matrix){recurrent, s->units, s->depth},
                kernel->h_gate + kernel->slots - kernel->h_gates, kernel->h_gates);
    if (s->inputs == 0)
        return;
    pack_matrix(stack, s->x_weights, s->x_transposed,
                (frnn_matrix){weights->weight_ih, s->units, s->inputs}, kernel->x_gate,
                kernel->x_gates);
    stack->isa->pack_bias(s->bias, kernel, s->units, weights->bias_ih, weights->bias_hh);
}

frnn_status frnn_stack_set_weights(frnn_stack *stack, int layer, int direction,
                                   const frnn_weights *weights)
{
    if (!stack || !weights || !weights->weight_ih || !weights->weight_hh || layer < 0 ||
        direction < 0 || layer >= stack->config.num_layers || direction >= stack->directions ||
        (stack->config.proj_size > 0) != (weights->weight_hr != NULL))
        return FRNN_BAD_ARGUMENT;
    for (int i = 0; i < stack->stages; i++)
        pack_stage(stack, &stack_layer_at(stack, layer, direction)->stage[i], weights);
    return FRNN_OK;
}
