/* SPDX-License-Identifier: MIT */
/* Layers that act on one row at a time, or reduce the steps of each sequence. */
#include <fastrnn.h>
#include <string.h>

#include "../../kernels/table.h"
#include "../sizes.h"

const char *frnn_function_name(const frnn_isa *isa, frnn_function function)
{
    return function < FRNN_FUNCTION_COUNT ? isa->function[function].name : NULL;
}

void frnn_apply(const frnn_isa *isa, frnn_function function, frnn_parameters parameters, float *y,
                const float *x, size_t count)
{
    isa->function[function].map(y, x, count, parameters);
}

void frnn_apply_backward(const frnn_isa *isa, frnn_function function, frnn_parameters parameters,
                         float *dx, const float *dy, const float *x, size_t count)
{
    isa->function[function].back(dx, dy, x, count, parameters);
}

static int is_incomplete(const frnn_isa *isa, const frnn_rows *rows)
{
    return !isa || !rows || (rows->rows > 0 && rows->size > 0 && (!rows->x || !rows->y));
}

static frnn_status each_row(const frnn_isa *isa, const frnn_rows *rows,
                            void (*row)(float *y, const float *x, size_t size))
{
    const unsigned saved = isa->denormals_off();
    for (size_t i = 0; i < rows->rows && rows->size > 0; i++)
        row(rows->y + (ptrdiff_t)i * rows->y_row, rows->x + (ptrdiff_t)i * rows->x_row, rows->size);
    isa->denormals_restore(saved);
    return FRNN_OK;
}

frnn_status frnn_softmax(const frnn_isa *isa, const frnn_rows *rows)
{
    return is_incomplete(isa, rows) ? FRNN_BAD_ARGUMENT : each_row(isa, rows, isa->softmax);
}

frnn_status frnn_log_softmax(const frnn_isa *isa, const frnn_rows *rows)
{
    return is_incomplete(isa, rows) ? FRNN_BAD_ARGUMENT : each_row(isa, rows, isa->log_softmax);
}

frnn_status frnn_layer_norm(const frnn_isa *isa, const frnn_rows *rows, const float *weight,
                            const float *bias, float eps)
{
    if (is_incomplete(isa, rows) || !(eps >= 0.0f))
        return FRNN_BAD_ARGUMENT;
    const unsigned saved = isa->denormals_off();
    for (size_t i = 0; i < rows->rows && rows->size > 0; i++)
        isa->layer_norm(rows->y + (ptrdiff_t)i * rows->y_row,
                        rows->x + (ptrdiff_t)i * rows->x_row, weight, bias, rows->size, eps);
    isa->denormals_restore(saved);
    return FRNN_OK;
}

frnn_status frnn_batch_norm(const frnn_isa *isa, const frnn_rows *rows,
                            const frnn_batch_norm_call *call)
{
    if (is_incomplete(isa, rows) || !call || !(call->eps >= 0.0))
        return FRNN_BAD_ARGUMENT;
    const unsigned saved = isa->denormals_off();
    isa->batch_norm(rows, call);
    isa->denormals_restore(saved);
    return FRNN_OK;
}

static int have_no_memory(const frnn_rows *rows)
{
    return !rows || (rows->rows > 0 && rows->size > 0 && (!rows->x || !rows->y));
}

frnn_status frnn_prelu(const frnn_rows *rows, const float *weight, size_t count)
{
    if (have_no_memory(rows) || !weight || (count != 1 && count != rows->size))
        return FRNN_BAD_ARGUMENT;
    const size_t next = count > 1;
    for (size_t row = 0; row < rows->rows; row++) {
        const float *const x = rows->x + (ptrdiff_t)row * rows->x_row;
        float *const y = rows->y + (ptrdiff_t)row * rows->y_row;
        for (size_t i = 0; i < rows->size; i++) y[i] = x[i] > 0.0f ? x[i] : weight[i * next] * x[i];
    }
    return FRNN_OK;
}

frnn_status frnn_merge(const frnn_rows *rows, frnn_merging merging)
{
    if (have_no_memory(rows) || merging > FRNN_MERGE_MUL)
        return FRNN_BAD_ARGUMENT;
    for (size_t row = 0; row < rows->rows; row++) {
        const float *const a = rows->x + (ptrdiff_t)row * rows->x_row, *const b = a + rows->size;
        float *const y = rows->y + (ptrdiff_t)row * rows->y_row;
        for (size_t i = 0; i < rows->size; i++)
            switch (merging) {
            case FRNN_MERGE_SUM: y[i] = a[i] + b[i]; break;
            case FRNN_MERGE_MEAN: y[i] = (a[i] + b[i]) * 0.5f; break;
            case FRNN_MERGE_MUL: y[i] = a[i] * b[i]; break;
            }
    }
    return FRNN_OK;
}

