/* SPDX-License-Identifier: MIT */
/* Dense layers inside the core, and sharing of independent work among workers. */
#ifndef FRNN_CORE_DENSE_H
#define FRNN_CORE_DENSE_H

#include <fastrnn.h>

#include "../arena.h"
#include "../panels.h"

struct frnn_dense {
    const frnn_isa *isa;
    int inputs, outputs, panels;
    void *weights; /* as the product packs [outputs][inputs] */
    float *bias;    /* [panels][lanes] */
};

/* Takes the layer's memory from an arena. While counting, its pointers are NULL. */
void frnn_dense_lay_out(frnn_dense *dense, int inputs, int outputs, const frnn_isa *isa,
                        arena *memory);

/* Packs one panel. weight: [lanes, fewer in the last panel][inputs]. */
void frnn_dense_pack_panel(const frnn_dense *dense, int panel, const float *weight);
void frnn_dense_set_bias(const frnn_dense *dense, const float *bias);

/* Computes panels [first_panel, end_panel) of `rows` rows. */
void frnn_dense_product(const frnn_dense *dense, int rows, int first_panel, int end_panel,
                        const float *const *in, float *const *y);

/* Runs task(argument, worker) on as many workers as pay for `cost` vector multiply-adds, at most
 * `most`. *width is set to their number before the first call. */
void frnn_run_shares(const frnn_executor *executor, int most, double cost, int *width,
                     frnn_task *task, void *argument);

#endif
