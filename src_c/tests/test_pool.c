/* SPDX-License-Identifier: MIT */
/* The thread pool: widths, refusals, sleep, many callers, fork, exit, idle CPU time, cost. */
#define _GNU_SOURCE
#include "../platform/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

enum { MOST = 8, CALLERS = 8, MS = 1000000 };

/* By default the thread sanitizer ends children that start threads, and the address sanitizer
 * reports threads that run at exit. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static const frnn_executor *pool;

/* More than the stack that the pool requests first: it must fall back to the system's default. */
_Thread_local char large[3 << 20];

static void pause_ns(long ns) { nanosleep(&(struct timespec){0, ns}, NULL); }

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Tasks ---------------------------------------------------------------------------------- */

/* A task that ends only when all workers are in it at the same time. */
typedef struct {
    int width;
    atomic_int arrived, visits[MOST];
} meeting;

static void meet(void *argument, int worker)
{
    meeting *m = argument;
    atomic_fetch_add(&m->visits[worker], 1);
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->width) pool->yield(pool->context);
}

/* Runs a meeting; returns 1 if it took place. Checks that each worker came once, or none at all. */
static int run_meeting(int width, int wake)
{
    meeting m = {.width = width};
    const int ran = pool->run(pool->context, width, wake, meet, &m);
    for (int w = 0; w < MOST; w++) CHECK(atomic_load(&m.visits[w]) == (ran && w < width));
    return ran;
}

/* The same for a call that may wake workers, repeated until it takes place: if the workers of a
 * meeting share CPUs, the pool refuses calls for a while. */
static int meet_in_the_end(int width)
{
    const double start = seconds(CLOCK_MONOTONIC);
    while (!run_meeting(width, 1)) {
        if (seconds(CLOCK_MONOTONIC) - start > 100)
            return 0;
        pause_ns(MS);
    }
    return 1;
}

static void nothing(void *argument, int worker)
{
    (void)argument;
    large[0] = (char)worker;
}

/* Waits until a call that may not wake workers is refused. */
static void let_sleep(int width)
{
    do pause_ns(5 * MS);
    while (pool->run(pool->context, width, 0, nothing, NULL));
}

/* ---- One caller ----------------------------------------------------------------------------- */

static void check_widths(void)
{
    const int widths[] = {1, 2, 3, 8, 1, 2, 8, 3, 2, 8};
    int most = 0;
    CHECK(frnn_pool_threads() == 0);
    for (int i = 0; i < 10; i++) {
        snprintf(check_case, sizeof check_case, "width %d", widths[i]);
        most = widths[i] > most ? widths[i] : most;
        for (int round = 0; round < 20; round++) CHECK(meet_in_the_end(widths[i]));
        CHECK(frnn_pool_threads() == most - 1);
    }
    CHECK(!pool->run(pool->context, 1 << 20, 1, nothing, NULL));
}

static void call_again(void *argument, int worker)
{
    if (pool->run(pool->context, 2, 1, nothing, NULL))
        atomic_fetch_add((atomic_int *)argument, 1 + worker);
}

static void check_nested(void)
{
    snprintf(check_case, sizeof check_case, "nested");
    atomic_int nested = 0;
    while (!pool->run(pool->context, 3, 1, call_again, &nested)) pause_ns(MS);
    CHECK(atomic_load(&nested) == 0);
}

static void check_sleep(void)
{
    snprintf(check_case, sizeof check_case, "sleep");
    CHECK(meet_in_the_end(3));
    let_sleep(3);
    for (int i = 0; i < 5; i++) { /* slow calls wake no workers */
        pause_ns(MS / 2);
        CHECK(!run_meeting(3, 0));
    }
    CHECK(meet_in_the_end(3));
    let_sleep(3);
    while (!run_meeting(3, 0)) continue; /* fast calls do */
    let_sleep(8);
    while (!run_meeting(8, 0)) continue;
}

