/* SPDX-License-Identifier: MIT */
/* Functions of whole rows: softmax, its logarithm, layer norm, means and weighted sums over steps.
 *
 * A sum over a row has one order, which its length alone decides: several vectors in
 * parallel, in runs that start from zero. Their lanes are added in double. */
#ifndef FRNN_KERNELS_ROWS_H
#define FRNN_KERNELS_ROWS_H

#include <float.h>
#include <string.h>

enum {
    SUM_RUN = 32, /* terms of a run: rounding errors grow with runs, not with the row */
    SUM_SIDE = 4  /* parallel sums, which hide the latency of an addition */
};

/* The first n < LANES lanes of a; the others zero. */
ALWAYS_INLINE vec keep_first(vec a, int n)
{
    float lane[LANES];
    vec_store(lane, a);
    return vec_load_part(lane, n);
}

/* sum[0] becomes the sum of all: halves are added to halves, a short chain of additions. */
ALWAYS_INLINE void add_halves(double *sum, const int half)
{
    UNROLL for (int i = 0; i < half; i++) sum[i] += sum[i + half];
}

ALWAYS_INLINE double add_lanes(vec a)
{
    float lane[LANES];
    double sum[LANES];
    vec_store(lane, a);
    UNROLL for (int i = 0; i < LANES; i++) sum[i] = (double)lane[i];
    add_halves(sum, LANES / 2);
    add_halves(sum, LANES / 4);
    add_halves(sum, LANES / 8);
    add_halves(sum, LANES / 16);
    return sum[0];
}

/* ln s for s >= 1, good to 1e-12: s = 2^e m with m near 1, ln m = 2 artanh((m - 1) / (m + 1)). */
static double logarithm(double s)
{
    uint64_t bits;
    if (!(s <= DBL_MAX))
        return s;
    memcpy(&bits, &s, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951)
        m *= 0.5, exponent++;
    const double t = (m - 1.0) / (m + 1.0), t2 = t * t;
    double series = 0.0;
    for (int power = 15; power > 1; power -= 2) series = (series + 1.0 / power) * t2;
    return exponent * 0.6931471805599453 + 2.0 * t * (1.0 + series);
}

/* 1 / sqrt(v) by Newton's iteration from a guess good to 4 %, which each step squares. */
static double inverse_root(double v)
{
    uint64_t bits;
    double y;
    if (!(v > 0.0 && v <= DBL_MAX))
        return 1.0 / v;
    memcpy(&bits, &v, sizeof bits);
    bits = 0x5fe6eb50c7b537a9u - (bits >> 1);
    memcpy(&y, &bits, sizeof y);
    for (int i = 0; i < 5; i++) y *= 1.5 - 0.5 * v * y * y;
    return y;
}

