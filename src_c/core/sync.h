/* SPDX-License-Identifier: MIT */
/* How the workers of a pass wait for each other: by counters, each on a cache line of its own. */
#ifndef FRNN_CORE_SYNC_H
#define FRNN_CORE_SYNC_H

#include <fastrnn.h>
#include <stdatomic.h>

#include "../kernels/table.h"

enum {
    /* A pause takes some 15 ns: who has waited 10 us may be keeping the other from its CPU. */
    PAUSES_BEFORE_YIELD = 600
};

/* Counts up; written by one worker (or one team) and read by others. Starts at 0. */
typedef struct {
    atomic_uint count;
    char alone[2 * FRNN_ALIGNMENT - sizeof(atomic_uint)]; /* lines are fetched in pairs */
} counter;

static inline void counter_add(counter *c)
{
    const unsigned count = atomic_load_explicit(&c->count, memory_order_relaxed);
    atomic_store_explicit(&c->count, count + 1, memory_order_release);
}

/* While nobody waits for it. */
static inline void counter_reset(counter *c)
{
    atomic_store_explicit(&c->count, 0, memory_order_relaxed);
}

/* Waits until a counter has reached a count. */
static inline void counter_wait(const counter *c, unsigned count, const frnn_isa *isa,
                                const frnn_executor *executor)
{
    for (unsigned pauses = 1;
         (int)(atomic_load_explicit(&c->count, memory_order_acquire) - count) < 0; pauses++)
        if (pauses % PAUSES_BEFORE_YIELD == 0 && executor->yield)
            executor->yield(executor->context);
        else
            isa->pause();
}

/* Waits until all `workers`, each with a counter, have come here as often as this one. */
static inline void barrier_wait(counter *counters, int workers, int me, const frnn_isa *isa,
                                const frnn_executor *executor)
{
    counter_add(&counters[me]);
    const unsigned turn = atomic_load_explicit(&counters[me].count, memory_order_relaxed);
    for (int other = 0; other < workers; other++)
        if (other != me)
            counter_wait(&counters[other], turn, isa, executor);
}

#endif