static void check_idleness(void)
{
    snprintf(check_case, sizeof check_case, "idleness");
    CHECK(meet_in_the_end(MOST));
    let_sleep(MOST);
    pause_ns(50 * MS);
    const double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pause_ns(200 * MS);
    CHECK(seconds(CLOCK_PROCESS_CPUTIME_ID) - before < 0.02);
}

static void look_at_signals(void *argument, int worker)
{
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (worker > 0 && sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM) &&
        !sigismember(&blocked, SIGSEGV))
        atomic_fetch_add((atomic_int *)argument, 1);
}

static void check_signals(void)
{
    snprintf(check_case, sizeof check_case, "signals");
    atomic_int shielded = 0;
    while (!pool->run(pool->context, MOST, 1, look_at_signals, &shielded)) pause_ns(MS);
    CHECK(atomic_load(&shielded) == MOST - 1);
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    CHECK(!sigismember(&blocked, SIGINT));
}

/* A task in which worker 1 gives up its CPU while the others wait. */
static void be_kept(void *argument, int worker)
{
    atomic_int *back = argument;
    if (worker == 1) {
        pause_ns(10 * MS);
        atomic_store(back, 1);
    }
    while (!atomic_load(back)) pool->yield(pool->context);
}

static void check_left_alone(void)
{
    snprintf(check_case, sizeof check_case, "left alone");
    int left_alone = 0;
    for (int round = 0; round < 50 && !left_alone; round++) { /* repeated: the time may be over */
        CHECK(meet_in_the_end(2));
        for (int turns = 0; turns < 3 && !left_alone; turns++) {
            atomic_int back = 0;
            left_alone = !pool->run(pool->context, 2, 1, be_kept, &back);
        }
    }
    CHECK(left_alone);
    CHECK(meet_in_the_end(2));
}

/* ---- Many callers --------------------------------------------------------------------------- */

static atomic_int refusals;
static int runs_of_a_caller;

static void *call_often(void *argument)
{
    uint64_t seed = *(const uint64_t *)argument;
    for (int i = 0; i < runs_of_a_caller; i++)
        if (!run_meeting(1 + (int)random_below(&seed, 5), (int)random_below(&seed, 2)))
            atomic_fetch_add(&refusals, 1);
    return NULL;
}

