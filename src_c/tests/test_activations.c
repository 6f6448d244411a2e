/* SPDX-License-Identifier: MIT */
/* sigmoid and tanh of every float against double, in ulp: test_activations [stride [isa]].
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
static const float dense[] = {0.0f, 1e-30f, 0.0625f, 0.1254f, 0.1733f, 0.3466f, 1.0f, 9.01f,
                              16.65f, 17.33f, 34.0f, 87.33f, 87.337f, 88.37f, 88.72f};

enum { BLOCK = 2048, MOST_ISAS = 8, SIGMOID = 0, TANH = 1, FUNCTIONS = 2 };
static const uint32_t INFINITE = 0x7f800000;
/* Largest errors, in ulp. That of sigmoid is near -16.6, where 1 + exp(16.6) rounds to exp(16.6).
 * Results below the smallest normal float may be flushed to zero. */
static const double most_ulp[FUNCTIONS] = {2.5, 2.1};
static const char *const names[FUNCTIONS] = {"sigmoid", "tanh"};

typedef struct {
    double ulp, flushed; /* largest errors; flushed: of results below FLT_MIN, in FLT_MIN */
    float ulp_at, flushed_at;
} worst;

/* Magnitudes, the same negated, and the true values. */
typedef struct {
    float x[2 * BLOCK];
    double wanted[FUNCTIONS][2 * BLOCK];
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

static void measure(worst *w, const float *found, const double *wanted, const float *x,
                    size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)found[i] - wanted[i]), size = fabs(wanted[i]);
        if (size < (double)FLT_MIN) {
            if (!(error / (double)FLT_MIN <= w->flushed))
                w->flushed = error / (double)FLT_MIN, w->flushed_at = x[i];
        } else if (!(error * per_ulp(size) <= w->ulp)) {
            w->ulp = error * per_ulp(size), w->ulp_at = x[i];
        }
    }
}

/* Completes a block from its magnitudes: one exp and one expm1 serve both functions and signs. */
static void complete(block *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const double x = (double)b->x[i], falling = exp(-x), rising = expm1(2.0 * fmin(x, 40.0));
        const double tangent = rising / (rising + 2.0);
        b->x[b->count + i] = -b->x[i];
        b->wanted[SIGMOID][i] = 1.0 / (1.0 + falling);
        b->wanted[SIGMOID][b->count + i] = falling / (1.0 + falling);
        b->wanted[TANH][i] = tangent;
        b->wanted[TANH][b->count + i] = -tangent;
    }
}

static void run_block(block *b, const frnn_isa *const *isas, worst (*results)[FUNCTIONS])
{
    float y[2 * BLOCK];
    complete(b);
    for (int i = 0; isas[i]; i++) {
        frnn_sigmoid(isas[i], y, b->x, 2 * b->count);
        measure(&results[i][SIGMOID], y, b->wanted[SIGMOID], b->x, 2 * b->count);
        frnn_tanh(isas[i], y, b->x, 2 * b->count);
        measure(&results[i][TANH], y, b->wanted[TANH], b->x, 2 * b->count);
    }
}

/* Magnitudes [begin, end), given by their bits. */
static void run_range(uint64_t begin, uint64_t end, unsigned stride, const frnn_isa *const *isas,
                      worst (*results)[FUNCTIONS])
{
    static block b;
    while (begin < end) {
        for (b.count = 0; b.count < BLOCK && begin < end; begin += stride)
            b.x[b.count++] = float_of((uint32_t)begin);
        run_block(&b, isas, results);
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
        frnn_sigmoid(isa, s, x, count);
        memcpy(t, x, sizeof t);
        frnn_tanh(isa, t, t, count); /* in place */
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
    run_range(0, INFINITE, options.stride, isas, results);
    for (size_t i = 0; i < sizeof dense / sizeof dense[0]; i++) {
        const uint64_t middle = bits_of(dense[i]), near = 8 * BLOCK;
        run_range(middle > near ? middle - near : 0, middle + near, 1, isas, results);
    }
    for (int i = 0; isas[i]; i++)
        for (int f = 0; f < FUNCTIONS; f++) {
            const worst *w = &results[i][f];
            printf("%s %s: %.4f ulp at %.9g; below FLT_MIN: %.4f FLT_MIN at %.9g\n",
                   frnn_isa_name(isas[i]), names[f], w->ulp, (double)w->ulp_at, w->flushed,
                   (double)w->flushed_at);
            snprintf(check_case, sizeof check_case, "%s %s", frnn_isa_name(isas[i]), names[f]);
            CHECK(w->ulp <= most_ulp[f]);
            CHECK(w->flushed < 1.0);
        }
    return check_summary("test_activations");
}
