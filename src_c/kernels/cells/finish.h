/* SPDX-License-Identifier: MIT */
/* What the cells' formulas share: from complete sums to states, one vector of units at a time. */
#ifndef FRNN_KERNELS_FINISH_H
#define FRNN_KERNELS_FINISH_H

/* One vector of units of one row. */
typedef struct {
    int row, unit;
    float *pre; /* [slots][lanes] */
    size_t place;    /* in [rows][stride] */
    size_t in_state; /* in [rows][states - 1][stride]: its first state beside h */
} unit_place;

/* A part of a cell's formula for one vector of units. part and record, whether the gates are left in
 * pre, are constants in every call. */
typedef void unit_formula(const frnn_pass *a, const unit_place *at, const int part,
                          const int record);

/* h of the step before; the lanes beyond the last unit are zero. */
ALWAYS_INLINE vec load_h_before(const frnn_pass *a, const unit_place *at)
{
    const float *const h = a->h_before[at->row] + at->unit;
    return a->units - at->unit >= LANES ? vec_load(h) : vec_load_part(h, a->units - at->unit);
}

ALWAYS_INLINE void store_y(const frnn_pass *a, const unit_place *at, vec value)
{
    float *const y = a->y[at->row] + at->unit;
    if (a->units - at->unit >= LANES)
        vec_store(y, value);
    else
        vec_store_part(y, value, a->units - at->unit);
}

/* Runs a formula over panels [panel, end) of all rows. A long formula is split into parts, a loop
 * each: more units are in flight in a short chain of operations (case text_lstm_32). */
ALWAYS_INLINE void finish_units(const frnn_pass *a, int panel, int end, const int slots,
                                unit_formula *formula, const int parts, const int record)
{
    UNROLL for (int part = 0; part < parts; part++)
        for (int p = panel; p < end; p++)
            for (int r = 0; r < a->rows; r++) {
                const size_t unit = (size_t)p * LANES;
                const unit_place at = {r, p * LANES, pre_at(a, p, r, slots),
                                       (size_t)r * a->stride + unit,
                                       (size_t)r * a->state_floats + unit};
                formula(a, &at, part, record);
            }
}

/* After the input product: nothing, since the recurrent product adds to the same sums. */
static void finish_nothing(const frnn_pass *a, int panel, int end)
{
    (void)a, (void)panel, (void)end;
}

/* Defines finish_`name` and finish_`name`_recorded. */
#define FINISH(name, slots, formula, parts)                                    \
    static void finish_##name(const frnn_pass *a, int panel, int end)          \
    {                                                                          \
        finish_units(a, panel, end, slots, formula, parts, 0);                 \
    }                                                                          \
    static void finish_##name##_recorded(const frnn_pass *a, int panel, int end) \
    {                                                                          \
        finish_units(a, panel, end, slots, formula, parts, 1);                 \
    }

#endif
