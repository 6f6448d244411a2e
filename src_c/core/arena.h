/* SPDX-License-Identifier: MIT */
/* A bump allocator over the caller's memory; without memory it only counts what would be taken. */
#ifndef FRNN_CORE_ARENA_H
#define FRNN_CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "../kernels/table.h"

typedef struct {
    char *base; /* aligned; NULL to count */
    size_t used;
    int overflow;
} arena;

/* What an arena of `used` bytes needs of the caller, whose memory may have any alignment. */
static inline size_t arena_footprint(const arena *a) { return a->used + FRNN_ALIGNMENT; }

static inline arena arena_over(void *memory)
{
    const uintptr_t past = (uintptr_t)memory % FRNN_ALIGNMENT;
    return (arena){(char *)memory + (past ? FRNN_ALIGNMENT - past : 0), 0, 0};
}

/* count elements of size bytes, aligned; NULL while counting. Overflow sticks. */
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

#endif
