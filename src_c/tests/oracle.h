/* SPDX-License-Identifier: MIT */
/* The expected results of a forward pass: plain loops in double, no code of the kernels. */
#ifndef FRNN_TESTS_ORACLE_H
#define FRNN_TESTS_ORACLE_H

#include <fastrnn.h>

/* What the tests know of a cell. */
typedef struct {
    const char *name;
    int gates; /* row blocks of PyTorch's weight matrices */
    int has_c; /* keeps a c beside h */
    int has_projection;
} oracle_cell;
extern const oracle_cell oracle_cells[FRNN_CELL_COUNT];

/* The kinds of layers to test: every cell, then those that may have a projection with one. */
typedef struct {
    frnn_cell cell;
    int projected;
} oracle_kind;
int oracle_kinds(void);
oracle_kind oracle_kind_at(int index);

/* R, the width of h. */
int oracle_output_size(const frnn_config *config);

/* The width of layer's input rows. */
int oracle_input_size(const frnn_config *config, int layer);

/* Computes y, hn and cn of frnn_forward for the inputs of call; writes nothing in call.
 * weights: [num_layers * directions]; y: [steps][batch][directions * R];
 * hn: [num_layers * directions][batch][R]; cn: [..][hidden_size], of cells that have c. */
void oracle_forward(const frnn_config *config, const frnn_weights *weights, const frnn_call *call,
                    double *y, double *hn, double *cn);

#endif
