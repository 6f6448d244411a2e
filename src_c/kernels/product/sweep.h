/* SPDX-License-Identifier: MIT */
/* Tiles swept over the rows and panels of a pass: the product of project and step. */
#ifndef FRNN_KERNELS_SWEEP_H
#define FRNN_KERNELS_SWEEP_H

/* Where a tile lies: rows and panels from here on, depth [k, k_end). */
typedef struct {
    int row, panel, k, k_end;
} tile_place;

/* What a sweep computes: the sums of pre's slots from `first` on, and what to do with panels
 * [panel, end) when their sums are whole for all rows. */
typedef struct {
    int slots, first;
    int from_bias; /* the sums start at the bias instead of what pre holds */
    void (*finish)(const frnn_pass *a, int panel, int end);
} sweep_kind;

ALWAYS_INLINE float *pre_at(const frnn_pass *a, int panel, int row, int slots)
{
    return a->pre + ((size_t)panel * a->pre_rows + (size_t)row) * (size_t)(slots * LANES);
}

ALWAYS_INLINE const float *bias_at(const frnn_pass *a, int panel, int slots)
{
    return a->bias + (size_t)panel * (size_t)(slots * LANES);
}

ALWAYS_INLINE void tile(const frnn_pass *a, tile_place at, const sweep_kind *kind, const int rows,
                        const int panels, const int gates)
{
    const size_t panel_floats = (size_t)a->depth * (size_t)(gates * LANES);
    const float *weights = a->weights + (size_t)at.panel * panel_floats +
                           (size_t)at.k * (size_t)(gates * LANES);
    const int from_bias = kind->from_bias && at.k == 0;
    const float *in[MAX_TILE_ROWS];
    vec acc[ACCUMULATORS];
    UNROLL for (int r = 0; r < rows; r++) in[r] = a->in[at.row + r] + at.k;
    UNROLL for (int i = 0; i < rows * panels * gates; i++) acc[i] = vec_zero();
    tile_product(acc, in, weights, panel_floats, (size_t)(at.k_end - at.k), rows, panels, gates);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int p = 0; p < panels; p++) {
            float *sum = pre_at(a, at.panel + p, at.row + r, kind->slots) + kind->first * LANES;
            const float *term = from_bias ? bias_at(a, at.panel + p, kind->slots) : sum;
            UNROLL for (int g = 0; g < gates; g++)
                vec_store(sum + g * LANES,
                          vec_add(vec_load(term + g * LANES), acc[(r * panels + p) * gates + g]));
        }
}

/* All panels [at.panel, end) of `rows` rows, as many side by side as the tile takes. */
ALWAYS_INLINE void tile_strip(const frnn_pass *a, tile_place at, int end, const sweep_kind *kind,
                              const int rows, const int gates)
{
    const int most = tile_panels(rows, gates);
    for (; end - at.panel >= most; at.panel += most) tile(a, at, kind, rows, most, gates);
    if (most > 4 && end - at.panel >= 4) {
        tile(a, at, kind, rows, 4, gates);
        at.panel += 4;
    }
    if (most > 2 && end - at.panel >= 2) {
        tile(a, at, kind, rows, 2, gates);
        at.panel += 2;
    }
    if (most > 1 && end > at.panel)
        tile(a, at, kind, rows, 1, gates);
}

/* One run of the depth for panels [at.panel, end) and all rows. */
ALWAYS_INLINE void sweep_rows(const frnn_pass *a, tile_place at, int end, const sweep_kind *kind,
                              const int gates)
{
    const int most = tile_rows(gates);
    for (at.row = 0; a->rows - at.row >= most; at.row += most)
        tile_strip(a, at, end, kind, most, gates);
    switch (a->rows - at.row) {
#define THIN(r)                                       \
    case r:                                           \
        if (r < most)                                 \
            tile_strip(a, at, end, kind, r, gates);   \
        break;
        THIN(1) THIN(2) THIN(3) THIN(4) THIN(5) THIN(6) THIN(7)
#undef THIN
    default: break;
    }
}

/* Panels in groups as wide as a tile, each group's depth in runs; the sums wait in pre between two
 * runs. */
ALWAYS_INLINE void sweep(const frnn_pass *a, const sweep_kind *kind, const int gates)
{
    const int full = tile_rows(gates);
    const int group = a->rows >= full ? tile_panels(full, gates) : a->end_panel;
    for (int panel = a->first_panel; panel < a->end_panel; panel += group) {
        const int end = a->end_panel - panel > group ? panel + group : a->end_panel;
        for (int k = 0, k_end; k < a->depth; k = k_end) {
            k_end = a->depth - k > RUN + RUN / 2 ? k + RUN : a->depth;
            sweep_rows(a, (tile_place){0, panel, k, k_end}, end, kind, gates);
        }
        kind->finish(a, panel, end);
    }
}

static void sweep_1(const frnn_pass *a, const sweep_kind *kind) { sweep(a, kind, 1); }
static void sweep_2(const frnn_pass *a, const sweep_kind *kind) { sweep(a, kind, 2); }
static void sweep_3(const frnn_pass *a, const sweep_kind *kind) { sweep(a, kind, 3); }
static void sweep_4(const frnn_pass *a, const sweep_kind *kind) { sweep(a, kind, 4); }

#endif
