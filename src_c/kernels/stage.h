/* SPDX-License-Identifier: MIT */
/* project and step of every stage: a sweep, and what closes the sums of each tile. */
#ifndef FRNN_KERNELS_STAGE_H
#define FRNN_KERNELS_STAGE_H

/* What closes the sums of project. */
static void finish_nothing(const frnn_pass *a, int panel, int end)
{
    (void)a, (void)panel, (void)end;
}

/* The slot that gets nothing from x, n_h, starts its recurrent sum at the bias. */
static void finish_gru_bias(const frnn_pass *a, int panel, int end)
{
    for (int p = panel; p < end; p++) {
        const vec n_h = vec_load(bias_at(a, p, GRU_SLOTS) + (GRU_SLOTS - 1) * LANES);
        for (int r = 0; r < a->rows; r++)
            vec_store(pre_at(a, p, r, GRU_SLOTS) + (GRU_SLOTS - 1) * LANES, n_h);
    }
}

/* The h of a vector of units; the lanes beyond the last unit are zero. */
ALWAYS_INLINE vec load_h(const frnn_pass *a, int row, int unit)
{
    const float *const h = a->h[row] + unit;
    return a->units - unit >= LANES ? vec_load(h) : vec_load_part(h, a->units - unit);
}

ALWAYS_INLINE void store_y(const frnn_pass *a, int row, int unit, vec value)
{
    float *const y = a->y[row] + unit;
    if (a->units - unit >= LANES)
        vec_store(y, value);
    else
        vec_store_part(y, value, a->units - unit);
}

/* One vector of units through one half of its cell's formula; stage, half and record, whether the
 * gates are left in pre, are constants. */
ALWAYS_INLINE void finish_units(const frnn_pass *a, int row, int panel, const int slots,
                                const int stage, const int half, const int record)
{
    const int unit = panel * LANES;
    float *const pre = pre_at(a, panel, row, slots);
    const size_t place = (size_t)row * a->c_stride + (size_t)unit;
    switch (stage) {
    case FRNN_STAGE_RNN_TANH: store_y(a, row, unit, rnn_tanh(pre)); break;
    case FRNN_STAGE_RNN_RELU: store_y(a, row, unit, rnn_relu(pre)); break;
    case FRNN_STAGE_GRU:
        if (half == 0)
            gru_candidate(pre, record);
        else
            store_y(a, row, unit, gru_output(pre, load_h(a, row, unit), record));
        break;
    case FRNN_STAGE_GRU_RESET:
        store_y(a, row, unit, gru_reset(pre, load_h(a, row, unit), a->c + place, record));
        break;
    case FRNN_STAGE_GRU_CANDIDATE:
        store_y(a, row, unit, gru_reset_output(pre, load_h(a, row, unit), a->c + place, record));
        break;
    case FRNN_STAGE_LSTM:
        if (half == 0)
            lstm_cell_state(pre, a->c_before + place, a->c + place, record);
        else
            store_y(a, row, unit, lstm_output(pre, a->c + place, record));
        break;
    default: store_y(a, row, unit, vec_load(pre)); break; /* linear: the sum itself */
    }
}

#define PROJECT_KERNEL(name, sweep_gates, slots, finish)                   \
    static void name(const frnn_pass *a)                                   \
    {                                                                      \
        sweep_gates(a, &(const sweep_kind){slots, 0, 1, finish});          \
    }
PROJECT_KERNEL(project_rnn, sweep_1, RNN_SLOTS, finish_nothing)
PROJECT_KERNEL(project_gru, sweep_3, GRU_SLOTS, finish_gru_bias)
PROJECT_KERNEL(project_gru_reset, sweep_2, GRU_RESET_SLOTS, finish_nothing)
PROJECT_KERNEL(project_lstm, sweep_4, LSTM_SLOTS, finish_nothing)
#undef PROJECT_KERNEL

/* first: the slot of the first recurrent sum; from_bias: there was no project before. A long
 * formula is cut in halves, a loop each: more units are in flight in a short chain of operations
 * (case lstm_500_128_32_32). */
#define STEP_KERNEL(name, sweep_gates, slots, first, from_bias, stage, halves, record) \
    static void finish_##name(const frnn_pass *a, int panel, int end)                  \
    {                                                                                  \
        UNROLL for (int half = 0; half < (halves); half++)                             \
            for (int p = panel; p < end; p++)                                          \
                for (int r = 0; r < a->rows; r++)                                      \
                    finish_units(a, r, p, slots, stage, half, record);                 \
    }                                                                                  \
    static void step_##name(const frnn_pass *a)                                        \
    {                                                                                  \
        sweep_gates(a, &(const sweep_kind){slots, first, from_bias, finish_##name});   \
    }
STEP_KERNEL(rnn_tanh, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_RNN_TANH, 1, 0)
STEP_KERNEL(rnn_relu, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_RNN_RELU, 1, 0)
STEP_KERNEL(gru, sweep_3, GRU_SLOTS, 1, 0, FRNN_STAGE_GRU, 2, 0)
STEP_KERNEL(gru_recorded, sweep_3, GRU_SLOTS, 1, 0, FRNN_STAGE_GRU, 2, 1)
STEP_KERNEL(gru_reset, sweep_2, GRU_RESET_SLOTS, 0, 0, FRNN_STAGE_GRU_RESET, 1, 0)
STEP_KERNEL(gru_reset_recorded, sweep_2, GRU_RESET_SLOTS, 0, 0, FRNN_STAGE_GRU_RESET, 1, 1)
STEP_KERNEL(gru_candidate, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_GRU_CANDIDATE, 1, 0)
STEP_KERNEL(gru_candidate_recorded, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_GRU_CANDIDATE, 1, 1)
STEP_KERNEL(lstm, sweep_4, LSTM_SLOTS, 0, 0, FRNN_STAGE_LSTM, 2, 0)
STEP_KERNEL(lstm_recorded, sweep_4, LSTM_SLOTS, 0, 0, FRNN_STAGE_LSTM, 2, 1)
STEP_KERNEL(linear, sweep_1, RNN_SLOTS, 0, 1, FRNN_STAGE_LINEAR, 1, 0)
#undef STEP_KERNEL

#endif
