/* SPDX-License-Identifier: MIT */
/* The register tile: the product every kernel is made of.
 *
 * A tile is `rows` batch rows x `panels` panels x `gates` vectors, all in registers over a run of
 * the depth. rows, panels and gates are compile-time constants in every call, so that the loops
 * over them unroll and acc never touches memory. */
#ifndef FRNN_KERNELS_TILE_H
#define FRNN_KERNELS_TILE_H

#define UNROLL _Pragma("GCC unroll 24")

enum {
    MAX_TILE_ROWS = 8,
    L1_BUDGET = 16 * 1024 /* bytes of packed weights that stay in L1 beside the rows */
};

/* Rows of a full tile: all accumulators in use, rows and vectors of weights in balance. */
ALWAYS_INLINE int tile_rows(const int gates)
{
    return gates == 3 ? ACCUMULATORS / 3 : ACCUMULATORS / 4;
}

/* Panels side by side in a tile of so many rows: a thin tile takes more, to have enough
 * independent sums in flight. */
ALWAYS_INLINE int tile_panels(const int rows, const int gates)
{
    const int fit = ACCUMULATORS / (rows * gates);
    return fit >= 8 && rows == 1 ? 8 : fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

/* acc[rows][panels][gates] += in[rows][k] * weights[panels][k][gates] for k < depth. */
ALWAYS_INLINE void tile_product(vec *acc, const float *const *in, const float *weights,
                                size_t panel_floats, size_t depth, const int rows,
                                const int panels, const int gates)
{
    for (size_t k = 0; k < depth; k++) {
        vec x[MAX_TILE_ROWS];
        UNROLL for (int r = 0; r < rows; r++) x[r] = vec_broadcast(in[r] + k);
        UNROLL for (int p = 0; p < panels; p++)
            UNROLL for (int g = 0; g < gates; g++) {
                const vec w = vec_load(weights + (size_t)p * panel_floats + g * LANES);
                UNROLL for (int r = 0; r < rows; r++) {
                    vec *sum = &acc[(r * panels + p) * gates + g];
                    *sum = vec_fma(x[r], w, *sum);
                }
            }
        weights += gates * LANES;
    }
}

#endif
