/* SPDX-License-Identifier: MIT */
/* Guarded memory from mmap and mprotect. */
#define _DEFAULT_SOURCE
#include "fence.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MARGIN = 256, POISON = 0xff }; /* four bytes of 0xff are a NaN */

static const char *running_text;

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(4);
}

static void report_trap(int number)
{
    (void)number;
    say(running_text);
    say(": access to memory outside a block\n");
    _exit(3);
}

void fence_report_traps(const char *running)
{
    running_text = running;
    signal(SIGSEGV, report_trap);
    signal(SIGBUS, report_trap);
}

void fence_free(fence *f)
{
    if (f->span)
        munmap(f->span - PAGE, f->span_bytes + 2 * PAGE);
    *f = (fence){NULL, 0, NULL, 0};
}

/* Makes room for bytes and margins. Pages are kept as long as they are large enough. */
static void fence_grow(fence *f, size_t bytes)
{
    const size_t wanted = (bytes + 2 * MARGIN + PAGE - 1) / PAGE * PAGE;
    if (f->span && wanted <= f->span_bytes)
        return;
    fence_free(f);
    unsigned char *const pages = mmap(NULL, wanted + 2 * PAGE, PROT_NONE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + PAGE, wanted, PROT_READ | PROT_WRITE)) {
        perror("fence");
        exit(2);
    }
    f->span = pages + PAGE;
    f->span_bytes = wanted;
}

/* The pattern fills MARGIN bytes on each side, fewer where a guard page is nearer. */
static unsigned char *margin_begin(const fence *f)
{
    return f->block - f->span > MARGIN ? f->block - MARGIN : f->span;
}

static unsigned char *margin_end(const fence *f)
{
    unsigned char *const end = f->span + f->span_bytes, *const after = f->block + f->bytes;
    return end - after > MARGIN ? after + MARGIN : end;
}

static unsigned char pattern(const unsigned char *at)
{
    return (unsigned char)((uintptr_t)at * 37 + 11);
}

void *fence_take(fence *f, size_t bytes, size_t gap, int from_start)
{
    fence_grow(f, bytes + gap);
    f->block = from_start ? f->span + gap : f->span + f->span_bytes - gap - bytes;
    f->bytes = bytes;
    for (unsigned char *p = margin_begin(f); p < f->block; p++) *p = pattern(p);
    for (unsigned char *p = f->block + bytes; p < margin_end(f); p++) *p = pattern(p);
    memset(f->block, POISON, bytes);
    return f->block;
}

int fence_is_whole(const fence *f)
{
    for (const unsigned char *p = margin_begin(f); p < f->block; p++)
        if (*p != pattern(p))
            return 0;
    for (const unsigned char *p = f->block + f->bytes; p < margin_end(f); p++)
        if (*p != pattern(p))
            return 0;
    return 1;
}

int fence_is_unwritten(const fence *f)
{
    for (size_t i = 0; i < f->bytes; i++)
        if (f->block[i] != POISON)
            return 0;
    return 1;
}
