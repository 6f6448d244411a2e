/* SPDX-License-Identifier: MIT */
/* A stack with random weights in guarded memory, as several tests need it. */
#ifndef FRNN_TESTS_NETWORK_H
#define FRNN_TESTS_NETWORK_H

#include <fastrnn.h>

#include "check.h"
#include "fence.h"

enum { NETWORK_MOST_PARTS = 8 };

/* Starts as {0}; building again gives the last stack up. */
typedef struct {
    frnn_config config;
    frnn_weights weights[NETWORK_MOST_PARTS]; /* [num_layers * directions]: what was set */
    float *values;                            /* where they lie */
    fence memory;                             /* of the stack */
    fence guarded[5];                         /* of the tensors while they are set */
    frnn_stack *stack;
} network;

/* Draws weights in PyTorch's range, packs them from memory with traps around it, then spoils that
 * memory. bias: with biases or with NULL. gap: bytes between the stack and its trap. */
void network_build(network *n, const frnn_isa *isa, const frnn_config *config, int bias, size_t gap,
                   uint64_t *seed);
void network_free(network *n);

/* "lstm i5 h9 p3 l2 d2 b4 t7" into check_case, after the ISA's name. */
void network_name_case(const frnn_isa *isa, const frnn_config *config, size_t batch, size_t steps);

#endif
