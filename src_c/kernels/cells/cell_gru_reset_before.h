/* SPDX-License-Identifier: MIT */
/* GRU as Cho et al. 2014 wrote it, reset before the recurrent product of n: gates r z n.
 *
 * Two stages: r and z first, which leaves sigmoid(r) h, then n from that, and h. */
#ifndef FRNN_KERNELS_CELL_GRU_RESET_BEFORE_H
#define FRNN_KERNELS_CELL_GRU_RESET_BEFORE_H

#include "blend.h"

enum { RESET_SLOTS = 2, CANDIDATE_SLOTS = 1 };

/* Returns sigmoid(r) h and leaves exp(-z) in z_exp. pre: r z; record: leaves their sigmoids. */
ALWAYS_INLINE vec gru_reset(float *pre, vec h, float *z_exp, const int record)
{
    const vec exp_z = vec_exp_minus(vec_load(pre + LANES), GATE_LIMIT);
    const vec r_below = vec_gate_below(vec_load(pre));
    vec_store(z_exp, exp_z);
    if (record) {
        vec_store(pre, vec_div(vec_set(1.0f), r_below));
        vec_store(pre + LANES, sigmoid_of_exp(exp_z));
    }
    return vec_div(h, r_below);
}

ALWAYS_INLINE void reset_unit(const frnn_pass *a, const unit_place *at, const int part,
                              const int record)
{
    (void)part;
    store_y(a, at, gru_reset(at->pre, load_h_before(a, at), a->carried + at->place, record));
}

/* pre: n, whose recurrent product was taken of sigmoid(r) h. record: leaves tanh(n) there. */
ALWAYS_INLINE void candidate_unit(const frnn_pass *a, const unit_place *at, const int part,
                                  const int record)
{
    (void)part;
    const vec z_exp = vec_load(a->carried + at->place);
    store_y(a, at, vec_blend(z_exp, vec_load(at->pre), load_h_before(a, at),
                             record ? at->pre : NULL));
}

/* The whole dh stays in place of dh_in for the other stage. */
ALWAYS_INLINE void candidate_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const float *partner = a->partner_gates + gate_offset(a, at->row, at->panel, RESET_SLOTS);
    vec_store(a->dh + at->place, dh);
    store_dpre(a, at, CANDIDATE_SLOTS, 0,
               blend_gradient_n(dh, vec_load(partner + LANES), vec_load(at->gates)));
}

/* reset_dh: of sigmoid(r) h. */
ALWAYS_INLINE void reset_gradient(const frnn_gradient_pass *a, const gradient_place *at,
                                  vec reset_dh)
{
    const vec r = vec_load(at->gates), z = vec_load(at->gates + LANES);
    const vec n = vec_load(a->partner_gates + gate_offset(a, at->row, at->panel, CANDIDATE_SLOTS));
    const vec h = load_units(a, a->h_before[at->row], at->unit);
    const vec dh = vec_load(a->dh + at->place);
    store_in(a, at, vec_mul(r, h));
    store_dpre(a, at, RESET_SLOTS, 0, vec_sigmoid_gradient(vec_mul(reset_dh, h), r));
    store_dpre(a, at, RESET_SLOTS, 1, blend_gradient_z(dh, z, n, h));
    vec_store(a->dh + at->place, vec_fma(reset_dh, r, vec_mul(dh, z)));
}

FINISH(reset, RESET_SLOTS, reset_unit, 1)
FINISH(candidate, CANDIDATE_SLOTS, candidate_unit, 1)
GRADIENT(reset, RESET_SLOTS, reset_gradient)
GRADIENT(candidate, CANDIDATE_SLOTS, candidate_gradient)

#define GRU_RESET_BEFORE_CELL                                                                   \
    {                                                                                           \
        .gates = 3, .states = 1, .uses_h_before = 1, .stages = 2,                               \
        .stage = {{.slots = RESET_SLOTS, .x_gates = 2, .h_gates = 2,                            \
                   .x_gate = {0, 1}, .h_gate = {0, 1},                                          \
                   .finish_input = finish_nothing, .finish = finish_reset,                      \
                   .finish_recorded = finish_reset_recorded, .gradient = gradient_reset},       \
                  {.slots = CANDIDATE_SLOTS, .x_gates = 1, .h_gates = 1,                        \
                   .x_gate = {2}, .h_gate = {2},                                                \
                   .finish_input = finish_nothing, .finish = finish_candidate,                  \
                   .finish_recorded = finish_candidate_recorded,                                \
                   .gradient = gradient_candidate}},                                            \
    }

#endif
