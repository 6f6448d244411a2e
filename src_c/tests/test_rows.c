/* SPDX-License-Identifier: MIT */
/* Functions of rows and of sequences against double, in guarded memory: test_rows [stride [isa]]. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fence.h"

enum { ROWS = 3, GAP = 2, MOST = 4099 };
static const double ULP = (double)FLT_EPSILON; /* of 1 */

static fence x_block, y_block, weight_block, bias_block, mean_block, var_block;

typedef enum { SOFTMAX, LOG_SOFTMAX, LAYER_NORM, KINDS } row_kind;
static const char *const names[KINDS] = {"softmax", "log softmax", "layer norm"};
static const float EPS = 1e-5f;

static float *take(fence *f, size_t floats, size_t kind)
{
    return fence_take(f, floats * sizeof(float), 0, (int)(kind % 2));
}

static frnn_status run(const frnn_isa *isa, row_kind kind, const frnn_rows *rows,
                       const float *weight, const float *bias)
{
    switch (kind) {
    case SOFTMAX: return frnn_softmax(isa, rows);
    case LOG_SOFTMAX: return frnn_log_softmax(isa, rows);
    default: return frnn_layer_norm(isa, rows, weight, bias, EPS);
    }
}

/* The difference from the largest value has an absolute error of half an ulp, which becomes a
 * relative error of its exp. Sums and the last product add a few ulp of the result. */
static void check_softmax_row(row_kind kind, const float *x, const float *y, size_t size)
{
    double top = (double)x[0], sum = 0.0;
    for (size_t i = 0; i < size; i++) top = fmax(top, (double)x[i]);
    for (size_t i = 0; i < size; i++) sum += exp((double)x[i] - top);
    for (size_t i = 0; i < size; i++) {
        const double below = top - (double)x[i], found = (double)y[i];
        if (kind == LOG_SOFTMAX) {
            const double wanted = -below - log(sum);
            CHECK(fabs(found - wanted) <= (2.0 - wanted) * ULP);
        } else {
            const double wanted = exp(-below) / sum;
            CHECK(fabs(found - wanted) <= wanted * (3.0 + below) * ULP + (double)FLT_MIN);
        }
    }
}

static void check_norm_row(const float *x, const float *y, const float *weight, const float *bias,
                           size_t size)
{
    double mean = 0.0, variance = 0.0, most = 0.0;
    for (size_t i = 0; i < size; i++) {
        mean += (double)x[i] / (double)size;
        most = fmax(most, fabs((double)x[i]));
    }
    for (size_t i = 0; i < size; i++) variance += pow((double)x[i] - mean, 2.0) / (double)size;
    const double scale = 1.0 / sqrt(variance + (double)EPS);
    for (size_t i = 0; i < size; i++) {
        const double w = weight ? (double)weight[i] : 1.0, b = bias ? (double)bias[i] : 0.0;
        const double z = ((double)x[i] - mean) * scale * w;
        CHECK(fabs((double)y[i] - z - b) <=
              (most * scale * fabs(w) + 4.0 * fabs(z) + fabs(z + b)) * ULP);
    }
}

