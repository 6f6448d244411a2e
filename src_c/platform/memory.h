/* SPDX-License-Identifier: MIT */
/* Aligned memory from the operating system, for stacks and workspaces. */
#ifndef FRNN_PLATFORM_MEMORY_H
#define FRNN_PLATFORM_MEMORY_H

#include <stddef.h>

/* Returns memory to be released by frnn_memory_free, or NULL if there is not enough. Blocks of
 * 2 MiB and more ask for large pages: reading a layer's weights then needs few TLB entries. */
void *frnn_memory_allocate(size_t bytes);
void frnn_memory_free(void *memory);

#endif
