/* SPDX-License-Identifier: MIT */
/* What a forward pass should give: plain loops in double, sharing nothing with the kernels. */
#ifndef FRNN_TESTS_ORACLE_H
#define FRNN_TESTS_ORACLE_H

#include <fastrnn.h>

/* Row blocks in PyTorch's weight matrices: 4 for LSTM, 3 for GRU, 1 for RNN. */
int oracle_gates(frnn_cell cell);

/* R, the width of h. */
int oracle_output_size(const frnn_config *config);

/* The width of layer's input rows. */
int oracle_input_size(const frnn_config *config, int layer);

/* Computes what frnn_forward leaves for the inputs of call; nothing of call is written.
 * weights: [num_layers * directions]; y: [steps][batch][directions * R];
 * hn: [num_layers * directions][batch][R]; cn: [..][hidden_size], of LSTM only. */
void oracle_forward(const frnn_config *config, const frnn_weights *weights, const frnn_call *call,
                    double *y, double *hn, double *cn);

#endif
