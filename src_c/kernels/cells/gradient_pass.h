/* SPDX-License-Identifier: MIT */
/* What the cells' gradients share: where values lie, and the loop over panels and rows. */
#ifndef FRNN_KERNELS_GRADIENT_PASS_H
#define FRNN_KERNELS_GRADIENT_PASS_H

/* One vector of units of one row: where its values lie. */
typedef struct {
    int row, panel, unit;
    size_t place;       /* in [rows][stride] */
    size_t in_state;    /* in [rows][states - 1][stride]: its first state beside h */
    const float *gates; /* [slots][lanes] */
} gradient_place;

/* From dh, the gradient of a vector of the stage's output, to dpre. */
typedef void unit_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh);

/* A vector of units of a row that ends with the last unit; zeros beyond. */
ALWAYS_INLINE vec load_units(const frnn_gradient_pass *a, const float *row, int unit)
{
    return a->units - unit >= LANES ? vec_load(row + unit)
                                    : vec_load_part(row + unit, a->units - unit);
}

ALWAYS_INLINE size_t gate_offset(const frnn_gradient_pass *a, int row, int panel, const int slots)
{
    return ((size_t)panel * a->gate_rows + (size_t)row) * (size_t)(slots * LANES);
}

ALWAYS_INLINE size_t panel_offset(const frnn_gradient_pass *a, const gradient_place *at)
{
    return (size_t)at->panel * a->panel_rows + (size_t)at->row * a->panel_step;
}

ALWAYS_INLINE void store_dpre(const frnn_gradient_pass *a, const gradient_place *at,
                              const int slots, const int slot, vec value)
{
    vec_store(a->dpre + (size_t)at->row * a->dpre_row + (size_t)slot * a->stride +
                  (size_t)at->unit,
              value);
    if (a->panels)
        vec_store(a->panels + (panel_offset(a, at) * (size_t)slots + (size_t)slot) * LANES, value);
}

/* What the product of the next stage took of this stage. */
ALWAYS_INLINE void store_in(const frnn_gradient_pass *a, const gradient_place *at, vec value)
{
    if (a->in_panels)
        vec_store(a->in_panels + panel_offset(a, at) * LANES, value);
}

ALWAYS_INLINE void each_gradient(const frnn_gradient_pass *a, const int slots,
                                 unit_gradient *gradient)
{
    for (int p = a->first_panel; p < a->end_panel; p++)
        for (int r = 0; r < a->rows; r++) {
            const int unit = p * LANES;
            const gradient_place at = {r,
                                       p,
                                       unit,
                                       (size_t)r * a->stride + (size_t)unit,
                                       (size_t)r * a->state_floats + (size_t)unit,
                                       a->gates + gate_offset(a, r, p, slots)};
            vec dh = vec_load(a->dh_in + at.place);
            if (a->dy)
                dh = vec_add(dh, load_units(a, a->dy[r], unit));
            gradient(a, &at, dh);
        }
}

/* Defines gradient_`name`. */
#define GRADIENT(name, slots, gradient)                            \
    static void gradient_##name(const frnn_gradient_pass *a)       \
    {                                                              \
        each_gradient(a, slots, gradient);                         \
    }

#endif
