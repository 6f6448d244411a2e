/* SPDX-License-Identifier: MIT */
/* Products that read float32 rows in place: they differ only in how weights are stored. */
#ifndef FRNN_KERNELS_FLOAT_ROWS_H
#define FRNN_KERNELS_FLOAT_ROWS_H

#include "tile.h"

#include "pack.h"
#include "sweep.h"

#include "multiply.h"

/* Of weights [panels][depth][gates][lanes], so many bytes each. */
static size_t packed_weight_bytes(int panels, int depth, int gates, size_t weight_bytes)
{
    const size_t step = (size_t)(gates * LANES) * weight_bytes;
    return checked_product(checked_product((size_t)panels, (size_t)depth), step);
}

/* Defines product_`name` from a weight_type, a store_weight, and the loops over rows and panels. */
#define FLOAT_ROW_PRODUCT(name, type, store, loops, multiply_loops)                              \
    static size_t packed_bytes_##name(int panels, int depth, int gates)                            \
    {                                                                                              \
        return packed_weight_bytes(panels, depth, gates, (type).bytes);                            \
    }                                                                                              \
    static void pack_##name(void *packed, frnn_matrix m, const signed char *gate, int gates)       \
    {                                                                                              \
        pack_weights(packed, m, gate, gates, store);                                               \
    }                                                                                              \
    static void sweep_##name##_1(const frnn_pass *a, const frnn_sums *s) { loops(a, s, 1, &(type)); } \
    static void sweep_##name##_2(const frnn_pass *a, const frnn_sums *s) { loops(a, s, 2, &(type)); } \
    static void sweep_##name##_3(const frnn_pass *a, const frnn_sums *s) { loops(a, s, 3, &(type)); } \
    static void sweep_##name##_4(const frnn_pass *a, const frnn_sums *s) { loops(a, s, 4, &(type)); } \
    static void multiply_##name(const frnn_pass *a, frnn_start start)                              \
    {                                                                                              \
        multiply_loops(a, start, &(type));                                                          \
    }                                                                                              \
    static const frnn_product product_##name = {                                                   \
        .depth_group = 1,                                                                          \
        .run = SWEEP_RUN,                                                                          \
        .tile_vectors = TILE_VECTORS,                                                              \
        .packed_bytes = packed_bytes_##name,                                                       \
        .pack = pack_##name,                                                                       \
        .sweep = {NULL, sweep_##name##_1, sweep_##name##_2, sweep_##name##_3, sweep_##name##_4},   \
        .multiply = multiply_##name,                                                               \
    }

#endif
