/* SPDX-License-Identifier: MIT */
/* The expected results of a forward pass: plain loops in double, no code of the kernels. */
#ifndef FRNN_TESTS_ORACLE_H
#define FRNN_TESTS_ORACLE_H

#include <fastrnn.h>

/* The number of gates in PyTorch's weight matrices: 4 for LSTM, 3 for GRU, 1 for RNN. */
int oracle_gates(frnn_cell cell);

/* R, the width of h. */
int oracle_output_size(const frnn_config *config);

/* The width of layer's input rows. */
int oracle_input_size(const frnn_config *config, int layer);

/* Computes y, hn and cn of frnn_forward for the inputs of call; writes nothing in call.
 * weights: [num_layers * directions]; y: [steps][batch][directions * R];
 * hn: [num_layers * directions][batch][R]; cn: [..][hidden_size], LSTM only. */
void oracle_forward(const frnn_config *config, const frnn_weights *weights, const frnn_call *call,
                    double *y, double *hn, double *cn);

#endif
