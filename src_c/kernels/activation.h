/* SPDX-License-Identifier: MIT */
/* Exponential, sigmoid and tanh on vectors.
 *
 * exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2 (Cody and Waite 1980); the polynomial
 * of expm1(r) is a weighted minimax fit, relative error 1.3e-8. */
#ifndef FRNN_KERNELS_ACTIVATION_H
#define FRNN_KERNELS_ACTIVATION_H

/* Bounds of an argument of exp: 2^n is 0 at the lower one (n = -127) and finite at the upper. */
#define EXP_LIMIT 88.0f
/* sigmoid(-34) = 1.7e-15. With this bound the product of two sigmoid denominators and one of tanh
 * stays below 2^127, so that a cell can divide once for three gates. */
#define GATE_LIMIT 34.0f
/* tanh(9.02) is 1 in float. */
#define TANH_LIMIT 18.04f

/* exp(-x) = scale * (1 - fall). */
typedef struct {
    vec scale, fall;
} exp_minus;

ALWAYS_INLINE exp_minus vec_exp_minus_parts(vec x)
{
    /* Adding 1.5 * 2^23 rounds to an integer, 127 more leaves 2^n's exponent in the low bits. */
    const vec round = vec_set(12582912.0f + 127.0f);
    const vec shifted = vec_fnma(x, vec_set(1.44269504f), round);
    const vec n = vec_sub(shifted, round);
    /* s = x + n ln 2 = -r, so that the odd terms change their sign and nothing is negated. */
    const vec s = vec_fnma(n, vec_set(2.12194440e-4f), vec_fma(n, vec_set(0.693359375f), x));
    const vec s2 = vec_mul(s, s);
    const vec low = vec_fnma(s, vec_set(1.6666543e-1f), vec_set(4.9999998e-1f));
    const vec high = vec_fnma(s, vec_set(8.3665472e-3f), vec_set(4.1667201e-2f));
    const vec q = vec_fma(s2, vec_fma(s2, vec_set(1.3882517e-3f), high), low);
    return (exp_minus){vec_exponent(shifted), vec_fnma(s2, q, s)};
}

ALWAYS_INLINE exp_minus vec_exp_minus_bounded(vec x, float limit)
{
    return vec_exp_minus_parts(vec_max(vec_set(-limit), vec_min(vec_set(EXP_LIMIT), x)));
}

/* exp(-x); -x is bounded by limit from above. */
ALWAYS_INLINE vec vec_exp_minus(vec x, float limit)
{
    const exp_minus e = vec_exp_minus_bounded(x, limit);
    return vec_fnma(e.scale, e.fall, e.scale);
}

/* 1 + exp(-x), the denominator of sigmoid(x), rounded once. */
ALWAYS_INLINE vec vec_sigmoid_below(vec x, float limit)
{
    const exp_minus e = vec_exp_minus_bounded(x, limit);
    return vec_fnma(e.scale, e.fall, vec_add(vec_set(1.0f), e.scale));
}

ALWAYS_INLINE vec vec_gate_below(vec x) { return vec_sigmoid_below(x, GATE_LIMIT); }

/* tanh(x) = above / below: 1 - exp(-2 x), exact to the last bits near zero too, and
 * 1 + exp(-2 x). */
typedef struct {
    vec above, below;
} tanh_ratio;

ALWAYS_INLINE tanh_ratio vec_tanh_ratio(vec x)
{
    const exp_minus e = vec_exp_minus_parts(
        vec_max(vec_set(-TANH_LIMIT), vec_min(vec_set(TANH_LIMIT), vec_add(x, x))));
    const vec one = vec_set(1.0f);
    return (tanh_ratio){vec_fma(e.scale, e.fall, vec_sub(one, e.scale)),
                        vec_fnma(e.scale, e.fall, vec_add(one, e.scale))};
}

ALWAYS_INLINE vec vec_sigmoid(vec x)
{
    return vec_div(vec_set(1.0f), vec_sigmoid_below(x, EXP_LIMIT));
}

/* Of |x|, where the ratio is good to 2 ulp, with the sign put back. */
ALWAYS_INLINE vec vec_tanh(vec x)
{
    const tanh_ratio t = vec_tanh_ratio(vec_abs(x));
    return vec_copysign(vec_div(t.above, t.below), x);
}

/* From the gradient of y = sigmoid(x) or tanh(x) to that of x. */
ALWAYS_INLINE vec vec_sigmoid_gradient(vec dy, vec y)
{
    return vec_mul(dy, vec_fnma(y, y, y));
}
ALWAYS_INLINE vec vec_tanh_gradient(vec dy, vec y)
{
    return vec_fnma(vec_mul(dy, y), y, dy);
}

ALWAYS_INLINE vec vec_relu(vec x) { return vec_max(vec_zero(), x); }
/* With 0 for -0, as numpy's maximum(x, 0). */
ALWAYS_INLINE vec vec_relu_unsigned(vec x) { return vec_add(vec_relu(x), vec_zero()); }

#endif
