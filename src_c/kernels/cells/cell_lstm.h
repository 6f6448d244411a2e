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

/* h = sigmoid(o) tanh(c), over another: with the above two divisions instead of five. o: the gate's
 * pre-activation. record: leaves sigmoid(o) there. */
ALWAYS_INLINE vec lstm_output(float *o, const float *c, const int record)
{
    const vec o_below = vec_gate_below(vec_load(o));
    const tanh_ratio t = vec_tanh_ratio(vec_load(c));
    if (record)
        vec_store(o, vec_div(vec_set(1.0f), o_below));
    return vec_div(t.above, vec_mul(o_below, t.below));
}

ALWAYS_INLINE void lstm_unit(const frnn_pass *a, const unit_place *at, const int part,
                             const int record)
{
    float *const c = a->state + at->in_state;
    if (part == 0)
        lstm_cell_state(at->pre, a->state_before + at->in_state, c, record);
    else
        store_y(a, at, lstm_output(at->pre + 3 * LANES, c, record));
}

/* From dh and the gradient of c to that of c before its gates: *dc is completed by what flows through
 * h. Leaves h in in_panels. o: the gate's value; returns the gradient of its pre-activation. */
ALWAYS_INLINE vec lstm_output_gradient(const frnn_gradient_pass *a, const gradient_place *at,
                                       vec o, vec dh, vec *dc)
{
    const vec t = vec_tanh(vec_load(a->state + at->in_state));
    *dc = vec_add(vec_load(a->dstate + at->in_state),
                  vec_tanh_gradient(vec_mul(dh, o), t));
    store_in(a, at, vec_mul(o, t));
    return vec_sigmoid_gradient(vec_mul(dh, t), o);
}

ALWAYS_INLINE void lstm_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const vec i = vec_load(at->gates), f = vec_load(at->gates + LANES);
    const vec g = vec_load(at->gates + 2 * LANES), o = vec_load(at->gates + 3 * LANES);
    vec dc;
    const vec d_o = lstm_output_gradient(a, at, o, dh, &dc);
    const vec c_before = vec_load(a->state_before + at->in_state);
    store_dpre(a, at, LSTM_SLOTS, 0, vec_sigmoid_gradient(vec_mul(dc, g), i));
    store_dpre(a, at, LSTM_SLOTS, 1, vec_sigmoid_gradient(vec_mul(dc, c_before), f));
    store_dpre(a, at, LSTM_SLOTS, 2, vec_tanh_gradient(vec_mul(dc, i), g));
    store_dpre(a, at, LSTM_SLOTS, 3, d_o);
    vec_store(a->dstate + at->in_state, vec_mul(dc, f));
}

FINISH(lstm, LSTM_SLOTS, lstm_unit, 2)
GRADIENT(lstm, LSTM_SLOTS, lstm_gradient)

#define LSTM_CELL                                                                           \
    {                                                                                       \
        .gates = 4, .states = 2, .has_projection = 1, .stages = 1,                          \
        .stage = {{.slots = LSTM_SLOTS, .x_gates = 4, .h_gates = 4,                         \
                   .x_gate = {0, 1, 2, 3}, .h_gate = {0, 1, 2, 3},                          \
                   .finish_input = finish_nothing, .finish = finish_lstm,                   \
                   .finish_recorded = finish_lstm_recorded, .gradient = gradient_lstm}},    \
    }

#endif
