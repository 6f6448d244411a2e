/* SPDX-License-Identifier: MIT */
/* LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000), gates i f g o. */
#ifndef FRNN_KERNELS_CELL_LSTM_H
#define FRNN_KERNELS_CELL_LSTM_H

enum { LSTM_SLOTS = 4 };

/* c = sigmoid(f) c + sigmoid(i) tanh(g), over one common denominator. pre: i f g o; c: in place. */
ALWAYS_INLINE void lstm_cell_state(const float *pre, float *c)
{
    const vec i_below = vec_gate_below(vec_load(pre));
    const vec f_below = vec_gate_below(vec_load(pre + LANES));
    const tanh_ratio g = vec_tanh_ratio(vec_load(pre + 2 * LANES));
    const vec ig_below = vec_mul(i_below, g.below);
    const vec above = vec_fma(vec_load(c), ig_below, vec_mul(g.above, f_below));
    vec_store(c, vec_div(above, vec_mul(f_below, ig_below)));
}

/* h = sigmoid(o) tanh(c), over another: with the above two divisions instead of five. */
ALWAYS_INLINE vec lstm_output(const float *pre, const float *c)
{
    const vec o_below = vec_gate_below(vec_load(pre + 3 * LANES));
    const tanh_ratio t = vec_tanh_ratio(vec_load(c));
    return vec_div(t.above, vec_mul(o_below, t.below));
}

#endif
