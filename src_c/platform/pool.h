/* SPDX-License-Identifier: MIT */
/* The thread pool: one per process, shared by all callers. */
#ifndef FRNN_PLATFORM_POOL_H
#define FRNN_PLATFORM_POOL_H

#include <fastrnn.h>

/* Returns the pool as an executor, or NULL on a system without one.
 *
 * Threads are started by the first run that needs them, and kept. After a task they spin for about
 * a millisecond, then sleep. Any number of threads may call run. It returns 0, and the caller
 * works alone,
 *  - while another caller has the pool;
 *  - if wake is 0 and workers are asleep. Calls in quick succession wake them for the next calls;
 *  - for a while after a run in which other programs kept workers off their CPUs: several times
 *    the duration of that run.
 * A child process after fork starts threads of its own. A task must not fork. */
const frnn_executor *frnn_pool_executor(void);

/* Returns the number of threads that the pool has started in this process. */
int frnn_pool_threads(void);

#endif
