/* SPDX-License-Identifier: MIT */
/* Rows by falling length, distributed to groups. */
#include "order.h"

#include <string.h>

/* order = rows by falling length, equal ones in their order: a bottom-up merge sort. */
static void sort_by_length(size_t *order, size_t *merged, const size_t *lengths, size_t batch)
{
    for (size_t run = 1; run < batch; run *= 2) {
        for (size_t begin = 0; begin < batch; begin += 2 * run) {
            const size_t middle = size_min(begin + run, batch);
            const size_t end = size_min(middle + run, batch);
            size_t left = begin, right = middle;
            for (size_t i = begin; i < end; i++) {
                const int take_right =
                    right < end && (left == middle || lengths[order[right]] > lengths[order[left]]);
                merged[i] = take_right ? order[right++] : order[left++];
            }
        }
        memcpy(order, merged, batch * sizeof *order);
    }
}

/* Distributes sorted rows to the groups in turn: each has its share of long and short ones. */
static void distribute_rows(const size_t *ranked, size_t *order, size_t batch, size_t groups)
{
    size_t count = 0;
    for (size_t group = 0; group < groups; group++)
        for (size_t row = group; row < batch; row += groups) order[count++] = ranked[row];
}

void frnn_order_rows(const frnn_call *call, const frnn_plan *plan, size_t *ranked, size_t *order)
{
    for (size_t i = 0; i < call->batch; i++) ranked[i] = order[i] = i;
    if (!call->lengths)
        return;
    sort_by_length(ranked, order, call->lengths, call->batch);
    distribute_rows(ranked, order, call->batch, (size_t)plan->row_groups);
}
