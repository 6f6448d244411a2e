/* SPDX-License-Identifier: MIT */
/* How the workers of a pass wait for each other: by counters, each on a cache line of its own. */
#ifndef FRNN_CORE_SYNC_H
#define FRNN_CORE_SYNC_H

#include <fastrnn.h>
#include <stdatomic.h>

#include "../../kernels/table.h"

enum {
    /* Some 0.5 us: a look at the clock costs as much as a few looks at a counter. */
    PAUSES_PER_LOOK = 16,
    /* 2 to 3 us, some steps of a small layer: who has waited so long may be keeping the other from
     * its CPU, and to yield where nobody else wants to run costs less than 1 us. */
    TICKS_BEFORE_YIELD = 6000,
    LOOKS_BEFORE_YIELD = 256 /* where ticks are 0 */
};

/* Counts up; written by one worker (or one team) and read by others. Starts at 0. */
typedef struct {
    atomic_uint count;
    int yielded; /* its writer's last wait came to that: the next one will, sooner */
    char alone[2 * FRNN_ALIGNMENT - sizeof(atomic_uint) - sizeof(int)]; /* fetched in pairs */
} counter;

static inline void counter_add(counter *c)
{
    const unsigned count = atomic_load_explicit(&c->count, memory_order_relaxed);
    atomic_store_explicit(&c->count, count + 1, memory_order_release);
}

/* How a pass ends early. Once it is stopped, nobody waits for anybody any more, and every worker
 * returns: what it would read next may not have been written. */
typedef struct {
    int (*ask)(void *context); /* of the call; NULL: the pass does not end early */
    void *context;
    atomic_int stopped;
} stop_flag;

/* Begins a pass that `ask`, the `stop` of a call, may end. */
static inline void stop_begin(stop_flag *stop, int (*ask)(void *context), void *context)
{
    *stop = (stop_flag){.ask = ask, .context = context};
}

/* What a worker needs to wait for others. */
typedef struct {
    const frnn_isa *isa;
    const frnn_executor *executor;
    stop_flag *stop;
    int asks; /* it runs on the calling thread */
} waiter;

/* Has the pass ended early? The calling thread asks, the other workers look at the answer. */
static inline int is_stopped(const waiter *w)
{
    stop_flag *const stop = w->stop;
    if (atomic_load_explicit(&stop->stopped, memory_order_relaxed))
        return 1;
    if (!w->asks || !stop->ask || !stop->ask(stop->context))
        return 0;
    atomic_store_explicit(&stop->stopped, 1, memory_order_relaxed);
    return 1;
}

/* What a pass returns that has run to its end, or was stopped. */
static inline frnn_status stop_status(const stop_flag *stop)
{
    return atomic_load_explicit(&stop->stopped, memory_order_relaxed) ? FRNN_STOPPED : FRNN_OK;
}

/* While nobody waits for it. */
static inline void counter_reset(counter *c)
{
    atomic_store_explicit(&c->count, 0, memory_order_relaxed);
}

/* Waits until a counter has reached a count. Returns 0 if the pass has ended early instead. mine: one
 * that only this worker writes. */
static inline int counter_wait(counter *mine, const counter *other, unsigned count, const waiter *w)
{
    unsigned long long begin = 0;
    int yielded = 0;
    for (unsigned pauses = 1;
         (int)(atomic_load_explicit(&other->count, memory_order_acquire) - count) < 0; pauses++) {
        w->isa->pause();
        if (pauses % PAUSES_PER_LOOK != 0)
            continue;
        if (is_stopped(w))
            return 0;
        if (!w->executor->yield)
            continue;
        const unsigned long long now = w->isa->ticks();
        if (begin == 0)
            begin = now;
        if (yielded || mine->yielded || now - begin > TICKS_BEFORE_YIELD ||
            pauses > LOOKS_BEFORE_YIELD * PAUSES_PER_LOOK) {
            w->executor->yield(w->executor->context);
            yielded = 1;
        }
    }
    if (mine->yielded != yielded)
        mine->yielded = yielded;
    return 1;
}

/* Waits until all `workers`, each with a counter, have come here as often as this one. Returns 0 if
 * the pass has ended early instead. */
static inline int barrier_wait(counter *counters, int workers, int me, const waiter *w)
{
    counter_add(&counters[me]);
    const unsigned turn = atomic_load_explicit(&counters[me].count, memory_order_relaxed);
    for (int other = 0; other < workers; other++)
        if (other != me && !counter_wait(&counters[me], &counters[other], turn, w))
            return 0;
    return 1;
}

#endif
