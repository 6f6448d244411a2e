/* SPDX-License-Identifier: MIT */
/* Aligned memory for stacks and workspaces, where there is a system to ask. */
#ifndef FRNN_PLATFORM_MEMORY_H
#define FRNN_PLATFORM_MEMORY_H

#include <stddef.h>

/* Memory that frnn_memory_free releases; NULL when there is none. Blocks of megabytes ask for
 * large pages, so that a sweep over a layer's weights does not run out of TLB entries. */
void *frnn_memory_allocate(size_t bytes);
void frnn_memory_free(void *memory);

#endif
