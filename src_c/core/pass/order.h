/* SPDX-License-Identifier: MIT */
/* In which order a pass takes the rows of a batch. */
#ifndef FRNN_CORE_ORDER_H
#define FRNN_CORE_ORDER_H

#include "plan.h"

/* ranked: the caller's rows by falling length, equal ones in their order. order: the same, distributed to
 * the plan's groups, one group after the other. Both [batch]. */
void frnn_order_rows(const frnn_call *call, const frnn_plan *plan, size_t *ranked, size_t *order);

/* The rank of a group's index-th row is first + index * step. */
typedef struct {
    size_t first, step;
} row_ranks;

/* Steps that rows of the order take together: what they take of the tape. */
static inline size_t steps_of_rows(const frnn_call *call, const size_t *order, size_t rows)
{
    size_t steps = 0;
    if (!call->lengths)
        return rows * call->steps;
    for (size_t i = 0; i < rows; i++) steps += call->lengths[order[i]];
    return steps;
}

static inline row_ranks group_ranks(const frnn_call *call, const frnn_plan *plan, int group,
                                    size_t group_first)
{
    if (call->lengths && plan->row_groups > 1)
        return (row_ranks){(size_t)group, (size_t)plan->row_groups};
    return (row_ranks){group_first, 1};
}

#endif
