/* SPDX-License-Identifier: MIT */
/* Exponential, sigmoid and tanh on vectors.
 *
 * exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2 (Cody and Waite 1980); the polynomial of
 * expm1(r) is a weighted minimax fit, relative error 1.3e-8. */
#ifndef FRNN_KERNELS_ACTIVATION_H
#define FRNN_KERNELS_ACTIVATION_H

/* Bounds of an argument of exp: between them every result is a normal number. */
#define EXP_LIMIT 87.33f
/* sigmoid(-34) = 1.7e-15. With this bound the product of two sigmoid denominators and one of tanh
 * stays below 2^127, so that a cell can divide once for three gates. */
#define GATE_LIMIT 34.0f
/* tanh(9.02) is 1 in float. */
#define TANH_LIMIT 18.04f

typedef struct {
    vec scale, expm1_r; /* exp(x) = scale * (1 + expm1_r) */
} exp_parts;

ALWAYS_INLINE exp_parts vec_exp_parts(vec x)
{
    /* Adding 1.5 * 2^23 rounds to an integer; adding 127 more leaves 2^n's exponent in the low bits. */
    const vec round = vec_set(12582912.0f + 127.0f);
    const vec shifted = vec_fma(x, vec_set(1.44269504f), round);
    const vec n = vec_sub(shifted, round);
    const vec r = vec_fnma(n, vec_set(-2.12194440e-4f), vec_fnma(n, vec_set(0.693359375f), x));
    vec q = vec_set(1.3882517e-3f);
    q = vec_fma(q, r, vec_set(8.3665472e-3f));
    q = vec_fma(q, r, vec_set(4.1667201e-2f));
    q = vec_fma(q, r, vec_set(1.6666543e-1f));
    q = vec_fma(q, r, vec_set(4.9999998e-1f));
    return (exp_parts){vec_exponent(shifted), vec_fma(vec_mul(r, r), q, r)};
}

/* exp(-x), so that sigmoid(x) = 1 / (1 + exp(-x)); -x is bounded by limit from above. */
ALWAYS_INLINE vec vec_exp_minus(vec x, float limit)
{
    const vec bounded = vec_max(vec_set(-limit), vec_min(vec_set(EXP_LIMIT), x));
    const exp_parts e = vec_exp_parts(vec_sub(vec_zero(), bounded));
    return vec_fma(e.scale, e.expm1_r, e.scale);
}

/* 1 + exp(-x): the denominator of a gate inside a cell. */
ALWAYS_INLINE vec vec_gate_below(vec x)
{
    return vec_add(vec_set(1.0f), vec_exp_minus(x, GATE_LIMIT));
}

/* u = expm1(2 x), so that tanh(x) = u / (u + 2), exact to the last bits near zero too. */
ALWAYS_INLINE vec vec_expm1_twice(vec x)
{
    const vec twice = vec_add(x, x);
    const exp_parts e = vec_exp_parts(
        vec_max(vec_set(-TANH_LIMIT), vec_min(vec_set(TANH_LIMIT), twice)));
    return vec_fma(e.scale, e.expm1_r, vec_sub(e.scale, vec_set(1.0f)));
}

ALWAYS_INLINE vec vec_sigmoid(vec x)
{
    const vec one = vec_set(1.0f);
    return vec_div(one, vec_add(one, vec_exp_minus(x, EXP_LIMIT)));
}

ALWAYS_INLINE vec vec_tanh(vec x)
{
    const vec u = vec_expm1_twice(x);
    return vec_div(u, vec_add(u, vec_set(2.0f)));
}

/* The two functions over arrays, for tests and for layers that are nothing else. */
#define MAP(name, function)                                                           \
    static void name(float *y, const float *x, size_t count)                          \
    {                                                                                 \
        for (; count >= LANES; count -= LANES, x += LANES, y += LANES)                \
            vec_store(y, function(vec_load(x)));                                      \
        if (count > 0)                                                                \
            vec_store_part(y, function(vec_load_part(x, (int)count)), (int)count);    \
    }
MAP(sigmoid_map, vec_sigmoid)
MAP(tanh_map, vec_tanh)
#undef MAP

#endif
