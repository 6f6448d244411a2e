/* SPDX-License-Identifier: MIT */
/* LSTM (Hochreiter and Schmidhuber 1997, forget gate of Gers et al. 2000), PyTorch's gates i f g o. */
#ifndef FRNN_KERNELS_CELL_LSTM_H
#define FRNN_KERNELS_CELL_LSTM_H

enum { LSTM_SLOTS = 4 };

/* c = sigmoid(f) c + sigmoid(i) tanh(g) over one common denominator, h = sigmoid(o) tanh(c) over
 * another: two divisions instead of five. gate: i f g o; c: [LANES], updated in place. */
ALWAYS_INLINE vec lstm_finish(const vec *gate, float *c)
{
    const vec i_below = vec_gate_below(gate[0]);
    const vec f_below = vec_gate_below(gate[1]);
    const vec g_above = vec_expm1_twice(gate[2]);
    const vec o_below = vec_gate_below(gate[3]);

    const vec ig_below = vec_mul(i_below, vec_add(g_above, vec_set(2.0f)));
    const vec above = vec_fma(vec_load(c), ig_below, vec_mul(g_above, f_below));
    const vec c_new = vec_div(above, vec_mul(f_below, ig_below));
    vec_store(c, c_new);

    const vec c_above = vec_expm1_twice(c_new);
    return vec_div(c_above, vec_mul(o_below, vec_add(c_above, vec_set(2.0f))));
}

#endif