frnn_status frnn_embedding(const float *table, size_t entries, const int64_t *indices,
                           const frnn_rows *rows)
{
    if (!rows || (rows->rows > 0 && (!indices || (rows->size > 0 && (!table || !rows->y)))))
        return FRNN_BAD_ARGUMENT;
    for (size_t i = 0; i < rows->rows; i++)
        if (indices[i] < 0 || (uint64_t)indices[i] >= entries)
            return FRNN_BAD_ARGUMENT;
    for (size_t i = 0; i < rows->rows && rows->size > 0; i++)
        memcpy(rows->y + (ptrdiff_t)i * rows->y_row, table + (size_t)indices[i] * rows->size,
               rows->size * sizeof(float));
    return FRNN_OK;
}

/* ---- Over time ------------------------------------------------------------------------------- */

static int are_invalid(const frnn_sequences *s)
{
    return !s || (s->batch > 0 && s->size > 0 && (!s->y || (s->steps > 0 && !s->x))) ||
           !lengths_are_valid(s->lengths, s->batch, s->steps);
}

static size_t length_of(const frnn_sequences *s, size_t row)
{
    return s->lengths ? s->lengths[row] : s->steps;
}

static frnn_status pool_sum(const frnn_isa *isa, const frnn_sequences *s, int divides)
{
    if (!isa || are_invalid(s))
        return FRNN_BAD_ARGUMENT;
    const unsigned saved = isa->denormals_off();
    for (size_t row = 0; row < s->batch && s->size > 0; row++) {
        float *const y = s->y + (ptrdiff_t)row * s->y_row;
        const size_t length = length_of(s, row);
        if (length > 0)
            isa->sum_steps(y, s->x + (ptrdiff_t)row * s->x_row, s->x_step, length, s->size,
                           divides ? (float)length : 1.0f);
        else
            memset(y, 0, s->size * sizeof(float));
    }
    isa->denormals_restore(saved);
    return FRNN_OK;
}

frnn_status frnn_pool_mean(const frnn_isa *isa, const frnn_sequences *s)
{
    return pool_sum(isa, s, 1);
}

frnn_status frnn_pool_sum(const frnn_isa *isa, const frnn_sequences *s)
{
    return pool_sum(isa, s, 0);
}

frnn_status frnn_attention_pool(const frnn_isa *isa, const frnn_sequences *s, float *weights)
{
    if (!isa || are_invalid(s) || (s->batch > 0 && s->steps > 0 && !weights))
        return FRNN_BAD_ARGUMENT;
    const unsigned saved = isa->denormals_off();
    for (size_t row = 0; row < s->batch; row++) {
        float *const of_row = weights + row * s->steps;
        const size_t length = length_of(s, row);
        if (length > 0)
            isa->softmax(of_row, of_row, length);
        for (size_t step = length; step < s->steps; step++) of_row[step] = 0.0f;
        if (s->size > 0)
            isa->weighted_sum(s->y + (ptrdiff_t)row * s->y_row, s->x + (ptrdiff_t)row * s->x_row,
                              s->x_step, of_row, length, s->size);
    }
    isa->denormals_restore(saved);
    return FRNN_OK;
}

frnn_status frnn_pool_max(const frnn_sequences *s)
{
    if (are_invalid(s))
        return FRNN_BAD_ARGUMENT;
    for (size_t row = 0; row < s->batch && s->size > 0; row++) {
        const float *const x = s->x + (ptrdiff_t)row * s->x_row;
        float *const y = s->y + (ptrdiff_t)row * s->y_row;
        memset(y, 0, s->size * sizeof(float));
        for (size_t step = 0; step < length_of(s, row); step++)
            for (size_t i = 0; i < s->size; i++) {
                const float value = x[(ptrdiff_t)step * s->x_step + (ptrdiff_t)i];
                if (step == 0 || value > y[i] || value != value)
                    y[i] = value;
            }
    }
    return FRNN_OK;
}

