/* SPDX-License-Identifier: MIT */
/* GRU (Cho et al. 2014): reset_after as in PyTorch and cuDNN, and the original, reset before. */
#ifndef FRNN_KERNELS_CELL_GRU_H
#define FRNN_KERNELS_CELL_GRU_H

enum { GRU_SLOTS = 4, GRU_RESET_SLOTS = 2 };

/* h = (1 - sigmoid(z)) tanh(n) + sigmoid(z) h over one common denominator; z_exp = exp(-z). */
ALWAYS_INLINE vec gru_blend(vec z_exp, vec n, vec h)
{
    const vec n_above = vec_expm1_twice(n);
    const vec n_below = vec_add(n_above, vec_set(2.0f));
    const vec above = vec_fma(h, n_below, vec_mul(z_exp, n_above));
    return vec_div(above, vec_mul(vec_add(vec_set(1.0f), z_exp), n_below));
}

/* n = n_x + sigmoid(r) n_h. gate: n_x r z n_h. */
ALWAYS_INLINE vec gru_finish(const vec *gate, vec h)
{
    const vec n = vec_add(gate[0], vec_div(gate[3], vec_gate_below(gate[1])));
    return gru_blend(vec_exp_minus(gate[2], GATE_LIMIT), n, h);
}

/* Returns sigmoid(r) h and leaves exp(-z) in z_exp[LANES]. gate: r z. */
ALWAYS_INLINE vec gru_reset_finish(const vec *gate, vec h, float *z_exp)
{
    vec_store(z_exp, vec_exp_minus(gate[1], GATE_LIMIT));
    return vec_div(h, vec_gate_below(gate[0]));
}

/* gate: n, whose recurrent product was taken of sigmoid(r) h. */
ALWAYS_INLINE vec gru_candidate_finish(const vec *gate, vec h, const float *z_exp)
{
    return gru_blend(vec_load(z_exp), gate[0], h);
}

#endif
