/* SPDX-License-Identifier: MIT */
/* The caller's workspace, laid out for one pass. */
#ifndef FRNN_CORE_WORKSPACE_H
#define FRNN_CORE_WORKSPACE_H

#include "../arena.h"
#include "plan.h"
#include "sync.h"

/* A worker's place in a plan. */
typedef struct {
    int group, team, unit;
} worker_place;

/* The workspace as one worker sees it. Rows of a block are numbered by falling length, so that those
 * still running at a step are the first ones. `block` and `chunk` are the plan's block_rows and
 * chunk_steps. */
typedef struct {
    /* Of the whole pass. */
    size_t *order;   /* [batch]: the caller's row of each row, group by group */
    size_t *scratch; /* [batch]: of the sort */
    counter *counters; /* all that follow, to be cleared before a pass */
    size_t counters_bytes;
    /* Of the group. */
    counter *group_workers; /* [teams][unit_workers]: barrier of the group */
    counter *done;          /* [num_layers]: chunks of the block that are finished */
    float *h;               /* [num_layers][directions][2][block][R]: states, see state_h */
    float *c;               /* [num_layers][directions][block][state_floats]; NULL: h alone */
    float *layer_y;         /* outputs of lower layers: [slots][span][block][directions * R] */
    size_t slot_floats;
    /* Of the team. */
    counter *team_workers;  /* [unit_workers]: barrier of the team */
    float *pre[MAX_STAGES]; /* [panels][chunk * block][slots][lanes] */
    float *between;         /* [block][padded_units]: y of a first stage, input of a second */
    float *carried;         /* [block][padded_units]: what a first stage leaves for a second */
    float *dropped;         /* training: [chunk * block][directions * R], inputs after dropout */
    /* Of the worker. */
    const float **x_rows; /* [chunk * block] -> [inputs] */
    float **y_rows;       /* [chunk * block] -> [R] */
    size_t *first_row;    /* [chunk + 1]: where a step's rows begin in x_rows and y_rows */
    const float **h_rows; /* [block] -> [R]: h as rows */
    float **between_rows; /* [block] -> [padded_units] */
    void *converted;      /* [chunk * block][row_bytes]: rows as the product reads them, or NULL */
} workspace;

/* Lays a workspace out and returns the view of one worker, or counts what it takes. */
workspace frnn_workspace_lay_out(const frnn_stack *stack, const frnn_plan *plan, size_t steps,
                                 size_t batch, worker_place at, arena *memory);

/* Which of the slots of layer_y a layer writes a chunk to. */
static inline size_t workspace_slot(const frnn_plan *plan, int layer, size_t chunk_number)
{
    if (plan->layer_teams > 1) /* the layers run at once, a chunk or two apart */
        return (size_t)layer * 2 + chunk_number % 2;
    return (size_t)layer % 2;
}

#endif
