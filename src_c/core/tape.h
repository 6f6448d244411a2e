/* SPDX-License-Identifier: MIT */
/* What a forward pass keeps for the backward pass. */
#ifndef FRNN_CORE_TAPE_H
#define FRNN_CORE_TAPE_H

#include "arena.h"
#include "model.h"

/* What the layout and the contents depend on; backward checks that it is its own. */
typedef struct {
    size_t steps, batch, block_rows;
    int row_groups, lanes;
} tape_head;

/* The caller's tape, laid out. Rows of gates and c are numbered block by block as the plan cuts
 * them, in a block step by step, at a step by falling length. A part is a layer and direction. */
typedef struct {
    tape_head *head;
    size_t rows;              /* steps * batch */
    float *gates[MAX_STAGES]; /* [parts][panels][rows][slots][lanes]; NULL: the stage has none */
    size_t part_gates[MAX_STAGES];
    float *c;                 /* LSTM: [parts][rows][padded_units] */
    size_t part_c;
    float *h;                 /* [layers][steps][batch][directions * R], the caller's rows */
    size_t layer_h;
    /* States before the first step. */
    float *h0; /* [parts][batch][R], the caller's rows */
    float *c0; /* LSTM: [parts][batch][padded_units], rows in the order of the pass */
} tape;

/* Lays a tape out, or counts what it takes. */
tape frnn_tape_lay_out(const frnn_model *model, size_t steps, size_t batch, arena *memory);

/* Of the forward call: what frnn_tape_fits then looks for. */
void frnn_tape_begin(const tape *t, const frnn_model *model, const frnn_call *call,
                     const frnn_plan *plan);
int frnn_tape_fits(const tape *t, const frnn_model *model, const frnn_call *call,
                   const frnn_plan *plan);

/* FRNN_OK where a call has no tape, or one that is large enough and a model for it. */
frnn_status frnn_tape_check(const frnn_model *model, const frnn_call *call);

#endif
