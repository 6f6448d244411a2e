/* SPDX-License-Identifier: MIT */
/* A model as the core sees it: packed weights per layer, direction and stage. */
#ifndef FRNN_CORE_MODEL_H
#define FRNN_CORE_MODEL_H

#include <fastrnn.h>

#include "../kernels/table.h"

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
} model_stage;

/* One layer in one direction. */
typedef struct {
    model_stage stage[MAX_STAGES];
} model_layer;

struct frnn_model {
    frnn_config config;
    const frnn_isa *isa;
    int directions, stages;
    int output_size;     /* R: proj_size or hidden_size */
    size_t padded_units; /* hidden_size rounded up to lanes */
    model_layer *layers; /* [num_layers][directions] */
};

static inline model_layer *model_layer_at(const frnn_model *model, int layer, int direction)
{
    return &model->layers[layer * model->directions + direction];
}

/* Floats of pre-activations of one row and step of a stage. */
static inline size_t model_pre_floats(const frnn_model *model, const model_stage *stage)
{
    return (size_t)stage->panels * (size_t)(stage->kernel->slots * model->isa->lanes);
}

static inline int model_panels(const frnn_model *model, int units)
{
    return (units + model->isa->lanes - 1) / model->isa->lanes;
}

/* Does the cell keep a c beside h that the user sees? */
static inline int model_has_cell_state(const frnn_model *model)
{
    return model->config.cell == FRNN_LSTM;
}

#endif
