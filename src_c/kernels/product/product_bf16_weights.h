/* SPDX-License-Identifier: MIT */
/* Weights rounded to bfloat16, rows and arithmetic in float32: the bits of the float32 product with
 * rounded weights, in half the memory. The layout is that of float32. */
#ifndef FRNN_KERNELS_PRODUCT_BF16_WEIGHTS_H
#define FRNN_KERNELS_PRODUCT_BF16_WEIGHTS_H

#include <string.h>

#include "float_rows.h"

/* The upper half of a float's bits, rounded to nearest, ties to even; a NaN stays one. */
ALWAYS_INLINE uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

ALWAYS_INLINE vec load_bf16(const char *weights)
{
    float lane[LANES];
    for (size_t i = 0; i < LANES; i++) {
        uint16_t half;
        memcpy(&half, weights + i * sizeof half, sizeof half);
        const uint32_t bits = (uint32_t)half << 16;
        memcpy(&lane[i], &bits, sizeof bits);
    }
    return vec_load(lane);
}

ALWAYS_INLINE void store_bf16(void *packed, size_t place, float value)
{
    ((uint16_t *)packed)[place] = bf16_of(value);
}

static const weight_type bf16 = {sizeof(uint16_t), load_bf16};

/* Row by row and panel by panel: the sums of the tiled loops, in little code. */
ALWAYS_INLINE void sweep_singly(const frnn_pass *a, const frnn_sums *s, const int gates,
                                const weight_type *type)
{
    for (int panel = a->first_panel; panel < a->end_panel; panel++) {
        for (int k = 0, k_end; k < a->depth; k = k_end) {
            k_end = run_end(k, a->depth, SWEEP_RUN);
            for (int row = 0; row < a->rows; row++)
                tile(a, (tile_place){row, panel, k, k_end}, s, 1, 1, gates, type);
        }
        s->finish(a, panel, panel + 1);
    }
}

ALWAYS_INLINE void multiply_singly(const frnn_pass *a, frnn_start start, const weight_type *type)
{
    for (int panel = a->first_panel; panel < a->end_panel; panel++)
        for (int k = 0, k_end; k < a->depth; k = k_end) {
            k_end = run_end(k, a->depth, MULTIPLY_RUN);
            for (int row = 0; row < a->rows; row++)
                multiply_tile(a, (tile_place){row, panel, k, k_end}, k > 0 ? FRNN_FROM_Y : start, 1,
                              1, type);
        }
}

FLOAT_ROW_PRODUCT(bf16_weights, bf16, store_bf16, sweep_singly, multiply_singly);

#endif
