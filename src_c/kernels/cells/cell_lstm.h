/* SPDX-License-Identifier: MIT */
/* LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000), gates i f g o. */
#ifndef FRNN_KERNELS_CELL_LSTM_H
#define FRNN_KERNELS_CELL_LSTM_H

enum { LSTM_SLOTS = 4 };

/* c = sigmoid(f) c + sigmoid(i) tanh(g), over one common denominator. pre: i f g o; c may be
 * c_before. record: leaves sigmoid(i), sigmoid(f), tanh(g) in pre. */
ALWAYS_INLINE void lstm_cell_state(float *pre, const float *c_before, float *c, const int record)
{
    const vec i_below = vec_gate_below(vec_load(pre));
    const vec f_below = vec_gate_below(vec_load(pre + LANES));
    const tanh_ratio g = vec_tanh_ratio(vec_load(pre + 2 * LANES));
    const vec ig_below = vec_mul(i_below, g.below);
    const vec above = vec_fma(vec_load(c_before), ig_below, vec_mul(g.above, f_below));
    const vec below = vec_mul(f_below, ig_below);
    vec_store(c, vec_div(above, below));
    if (record) {
        const vec inverse = vec_div(vec_set(1.0f), below), f_inverse = vec_mul(f_below, inverse);
        vec_store(pre, vec_mul(g.below, f_inverse));
        vec_store(pre + LANES, vec_mul(ig_below, inverse));
        vec_store(pre + 2 * LANES, vec_mul(g.above, vec_mul(i_below, f_inverse)));
    }
}

/* h = sigmoid(o) tanh(c), over another: with the above two divisions instead of five. record:
 * leaves sigmoid(o) in pre. */
ALWAYS_INLINE vec lstm_output(float *pre, const float *c, const int record)
{
    const vec o_below = vec_gate_below(vec_load(pre + 3 * LANES));
    const tanh_ratio t = vec_tanh_ratio(vec_load(c));
    if (record)
        vec_store(pre + 3 * LANES, vec_div(vec_set(1.0f), o_below));
    return vec_div(t.above, vec_mul(o_below, t.below));
}

/* Values of the gates, or gradients of their pre-activations. */
typedef struct {
    vec i, f, g, o;
} lstm_gates;

ALWAYS_INLINE lstm_gates lstm_load_gates(const float *gates)
{
    return (lstm_gates){vec_load(gates), vec_load(gates + LANES), vec_load(gates + 2 * LANES),
                        vec_load(gates + 3 * LANES)};
}

/* gate: their values; c_tanh = tanh(c); dh of h; *dc of c, turned into that of c_before. */
ALWAYS_INLINE lstm_gates lstm_gradient(lstm_gates gate, vec c_tanh, vec c_before, vec dh, vec *dc)
{
    const vec through_h = vec_tanh_gradient(vec_mul(dh, gate.o), c_tanh);
    const vec whole = vec_add(*dc, through_h);
    *dc = vec_mul(whole, gate.f);
    return (lstm_gates){vec_sigmoid_gradient(vec_mul(whole, gate.g), gate.i),
                        vec_sigmoid_gradient(vec_mul(whole, c_before), gate.f),
                        vec_tanh_gradient(vec_mul(whole, gate.i), gate.g),
                        vec_sigmoid_gradient(vec_mul(dh, c_tanh), gate.o)};
}

#endif