static float largest(const float *x, size_t size)
{
    float most = x[0];
    size_t i = 0;
    if (size >= LANES) {
        float lane[LANES];
        vec top = vec_load(x);
        for (i = LANES; size - i >= LANES; i += LANES) top = vec_max(top, vec_load(x + i));
        vec_store(lane, top);
        UNROLL for (int j = 0; j < LANES; j++) most = lane[j] > most ? lane[j] : most;
    }
    for (; i < size; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* Terms of a row's sum. */
enum { TERM_EXP, TERM_DIFFERENCE, TERM_SQUARE };

/* exp(x - shift), also stored to y unless that is NULL; x - shift; or (x - shift)^2. */
ALWAYS_INLINE vec row_term(float *y, vec x, vec shift, int n, const int kind)
{
    vec term = vec_sub(x, shift);
    if (kind == TERM_EXP)
        term = vec_exp_minus(vec_sub(shift, x), EXP_LIMIT);
    if (kind == TERM_SQUARE)
        term = vec_mul(term, term);
    if (kind == TERM_EXP && y && n >= LANES)
        vec_store(y, term);
    if (kind == TERM_EXP && y && n < LANES)
        vec_store_part(y, term, n);
    return n < LANES ? keep_first(term, n) : term;
}

ALWAYS_INLINE vec load_first(const float *p, int n)
{
    return n >= LANES ? vec_load(p) : vec_load_part(p, n);
}

ALWAYS_INLINE double row_sum(float *y, const float *x, size_t size, float shift, const int kind)
{
    const vec by = vec_set(shift);
    vec total[SUM_SIDE], run[SUM_SIDE], rest = vec_zero();
    size_t i = 0;
    UNROLL for (int j = 0; j < SUM_SIDE; j++) total[j] = vec_zero();
    while (size - i >= SUM_SIDE * LANES) {
        UNROLL for (int j = 0; j < SUM_SIDE; j++) run[j] = vec_zero();
        for (int v = 0; v < SUM_RUN && size - i >= SUM_SIDE * LANES; v++, i += SUM_SIDE * LANES)
            UNROLL for (int j = 0; j < SUM_SIDE; j++) {
                const size_t at = i + (size_t)(j * LANES);
                run[j] = vec_add(run[j], row_term(y ? y + at : NULL, vec_load(x + at), by, LANES,
                                                  kind));
            }
        UNROLL for (int j = 0; j < SUM_SIDE; j++) total[j] = vec_add(total[j], run[j]);
    }
    for (; i < size; i += LANES) {
        const int n = size - i < LANES ? (int)(size - i) : LANES;
        rest = vec_add(rest, row_term(y ? y + i : NULL, load_first(x + i, n), by, n, kind));
    }
    return add_lanes(vec_add(rest, vec_add(vec_add(total[0], total[1]),
                                           vec_add(total[2], total[3]))));
}

static void softmax(float *y, const float *x, size_t size)
{
    const double sum = row_sum(y, x, size, largest(x, size), TERM_EXP);
    const vec share = vec_set((float)(1.0 / sum));
    size_t i = 0;
    for (; size - i >= LANES; i += LANES) vec_store(y + i, vec_mul(vec_load(y + i), share));
    if (i < size) {
        const int left = (int)(size - i);
        vec_store_part(y + i, vec_mul(vec_load_part(y + i, left), share), left);
    }
}

static void log_softmax(float *y, const float *x, size_t size)
{
    const float most = largest(x, size);
    const vec top = vec_set(most);
    const vec log = vec_set((float)logarithm(row_sum(NULL, x, size, most, TERM_EXP)));
    size_t i = 0;
    for (; size - i >= LANES; i += LANES)
        vec_store(y + i, vec_sub(vec_sub(vec_load(x + i), top), log));
    if (i < size) {
        const int left = (int)(size - i);
        vec_store_part(y + i, vec_sub(vec_sub(vec_load_part(x + i, left), top), log), left);
    }
}

/* The second sum corrects the rounding error of the first. */
static float row_mean(const float *x, size_t size)
{
    const double first = row_sum(NULL, x, size, 0.0f, TERM_DIFFERENCE) / (double)size;
    const float near = (float)first;
    return (float)((double)near + row_sum(NULL, x, size, near, TERM_DIFFERENCE) / (double)size);
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias,
                       size_t size, float eps)
{
    const float mean = row_mean(x, size);
    const double variance = row_sum(NULL, x, size, mean, TERM_SQUARE) / (double)size;
    const vec middle = vec_set(mean);
    const vec scale = vec_set((float)inverse_root(variance + (double)eps));
    for (size_t i = 0; i < size; i += LANES) {
        const int n = size - i < LANES ? (int)(size - i) : LANES;
        vec z = vec_mul(vec_sub(load_first(x + i, n), middle), scale);
        if (weight)
            z = vec_mul(z, load_first(weight + i, n));
        if (bias)
            z = vec_add(z, load_first(bias + i, n));
        if (n < LANES)
            vec_store_part(y + i, z, n);
        else
            vec_store(y + i, z);
    }
}

/* Of each row, with the statistics of each feature: x * scale + shift, both rounded once. */
static void batch_norm(const frnn_rows *rows, const frnn_batch_norm_call *c)
{
    enum { BLOCK = 256 }; /* features whose scale and shift are kept for all rows */
    float scale[BLOCK], shift[BLOCK];
    for (size_t first = 0; first < rows->size; first += BLOCK) {
        const size_t count = rows->size - first < BLOCK ? rows->size - first : BLOCK;
        for (size_t i = 0; i < count; i++) {
            const double mean = c->running_mean ? (double)c->running_mean[first + i] : 0.0;
            const double variance = c->running_var ? (double)c->running_var[first + i] : 1.0;
            const double factor = inverse_root(variance + c->eps) *
                                  (c->weight ? (double)c->weight[first + i] : 1.0);
            scale[i] = (float)factor;
            shift[i] = (float)((c->bias ? (double)c->bias[first + i] : 0.0) - mean * factor);
        }
        for (size_t row = 0; row < rows->rows; row++) {
            const float *const x = rows->x + (ptrdiff_t)row * rows->x_row + first;
            float *const y = rows->y + (ptrdiff_t)row * rows->y_row + first;
            for (size_t i = 0; i < count; i += LANES) {
                const int n = count - i < LANES ? (int)(count - i) : LANES;
                const vec z = vec_fma(load_first(x + i, n), load_first(scale + i, n),
                                      load_first(shift + i, n));
                if (n < LANES)
                    vec_store_part(y + i, z, n);
                else
                    vec_store(y + i, z);
            }
        }
    }
}

/* The sum over steps of adjacent vectors, of which the last one has n lanes, divided by a number; with
 * weights of the steps the weighted sum instead. */
ALWAYS_INLINE void sum_strip(float *y, const float *x, ptrdiff_t x_step, const float *weights,
                             size_t steps, float divisor, int n, const int vectors)
{
    vec total[4], run[4];
    UNROLL for (int v = 0; v < vectors; v++) total[v] = vec_zero();
    for (size_t step = 0; step < steps;) {
        UNROLL for (int v = 0; v < vectors; v++) run[v] = vec_zero();
        for (int i = 0; i < SUM_RUN && step < steps; i++, step++, x += x_step)
            UNROLL for (int v = 0; v < vectors; v++) {
                const vec term = vectors > 1 ? vec_load(x + v * LANES) : load_first(x, n);
                run[v] = weights ? vec_fma(term, vec_set(weights[step]), run[v])
                                 : vec_add(run[v], term);
            }
        UNROLL for (int v = 0; v < vectors; v++) total[v] = vec_add(total[v], run[v]);
    }
    UNROLL for (int v = 0; v < vectors; v++) {
        const vec result = weights ? total[v] : vec_div(total[v], vec_set(divisor));
        if (vectors == 1 && n < LANES)
            vec_store_part(y, result, n);
        else
            vec_store(y + v * LANES, result);
    }
}

ALWAYS_INLINE void sum_row(float *y, const float *x, ptrdiff_t x_step, const float *weights,
                           size_t steps, float divisor, size_t size)
{
    size_t i = 0;
    for (; size - i >= 4 * LANES; i += 4 * LANES)
        sum_strip(y + i, x + i, x_step, weights, steps, divisor, LANES, 4);
    for (; i < size; i += LANES) {
        const int n = size - i < LANES ? (int)(size - i) : LANES;
        sum_strip(y + i, x + i, x_step, weights, steps, divisor, n, 1);
    }
}

static void sum_steps(float *y, const float *x, ptrdiff_t x_step, size_t steps, size_t size,
                      float divisor)
{
    sum_row(y, x, x_step, NULL, steps, divisor, size);
}

static void weighted_sum(float *y, const float *x, ptrdiff_t x_step, const float *weights,
                         size_t steps, size_t size)
{
    sum_row(y, x, x_step, weights, steps, 1.0f, size);
}

#endif
