/* SPDX-License-Identifier: MIT */
/* One worker of a backward pass: where it sits, the chunk it is at. */
#ifndef FRNN_CORE_BACKWARD_H
#define FRNN_CORE_BACKWARD_H

#include "backward_space.h"
#include "../pass/order.h"
#include "../pass/worker.h"

typedef struct {
    worker block; /* the worker's place, and the block of rows that it is at; plan: the tape's */
    const frnn_gradients *gradients;
    back_space s;
    int index, width; /* among all workers */
    int groups;       /* of workers: each takes every groups-th group of rows */
    row_ranks ranks;  /* of the block's rows */
    size_t longest;   /* steps of the longest row */
} back_worker;

/* Chunk `number`, steps [begin, end), of a layer in all directions. */
typedef struct {
    int layer, last; /* last: no chunk has added to the weight gradients before */
    size_t number, begin, end, rows;
    sequences x, dy, dx; /* dy.base or dx.base NULL: none */
} back_chunk;

/* Runs the backward steps of a direction of a chunk, from its last to its first: one block of rows.
 * Returns 0 if the pass has ended early. */
int frnn_back_steps(back_worker *self, const back_chunk *k, int direction);

/* Packs this worker's share of what the weight gradients of a chunk take beside dpre. */
void frnn_back_pack(back_worker *self, const back_chunk *k);
/* Gradients of the inputs of a chunk: one block of rows, this worker's share of columns. */
void frnn_back_inputs(back_worker *self, const back_chunk *k, int direction);
/* Adds a chunk to this worker's share of the weight gradients. */
void frnn_back_weights(const back_worker *self, const back_chunk *k);
/* The weight gradients of a pass without steps are zero. */
void frnn_back_no_weights(const frnn_stack *stack, const frnn_gradients *gradients);

static inline size_t back_part(const back_worker *self, const back_chunk *k, int direction)
{
    return (size_t)(k->layer * self->block.stack->directions + direction);
}

/* Of the block's rows. */
static inline float *back_dh(const back_worker *self, size_t part)
{
    return self->s.dh + (part * self->block.call->batch + self->block.position) * self->s.h_stride;
}

static inline float *back_dc(const back_worker *self, size_t part)
{
    return self->s.dc + (part * self->block.call->batch + self->block.position) *
                            self->block.stack->state_floats;
}

/* Where a row of the block is at a step among the rows of the chunk. */
static inline size_t back_chunk_row(const back_worker *self, const back_chunk *k, size_t step,
                                    size_t row)
{
    return self->s.all_first[step - k->begin] + self->ranks.first + row * self->ranks.step;
}

/* Each wait returns 0 if the pass has ended early: the worker must then return, too. */
static inline int wait_for_all(const back_worker *self)
{
    return self->width == 1 ||
           barrier_wait(self->s.all_workers, self->width, self->index, &self->block.wait);
}

static inline int wait_for_my_group(const back_worker *self)
{
    const worker *w = &self->block;
    const int workers = w->teams * w->units;
    return workers == 1 || barrier_wait(self->s.group_workers, workers,
                                        w->at.team * w->units + w->at.unit, &w->wait);
}

static inline int wait_for_my_team(const back_worker *self)
{
    const worker *w = &self->block;
    return w->units == 1 || barrier_wait(self->s.team_workers, w->units, w->at.unit, &w->wait);
}

#endif
