/* SPDX-License-Identifier: MIT */
/* Starts and joins threads for each run: slow, but simple enough to trust. */
#define _POSIX_C_SOURCE 200809L
#include "crew.h"

#include <pthread.h>
#include <sched.h>

enum { MOST_WORKERS = 64 };

typedef struct {
    frnn_task *task;
    void *argument;
    int worker;
    pthread_t thread;
} member;

static void *work(void *context)
{
    member *m = context;
    m->task(m->argument, m->worker);
    return NULL;
}

static int run(void *context, int width, int wake, frnn_task *task, void *argument)
{
    member members[MOST_WORKERS];
    (void)context, (void)wake;
    if (width > MOST_WORKERS)
        return 0;
    for (int w = 1; w < width; w++) {
        members[w] = (member){.task = task, .argument = argument, .worker = w};
        if (pthread_create(&members[w].thread, NULL, work, &members[w]) != 0)
            __builtin_trap(); /* the others already wait for it */
    }
    task(argument, 0);
    for (int w = 1; w < width; w++) pthread_join(members[w].thread, NULL);
    return 1;
}

static int refuse(void *context, int width, int wake, frnn_task *task, void *argument)
{
    (void)context, (void)width, (void)wake, (void)task, (void)argument;
    return 0;
}

static void yield(void *context)
{
    (void)context;
    sched_yield();
}

const frnn_executor crew_executor = {NULL, run, yield};
const frnn_executor crew_absent = {NULL, refuse, yield};
