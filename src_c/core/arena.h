/* SPDX-License-Identifier: MIT */
/* A bump allocator over the caller's memory. Without memory it only counts what would be taken. */
#ifndef FRNN_CORE_ARENA_H
#define FRNN_CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../kernels/table.h"
#include "sizes.h"

typedef struct {
    char *base; /* aligned; NULL to count */
    size_t used;
    int overflow;
} arena;

/* Bytes that the caller has to provide, at any alignment. */
static inline size_t arena_footprint(const arena *a) { return a->used + FRNN_ALIGNMENT; }

static inline arena arena_over(void *memory)
{
    const uintptr_t past = (uintptr_t)memory % FRNN_ALIGNMENT;
    return (arena){(char *)memory + (past ? FRNN_ALIGNMENT - past : 0), 0, 0};
}

/* Takes count elements of size bytes, aligned. NULL while counting. An overflow is remembered. */
static inline void *arena_take(arena *a, size_t count, size_t size)
{
    const size_t most = PTRDIFF_MAX / FRNN_ALIGNMENT * FRNN_ALIGNMENT - 2 * FRNN_ALIGNMENT;
    const size_t limit = most - a->used;
    if (a->overflow || (count > 0 && size > limit / count)) {
        a->overflow = 1;
        return NULL;
    }
    void *const taken = a->base ? a->base + a->used : NULL;
    const size_t bytes = count * size;
    a->used += (bytes + FRNN_ALIGNMENT - 1) / FRNN_ALIGNMENT * FRNN_ALIGNMENT;
    return taken;
}

/* The footprint of what an arena has counted, or FRNN_TOO_LARGE where that overflowed. */
static inline frnn_status arena_total(const arena *counted, size_t *bytes)
{
    if (counted->overflow)
        return FRNN_TOO_LARGE;
    *bytes = arena_footprint(counted);
    return FRNN_OK;
}

/* An arena over the caller's memory for an object of `needed` bytes. */
static inline frnn_status arena_begin(arena *a, void *memory, size_t bytes, size_t needed)
{
    if (!memory)
        return FRNN_BAD_ARGUMENT;
    if (bytes < needed)
        return FRNN_SMALL_MEMORY;
    *a = arena_over(memory);
    return FRNN_OK;
}

/* The same over zeroed memory. */
static inline frnn_status arena_begin_zeroed(arena *a, void *memory, size_t bytes, size_t needed)
{
    const frnn_status status = arena_begin(a, memory, bytes, needed);
    if (status == FRNN_OK)
        memset(memory, 0, needed);
    return status;
}

#endif
