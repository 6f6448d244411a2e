/* SPDX-License-Identifier: MIT */
/* The workspace of a backward pass. */
#ifndef FRNN_CORE_BACKWARD_SPACE_H
#define FRNN_CORE_BACKWARD_SPACE_H

#include "../arena.h"
#include "../pass/plan.h"
#include "../pass/sync.h"
#include "../pass/workspace.h"

/* What a chunk keeps of one direction. Rows of a chunk are numbered step by step, at a step by
 * rank, so that sums over them do not depend on the plan. */
typedef struct {
    float *dpre[MAX_STAGES];      /* [chunk rows][slots][stride]: gradients of pre-activations */
    float *panels[MAX_STAGES];    /* the same as [panels][chunk rows][slots][lanes] */
    float *x_panels;              /* [inputs in panels][chunk rows][lanes] */
    float *h_panels[MAX_STAGES];  /* what the recurrent product took, [..][chunk rows][lanes] */
    float *between;               /* two stages: [batch][padded_units], from second to first */
} back_direction;

/* The workspace as one worker sees it; batch rows are in the order of the pass. */
typedef struct {
    size_t chunk_steps, chunk_rows;
    /* Of the whole pass. */
    size_t *ranked, *order; /* [batch], see frnn_order_rows */
    counter *counters;      /* all that follow, to be cleared before a pass */
    size_t counters_bytes;
    counter *all_workers, *group_workers, *team_workers;
    float *dh;           /* [parts][batch][h_stride] */
    size_t h_stride;     /* R rounded up to lanes */
    float *dc;           /* [parts][batch][state_floats]; NULL: the cell has h alone */
    float *layer_dy;     /* gradients of outputs of lower layers, see workspace.h's layer_y */
    size_t slot_floats;
    back_direction direction[2];
    /* Of the worker. */
    const float **from; /* [chunk rows] */
    float **to;         /* [chunk rows] */
    const float **dy_rows, **h_rows, **h_before_rows; /* [batch] */
    size_t *all_first;  /* [chunk steps + 1]: where a step's rows begin in the chunk */
    size_t *mine_first; /* [chunk steps + 1]: the same of the block, on the tape */
    float *dropped;     /* [directions * R]: a row after dropout */
} back_space;

/* A worker's place in a backward pass: layer teams share the units of each layer. */
static inline int back_units(const frnn_plan *plan)
{
    return plan->layer_teams * plan->unit_workers;
}

/* Lays it out and returns the view of one worker, or counts what it takes. */
back_space frnn_back_space_lay_out(const frnn_stack *stack, const frnn_plan *plan, size_t steps,
                                   size_t batch, worker_place at, arena *memory);

#endif
