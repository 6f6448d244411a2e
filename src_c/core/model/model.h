/* SPDX-License-Identifier: MIT */
/* A whole model: its layers with packed weights, and the sizes of its input and output. */
#ifndef FRNN_CORE_MODEL_H
#define FRNN_CORE_MODEL_H

#include "kinds.h"

struct frnn_model {
    const frnn_isa *isa;
    model_layer *layers; /* without those that only change axes */
    int count;           /* of layers */
    int stacks;          /* layers with a stack */
    int inputs, outputs; /* features of x, 0 for tokens, and of y */
    int is_one_step;     /* the input has no time axis */
};

/* The size of a value of each row. */
typedef struct {
    size_t steps, features;
} value_size;

/* Sizes on the way through the layers: of the value there, and of those that are kept. */
typedef struct {
    size_t input_steps;
    value_size now, kept[MOST_DEPTH];
    int depth;
} model_walk;

model_walk frnn_walk_begin(const frnn_model *model, size_t steps);
/* Takes the value through a layer. now.steps becomes 0 if that takes no such number of steps. */
void frnn_walk_layer(model_walk *walk, const model_layer *layer);

#endif
