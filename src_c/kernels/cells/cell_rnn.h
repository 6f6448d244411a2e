/* SPDX-License-Identifier: MIT */
/* RNN (Elman 1990): h = tanh(pre) or relu(pre). */
#ifndef FRNN_KERNELS_CELL_RNN_H
#define FRNN_KERNELS_CELL_RNN_H

enum { RNN_SLOTS = 1 };

ALWAYS_INLINE vec rnn_tanh(const float *pre) { return vec_tanh(vec_load(pre)); }
ALWAYS_INLINE vec rnn_relu(const float *pre) { return vec_relu(vec_load(pre)); }

#endif
