/* SPDX-License-Identifier: MIT */
/* The pool of threads: a caller takes it, publishes a task, works along and waits for the others. */
#define _GNU_SOURCE /* for the names of threads */
#include "pool.h"

#if defined(_WIN32)

const frnn_executor *frnn_pool_executor(void) { return NULL; }
int frnn_pool_threads(void) { return 0; }

#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define ALWAYS_INLINE static inline
#include "../simd/thread.h"

enum {
    MOST_WORKERS = 1024,
    STACK_BYTES = 256 << 10,
    LOOKS = 32,             /* between two looks at the clock, each of which costs dozens */
    YIELD_NS = 20 * 1000,  /* who has spun so long may be keeping others from a CPU */
    SPIN_NS = 1000 * 1000, /* covers what a program does between two steps of a stream */
    FAST_NS = 200 * 1000   /* calls that follow each other so fast would find workers spinning */
};

/* Of a worker, in the order of how soon it can work. */
enum { ABSENT, ASLEEP, ROUSED, AWAKE };

/* A turn is one task: its number in the upper bits, its width in the lower ones. In one word, so
 * that a worker beyond the width knows from this alone that it must not touch the rest: nobody
 * waits for it. A worker within the width always takes part before the next turn comes. */
enum { WIDTH_BITS = 16 };
typedef uint64_t turn;

#define ALONE _Alignas(128) /* begins a cache line that others need not fetch; they come in pairs */

static struct {
    atomic_flag busy; /* held by the caller whose run it is; guards what is not atomic */
    int64_t refused;  /* when a call was last refused because workers slept */
    atomic_int started;
    atomic_int forks_are_handled;
    ALONE _Atomic turn turn; /* what spinning workers look at */
    frnn_task *task;
    void *argument;
    ALONE pthread_mutex_t mutex; /* of sleeping and rousing */
    pthread_cond_t roused;
    ALONE atomic_uchar states[MOST_WORKERS]; /* of worker w > 0 */
    struct {
        ALONE _Atomic turn ended;
    } last[MOST_WORKERS]; /* the turn that worker w ended last */
} pool = {.busy = ATOMIC_FLAG_INIT,
          .mutex = PTHREAD_MUTEX_INITIALIZER,
          .roused = PTHREAD_COND_INITIALIZER};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void yield(void *context)
{
    (void)context;
    sched_yield();
}

/* ---- Workers -------------------------------------------------------------------------------- */

static int is_for(turn now, int worker, turn done)
{
    return now != done && worker < (int)(now & ((1u << WIDTH_BITS) - 1));
}

/* Waits for a turn of this worker, spinning; 0 if none comes for SPIN_NS. */
static int spin(int worker, turn done)
{
    int64_t start = 0, now;
    do {
        for (int i = 0; i < LOOKS; i++, vec_pause())
            if (is_for(atomic_load_explicit(&pool.turn, memory_order_acquire), worker, done))
                return 1;
        now = now_ns();
        if (start == 0)
            start = now;
        if (now - start > YIELD_NS)
            sched_yield();
    } while (now - start < SPIN_NS);
    return 0;
}

/* Sleeps until roused. A caller stores a turn and then looks for sleepers; a worker says that it
 * sleeps and then looks for a turn. All four are seq_cst: in any weaker order both could miss what
 * the other has stored, and the turn would never be taken. */
static void sleep_until_roused(int worker, turn done)
{
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&pool.states[worker], ASLEEP);
    while (atomic_load_explicit(&pool.states[worker], memory_order_relaxed) == ASLEEP &&
           !is_for(atomic_load(&pool.turn), worker, done))
        pthread_cond_wait(&pool.roused, &pool.mutex);
    atomic_store_explicit(&pool.states[worker], AWAKE, memory_order_relaxed);
    pthread_mutex_unlock(&pool.mutex);
}

static void *work(void *argument)
{
    const int worker = (int)(intptr_t)argument;
#if defined(__APPLE__)
    pthread_setname_np("fastrnn");
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), "fastrnn");
#endif
    atomic_store_explicit(&pool.states[worker], AWAKE, memory_order_relaxed);
    turn done = atomic_load_explicit(&pool.last[worker].ended, memory_order_relaxed);
    for (;;) {
        while (!spin(worker, done)) sleep_until_roused(worker, done);
        done = atomic_load_explicit(&pool.turn, memory_order_acquire);
        pool.task(pool.argument, worker);
        atomic_store_explicit(&pool.last[worker].ended, done, memory_order_release);
    }
    return NULL;
}

