/* SPDX-License-Identifier: MIT */
/* Aligned memory from posix_memalign, or from malloc on Windows. */
#if !defined(_WIN32)
#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L
#include <sys/mman.h>
#endif
#include "memory.h"

#include <stdlib.h>

enum { CACHE_LINE = 64, LARGE_PAGE = 2 << 20 };

void *frnn_memory_allocate(size_t bytes)
{
#if defined(_WIN32)
    return malloc(bytes);
#else
    void *memory = NULL;
    const int large = bytes >= LARGE_PAGE;
    if (posix_memalign(&memory, large ? LARGE_PAGE : CACHE_LINE, bytes ? bytes : 1))
        return NULL;
#if defined(MADV_HUGEPAGE)
    if (large)
        madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
#endif
}

void frnn_memory_free(void *memory) { free(memory); }
