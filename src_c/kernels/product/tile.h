/* SPDX-License-Identifier: MIT */
/* The register tile: the inner loop of every product with float32 rows.
 *
 * A tile is `rows` batch rows x `panels` panels x `gates` vectors, all in registers over a run of
 * the depth. rows, panels and gates are compile-time constants in every call, so that the loops
 * over them unroll and acc never touches memory. */
#ifndef FRNN_KERNELS_TILE_H
#define FRNN_KERNELS_TILE_H

/* Unrolls the next loop, whose length is a compile-time constant of at most 24. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 24")
#else
#define UNROLL
#endif

enum { MAX_TILE_ROWS = 8 };

/* How a product reads its packed weights: bytes of one weight, and LANES of them as floats. A constant
 * in every call, so that load is inlined. */
typedef struct {
    size_t bytes;
    vec (*load)(const char *weights);
} weight_type;

/* Rows of a full tile: all accumulators in use, rows and vectors of weights in balance. */
ALWAYS_INLINE int tile_rows(const int gates)
{
    return gates == 3 ? ACCUMULATORS / 3 : ACCUMULATORS / TILE_VECTORS;
}

/* Panels in a tile of so many rows: a thin tile takes more panels, to have enough
 * independent sums in flight. */
ALWAYS_INLINE int tile_panels(const int rows, const int gates)
{
    const int fit = ACCUMULATORS / (rows * gates);
    return fit >= 8 && rows == 1 ? 8 : fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

/* acc[rows][panels][gates] += in[rows][k] * weights[panels][k][gates] for k < depth; panel_bytes: from
 * panel to panel. Registers hold the fewer of the operands, rows or vectors of weights, and one of the
 * others at a time. */
ALWAYS_INLINE void tile_product(vec *acc, const float *const *in, const char *weights,
                                size_t panel_bytes, size_t depth, const int rows,
                                const int panels, const int gates, const weight_type *type)
{
    const int vectors = panels * gates;
    const size_t vector_bytes = LANES * type->bytes;
    for (size_t k = 0; k < depth; k++, weights += (size_t)gates * vector_bytes) {
        vec x[MAX_TILE_ROWS], w[ACCUMULATORS];
        if (rows <= vectors) {
            UNROLL for (int r = 0; r < rows; r++) x[r] = vec_broadcast(in[r] + k);
            UNROLL for (int v = 0; v < vectors; v++) {
                w[v] = type->load(weights + (size_t)(v / gates) * panel_bytes +
                                  (size_t)(v % gates) * vector_bytes);
                if (rows > 1)
                    w[v] = vec_keep(w[v]);
                UNROLL for (int r = 0; r < rows; r++)
                    acc[r * vectors + v] = vec_fma(x[r], w[v], acc[r * vectors + v]);
            }
        } else {
            UNROLL for (int v = 0; v < vectors; v++)
                w[v] = type->load(weights + (size_t)(v / gates) * panel_bytes +
                                  (size_t)(v % gates) * vector_bytes);
            UNROLL for (int r = 0; r < rows; r++) {
                x[r] = vec_broadcast(in[r] + k);
                UNROLL for (int v = 0; v < vectors; v++)
                    acc[r * vectors + v] = vec_fma(x[r], w[v], acc[r * vectors + v]);
            }
        }
    }
}

#endif
