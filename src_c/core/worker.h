/* SPDX-License-Identifier: MIT */
/* One worker of a pass over one block of rows: where it sits, what it reads and writes. */
#ifndef FRNN_CORE_WORKER_H
#define FRNN_CORE_WORKER_H

#include "workspace.h"

/* A batch of sequences somewhere in memory. */
typedef struct {
    const float *base;
    ptrdiff_t step, row; /* strides in floats */
    size_t first_step;   /* the step that lies at base */
    int callers_rows;    /* rows are numbered as the caller does, not by length */
} sequences;

typedef struct {
    const frnn_model *model;
    const frnn_call *call;
    const frnn_plan *plan;
    seat at;
    int teams, units;    /* that work beside this one; 1 where it does the work of all */
    workspace w;
    const size_t *order; /* the caller's row of each row of the block */
    size_t rows;         /* of the block */
} worker;

/* Chunk `number`, steps [begin, end), of one layer and direction. */
typedef struct {
    int part; /* layer * directions + direction */
    int direction;
    size_t number, begin, end;
    sequences x, y;
} chunk;

/* Projects the inputs of a chunk and runs its steps; the last outputs become the states. Returns
 * when the whole team has finished. */
void frnn_run_chunk(worker *self, const chunk *k);

static inline size_t row_length(const worker *self, size_t row)
{
    return self->call->lengths ? self->call->lengths[self->order[row]] : self->call->steps;
}

/* Chunks that the longest row of the block takes. */
static inline size_t chunks_of(const worker *self)
{
    return (row_length(self, 0) + self->plan->chunk_steps - 1) / self->plan->chunk_steps;
}

/* The state before a chunk; the one after it is that before the next. Two in turns: a worker may
 * still read the old one while another writes the new one. */
static inline float *state_h(const worker *self, int part, size_t chunk_number, size_t row)
{
    const size_t index = (size_t)part * 2 + chunk_number % 2;
    return self->w.h + (index * self->plan->block_rows + row) * (size_t)self->model->output_size;
}

static inline float *state_c(const worker *self, int part, size_t row)
{
    return self->w.c + ((size_t)part * self->plan->block_rows + row) * self->model->padded_units;
}

static inline void wait_for_count(const worker *self, const counter *c, unsigned count)
{
    counter_wait(c, count, self->model->isa, self->call->executor);
}

static inline void wait_for_team(const worker *self)
{
    if (self->units > 1)
        barrier_wait(self->w.team_workers, self->units, self->at.unit, self->model->isa,
                     self->call->executor);
}

static inline void wait_for_group(const worker *self)
{
    const int workers = self->teams * self->units, me = self->at.team * self->units + self->at.unit;
    if (workers > 1)
        barrier_wait(self->w.group_workers, workers, me, self->model->isa, self->call->executor);
}

#endif