static void rouse(int width)
{
    pthread_mutex_lock(&pool.mutex);
    for (int w = 1; w < width; w++)
        if (atomic_load_explicit(&pool.states[w], memory_order_relaxed) == ASLEEP)
            atomic_store_explicit(&pool.states[w], ROUSED, memory_order_relaxed);
    pthread_mutex_unlock(&pool.mutex);
    pthread_cond_broadcast(&pool.roused);
}

/* ---- Starting ------------------------------------------------------------------------------- */

static int start_worker(int worker)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const turn now = atomic_load_explicit(&pool.turn, memory_order_relaxed);
    atomic_store_explicit(&pool.last[worker].ended, now, memory_order_relaxed);
    atomic_store_explicit(&pool.states[worker], ROUSED, memory_order_relaxed);
    const int failed = pthread_create(&thread, &attributes, work, (void *)(intptr_t)worker);
    if (failed)
        atomic_store_explicit(&pool.states[worker], ABSENT, memory_order_relaxed);
    pthread_attr_destroy(&attributes);
    return !failed;
}

/* Starts the workers that are missing; 0 if the system has no threads left. */
static int start(int width)
{
    int started = atomic_load_explicit(&pool.started, memory_order_relaxed);
    if (started >= width - 1)
        return 1;
    /* Signals go to the program's own threads, which expect them; but a fault must be handled by
     * the thread that commits it. */
    static const int faults[4] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t all, callers;
    sigfillset(&all);
    for (int i = 0; i < 4; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &callers);
    while (started < width - 1 && start_worker(started + 1))
        atomic_store_explicit(&pool.started, ++started, memory_order_relaxed);
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
    return started >= width - 1;
}

/* The child of a fork has none of the threads; whoever held what in the parent is not here. Turns
 * count on: a new worker begins after the last one. */
static void begin_anew(void)
{
    atomic_store_explicit(&pool.started, 0, memory_order_relaxed);
    for (int w = 0; w < MOST_WORKERS; w++)
        atomic_store_explicit(&pool.states[w], ABSENT, memory_order_relaxed);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.roused, NULL);
    pool.refused = 0;
    atomic_flag_clear(&pool.busy);
}

/* ---- Running -------------------------------------------------------------------------------- */

/* The state of the worker that is the furthest from working. */
static int readiness(int width)
{
    int least = AWAKE;
    for (int w = 1; w < width; w++) {
        const int state = atomic_load(&pool.states[w]); /* see sleep_until_roused */
        least = state < least ? state : least;
    }
    return least;
}

/* Whether a call may go ahead. One that may not wait for sleepers wakes them for those after it,
 * if they come fast: then it is worth a spinning CPU. */
static int get_ready(int width, int wake)
{
    if (readiness(width) == AWAKE)
        return 1;
    if (wake)
        return start(width);
    const int64_t now = now_ns(), since = now - pool.refused;
    pool.refused = now;
    if (since < FAST_NS && start(width) && readiness(width) == ASLEEP)
        rouse(width);
    return 0;
}

static void run_together(int width, frnn_task *task, void *argument)
{
    pool.task = task;
    pool.argument = argument;
    const turn before = atomic_load_explicit(&pool.turn, memory_order_relaxed);
    const turn now = (((before >> WIDTH_BITS) + 1) << WIDTH_BITS) | (turn)width;
    atomic_store(&pool.turn, now);
    if (readiness(width) == ASLEEP)
        rouse(width);
    task(argument, 0);
    int looks = 0;
    for (int w = 1; w < width; w++)
        while (atomic_load_explicit(&pool.last[w].ended, memory_order_acquire) != now)
            if (++looks > 16 * LOOKS)
                sched_yield();
            else
                vec_pause();
}

static int run(void *context, int width, int wake, frnn_task *task, void *argument)
{
    (void)context;
    if (width == 1) {
        task(argument, 0);
        return 1;
    }
    if (width > MOST_WORKERS || atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire))
        return 0;
    const int ready = get_ready(width, wake);
    if (ready)
        run_together(width, task, argument);
    atomic_flag_clear_explicit(&pool.busy, memory_order_release);
    return ready;
}

const frnn_executor *frnn_pool_executor(void)
{
    static const frnn_executor executor = {NULL, run, yield};
    /* Registered before anything can be held at a fork. Twice, by two threads, does no harm. */
    if (!atomic_load(&pool.forks_are_handled)) {
        if (pthread_atfork(NULL, NULL, begin_anew))
            return NULL;
        atomic_store(&pool.forks_are_handled, 1);
    }
    return &executor;
}

int frnn_pool_threads(void) { return atomic_load_explicit(&pool.started, memory_order_relaxed); }

#endif
