/* SPDX-License-Identifier: MIT */
/* The pool of threads: a caller takes it, publishes a task, works along and waits for the others. */
#define _GNU_SOURCE /* for the names of threads */
#include "pool.h"

#if defined(_WIN32)

const frnn_executor *frnn_pool_executor(void) { return NULL; }
int frnn_pool_threads(void) { return 0; }

#else
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define ALWAYS_INLINE static inline
#include "../simd/thread.h"

enum {
    STACK_BYTES = 1 << 20,  /* with the thread-local variables of all libraries */
    LOOKS = 32,             /* between two looks at the clock, each of which costs dozens */
    WAIT_NS = 3 * 1000,     /* as in a pass: see core/sync.h */
    YIELD_NS = 20 * 1000,   /* who has spun so long may be keeping others from a CPU */
    SPIN_NS = 1000 * 1000,  /* covers what a program does between two steps of a stream */
    FAST_NS = 200 * 1000,   /* calls that follow each other so fast would find workers spinning */
    MEASURE_NS = 200 * 1000 /* between two measured turns, each of which costs 1 or 2 us */
};

/* A worker that is kept from its CPU makes all others wait. After a turn in which somebody had to
 * yield, another one is measured: each worker's time without a CPU. If that was so long that one
 * thread would do as well, callers are left alone for some time. */
enum {
    LEAST_LOSS_NS = 5 * 1000, /* less is an interrupt, or the measurement */
    ROUSE_NS = 100 * 1000,    /* what a sleeper may take to get a CPU that is free */
    ALONE_TIMES = 8           /* the turn that went so badly: to try again costs 1 / 8 */
};
static const int64_t LEAST_ALONE_NS = 2 * 1000 * 1000, MOST_ALONE_NS = (int64_t)4000 * 1000 * 1000;
/* The width times each worker's share of a CPU, since all wait for each, is to be more. */
static const double WORTH_IT = 1.3;

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
    int64_t alone_until; /* callers are left alone; 0: they are not */
    int64_t measured;    /* when a turn was last measured */
    int suspicious;      /* the last turn came to yielding, or none was run since a bad one */
    atomic_int started;
    atomic_int forks_are_handled;
    ALONE _Atomic turn turn; /* what spinning workers look at */
    frnn_task *task;
    void *argument;
    int64_t begun; /* when this turn began, if it is measured; else 0 */
    ALONE atomic_int yielded; /* somebody has, in this turn */
    ALONE pthread_mutex_t mutex; /* of sleeping and rousing */
    pthread_cond_t roused;
    ALONE atomic_uchar states[FRNN_MOST_WORKERS]; /* of worker w > 0 */
    struct {
        ALONE _Atomic turn ended; /* the turn that worker w ended last */
        int64_t lost;             /* of that turn, if it was measured: ns without a CPU */
    } last[FRNN_MOST_WORKERS];
} pool = {.busy = ATOMIC_FLAG_INIT,
          .mutex = PTHREAD_MUTEX_INITIALIZER,
          .roused = PTHREAD_COND_INITIALIZER};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void yield(void *context)
{
    (void)context;
    if (!atomic_load_explicit(&pool.yielded, memory_order_relaxed))
        atomic_store_explicit(&pool.yielded, 1, memory_order_relaxed);
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

/* Does a worker's part of a turn. */
static void take_part(int worker, int awake)
{
    const int64_t begun = pool.begun;
    if (begun == 0) {
        pool.task(pool.argument, worker);
        return;
    }
    const int64_t from = awake ? begun : begun + ROUSE_NS, ran = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    pool.task(pool.argument, worker);
    const int64_t until = now_ns();
    pool.last[worker].lost = until - from - (clock_ns(CLOCK_THREAD_CPUTIME_ID) - ran);
}

static void *work(void *argument)
{
    const int worker = (int)(intptr_t)argument;
#if defined(__APPLE__)
    pthread_setname_np("fastrnn");
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), "fastrnn");
    /* Not those of the thread that happened to call first: it may be tied to one. */
    cpu_set_t cpus;
    if (sched_getaffinity(getpid(), sizeof cpus, &cpus) == 0)
        sched_setaffinity(0, sizeof cpus, &cpus);
