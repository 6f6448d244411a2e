/* SPDX-License-Identifier: MIT */
/* What a forward pass keeps for the backward pass. */
#ifndef FRNN_CORE_TAPE_H
#define FRNN_CORE_TAPE_H

#include "../arena.h"
#include "plan.h"

/* What the layout and the contents depend on. */
typedef struct {
    size_t steps, batch, block_rows;
    int row_groups, lanes;
} tape_head;

/* The caller's tape, laid out. Rows of gates and c are numbered block by block as the plan splits
 * them, in a block step by step, at a step by falling length. A part is a layer and direction. */
typedef struct {
    tape_head *head;
    size_t rows;              /* steps * batch */
    float *gates[MAX_STAGES]; /* [parts][panels][rows][slots][lanes]; NULL: the stage has none */
    size_t part_gates[MAX_STAGES];
    float *c;                 /* [parts][rows][state_floats]; NULL: the cell has h alone */
    size_t part_c;
    float *h;                 /* [layers][steps][batch][directions * R], the caller's rows */
    size_t layer_h;
    /* States before the first step. */
    float *h0; /* [parts][batch][R], the caller's rows */
    float *c0; /* [parts][batch][state_floats], rows in the order of the pass; or NULL */
} tape;

/* Lays a tape out, or counts what it takes. */
tape frnn_tape_lay_out(const frnn_stack *stack, size_t steps, size_t batch, arena *memory);

/* Of the forward call. */
void frnn_tape_begin(const tape *t, const frnn_stack *stack, const frnn_call *call,
                     const frnn_plan *plan);
/* Of the backward call: whether the tape is one of its size. */
int frnn_tape_fits(const tape *t, const frnn_stack *stack, const frnn_call *call);
/* A plan with the groups and blocks of rows of the forward call. */
frnn_plan frnn_tape_plan(const tape *t, const frnn_plan *plan);

/* FRNN_OK where a call has no tape, or one that is large enough and a stack for it. */
frnn_status frnn_tape_check(const frnn_stack *stack, const frnn_call *call);

#endif
