/* SPDX-License-Identifier: MIT */
/* The thread pool: a caller takes it, publishes a task, does its share and waits for the rest. */
#define _GNU_SOURCE /* for pthread_setname_np */
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
    STACK_BYTES = 1 << 20,  /* includes the thread-local variables of all libraries */
    LOOKS = 32,             /* loads of a counter between two reads of the slower clock */
    WAIT_NS = 3 * 1000,     /* the same time as in a pass: see core/pass/sync.h */
    YIELD_NS = 20 * 1000,   /* a thread that has spun for this long may be holding up another */
    SPIN_NS = 1000 * 1000,  /* covers what a program does between two steps of a stream */
    FAST_NS = 200 * 1000,   /* calls at shorter intervals would find workers spinning */
    MEASURE_NS = 200 * 1000 /* between two measured turns, each of which costs 1 or 2 us */
};

/* A worker that loses its CPU to another program makes all others wait. After a turn in which a
 * worker yielded, a turn is measured: how long each worker was without a CPU. If one thread would
 * have been about as fast, callers run alone for some time. */
enum {
    LEAST_LOSS_NS = 5 * 1000, /* a shorter loss is an interrupt or an error of the measurement */
    ROUSE_NS = 100 * 1000,    /* the time that waking a thread may take on a free CPU */
    ALONE_TIMES = 8           /* times the duration of the slow turn: retrying costs 1/8 */
};
static const int64_t LEAST_ALONE_NS = 2 * 1000 * 1000, MOST_ALONE_NS = (int64_t)4000 * 1000 * 1000;
/* The speed-up below which callers run alone: the width times each worker's share of a CPU, as
 * every worker waits for the slowest. */
static const double WORTH_IT = 1.3;

/* States of a worker, ordered by how soon it can work. */
enum { ABSENT, ASLEEP, ROUSED, AWAKE };

/* A turn is one task: its number in the upper bits, its width in the lower ones. It is a single
 * word, so that a worker outside the width learns that from one load and touches nothing else:
 * nobody waits for it. A worker within the width always takes part before the next turn. */
enum { WIDTH_BITS = 16 };
typedef uint64_t turn;

#define ALONE _Alignas(128) /* begins a cache line of its own; CPUs fetch lines in pairs */

static struct {
    atomic_flag busy; /* held by the caller that runs; protects what is not atomic */
    int64_t refused;  /* when a call was last refused because workers slept */
    int64_t alone_until; /* until then callers run alone; 0: no limit */
    int64_t measured;    /* when a turn was last measured */
    int suspicious;      /* measure the next turn: a worker yielded, or callers have run alone */
    atomic_int started;
    atomic_int forks_are_handled;
    ALONE _Atomic turn turn; /* what spinning workers read */
    frnn_task *task;
    void *argument;
    int64_t begun; /* when this turn began, if it is measured; otherwise 0 */
    ALONE atomic_int yielded; /* 1 if any worker has yielded in this turn */
    ALONE pthread_mutex_t mutex; /* protects sleeping and waking */
    pthread_cond_t roused;
    ALONE atomic_uchar states[FRNN_MOST_WORKERS]; /* of worker w > 0 */
    struct {
        ALONE _Atomic turn ended; /* the last turn that worker w has finished */
        int64_t lost;             /* time without a CPU in that turn, if it was measured, in ns */
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

/* Spins until there is a turn for this worker; returns 0 if there is none within SPIN_NS. */
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

/* Sleeps until woken. A caller stores a turn, then reads the states. A worker stores its state,
 * then reads the turn. All four operations are seq_cst: with any weaker order both could miss the
 * other's store, and the worker would sleep through its turn. */
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

/* Runs a worker's share of the task, and measures its time without a CPU if asked to. */
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
    /* All CPUs of the process. The thread that started this one may be bound to a single CPU. */
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
    if (failed == EINVAL) { /* the thread-local variables leave too little of the stack */
        pthread_attr_setstacksize(&attributes, usual);
        failed = pthread_create(&thread, &attributes, work, (void *)(intptr_t)worker);
    }
    if (failed)
        atomic_store_explicit(&pool.states[worker], ABSENT, memory_order_relaxed);
    pthread_attr_destroy(&attributes);
    return !failed;
}

/* Starts the workers that are missing; returns 0 if the system refuses a thread. */
static int start(int width)
{
    int started = atomic_load_explicit(&pool.started, memory_order_relaxed);
    if (started >= width - 1)
        return 1;
    /* Workers block all signals, so that they reach the program's own threads. Faults stay
     * unblocked: they are handled by the thread that causes them. */
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

/* Resets the pool in the child of a fork, where its threads do not exist and nobody holds its
 * locks. Turns are not reset: a new worker starts after the last one. */
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

/* The state of the worker that is furthest from working. */
static int readiness(int width)
{
    int least = AWAKE;
    for (int w = 1; w < width; w++) {
        const int state = atomic_load(&pool.states[w]); /* see sleep_until_roused */
        least = state < least ? state : least;
    }
    return least;
}

/* Returns 1 while callers should run alone, after a turn in which workers lost their CPUs. */
static int is_left_alone(void)
{
    if (pool.alone_until != 0 && now_ns() < pool.alone_until)
        return 1;
    pool.alone_until = 0;
    return 0;
}

/* Returns 1 if a call may use the pool. A call that may not wait for sleeping workers wakes them
 * for the next calls, if calls follow each other quickly: then spinning is worth its cost. */
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

/* After a measured turn: decides whether callers should run alone for a while. */
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
    pool.suspicious = 1; /* so that the first turn after this time is measured */
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
    if (width > FRNN_MOST_WORKERS ||
        atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire))
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
    /* Registered before the pool can be in use at a fork. Two threads may both register it: the
     * second reset has no effect. */
    if (!atomic_load(&pool.forks_are_handled)) {
        if (pthread_atfork(NULL, NULL, begin_anew))
            return NULL;
        atomic_store(&pool.forks_are_handled, 1);
    }
    return &executor;
}

int frnn_pool_threads(void) { return atomic_load_explicit(&pool.started, memory_order_relaxed); }

#endif
