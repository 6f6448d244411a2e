/* SPDX-License-Identifier: MIT */
/* A stack as the core sees it: packed weights per layer, direction and stage. */
#ifndef FRNN_CORE_STACK_H
#define FRNN_CORE_STACK_H

#include <fastrnn.h>

#include "../panels.h"

/* A cell's stages, and the projection behind them. */
enum { MAX_STAGES = FRNN_MAX_STAGES + 1 };

/* One stage with its packed weights. */
typedef struct {
    const frnn_stage *kernel;
    int inputs; /* length of an x row; 0: no x part */
    int depth;  /* length of a row that the recurrent product takes */
    int units, panels;
    void *x_weights; /* as the product packs [x_gates * units][inputs] */
    void *h_weights; /* as the product packs [h_gates * units][depth] */
    float *bias;     /* [panels][slots][lanes] */
    /* For training: [inputs or depth in panels][gates][stride][lanes]. */
    float *x_transposed, *h_transposed;
    size_t stride; /* units rounded up to lanes */
} stack_stage;

/* One layer in one direction. */
typedef struct {
    stack_stage stage[MAX_STAGES];
} stack_layer;

struct frnn_stack {
    frnn_config config;
    const frnn_isa *isa;
    const frnn_product *product;
    const frnn_cell_kernels *cell;
    int directions, stages;
    int output_size;     /* R: proj_size or hidden_size */
    size_t padded_units; /* hidden_size rounded up to lanes */
    size_t state_floats; /* of a row's states beside h: each takes padded_units */
    stack_layer *layers; /* [num_layers][directions] */
};

static inline stack_layer *stack_layer_at(const frnn_stack *stack, int layer, int direction)
{
    return &stack->layers[layer * stack->directions + direction];
}

/* Floats of pre-activations of one row and step of a stage. */
static inline size_t stack_pre_floats(const frnn_stack *stack, const stack_stage *stage)
{
    return (size_t)stage->panels * (size_t)(stage->kernel->slots * stack->isa->lanes);
}

/* States of the cell beside h, such as an LSTM's c. */
static inline int stack_cell_states(const frnn_stack *stack) { return stack->cell->states - 1; }

/* Does the cell keep a state beside h? */
static inline int stack_has_cell_state(const frnn_stack *stack)
{
    return stack_cell_states(stack) > 0;
}

/* Bytes of a converted row of `depth` elements; 0: the product reads rows in place. */
static inline size_t stack_row_bytes(const frnn_stack *stack, int depth)
{
    return stack->product->row_bytes ? stack->product->row_bytes(depth) : 0;
}

#endif
