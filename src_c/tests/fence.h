/* SPDX-License-Identifier: MIT */
/* Memory between two pages that trap: a read or write outside it ends the program by name. */
#ifndef FRNN_TESTS_FENCE_H
#define FRNN_TESTS_FENCE_H

#include <stddef.h>

/* One block at a time; taking again gives the last one up. */
typedef struct {
    unsigned char *span; /* what may be touched without a trap, [span_bytes] */
    size_t span_bytes;
    unsigned char *block; /* the memory handed out, [bytes] */
    size_t bytes;
} fence;

/* Ends the program with this text when a trap is hit; the text may change meanwhile. */
void fence_report_traps(const char *running);

/* bytes of memory filled with NaN, `gap` bytes before the page that traps, or after the one in
 * front when from_start is set. The bytes around them hold a pattern. */
void *fence_take(fence *f, size_t bytes, size_t gap, int from_start);

void fence_free(fence *f);

/* Is the pattern around the block whole? */
int fence_is_whole(const fence *f);

/* Is every byte of the block as fence_take left it? */
int fence_is_unwritten(const fence *f);

#endif
