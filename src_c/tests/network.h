/* SPDX-License-Identifier: MIT */
/* A stack with random weights in guarded memory, for several tests. */
#ifndef FRNN_TESTS_NETWORK_H
#define FRNN_TESTS_NETWORK_H

#include <fastrnn.h>

#include "check.h"
#include "fence.h"

enum { NETWORK_MOST_PARTS = 8 };

/* Starts as {0}. Building another stack releases the last one. */
typedef struct {
    frnn_config config;
    frnn_weights weights[NETWORK_MOST_PARTS]; /* [num_layers * directions], as set */
    float *values;                            /* the memory of these weights */
    fence memory;                             /* of the stack */
    fence guarded[5];                         /* copies of the tensors while they are set */
    frnn_stack *stack;
} network;

/* Draws weights in the range of PyTorch's initialization and packs them from guarded memory, which
 * is then overwritten. bias: 0 for NULL biases. gap: bytes between the stack and its guard page. */
void network_build(network *n, const frnn_isa *isa, const frnn_config *config, int bias, size_t gap,
                   uint64_t *seed);
void network_free(network *n);

/* Sets check_case to the ISA and a text such as "lstm i5 h9 p3 l2 d2 b4 t7". */
void network_name_case(const frnn_isa *isa, const frnn_config *config, size_t batch, size_t steps);

#endif
