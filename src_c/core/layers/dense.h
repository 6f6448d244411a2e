/* SPDX-License-Identifier: MIT */
/* A dense layer as the core sees it, and how work without waiting is shared among workers. */
#ifndef FRNN_CORE_DENSE_H
#define FRNN_CORE_DENSE_H

#include <fastrnn.h>

#include "../arena.h"

struct frnn_dense {
    const frnn_isa *isa;
    int inputs, outputs, panels;
    float *weights; /* [panels][inputs][lanes] */
    float *bias;    /* [panels][lanes] */
};

enum { MOST_LAYER_SIZE = INT32_MAX / 64 }; /* with padding every count stays an int */

/* Takes a layer's memory; while counting, its pointers are NULL. */
void frnn_dense_lay_out(frnn_dense *dense, int inputs, int outputs, const frnn_isa *isa,
                        arena *memory);

/* Packs units of panel `panel` alone: weight [lanes, or what is left of outputs][inputs]. */
void frnn_dense_pack_panel(const frnn_dense *dense, int panel, const float *weight);
void frnn_dense_set_bias(const frnn_dense *dense, const float *bias);

/* Panels [first_panel, end_panel) of `rows` rows. */
void frnn_dense_product(const frnn_dense *dense, int rows, int first_panel, int end_panel,
                        const float *const *in, float *const *y);

/* Where a worker's share of count begins, in whole grains; that of the next one is its end. */
static inline size_t share_begin(size_t count, size_t grain, int worker, int workers)
{
    const size_t grains = (count + grain - 1) / grain;
    const size_t each = grains / (size_t)workers, rest = grains % (size_t)workers;
    const size_t more = (size_t)worker < rest ? (size_t)worker : rest;
    const size_t begin = (each * (size_t)worker + more) * grain;
    return begin < count ? begin : count;
}

/* Runs a task on as many workers as are worth it for so many vector multiply-adds, or alone.
 * task: gets argument and its worker; *width is set to the workers before. */
void frnn_run_shares(const frnn_executor *executor, int most, double cost, int *width,
                     frnn_task *task, void *argument);

#endif
