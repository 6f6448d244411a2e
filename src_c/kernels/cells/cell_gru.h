/* SPDX-License-Identifier: MIT */
/* GRU (Cho et al. 2014) with reset_after, as in PyTorch and cuDNN: gates r z n.
 *
 * n needs the parts of its sum separately: n = tanh(n_x + sigmoid(r) n_h). So there are four slots,
 * n_x r z n_h. x fills the first three and h the last three: both products are three gates wide. */
#ifndef FRNN_KERNELS_CELL_GRU_H
#define FRNN_KERNELS_CELL_GRU_H

#include "blend.h"

enum { GRU_SLOTS = 4 };

/* The argument of n = tanh(n_x + sigmoid(r) n_h), left in place of n_x. record: leaves sigmoid(r) in
 * pre, too. */
ALWAYS_INLINE void gru_candidate(float *pre, const int record)
{
    const vec r_below = vec_gate_below(vec_load(pre + LANES));
    if (record)
        vec_store(pre + LANES, vec_div(vec_set(1.0f), r_below));
    vec_store(pre, vec_add(vec_load(pre), vec_div(vec_load(pre + 3 * LANES), r_below)));
}

/* record: leaves tanh(n) and sigmoid(z) in pre. */
ALWAYS_INLINE vec gru_output(float *pre, vec h, const int record)
{
    const vec z_exp = vec_exp_minus(vec_load(pre + 2 * LANES), GATE_LIMIT);
    if (record)
        vec_store(pre + 2 * LANES, sigmoid_of_exp(z_exp));
    return vec_blend(z_exp, vec_load(pre), h, record ? pre : NULL);
}

ALWAYS_INLINE void gru_unit(const frnn_pass *a, const unit_place *at, const int part,
                            const int record)
{
    if (part == 0)
        gru_candidate(at->pre, record);
    else
        store_y(a, at, gru_output(at->pre, load_h_before(a, at), record));
}

/* n_h has no input part: its recurrent sum starts at the bias. */
static void finish_gru_input(const frnn_pass *a, int panel, int end)
{
    for (int p = panel; p < end; p++) {
        const vec n_h = vec_load(bias_at(a, p, GRU_SLOTS) + (GRU_SLOTS - 1) * LANES);
        for (int r = 0; r < a->rows; r++)
            vec_store(pre_at(a, p, r, GRU_SLOTS) + (GRU_SLOTS - 1) * LANES, n_h);
    }
}

ALWAYS_INLINE void gru_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const vec n = vec_load(at->gates), r = vec_load(at->gates + LANES);
    const vec z = vec_load(at->gates + 2 * LANES), n_h = vec_load(at->gates + 3 * LANES);
    const vec dn = blend_gradient_n(dh, z, n);
    store_dpre(a, at, GRU_SLOTS, 0, dn);
    store_dpre(a, at, GRU_SLOTS, 1, vec_sigmoid_gradient(vec_mul(dn, n_h), r));
    store_dpre(a, at, GRU_SLOTS, 2,
               blend_gradient_z(dh, z, n, load_units(a, a->h_before[at->row], at->unit)));
    store_dpre(a, at, GRU_SLOTS, 3, vec_mul(dn, r));
    vec_store(a->dh + at->place, vec_mul(dh, z));
}

FINISH(gru, GRU_SLOTS, gru_unit, 2)
GRADIENT(gru, GRU_SLOTS, gru_gradient)

#define GRU_CELL                                                                          \
    {                                                                                     \
        .gates = 3, .states = 1, .uses_h_before = 1, .stages = 1,                         \
        .stage = {{.slots = GRU_SLOTS, .x_gates = 3, .h_gates = 3,                        \
                   .x_gate = {2, 0, 1, -1}, .h_gate = {-1, 0, 1, 2},                      \
                   .finish_input = finish_gru_input, .finish = finish_gru,                \
                   .finish_recorded = finish_gru_recorded, .gradient = gradient_gru}},    \
    }

#endif
