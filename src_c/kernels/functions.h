/* SPDX-License-Identifier: MIT */
/* The elementwise functions and their gradients: the rows of the table's `function`.
 *
 * A row is the value at x and the gradient: dy times the derivative at x. a and b are the function's
 * parameters, see frnn_function. The formulas are those of FUNCTIONS in fastrnn/reference.py. */
#ifndef FRNN_KERNELS_FUNCTIONS_H
#define FRNN_KERNELS_FUNCTIONS_H

/* ---- Pieces ---------------------------------------------------------------------------------- */

/* `positive` where test > 0, otherwise `other`, which has to be finite where test > 0. */
ALWAYS_INLINE vec vec_choose(vec test, vec positive, vec other)
{
    const vec one = vec_set(1.0f), rest = vec_sub(one, vec_if_positive(test, one));
    return vec_fma(rest, other, vec_if_positive(test, positive));
}

ALWAYS_INLINE vec vec_bounded(vec x, float most)
{
    return vec_max(vec_set(-most), vec_min(vec_set(most), x));
}

/* exp(x) - 1 for x <= 0, exact to the last bits near zero too. */
ALWAYS_INLINE vec vec_expm1(vec x)
{
    const exp_minus e = vec_exp_minus_bounded(vec_sub(vec_zero(), x), EXP_LIMIT);
    return vec_fnma(e.scale, e.fall, vec_sub(e.scale, vec_set(1.0f)));
}

/* sigmoid(x) that reaches 0, where vec_sigmoid ends at 6e-39: x may be a large factor of it. */
ALWAYS_INLINE vec vec_sigmoid_to_zero(vec x)
{
    const vec one = vec_set(1.0f), e = vec_exp_minus(vec_abs(x), EXP_LIMIT);
    return vec_div(vec_choose(x, one, e), vec_add(one, e));
}

/* log(1 + e) for 0 <= e <= 1: 2 artanh(s) = 2 s (1 + s^2 p(s^2)), s = e / (2 + e) <= 1 / 3. p is a
 * minimax fit, relative error of the result 5e-9. */
ALWAYS_INLINE vec vec_log1p(vec e)
{
    const vec s = vec_div(e, vec_add(vec_set(2.0f), e)), s2 = vec_mul(s, s);
    vec p = vec_fma(s2, vec_set(0.140059965f), vec_set(0.140009021f));
    p = vec_fma(s2, p, vec_set(0.200107637f));
    p = vec_fma(s2, p, vec_set(0.333332081f));
    return vec_mul(vec_add(s, s), vec_fma(s2, p, vec_set(1.0f)));
}

/* The standard normal distribution: its density at x is c exp(-x^2 / 2), the part of it above |x| is
 * exp(-x^2 / 2) t p(t), t = 1 / (1 + 0.3 |x|). That is the form of Hastings 1955 (Abramowitz and
 * Stegun 7.1.26); p is a minimax fit, relative error 4e-9. */
typedef struct {
    vec density, below; /* below: the part of it below x */
} normal_parts;

ALWAYS_INLINE normal_parts vec_normal(vec x)
{
    static const float p[] = {-0.0205944521f, 0.112272414f, -0.227815064f, 0.191230974f,
                              -0.0789425171f, 0.0958863155f, 0.0784879186f, 0.110213242f,
                              0.119574632f, 0.119686537f};
    const vec one = vec_set(1.0f), half = vec_set(0.5f);
    const vec e = vec_exp_minus(vec_mul(half, vec_mul(x, x)), EXP_LIMIT);
    const vec t = vec_div(one, vec_fma(vec_set(0.3f), vec_abs(x), one));
    vec sum = vec_set(p[0]);
    UNROLL for (int i = 1; i < 10; i++) sum = vec_fma(sum, t, vec_set(p[i]));
    const vec above = vec_mul(e, vec_mul(t, sum));
    return (normal_parts){vec_mul(vec_set(0.398942280f), e),
                          vec_choose(x, vec_sub(one, above), above)};
}

ALWAYS_INLINE vec vec_elu_slope(vec x, vec a)
{
    const vec rising = vec_exp_minus(vec_abs(vec_min(vec_zero(), x)), EXP_LIMIT);
    return vec_choose(x, vec_set(1.0f), vec_mul(a, rising));
}

