/* SPDX-License-Identifier: MIT */
/* How a pass is cut: the one place where that is decided. */
#ifndef FRNN_CORE_PLAN_H
#define FRNN_CORE_PLAN_H

#include "model.h"

/* Batch rows are independent and run in blocks, each through the whole sequence; the input
 * projection runs ahead of the recurrence by a chunk of steps. */
typedef struct {
    size_t block_rows, chunk_steps;
} frnn_plan;

frnn_plan frnn_plan_make(const frnn_model *model, size_t steps, size_t batch);

#endif
