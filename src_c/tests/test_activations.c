/* SPDX-License-Identifier: MIT */
/* The elementwise functions of every float against double, in ulp: test_activations [stride [isa]].
 *
 * A stride of 1 tests all 2^32 floats. A stride of n tests every n-th magnitude with both signs,
 * and all floats near some values. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* Where the functions bend, saturate or have their largest errors. All floats near these are tested
 * whatever the stride. */
static const float dense[] = {0.0f, 1e-30f, 0.0625f, 0.1254f, 0.1733f, 0.3466f, 1.0f, 3.0f, 9.01f,
                              9.73f, 13.0f, 16.65f, 17.33f, 20.0f, 34.0f, 87.33f, 87.337f, 88.37f,
                              88.72f};

enum { BLOCK = 2048, MOST_ISAS = 8, FUNCTIONS = FRNN_FUNCTION_COUNT };
static const uint32_t INFINITE = 0x7f800000;

#define A 1.375 /* parameters; exact in float */
#define B 0.3125

static double relu(double x) { return fmax(x, 0.0); }
static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double elu(double x) { return x > 0.0 ? x : A * expm1(x); }
static double leaky_relu(double x) { return x > 0.0 ? x : A * x; }
static double silu(double x) { return x * sigmoid(x); }
static double gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2.0)); }
static double gelu_argument(double x) { return sqrt(8.0 / acos(-1.0)) * (x + 0.044715 * x * x * x); }
static double gelu_tanh(double x) { return x * sigmoid(gelu_argument(x)); }
static double softplus(double x)
{
    return A * x > 20.0 ? x : (fmax(A * x, 0.0) + log1p(exp(-fabs(A * x)))) / A;
}
static double hardtanh(double x) { return fmax(-B, fmin(A, x)); }
static double hardsigmoid(double x) { return fmax(0.0, fmin(1.0, x / 6.0 + 0.5)); }
static double mish(double x) { return x * tanh(fmax(x, 0.0) + log1p(exp(-fabs(x)))); }
static double softsign(double x) { return x / (1.0 + fabs(x)); }
static double hardswish(double x) { return x * hardsigmoid(x); }
static double scale(double x) { return (double)((float)x * (float)A) + B; }

/* Allowed beside the constant: the rounding of the argument of exp, in ulp of the result. */
static double none(double x) { return (void)x, 0.0; }
static double of_gelu(double x) { return 0.5 * x * x; }
static double of_gelu_tanh(double x) { return 3.0 * fabs(gelu_argument(x)); }
static double of_softplus(double x) { return x < 0.0 ? -2.0 * A * x : 0.0; }

/* The same limits as FUNCTION_ULP of tests/support/limits.py. That of sigmoid is near -16.6, where
 * 1 + exp(16.6) rounds to exp(16.6). Results below `smallest` times FLT_MIN may become zero. */
static const struct {
    frnn_parameters parameters;
    double (*value)(double x);
    double ulp;
    double (*more)(double x);
    double smallest;
} functions[FUNCTIONS] = {
    [FRNN_RELU] = {{0, 0}, relu, 0.0, none, 1.0},
    [FRNN_TANH] = {{0, 0}, tanh, 2.1, none, 1.0},
    [FRNN_SIGMOID] = {{0, 0}, sigmoid, 2.5, none, 1.0},
    [FRNN_ELU] = {{(float)A, 0}, elu, 2.5, none, 2.0},
    [FRNN_LEAKY_RELU] = {{(float)A, 0}, leaky_relu, 0.6, none, 1.0},
    [FRNN_SILU] = {{0, 0}, silu, 4.0, none, 128.0},
    [FRNN_GELU] = {{0, 0}, gelu, 7.0, of_gelu, 2.0},
    [FRNN_GELU_TANH] = {{0, 0}, gelu_tanh, 4.0, of_gelu_tanh, 128.0},
    [FRNN_SOFTPLUS] = {{(float)A, 20.0f}, softplus, 5.0, of_softplus, 2.0},
    [FRNN_HARDTANH] = {{(float)-B, (float)A}, hardtanh, 0.0, none, 1.0},
    [FRNN_HARDSIGMOID] = {{0, 0}, hardsigmoid, 1.5, none, 1.0},
    [FRNN_MISH] = {{0, 0}, mish, 5.0, none, 128.0},
    [FRNN_SOFTSIGN] = {{0, 0}, softsign, 2.0, none, 1.0},
    [FRNN_HARDSWISH] = {{0, 0}, hardswish, 3.0, none, 2.0},
    [FRNN_SCALE] = {{(float)A, (float)B}, scale, 0.6, none, 1.0},
};

typedef struct {
    double share, flushed; /* largest errors, of what is allowed; flushed: of small results */
    double ulp;            /* where share is largest */
    float at, flushed_at;
} worst;

/* Magnitudes, the same negated, and the true values. */
typedef struct {
    float x[2 * BLOCK];
    double wanted[2 * BLOCK];
    size_t count; /* of magnitudes */
} block;

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* 1 / ulp of a float of this magnitude, a normal number: 2^(23 - exponent). */
static double per_ulp(double value)
{
    uint64_t bits;
    double result;
    memcpy(&bits, &value, sizeof bits);
    bits = (uint64_t)(2 * 1023 + 23 - (int)(bits >> 52 & 0x7ff)) << 52;
    memcpy(&result, &bits, sizeof result);
    return result;
}

