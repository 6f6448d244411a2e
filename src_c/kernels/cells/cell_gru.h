/* SPDX-License-Identifier: MIT */
/* GRU (Cho et al. 2014): reset_after as in PyTorch and cuDNN, and the original, reset before. */
#ifndef FRNN_KERNELS_CELL_GRU_H
#define FRNN_KERNELS_CELL_GRU_H

enum { GRU_SLOTS = 4, GRU_RESET_SLOTS = 2 };

/* h = (1 - sigmoid(z)) tanh(n) + sigmoid(z) h over one common denominator; z_exp = exp(-z).
 * n_kept: where tanh(n) goes, or NULL. */
ALWAYS_INLINE vec gru_blend(vec z_exp, vec n, vec h, float *n_kept)
{
    const tanh_ratio t = vec_tanh_ratio(n);
    if (n_kept)
        vec_store(n_kept, vec_div(t.above, t.below));
    const vec above = vec_fma(h, t.below, vec_mul(z_exp, t.above));
    return vec_div(above, vec_mul(vec_add(vec_set(1.0f), z_exp), t.below));
}

/* sigmoid, from exp(-x). */
ALWAYS_INLINE vec gru_gate(vec x_exp)
{
    return vec_div(vec_set(1.0f), vec_add(vec_set(1.0f), x_exp));
}

/* The argument of n = tanh(n_x + sigmoid(r) n_h), left in place of n_x. pre: n_x r z n_h.
 * record: leaves sigmoid(r) in pre, too. */
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
        vec_store(pre + 2 * LANES, gru_gate(z_exp));
    return gru_blend(z_exp, vec_load(pre), h, record ? pre : NULL);
}

/* Returns sigmoid(r) h and leaves exp(-z) in z_exp. pre: r z; record: leaves their sigmoids. */
ALWAYS_INLINE vec gru_reset(float *pre, vec h, float *z_exp, const int record)
{
    const vec exp_z = vec_exp_minus(vec_load(pre + LANES), GATE_LIMIT);
    const vec r_below = vec_gate_below(vec_load(pre));
    vec_store(z_exp, exp_z);
    if (record) {
        vec_store(pre, vec_div(vec_set(1.0f), r_below));
        vec_store(pre + LANES, gru_gate(exp_z));
    }
    return vec_div(h, r_below);
}

/* pre: n, whose recurrent product was taken of sigmoid(r) h. record: leaves tanh(n) there. */
ALWAYS_INLINE vec gru_reset_output(float *pre, vec h, const float *z_exp, const int record)
{
    return gru_blend(vec_load(z_exp), vec_load(pre), h, record ? pre : NULL);
}

/* From dh of h = (1 - z) n + z h_before to the gradients of the pre-activations of n and z. */
ALWAYS_INLINE vec gru_gradient_n(vec dh, vec z, vec n)
{
    return vec_tanh_gradient(vec_fnma(dh, z, dh), n);
}
ALWAYS_INLINE vec gru_gradient_z(vec dh, vec z, vec n, vec h_before)
{
    return vec_sigmoid_gradient(vec_mul(dh, vec_sub(h_before, n)), z);
}

#endif