static void check_callers(void)
{
    snprintf(check_case, sizeof check_case, "%d callers", CALLERS);
    pthread_t callers[CALLERS];
    uint64_t seeds[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        seeds[i] = (uint64_t)i;
        CHECK(!pthread_create(&callers[i], NULL, call_often, &seeds[i]));
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    CHECK(meet_in_the_end(MOST)); /* the pool is available again */
    printf("of %d runs by %d callers, %d were refused\n", CALLERS * runs_of_a_caller, CALLERS,
           atomic_load(&refusals));
}

/* ---- Processes ------------------------------------------------------------------------------ */

static int failed; /* in a child: the exit status */

/* Waits for a child and returns 1 if it exited with status 0. */
static int ended_well(pid_t child)
{
    int status = 1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A task that lasts until its second flag is set; it sets the first. */
static void last_until(void *argument, int worker)
{
    atomic_int *flags = argument;
    if (worker == 0)
        atomic_store(&flags[0], 1);
    while (!atomic_load(&flags[1])) pool->yield(pool->context);
}

static void *call_lasting(void *argument)
{
    while (!pool->run(pool->context, 3, 1, last_until, argument)) sched_yield();
    return NULL;
}

static void in_child(void)
{
    failed |= frnn_pool_threads() != 0;
    while (!run_meeting(3, 0)) continue; /* new threads must not take up the parent's task */
    failed |= !meet_in_the_end(MOST) || frnn_pool_threads() != MOST - 1;
    let_sleep(MOST);
    failed |= !meet_in_the_end(2);
    const pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(frnn_pool_threads() != 0 || !meet_in_the_end(4));
    failed |= !ended_well(grandchild);
    _exit(failed);
}

/* Forks while another thread is inside run: the child has a pool of its own. */
static void check_fork(void)
{
    snprintf(check_case, sizeof check_case, "fork inside run");
    atomic_int flags[2] = {0, 0};
    pthread_t caller;
    CHECK(!pthread_create(&caller, NULL, call_lasting, flags));
    while (!atomic_load(&flags[0])) sched_yield();
    const pid_t child = fork();
    if (child == 0)
        in_child();
    CHECK(!run_meeting(2, 1)); /* the parent's pool is still in use */
    CHECK(ended_well(child));
    atomic_store(&flags[1], 1);
    pthread_join(caller, NULL);
    CHECK(meet_in_the_end(MOST));
}

/* Forks at arbitrary moments of many runs. */
static void check_forks(void)
{
    snprintf(check_case, sizeof check_case, "fork at any moment");
    pthread_t caller;
    uint64_t seed = 77;
    CHECK(!pthread_create(&caller, NULL, call_often, &seed));
    for (int i = 0; i < 20; i++) {
        const pid_t child = fork();
        if (child == 0)
            _exit(!meet_in_the_end(3));
        CHECK(ended_well(child));
    }
    pthread_join(caller, NULL);
}

/* Calls exit() while workers run, spin and sleep. */
static void check_exit(void)
{
    fflush(stdout); /* otherwise each child would print the buffer again */
    for (int kind = 0; kind < 3; kind++) {
        snprintf(check_case, sizeof check_case, "exit %d", kind);
        const pid_t child = fork();
        if (child == 0) {
            static atomic_int flags[2];
            pthread_t caller;
            if (kind == 0) {
                failed |= pthread_create(&caller, NULL, call_lasting, flags);
                while (!atomic_load(&flags[0])) sched_yield();
            } else {
                failed |= !meet_in_the_end(3);
                if (kind == 2)
                    let_sleep(3);
            }
            exit(failed);
        }
        CHECK(ended_well(child));
    }
}

/* Runs before the process has threads, because a child could reuse their stacks. */
static void check_no_threads_left(void)
{
#if !defined(SANITIZED)
    snprintf(check_case, sizeof check_case, "no memory for threads");
    const pid_t child = fork();
    if (child == 0) {
        struct rlimit usual, none;
        getrlimit(RLIMIT_AS, &usual);
        none = usual;
        none.rlim_cur = 1;
        setrlimit(RLIMIT_AS, &none);
        failed |= run_meeting(3, 1) || frnn_pool_threads() != 0;
        setrlimit(RLIMIT_AS, &usual);
        failed |= !meet_in_the_end(3);
        _exit(failed);
    }
    CHECK(ended_well(child));
#endif
}

static void report_cost(void)
{
    enum { RUNS = 2000, ROUNDS = 20 };
    double best = 1.0;
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(meet_in_the_end(2));
        const double start = seconds(CLOCK_MONOTONIC);
        int ran = 0;
        for (int i = 0; i < RUNS; i++) ran += pool->run(pool->context, 2, 1, nothing, NULL);
        const double each = (seconds(CLOCK_MONOTONIC) - start) / RUNS;
        best = ran == RUNS && each < best ? each : best;
    }
    if (best < 1.0) /* otherwise other programs kept the workers off their CPUs throughout */
        printf("an empty task on 2 workers: %.0f ns\n", 1e9 * best);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    runs_of_a_caller = (int)(1 + 10000 / CALLERS / options.stride);
    pool = frnn_pool_executor();
    if (!CHECK(pool != NULL))
        return check_summary("test_pool");
    check_no_threads_left();
    check_widths();
    check_nested();
    check_sleep();
    check_signals();
    check_left_alone();
    check_idleness();
    check_callers();
    check_fork();
    check_forks();
    check_exit();
    report_cost();
    return check_summary("test_pool");
}
