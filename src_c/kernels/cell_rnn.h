/* SPDX-License-Identifier: MIT */
/* RNN (Elman 1990): h = tanh(pre) or relu(pre). */
#ifndef FRNN_KERNELS_CELL_RNN_H
#define FRNN_KERNELS_CELL_RNN_H

enum { RNN_SLOTS = 1 };

ALWAYS_INLINE vec rnn_tanh_finish(const vec *gate) { return vec_tanh(gate[0]); }
ALWAYS_INLINE vec rnn_relu_finish(const vec *gate) { return vec_max(vec_zero(), gate[0]); }

#endif