static void measure(worst *w, int function, const float *found, const block *b)
{
    const double smallest = functions[function].smallest * (double)FLT_MIN;
    for (size_t i = 0; i < 2 * b->count; i++) {
        const double wanted = b->wanted[i], size = fabs(wanted);
        const double error = fabs((double)found[i] - wanted);
        if (size < smallest) {
            if (!(error / smallest <= w->flushed))
                w->flushed = error / smallest, w->flushed_at = b->x[i];
            continue;
        }
        const double ulp = size > (double)FLT_MAX ? 0.0 : error * per_ulp(size);
        const double allowed = functions[function].ulp + functions[function].more((double)b->x[i]);
        const double share = ulp == 0.0 ? 0.0 : ulp / allowed;
        if (!(share <= w->share))
            w->share = share, w->ulp = ulp, w->at = b->x[i];
    }
}

/* Completes a block from its magnitudes and tests one function on it. */
static void run_block(block *b, int function, const frnn_isa *const *isas,
                      worst (*results)[FUNCTIONS])
{
    float y[2 * BLOCK];
    for (size_t i = 0; i < b->count; i++) b->x[b->count + i] = -b->x[i];
    for (size_t i = 0; i < 2 * b->count; i++)
        b->wanted[i] = functions[function].value((double)b->x[i]);
    for (int i = 0; isas[i]; i++) {
        frnn_apply(isas[i], (frnn_function)function, functions[function].parameters, y, b->x,
                   2 * b->count);
        measure(&results[i][function], function, y, b);
    }
}

/* Magnitudes [begin, end), given by their bits. sigmoid and tanh take all blocks of them, the other
 * functions every `sparse`-th. */
static void run_range(uint64_t begin, uint64_t end, unsigned stride, unsigned sparse,
                      const frnn_isa *const *isas, worst (*results)[FUNCTIONS])
{
    static block b;
    for (unsigned number = 0; begin < end; number++) {
        for (b.count = 0; b.count < BLOCK && begin < end; begin += stride)
            b.x[b.count++] = float_of((uint32_t)begin);
        for (int f = 0; f < FUNCTIONS; f++)
            if (f == FRNN_SIGMOID || f == FRNN_TANH || number % sparse == 0)
                run_block(&b, f, isas, results);
    }
}

/* Limits and NaN at every position of a vector and of a partial vector. */
static void check_limits(const frnn_isa *isa)
{
    snprintf(check_case, sizeof check_case, "%s limits", frnn_isa_name(isa));
    const float values[] = {INFINITY, -INFINITY, 0.0f, -0.0f, FLT_MAX, -FLT_MAX, NAN, -NAN};
    for (size_t count = 1; count <= 35; count++) {
        float x[35], s[35], t[35];
        for (size_t i = 0; i < count; i++) x[i] = values[(i + count) % 8];
        const frnn_parameters unused = {0, 0};
        frnn_apply(isa, FRNN_SIGMOID, unused, s, x, count);
        memcpy(t, x, sizeof t);
        frnn_apply(isa, FRNN_TANH, unused, t, t, count); /* in place */
        for (size_t i = 0; i < count; i++) {
            if (isnan(x[i])) {
                CHECK(isnan(s[i]) && isnan(t[i]));
                continue;
            }
            const float limit = x[i] == 0.0f ? 0.0f : copysignf(1.0f, x[i]);
            CHECK(t[i] == limit);
            if (limit < 0.0f)
                CHECK(s[i] >= 0.0f && s[i] < FLT_MIN);
            else
                CHECK(s[i] == (limit == 0.0f ? 0.5f : 1.0f));
        }
    }
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    static worst results[MOST_ISAS][FUNCTIONS];
    const frnn_isa *isas[MOST_ISAS + 1] = {NULL};
    for (int i = 0; i < MOST_ISAS && check_isa_at(&options, i); i++)
        check_limits(isas[i] = check_isa_at(&options, i));
    run_range(0, INFINITE, options.stride, 16, isas, results);
    for (size_t i = 0; i < sizeof dense / sizeof dense[0]; i++) {
        const uint64_t middle = bits_of(dense[i]), near = 8 * BLOCK;
        run_range(middle > near ? middle - near : 0, middle + near, 1, 1, isas, results);
    }
    for (int i = 0; isas[i]; i++)
        for (int f = 0; f < FUNCTIONS; f++) {
            const worst *w = &results[i][f];
            snprintf(check_case, sizeof check_case, "%s %s", frnn_isa_name(isas[i]),
                     frnn_function_name(isas[i], (frnn_function)f));
            printf("%s: %.4f ulp at %.9g, %.3f of the limit; small results: %.4f at %.9g\n",
                   check_case, w->ulp, (double)w->at, w->share, w->flushed, (double)w->flushed_at);
            CHECK(w->share <= 1.0);
            CHECK(w->flushed < 1.0);
        }
    return check_summary("test_activations");
}