size_t frnn_windows_steps(const frnn_windows *windows, size_t steps)
{
    const size_t reach = (size_t)windows->dilation * (size_t)(windows->kernel_size - 1) + 1;
    const size_t stride = (size_t)windows->stride, padding = (size_t)windows->padding;
    if (steps == 0 || steps > SIZE_MAX / 4 || steps + 2 * padding < reach)
        return 0;
    const size_t rest = steps + 2 * padding - reach;
    size_t count = (rest + (windows->ceil_mode ? stride - 1 : 0)) / stride + 1;
    if ((count - 1) * stride >= steps + padding) /* the last one has to begin in x or before it */
        count--;
    return count;
}

/* y = what a window that begins at step `begin` of a sequence x of `length` steps has. */
typedef void of_window(const frnn_windows *windows, const frnn_sequences *s, const float *x,
                       ptrdiff_t begin, size_t length, float *y);

static void max_of_window(const frnn_windows *windows, const frnn_sequences *s, const float *x,
                          ptrdiff_t begin, size_t length, float *y)
{
    const ptrdiff_t dilation = windows->dilation, end = begin + dilation * windows->kernel_size;
    ptrdiff_t step = begin < 0 ? begin + (dilation - 1 - begin) / dilation * dilation : begin;
    for (size_t i = 0; i < s->size; i++) y[i] = -__builtin_inff();
    for (; step < end && (size_t)step < length; step += dilation)
        for (size_t i = 0; i < s->size; i++) {
            const float value = x[step * s->x_step + (ptrdiff_t)i];
            if (value > y[i] || value != value)
                y[i] = value;
        }
}

static void mean_of_window(const frnn_windows *windows, const frnn_sequences *s, const float *x,
                           ptrdiff_t begin, size_t length, float *y)
{
    const ptrdiff_t steps = (ptrdiff_t)length, padded = steps + windows->padding;
    const ptrdiff_t end = begin + windows->kernel_size < padded ? begin + windows->kernel_size
                                                                : padded;
    const ptrdiff_t first = begin < 0 ? 0 : begin, last = end < steps ? end : steps;
    const float count = (float)(windows->count_include_pad ? end - begin : last - first);
    memset(y, 0, s->size * sizeof(float));
    for (ptrdiff_t step = first; step < last; step++)
        for (size_t i = 0; i < s->size; i++) y[i] += x[step * s->x_step + (ptrdiff_t)i];
    for (size_t i = 0; i < s->size; i++) y[i] /= count;
}

static frnn_status each_window(const frnn_windows *windows, const frnn_sequences *s,
                               ptrdiff_t y_step, of_window *run)
{
    if (!windows || are_invalid(s) || windows->kernel_size < 1 || windows->stride < 1 ||
        windows->dilation < 1 || windows->padding < 0)
        return FRNN_BAD_ARGUMENT;
    const size_t count = frnn_windows_steps(windows, s->steps);
    for (size_t row = 0; row < s->batch && s->size > 0; row++) {
        const size_t length = length_of(s, row), own = frnn_windows_steps(windows, length);
        for (size_t window = 0; window < count; window++) {
            float *const y = s->y + (ptrdiff_t)row * s->y_row + (ptrdiff_t)window * y_step;
            if (window >= own)
                memset(y, 0, s->size * sizeof(float));
            else
                run(windows, s, s->x + (ptrdiff_t)row * s->x_row,
                    (ptrdiff_t)(window * (size_t)windows->stride) - windows->padding, length, y);
        }
    }
    return FRNN_OK;
}

frnn_status frnn_max_pool(const frnn_windows *windows, const frnn_sequences *s, ptrdiff_t y_step)
{
    return each_window(windows, s, y_step, max_of_window);
}

frnn_status frnn_avg_pool(const frnn_windows *windows, const frnn_sequences *s, ptrdiff_t y_step)
{
    if (windows && (windows->dilation != 1 || windows->padding > windows->kernel_size / 2))
        return FRNN_BAD_ARGUMENT;
    return each_window(windows, s, y_step, mean_of_window);
}

frnn_status frnn_last(const frnn_sequences *s, size_t reversed)
{
    if (are_invalid(s) || reversed > s->size)
        return FRNN_BAD_ARGUMENT;
    const size_t forward = s->size - reversed;
    for (size_t row = 0; row < s->batch && s->size > 0; row++) {
        const float *const x = s->x + (ptrdiff_t)row * s->x_row;
        float *const y = s->y + (ptrdiff_t)row * s->y_row;
        const size_t length = length_of(s, row);
        if (length == 0) {
            memset(y, 0, s->size * sizeof(float));
            continue;
        }
        memcpy(y, x + (ptrdiff_t)(length - 1) * s->x_step, forward * sizeof(float));
        memcpy(y + forward, x + forward, reversed * sizeof(float));
    }
    return FRNN_OK;
}