ALWAYS_INLINE vec vec_silu_slope(vec x)
{
    const vec y = vec_sigmoid_to_zero(x), rest = vec_sub(vec_set(1.0f), y);
    return vec_fma(vec_mul(vec_bounded(x, EXP_LIMIT), y), rest, y);
}

ALWAYS_INLINE vec vec_gelu_slope(vec x)
{
    const normal_parts n = vec_normal(x);
    return vec_fma(vec_bounded(x, EXP_LIMIT), n.density, n.below);
}

/* 0.5 (1 + tanh(z / 2)) is sigmoid(z): z = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
#define GELU_LINEAR 1.59576912f
#define GELU_CUBIC 0.0713548163f

ALWAYS_INLINE vec vec_gelu_sigmoid(vec x)
{
    const vec factor = vec_fma(vec_set(GELU_CUBIC), vec_mul(x, x), vec_set(GELU_LINEAR));
    return vec_sigmoid_to_zero(vec_mul(x, factor));
}

ALWAYS_INLINE vec vec_gelu_tanh_slope(vec x)
{
    const vec y = vec_gelu_sigmoid(x), rest = vec_gelu_sigmoid(vec_sub(vec_zero(), x));
    const vec near = vec_bounded(x, EXP_LIMIT);
    const vec dz = vec_fma(vec_set(3.0f * GELU_CUBIC), vec_mul(near, near), vec_set(GELU_LINEAR));
    return vec_fma(vec_mul(y, rest), vec_mul(near, dz), y);
}

ALWAYS_INLINE vec vec_softplus(vec x, vec beta, vec threshold)
{
    const vec z = vec_mul(beta, x), near = vec_min(threshold, z);
    const vec log = vec_log1p(vec_exp_minus(vec_abs(near), EXP_LIMIT));
    return vec_choose(vec_sub(z, threshold), x, vec_div(vec_add(vec_relu(near), log), beta));
}

ALWAYS_INLINE vec vec_softplus_slope(vec x, vec beta, vec threshold)
{
    const vec z = vec_mul(beta, x);
    return vec_choose(vec_sub(z, threshold), vec_set(1.0f), vec_sigmoid_to_zero(z));
}

/* tanh(log(1 + e^x)) = inside / (inside + rest), of terms that are finite for every x: with
 * e = exp(-|x|), both are divided by e^(2 x) where x > 0. */
typedef struct {
    vec inside, rest;
} mish_parts;

ALWAYS_INLINE mish_parts vec_mish_parts(vec x)
{
    const vec two = vec_set(2.0f), e = vec_exp_minus(vec_abs(x), EXP_LIMIT);
    return (mish_parts){vec_choose(x, vec_fma(two, e, vec_set(1.0f)), vec_mul(e, vec_add(e, two))),
                        vec_choose(x, vec_mul(two, vec_mul(e, e)), two)};
}

ALWAYS_INLINE vec vec_mish(vec x)
{
    const mish_parts m = vec_mish_parts(x);
    return vec_mul(x, vec_div(m.inside, vec_add(m.inside, m.rest)));
}

/* t + x (1 - t^2) sigmoid(x), t = tanh(log(1 + e^x)). */
ALWAYS_INLINE vec vec_mish_slope(vec x)
{
    const mish_parts m = vec_mish_parts(x);
    const vec one = vec_set(1.0f), whole = vec_add(m.inside, m.rest);
    const vec t = vec_div(m.inside, whole);
    const vec falling = vec_mul(vec_div(m.rest, whole), vec_add(one, t));
    const vec near = vec_bounded(x, EXP_LIMIT);
    return vec_fma(vec_mul(near, vec_sigmoid_to_zero(x)), falling, t);
}

ALWAYS_INLINE vec vec_softsign_slope(vec x)
{
    const vec part = vec_div(vec_set(1.0f), vec_add(vec_set(1.0f), vec_abs(x)));
    return vec_mul(part, part);
}

ALWAYS_INLINE vec vec_clamp(vec x, vec low, vec high) { return vec_min(high, vec_max(low, x)); }

/* x / 6 + 1 / 2, at least 0 and at most 1. */
ALWAYS_INLINE vec vec_hardsigmoid(vec x)
{
    const vec six = vec_set(6.0f);
    return vec_div(vec_clamp(vec_add(x, vec_set(3.0f)), vec_zero(), six), six);
}

