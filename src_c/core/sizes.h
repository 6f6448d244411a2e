/* SPDX-License-Identifier: MIT */
/* Arithmetic on sizes, and the checks of a call's arguments that several passes make. */
#ifndef FRNN_CORE_SIZES_H
#define FRNN_CORE_SIZES_H

#include <fastrnn.h>

/* The largest number of inputs or units: with gates, directions and padding every count of rows still
 * fits an int. Of layers: each takes memory and time even if it has one unit. */
enum { MOST_SIZE = INT32_MAX / 64, MOST_LAYERS = 1 << 15 };

static inline size_t size_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

/* How many pieces of a size cover a whole of at least 1. */
static inline size_t size_pieces(size_t whole, size_t piece) { return (whole - 1) / piece + 1; }

/* The first item of a worker's share of count items, which are assigned in whole grains; the next
 * worker's first item is its end. Where the grains do not divide, the first workers get one more. */
static inline size_t share_begin(size_t count, size_t grain, int worker, int workers)
{
    const size_t grains = (count + grain - 1) / grain;
    const size_t each = grains / (size_t)workers, rest = grains % (size_t)workers;
    return size_min((each * (size_t)worker + size_min((size_t)worker, rest)) * grain, count);
}

/* Is an executor absent or complete? */
static inline int executor_is_valid(const frnn_executor *executor)
{
    return !executor || executor->run != NULL;
}

/* Are all lengths at most steps? NULL: all rows have `steps`. */
static inline int lengths_are_valid(const size_t *lengths, size_t batch, size_t steps)
{
    for (size_t row = 0; lengths && row < batch; row++)
        if (lengths[row] > steps)
            return 0;
    return 1;
}

#endif
