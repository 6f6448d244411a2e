/* SPDX-License-Identifier: MIT */
/* A stack as the core sees it: packed weights per layer, direction and stage. */
#ifndef FRNN_CORE_STACK_H
#define FRNN_CORE_STACK_H

#include <fastrnn.h>

#include "../../kernels/table.h"

enum { MAX_STAGES = 2 };

/* One stage with its packed weights. */
typedef struct {
    const frnn_stage *kernel;
    int inputs; /* length of an x row; 0: no x part */
    int depth;  /* length of a row that the recurrent product takes */
    int units, panels;
    float *x_weights; /* [panels][inputs][x_gates][lanes] */
    float *h_weights; /* [panels][depth][h_gates][lanes] */
    float *bias;      /* [panels][slots][lanes] */
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
    int directions, stages;
    int output_size;     /* R: proj_size or hidden_size */
    size_t padded_units; /* hidden_size rounded up to lanes */
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

static inline int stack_panels(const frnn_stack *stack, int units)
{
    return (units + stack->isa->lanes - 1) / stack->isa->lanes;
}

/* The row blocks of a cell's matrices, in PyTorch's layout. */
int frnn_cell_gates(frnn_cell cell);
/* Does a cell keep a c beside h that the user sees? */
static inline int cell_has_c(frnn_cell cell) { return cell == FRNN_LSTM; }

static inline int stack_has_cell_state(const frnn_stack *stack)
{
    return cell_has_c(stack->config.cell);
}

#endif