/* x / 3 + 1 / 2 between -3 and 3; 0 below, 1 above. */
ALWAYS_INLINE vec vec_hardswish_slope(vec x)
{
    const vec near = vec_clamp(x, vec_set(-3.0f), vec_set(3.0f));
    const vec inside = vec_fma(near, vec_set(1.0f / 3.0f), vec_set(0.5f));
    const vec above = vec_choose(vec_sub(x, vec_set(3.0f)), vec_set(1.0f), inside);
    return vec_if_positive(vec_add(x, vec_set(3.0f)), above);
}

ALWAYS_INLINE vec vec_if_between(vec x, vec low, vec high, vec value)
{
    return vec_if_positive(vec_sub(x, low), vec_if_positive(vec_sub(high, x), value));
}

/* ---- Rows: name, value, gradient ------------------------------------------------------------- */

#define ROW(name, value, gradient)                                                                 \
    ALWAYS_INLINE vec name##_value(vec x, vec a, vec b) { return (void)a, (void)b, value; }        \
    ALWAYS_INLINE vec name##_gradient(vec dy, vec x, vec a, vec b)                                 \
    {                                                                                              \
        return (void)x, (void)a, (void)b, gradient;                                                \
    }                                                                                              \
    static void name##_map(float *y, const float *x, size_t count, frnn_parameters p)              \
    {                                                                                              \
        const vec a = vec_set(p.a), b = vec_set(p.b);                                              \
        for (; count >= LANES; count -= LANES, x += LANES, y += LANES)                             \
            vec_store(y, name##_value(vec_load(x), a, b));                                         \
        if (count > 0)                                                                             \
            vec_store_part(y, name##_value(vec_load_part(x, (int)count), a, b), (int)count);       \
    }                                                                                              \
    static void name##_back(float *dx, const float *dy, const float *x, size_t count,              \
                            frnn_parameters p)                                                     \
    {                                                                                              \
        const vec a = vec_set(p.a), b = vec_set(p.b);                                              \
        for (; count >= LANES; count -= LANES, x += LANES, dx += LANES, dy += LANES)               \
            vec_store(dx, name##_gradient(vec_load(dy), vec_load(x), a, b));                       \
        if (count > 0) {                                                                           \
            const int n = (int)count;                                                              \
            vec_store_part(dx, name##_gradient(vec_load_part(dy, n), vec_load_part(x, n), a, b),   \
                           n);                                                                     \
        }                                                                                          \
    }

ROW(relu, vec_relu_unsigned(x), vec_if_positive(x, dy))
ROW(tanh, vec_tanh(x), vec_tanh_gradient(dy, vec_tanh(x)))
ROW(sigmoid, vec_sigmoid(x), vec_sigmoid_gradient(dy, vec_sigmoid(x)))
ROW(elu, vec_choose(x, x, vec_mul(a, vec_expm1(vec_min(vec_zero(), x)))),
    vec_mul(dy, vec_elu_slope(x, a)))
ROW(leaky_relu, vec_choose(x, x, vec_mul(a, vec_min(vec_zero(), x))),
    vec_mul(dy, vec_choose(x, vec_set(1.0f), a)))
ROW(silu, vec_mul(x, vec_sigmoid_to_zero(x)), vec_mul(dy, vec_silu_slope(x)))
ROW(gelu, vec_mul(x, vec_normal(x).below), vec_mul(dy, vec_gelu_slope(x)))
ROW(gelu_tanh, vec_mul(x, vec_gelu_sigmoid(x)), vec_mul(dy, vec_gelu_tanh_slope(x)))
ROW(softplus, vec_softplus(x, a, b), vec_mul(dy, vec_softplus_slope(x, a, b)))
ROW(hardtanh, vec_clamp(x, a, b), vec_if_between(x, a, b, dy))
ROW(hardsigmoid,
    vec_hardsigmoid(x),
    vec_if_between(x, vec_set(-3.0f), vec_set(3.0f), vec_div(dy, vec_set(6.0f))))
ROW(mish, vec_mish(x), vec_mul(dy, vec_mish_slope(x)))
ROW(softsign, vec_div(x, vec_add(vec_set(1.0f), vec_abs(x))), vec_mul(dy, vec_softsign_slope(x)))
ROW(hardswish, vec_mul(x, vec_hardsigmoid(x)), vec_mul(dy, vec_hardswish_slope(x)))
ROW(scale, vec_add(vec_mul(a, x), b), vec_mul(a, dy))
#undef ROW

#define FUNCTION(name) {#name, name##_map, name##_back}

#endif
