/* SPDX-License-Identifier: MIT */
/* gradient of every stage: the cells' formulas, backwards, over panels and rows. */
#ifndef FRNN_KERNELS_GRADIENT_H
#define FRNN_KERNELS_GRADIENT_H

/* A vector of units of a row that ends with the last unit; zeros beyond. */
ALWAYS_INLINE vec load_units(const frnn_gradient_pass *a, const float *row, int unit)
{
    return a->units - unit >= LANES ? vec_load(row + unit)
                                    : vec_load_part(row + unit, a->units - unit);
}

/* One vector of units of one row: where its numbers lie. */
typedef struct {
    int row, panel, unit;
    size_t place;       /* in [rows][stride] */
    const float *gates; /* [slots][lanes] */
} gradient_place;

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

ALWAYS_INLINE void store_in(const frnn_gradient_pass *a, const gradient_place *at, vec value)
{
    if (a->in_panels)
        vec_store(a->in_panels + panel_offset(a, at) * LANES, value);
}

ALWAYS_INLINE void gradient_of_lstm(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const lstm_gates g = lstm_load_gates(at->gates);
    const vec t = vec_tanh(vec_load(a->c + at->place));
    vec dc = vec_load(a->dc + at->place);
    const lstm_gates d = lstm_gradient(g, t, vec_load(a->c_before + at->place), dh, &dc);
    vec_store(a->dc + at->place, dc);
    store_in(a, at, vec_mul(g.o, t));
    store_dpre(a, at, LSTM_SLOTS, 0, d.i);
    store_dpre(a, at, LSTM_SLOTS, 1, d.f);
    store_dpre(a, at, LSTM_SLOTS, 2, d.g);
    store_dpre(a, at, LSTM_SLOTS, 3, d.o);
}

ALWAYS_INLINE void gradient_of_gru(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const vec n = vec_load(at->gates), r = vec_load(at->gates + LANES);
    const vec z = vec_load(at->gates + 2 * LANES), n_h = vec_load(at->gates + 3 * LANES);
    const vec dn = gru_gradient_n(dh, z, n);
    store_dpre(a, at, GRU_SLOTS, 0, dn);
    store_dpre(a, at, GRU_SLOTS, 1, vec_sigmoid_gradient(vec_mul(dn, n_h), r));
    store_dpre(a, at, GRU_SLOTS, 2,
               gru_gradient_z(dh, z, n, load_units(a, a->h_before[at->row], at->unit)));
    store_dpre(a, at, GRU_SLOTS, 3, vec_mul(dn, r));
    vec_store(a->dh + at->place, vec_mul(dh, z));
}

/* The whole dh stays in place of dh_in for the other stage. */
ALWAYS_INLINE void gradient_of_candidate(const frnn_gradient_pass *a, const gradient_place *at,
                                         vec dh)
{
    const float *partner = a->partner_gates + gate_offset(a, at->row, at->panel, GRU_RESET_SLOTS);
    vec_store(a->dh + at->place, dh);
    store_dpre(a, at, RNN_SLOTS, 0,
               gru_gradient_n(dh, vec_load(partner + LANES), vec_load(at->gates)));
}

/* reset_dh: of sigmoid(r) h. */
ALWAYS_INLINE void gradient_of_reset(const frnn_gradient_pass *a, const gradient_place *at,
                                     vec reset_dh)
{
    const vec r = vec_load(at->gates), z = vec_load(at->gates + LANES);
    const vec n = vec_load(a->partner_gates + gate_offset(a, at->row, at->panel, RNN_SLOTS));
    const vec h = load_units(a, a->h_before[at->row], at->unit);
    const vec dh = vec_load(a->dh + at->place);
    store_in(a, at, vec_mul(r, h));
    store_dpre(a, at, GRU_RESET_SLOTS, 0, vec_sigmoid_gradient(vec_mul(reset_dh, h), r));
    store_dpre(a, at, GRU_RESET_SLOTS, 1, gru_gradient_z(dh, z, n, h));
    vec_store(a->dh + at->place, vec_fma(reset_dh, r, vec_mul(dh, z)));
}

/* One vector of units; slots and stage are constants. */
ALWAYS_INLINE void gradient_units(const frnn_gradient_pass *a, int row, int panel, const int slots,
                                  const int stage)
{
    const int unit = panel * LANES;
    const gradient_place at = {row, panel, unit, (size_t)row * a->stride + (size_t)unit,
                               a->gates + gate_offset(a, row, panel, slots)};
    vec dh = vec_load(a->dh_in + at.place);
    if (a->dy)
        dh = vec_add(dh, load_units(a, a->dy[row], unit));
    switch (stage) {
    case FRNN_STAGE_RNN_TANH:
        store_dpre(a, &at, slots, 0, vec_tanh_gradient(dh, load_units(a, a->h[row], unit)));
        break;
    case FRNN_STAGE_RNN_RELU:
        store_dpre(a, &at, slots, 0, vec_if_positive(load_units(a, a->h[row], unit), dh));
        break;
    case FRNN_STAGE_GRU: gradient_of_gru(a, &at, dh); break;
    case FRNN_STAGE_GRU_RESET: gradient_of_reset(a, &at, dh); break;
    case FRNN_STAGE_GRU_CANDIDATE: gradient_of_candidate(a, &at, dh); break;
    case FRNN_STAGE_LSTM: gradient_of_lstm(a, &at, dh); break;
    default: store_dpre(a, &at, slots, 0, dh); break; /* linear */
    }
}

#define GRADIENT_KERNEL(name, slots, stage)                        \
    static void gradient_##name(const frnn_gradient_pass *a)       \
    {                                                              \
        for (int p = a->first_panel; p < a->end_panel; p++)        \
            for (int r = 0; r < a->rows; r++)                      \
                gradient_units(a, r, p, slots, stage);             \
    }
GRADIENT_KERNEL(rnn_tanh, RNN_SLOTS, FRNN_STAGE_RNN_TANH)
GRADIENT_KERNEL(rnn_relu, RNN_SLOTS, FRNN_STAGE_RNN_RELU)
GRADIENT_KERNEL(gru, GRU_SLOTS, FRNN_STAGE_GRU)
GRADIENT_KERNEL(gru_reset, GRU_RESET_SLOTS, FRNN_STAGE_GRU_RESET)
GRADIENT_KERNEL(gru_candidate, RNN_SLOTS, FRNN_STAGE_GRU_CANDIDATE)
GRADIENT_KERNEL(lstm, LSTM_SLOTS, FRNN_STAGE_LSTM)
GRADIENT_KERNEL(linear, RNN_SLOTS, FRNN_STAGE_LINEAR)
#undef GRADIENT_KERNEL

#endif
