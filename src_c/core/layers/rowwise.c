/* SPDX-License-Identifier: MIT */
/* Layers that act on one row at a time, or reduce the steps of each sequence. */
#include <fastrnn.h>
#include <string.h>

#include "../../kernels/table.h"
#include "../sizes.h"

void frnn_relu(const frnn_isa *isa, float *y, const float *x, size_t count)
{
    isa->relu(y, x, count);
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

frnn_status frnn_pool_mean(const frnn_isa *isa, const frnn_sequences *s)
{
    if (!isa || are_invalid(s))
        return FRNN_BAD_ARGUMENT;
    const unsigned saved = isa->denormals_off();
    for (size_t row = 0; row < s->batch && s->size > 0; row++) {
        float *const y = s->y + (ptrdiff_t)row * s->y_row;
        if (length_of(s, row) > 0)
            isa->mean(y, s->x + (ptrdiff_t)row * s->x_row, s->x_step, length_of(s, row), s->size);
        else
            memset(y, 0, s->size * sizeof(float));
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