static int same(const float *a, const float *b, size_t count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

/* Checks rows with gaps; in place and one by one the bits must be the same. */
static void check_rows(const frnn_isa *isa, row_kind kind, size_t size, uint64_t *seed)
{
    const size_t stride = size + GAP, floats = ROWS * stride;
    float *const x = take(&x_block, floats, size), *const y = take(&y_block, floats, size);
    float *const weight = size % 3 ? take(&weight_block, size, size) : NULL;
    float *const bias = size % 5 ? take(&bias_block, size, size) : NULL;
    const float scales[ROWS] = {1.0f, 30.0f, 1e-3f};
    snprintf(check_case, sizeof check_case, "%s %s of %zu", frnn_isa_name(isa), names[kind], size);
    for (size_t row = 0; row < ROWS; row++) random_fill(seed, x + row * stride, size, scales[row]);
    for (size_t i = 0; i < size && size % 7 == 0; i++) x[i] += 100.0f; /* a large mean */
    if (weight)
        random_fill(seed, weight, size, 2.0f);
    if (bias)
        random_fill(seed, bias, size, 2.0f);
    frnn_rows rows = {ROWS, size, x, (ptrdiff_t)stride, y, (ptrdiff_t)stride};
    CHECK(run(isa, kind, &rows, weight, bias) == FRNN_OK);
    CHECK(fence_is_whole(&x_block) && fence_is_whole(&y_block));
    for (size_t row = 0; row < ROWS; row++) {
        if (kind == LAYER_NORM)
            check_norm_row(x + row * stride, y + row * stride, weight, bias, size);
        else
            check_softmax_row(kind, x + row * stride, y + row * stride, size);
        CHECK(isnan(y[row * stride + size]) && isnan(y[row * stride + size + 1]));
    }
    rows.rows = 1, rows.y = x + stride, rows.x = x + stride;
    CHECK(run(isa, kind, &rows, weight, bias) == FRNN_OK);
    CHECK(same(x + stride, y + stride, size));
    x[size / 2] = NAN, x[2 * stride] = INFINITY;
    rows = (frnn_rows){1, size, x, 0, y, 0};
    CHECK(run(isa, kind, &rows, weight, bias) == FRNN_OK);
    for (size_t i = 0; i < size; i++) CHECK(isnan(y[i]));
    rows.x = x + 2 * stride;
    CHECK(run(isa, kind, &rows, weight, bias) == FRNN_OK && isnan(y[0]));
}

/* Values of -infinity, as masks have them, and values whose exp would overflow. */
static void check_extremes(const frnn_isa *isa)
{
    enum { SIZE = 19 };
    float x[SIZE], y[SIZE];
    for (int i = 0; i < SIZE; i++) x[i] = i % 2 ? -INFINITY : 3e38f;
    const frnn_rows rows = {1, SIZE, x, 0, y, 0};
    snprintf(check_case, sizeof check_case, "%s extremes", frnn_isa_name(isa));
    CHECK(frnn_softmax(isa, &rows) == FRNN_OK);
    for (int i = 0; i < SIZE; i++) CHECK(i % 2 ? y[i] == 0.0f : fabsf(y[i] - 0.1f) < 1e-7f);
    CHECK(frnn_log_softmax(isa, &rows) == FRNN_OK);
    for (int i = 0; i < SIZE; i++)
        CHECK(i % 2 ? isinf(y[i]) && y[i] < 0.0f : fabsf(y[i] + 2.30258509f) < 5e-7f);
    for (int i = 0; i < SIZE; i++) x[i] = 7.5f;
    CHECK(frnn_layer_norm(isa, &rows, NULL, NULL, 1e-5f) == FRNN_OK);
    for (int i = 0; i < SIZE; i++) CHECK(y[i] == 0.0f);
    CHECK(frnn_layer_norm(isa, &rows, NULL, NULL, 0.0f) == FRNN_OK); /* 0 / 0, as PyTorch */
    for (int i = 0; i < SIZE; i++) CHECK(isnan(y[i]));
    const float values[] = {-1.5f, 0.0f, -0.0f, 2.5f, INFINITY, -INFINITY, NAN};
    for (size_t count = 0; count <= SIZE; count++) {
        for (size_t i = 0; i < count; i++) x[i] = values[i % 7];
        memset(y, 0xff, sizeof y);
        frnn_apply(isa, FRNN_RELU, (frnn_parameters){0, 0}, y, x, count);
        for (size_t i = 0; i < count; i++)
            CHECK(isnan(x[i]) ? isnan(y[i]) : y[i] == fmaxf(x[i], 0.0f));
        CHECK(count == SIZE || isnan(y[count]));
    }
}

/* ---- Each feature by itself ------------------------------------------------------------------ */

/* Checks the three functions on rows with gaps, where the arrays of a feature may be missing. */
static void check_features(const frnn_isa *isa, size_t size, uint64_t *seed)
{
    const size_t stride = 2 * size + GAP;
    float *const x = take(&x_block, ROWS * stride, size);
    float *const y = take(&y_block, ROWS * stride, 1);
    float *const weight = take(&weight_block, size, 0), *const bias = take(&bias_block, size, 1);
    float *const mean = take(&mean_block, size, 1), *const var = take(&var_block, size, 0);
    const frnn_rows rows = {ROWS, size, x, (ptrdiff_t)stride, y, (ptrdiff_t)stride};
    snprintf(check_case, sizeof check_case, "%s features, %zu", frnn_isa_name(isa), size);
    for (size_t row = 0; row < ROWS; row++) random_fill(seed, x + row * stride, 2 * size, 2.0f);
    random_fill(seed, weight, size, 2.0f);
    random_fill(seed, bias, size, 2.0f);
    random_fill(seed, mean, size, 2.0f);
    for (size_t i = 0; i < size; i++) var[i] = fabsf(random_float(seed, 2.0f));
    for (int given = 0; given < 16; given++) {
        const frnn_batch_norm_call call = {
            given & 1 ? mean : NULL, given & 2 ? var : NULL, given & 4 ? weight : NULL,
            given & 8 ? bias : NULL, 1e-3};
        CHECK(frnn_batch_norm(isa, &rows, &call) == FRNN_OK);
        for (size_t i = 0; i < ROWS * size; i++) {
            const size_t at = i / size * stride + i % size, f = i % size;
            const double m = given & 1 ? (double)mean[f] : 0.0;
            const double v = given & 2 ? (double)var[f] : 1.0;
            const double w = given & 4 ? (double)weight[f] : 1.0;
            const double b = given & 8 ? (double)bias[f] : 0.0;
            const double scale = w / sqrt(v + 1e-3), wanted = ((double)x[at] - m) * scale + b;
            const double terms = (fabs((double)x[at]) + fabs(m)) * fabs(scale) + fabs(b);
            CHECK(fabs((double)y[at] - wanted) <= 2.0 * terms * ULP);
        }
    }
    for (size_t count = 1; count <= size; count += size > 1 ? size - 1 : 1) {
        CHECK(frnn_prelu(&rows, weight, count) == FRNN_OK);
        for (size_t i = 0; i < ROWS * size; i++) {
            const size_t at = i / size * stride + i % size;
            const float slope = count > 1 ? weight[i % size] : weight[0];
            CHECK(y[at] == (x[at] > 0.0f ? x[at] : slope * x[at]));
        }
    }
    for (int merging = FRNN_MERGE_SUM; merging <= FRNN_MERGE_MUL; merging++) {
        CHECK(frnn_merge(&rows, (frnn_merging)merging) == FRNN_OK);
        for (size_t i = 0; i < ROWS * size; i++) {
            const size_t at = i / size * stride + i % size;
            const float a = x[at], b = x[at + size], wanted[] = {a + b, (a + b) / 2.0f, a * b};
            CHECK(y[at] == wanted[merging]);
        }
    }
    CHECK(fence_is_whole(&x_block) && fence_is_whole(&y_block) && fence_is_whole(&weight_block));
    for (size_t row = 0; row < ROWS; row++) CHECK(isnan(y[row * stride + size]));
}

/* ---- Over time ------------------------------------------------------------------------------- */

static void check_sequences(const frnn_isa *isa, size_t steps, size_t size, uint64_t *seed)
{
    const size_t lengths[ROWS] = {steps, 0, steps / 2 + (steps > 0)};
    const size_t row = size + 1, step = ROWS * row, reversed = size / 2;
    float *const x = take(&x_block, steps * step, size), *y;
    frnn_sequences s = {steps, ROWS, size, x, (ptrdiff_t)step, (ptrdiff_t)row, lengths, NULL,
                        (ptrdiff_t)row};
    snprintf(check_case, sizeof check_case, "%s %zu steps of %zu", frnn_isa_name(isa), steps, size);
    for (size_t b = 0; b < ROWS; b++) /* x is NaN beyond a row's length */
        for (size_t t = 0; t < lengths[b]; t++)
            random_fill(seed, x + t * step + b * row, size, 3.0f);
    for (int function = 0; function < 4; function++) {
        s.y = y = take(&y_block, ROWS * row, size);
        CHECK((function == 0   ? frnn_pool_mean(isa, &s)
               : function == 1 ? frnn_pool_sum(isa, &s)
               : function == 2 ? frnn_pool_max(&s)
                               : frnn_last(&s, reversed)) == FRNN_OK);
        CHECK(fence_is_whole(&y_block));
        for (size_t b = 0; b < ROWS; b++, y += row) {
            CHECK(isnan(y[size]));
            for (size_t i = 0; i < size; i++) {
                double sum = 0.0, total = 0.0, most = lengths[b] ? -9.0 : 0.0, last = 0.0;
                for (size_t t = 0; t < lengths[b]; t++) {
                    const double value = (double)x[t * step + b * row + i];
                    sum += value, total += fabs(value), most = fmax(most, value);
                    last = i >= size - reversed && t > 0 ? last : value;
                }
                const double mean = lengths[b] ? sum / (double)lengths[b] : 0.0;
                const double found = (double)y[i];
                if (function == 0)
                    CHECK(fabs(found - mean) <= ULP * (total / fmax(1.0, (double)lengths[b]) * 4.0));
                else if (function == 1)
                    CHECK(fabs(found - sum) <= ULP * total * 4.0);
                else
                    CHECK(found == (function == 2 ? most : last));
            }
        }
    }
    if (steps > 0) { /* without lengths; NaN is the maximum */
        for (size_t i = 0; i < size; i++) x[(steps - 1) / 2 * step + i] = NAN;
        s.lengths = NULL, s.batch = 1, s.y = take(&y_block, row, size);
        CHECK(frnn_pool_max(&s) == FRNN_OK);
        for (size_t i = 0; i < size; i++) CHECK(isnan(s.y[i]));
        CHECK(frnn_pool_mean(isa, &s) == FRNN_OK);
        for (size_t i = 0; i < size; i++) CHECK(isnan(s.y[i]));
    }
}

/* Checks that each row is the sum of its steps by the softmax of their scores, which is found again
 * in double, and that nothing beyond a row's length is read. */
static void check_attention(const frnn_isa *isa, size_t steps, size_t size, uint64_t *seed)
{
    const size_t lengths[ROWS] = {steps, 0, (steps + 1) / 2}, row = size + GAP, step = ROWS * row;
    float *const x = take(&x_block, steps * step, size);
    float *const y = take(&y_block, ROWS * row, size);
    float *const weights = take(&weight_block, ROWS * steps, steps); /* the scores, before */
    double *const exact = malloc((ROWS * steps + 1) * sizeof *exact);
    snprintf(check_case, sizeof check_case, "%s attention, %zu steps of %zu", frnn_isa_name(isa),
             steps, size);
    if (!exact)
        abort();
    for (size_t b = 0; b < ROWS; b++) { /* x and scores are NaN beyond a row's length */
        for (size_t t = 0; t < lengths[b]; t++)
            random_fill(seed, x + t * step + b * row, size, 3.0f);
        random_fill(seed, weights + b * steps, lengths[b], b == 0 ? 30.0f : 1.0f);
    }
    for (size_t i = 0; i < ROWS * steps; i++) exact[i] = (double)weights[i];
    const frnn_sequences s = {steps, ROWS, size, x, (ptrdiff_t)step, (ptrdiff_t)row, lengths, y,
                              (ptrdiff_t)row};
    CHECK(frnn_attention_pool(isa, &s, weights) == FRNN_OK);
    CHECK(fence_is_whole(&y_block) && fence_is_whole(&weight_block));
    for (size_t b = 0; b < ROWS; b++) {
        const double *const e = exact + b * steps;
        double top = -INFINITY, total = 0.0;
        for (size_t t = 0; t < lengths[b]; t++) top = fmax(top, e[t]);
        for (size_t t = 0; t < lengths[b]; t++) total += exp(e[t] - top);
        for (size_t t = lengths[b]; t < steps; t++) CHECK(weights[b * steps + t] == 0.0f);
        for (size_t i = 0; i < size; i++) {
            double wanted = 0.0, terms = 0.0;
            for (size_t t = 0; t < lengths[b]; t++) {
                const double term = exp(e[t] - top) / total * (double)x[t * step + b * row + i];
                wanted += term, terms += fabs(term) * (6.0 + top - e[t]);
            }
            CHECK(fabs((double)y[b * row + i] - wanted) <= terms * ULP);
        }
        CHECK(isnan(y[b * row + size]));
    }
    free(exact);
}

/* The maximum or mean over each window, by its definition: its steps are counted one by one. */
static void check_windows(size_t steps, const frnn_windows *p, int is_mean, uint64_t *seed)
{
    enum { SIZE = 3 };
    const size_t windows = frnn_windows_steps(p, steps), lengths[ROWS] = {steps, 0, steps / 2};
    float *const x = take(&x_block, steps * ROWS * SIZE, steps);
    float *const y = take(&y_block, windows * ROWS * SIZE, steps);
    snprintf(check_case, sizeof check_case, "%s of %zu steps: kernel %d stride %d padding %d "
             "dilation %d%s%s", is_mean ? "avg pool" : "max pool", steps, p->kernel_size, p->stride,
             p->padding, p->dilation, p->ceil_mode ? " ceil" : "",
             p->count_include_pad ? " include" : "");
    const ptrdiff_t reach = (ptrdiff_t)p->dilation * (p->kernel_size - 1) + 1;
    const ptrdiff_t wide = (ptrdiff_t)steps;
    size_t begins = 0; /* of windows that fit, or with ceil_mode begin in x or its left padding */
    for (ptrdiff_t at = -p->padding; steps > 0 && reach <= wide + 2 * p->padding; at += p->stride)
        if (at + reach <= wide + p->padding || (p->ceil_mode && at < wide &&
                                                at - p->stride + reach < wide + p->padding))
            begins++;
        else
            break;
    CHECK(windows == begins);
    for (size_t b = 0; b < ROWS; b++)
        for (size_t t = 0; t < lengths[b]; t++)
            random_fill(seed, x + (t * ROWS + b) * SIZE, SIZE, 3.0f);
    const frnn_sequences s = {steps, ROWS, SIZE, x, ROWS * SIZE, SIZE, lengths, y, SIZE};
    CHECK((is_mean ? frnn_avg_pool : frnn_max_pool)(p, &s, ROWS * SIZE) == FRNN_OK);
    CHECK(fence_is_whole(&y_block));
    for (size_t b = 0; b < ROWS; b++)
        for (size_t w = 0; w < windows * SIZE; w++) {
            double most = -INFINITY, sum = 0.0, count = 0.0;
            for (ptrdiff_t k = 0; k < p->kernel_size; k++) {
                const ptrdiff_t first = (ptrdiff_t)(w / SIZE) * p->stride - p->padding;
                const ptrdiff_t t = first + k * p->dilation, end = (ptrdiff_t)lengths[b];
                count += p->count_include_pad ? t < end + p->padding : t >= 0 && t < end;
                if (t < 0 || t >= end)
                    continue;
                const double value = (double)x[((size_t)t * ROWS + b) * SIZE + w % SIZE];
                most = fmax(most, value), sum += value;
            }
            const double found = (double)y[(w / SIZE * ROWS + b) * SIZE + w % SIZE];
            if (w / SIZE >= frnn_windows_steps(p, lengths[b]))
                CHECK(found == 0.0);
            else if (is_mean)
                CHECK(fabs(found - sum / count) <= ULP * 15.0); /* of at most five values below 3 */
            else
                CHECK(found == most);
        }
}

static void check_embedding(void)
{
    const float table[4][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10, 11, 12}};
    const int64_t indices[] = {3, 0, 3}, bad[][3] = {{0, 4, 1}, {0, 1, -1}, {INT64_MIN, 0, 0}};
    float *const y = take(&y_block, 11, 0);
    const frnn_rows rows = {3, 3, NULL, 0, y, 4};
    snprintf(check_case, sizeof check_case, "embedding");
    for (int i = 0; i < 3; i++)
        CHECK(frnn_embedding(table[0], 4, bad[i], &rows) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_embedding(NULL, 4, indices, &rows) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_embedding(table[0], 4, NULL, &rows) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_embedding(table[0], 4, indices, NULL) == FRNN_BAD_ARGUMENT);
    const frnn_rows no_y = {3, 3, NULL, 0, NULL, 4}, empty = {3, 0, NULL, 0, NULL, 4};
    const frnn_rows none = {0, 3, NULL, 0, NULL, 4};
    CHECK(frnn_embedding(table[0], 4, indices, &no_y) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_embedding(NULL, 4, indices, &empty) == FRNN_OK);
    CHECK(frnn_embedding(NULL, 4, NULL, &none) == FRNN_OK);
    CHECK(fence_is_unwritten(&y_block));
    CHECK(frnn_embedding(table[0], 4, indices, &rows) == FRNN_OK && fence_is_whole(&y_block));
    for (int i = 0; i < 3; i++) CHECK(same(y + 4 * i, table[indices[i]], 3));
    CHECK(isnan(y[3]) && isnan(y[7]));
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void check_errors(const frnn_isa *isa)
{
    float x[4] = {0.0f}, y[4];
    snprintf(check_case, sizeof check_case, "%s errors", frnn_isa_name(isa));
    for (int kind = 0; kind < KINDS; kind++) {
        const frnn_rows no_x = {2, 2, NULL, 2, y, 2}, no_y = {2, 2, x, 2, NULL, 2};
        const frnn_rows none = {0, 2, NULL, 0, NULL, 0}, empty = {2, 0, NULL, 0, NULL, 0};
        CHECK(run(isa, (row_kind)kind, NULL, NULL, NULL) == FRNN_BAD_ARGUMENT);
        CHECK(run(NULL, (row_kind)kind, &none, NULL, NULL) == FRNN_BAD_ARGUMENT);
        CHECK(run(isa, (row_kind)kind, &no_x, NULL, NULL) == FRNN_BAD_ARGUMENT);
        CHECK(run(isa, (row_kind)kind, &no_y, NULL, NULL) == FRNN_BAD_ARGUMENT);
        CHECK(run(isa, (row_kind)kind, &none, NULL, NULL) == FRNN_OK);
        CHECK(run(isa, (row_kind)kind, &empty, NULL, NULL) == FRNN_OK);
    }
    const frnn_rows rows = {2, 2, x, 2, y, 2}, no_x = {2, 2, NULL, 2, y, 2};
    const frnn_rows no_y = {2, 2, x, 2, NULL, 2}, none = {0, 2, NULL, 0, NULL, 0};
    const frnn_rows empty = {2, 0, NULL, 0, NULL, 0};
    CHECK(frnn_layer_norm(isa, &rows, NULL, NULL, -1.0f) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_layer_norm(isa, &rows, NULL, NULL, NAN) == FRNN_BAD_ARGUMENT);
    const frnn_batch_norm_call norm = {.eps = 0.0}, negative = {.eps = -1e-9}, odd = {.eps = NAN};
    CHECK(frnn_batch_norm(isa, &rows, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_batch_norm(isa, &rows, &negative) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_batch_norm(isa, &rows, &odd) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_batch_norm(NULL, &rows, &norm) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_batch_norm(isa, &no_x, &norm) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_batch_norm(isa, &rows, &norm) == FRNN_OK);
    const frnn_rows *const bad_rows[] = {NULL, &no_x, &no_y}, *const nothing[] = {&none, &empty};
    for (int i = 0; i < 3; i++) {
        CHECK(frnn_prelu(bad_rows[i], x, 1) == FRNN_BAD_ARGUMENT);
        CHECK(frnn_merge(bad_rows[i], FRNN_MERGE_SUM) == FRNN_BAD_ARGUMENT);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(frnn_prelu(nothing[i], x, 1) == FRNN_OK);
        CHECK(frnn_merge(nothing[i], FRNN_MERGE_MUL) == FRNN_OK);
    }
    CHECK(frnn_prelu(&rows, NULL, 1) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_prelu(&rows, x, 0) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_prelu(&rows, x, 3) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_merge(&rows, (frnn_merging)3) == FRNN_BAD_ARGUMENT);
}

static void check_sequence_errors(const frnn_isa *isa)
{
    float x[4] = {0.0f}, y[4] = {NAN, NAN, NAN, NAN}, weights[4];
    const size_t too_long[2] = {1, 3};
    snprintf(check_case, sizeof check_case, "%s errors over time", frnn_isa_name(isa));
    const frnn_sequences good = {2, 2, 1, x, 2, 1, NULL, y, 1};
    const frnn_windows one = {1, 1, 0, 1, 0, 0};
    frnn_sequences bad[3] = {good, good, good};
    bad[0].x = NULL, bad[1].y = NULL, bad[2].lengths = too_long;
    for (int i = 0; i < 3; i++) {
        CHECK(frnn_pool_mean(isa, &bad[i]) == FRNN_BAD_ARGUMENT);
        CHECK(frnn_pool_sum(isa, &bad[i]) == FRNN_BAD_ARGUMENT);
        CHECK(frnn_pool_max(&bad[i]) == FRNN_BAD_ARGUMENT);
        CHECK(frnn_last(&bad[i], 0) == FRNN_BAD_ARGUMENT);
        CHECK(frnn_attention_pool(isa, &bad[i], weights) == FRNN_BAD_ARGUMENT);
        CHECK(frnn_max_pool(&one, &bad[i], 2) == FRNN_BAD_ARGUMENT);
    }
    frnn_windows wrong[4] = {one, one, one, one};
    wrong[0].kernel_size = 0, wrong[1].stride = 0, wrong[2].dilation = 0, wrong[3].padding = -1;
    for (int i = 0; i < 4; i++)
        CHECK(frnn_max_pool(&wrong[i], &good, 2) == FRNN_BAD_ARGUMENT);
    wrong[2].dilation = 2, wrong[3].padding = 1;
    for (int i = 2; i < 4; i++)
        CHECK(frnn_avg_pool(&wrong[i], &good, 2) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_avg_pool(NULL, &good, 2) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_max_pool(NULL, &good, 2) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_windows_steps(&one, SIZE_MAX) == 0);
    CHECK(frnn_attention_pool(NULL, &good, weights) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_attention_pool(isa, &good, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_pool_mean(NULL, &good) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_pool_mean(isa, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_last(&good, 2) == FRNN_BAD_ARGUMENT);
    const frnn_sequences nothing[] = {{2, 0, 1, NULL, 2, 1, NULL, NULL, 1},
                                      {2, 2, 0, NULL, 2, 1, NULL, NULL, 1}};
    for (int i = 0; i < 2; i++) { /* neither x nor y is touched */
        CHECK(frnn_pool_mean(isa, &nothing[i]) == FRNN_OK);
        CHECK(frnn_pool_max(&nothing[i]) == FRNN_OK);
        CHECK(frnn_last(&nothing[i], 0) == FRNN_OK);
        CHECK(frnn_attention_pool(isa, &nothing[i], weights) == FRNN_OK);
        CHECK(frnn_max_pool(&one, &nothing[i], 2) == FRNN_OK);
    }
    for (int i = 0; i < 4; i++) CHECK(isnan(y[i]));
    CHECK(frnn_last(&good, 1) == FRNN_OK && y[0] == 0.0f);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    fence_report_traps(check_case);
    check_embedding();
    uint64_t windows = 1;
    for (int i = 0; i < 5 * 5 * 3 * 3 * 3 * 2; i += (int)options.stride) {
        const int kernel = 1 + i % 5, padding = i / 225 % 3;
        const int most = kernel / 2, stride = 1 + i / 25 % 3, dilation = 1 + i / 75 % 3;
        frnn_windows p = {kernel, stride, padding < most ? padding : most, dilation, i / 675 % 2, 0};
        const size_t steps[] = {0, 1, 2, 5, 11};
        check_windows(steps[i / 5 % 5], &p, 0, &windows);
        for (p.dilation = 1; p.count_include_pad < 2; p.count_include_pad++)
            check_windows(steps[i / 5 % 5], &p, 1, &windows);
    }
    for (int i = 0; check_isa_at(&options, i); i++) {
        const frnn_isa *isa = check_isa_at(&options, i);
        uint64_t seed = 1;
        for (int kind = 0; kind < KINDS; kind++)
            for (size_t size = 1; size <= MOST; size += size < 70 ? options.stride : 1007)
                check_rows(isa, (row_kind)kind, size, &seed);
        for (size_t size = 1; size <= 140; size += 3 * options.stride)
            for (size_t steps = 0; steps <= 100; steps = steps * 2 + 1 + size % 2)
                check_sequences(isa, steps, size, &seed);
        for (size_t size = 1; size <= 300; size = size < 70 ? size + 1 : 4 * size)
            check_features(isa, size, &seed);
        for (size_t size = 0; size <= 70; size += 3 * options.stride)
            for (size_t steps = 1; steps <= 100; steps = steps * 2 + size % 2)
                check_attention(isa, steps, size, &seed);
        /* Last: their arrays are on the stack, which a kernel that writes too far would destroy. */
        check_errors(isa);
        check_sequence_errors(isa);
        check_extremes(isa);
    }
    return check_summary("test_rows");
}
