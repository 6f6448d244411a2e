/* SPDX-License-Identifier: MIT */
/* Tiles swept over the rows and panels of a pass: the sums of a stage. */
#ifndef FRNN_KERNELS_SWEEP_H
#define FRNN_KERNELS_SWEEP_H

/* Where a tile lies: rows and panels from here on, depth [k, k_end). */
typedef struct {
    int row, panel, k, k_end;
} tile_place;

ALWAYS_INLINE float *pre_at(const frnn_pass *a, int panel, int row, int slots)
{
    return a->pre + ((size_t)panel * a->pre_rows + (size_t)row) * (size_t)(slots * LANES);
}

ALWAYS_INLINE const float *bias_at(const frnn_pass *a, int panel, int slots)
{
    return a->bias + (size_t)panel * (size_t)(slots * LANES);
}

/* Weights of a panel from step k of the depth on. */
ALWAYS_INLINE const char *weights_at(const frnn_pass *a, int panel, int k, const int gates,
                                     const weight_type *type)
{
    const size_t step = (size_t)(gates * LANES) * type->bytes;
    return (const char *)a->weights + ((size_t)panel * (size_t)a->depth + (size_t)k) * step;
}

/* Slots of a stage whose sweep is so many gates wide: known to the compiler but for three gates, which
 * may fill three slots of four. */
ALWAYS_INLINE int slots_of(const frnn_sums *s, const int gates) { return gates == 3 ? s->slots : gates; }

ALWAYS_INLINE void tile(const frnn_pass *a, tile_place at, const frnn_sums *s, const int rows,
                        const int panels, const int gates, const weight_type *type)
{
    const size_t panel_bytes = (size_t)a->depth * (size_t)(gates * LANES) * type->bytes;
    const int from_bias = s->from_bias && at.k == 0, slots = slots_of(s, gates);
    const float *in[MAX_TILE_ROWS];
    vec acc[ACCUMULATORS];
    UNROLL for (int r = 0; r < rows; r++) in[r] = a->in[at.row + r] + at.k;
    UNROLL for (int i = 0; i < rows * panels * gates; i++) acc[i] = vec_zero();
    tile_product(acc, in, weights_at(a, at.panel, at.k, gates, type), panel_bytes,
                 (size_t)(at.k_end - at.k), rows, panels, gates, type);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int p = 0; p < panels; p++) {
            float *sum = pre_at(a, at.panel + p, at.row + r, slots) + s->first * LANES;
            const float *term = from_bias ? bias_at(a, at.panel + p, slots) : sum;
            UNROLL for (int g = 0; g < gates; g++)
                vec_store(sum + g * LANES,
                          vec_add(vec_load(term + g * LANES), acc[(r * panels + p) * gates + g]));
        }
}

/* All panels [at.panel, end) of `rows` rows, as many at once as a tile takes. */
ALWAYS_INLINE void tile_strip(const frnn_pass *a, tile_place at, int end, const frnn_sums *s,
                              const int rows, const int gates, const weight_type *type)
{
    const int most = tile_panels(rows, gates);
    for (; end - at.panel >= most; at.panel += most) tile(a, at, s, rows, most, gates, type);
    if (most > 4 && end - at.panel >= 4) {
        tile(a, at, s, rows, 4, gates, type);
        at.panel += 4;
    }
    if (most > 2 && end - at.panel >= 2) {
        tile(a, at, s, rows, 2, gates, type);
        at.panel += 2;
    }
    if (most > 1 && end > at.panel)
        tile(a, at, s, rows, 1, gates, type);
}

/* One run of the depth for panels [at.panel, end) and all rows. */
ALWAYS_INLINE void sweep_rows(const frnn_pass *a, tile_place at, int end, const frnn_sums *s,
                              const int gates, const weight_type *type)
{
    const int most = tile_rows(gates);
    for (at.row = 0; a->rows - at.row >= most; at.row += most)
        tile_strip(a, at, end, s, most, gates, type);
    switch (a->rows - at.row) {
#define THIN(r)                                             \
    case r:                                                 \
        if (r < most)                                       \
            tile_strip(a, at, end, s, r, gates, type);      \
        break;
        THIN(1) THIN(2) THIN(3) THIN(4) THIN(5) THIN(6) THIN(7)
#undef THIN
    default: break;
    }
}

/* Where a run of the depth that begins at k ends: the last run is up to half as long again. */
ALWAYS_INLINE int run_end(int k, int depth, const int run)
{
    return depth - k > run + run / 2 ? k + run : depth;
}

/* Panels in groups as wide as a tile, each group's depth in runs. The sums wait in pre between two
 * runs. The weights of a run stay in L1 while all rows use them, and rounding errors grow with the
 * length of a run instead of the whole depth. */
ALWAYS_INLINE void sweep(const frnn_pass *a, const frnn_sums *s, const int gates,
                         const weight_type *type)
{
    const int full = tile_rows(gates);
    const int group = a->rows >= full ? tile_panels(full, gates) : a->end_panel;
    for (int panel = a->first_panel; panel < a->end_panel; panel += group) {
        const int end = a->end_panel - panel > group ? panel + group : a->end_panel;
        for (int k = 0, k_end; k < a->depth; k = k_end) {
            k_end = run_end(k, a->depth, SWEEP_RUN);
            sweep_rows(a, (tile_place){0, panel, k, k_end}, end, s, gates, type);
        }
        s->finish(a, panel, end);
    }
}

#endif
