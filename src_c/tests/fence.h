/* SPDX-License-Identifier: MIT */
/* Memory between two guard pages: an access to these ends the program and names the case. */
#ifndef FRNN_TESTS_FENCE_H
#define FRNN_TESTS_FENCE_H

#include <stddef.h>

/* Holds one block at a time; taking another one releases it. Starts as {0}. */
typedef struct {
    unsigned char *span; /* the accessible memory between the guard pages, [span_bytes] */
    size_t span_bytes;
    unsigned char *block; /* the memory handed out, [bytes] */
    size_t bytes;
} fence;

/* From now on, an access to a guard page prints this text and ends the program. The text may change
 * in the meantime. */
void fence_report_traps(const char *running);

/* Returns `bytes` bytes of memory filled with NaN. They end `gap` bytes before the guard page
 * behind them or, if from_start is set, begin `gap` bytes after the one in front of them. The bytes
 * around them hold a pattern. */
void *fence_take(fence *f, size_t bytes, size_t gap, int from_start);

void fence_free(fence *f);

/* Returns 1 if the pattern around the block is intact. */
int fence_is_whole(const fence *f);

/* Returns 1 if every byte of the block is as fence_take left it. */
int fence_is_unwritten(const fence *f);

#endif
