/* SPDX-License-Identifier: MIT */
/* How a pass is partitioned: the one place where that is decided. */
#ifndef FRNN_CORE_PLAN_H
#define FRNN_CORE_PLAN_H

#include "stack.h"

/* The caller's plan, checked, or the one for a single thread. */
frnn_status frnn_plan_of(const frnn_stack *stack, size_t steps, size_t batch,
                         const frnn_plan *given, frnn_plan *plan);

static inline int plan_teams(const frnn_plan *plan)
{
    return plan->direction_teams * plan->layer_teams;
}

static inline int plan_width(const frnn_plan *plan)
{
    return plan->row_groups * plan_teams(plan) * plan->unit_workers;
}

/* The first row of a group; that of the next one is its end. */
static inline size_t plan_first_row(const frnn_plan *plan, size_t batch, int group)
{
    return share_begin(batch, 1, group, plan->row_groups);
}

static inline size_t plan_group_rows(const frnn_plan *plan, size_t batch, int group)
{
    return plan_first_row(plan, batch, group + 1) - plan_first_row(plan, batch, group);
}

#endif