#endif
    atomic_store_explicit(&pool.states[worker], AWAKE, memory_order_relaxed);
    turn done = atomic_load_explicit(&pool.last[worker].ended, memory_order_relaxed);
    for (;;) {
        int awake = 1;
        for (; !spin(worker, done); awake = 0) sleep_until_roused(worker, done);
        done = atomic_load_explicit(&pool.turn, memory_order_acquire);
        take_part(worker, awake);
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
    size_t usual = STACK_BYTES;
    pthread_attr_getstacksize(&attributes, &usual);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const turn now = atomic_load_explicit(&pool.turn, memory_order_relaxed);
    atomic_store_explicit(&pool.last[worker].ended, now, memory_order_relaxed);
    atomic_store_explicit(&pool.states[worker], ROUSED, memory_order_relaxed);
    int failed = pthread_create(&thread, &attributes, work, (void *)(intptr_t)worker);
    if (failed == EINVAL) { /* thread-local variables leave too little of it */
        pthread_attr_setstacksize(&attributes, usual);
        failed = pthread_create(&thread, &attributes, work, (void *)(intptr_t)worker);
    }
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
    for (int w = 0; w < FRNN_MOST_WORKERS; w++)
        atomic_store_explicit(&pool.states[w], ABSENT, memory_order_relaxed);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.roused, NULL);
    pool.refused = pool.alone_until = 0;
    pool.suspicious = 0;
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

/* Whether a caller is better off alone, after a turn that others kept from their CPUs. */
static int is_left_alone(void)
{
    if (pool.alone_until != 0 && now_ns() < pool.alone_until)
        return 1;
    pool.alone_until = 0;
    return 0;
}

/* Whether a call may go ahead. One that may not wait for sleepers wakes them for those after it,
 * if they come fast: then it is worth a spinning CPU. */
static int get_ready(int width, int wake)
{
    if (is_left_alone())
        return 0;
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

/* After a measured turn: would one thread have done? */
static void judge(int width)
{
    const int64_t now = now_ns(), whole = now - pool.begun;
    double left = width;
    for (int w = 0; w < width; w++)
        if (pool.last[w].lost > LEAST_LOSS_NS)
            left *= 1 - (double)pool.last[w].lost / (double)whole;
    pool.measured = now;
    if (left > WORTH_IT)
        return;
    int64_t alone = whole * ALONE_TIMES;
    alone = alone < LEAST_ALONE_NS ? LEAST_ALONE_NS : alone > MOST_ALONE_NS ? MOST_ALONE_NS : alone;
    pool.alone_until = now + alone;
    pool.suspicious = 1; /* the first turn after this time is measured, too */
    pool.measured = 0;
}

static void wait_for_workers(int width, turn now)
{
    int64_t start = 0;
    int looks = 0;
    for (int w = 1; w < width; w++)
        while (atomic_load_explicit(&pool.last[w].ended, memory_order_acquire) != now) {
            vec_pause();
            if (++looks % LOOKS != 0)
                continue;
            const int64_t time = now_ns();
            if (start == 0)
                start = time;
            if (time - start > WAIT_NS)
                yield(NULL);
        }
}

static void run_together(int width, frnn_task *task, void *argument)
{
    pool.task = task;
    pool.argument = argument;
    pool.begun = 0;
    if (pool.suspicious) {
        const int64_t time = now_ns();
        pool.begun = time - pool.measured > MEASURE_NS ? time : 0;
    }
    atomic_store_explicit(&pool.yielded, 0, memory_order_relaxed);
    const turn before = atomic_load_explicit(&pool.turn, memory_order_relaxed);
    const turn now = (((before >> WIDTH_BITS) + 1) << WIDTH_BITS) | (turn)width;
    atomic_store(&pool.turn, now);
    if (readiness(width) == ASLEEP)
        rouse(width);
    take_part(0, 1);
    wait_for_workers(width, now);
    pool.suspicious = atomic_load_explicit(&pool.yielded, memory_order_relaxed);
    if (pool.begun != 0)
        judge(width);
}

static int run(void *context, int width, int wake, frnn_task *task, void *argument)
{
    (void)context;
    if (width == 1) {
        task(argument, 0);
        return 1;
    }
    if (width > FRNN_MOST_WORKERS || atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire))
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
