/* SPDX-License-Identifier: MIT */
/* The blend of an old and a new value by one gate, as in a GRU's h and a coupled LSTM's c. */
#ifndef FRNN_KERNELS_BLEND_H
#define FRNN_KERNELS_BLEND_H

/* h = (1 - sigmoid(z)) tanh(n) + sigmoid(z) h over one common denominator; z_exp = exp(-z).
 * n_kept: where tanh(n) goes, or NULL. */
ALWAYS_INLINE vec vec_blend(vec z_exp, vec n, vec h, float *n_kept)
{
    const tanh_ratio t = vec_tanh_ratio(n);
    if (n_kept)
        vec_store(n_kept, vec_div(t.above, t.below));
    const vec above = vec_fma(h, t.below, vec_mul(z_exp, t.above));
    return vec_div(above, vec_mul(vec_add(vec_set(1.0f), z_exp), t.below));
}

/* sigmoid, from exp(-x). */
ALWAYS_INLINE vec sigmoid_of_exp(vec x_exp)
{
    return vec_div(vec_set(1.0f), vec_add(vec_set(1.0f), x_exp));
}

/* From dh of h = (1 - z) n + z h_before to the gradients of the pre-activations of n and z. */
ALWAYS_INLINE vec blend_gradient_n(vec dh, vec z, vec n)
{
    return vec_tanh_gradient(vec_fnma(dh, z, dh), n);
}
ALWAYS_INLINE vec blend_gradient_z(vec dh, vec z, vec n, vec h_before)
{
    return vec_sigmoid_gradient(vec_mul(dh, vec_sub(h_before, n)), z);
}

#endif
