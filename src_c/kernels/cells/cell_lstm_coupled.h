/* SPDX-License-Identifier: MIT */
/* LSTM with coupled input and forget gates (CIFG, Greff et al. 2015): f = 1 - i, gates i g o. */
#ifndef FRNN_KERNELS_CELL_LSTM_COUPLED_H
#define FRNN_KERNELS_CELL_LSTM_COUPLED_H

#include "blend.h"
#include "cell_lstm.h"

enum { COUPLED_SLOTS = 3 };

/* c = f c + (1 - f) tanh(g) with f = sigmoid(-i). pre: i g o; record: leaves exp(i), from
 * which the gradient takes both i and f without cancellation, and tanh(g) there. */
ALWAYS_INLINE void coupled_unit(const frnn_pass *a, const unit_place *at, const int part,
                                const int record)
{
    float *const pre = at->pre, *const c = a->state + at->in_state;
    if (part == 1) {
        store_y(a, at, lstm_output(pre + 2 * LANES, c, record));
        return;
    }
    const vec i_exp = vec_exp_minus(vec_sub(vec_zero(), vec_load(pre)), GATE_LIMIT);
    const vec c_before = vec_load(a->state_before + at->in_state);
    const vec g = vec_load(pre + LANES);
    vec_store(c, vec_blend(i_exp, g, c_before, record ? pre + LANES : NULL));
    if (record)
        vec_store(pre, i_exp);
}

ALWAYS_INLINE void coupled_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const vec i_exp = vec_load(at->gates), g = vec_load(at->gates + LANES);
    const vec f = sigmoid_of_exp(i_exp), i = vec_mul(i_exp, f);
    const vec c_before = vec_load(a->state_before + at->in_state);
    vec dc;
    const vec d_o = lstm_output_gradient(a, at, vec_load(at->gates + 2 * LANES), dh, &dc);
    store_dpre(a, at, COUPLED_SLOTS, 0,
               vec_mul(vec_mul(dc, vec_sub(g, c_before)), vec_mul(i, f)));
    store_dpre(a, at, COUPLED_SLOTS, 1, vec_tanh_gradient(vec_mul(dc, i), g));
    store_dpre(a, at, COUPLED_SLOTS, 2, d_o);
    vec_store(a->dstate + at->in_state, vec_mul(dc, f));
}

FINISH(coupled, COUPLED_SLOTS, coupled_unit, 2)
GRADIENT(coupled, COUPLED_SLOTS, coupled_gradient)

#define LSTM_COUPLED_CELL                                                                     \
    {                                                                                         \
        .gates = 3, .states = 2, .has_projection = 1, .stages = 1,                            \
        .stage = {{.slots = COUPLED_SLOTS, .x_gates = 3, .h_gates = 3,                        \
                   .x_gate = {0, 1, 2}, .h_gate = {0, 1, 2},                                  \
                   .finish_input = finish_nothing, .finish = finish_coupled,                  \
                   .finish_recorded = finish_coupled_recorded, .gradient = gradient_coupled}}, \
    }

#endif
