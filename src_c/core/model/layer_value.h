/* SPDX-License-Identifier: MIT */
/* The values between the layers of a model while it runs. */
#ifndef FRNN_CORE_LAYER_VALUE_H
#define FRNN_CORE_LAYER_VALUE_H

#include <stddef.h>

/* [steps][batch][features], the last axis contiguous. */
typedef struct {
    float *at; /* NULL: token ids */
    ptrdiff_t step, row;
    size_t steps, batch, features;
    const size_t *lengths; /* [batch]; NULL: all are steps. Values beyond them are 0. */
} layer_value;

static inline float *value_row(const layer_value *v, size_t step, size_t row)
{
    return v->at + (ptrdiff_t)step * v->step + (ptrdiff_t)row * v->row;
}

/* Zeroes the values beyond the lengths. */
void frnn_value_clear(const layer_value *y);
/* Copies the valid steps of x to y, `shift` steps later. All other steps of y become zeros. */
void frnn_value_copy(const layer_value *x, const layer_value *y, size_t shift);
/* The same without a shift, and with the valid steps in reverse order. */
void frnn_value_reverse(const layer_value *x, const layer_value *y);
/* y = a + b, zeros beyond the lengths of y. y may be a; b has at least the features of y. */
void frnn_value_add(const layer_value *a, const layer_value *b, const layer_value *y);

#endif
