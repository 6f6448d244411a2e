/* SPDX-License-Identifier: MIT */
/* The float32 product: it reads rows in place; weights are [panels][depth][gates][lanes]. */
#ifndef FRNN_KERNELS_PRODUCT_F32_H
#define FRNN_KERNELS_PRODUCT_F32_H

#include "float_rows.h"

ALWAYS_INLINE vec load_f32(const char *weights)
{
    return vec_load((const float *)(const void *)weights);
}

ALWAYS_INLINE void store_f32(void *packed, size_t place, float value)
{
    ((float *)packed)[place] = value;
}

static const weight_type f32_weights = {sizeof(float), load_f32};

FLOAT_ROW_PRODUCT(f32, f32_weights, store_f32, sweep, multiply_rows_by);

#endif
