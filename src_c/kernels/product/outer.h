/* SPDX-License-Identifier: MIT */
/* Sums of outer products over rows: gradients of weights and biases. */
#ifndef FRNN_KERNELS_OUTER_H
#define FRNN_KERNELS_OUTER_H

enum {
    /* A tile is COLUMNS of left x SIDE vectors of right, over a run of rows. */
    OUTER_SIDE = 3,
    OUTER_COLUMNS = ACCUMULATORS / OUTER_SIDE
};

/* Columns [column, ..) of left's panel, vectors [k, ..) of right, rows [row, row_end). */
typedef struct {
    int panel, column, k;
    size_t row, row_end;
} outer_place;

/* Where the sums of a column go; NULL beyond the last unit. */
ALWAYS_INLINE float *outer_row(const frnn_outer *a, int panel, int column)
{
    const int slot = a->first_slot + column / LANES, unit = panel * LANES + column % LANES;
    if (unit >= a->units)
        return NULL;
    return a->sums + ((size_t)a->gate[slot] * (size_t)a->units + (size_t)unit) * (size_t)a->width;
}

ALWAYS_INLINE void outer_store(float *sum, vec value, int left, int add)
{
    if (left >= LANES)
        vec_store(sum, add ? vec_add(vec_load(sum), value) : value);
    else
        vec_store_part(sum, add ? vec_add(vec_load_part(sum, left), value) : value, left);
}

/* Prefetches the sums of a tile, which are a page apart: they arrive while the tile is computed. */
ALWAYS_INLINE void outer_prefetch(const frnn_outer *a, const outer_place *at, const int columns,
                                  const int side)
{
    const int end = at->k + side * LANES;
    UNROLL for (int c = 0; c < columns; c++) {
        const float *const sum = outer_row(a, at->panel, at->column + c);
        if (sum) {
            vec_prefetch(sum + at->k);
            vec_prefetch(sum + (end < a->width ? end : a->width) - 1);
        }
    }
}

ALWAYS_INLINE void outer_tile(const frnn_outer *a, const outer_place *at, const int columns,
                              const int side)
{
    const size_t left_row = (size_t)(a->slots * LANES), panel_floats = a->panel_rows * LANES;
    const float *left = a->left + ((size_t)at->panel * a->panel_rows + at->row) * left_row +
                        a->first_slot * LANES + at->column;
    const float *right = a->right + (size_t)(at->k / LANES) * panel_floats + at->row * LANES;
    vec acc[OUTER_COLUMNS * OUTER_SIDE];
    UNROLL for (int i = 0; i < columns * side; i++) acc[i] = vec_zero();
    if (a->add || at->row > 0)
        outer_prefetch(a, at, columns, side);
    for (size_t row = at->row; row < at->row_end; row++, left += left_row, right += LANES) {
        vec y[OUTER_SIDE];
        UNROLL for (int s = 0; s < side; s++) y[s] = vec_load(right + (size_t)s * panel_floats);
        UNROLL for (int c = 0; c < columns; c++) {
            const vec x = vec_broadcast(left + c);
            UNROLL for (int s = 0; s < side; s++)
                acc[c * side + s] = vec_fma(x, y[s], acc[c * side + s]);
        }
    }
    UNROLL for (int c = 0; c < columns; c++) {
        float *const sum = outer_row(a, at->panel, at->column + c);
        if (sum)
            UNROLL for (int s = 0; s < side; s++)
                outer_store(sum + at->k + s * LANES, acc[c * side + s],
                            a->width - at->k - s * LANES, a->add || at->row > 0);
    }
}

/* All columns of a panel of left. */
ALWAYS_INLINE void outer_columns(const frnn_outer *a, outer_place at, const int side)
{
    const int end = a->gates * LANES;
    for (at.column = 0; end - at.column >= OUTER_COLUMNS; at.column += OUTER_COLUMNS)
        outer_tile(a, &at, OUTER_COLUMNS, side);
    for (; at.column < end; at.column++) outer_tile(a, &at, 1, side);
}

/* All rows, in runs, for one panel of left and panels [k, k + side) of right. */
ALWAYS_INLINE void outer_runs(const frnn_outer *a, int panel, int k, const int side)
{
    for (size_t row = 0, end; row < a->rows; row = end) {
        end = a->rows - row > OUTER_RUN + OUTER_RUN / 2 ? row + OUTER_RUN : a->rows;
        outer_columns(a, (outer_place){panel, 0, k, row, end}, side);
    }
}

static void outer(const frnn_outer *a)
{
    const int fitting = (int)(OUTER_BLOCK_RUNS / (a->rows / OUTER_RUN + 1)) / OUTER_SIDE;
    const int block = (fitting > 1 ? fitting : 1) * OUTER_SIDE * LANES;
    for (int first = 0; first < a->width; first += block) {
        const int end = a->width - first < block ? a->width : first + block;
        for (int panel = a->first_panel; panel < a->end_panel; panel++) {
            int k = first;
            for (; end - k > 4 * LANES || (end - k > 2 * LANES && end - k <= 3 * LANES);
                 k += 3 * LANES)
                outer_runs(a, panel, k, 3);
            for (; end - k > LANES; k += 2 * LANES) outer_runs(a, panel, k, 2);
            if (end > k)
                outer_runs(a, panel, k, 1);
        }
    }
}

/* The sums of rows row, row + 4, ..: four chains of additions at a time. */
static void sum_columns(const frnn_outer *a)
{
    enum { CHAINS = 4 };
    const size_t step = (size_t)(a->slots * LANES);
    for (int panel = a->first_panel; panel < a->end_panel; panel++)
        for (int slot = a->first_slot; slot < a->first_slot + a->gates; slot++) {
            const float *from = a->left + (size_t)panel * a->panel_rows * step + slot * LANES;
            const int left = a->units - panel * LANES;
            vec acc[CHAINS] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
            size_t row = 0;
            for (; row + CHAINS <= a->rows; row += CHAINS)
                UNROLL for (int i = 0; i < CHAINS; i++)
                    acc[i] = vec_add(acc[i], vec_load(from + (row + (size_t)i) * step));
            for (; row < a->rows; row++) acc[0] = vec_add(acc[0], vec_load(from + row * step));
            const vec sum = vec_add(vec_add(acc[0], acc[1]), vec_add(acc[2], acc[3]));
            outer_store(a->sums + a->gate[slot] * a->units + panel * LANES, sum, left, a->add);
        }
}

#endif
