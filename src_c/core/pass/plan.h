/* SPDX-License-Identifier: MIT */
/* How a pass is cut: the one place where that is decided. */
#ifndef FRNN_CORE_PLAN_H
#define FRNN_CORE_PLAN_H

#include "../sizes.h"
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

/* Panels are dealt to the workers of a team by grains: those of one gate run four side by side in a
 * tile. */
static inline int panel_grain(int gates) { return 4 / gates; }

static inline int panel_grains(int panels, int gates)
{
    return (panels + panel_grain(gates) - 1) / panel_grain(gates);
}

/* The first panel of a worker's share; that of the next one is its end. */
static inline int panel_share(int panels, int gates, int worker, int workers)
{
    const long long grains = panel_grains(panels, gates);
    const long long first = grains * worker / workers * panel_grain(gates);
    return first < panels ? (int)first : panels;
}

/* Panels or units [begin, end). */
typedef struct {
    int begin, end;
} unit_range;

/* The panels of a worker's share. */
static inline unit_range panel_range(int panels, int gates, int worker, int workers)
{
    return (unit_range){panel_share(panels, gates, worker, workers),
                        panel_share(panels, gates, worker + 1, workers)};
}

/* The units of a range of panels; `units`: all, where the last panel is padded. */
static inline unit_range units_of_panels(unit_range panels, int lanes, int units)
{
    const int end = panels.end * lanes;
    return (unit_range){panels.begin * lanes, end < units ? end : units};
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
