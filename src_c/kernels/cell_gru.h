/* SPDX-License-Identifier: MIT */
/* GRU (Cho et al. 2014): reset_after as in PyTorch and cuDNN, and the original, reset before. */
#ifndef FRNN_KERNELS_CELL_GRU_H
#define FRNN_KERNELS_CELL_GRU_H

enum { GRU_SLOTS = 4, GRU_RESET_SLOTS = 2 };

/* h = (1 - sigmoid(z)) tanh(n) + sigmoid(z) h over one common denominator; z_exp = exp(-z). */
ALWAYS_INLINE vec gru_blend(vec z_exp, vec n, vec h)
{
    const tanh_ratio t = vec_tanh_ratio(n);
    const vec above = vec_fma(h, t.below, vec_mul(z_exp, t.above));
    return vec_div(above, vec_mul(vec_add(vec_set(1.0f), z_exp), t.below));
}

/* The argument of n = tanh(n_x + sigmoid(r) n_h), left in place of n_x. pre: n_x r z n_h. */
ALWAYS_INLINE void gru_candidate(float *pre)
{
    const vec r_below = vec_gate_below(vec_load(pre + LANES));
    vec_store(pre, vec_add(vec_load(pre), vec_div(vec_load(pre + 3 * LANES), r_below)));
}

ALWAYS_INLINE vec gru_output(const float *pre, vec h)
{
    return gru_blend(vec_exp_minus(vec_load(pre + 2 * LANES), GATE_LIMIT), vec_load(pre), h);
}

/* Returns sigmoid(r) h and leaves exp(-z) in z_exp. pre: r z. */
ALWAYS_INLINE vec gru_reset(const float *pre, vec h, float *z_exp)
{
    vec_store(z_exp, vec_exp_minus(vec_load(pre + LANES), GATE_LIMIT));
    return vec_div(h, vec_gate_below(vec_load(pre)));
}

/* pre: n, whose recurrent product was taken of sigmoid(r) h. */
ALWAYS_INLINE vec gru_reset_output(const float *pre, vec h, const float *z_exp)
{
    return gru_blend(vec_load(z_exp), vec_load(pre), h);
}

#endif
