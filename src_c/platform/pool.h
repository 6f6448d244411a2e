/* SPDX-License-Identifier: MIT */
/* The threads of this process that help with passes: one pool, shared by all callers. */
#ifndef FRNN_PLATFORM_POOL_H
#define FRNN_PLATFORM_POOL_H

#include <fastrnn.h>

/* The pool; NULL where there is none. Threads are started by the first runs that need them and
 * kept. They spin for about a millisecond after a task and then sleep. Any number of threads may
 * call run: one at a time gets the pool, the others 0. A call with wake 0 that finds workers
 * asleep gets 0, too, but wakes them for calls to come if calls come fast. After a run whose workers
 * others kept from their CPUs, all get 0 for several times as long as it took. A child of fork
 * starts threads of its own. A task must not fork. */
const frnn_executor *frnn_pool_executor(void);

/* Threads that the pool has started in this process. */
int frnn_pool_threads(void);

#endif
