/* SPDX-License-Identifier: MIT */
/* The caller's workspace, laid out for one pass. */
#ifndef FRNN_CORE_WORKSPACE_H
#define FRNN_CORE_WORKSPACE_H

#include "arena.h"
#include "plan.h"

/* Rows of a block are numbered by falling length, so that those still running at a step are the
 * first ones. `block` and `chunk` are the plan's block_rows and chunk_steps. */
typedef struct {
    frnn_plan plan;
    size_t *order;               /* [batch]: the caller's row of each row */
    size_t *merged;              /* [batch]: scratch of the sort */
    float *pre[MAX_STAGES];      /* [panels][chunk * block][slots][lanes] */
    const float **x_rows;        /* [chunk * block] -> [inputs] */
    float **y_rows;              /* [chunk * block] -> [R] */
    size_t *first_row;           /* [chunk + 1]: where a step's rows begin in x_rows and y_rows */
    float *h;                    /* [num_layers][directions][block][R]: states between chunks */
    float *c;                    /* [num_layers][directions][block][padded_units] */
    const float **h_rows;        /* [block] -> [R]: h as rows */
    float *between;              /* [block][padded_units]: from a first stage to a second */
    float **between_rows;        /* [block] -> [padded_units] */
    float *layer_y[2];           /* outputs of lower layers, in turns, of a chunk or all steps:
                                  * [steps][block][directions * R] */
} workspace;

/* Lays a workspace out, or counts what it takes. */
workspace frnn_workspace_lay_out(const frnn_model *model, size_t steps, size_t batch,
                                 arena *memory);

#endif
