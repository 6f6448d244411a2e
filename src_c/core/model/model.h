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

/* Features of y for so many of x. */
static inline size_t layer_features(const model_layer *layer, size_t features)
{
    return layer->outputs > 0             ? (size_t)layer->outputs
           : layer->kind->halves_features ? features / 2
                                          : features;
}

/* Steps of y for so many steps of x; 0 if they are too few. */
static inline size_t layer_steps(const model_layer *layer, size_t steps, size_t input_steps)
{
    const layer_kind *const kind = layer->kind;
    if (kind->ends_time)
        return 1;
    return kind->steps ? kind->steps(layer, steps, input_steps) : steps;
}

#endif
