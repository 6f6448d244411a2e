/* SPDX-License-Identifier: MIT */
/* The sums of one gate straight to rows of y: dense layers, gradients of inputs and states. */
#ifndef FRNN_KERNELS_MULTIPLY_H
#define FRNN_KERNELS_MULTIPLY_H

enum {
    MOST_SIDE = TILE_VECTORS, /* panels in a tile */
    /* Sums in flight that hide the latency of a multiply-add. */
    LEAST_SUMS = ACCUMULATORS * 2 / 3
};

/* Rows of a full tile with so many panels. */
ALWAYS_INLINE int multiply_rows(const int panels)
{
    return ACCUMULATORS / panels < MAX_TILE_ROWS ? ACCUMULATORS / panels : MAX_TILE_ROWS;
}

ALWAYS_INLINE void multiply_tile(const frnn_pass *a, tile_place at, frnn_start from, const int rows,
                                 const int panels, const weight_type *type)
{
    const size_t panel_bytes = (size_t)a->depth * LANES * type->bytes;
    const float *in[MAX_TILE_ROWS];
    vec acc[ACCUMULATORS];
    UNROLL for (int r = 0; r < rows; r++) in[r] = a->in[at.row + r] + at.k;
    UNROLL for (int i = 0; i < rows * panels; i++) acc[i] = vec_zero();
    tile_product(acc, in, weights_at(a, at.panel, at.k, 1, type), panel_bytes,
                 (size_t)(at.k_end - at.k), rows, panels, 1, type);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int p = 0; p < panels; p++) {
            const int unit = (at.panel + p) * LANES, left = a->units - unit;
            float *y = a->y[at.row + r] + unit;
            const float *term = from == FRNN_FROM_BIAS ? a->bias + unit : y;
            const vec sum = acc[r * panels + p];
            if (left >= LANES)
                vec_store(y, from != FRNN_FROM_ZERO ? vec_add(vec_load(term), sum) : sum);
            else
                vec_store_part(y, from != FRNN_FROM_ZERO ? vec_add(vec_load_part(term, left), sum) : sum, left);
        }
}

/* One run of the depth for a group of panels and all rows. */
ALWAYS_INLINE void multiply_strip(const frnn_pass *a, tile_place at, frnn_start from,
                                  const int panels, const weight_type *type)
{
    const int most = multiply_rows(panels);
    for (at.row = 0; a->rows - at.row >= most; at.row += most)
        multiply_tile(a, at, from, most, panels, type);
    switch (a->rows - at.row) {
#define THIN(r)                                           \
    case r:                                               \
        if (r < most)                                     \
            multiply_tile(a, at, from, r, panels, type);  \
        break;
        THIN(1) THIN(2) THIN(3) THIN(4) THIN(5) THIN(6) THIN(7)
#undef THIN
    default: break;
    }
}

/* Half-cycles of one step of the depth for a group of panels. */
static int multiply_cost(int rows, int panels)
{
    if (panels == 0)
        return 0;
    const int most = multiply_rows(panels), rest = rows % most * panels;
    return rows / most * most * panels + (rest > 0 && rest < LEAST_SUMS ? LEAST_SUMS : rest);
}

/* Panels to take at once, so that thin tiles at the edges cost least. */
static int multiply_side(int rows, int panels)
{
    int best = 1, least = 0;
    for (int side = MOST_SIDE; side > 1; side--) {
        const int cost = panels / side * multiply_cost(rows, side) +
                         multiply_cost(rows, panels % side);
        if (side == MOST_SIDE || cost < least)
            best = side, least = cost;
    }
    return best;
}

ALWAYS_INLINE void multiply_rows_by(const frnn_pass *a, frnn_start start, const weight_type *type)
{
    const int side = multiply_side(a->rows, a->end_panel - a->first_panel);
    for (int panel = a->first_panel, group; panel < a->end_panel; panel += group) {
        group = a->end_panel - panel < side ? a->end_panel - panel : side;
        for (int k = 0, k_end; k < a->depth; k = k_end) {
            k_end = run_end(k, a->depth, MULTIPLY_RUN);
            const tile_place at = {0, panel, k, k_end};
            const frnn_start from = k > 0 ? FRNN_FROM_Y : start;
            switch (group) {
            case 1: multiply_strip(a, at, from, 1, type); break;
            case 2: multiply_strip(a, at, from, 2, type); break;
            case 3: multiply_strip(a, at, from, 3, type); break;
            default: multiply_strip(a, at, from, MOST_SIDE, type); break;
            }
        }
    }
}

#endif
