/* SPDX-License-Identifier: MIT */
/* One worker of a pass over one block of rows: where it sits, what it reads and writes. */
#ifndef FRNN_CORE_WORKER_H
#define FRNN_CORE_WORKER_H

#include "tape.h"
#include "workspace.h"

/* A batch of sequences somewhere in memory. */
typedef struct {
    const float *base;
    ptrdiff_t step, row; /* strides in floats */
    size_t first_step;   /* the step that lies at base */
    int callers_rows;    /* rows are numbered as the caller does, not by length */
} sequences;

typedef struct {
    const frnn_stack *stack;
    const frnn_call *call;
    const frnn_plan *plan;
    worker_place at;
    waiter wait;
    int teams, units;    /* that work beside this one; 1 where it does the work of all */
    workspace w;
    const size_t *order; /* the caller's row of each row of the block */
    size_t rows;         /* of the block */
    const tape *tape;    /* NULL: inference */
    size_t tape_row;     /* of the tape: the block's first */
    size_t position;     /* of the block's first row in the order of the pass */
} worker;

/* Chunk `number`, steps [begin, end), of one layer and direction. */
typedef struct {
    int part; /* layer * directions + direction */
    int direction;
    size_t number, begin, end;
    sequences x, y;
    size_t tape_row; /* where the chunk begins on the tape */
    sequences copy; /* of y, with a tape; base NULL: none */
} chunk;

/* Projects the inputs of a chunk and runs its steps; the last outputs become the states. Returns 1
 * when the whole team has finished, or 0 if the pass has ended early. */
int frnn_run_chunk(worker *self, const chunk *k);

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
    return self->w.h + (index * self->plan->block_rows + row) * (size_t)self->stack->output_size;
}

static inline float *state_c(const worker *self, int part, size_t row)
{
    return self->w.c + ((size_t)part * self->plan->block_rows + row) * self->stack->state_floats;
}

/* Rows that are not finished at a step, counted down from `rows`. */
static inline size_t rows_at(const worker *self, size_t step, size_t rows)
{
    while (rows > 0 && row_length(self, rows - 1) <= step) rows--;
    return rows;
}

/* Row `row` at `step` of the run: the reverse direction starts at each row's own end. */
static inline const float *sequence_row(const worker *self, const sequences *s, int direction,
                                        size_t step, size_t row)
{
    const size_t time = direction ? row_length(self, row) - 1 - step : step;
    const size_t index = s->callers_rows ? self->order[row] : row;
    return s->base + (ptrdiff_t)(time - s->first_step) * s->step + (ptrdiff_t)index * s->row;
}

/* The outputs of a layer on the tape. */
static inline sequences tape_sequences(const worker *self, int layer)
{
    const ptrdiff_t width = self->stack->directions * self->stack->output_size;
    return (sequences){self->tape->h + (size_t)layer * self->tape->layer_h,
                       width * (ptrdiff_t)self->call->batch, width, 0, 1};
}

/* The tape's row where a chunk that starts at `begin` has its first. */
static inline size_t tape_chunk_row(const worker *self, size_t begin)
{
    size_t row = self->tape_row;
    for (size_t i = 0; i < self->rows; i++) row += size_min(row_length(self, i), begin);
    return row;
}

static inline float *tape_c(const worker *self, int part, size_t row)
{
    return self->tape->c + (size_t)part * self->tape->part_c + row * self->stack->state_floats;
}

static inline float *tape_gates(const worker *self, int part, int stage, size_t row)
{
    const stack_stage *s = &self->stack->layers->stage[stage];
    return self->tape->gates[stage] + (size_t)part * self->tape->part_gates[stage] +
           row * (size_t)(s->kernel->slots * self->stack->isa->lanes);
}

/* A row's state before the first step, as the tape has it. */
static inline float *tape_h0(const worker *self, int part, size_t row)
{
    const size_t index = (size_t)part * self->call->batch + self->order[row];
    return self->tape->h0 + index * (size_t)self->stack->output_size;
}

static inline float *tape_c0(const worker *self, int part, size_t row)
{
    const size_t index = (size_t)part * self->call->batch + self->position + row;
    return self->tape->c0 + index * self->stack->state_floats;
}

/* Each wait returns 0 if the pass has ended early: the worker must then return, too. */
static inline int wait_for_count(const worker *self, const counter *c, unsigned count)
{
    counter *const mine = &self->w.group_workers[self->at.team * self->units + self->at.unit];
    return counter_wait(mine, c, count, &self->wait);
}

static inline int wait_for_team(const worker *self)
{
    return self->units == 1 ||
           barrier_wait(self->w.team_workers, self->units, self->at.unit, &self->wait);
}

static inline int wait_for_group(const worker *self)
{
    const int workers = self->teams * self->units, me = self->at.team * self->units + self->at.unit;
    return workers == 1 || barrier_wait(self->w.group_workers, workers, me, &self->wait);
}

#endif
