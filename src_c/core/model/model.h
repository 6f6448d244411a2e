/* SPDX-License-Identifier: MIT */
/* A whole model as the core sees it: layers with packed weights, and the axes of what they take. */
#ifndef FRNN_CORE_MODEL_H
#define FRNN_CORE_MODEL_H

#include "../arena.h"
#include "model_file.h"

/* A layer that does something to the numbers; Dropout and the shape kinds do not. */
typedef struct {
    file_layer file;
    frnn_stack *stack;   /* of recurrent kinds */
    frnn_dense *dense;   /* of Linear */
    frnn_conv1d *conv;   /* of Conv1d */
    const float *weight, *bias; /* of Embedding and LayerNorm; in the file's bytes */
    const float *h_0, *c_0;     /* [states][..] or NULL; in the file's bytes */
    int outputs;                /* features; 0: as many as it takes */
} model_layer;

struct frnn_model {
    const frnn_isa *isa;
    model_layer *layers;
    int count;           /* of layers */
    int inputs, outputs; /* features of x, 0 for tokens, and of y */
    int one_step;        /* the input has no time axis */
};

/* The letters of axes. */
typedef enum { AXIS_TIME, AXIS_BATCH, AXIS_FEATURES } axis;

/* The axes of a value in the file's order, followed through the layers from one order that the input
 * may have. An axis of features or steps that is not among them is of size 1. */
typedef struct {
    axis axes[3], first[3]; /* now, and of the input */
    int rank, first_rank;
    int features; /* 0: not known yet */
    int inputs;   /* features of the input; 0: not known yet */
    int asked;    /* a layer needs so many features */
    int tokens;   /* the value is token ids */
    int one_step; /* there is one step */
    int fits;     /* all layers so far take it */
} model_axes;

enum { MODEL_ORDERS = 8 };

/* The orders of axes that an input may have, the likeliest first. */
void frnn_axes_begin(model_axes orders[MODEL_ORDERS]);
/* The axes of what a layer gives, or fits = 0. outputs: its features; 0: as many as it takes. */
void frnn_axes_apply(model_axes *value, const file_layer *layer, int outputs);

static inline int layer_is_recurrent(const file_layer *layer)
{
    return layer->kind == KIND_LSTM || layer->kind == KIND_GRU || layer->kind == KIND_RNN;
}

static inline int layer_directions(const file_layer *layer)
{
    return layer->flags & FLAG_BIDIRECTIONAL ? 2 : 1;
}

/* R: proj_size or hidden_size. */
static inline int layer_state_size(const file_layer *layer)
{
    return layer->integers[3] > 0 ? layer->integers[3] : layer->integers[1];
}

/* Rows of a recurrent layer's h: layers times directions. */
static inline size_t layer_states(const file_layer *layer)
{
    return (size_t)layer->integers[2] * (size_t)layer_directions(layer);
}

/* Floats of the state of one row: h and, of an LSTM, c; 0 where there is none. */
static inline size_t frnn_layer_state(const file_layer *layer)
{
    if (!layer_is_recurrent(layer))
        return 0;
    const int size = layer_state_size(layer);
    return layer_states(layer) *
           ((size_t)size + (layer->kind == KIND_LSTM ? (size_t)layer->integers[1] : 0));
}

/* Steps of y for so many steps of x, 0 where these are too few. */
size_t frnn_layer_steps(const model_layer *layer, size_t steps);

#endif
