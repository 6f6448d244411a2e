/* SPDX-License-Identifier: MIT */
/* Copies of values between layers that respect the lengths of rows. */
#include "layer_value.h"

#include <string.h>

static void clear_row(const layer_value *y, size_t step, size_t row)
{
    memset(value_row(y, step, row), 0, y->features * sizeof(float));
}

void frnn_value_clear(const layer_value *y)
{
    for (size_t row = 0; y->lengths && row < y->batch; row++)
        for (size_t step = y->lengths[row]; step < y->steps; step++) clear_row(y, step, row);
}

/* Copies steps as frnn_value_copy() and frnn_value_reverse() do. */
static void copy_steps(const layer_value *x, const layer_value *y, size_t shift, int reversed)
{
    for (size_t row = 0; row < y->batch; row++) {
        const size_t valid = x->lengths ? x->lengths[row] : x->steps;
        for (size_t step = 0; step < y->steps; step++) {
            const size_t source = reversed ? valid - 1 - step : step - shift;
            if (step < shift || step - shift >= valid)
                clear_row(y, step, row);
            else
                memcpy(value_row(y, step, row), value_row(x, source, row),
                       y->features * sizeof(float));
        }
    }
}

void frnn_value_copy(const layer_value *x, const layer_value *y, size_t shift)
{
    copy_steps(x, y, shift, 0);
}

void frnn_value_reverse(const layer_value *x, const layer_value *y) { copy_steps(x, y, 0, 1); }

void frnn_value_add(const layer_value *a, const layer_value *b, const layer_value *y)
{
    for (size_t step = 0; step < y->steps; step++)
        for (size_t row = 0; row < y->batch; row++) {
            const float *const one = value_row(a, step, row), *const other = value_row(b, step, row);
            float *const sum = value_row(y, step, row);
            for (size_t i = 0; i < y->features; i++) sum[i] = one[i] + other[i];
        }
    frnn_value_clear(y);
}
